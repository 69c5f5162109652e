r"""Text from elsewhere, made safe to show: it breaks no line, steers no terminal, turns nothing.

Names come from folders, command lines, networks and records of strangers. What is no letter, sign
or space in them (control characters, marks that turn the direction of writing, halves of
characters) is written as its escape. Needs nothing else of the package.
"""

from __future__ import annotations

import shlex
import unicodedata
from collections.abc import Callable, Iterable

_INVISIBLE = frozenset({"Cc", "Cf", "Cn", "Cs", "Zl", "Zp"})
"""Unicode's categories: control, format, unassigned, surrogate, line and paragraph separator."""


def visible(text: str) -> str:
    r"""Return text in which what can't be seen is written as Python writes it.

    >>> print(visible("tab\t, zero\0, accents é, 漢字"))
    tab\t, zero\x00, accents é, 漢字
    """
    return escape(text, lambda character: unicodedata.category(character) not in _INVISIBLE)


def escape(text: str, shows: Callable[[str], bool]) -> str:
    """Return text with the escapes of the characters that don't show."""
    return "".join(
        character if shows(character) else character.encode("unicode_escape").decode()
        for character in text
    )


def show(name: object, most: int = 400) -> str:
    r"""Return a name or path on one line of at most `most` visible characters.

    Names on a disk may hold line ends, bytes that are no text, or 250 letters. Ordinary ones are
    returned as they are.

    >>> show("red\x1b[31m"), show("x" * 20, 9)
    ('red\\x1b[31m', 'xxxx...x')
    """
    text = str(name)
    # Cut first: an escape is up to ten times as long as what it stands for.
    short = visible(text if len(text) <= 2 * most else text[:most] + text[-most:])
    return short if len(short) <= most else f"{short[: most // 2]}...{short[3 - most // 2 :]}"


def visible_lines(text: str) -> str:
    """Return text of several lines, each of which is visible."""
    return "\n".join(map(visible, text.split("\n")))


def join_command(arguments: Iterable[str]) -> str:
    r"""Return a command as it can be typed into bash or zsh, on one line of visible characters.

    >>> print(join_command(["resume", "my run", "a\nb\udcff"]))
    resume 'my run' $'a\x0ab\xff'
    """
    return " ".join(map(_quote, arguments))


def _quote(argument: str) -> str:
    if visible(argument) == argument:
        return shlex.quote(argument)
    return "$'" + "".join(map(_as_typed, argument)) + "'"


def _as_typed(character: str) -> str:
    """Return a character as it stands between `$'` and `'`."""
    if character in "'\\":
        return f"\\{character}"
    if visible(character) == character:
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
