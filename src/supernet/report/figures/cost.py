"""CPU seconds of the trainings, as bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import StrMethodFormatter

from supernet.records import Results
from supernet.report import conditions
from supernet.report.figures.canvas import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    SKY,
    above,
    annotate,
    new_figure,
)
from supernet.report.summary import compared, cpu_per_seed
from supernet.report.wording import DASH, DIVIDED, brief, number, seconds, several, shorten

_COLORS = {"training": BLUE, "recalibration": ORANGE, "scoring": GREEN, "data": SKY}
_MOST = 25


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar: its name, its parts, and whether a gap goes before it."""

    name: str
    parts: dict[str, float]
    apart: bool = False

    @property
    def total(self) -> float:
        """The length of the bar."""
        return sum(self.parts.values())


def cost(results: Results) -> Figure:
    """Draw CPU seconds of the supernet and of the standalone networks, together and one by one."""
    bars = _bars(results)
    places = _places(bars)
    figure = new_figure(9.0, 1.7 + 0.3 * (places[-1] + 1))
    axes = figure.subplots()
    longest = max(bar.total for bar in bars) or 1.0
    for bar, y in zip(bars, places, strict=True):
        start = 0.0
        for kind, length in bar.parts.items():
            axes.barh(y, length, left=start, height=0.72, color=_COLORS[kind])
            start += length
        axes.text(start + 0.01 * longest, y, f"{seconds(start)} s", va="center", size=8)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.set_yticks(places, [bar.name for bar in bars], color=INK)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set(ylim=(places[-1] + 0.6, -0.6), xlim=(0, 1.12 * longest))
    axes.set_xlabel("CPU seconds per seed" if len(results.seeds) > 1 else "CPU seconds")
    kinds = [kind for kind in _COLORS if any(kind in bar.parts for bar in bars)]
    axes.legend([Patch(color=_COLORS[kind]) for kind in kinds], kinds, **above(len(kinds)))
    annotate(figure, _title(results), _note(results))
    return figure


def _bars(results: Results) -> list[Bar]:
    archs = results.architectures
    bars = [Bar(f"supernet, all {len(archs)}", _subject(results, "supernet"))]
    if any(phase.subject == "longer" for phase in results.ledger):
        bars.append(Bar("supernet, longer", _subject(results, "longer")))
    if not compared(results):
        return bars
    bars.append(
        Bar(f"{several(len(archs), 'standalone network')}", _subject(results, "standalone"))
    )
    if len(archs) > _MOST:
        return bars
    labels = shorten([arch.label for arch in archs], 24)
    return bars + [
        Bar(label, _alone(results, arch.label), apart=i == 0)
        for i, (arch, label) in enumerate(zip(archs, labels, strict=True))
    ]


def _subject(results: Results, subject: str) -> dict[str, float]:
    return cpu_per_seed(results, lambda phase: phase.subject == subject)


def _alone(results: Results, label: str) -> dict[str, float]:
    return cpu_per_seed(results, lambda phase: (phase.subject, phase.arch) == ("standalone", label))


def _places(bars: Sequence[Bar]) -> list[float]:
    places, y = [], 0.0
    for bar in bars:
        y += 0.6 if bar.apart else 0.0
        places.append(y)
        y += 1.0
    return places


def _title(results: Results) -> str:
    if results.verdict is None:
        return "Cost of the run"
    low, high = results.verdict.cost_ratio_range
    ratio = number(results.verdict.cost_ratio, 1)
    known = ratio != number(float("nan"))
    bounds = f" ({number(low, 1)}{DASH}{number(high, 1)})" if known and low != high else ""
    return (
        f"CPU time of training, standalone {DIVIDED} supernet: {ratio}{bounds}"
        if known
        else "Cost of the run"
    )


def _note(results: Results) -> str:
    c = results.conditions
    hardware = ", ".join(f"{brief(part)}: {brief(what)}" for part, what in c.hardware.items())
    note = f"{conditions.training(results)}; {several(c.threads, 'thread')} a process; {hardware}."
    if len(results.seeds) > 1:
        note = f"Mean of {several(len(results.seeds), 'seed')}. {note}"
    if compared(results) and len(results.architectures) > _MOST:
        note += " Too many networks to show them one by one."
    return note
