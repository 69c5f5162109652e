import os
import re
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from supernet.errors import RunFolderError
from supernet.runs import files

OURS = ".supernet-0123456789abcdef.tmp"


def test_writes_what_it_is_given_and_makes_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a"
    assert files.write(path, b"\x00\xff") == path
    assert path.read_bytes() == b"\x00\xff"
    assert list(path.parent.iterdir()) == [path]
    below = tmp_path / "root" / "b" / "c"
    files.write(below, b"x", root=tmp_path / "root")
    assert below.read_bytes() == b"x"


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

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, step, full)
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


def test_only_what_killed_writes_leave_is_removed(tmp_path: Path) -> None:
    """A user's own hidden files are not ours, whatever they end with."""
    others = [
        *("a", "a.1", ".hidden", ".env.2", ".python-3.11", ".a.4711", ".results.json.1", "b.4711"),
        *(OURS[1:], OURS.upper(), f"{OURS}~", f"x{OURS}", ".supernet-.tmp", OURS.replace("f", "g")),
    ]
    for name in (OURS, *others):
        (tmp_path / name).touch()
    (tmp_path / OURS.replace("0", "1")).mkdir()
    (tmp_path / OURS.replace("0", "2")).symlink_to("a")
    files.remove_leftovers(tmp_path)
    left = {*others, OURS.replace("0", "1"), OURS.replace("0", "2")}
    assert {path.name for path in tmp_path.iterdir()} == left
    files.remove_leftovers(tmp_path / "none")


def test_a_write_that_is_killed_leaves_what_is_removed(tmp_path: Path) -> None:
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
    (left,) = (entry.name for entry in tmp_path.iterdir() if entry != path)
    assert files.is_temporary(left)
    files.remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_the_content_is_on_the_disk_before_its_name_and_the_name_before_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, rename = os.fsync, os.replace

    def note_sync(handle: int) -> None:
        done.append(f"sync {Path(f'/proc/self/fd/{handle}').readlink().name}")
        sync(handle)

    def note_rename(old: str, new: str, **folders: int) -> None:
        done.append(f"rename {old} {new}")
        assert (tmp_path / old).read_bytes() == b"new"
        rename(old, new, **folders)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_rename)
    files.write(tmp_path / "a", b"new")
    hidden = done[0].removeprefix("sync ")
    assert files.is_temporary(hidden)
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


# -- no way out -----------------------------------------------------------------------------------


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


#: What a stranger may put in the place of a file, with a file and a folder beside it to get at.
TRAPS: dict[str, Callable[[Path, Path], object]] = {
    "link to a file": lambda path, elsewhere: path.symlink_to(elsewhere / "file"),
    "link to nothing": lambda path, elsewhere: path.symlink_to(elsewhere / "new"),
    "link to a folder": lambda path, elsewhere: path.symlink_to(elsewhere),
    "link to itself": lambda path, elsewhere: path.symlink_to(path.name),
    "link to a device": lambda path, elsewhere: path.symlink_to("/dev/full"),
    "hard link": lambda path, elsewhere: os.link(elsewhere / "file", path),
    "pipe": lambda path, elsewhere: os.mkfifo(path),
    "socket": lambda path, elsewhere: make_socket(path),
    "folder": lambda path, elsewhere: path.mkdir(),
}


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_bytes(b"not yours")
    (tmp_path / "run").mkdir()
    return tmp_path / "elsewhere"


def untouched(elsewhere: Path) -> bool:
    return [path.name for path in elsewhere.iterdir()] == ["file"] and (
        elsewhere / "file"
    ).read_bytes() == b"not yours"


@pytest.mark.parametrize("trap", TRAPS)
def test_what_has_the_name_of_a_file_is_replaced_and_nothing_it_leads_to(
    trap: str, elsewhere: Path
) -> None:
    path = elsewhere.parent / "run" / "a"
    TRAPS[trap](path, elsewhere)
    if trap == "folder":
        with pytest.raises(RunFolderError, match="Is a directory; remove what is in the way, or"):
            files.write(path, b"new")
        path.rmdir()
    files.write(path, b"new")
    assert (path.read_bytes(), path.is_symlink(), path.stat().st_nlink) == (b"new", False, 1)
    assert untouched(elsewhere)


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("depth", [1, 2])
def test_no_folder_on_the_way_may_be_anything_else(trap: str, depth: int, elsewhere: Path) -> None:
    root = elsewhere.parent / "run"
    inner = root / "one" if depth == 1 else root / "one" / "two"
    inner.parent.mkdir(exist_ok=True)
    TRAPS[trap](inner, elsewhere)
    if trap == "folder":
        files.write(inner / "a", b"new", root=root)
        files.check_folders(root / "one", root)
    else:
        words = r"is (a link|a file|a pipe|a socket), not a folder; remove what is in the way"
        with pytest.raises(RunFolderError, match=words):
            files.write(inner / "a", b"new", root=root)
        for look in (files.check_folders, files.remove_leftovers):
            if trap == "hard link" and depth == 2:
                continue  # a file in a folder is as it should be
            if look is files.remove_leftovers and depth == 2:
                continue
            with pytest.raises(OSError, match="not a folder"):
                look(root / "one", root)
    assert untouched(elsewhere)


@pytest.mark.parametrize("trap", TRAPS)
def test_what_is_changed_in_place_is_our_own_file(trap: str, elsewhere: Path) -> None:
    path = elsewhere.parent / "run" / "a"
    TRAPS[trap](path, elsewhere)
    opened = os.listdir("/proc/self/fd")
    words = r"it is (a link|a pipe|a socket|a folder), not a file|another name elsewhere"
    with pytest.raises(OSError, match=words):
        files.open_in_place(path, os.O_RDWR)
    assert os.listdir("/proc/self/fd") == opened
    assert untouched(elsewhere)


def test_a_path_that_leads_out_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="leads out of the folder"):
        files.write(tmp_path / "run" / ".." / "x" / "a", b"", root=tmp_path / "run")
    assert os.listdir(tmp_path) == []


def test_the_folder_that_is_named_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to("disk")
    files.write(tmp_path / "run" / "figures" / "a", b"x", root=tmp_path / "run")
    assert (tmp_path / "disk" / "figures" / "a").read_bytes() == b"x"


def test_sentences_show_no_control_characters(tmp_path: Path) -> None:
    error = OSError(13, "Permission denied")
    for sentence in (files.unwritable, files.unreadable):
        assert re.match(r"can't \w+ a\\x1b\[2J", sentence(Path("a\x1b[2J"), error))
