"""Report of a search: `search.csv`, figures and a page, made from its records alone."""

from __future__ import annotations

import base64
import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from matplotlib.figure import Figure

from supernet.records import Estimate
from supernet.report.figures.canvas import (
    BLUE,
    GREEN,
    ORANGE,
    SOFT,
    above,
    annotate,
    drawable,
    new_figure,
    render,
    styled,
)
from supernet.report.templating import make_environment
from supernet.report.wording import number, percent, several
from supernet.text import visible

_MOST_COMMON = 24  # choices that are drawn


@dataclass(frozen=True)
class Found:
    """An architecture that was evaluated.

    Attributes:
        number: Which evaluation it was.
        options: What it chooses.
        values: Objectives and costs by name; NaN where there is none.
        error: Why it failed, if it did.
        front: Whether no other dominates it.
    """

    number: int
    options: Mapping[str, int | str]
    values: Mapping[str, float]
    error: str | None
    front: bool


@dataclass(frozen=True)
class Finalist:
    """A network of the front, looked at more closely.

    Attributes:
        number: Which evaluation it was.
        label: Its options, in short.
        values: Objectives and costs.
        validation: Its score on the samples that the search saw.
        like: Labels of others of the front whose score can't be told from its own.
        confirmed: Its score on samples that the search never saw, if it was chosen for that.
        unconfirmed: Why there is no such score, if it was chosen and that failed.
    """

    number: int
    label: str
    values: Mapping[str, float]
    validation: Estimate
    like: tuple[str, ...] = ()
    confirmed: Estimate | None = None
    unconfirmed: str | None = None


@dataclass(frozen=True)
class BestAlone:
    """The best of the networks that were trained alone.

    Attributes:
        label: Its options, in short.
        validation: The mean validation score by which it was chosen.
        like: Labels of those whose test scores can't be told from its own.
    """

    label: str
    validation: float
    like: tuple[str, ...] = ()


@dataclass(frozen=True)
class SearchReport:
    """A finished search.

    Attributes:
        title: Of the page.
        objectives: Names and directions, "max" or "min", in order.
        limits: As text; empty if there are none.
        found: Every evaluation, in order.
        front: The networks of the front, the best of the first objective first.
        volumes: The hypervolume after each evaluation, by what was searched with; empty with more
            than three objectives.
        options: Of each choice, all options.
        facts: Conditions, by name.
        samples: How many samples were scored on, and how many confirmed on.
        alone: How the confirmed networks were trained alone, such as "8 epochs, seed 0"; empty if
            they were confirmed with the supernet's weights.
        best: The best of them, if several were trained alone.
        corrected: What the objective `corrected` is, as a sentence; empty if it wasn't wanted.
    """

    title: str
    objectives: tuple[tuple[str, str], ...]
    limits: str
    found: tuple[Found, ...]
    front: tuple[Finalist, ...]
    volumes: Mapping[str, Sequence[float]] = field(default_factory=dict)
    options: Mapping[str, Sequence[int | str]] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    samples: tuple[int, int] = (0, 0)
    alone: str = ""
    best: BestAlone | None = None
    corrected: str = ""


def to_csv(report: SearchReport) -> bytes:
    """Return every evaluation as a line."""
    values = list(dict.fromkeys(name for one in report.found for name in one.values))
    choices = list(report.options)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["number", "front", *values, *choices, "error"])
    for one in report.found:
        numbers = [one.values.get(name, math.nan) for name in values]
        cells = ["" if math.isnan(value) else repr(value) for value in numbers]
        options = [_inert(str(one.options[name])) for name in choices]
        error = _inert(visible(one.error or ""))
        writer.writerow([one.number, int(one.front), *cells, *options, error])
    return text.getvalue().encode()


