"""Writing a file so that a reader sees all of it or the one before."""

from __future__ import annotations

import os
from pathlib import Path

from supernet.errors import RunFolderError


def write(path: Path, content: bytes) -> Path:
    """Write `content` to `path`, whole or not at all, and return `path`.

    It goes through a hidden file in the same folder and is on the disk before it gets its name;
    when this returns, so is the name. Folders that are missing are made.

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
        _sync_folder(path.parent)
    except OSError as error:
        raise RunFolderError(unwritable(path, error)) from error
    return path


def temporaries(folder: Path) -> list[Path]:
    """Return what writes that were killed left in a folder that nobody writes to now."""
    return [path for path in folder.glob(".*") if path.suffix[1:].isdecimal()]


def unwritable(path: Path, error: OSError) -> str:
    """Return the sentence for a path that can't be written, with the way out."""
    reason = error.strerror or str(error)
    return f"can't write {path}: {reason}; free some space there, or choose another folder"


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power failure, where the file system can do that."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some network file systems can't: the content is on the disk all the same
        pass
    finally:
        os.close(handle)
