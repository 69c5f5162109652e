"""Training progress: a curve of validation scores per architecture."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from supernet.records import Results
from supernet.report import conditions
from supernet.report.figures.canvas import LINES, MARKERS, PALETTE, annotate, new_figure
from supernet.report.summary import Curve, one_shot_curves, standalone_curves
from supernet.report.wording import FAILED, score, several, shorten, unit_of

Line: TypeAlias = Literal["-", "--", ":", "-.", ""]

_MOST = 40
_PER_COLUMN = 28


@dataclass(frozen=True, slots=True)
class Look:
    """Colour, line and marker of one architecture, the same in every figure."""

    color: str
    line: Line
    marker: str


def looks(results: Results) -> list[Look]:
    """Return how each architecture is drawn.

    Two choices of at most four options: colour tells the first, line and marker the second.
    Otherwise all combinations in turn.
    """
    choices = results.network.choices
    if len(choices) == 2 and all(len(choice.options) <= 4 for choice in choices):
        pairs = [
            [choice.options.index(arch.options[choice.name]) for choice in choices]
            for arch in results.architectures
        ]
    else:
        n = len(PALETTE)
        pairs = [[i % n, (i // n) % len(LINES)] for i in range(len(results.architectures))]
    return [Look(PALETTE[color], LINES[line], MARKERS[line]) for color, line in pairs]


def one_shot_progress(results: Results) -> Figure:
    """Draw the accuracy of every architecture inside the supernet, epoch by epoch."""
    n = several(len(results.architectures), "architecture")
    title = f"One-shot training: validation accuracy of {n} in the supernet"
    return _progress(results, one_shot_curves(results), title)


def standalone_progress(results: Results) -> Figure:
    """Draw the accuracy of every architecture trained on its own, epoch by epoch."""
    curves = standalone_curves(results)
    title = f"Standalone training: validation accuracy of {several(len(curves), 'network')}"
    return _progress(results, curves, title)


def _progress(results: Results, curves: list[Curve], title: str) -> Figure:
    ordered = sorted(curves, key=lambda c: (math.isnan(c.final), -c.final, c.index))
    shown = ordered[:_MOST]
    figure = new_figure(9.0, max(4.4, 0.175 * min(len(shown), _PER_COLUMN) + 1.5))
    zoom = _zoom(shown)
    whole, *rest = figure.subplots(1, 1 if zoom is None else 2, squeeze=False)[0]
    _draw(whole, results, shown)
    whole.set_ylabel(f"validation {results.measure.name} ({unit_of(results.measure)})")
    if zoom is not None:
        _draw(rest[0], results, shown)
        _show_end(rest[0], *zoom)
        whole.set_title("All epochs")
    _legend(rest[-1] if rest else whole, results, shown)
    annotate(figure, title, _note(results, shown, len(ordered) - len(shown)))
    return figure


def _draw(axes: Axes, results: Results, curves: Sequence[Curve]) -> None:
    look = looks(results)
    several_seeds = len(results.seeds) > 1
    alone = _one_epoch(curves)
    draw: Callable[[Axes, Curve, Look, float, bool], None] = _points if alone else _line
    for i, curve in enumerate(sorted(curves, key=lambda c: c.index)):
        shift = (i + 0.5) / len(curves) - 0.5
        draw(axes, curve, look[curve.index], shift, several_seeds)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")
    if alone:
        axes.set_xlim(0.4, 1.6)
        axes.set_xticks(curves[0].epochs if curves else [])


def _line(axes: Axes, curve: Curve, look: Look, _: float, band: bool) -> None:
    every = max(1, len(curve.epochs) // 10)
    axes.plot(
        curve.epochs,
        [100 * value for value in curve.mean],
        color=look.color,
        linestyle=look.line,
        marker=look.marker,
        markevery=every,
    )
    if band:
        low, high = ([100 * v for v in values] for values in (curve.low, curve.high))
        axes.fill_between(curve.epochs, low, high, color=look.color, alpha=0.12, linewidth=0)


def _points(axes: Axes, curve: Curve, look: Look, shift: float, band: bool) -> None:
    if not curve.epochs:
        return
    x, y = curve.epochs[0] + 0.9 * shift, 100 * curve.mean[0]
    reach = [[y - 100 * curve.low[0]], [100 * curve.high[0] - y]] if band else None
    axes.errorbar([x], [y], yerr=reach, color=look.color, marker=look.marker, ms=6, elinewidth=1)


def _zoom(curves: Sequence[Curve]) -> tuple[list[int], float, float] | None:
    """Return the last half of the epochs and its lowest and highest accuracy, if it is crowded."""
    epochs = sorted({epoch for curve in curves for epoch in curve.epochs})
    last = epochs[len(epochs) // 2 :]
    everything = _finite(curves, epochs)
    end = _finite(curves, last)
    if (
        len(epochs) < 5
        or not end
        or max(end) - min(end) > 0.4 * (max(everything) - min(everything))
    ):
        return None
    return last, min(end), max(end)


def _finite(curves: Sequence[Curve], epochs: Sequence[int]) -> list[float]:
    return [
        value
        for curve in curves
        for values in (curve.low, curve.high)
        for epoch, value in zip(curve.epochs, values, strict=True)
        if epoch in epochs and math.isfinite(value)
    ]


def _show_end(axes: Axes, epochs: list[int], low: float, high: float) -> None:
    margin = max(0.06 * (high - low), 1e-4)
    axes.set_xlim(epochs[0] - 0.04 * len(epochs), epochs[-1] + 0.04 * len(epochs))
    axes.set_ylim(100 * (low - margin), 100 * (high + margin))
    axes.set_title(f"Epochs {epochs[0]} to {epochs[-1]}, magnified")


def _legend(axes: Axes, results: Results, curves: Sequence[Curve]) -> None:
    look = looks(results)
    labels = shorten([arch.label for arch in results.architectures], 24)
    alone = _one_epoch(curves)
    handles = [
        Line2D([], [], color=mine.color, linestyle="" if alone else mine.line, marker=mine.marker)
        for mine in (look[curve.index] for curve in curves)
    ]
    axes.legend(
        handles,
        [f"{labels[curve.index]}  {score(curve.final, results.measure)}" for curve in curves],
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0.0,
        title=_names(results) + "\nand the last, in " + unit_of(results.measure),
        title_fontsize=8,
        alignment="left",
        handlelength=1.0 if alone else 3.2,
        ncols=-(-len(curves) // _PER_COLUMN) if curves else 1,
    )


def _one_epoch(curves: Sequence[Curve]) -> bool:
    return all(len(curve.epochs) <= 1 for curve in curves)


def _names(results: Results) -> str:
    names = shorten([choice.name for choice in results.network.choices], 14)
    text = ", ".join(names)
    return f"({text})" if len(text) <= 30 else "Architecture"


def _note(results: Results, curves: Sequence[Curve], left_out: int) -> str:
    note = conditions.everything(results, "validation", results.data.validation)
    if len(results.seeds) > 1:
        note += " Bands or bars: from the lowest seed to the highest."
    if any(math.isnan(value) for curve in curves for value in curve.mean):
        note += (
            f" {FAILED.capitalize()}: an output was not a finite number; such epochs are left out."
        )
    if left_out:
        note += f" The best {_MOST} are drawn, {left_out} more are not."
    return note
