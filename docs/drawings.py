"""Drawings of the documentation that are made by a program: `python docs/drawings.py`."""

from collections.abc import Sequence
from pathlib import Path

import torch

import supernet as sn

FIGURES = Path(__file__).resolve().parent / "figures"

#: Sizes in pixels: a box, the way from one to the next, and what is around all of them.
WIDTH, HEIGHT, COLUMN, ROW, LEFT, TOP = 50, 22, 66, 32, 24, 58

#: One card with a background of its own, so that it reads on any page, in light and dark.
STYLE = """
  .card { fill: #ffffff; stroke: #d0d0d0 } text { fill: #222222; font: 12px sans-serif }
  .title { font-weight: bold; font-size: 14px } .label { text-anchor: middle; font-size: 11px }
  .line { stroke: #888888; fill: none } .always { fill: #e4e4e4 } .first { fill: #bcdcf0 }
  .second { fill: #f7d3b5 } .count { fill: #555555; font-size: 10px }
  @media (prefers-color-scheme: dark) {
    .card { fill: #1b1d20; stroke: #44474b } text { fill: #e6e6e6 } .count { fill: #b5b5b5 }
    .always { fill: #43474c } .first { fill: #1d5578 } .second { fill: #7a4317 }
  }
"""

#: What an architecture runs, in order.
Course = tuple[str, ...]


def courses() -> list[Course]:
    """Return the course of each of the nine architectures through the network."""
    return [
        (
            "stem",
            *(f"1.{number}" for number in range(1, first + 1)),
            "halve",
            *(f"2.{number}" for number in range(1, second + 1)),
            "head",
        )
        for first in (1, 2, 3)
        for second in (1, 2, 3)
    ]


def draw_sharing() -> str:
    """Return the drawing of shared execution, as SVG.

    Above are the nine architectures one by one, a row each; below, the tree that remains when
    pieces of work that begin alike are one.
    """
    supernet = sn.Supernet(sn.build_mnist_net(seed=0))
    plan = sn.plan(supernet, supernet.space, torch.empty(1, 1, 28, 28, device="meta"))
    rows = courses()
    tree = sorted({row[:length] for row in rows for length in range(1, len(row) + 1)})
    apart = sum(map(len, rows))
    below = TOP + len(rows) * ROW + 62
    height = below + len(rows) * ROW + 14
    width = 2 * LEFT + max(map(len, rows)) * COLUMN + 60
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" aria-label="Nine architectures one by one, '
        f'and in one shared pass">',
        f"<style>{STYLE}</style>",
        f'<rect class="card" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>',
        _text(LEFT, 26, "One by one", "title"),
        _text(
            LEFT, 44, f"{apart} pieces of work, {_millions(plan.macs_apart)} multiply-adds an image"
        ),
    ]
    for number, row in enumerate(rows):
        parts += _row(row, TOP + number * ROW)
    parts += [
        _text(LEFT, below - 32, "In one pass", "title"),
        _text(
            LEFT, below - 14, f"{len(tree)} pieces of work, {_millions(plan.macs)} multiply-adds"
        ),
    ]
    for prefix in tree:
        parts += _node(prefix, rows, below)
    return "\n".join([*parts, "</svg>", ""])


def _row(row: Course, y: float) -> list[str]:
    """Return one architecture by itself."""
    parts = [_line(column, y, column + 1, y) for column in range(len(row) - 1)]
    parts += [_box(column, y, name) for column, name in enumerate(row)]
    return [*parts, _text(LEFT + len(row) * COLUMN, y + 15, _label(row), "count")]


def _node(prefix: Course, rows: Sequence[Course], top: float) -> list[str]:
    """Return one piece of work of the tree, and the line from the one before it."""
    column, y = len(prefix) - 1, _height(prefix, rows, top)
    served = sum(row[: len(prefix)] == prefix for row in rows)
    parts = [_box(column, y, prefix[-1])]
    if column:
        parts.insert(0, _line(column - 1, _height(prefix[:-1], rows, top), column, y))
    if prefix in rows:
        return [*parts, _text(LEFT + len(prefix) * COLUMN, y + 15, _label(prefix), "count")]
    if served > 1:
        parts.append(_text(LEFT + column * COLUMN + 12, y - 3, f"for {served}", "count"))
    return parts


def _height(prefix: Course, rows: Sequence[Course], top: float) -> float:
    """Return how far down a piece of work is: amid the architectures that it serves."""
    served = [at for at, row in enumerate(rows) if row[: len(prefix)] == prefix]
    return top + ROW * sum(served) / len(served)


def _label(row: Course) -> str:
    """Return an architecture as tables show it."""
    first, second = (sum(name.startswith(block) for name in row) for block in ("1.", "2."))
    return f"({first}, {second})"


def _box(column: int, y: float, name: str) -> str:
    kind = {"1": "first", "2": "second"}.get(name[0], "always")
    x = LEFT + column * COLUMN
    return (
        f'<rect class="{kind}" x="{x}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="4"/>'
        + _text(x + WIDTH / 2, y + 15, name, "label")
    )


def _line(column: int, y: float, to: int, to_y: float) -> str:
    start, end = LEFT + column * COLUMN + WIDTH, LEFT + to * COLUMN
    middle = (start + end) / 2
    y, to_y = y + HEIGHT / 2, to_y + HEIGHT / 2
    curve = f"M{start} {y:g}C{middle:g} {y:g} {middle:g} {to_y:g} {end} {to_y:g}"
    return f'<path class="line" d="{curve}"/>'


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text{style} x="{x:g}" y="{y:g}">{text}</text>'


def _millions(count: int) -> str:
    return f"{count / 1e6:.0f} million"


if __name__ == "__main__":
    (FIGURES / "shared-execution.svg").write_text(draw_sharing(), encoding="utf-8")
