"""Safe reading of files of unknown origin: regular files only, bounded in size, plain JSON.

A run folder, a data file or a settings file can come from anywhere. In place of a file there may be
a pipe that never ends, a device, a link to something else, or a file of a terabyte that takes no
room on the disk. What is refused here is an `OSError` whose `strerror` says why, as the system's
own refusals are, so that whoever reads handles both alike.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, NoReturn

import yaml

#: Bytes. Settings and manifests have no more than some thousand, results some million.
SMALL: Final = 2**20
LARGE: Final = 2**26

_CHUNK: Final = 2**20
_GROUP_LIMIT: Final = Path("/sys/fs/cgroup/memory.max")

#: So deep may lists and dictionaries lie in one another; those of a run lie 6 deep.
_DEEPEST: Final = 64
#: The largest whole number, and the smallest below zero.
_MOST: Final = 2**63 - 1


def open_regular(path: Path, *, follow: bool = True, folder: int | None = None) -> BinaryIO:
    """Open a regular file for reading, without waiting for anybody.

    Args:
        path: The file.
        follow: Whether its last part may be a link.
        folder: A file descriptor of the folder that a relative `path` is in.

    Raises:
        OSError: If it can't be opened, or is no regular file.
    """
    try:
        before = os.stat(path, dir_fd=folder, follow_symlinks=follow)
        if not stat.S_ISREG(before.st_mode):  # looked at before: opening some devices does things
            raise _no_file(before.st_mode, path)
        # Not to be waited for, should somebody have put a pipe there meanwhile.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        handle = os.open(path, flags | (0 if follow else os.O_NOFOLLOW), dir_fd=folder)
    except ValueError as error:  # there is a NUL in it, or what is no UTF-8
        raise _refusal(errno.EINVAL, f"it is no name for a file: {error}", path) from None
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            raise _no_file(mode, path)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_regular(
    path: Path, limit: int, *, follow: bool = True, folder: int | None = None
) -> bytes:
    """Return the content of a regular file.

    Args:
        path: The file.
        limit: The most bytes it may have; a larger one is refused before any of it is read.
        follow: Whether its last part may be a link.
        folder: A file descriptor of the folder that a relative `path` is in.

    Raises:
        OSError: If it can't be read, is no regular file, or is larger.
    """
    with open_regular(path, follow=follow, folder=folder) as file:
        size = os.fstat(file.fileno()).st_size
        # One more than there should be: it may grow meanwhile, and some say they have nothing.
        content = b"" if size > limit else bytes(read_up_to(file, limit + 1))
    if size > limit or len(content) > limit:
        raise _refusal(errno.EFBIG, f"it has more than the {limit} bytes allowed", path)
    return content


def read_up_to(stream: IO[bytes], count: int) -> bytearray:
    """Read `count` bytes, or what there is; memory grows with what came, not with `count`."""
    data = bytearray()
    while chunk := stream.read(min(_CHUNK, count - len(data))):
        data += chunk
    return data


def parse_json(content: bytes) -> Any:
    """Return what plain JSON says.

    Plain is what every reader takes alike: each name once in its dictionary, whole numbers of up to
    64 bits, no `NaN`, `Infinity` or number too large for a float, and nothing nested deeper than
    anybody writes it.

    Raises:
        ValueError: If it isn't that; says what was found.
    """
    try:
        value = json.loads(
            content,
            object_pairs_hook=_named_once,
            parse_constant=_no_constant,
            parse_int=_whole,
            parse_float=_finite,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON ({error})") from None
    except UnicodeDecodeError:
        raise ValueError("it is no text in UTF-8") from None
    _check_depth(value)
    return value


def parse_yaml(content: bytes) -> Any:
    """Return what plain YAML says: tags of code are refused, as `yaml.safe_load` does.

    So are a name that comes twice in its mapping, and merge keys (`<<`), a few lines of which can
    ask for more memory than there is.

    Raises:
        ValueError: If it isn't that; says what was found.
    """
    try:
        return _PlainLoader(content.decode("utf-8")).get_single_data()
    except UnicodeDecodeError:
        raise ValueError("it is no text in UTF-8") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


class _PlainLoader(yaml.SafeLoader):
    """PyYAML's safe loader, which refuses names that come twice, and merge keys."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        seen = set()
        for key, _ in node.value:
            name = (key.tag, key.value if isinstance(key.value, str) else id(key))
            if key.tag == "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, "merge keys (<<) are not read", key.start_mark
                )
            if name in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the name {str(key.value)[:40]!r} comes twice", key.start_mark
                )
            seen.add(name)


def find_memory() -> int:
    """Return how many bytes of memory there are, for this machine or for its control group."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(whole, int(_GROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # there is no group, or its limit is the word "max"
        return whole


def _no_file(mode: int, path: object) -> OSError:
    return _refusal(errno.EINVAL, f"it is {kind_of(mode)}, not a file", path)


def _refusal(number: int, reason: str, path: object) -> OSError:
    return OSError(number, reason, os.fspath(path) if isinstance(path, Path) else str(path))


def kind_of(mode: int) -> str:
    """Return what something on disk is, in words, by its mode."""
    kinds = {
        stat.S_IFREG: "a file",
        stat.S_IFDIR: "a folder",
        stat.S_IFLNK: "a link",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"it has the name {name[:40]!r} twice")
        found[name] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"it has the number {name}, which JSON doesn't have")


def _whole(text: str) -> int:
    if len(text) > len(str(-_MOST)) or abs(number := int(text)) > _MOST:
        raise ValueError(f"it has a whole number of {len(text)} digits, too large to be true")
    return number


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"it has the number {text[:40]}, too large for a float")
    return number


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise ValueError("it is nested too deeply")
