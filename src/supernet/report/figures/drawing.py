"""Drawing of the supernet and of the parts each architecture runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from supernet.records import ArchitectureRecord, Results, Stage
from supernet.report.figures.canvas import (
    BLUE,
    INK,
    NOTE,
    SOFT,
    YELLOW,
    fit,
    new_figure,
    text_width,
    wrapped,
)
from supernet.report.wording import brief, count, several, shorten

_ROW = 0.46
_BOX = 0.28
_GAP = 0.16
_JOIN = 0.2
_EDGE = 0.2
_BUS = 0.32
_SIZE = 8.0
_NARROW = 0.36
_MOST = 25


@dataclass(frozen=True, slots=True)
class Place:
    """A block of the network: its stage, its number within it (from 1), and its height."""

    stage: int
    number: int
    text: str
    y: float


@dataclass(frozen=True, slots=True)
class Sketch:
    """Where everything goes, in inches; y points down."""

    places: list[Place]
    names: float
    left: float
    right: float
    strips: float
    pitch: float
    strip: float
    top: float
    bottom: float
    width: float


def supernet(results: Results) -> Figure:
    """Draw the network top to bottom and a strip per architecture, block beside block."""
    archs = results.architectures[:_MOST]
    sketch = _sketch(results, archs)
    note = wrapped(_note(results), sketch.width - 2 * _EDGE, 7.5)
    height = sketch.bottom + 0.1 + 0.15 * (1 + note.count("\n"))
    figure = new_figure(sketch.width, height, constrained=False)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, sketch.width), ylim=(height, 0))
    axes.axis("off")
    axes.text(_EDGE, 0.26, _title(results, sketch), size=11, weight="bold", va="center")
    axes.text(_EDGE, height - 0.12, note, size=7.5, color=SOFT, va="bottom", gid=NOTE)
    for number, stage in enumerate(results.network.stages):
        _stage(axes, sketch, number, stage, exits(results, stage))
    _flow(axes, sketch, (sketch.left + sketch.right) / 2)
    for column, (arch, label) in enumerate(
        zip(archs, shorten([arch.label for arch in archs], 22), strict=True)
    ):
        _strip(axes, sketch, results, arch, label, column)
    if more := len(results.architectures) - len(archs):
        x = sketch.strips + sketch.pitch * len(archs) + 0.1
        axes.text(x, sketch.places[0].y, f"and {more:,}\nmore", size=_SIZE, va="center")
    return figure


def exits(results: Results, stage: Stage) -> list[int]:
    """Return the depths at which a stage may be left, from its choice."""
    if stage.kind == "layer":
        return [len(stage.blocks)]
    for choice in results.network.choices:
        if choice.name == stage.name:
            depths = [depth for depth in choice.options if isinstance(depth, int)]
            return sorted(depths) or [len(stage.blocks)]
    return list(range(stage.shortest, len(stage.blocks) + 1))


def runs(arch: ArchitectureRecord, stage: Stage) -> int:
    """Return how many blocks of a stage an architecture runs."""
    depth = arch.options.get(stage.name, len(stage.blocks)) if stage.kind == "depth" else None
    return depth if isinstance(depth, int) else len(stage.blocks)


def _sketch(results: Results, archs: Sequence[ArchitectureRecord]) -> Sketch:
    stages = results.network.stages
    labels = shorten([arch.label for arch in archs], 22)
    widest = max((text_width(label, _SIZE) for label in labels), default=0.4)
    upright = widest <= 0.62 and (widest + 0.12) * len(archs) <= 7.5
    top = 0.55 + (0.25 if upright else widest)
    texts = [text for stage in stages for text in stage.blocks]
    box = min(max([1.4, *(text_width(text, _SIZE) + 0.3 for text in texts)]), 3.4)
    names = min(max([0.4, *(text_width(_name(stage), _SIZE) for stage in stages)]), 1.5)
    pitch = max(widest + 0.12, 0.42) if upright else _NARROW
    left = _EDGE + names + 0.2
    strips = left + box + _BUS + 0.55
    places = _places(stages, top + 0.2)
    more = 0.9 if len(results.architectures) > len(archs) else 0.0
    width = max(strips + pitch * len(archs) + more + _EDGE, 6.0)
    return Sketch(
        places=places,
        names=names,
        left=left,
        right=left + box,
        strips=strips,
        pitch=pitch,
        strip=min(0.62 * pitch, 0.34),
        top=top,
        bottom=(places[-1].y if places else top) + _ROW,
        width=width,
    )


def _places(stages: Sequence[Stage], y: float) -> list[Place]:
    places = []
    for number, stage in enumerate(stages):
        y += _GAP if number else 0
        y += _GAP if number and stages[number - 1].kind == "depth" else 0
        for block, text in enumerate(stage.blocks, start=1):
            places.append(Place(number, block, text, y))
            y += _ROW
    return places


def _name(stage: Stage) -> str:
    return stage.name.removesuffix(".depth")


def _of(sketch: Sketch, number: int) -> list[Place]:
    return [place for place in sketch.places if place.stage == number]


def _stage(axes: Axes, sketch: Sketch, number: int, stage: Stage, depths: Sequence[int]) -> None:
    places = _of(sketch, number)
    if not places:
        return
    first, last = places[0].y, places[-1].y
    if stage.kind == "depth":
        top = first - _BOX / 2 - (0.2 if depths[0] == 0 else 0.09)
        bottom = last + _BOX / 2 + (_JOIN + 0.09 if len(depths) > 1 else 0.09)
        axes.add_patch(
            FancyBboxPatch(
                (sketch.left - 0.08, top),
                sketch.right - sketch.left + _BUS + 0.16,
                bottom - top,
                boxstyle="round,pad=0,rounding_size=0.08",
                facecolor=YELLOW,
                edgecolor="none",
                zorder=1,
            )
        )
        _exits(axes, sketch, places, depths)
    name = fit(_name(stage), sketch.names, _SIZE)
    axes.text(
        _EDGE + sketch.names,
        (first + last) / 2,
        name,
        size=_SIZE,
        color=SOFT,
        ha="right",
        va="center",
    )
    for place in places:
        _box(axes, sketch.left, place.y, sketch.right - sketch.left, "white", zorder=4)
        text = fit(place.text, sketch.right - sketch.left - 0.1, _SIZE)
        x = (sketch.left + sketch.right) / 2
        axes.text(x, place.y, text, size=_SIZE, ha="center", va="center", zorder=5)


def _exits(axes: Axes, sketch: Sketch, places: Sequence[Place], depths: Sequence[int]) -> None:
    """Draw a line from under each block where the stage may be left, to where it goes on."""
    bus = sketch.right + _BUS / 2 + 0.02
    end = places[-1].y + _BOX / 2 + _JOIN
    early = [depth for depth in depths if depth < len(places)]
    center = (sketch.left + sketch.right) / 2
    if not early:
        return
    heights = [_below(places, depth) for depth in early]
    for depth, y in zip(early, heights, strict=True):
        axes.plot([center, bus], [y, y], color=BLUE, lw=1.1, zorder=3)
        _depth(axes, bus + 0.16, y, depth)
    if len(places) in depths:
        _depth(axes, center - 0.12, end - _JOIN / 2, len(places))
    axes.plot([bus, bus], [heights[0], end], color=BLUE, lw=1.1, zorder=3)
    axes.annotate(
        "",
        (center, end),
        (bus, end),
        arrowprops={"arrowstyle": "-|>", "color": BLUE, "lw": 1.1, "shrinkA": 0, "shrinkB": 0},
        zorder=3,
    )


def _below(places: Sequence[Place], depth: int) -> float:
    return places[depth - 1].y + _ROW / 2 if depth else places[0].y - _ROW / 2


def _depth(axes: Axes, x: float, y: float, depth: int) -> None:
    axes.text(x, y, str(depth), size=7, color=BLUE, ha="center", va="center", zorder=6)


def _flow(axes: Axes, sketch: Sketch, x: float) -> None:
    for above, below in zip(sketch.places, sketch.places[1:], strict=False):
        axes.annotate(
            "",
            (x, below.y - _BOX / 2),
            (x, above.y + _BOX / 2),
            arrowprops={
                "arrowstyle": "-|>",
                "color": INK,
                "lw": 0.9,
                "mutation_scale": 7,
                "shrinkA": 0,
                "shrinkB": 0,
            },
            zorder=3.5,
        )


def _strip(
    axes: Axes,
    sketch: Sketch,
    results: Results,
    arch: ArchitectureRecord,
    label: str,
    column: int,
) -> None:
    x = sketch.strips + sketch.pitch * (column + 0.5)
    upright = sketch.pitch > _NARROW
    axes.text(
        x,
        sketch.top - 0.12,
        label,
        size=_SIZE,
        ha="center",
        va="bottom",
        rotation=0 if upright else 90,
    )
    if sketch.places:
        axes.plot([x, x], [sketch.places[0].y, sketch.places[-1].y], color=INK, lw=0.8, zorder=2)
    for place in sketch.places:
        stage = results.network.stages[place.stage]
        if place.number <= runs(arch, stage):
            color = YELLOW if stage.kind == "depth" else "white"
            _box(axes, x - sketch.strip / 2, place.y, sketch.strip, color, zorder=4)


def _box(axes: Axes, x: float, y: float, width: float, color: str, *, zorder: float) -> None:
    axes.add_patch(
        Rectangle(
            (x, y - _BOX / 2), width, _BOX, facecolor=color, edgecolor=INK, lw=0.8, zorder=zorder
        )
    )


def _title(results: Results, sketch: Sketch) -> str:
    n = several(len(results.architectures), "architecture")
    return fit(f"The supernet and its {n}", 0.85 * (sketch.width - 2 * _EDGE), 11)


def _note(results: Results) -> str:
    network = results.network
    return (
        f"{brief(network.name)}: {count(network.params)} parameters. Yellow: blocks of variable "
        f"length, left after the depth in blue. One image takes {count(network.macs_apart)} "
        f"multiply-adds through all architectures one by one, {count(network.macs_shared)} with "
        f"common work done once, {count(network.macs_largest)} through the largest alone."
    )
