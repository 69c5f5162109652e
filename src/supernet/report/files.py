"""Writing a file so that a reader sees all of it or the one before."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from supernet.errors import RunFolderError


def write(path: Path, content: bytes) -> Path:
    """Write `content` to `path`, through a temporary file in the same folder, and return `path`.

    Folders that are missing are made.

    Raises:
        RunFolderError: If the file can't be written; nothing is left behind then.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, content)
    except OSError as error:
        raise RunFolderError(
            f"can't write {path}: {error.strerror or error}; "
            "free the place, or give a folder that can be written"
        ) from error
    return path


def _replace(path: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
