"""The comparison table as a figure."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from supernet.records import Results
from supernet.report import conditions
from supernet.report.figures.canvas import INK, SOFT, YELLOW, new_figure, text_width, wrapped
from supernet.report.table import Column, columns, note
from supernet.report.wording import shorten

_SIZE = 9.0
_LINE = 0.26
_GAP = 0.28
_EDGE = 0.2
_MOST = 60


def comparison_table(results: Results) -> Figure:
    """Draw the table; its size follows from what is in it."""
    table = columns(results)
    shown = min(len(results.architectures), _MOST)
    table = [_shorter(column, shown) for column in table]
    widths = [_width(column) for column in table]
    width = max(sum(widths) + _GAP * (len(widths) - 1) + 2 * _EDGE, 6.0)
    notes = wrapped(_notes(results, shown), width - 2 * _EDGE, 7.5)
    lines = 1.0 + 0.2 + _LINE * shown + 0.16 * (1 + notes.count("\n")) + 0.25
    figure = new_figure(width, lines, constrained=False)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(lines, 0))
    axes.axis("off")
    axes.text(
        _EDGE,
        0.25,
        "One-shot against standalone" if len(table) > 6 else "One-shot accuracy",
        size=11,
        weight="bold",
        va="center",
    )
    _mark_picked(axes, results, shown, width)
    _columns(axes, table, widths)
    for y in (0.98, 1.0 + _LINE * shown + 0.05):
        axes.plot([_EDGE, width - _EDGE], [y, y], color=SOFT, lw=0.8)
    axes.text(_EDGE, lines - 0.1, notes, size=7.5, color=SOFT, va="bottom")
    return figure


def _columns(axes: Axes, table: list[Column], widths: list[float]) -> None:
    left = _EDGE
    for i, (column, width) in enumerate(zip(table, widths, strict=True)):
        x, side = (left, "left") if i == 0 else (left + width, "right")
        axes.text(x, 0.6, column.title, size=_SIZE, weight="bold", ha=side, va="center")
        axes.text(x, 0.82, column.unit, size=8, color=SOFT, ha=side, va="center")
        for row, cell in enumerate(column.cells):
            axes.text(
                x,
                1.0 + _LINE * (row + 0.5) + 0.02,
                cell,
                size=_SIZE,
                color=INK,
                ha=side,
                va="center",
                weight="bold" if row == column.best else "normal",
            )
        left += width + _GAP


def _mark_picked(axes: Axes, results: Results, shown: int, width: float) -> None:
    picked = results.verdict.picked if results.verdict else None
    for row, arch in enumerate(results.architectures[:shown]):
        if arch.label == picked:
            y = 1.0 + _LINE * row + 0.02
            axes.fill_between(
                [_EDGE / 2, width - _EDGE / 2], y, y + _LINE, color=YELLOW, linewidth=0
            )


def _shorter(column: Column, shown: int) -> Column:
    unit = column.unit if len(column.unit) <= 36 else ""
    return Column(column.title, unit, shorten(column.cells, 36)[:shown], column.best)


def _width(column: Column) -> float:
    return max(
        text_width(column.title, _SIZE, bold=True),
        text_width(column.unit, 8),
        *(text_width(cell, _SIZE, bold=True) for cell in column.cells),
    )


def _notes(results: Results, shown: int) -> str:
    parts = [note(results)]
    if results.verdict:
        parts.append("Yellow: picked by the one-shot ranking; bold: highest.")
    if left_out := len(results.architectures) - shown:
        parts.append(f"And {left_out} more, in results.csv.")
    n = results.data.test
    return " ".join([*parts, conditions.everything(results, "test", n)])