def _inert(text: str) -> str:
    """Return text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def summarize(report: SearchReport) -> list[str]:
    """Return what a search found, as sentences."""
    failed = sum(one.error is not None for one in report.found)
    many = several(len(report.found), "architecture")
    what = ", ".join(f"{name} ({direction})" for name, direction in report.objectives)
    said = [
        f"{many[0].upper()}{many[1:]} evaluated for {what}"
        + (f", all with {report.limits}" if report.limits else "")
        + f"; {several(len(report.front), 'network')} on the front."
    ]
    if report.corrected:
        said.append(report.corrected)
    if failed:
        said.append(f"{several(failed, 'evaluation')} failed, and none of them was selected.")
    alike = [one for one in report.front if one.like]
    if alike:
        said.append(
            f"The scores of {len(alike)} of the {len(report.front)} can't be told from those of "
            f"others of the front with {report.samples[0]:,} validation samples."
        )
    if len(report.volumes) > 1:
        ends = [f"{name} {number(curve[-1], 4)}" for name, curve in report.volumes.items() if curve]
        said.append(
            f"Hypervolume (1 would be the best of every objective in one network): "
            f"{', '.join(ends)}, after as many evaluations each."
        )
    return [*said, *_confirmation(report)]


def _confirmation(report: SearchReport) -> list[str]:
    """Return what was confirmed, and how, as sentences."""
    failed = [
        f"{one.label} was chosen for confirmation, which failed: {one.unconfirmed}."
        for one in report.front
        if one.unconfirmed
    ]
    confirmed = [(one.label, one.confirmed) for one in report.front if one.confirmed is not None]
    if not confirmed:
        return [
            *failed,
            "These scores were selected, so they are too good by some luck; --confirm says what "
            "is left of them on samples that the search never saw.",
        ]
    shown = ", ".join(
        f"{label} {percent(one.value)} % ({percent(one.low)} to {percent(one.high)})"
        for label, one in confirmed
    )
    many = f"{report.samples[1]:,} samples that the search never saw"
    if not report.alone:
        said = f"On {many} (the test split), with the supernet's weights: {shown}."
        return [said, *failed]
    return [
        f"Trained alone with the run's recipe ({report.alone}), then scored once on {many} (the "
        f"test split): {shown}.",
        *failed,
        *_said_of_best(report.best),
    ]


def _said_of_best(best: BestAlone | None) -> list[str]:
    if best is None:
        return []
    told = (
        f"on the test split {' and '.join(best.like)} can't be told from it"
        if best.like
        else "on the test split all others score differently (paired, 95 %)"
    )
    score = number(best.validation, 4)
    return [f"Trained alone, {best.label} has the best validation score ({score}); {told}."]


def render_figures(report: SearchReport) -> dict[str, dict[str, bytes]]:
    """Return each figure that there are data for, as SVG and PNG."""
    drawn = {"search_front": _draw_front}
    if report.volumes:
        drawn["search_hypervolume"] = _draw_volumes
    if report.front and report.options:
        drawn["search_common"] = _draw_common
    with styled():
        return {name: render(draw(report), name) for name, draw in drawn.items()}


def _draw_front(report: SearchReport) -> Figure:
    """Draw all evaluations, and the front with the intervals of its scores."""
    (first, _), *others = report.objectives
    figure = new_figure(8.0, 4.6)
    axes = figure.subplots()
    across = others[0][0] if others else None

    def x_of(one: Found | Finalist) -> float:
        return one.values[across] if across else one.number

    sound = [one for one in report.found if one.error is None]
    axes.plot(
        [x_of(one) for one in sound],
        [one.values[first] for one in sound],
        "o",
        color=SOFT,
        alpha=0.35,
        markersize=3,
        label="evaluated",
    )
    if first == "score":
        low = [one.values[first] - one.validation.low for one in report.front]
        high = [one.validation.high - one.values[first] for one in report.front]
        spread = [[max(v, 0.0) for v in low], [max(v, 0.0) for v in high]]
    else:
        spread = None
    axes.errorbar(
        [x_of(one) for one in report.front],
        [one.values[first] for one in report.front],
        yerr=spread,
        fmt="o",
        color=BLUE,
        elinewidth=1.0,
        label="front, with 95 % intervals" if spread else "front",
    )
    confirmed = [one for one in report.front if one.confirmed is not None]
    # Scores with the supernet's weights aren't what a network would score alone.
    if confirmed and first in (("score", "corrected") if report.alone else ("score",)):
        axes.plot(
            [x_of(one) for one in confirmed],
            [one.confirmed.value for one in confirmed if one.confirmed is not None],
            "D",
            color=ORANGE,
            label="trained alone, on unseen samples" if report.alone else "on unseen samples",
        )
    axes.set_xlabel(drawable(across or "evaluation"))
    axes.set_ylabel(drawable(first))
    axes.legend(**above(3))
    note = report.limits and f"All with {report.limits}. "
    annotate(
        figure,
        "What the search found",
        drawable(f"{note}{several(report.samples[0], 'validation sample')}; {report.title}."),
    )
    return figure


def _draw_volumes(report: SearchReport) -> Figure:
    """Draw how the hypervolume grew."""
    figure = new_figure(8.0, 3.6)
    axes = figure.subplots()
    for (name, curve), color in zip(report.volumes.items(), (BLUE, ORANGE, GREEN), strict=False):
        axes.plot(range(1, len(curve) + 1), curve, color=color, label=drawable(name))
    axes.set_xlabel("evaluations")
    axes.set_ylabel("hypervolume")
    axes.legend(loc="lower right")
    annotate(
        figure,
        "How fast it found it",
        "Share of the box between the worst and the best value of every objective, of all "
        "evaluations shown, that is dominated.",
    )
    return figure


def _draw_common(report: SearchReport) -> Figure:
    """Draw which options the networks of the front have, choice by choice."""
    chosen = {one.number for one in report.front}
    rows = [one.options for one in report.found if one.number in chosen]
    names = list(report.options)[:_MOST_COMMON]
    figure = new_figure(8.0, 1.4 + 0.26 * len(names))
    axes = figure.subplots()
    for at, name in enumerate(names):
        start = 0.0
        for place, option in enumerate(report.options[name]):
            share = sum(row[name] == option for row in rows) / len(rows)
            shade = 0.25 + 0.75 * place / max(1, len(report.options[name]) - 1)
            axes.barh(at, share, left=start, color=BLUE, alpha=shade, height=0.8)
            if share > 0.08:
                axes.text(
                    start + share / 2,
                    at,
                    drawable(str(option)),
                    ha="center",
                    va="center",
                    size=7,
                    color="white" if shade > 0.5 else "black",
                )
            start += share
    axes.set_yticks(range(len(names)), [drawable(name) for name in names])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the front")
    more = len(report.options) - len(names)
    annotate(
        figure,
        "What the networks of the front have in common",
        f"{several(len(rows), 'network')}" + (f"; {more} more choices are left out" * (more > 0)),
    )
    return figure


def to_html(report: SearchReport, figures: Mapping[str, bytes]) -> str:
    """Return the page: one file that loads nothing.

    Args:
        report: The search.
        figures: SVG by name.
    """
    environment = make_environment({"shown": _shown, "visible": visible, "interval": _interval})
    captions = {
        "search_front": "All evaluations, and the front.",
        "search_hypervolume": "Hypervolume over evaluations.",
        "search_common": "Options of the networks of the front.",
    }
    pictures = [
        (captions[name], "data:image/svg+xml;base64," + base64.b64encode(svg).decode())
        for name, svg in figures.items()
    ]
    names = list(dict.fromkeys(name for one in report.front for name in one.values))
    return environment.get_template("search.html.j2").render(
        report=report, said=summarize(report), names=names, pictures=pictures
    )


def _shown(value: float) -> str:
    if math.isnan(value):
        return ""
    return f"{value:,.0f}" if value == int(value) else number(value, 4)


def _interval(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return f"{number(estimate.value, 4)} ({number(estimate.low, 4)} to {number(estimate.high, 4)})"
