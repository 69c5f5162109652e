"""One-shot against standalone accuracy, as a scatter plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from supernet.records import Estimate, Measure, Results
from supernet.report import conditions
from supernet.report.figures.canvas import BLUE, INK, SOFT, above, annotate, new_figure, text_width
from supernet.report.figures.curves import Look, looks
from supernet.report.figures.labels import Box, place
from supernet.report.summary import ranked_by, rows
from supernet.report.wording import UNKNOWN, number, several, shorten, unit_of

_SIZE = 8.0
_MOST = 30
_MOST_BARS = 100


@dataclass(frozen=True, slots=True)
class Point:
    """An architecture that was measured both ways, in percent."""

    label: str
    text: str
    look: Look
    x: float
    y: float
    x_reach: tuple[float, float]
    y_reach: tuple[float, float]


def agreement(results: Results) -> Figure:
    """Draw each architecture at its one-shot and its standalone accuracy, with both intervals."""
    points = _points(results)
    figure = new_figure(6.8, 7.2)
    axes = figure.subplots()
    if len(points) > _MOST_BARS:
        _cloud(axes, points)
    for point in points if len(points) <= _MOST_BARS else ():
        axes.errorbar(
            [point.x],
            [point.y],
            xerr=[[r] for r in point.x_reach],
            yerr=[[r] for r in point.y_reach],
            color=point.look.color,
            marker=point.look.marker,
            elinewidth=0.7,
            alpha=0.9,
            zorder=3,
        )
    name = f"test {results.measure.name} ({unit_of(results.measure)})"
    axes.set_xlabel(f"one-shot {name}")
    axes.set_ylabel(f"standalone {name}")
    shows_line = _frame(axes, points)
    _rings(axes, results, points)
    _handles(axes, results, points, shows_line)
    annotate(figure, _title(results), _note(results, points, shows_line))
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    marked = {label for label, _, _ in _marked(results)}
    every = len(results.architectures) <= _MOST
    _labels(axes, [point for point in points if every or point.label in marked], points)
    return figure


def _cloud(axes: Axes, points: Sequence[Point]) -> None:
    """Draw many points, all alike, without bars."""
    x, y = [point.x for point in points], [point.y for point in points]
    axes.plot(x, y, "o", color=BLUE, ms=3, alpha=0.5, mew=0, ls="", zorder=3)


def _points(results: Results) -> list[Point]:
    return [
        Point(
            label=row.label,
            text=text,
            look=look,
            x=results.measure.shown(row.one_shot.value),
            y=results.measure.shown(row.standalone.value),
            x_reach=_reach(row.one_shot, results.measure),
            y_reach=_reach(row.standalone, results.measure),
        )
        for row, look, text in zip(
            rows(results),
            looks(results),
            shorten([arch.label for arch in results.architectures], 14),
            strict=True,
        )
        if row.standalone is not None
        and math.isfinite(row.standalone.value)
        and math.isfinite(row.one_shot.value)
    ]


def _reach(estimate: Estimate, measure: Measure) -> tuple[float, float]:
    value = measure.shown(estimate.value)
    low, high = sorted((measure.shown(estimate.low), measure.shown(estimate.high)))
    if not (math.isfinite(low) and math.isfinite(high)):
        return 0.0, 0.0
    return max(value - low, 0.0), max(high - value, 0.0)


def _frame(axes: Axes, points: Sequence[Point]) -> bool:
    """Set the limits; say whether the diagonal is within them.

    A point counts the same on both axes. They show the same range, so that the diagonal crosses the
    whole figure, unless the points would then fill less than a third of it.
    """
    if not points:
        axes.set(xlim=(0, 100), ylim=(0, 100))
        return False
    x = _range([(p.x, p.x_reach) for p in points])
    y = _range([(p.y, p.y_reach) for p in points])
    both = min(x[0], y[0]), max(x[1], y[1])
    longer = max(x[1] - x[0], y[1] - y[0])
    if both[1] - both[0] <= 3 * longer:
        x = y = both
    else:
        x, y = (((a + b - longer) / 2, (a + b + longer) / 2) for a, b in (x, y))
    axes.set(xlim=x, ylim=y)
    axes.set_aspect("equal", adjustable="box")
    axes.axline((both[0], both[0]), slope=1, color=SOFT, lw=0.9, ls="--", zorder=1)
    return max(x[0], y[0]) < min(x[1], y[1])


def _range(values: Sequence[tuple[float, tuple[float, float]]]) -> tuple[float, float]:
    low = min(value - down for value, (down, _) in values)
    high = max(value + up for value, (_, up) in values)
    margin = max(0.08 * (high - low), 0.05)
    return low - margin, high + margin


def _rings(axes: Axes, results: Results, points: Sequence[Point]) -> None:
    for label, line, size in _marked(results):
        for point in points:
            if point.label == label:
                axes.plot(
                    [point.x],
                    [point.y],
                    "o",
                    ms=size,
                    mfc="none",
                    mec=INK,
                    mew=1.1,
                    ls=line,
                    zorder=4,
                )


def _marked(results: Results) -> list[tuple[str, str, float]]:
    verdict = results.verdict
    if verdict is None:
        return []
    best = [row.label for row in rows(results) if row.standalone_rank == 1]
    return [(verdict.picked, "", 11.0), *((label, "", 15.0) for label in best or [verdict.best])]


def _handles(axes: Axes, results: Results, points: Sequence[Point], shows_line: bool) -> None:
    handles = (
        [Line2D([], [], color=SOFT, lw=0.9, ls="--", label="equal on both")] if shows_line else []
    )
    rings = (8.0, "picked by one-shot"), (11.0, "best standalone")
    shown = {point.label for point in points}
    marked = _marked(results)
    for label, (size, text) in zip(
        [label for label, *_ in (*marked[:1], *marked[1:2])], rings, strict=False
    ):
        if label in shown:
            ring = Line2D([], [], color=INK, marker="o", ms=size, mfc="none", ls="", label=text)
            handles.append(ring)
    if handles:
        axes.legend(handles=handles, **above(len(handles)))


def _bars(axes: Axes, point: Point, scale: float) -> list[Box]:
    """Return the place that the error bars of a point take."""
    (left, right), (down, up) = point.x_reach, point.y_reach
    ends = [(point.x - left, point.y - down), (point.x + right, point.y + up)]
    (x0, y0), (x1, y1) = axes.transData.transform(ends)
    x, y = axes.transData.transform((point.x, point.y))
    return [Box(x0, y - scale, x1, y + scale), Box(x - scale, y0, x + scale, y1)]


def _labels(axes: Axes, points: Sequence[Point], everyone: Sequence[Point]) -> None:
    """Write the labels where they cover nothing, and lead a line to those that had to go far."""
    scale = axes.figure.dpi / 72
    dots = [(float(x), float(y)) for x, y in axes.transData.transform([(p.x, p.y) for p in points])]
    sizes = [(72 * scale * text_width(p.text, _SIZE), 1.25 * _SIZE * scale) for p in points]
    frame = axes.get_window_extent()
    boxes = place(
        dots,
        sizes,
        [bar for point in everyone[:_MOST_BARS] for bar in _bars(axes, point, scale)],
        Box(frame.x0, frame.y0, frame.x1, frame.y1),
        radius=4 * scale,
        gap=1.5 * scale,
    )
    for point, dot, box in zip(points, dots, boxes, strict=True):
        center = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
        far = math.dist(dot, center) > (box.x1 - box.x0) / 2 + 12 * scale
        axes.annotate(
            point.text,
            (point.x, point.y),
            xytext=((center[0] - dot[0]) / scale, (center[1] - dot[1]) / scale),
            textcoords="offset points",
            ha="center",
            va="center",
            size=_SIZE,
            color=INK,
            zorder=5,
            arrowprops={"arrowstyle": "-", "color": SOFT, "lw": 0.5, "shrinkA": 1, "shrinkB": 3}
            if far
            else None,
        )


def _title(results: Results) -> str:
    verdict = results.verdict
    if verdict is None:
        return "One-shot against standalone accuracy"
    tau = verdict.tau
    if not math.isfinite(tau.value):
        return f"Kendall tau: {UNKNOWN}"
    true = "of the true ranking " if verdict.edition > 1 else ""
    bounds = f"95 % interval {true}{number(tau.low)} to {number(tau.high)}"
    return f"Agreement of the rankings: Kendall tau {number(tau.value)} ({bounds})"


def _note(results: Results, points: Sequence[Point], shows_line: bool) -> str:
    note = conditions.everything(results, "test", results.data.test)
    if missing := len(results.architectures) - len(points):
        n = several(missing, "network")
        note += f" Not shown: {n} without a score of either kind (none, or failed)."
    if points and not shows_line:
        note += " The line of equal scores lies outside the figure."
    if len(results.architectures) > _MOST:
        note += " Only the picked and the best network are named."
    if results.verdict is None:
        return note
    n = f"{results.verdict.validation_images:,}"
    bars = "Bars: 95 % intervals. " if len(points) <= _MOST_BARS else ""
    return (
        f"{bars}Tau compares one-shot {ranked_by(results)} on {n} samples "
        f"with standalone {results.measure.name} on test samples. {note}"
    )
