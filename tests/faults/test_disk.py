"""A disk that is full or can't be written: one sentence, what was saved stays, and it goes on."""

import errno
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from supernet.errors import RunFolderError
from supernet.experiments import execution
from supernet.runs import files
from supernet.runs.checkpoints import Checkpoints
from tests.faults.runs import (
    Interrupted,
    arguments,
    call,
    essence,
    events,
    interrupted,
    sentence,
    stopped,
    untouched,
)
from tests.limits import HANG_S
from tests.runs.test_folder import largest_file

PAYLOADS = "checkpoints/seed0-supernet"


@contextmanager
def mounted(path: Path, size: str) -> Iterator[Path]:
    """Have a file system of its own, if this user may mount one."""
    path.mkdir()
    if not mount("-t", "tmpfs", "-o", f"size={size}", "none", path):
        pytest.skip("file systems can't be mounted here")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True, timeout=HANG_S)


def mount(*given: str | Path) -> bool:
    try:
        return (
            subprocess.run(["mount", *given], capture_output=True, timeout=HANG_S).returncode == 0
        )
    except FileNotFoundError:
        return False


@pytest.fixture
def save_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Checkpoints, "due", True)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("stopped_before", "files_that_fail"),
    [
        ("training", {"config.yaml", "manifest.json", "000001.safetensors"}),
        ("judging", {"events.jsonl", "results.json"}),
    ],
)
@pytest.mark.usefixtures("save_at_every_step")
def test_step_by_step_more_room_and_at_every_step_one_sentence(
    stopped_before: str, files_that_fail: set[str], data: Path, whole: dict[str, bytes]
) -> None:
    """No file may be larger than so much, and then twice as much, until the run ends."""
    command = [*arguments(data), "--out", "run"]
    if stopped_before == "judging":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(execution, "judge", interrupted)
            assert call(*command)[0] == 130
    size = 8
    failed: list[str] = []
    while True:
        with largest_file(size):
            code, out, told = call(*command)
        if code == 0:
            break
        assert (code, out) == (4, "")
        said = sentence(told)
        found = re.search(r"can't write (run/\S+): File too large; free some space there, or", said)
        found = found or re.search(
            r"can't write (run/events\.jsonl): there was room for a part", said
        )
        assert found, said
        failed.append(Path(found[1]).name)
        if failed[-1] not in ("config.yaml", "manifest.json"):  # after these there is a run
            assert re.search(r"; resume with `\S*supernet resume run`$", said), said
        for path in Path("run").rglob("*"):
            assert not path.name.startswith("."), "a temporary file stayed"
        size *= 2
        assert size < 1 << 20
    assert set(failed) >= files_that_fail
    assert essence(Path("run")) == whole


@pytest.mark.usefixtures("save_at_every_step")
def test_a_checkpoint_that_has_no_room_leaves_the_one_before(
    data: Path, whole: dict[str, bytes]
) -> None:
    command = [*arguments(data), "--out", "run"]
    assert call(*command, tasks=Interrupted(0, 2))[0] == 130
    kept = Checkpoints(Path("run", PAYLOADS)).newest
    assert kept is not None
    before = kept.read_bytes()
    with largest_file(len(before) - 1):
        code, out, told = call(*command)
    assert (code, out) == (4, "")
    assert re.match(
        r"can't write run/checkpoints/seed0-supernet/00000\d.safetensors: File too large; "
        "free some space there, or choose another folder; resume with `",
        sentence(told),
    )
    assert kept.read_bytes() == before
    assert call(*command)[0] == 0
    assert essence(Path("run")) == whole


def test_a_disk_of_one_megabyte(
    data: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For real, with a page and figures that need more."""
    monkeypatch.setattr(
        "supernet.report.figures.collection.render_all",
        lambda results: {"cost": {"svg": b"<svg/>", "png": bytes(1 << 20)}},
    )
    with mounted(Path("disk"), "1m"):
        command = [*arguments(data), "--out", "disk/run"]
        code, out, told = call(*command, figures=True)
        assert (code, out) == (4, "")
        said = sentence(told)
        wanted = r"can't write disk/run/\S+: No space left on device; free some space there, or "
        assert re.match(wanted, said)
        assert "; resume with `" in said
        assert events(Path("disk", "run"))[-1]["event"] in ("stopped", "resumed", "trained")
        assert mount("-o", "remount,size=4m", "disk")
        code, _, told = call(*command, tasks=untouched, figures=True)
        assert code == 0, told
        assert essence(Path("disk", "run")) == whole


def test_a_folder_that_cannot_be_written(data: Path, whole: dict[str, bytes]) -> None:
    """Root may write whatever its permissions say, so the file system says no."""
    with mounted(Path("disk"), "4m"):
        stopped(data, Path("disk", "run"))
        before = {path: path.read_bytes() for path in Path("disk").rglob("*") if path.is_file()}
        assert mount("-o", "remount,ro", "disk")
        for command in (["resume", "disk/run"], [*arguments(data), "--out", "disk/run"]):
            code, out, told = call(*command, tasks=untouched)
            assert (code, out) == (4, "")
            assert sentence(told) == (
                "can't write disk/run/lock: Read-only file system; free some space there, or "
                "choose another folder"
            )
        code, out, told = call(*arguments(data), "--out", "disk/new")
        assert (code, out) == (4, "")
        assert sentence(told).startswith("can't write disk/new: Read-only file system; ")
        code, out, _ = call("status", "disk/run")
        assert (code, "stopped by Ctrl-C" in out) == (0, True)
        assert {p: p.read_bytes() for p in Path("disk").rglob("*") if p.is_file()} == before
        assert mount("-o", "remount,rw", "disk")
        code, _, told = call("resume", "disk/run")
        assert code == 0, told
        assert essence(Path("disk", "run")) == whole


@pytest.mark.usefixtures("save_at_every_step")
def test_a_disk_that_becomes_read_only_while_it_trains(data: Path, whole: dict[str, bytes]) -> None:
    """Wherever mounting isn't allowed, this much can be tried: a write of a checkpoint fails."""
    command = [*arguments(data), "--out", "run"]
    write = files.write

    def refuse(path: Path, content: bytes) -> Path:
        if path.name == "000003.sha256":
            error = OSError(errno.EROFS, os.strerror(errno.EROFS))
            raise RunFolderError(files.unwritable(path, error))
        return write(path, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "write", refuse)
        code, _, told = call(*command)
    assert code == 4
    assert "000003.sha256: Read-only file system" in sentence(told)
    checkpoints = Checkpoints(Path("run", PAYLOADS), warn=pytest.fail)
    assert checkpoints.load() is not None
    assert call(*command)[0] == 0
    assert essence(Path("run")) == whole
