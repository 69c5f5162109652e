import fcntl
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from supernet.errors import RunFolderError
from supernet.runs import lock
from supernet.runs.lock import LOCK, hold, holder_of, require_free
from tests.runs.processes import is_gone, wait_until
from tests.runs.test_files import TRAPS

# The module alone, so that a process of its own has little to import.
PROGRAM = """
import os, subprocess, sys
from pathlib import Path
from supernet.runs.lock import hold
lock = hold(Path(sys.argv[1]))
child = 0
if sys.argv[2] == "with a child":
    wait = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    child = subprocess.Popen(wait, stdin=sys.stdin, stdout=subprocess.DEVNULL, pass_fds=[lock]).pid
print(os.getpid(), child, flush=True)
sys.stdin.read()
"""


@contextmanager
def another_process(folder: Path, how: str = "alone") -> Iterator[tuple[int, int]]:
    """Let a process hold a folder; its number, and that of a child that inherited the lock."""
    program = [sys.executable, "-c", PROGRAM, str(folder), how]
    process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    assert process.stdout
    try:
        pid, child = map(int, process.stdout.readline().split())
        assert pid == process.pid
        yield pid, child
    finally:
        process.stdin.close()  # which ends both
        process.wait(60)
        process.stdout.close()


def write_lock(folder: Path, **content: Any) -> None:
    (folder / LOCK).write_text(json.dumps(content))


def test_the_file_says_who_holds_the_folder(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text("x" * 1000)
    handle = hold(tmp_path)
    content = json.loads((tmp_path / LOCK).read_text())
    assert (content["pid"], content["host"]) == (os.getpid(), platform.node())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", content["since"])
    assert holder_of(tmp_path) == (
        f"process {os.getpid()} on {platform.node()}, since {content['since']}"
    )
    os.close(handle)
    assert holder_of(tmp_path) is None


def test_a_glance_refuses_what_holding_it_would(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", Path("a\0b"), Path("x" * 300)):
        require_free(path)
    with another_process(tmp_path) as (pid, _):
        with pytest.raises(RunFolderError, match=f"in use by process {pid} on"):
            require_free(tmp_path)
        write_lock(tmp_path, pid=a_dead_process(), host=platform.node())
        require_free(tmp_path)  # its workers may be ending: `hold` waits for them
    require_free(tmp_path)


def test_it_can_be_held_again_and_again(tmp_path: Path) -> None:
    for _ in range(3):
        os.close(hold(tmp_path))


def test_a_second_process_is_told_at_once_who_holds_it(tmp_path: Path) -> None:
    with another_process(tmp_path) as (pid, _):
        begun = time.monotonic()
        with pytest.raises(RunFolderError) as caught:
            hold(tmp_path)
        assert time.monotonic() - begun < 2
        assert re.fullmatch(
            rf"the run in {tmp_path} is in use by process {pid} on {platform.node()}, since .*; "
            "wait until it has ended, or stop it: what it did will not be lost",
            str(caught.value),
        )
        assert holder_of(tmp_path) == str(caught.value).split(" by ")[1].split("; wait")[0]
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == pid  # not overwritten
    os.close(hold(tmp_path))


def test_kill_9_frees_it(tmp_path: Path) -> None:
    with another_process(tmp_path) as (pid, _):
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: holder_of(tmp_path) is None)
        os.close(hold(tmp_path))


def test_a_worker_that_lives_on_keeps_it_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_AFTERLIFE_S", 0.3)
    with another_process(tmp_path, "with a child") as (pid, child):
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: is_gone(pid))
        os.waitid(os.P_PID, pid, os.WEXITED)
        with pytest.raises(RunFolderError, match=f"in use by process {pid} on"):
            hold(tmp_path)
        assert holder_of(tmp_path)
        os.kill(child, signal.SIGKILL)
        wait_until(lambda: holder_of(tmp_path) is None)
        os.close(hold(tmp_path))


def test_workers_that_are_ending_are_waited_for(tmp_path: Path) -> None:
    """A run that was killed can be resumed at once: its workers end a moment after it."""
    with another_process(tmp_path, "with a child") as (pid, child):
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED)
        later = f"import os, time; time.sleep(0.3); os.kill({child}, 9)"
        with subprocess.Popen([sys.executable, "-c", later]):
            os.close(hold(tmp_path))


