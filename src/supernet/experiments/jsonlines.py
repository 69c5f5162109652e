"""Files of one JSON object per line, in the folder of a search."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from supernet.errors import RunFolderError
from supernet.reading import LARGE, parse_json, read_regular
from supernet.runs import files
from supernet.text import show

T = TypeVar("T")


def write_lines(path: Path, rows: Iterable[dict[str, Any]], folder: Path) -> None:
    """Write the rows, all of them or none.

    Args:
        path: The file, inside `folder`.
        rows: What each line says.
        folder: Nothing is written outside it, whatever links are in it.

    Raises:
        RunFolderError: If the file can't be written.
    """
    content = "".join(f"{json.dumps(row)}\n" for row in rows)
    files.write(path, content.encode(), root=folder)


def read_lines(path: Path, parse: Callable[[int, Any], T], *, remedy: str) -> list[T]:
    """Return what the lines of a file say; nothing, if there is no such file.

    Args:
        path: The file; a link, a special file or a huge one is refused.
        parse: Makes something of a line's number, from 0, and of what it says.
        remedy: What to do about a damaged file, as the end of the sentence that says so.

    Raises:
        RunFolderError: If it can't be read, or holds what wasn't written there.
    """
    try:
        content = read_regular(path, LARGE, follow=False)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunFolderError(files.unreadable(path, error)) from None
    try:
        return [parse(n, parse_json(line)) for n, line in enumerate(content.splitlines())]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        message = f"{show(path)} is damaged ({show(str(error))}); {remedy}"
        raise RunFolderError(message) from None
