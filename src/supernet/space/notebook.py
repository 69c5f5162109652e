"""Tables for notebooks."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


def html_table(title: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as HTML, everything in it escaped.

    >>> html_table("sizes", ["name"], [["a<b"]])
    '<p>sizes</p><table><thead><tr><th>name</th></tr></thead><tbody><tr><td>a&lt;b</td></tr></tbody></table>'
    """
    body = "".join(f"<tr>{_cells('td', row)}</tr>" for row in rows)
    return (
        f"<p>{html.escape(title)}</p><table><thead><tr>{_cells('th', head)}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def _cells(tag: str, row: Iterable[object]) -> str:
    return "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in row)


def count(number: int, noun: str) -> str:
    """Return a number with its noun in the right form; a very large one as a power of ten.

    >>> count(1, "choice"), count(6561, "architecture")
    ('1 choice', '6,561 architectures')
    >>> count(2_170_000_000_000_000_000, "architecture")
    '2.2e18 architectures'
    """
    shown = f"{number:,}"
    if number >= 10**12:
        digits = str(number)
        first = round(int(digits[:3]) / 100, 1)
        power = len(digits) - 1
        shown = f"{first:.1f}e{power}" if first < 10 else f"1.0e{power + 1}"
    return f"{shown} {noun}{'' if number == 1 else 's'}"