def a_dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"\xff\xfe", b"null", b"[]", b"3", b"[" * 100_000, b"{}", b'{"pid": "x"}'),
        json.dumps({"pid": 1, "host": "elsewhere", "since": "long ago"}).encode(),
        json.dumps({"pid": 1, "host": platform.node()}).encode(),
        json.dumps({"pid": 10**30, "host": platform.node()}).encode(),
    ],
)
def test_what_stands_in_a_file_that_nobody_holds_does_not_matter(
    content: bytes, tmp_path: Path
) -> None:
    (tmp_path / LOCK).write_bytes(content)
    assert holder_of(tmp_path) is None
    os.close(hold(tmp_path))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": null}', b"[" * 100_000])
def test_a_holder_that_is_not_known_is_another_process(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_AFTERLIFE_S", 0.1)
    handle = hold(tmp_path)
    (tmp_path / LOCK).write_bytes(content)
    with pytest.raises(RunFolderError, match="is in use by another process; wait until"):
        hold(tmp_path)
    assert holder_of(tmp_path) == "another process"
    os.close(handle)


def test_only_a_holder_that_is_dead_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    true_sleep = time.sleep

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        true_sleep(seconds)

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(lock, "_AFTERLIFE_S", 0.1)
    handle = hold(tmp_path)
    dead, here = a_dead_process(), platform.node()
    for pid, host, waits in (
        (os.getpid(), here, False),
        (1, here, False),
        (dead, "elsewhere", False),
        (2**62, here, False),
        (dead, here, True),
        (-1, here, True),
    ):
        write_lock(tmp_path, pid=pid, host=host, since="now")
        waited.clear()
        with pytest.raises(RunFolderError, match=f"in use by process {pid} on {host}, since now"):
            hold(tmp_path)
        assert bool(waited) == waits
    os.close(handle)


def test_a_refusal_leaves_no_file_open(tmp_path: Path) -> None:
    handle = hold(tmp_path)
    opened = os.listdir("/proc/self/fd")
    with pytest.raises(RunFolderError):
        hold(tmp_path)
    assert holder_of(tmp_path)
    assert os.listdir("/proc/self/fd") == opened
    os.close(handle)


def test_a_folder_that_cannot_be_locked_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RunFolderError, match=r"can't write .*none/lock: No such file"):
        hold(tmp_path / "none")
    with pytest.raises(RunFolderError, match="can't write /proc/lock"):
        hold(Path("/proc"))
    assert holder_of(tmp_path / "none") is None

    def no_locks(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(RunFolderError, match=r"can't lock .*: Operation not supported; choose a"):
        hold(tmp_path)


def test_asking_who_holds_a_folder_writes_nothing(tmp_path: Path) -> None:
    assert holder_of(tmp_path) is None
    assert not list(tmp_path.iterdir())
    (tmp_path / LOCK).write_text("")
    (tmp_path / LOCK).chmod(0o444)
    before = (tmp_path / LOCK).stat()
    tmp_path.chmod(0o555)
    assert holder_of(tmp_path) is None
    tmp_path.chmod(0o755)
    assert (tmp_path / LOCK).stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("trap", sorted(TRAPS))
def test_a_lock_is_a_file_of_the_run(trap: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_text("mine")
    (tmp_path / "run").mkdir()
    TRAPS[trap](tmp_path / "run" / LOCK, tmp_path / "elsewhere")
    require_free(tmp_path / "run")
    assert holder_of(tmp_path / "run") is None
    with pytest.raises(RunFolderError, match=r"can't write .*lock: .*; remove what is in the way"):
        hold(tmp_path / "run")
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["file"]
    assert (tmp_path / "elsewhere" / "file").read_text() == "mine"


def test_what_a_lock_says_steers_no_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_AFTERLIFE_S", 0.1)
    handle = hold(tmp_path)
    write_lock(tmp_path, pid=1, host="\x1b[2Jhere", since="n" * 10_000)
    said = holder_of(tmp_path)
    assert said is not None
    assert said.startswith(r"process 1 on \x1b[2Jhere, since nnn")
    assert len(said) < 200
    os.close(handle)


def test_no_program_inherits_it_unasked(tmp_path: Path) -> None:
    handle = hold(tmp_path)
    assert not os.get_inheritable(handle)
    os.close(handle)
