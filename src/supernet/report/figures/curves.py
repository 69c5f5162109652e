"""Training curves: validation scores of each architecture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from supernet.records import Results
from supernet.report import conditions
from supernet.report.figures.canvas import (
    LINES,
    MARKERS,
    PALETTE,
    SOFT,
    annotate,
    new_figure,
    text_width,
)
from supernet.report.summary import Curve, one_shot_curves, standalone_curves
from supernet.report.wording import FAILED, score, several, shorten, unit_of

Line: TypeAlias = Literal["-", "--", ":", "-.", ""]

_MOST = 40
_PER_COLUMN = 28
_MOST_LINES = 64
_MOST_NAMED = 20
_BEST_NAMED = 8
_SIZE = 8.0
_LEADER = 0.3
"""Inches between the end of a curve and its name."""


@dataclass(frozen=True, slots=True)
class Look:
    """Color, line and marker of one architecture, the same in every figure."""

    color: str
    line: Line
    marker: str


def looks(results: Results) -> list[Look]:
    """Return how each architecture is drawn.

    Two choices of at most four options: color tells the first, line and marker the second.
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
    if _one_epoch(ordered):
        return _single_epoch(results, ordered, title)
    shown = _evenly(ordered, _MOST_LINES)
    named = shown if len(shown) <= _MOST_NAMED else [*shown[: _BEST_NAMED - 1], shown[-1]]
    figure = new_figure(9.0, max(4.4, 0.19 * len(named) + 1.6))
    zoom = _zoom(shown)
    whole, *rest = figure.subplots(1, 1 if zoom is None else 2, squeeze=False)[0]
    for axes in (whole, *rest):
        _draw(axes, results, shown, named)
    whole.set_ylabel(f"validation {results.measure.name} ({unit_of(results.measure)})")
    if zoom is not None:
        _show_end(rest[0], results, *zoom)
        whole.set_title("All epochs")
    annotate(figure, title, _note(results, shown, len(ordered) - len(shown)))
    _name_ends(figure, rest[-1] if rest else whole, results, named)
    return figure


def _single_epoch(results: Results, ordered: list[Curve], title: str) -> Figure:
    """Draw points beside one another, with a legend: they have no ends to write names at."""
    shown = ordered[:_MOST]
    figure = new_figure(9.0, max(4.4, 0.175 * min(len(shown), _PER_COLUMN) + 1.5))
    axes = figure.subplots()
    _draw(axes, results, shown, shown)
    axes.set_ylabel(f"validation {results.measure.name} ({unit_of(results.measure)})")
    _legend(axes, results, shown)
    annotate(figure, title, _note(results, shown, len(ordered) - len(shown)))
    return figure


def _evenly(ordered: list[Curve], most: int) -> list[Curve]:
    """Return so many of the curves at most, evenly by rank, the best ones and the last included."""
    if len(ordered) <= most:
        return ordered
    best, others = ordered[:_BEST_NAMED], ordered[_BEST_NAMED:]
    step = (len(others) - 1) / (most - len(best) - 1)
    return best + [others[round(i * step)] for i in range(most - len(best))]


def _name_ends(figure: Figure, axes: Axes, results: Results, named: Sequence[Curve]) -> None:
    """Write the name and the last score of each curve at its end, none over another."""
    short = shorten([arch.label for arch in results.architectures], 24)
    texts = [f"{short[c.index]}  {score(c.final, results.measure)}" for c in named]
    widest = max((text_width(text, _SIZE) for text in (*texts, _names(results))), default=0.0)
    room = (widest + _LEADER + 0.1) / figure.get_figwidth()
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    engine.set(rect=(0, 0, 1 - room, 1))
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    place = axes.get_position()
    height = place.height * figure.get_figheight()
    low, high = axes.get_ylim()
    wanted = [
        0.0 if math.isnan(c.final) else (results.measure.shown(c.final) - low) / (high - low)
        for c in named
    ]
    look = looks(results)
    x = 1 + _LEADER / (place.width * figure.get_figwidth())
    for curve, text, start, y in zip(
        named, texts, wanted, _apart(wanted, 1.35 * _SIZE / 72 / height), strict=True
    ):
        if not math.isnan(curve.final):
            axes.plot(
                [1, x],
                [min(max(start, 0), 1), y],
                transform=axes.transAxes,
                color=look[curve.index].color,
                lw=0.7,
                clip_on=False,
            )
        axes.text(
            x, y, f" {text}", transform=axes.transAxes, size=_SIZE, va="center",
            gid=f"name-{curve.index}",
        )  # fmt: skip
    axes.text(x, 1.02, f" {_names(results)}", transform=axes.transAxes, size=_SIZE, color=SOFT)


