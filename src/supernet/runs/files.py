"""Safe writing into a folder of unknown origin: files whole or not at all, and no way out.

In place of a file or folder that a run writes there may be a link to something else, a pipe, a
device, or a file that has another name elsewhere (a hard link). So, below the folder that somebody
named, no link is followed: folders are opened one in the other, and a new file gets a random name
that nothing can wait under before it takes its own. What is changed in place is looked at first.

A link as the named folder itself is followed: whoever names it means what it leads to.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from supernet.errors import RunFolderError
from supernet.reading import kind_of
from supernet.text import show

#: Of a file that is being written: ours alone, so that nobody's own file is taken for a leftover.
_TEMPORARY: Final = re.compile(r"\.supernet-[0-9a-f]{16}\.tmp")
#: What can be mended by more room.
_FULL: Final = (None, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.ENAMETOOLONG)

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def write(path: Path, content: bytes, *, root: Path | None = None) -> Path:
    """Write `content` to `path`, whole or not at all, and return `path`.

    It goes through a hidden file in the same folder and is on the disk before it gets its name;
    when this returns, so is the name. What had that name, a link too, is replaced, and nothing it
    leads to is touched. Folders that are missing are made.

    Args:
        path: The file.
        content: What is to be in it.
        root: The folder that somebody named, in which `path` is: below it no link is followed. By
            default the folder of `path`.

    Raises:
        RunFolderError: If that fails; what was there before is there still.
    """
    try:
        with _opened(path.parent, root, make=True) as folder:
            temporary = f".supernet-{secrets.token_hex(8)}.tmp"
            try:
                _write_new(temporary, content, folder)
                os.replace(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=folder)
                raise
            _sync_folder(folder)
    except OSError as error:
        raise RunFolderError(unwritable(path, error)) from error
    return path


def open_in_place(path: Path, flags: int) -> int:
    """Open a file that is changed where it lies, made if it is missing, and return its descriptor.

    Args:
        path: The file, directly in the folder that somebody named.
        flags: Of `os.open`, besides those that keep it from following links or waiting.

    Raises:
        OSError: If it can't be opened, is no regular file, or is known by another name too.
    """
    with _opened(path.parent, None) as folder:
        with contextlib.suppress(FileNotFoundError):  # looked at first: opening may do things
            _check_own(os.stat(path.name, dir_fd=folder, follow_symlinks=False))
        safe = os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        handle = os.open(path.name, flags | safe, 0o666, dir_fd=folder)
    try:
        _check_own(os.fstat(handle))
    except BaseException:
        os.close(handle)
        raise
    return handle


def check_folders(path: Path, root: Path) -> None:
    """See to it that a folder, if it is there, and the folders in it are no links.

    Raises:
        OSError: If one is, or can't be opened.
    """
    try:
        with _opened(path, root) as folder:
            for name in os.listdir(folder):
                if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                    os.close(_open_folder(name, folder))
    except FileNotFoundError:
        pass


def make_folder(path: Path, root: Path) -> None:
    """Make a folder, unless it is there, for writing new files into; none on the way is a link.

    Args:
        path: The folder.
        root: The folder that somebody named, in which `path` is.

    Raises:
        RunFolderError: If that fails.
    """
    try:
        with _opened(path, root, make=True):
            pass
    except OSError as error:
        raise RunFolderError(unwritable(path, error)) from error


def is_temporary(name: str) -> bool:
    """Return whether a file of that name is one that was being written."""
    return _TEMPORARY.fullmatch(name) is not None


def remove_leftovers(path: Path, root: Path | None = None) -> None:
    """Remove what writes that were killed left in a folder that nobody writes to now.

    Raises:
        OSError: If that fails, or the folder is a link below `root`.
    """
    try:
        with _opened(path, root) as folder:
            for name in filter(is_temporary, os.listdir(folder)):
                if stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                    os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass


def unwritable(path: Path, error: OSError) -> str:
    """Return the sentence for a path that can't be written, with the way out."""
    way_out = "free some space there" if error.errno in _FULL else "remove what is in the way"
    return (
        f"can't write {show(path)}: {error.strerror or error}; {way_out}, or choose another folder"
    )


def unreadable(path: Path, error: OSError) -> str:
    """Return the sentence for a path that can't be read, with the way out."""
    return (
        f"can't read {show(path)}: {error.strerror or error}; see to its permissions and to what "
        "it is"
    )


@contextlib.contextmanager
def _opened(path: Path, root: Path | None, *, make: bool = False) -> Iterator[int]:
    """Open a folder, part by part below `root`, and close it again."""
    root = path if root is None else root
    parts = path.relative_to(root).parts
    if ".." in parts:
        raise OSError(errno.EINVAL, "it leads out of the folder", str(path))
    if make:
        root.mkdir(parents=True, exist_ok=True)
    handle = os.open(root, _FOLDER)
    try:
        for part in parts:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=handle)
            inner = _open_folder(part, handle)
            os.close(handle)
            handle = inner
        yield handle
    finally:
        os.close(handle)


def _open_folder(name: str, folder: int) -> int:
    mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    if not stat.S_ISDIR(mode):
        raise OSError(errno.ENOTDIR, f"{show(name, 60)} is {kind_of(mode)}, not a folder", name)
    return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)


def _write_new(name: str, content: bytes, folder: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(name, flags, 0o666, dir_fd=folder), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _check_own(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, f"it is {kind_of(status.st_mode)}, not a file")
    if status.st_nlink > 1:
        raise OSError(
            errno.EMLINK, "it has another name elsewhere (a hard link), which would change with it"
        )


def _sync_folder(folder: int) -> None:
    """Make the names in a folder survive a power failure, where the file system can do that."""
    with contextlib.suppress(OSError):  # some network file systems can't: the content is safe
        os.fsync(folder)
