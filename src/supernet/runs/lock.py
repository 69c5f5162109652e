"""The lock of a folder: one process, and its workers, until the last of them has ended.

The lock is flock(2)'s: the kernel takes it back, in whatever way a process ends. What stands in the
file is for people.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from supernet.errors import RunFolderError
from supernet.reading import SMALL, open_regular, parse_json, read_regular
from supernet.runs import files
from supernet.text import show

LOCK = "lock"

#: So long may the workers of a holder that was killed take to end.
_AFTERLIFE_S = 5.0


def hold(path: Path) -> int:
    """Return a file descriptor that holds the folder.

    Raises:
        RunFolderError: If another process holds it, by name.
    """
    try:
        lock = files.open_in_place(path / LOCK, os.O_RDWR)
    except OSError as error:
        raise RunFolderError(files.unwritable(path / LOCK, error)) from error
    try:
        end = time.monotonic() + _AFTERLIFE_S
        while not _locked(lock, fcntl.LOCK_EX, path):
            holder = _holder(path)
            if time.monotonic() > end or _may_live(holder):
                raise _in_use(path, holder)
            time.sleep(0.02)
        me = {
            "pid": os.getpid(),
            "host": platform.node(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        os.truncate(lock, 0)
        os.pwrite(lock, json.dumps(me).encode(), 0)
    except OSError as error:
        os.close(lock)
        if isinstance(error, RunFolderError):
            raise
        raise RunFolderError(files.unwritable(path / LOCK, error)) from error
    except BaseException:
        os.close(lock)
        raise
    return lock


def require_free(path: Path) -> None:
    """Take a glance at a folder, before time is spent on what `hold` will refuse.

    Raises:
        RunFolderError: If another process holds it, by name.
    """
    holder = _holder(path)
    if holder_of(path) is not None and _may_live(holder):
        raise _in_use(path, holder)


def _in_use(path: Path, holder: Mapping[str, Any]) -> RunFolderError:
    return RunFolderError(
        f"the run in {show(path)} is in use by {_in_words(holder)}; wait until it has ended, or "
        "stop it: what it did will not be lost"
    )


def _locked(lock: int, how: int, path: Path) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise RunFolderError(
            f"can't lock {show(path / LOCK)}: {error.strerror}; choose a folder on another file "
            "system"
        ) from error
    return True


def holder_of(path: Path) -> str | None:
    """Return who holds the folder of a run, in words, or None if nobody does."""
    try:
        lock = open_regular(path / LOCK, follow=False)
    except OSError:  # there is none, or nothing can have such a name
        return None
    with lock:
        free = _locked(lock.fileno(), fcntl.LOCK_SH, path)
        return None if free else _in_words(_holder(path))


def _holder(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(read_regular(path / LOCK, SMALL, follow=False))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _may_live(holder: Mapping[str, Any]) -> bool:
    """Whether a holder is a process that may be there: one of another host always may."""
    pid = holder.get("pid")
    if not isinstance(pid, int) or pid <= 0:
        return False
    if holder.get("host") != platform.node():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _in_words(holder: Mapping[str, Any]) -> str:
    if not holder.get("pid"):
        return "another process"
    pid, host, since = (show(holder.get(name), 80) for name in ("pid", "host", "since"))
    return f"process {pid} on {host}, since {since}"
