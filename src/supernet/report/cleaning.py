r"""Names as they may be shown: nothing in them breaks lines, steers terminals, or reorders text.

Names come from folders, command lines and networks. What is no letter, sign or space in them
(control characters, marks that turn the direction of writing, halves of characters) is written as
its escape.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any

from supernet.records import Results

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


def cleaned(results: Results, clean: Callable[[str], str] = visible) -> Results:
    """Return results with every text in them cleaned, or the same if there is nothing to clean."""
    record = results.model_dump()
    again = _cleaned(record, clean)
    return results if again == record else Results.model_validate(again)


def _cleaned(value: Any, clean: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {_cleaned(key, clean): _cleaned(each, clean) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_cleaned(each, clean) for each in value)
    return value
