"""Looking at processes, for tests of what is left of them."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from tests.limits import HANG_S


def is_gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet counts as ended."""
    try:
        return _fields(pid)[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def children(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdecimal() and int(_fields(int(path.name))[1]) == pid:
                found.append(int(path.name))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def workers(pid: int | None = None) -> list[int]:
    """The worker processes of a process, by default of this one."""
    return [
        child
        for child in children(os.getpid() if pid is None else pid)
        if not is_gone(child)
        and b"supernet.runs.workers" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def wait_until(true: Callable[[], bool], seconds: float = HANG_S) -> None:
    """Wait; a guard against hangs, no measurement."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not so after {seconds} s"
        time.sleep(0.05)


def _fields(pid: int) -> list[str]:
    """State, parent and so on: what follows the name, which may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