def _apart(wanted: Sequence[float], gap: float) -> list[float]:
    """Return places near those wanted, highest first, in their order and at least a gap apart.

    They lie between 0 and 1, or are spread evenly around that where there isn't room.
    """
    places: list[float] = []
    for y in wanted:
        places.append(min(y, places[-1] - gap) if places else min(y, 1.0))
    floor = min(0.0, 1.0 - gap * (len(places) - 1))
    for i in range(len(places) - 1, -1, -1):
        lowest = floor if i == len(places) - 1 else places[i + 1] + gap
        places[i] = max(places[i], lowest)
    return places


def _draw(axes: Axes, results: Results, curves: Sequence[Curve], named: Sequence[Curve]) -> None:
    look = looks(results)
    several_seeds = len(results.seeds) > 1
    alone = _one_epoch(curves)
    names = {curve.index for curve in named}
    for i, curve in enumerate(sorted(curves, key=lambda c: (c.index in names, c.index))):
        if alone:
            shift = (i + 0.5) / len(curves) - 0.5
            _points(axes, results, curve, look[curve.index], shift, several_seeds)
        elif curve.index in names:
            _line(axes, results, curve, look[curve.index], several_seeds)
        else:
            axes.plot(
                curve.epochs, _shown(results, curve.mean), color=SOFT, lw=0.6, alpha=0.5,
                gid=f"curve-{curve.index}",
            )  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")
    if alone:
        axes.set_xlim(0.4, 1.6)
        axes.set_xticks(curves[0].epochs if curves else [])
    elif curves:
        axes.set_xlim(right=max(epoch for curve in curves for epoch in curve.epochs))


def _shown(results: Results, values: Sequence[float]) -> list[float]:
    return [results.measure.shown(value) for value in values]


def _line(axes: Axes, results: Results, curve: Curve, look: Look, band: bool) -> None:
    axes.plot(
        curve.epochs,
        _shown(results, curve.mean),
        color=look.color,
        linestyle=look.line,
        marker=look.marker,
        markevery=max(1, len(curve.epochs) // 10),
        clip_on=len(curve.epochs) < 2,
        gid=f"curve-{curve.index}",
    )
    if band:
        low, high = _shown(results, curve.low), _shown(results, curve.high)
        axes.fill_between(curve.epochs, low, high, color=look.color, alpha=0.12, linewidth=0)


def _points(
    axes: Axes, results: Results, curve: Curve, look: Look, shift: float, band: bool
) -> None:
    if not curve.epochs:
        return
    (y,), (low,), (high,) = (_shown(results, part) for part in (curve.mean, curve.low, curve.high))
    x = curve.epochs[0] + 0.9 * shift
    reach = [[abs(y - low)], [abs(high - y)]] if band else None
    line, _, _ = axes.errorbar(
        [x], [y], yerr=reach, color=look.color, marker=look.marker, ms=6, elinewidth=1
    )
    line.set_gid(f"curve-{curve.index}")


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


def _show_end(axes: Axes, results: Results, epochs: list[int], low: float, high: float) -> None:
    margin = max(0.06 * (high - low), 1e-4)
    axes.set_xlim(epochs[0] - 0.04 * len(epochs), epochs[-1])
    axes.set_ylim(*sorted(_shown(results, (low - margin, high + margin))))
    for line in axes.lines:
        line.set_clip_on(True)
    axes.set_title(f"Epochs {epochs[0]} to {epochs[-1]}, magnified")


def _legend(axes: Axes, results: Results, curves: Sequence[Curve]) -> None:
    look = looks(results)
    labels = shorten([arch.label for arch in results.architectures], 24)
    handles = [
        Line2D([], [], color=mine.color, linestyle="", marker=mine.marker)
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
        handlelength=1.0,
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
    if len(curves) > _MOST_NAMED and not _one_epoch(curves):
        note += f" Named: the best {_BEST_NAMED - 1} and the last."
    if left_out:
        which = f"the best {_MOST}" if _one_epoch(curves) else f"{len(curves)}, evenly by rank"
        note += f" Drawn: {which}; {left_out:,} more are not."
    return note
