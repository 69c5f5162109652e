"""Writing a file so that a reader sees all of it or the one before."""

from __future__ import annotations

import os
from pathlib import Path

from supernet.errors import RunFolderError


def write(path: Path, content: bytes) -> Path:
    """Write `content` to `path`, whole or not at all, and return `path`.

    It goes through a hidden file in the same folder and is on the disk before it gets its name.
    Folders that are missing are made.

    Raises:
        RunFolderError: If that fails; what was there before is there still.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise RunFolderError(unwritable(path, error)) from error
    return path


def unwritable(path: Path, error: OSError) -> str:
    """Return the sentence for a path that can't be written, with the way out."""
    reason = error.strerror or str(error)
    return f"can't write {path}: {reason}; free some space there, or choose another folder"
