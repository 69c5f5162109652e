import os
import stat
from pathlib import Path

import pytest

from supernet.errors import RunFolderError
from supernet.runs import files


def test_writes_what_it_is_given_and_makes_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a"
    assert files.write(path, b"\x00\xff") == path
    assert path.read_bytes() == b"\x00\xff"
    assert list(path.parent.iterdir()) == [path]


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    files.write(tmp_path / "ours", b"")
    usual, ours = ((tmp_path / name).stat().st_mode for name in ("usual", "ours"))
    assert stat.S_IMODE(usual) == stat.S_IMODE(ours)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_names_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = files.write(tmp_path / "a", b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os if step == "fsync" else Path, step, full)
    with pytest.raises(RunFolderError, match=r"No space left.*free some space"):
        files.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.write(tmp_path / "a", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(RunFolderError, match="can't write"):
        files.write(tmp_path / "run" / "a", b"")


def test_what_killed_writes_leave_is_found(tmp_path: Path) -> None:
    ours = [".a.4711", ".results.json.1", ".a b.c.99"]
    others = ["a", "a.1", ".hidden", ".hidden.txt", ".a.1x", ".a.", "b.4711"]
    for name in (*ours, *others):
        (tmp_path / name).touch()
    assert sorted(path.name for path in files.temporaries(tmp_path)) == sorted(ours)
    assert files.temporaries(tmp_path / "none") == []


def test_a_write_that_is_killed_leaves_what_is_found(tmp_path: Path) -> None:
    path = files.write(tmp_path / "a", b"old")
    child = os.fork()
    if child == 0:
        os.fsync = lambda handle: os._exit(9)  # type: ignore[assignment]
        try:
            files.write(path, b"new")
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert path.read_bytes() == b"old"
    assert [left.name for left in files.temporaries(tmp_path)] == [f".a.{child}"]


def test_the_content_is_on_the_disk_before_its_name_and_the_name_before_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, rename = os.fsync, Path.replace

    def note_sync(handle: int) -> None:
        done.append(f"sync {Path(f'/proc/self/fd/{handle}').readlink().name}")
        sync(handle)

    def note_rename(old: Path, new: Path) -> Path:
        done.append(f"rename {old.name} {new.name}")
        assert old.read_bytes() == b"new"
        return rename(old, new)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_rename)
    files.write(tmp_path / "a", b"new")
    hidden = f".a.{os.getpid()}"
    assert done == [f"sync {hidden}", f"rename {hidden} a", f"sync {tmp_path.name}"]


def test_a_disk_that_cannot_sync_folders_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def sync_files_only(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(22, "Invalid argument")
        sync(handle)

    monkeypatch.setattr(os, "fsync", sync_files_only)
    opened = os.listdir("/proc/self/fd")
    assert files.write(tmp_path / "a", b"new").read_bytes() == b"new"
    assert os.listdir("/proc/self/fd") == opened


def test_a_name_that_is_too_long_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"can't write .*File name too long; free some space"):
        files.write(tmp_path / ("x" * 300), b"")
