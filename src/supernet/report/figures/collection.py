"""All figures of a run, by name."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.figure import Figure

from supernet.records import Results
from supernet.report.cleaning import cleaned
from supernet.report.figures.agreement import agreement
from supernet.report.figures.canvas import drawable, render, styled
from supernet.report.figures.cost import cost
from supernet.report.figures.curves import one_shot_progress, standalone_progress
from supernet.report.figures.drawing import supernet
from supernet.report.summary import compared

FIGURES: dict[str, Callable[[Results], Figure]] = {
    "supernet": supernet,
    "one_shot_progress": one_shot_progress,
    "standalone_progress": standalone_progress,
    "agreement": agreement,
    "cost": cost,
}


def available(results: Results) -> list[str]:
    """Return the names of the figures that the run has data for."""
    missing: set[str] = set()
    if not any(seed.supernet.epochs for seed in results.seeds):
        missing.add("one_shot_progress")
    if not compared(results):
        missing |= {"standalone_progress", "agreement"}
    if not any(phase.cpu_s > 0 for phase in results.ledger):
        missing.add("cost")
    return [name for name in FIGURES if name not in missing]


def render_all(results: Results) -> dict[str, dict[str, bytes]]:
    """Return each available figure as SVG and PNG."""
    results = cleaned(results, drawable)
    with styled():
        return {name: render(FIGURES[name](results), name) for name in available(results)}
