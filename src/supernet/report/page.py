"""`report.html`: the whole run on one page that needs no network; its script is for comfort."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from supernet.records import Estimate, Results, Verdict
from supernet.report import conditions, table
from supernet.report.cleaning import cleaned
from supernet.report.inline import inline_figure
from supernet.report.nextsteps import next_steps
from supernet.report.summary import account, by_rank, compared, sentences, total
from supernet.report.templating import make_environment
from supernet.report.wording import (
    DASH,
    DIVIDED,
    UNKNOWN,
    brief,
    count,
    gap_interval,
    gap_unit,
    interval,
    number,
    p_value,
    seconds,
    several,
    untrained,
)


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure on the page."""

    name: str
    drawing: Markup
    caption: str
    has_curves: bool


@dataclass(frozen=True, slots=True)
class KeyNumber:
    """A number that matters, and what it means; perhaps with another one below it."""

    name: str
    value: str
    meaning: str
    below: tuple[tuple[str, str], ...] = ()

    @property
    def head(self) -> str:
        """The value without its bounds."""
        return self.value.removesuffix(self.bounds).rstrip()

    @property
    def bounds(self) -> str:
        """What stands in brackets after the value, with them."""
        _, _, rest = self.value.partition(" ")
        return rest if rest.startswith(("[", "(")) else ""


def to_html(results: Results, figures: Mapping[str, bytes]) -> str:
    """Return the page: one file that loads nothing and works without its script.

    Args:
        results: The run.
        figures: SVG by name.
    """
    results = cleaned(results)
    environment = make_environment({"count": count, "seconds": seconds, "glued": glued})
    table_rows = by_rank(results)
    settings = {name: _setting(value) for name, value in results.settings.items()}
    changed = [name for name in results.changed or [] if name in settings]
    return environment.get_template("page.html.j2").render(
        results=results,
        title=_title(results),
        summary=_summary(results),
        conditions=conditions.everything(results, "test", results.data.test),
        caveats=conditions.caveats(results),
        sentences=sentences(results),
        key_numbers=_key_numbers(results.verdict) if results.verdict else [],
        columns=table.columns(results, table_rows),
        rows=table_rows,
        picked=_picked(results),
        equals=set(results.ranking.equals) if results.ranking else set(),
        note=table.note(results),
        steps=next_steps(results),
        pictures=_pictures(results, figures),
        account=account(results.ledger),
        total=total(results.ledger),
        changed={name: settings[name] for name in changed},
        settings={name: value for name, value in settings.items() if name not in changed},
    )


def glued(text: str) -> str:
    """Return text that is not broken between a number and its percent sign."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def _title(results: Results) -> str:
    kind = "One-shot against standalone" if compared(results) else "One-shot training"
    return f"{kind}: {brief(results.network.name)} on {brief(results.data.name)}"


def _summary(results: Results) -> str:
    n = several(len(results.architectures), "architecture")
    alone = f", {len(results.alone):,} of them trained alone" if results.alone else ""
    return f"{n[0].upper()}{n[1:]}{alone}."


def _picked(results: Results) -> str | None:
    judged = results.ranking or results.verdict
    return judged.picked if judged else None


def _key_numbers(verdict: Verdict) -> list[KeyNumber]:
    low, high = verdict.cost_ratio_range
    points = gap_unit(verdict.measure) or verdict.measure.name
    numbers = [
        KeyNumber(
            "Kendall tau",
            interval(verdict.tau),
            _tau_meaning(verdict),
            below=(
                ("Spearman, by rank distances", interval(verdict.spearman)),
                *_by_others(verdict),
            ),
        ),
        *_baselines(verdict),
        KeyNumber(
            "Tau between seeds",
            interval(verdict.ceiling_tau),
            "agreement of standalone rankings of two seeds",
        ),
        KeyNumber(
            "Mean gap", _points(verdict.mean_gap, verdict), f"{points}, one-shot minus standalone"
        ),
        KeyNumber(
            "Regret",
            _points(verdict.regret, verdict),
            f"{points} lost by the pick, {brief(verdict.picked)}, to the best, "
            f"{brief(verdict.best)}",
        ),
        KeyNumber(
            "Cost ratio",
            _ratio(verdict.cost_ratio, low, high),
            f"CPU time of training, standalone {DIVIDED} supernet",
        ),
        KeyNumber(
            "Breaks even at",
            "never" if verdict.breakeven is None else number(verdict.breakeven, 0),
            "not trained enough to pay"
            if verdict.undertrained
            else "architectures: from there on a supernet is cheaper than training each",
        ),
    ]
    if verdict.longer_gap:
        gap = _points(verdict.longer_gap, verdict)
        numbers.append(
            KeyNumber("Gap, longer", gap, f"{points}, with a supernet trained at equal compute")
        )
    return numbers


def _by_others(verdict: Verdict) -> list[tuple[str, str]]:
    """Return the tau by what was not ranked by, and that without a lean, where they are known."""
    names = {by: verdict.measure.name if by == "score" else by for by in verdict.tau_by}
    return [
        (
            f"Kendall tau by {names[by]}{', without the lean' if verdict.leans else ''}",
            interval(tau),
        )
        for by, tau in verdict.tau_by.items()
        if verdict.leans or by != verdict.ranked_by
    ]


def _baselines(verdict: Verdict) -> list[KeyNumber]:
    """Return what rankings without training reach, and what the supernet adds to the best."""
    if not verdict.baselines:
        meaning = "ranking by multiply-adds, untrained"
        return [KeyNumber("Tau of size alone", interval(verdict.macs_tau), meaning)]
    best = verdict.baseline or max(
        verdict.baselines, key=lambda name: (t := verdict.baselines[name].value) == t and t
    )
    others = ", ".join(
        f"{name} {number(tau.value)}" for name, tau in verdict.baselines.items() if name != best
    )
    found = [
        KeyNumber(
            f"Tau of {untrained(best)}",
            interval(verdict.baselines[best]),
            "the best ranking without training" + (f"; {others}" if others else ""),
            below=_chosen_fairly(verdict),
        )
    ]
    if verdict.advantage:
        found.append(
            KeyNumber(
                "Advantage over that",
                interval(verdict.advantage),
                "tau of one-shot minus that of the best of these, chosen by cross-validation",
            )
        )
    return found


def _chosen_fairly(verdict: Verdict) -> tuple[tuple[str, str], ...]:
    """Return what the best ranking without training gives if it has to be chosen first."""
    if verdict.baseline_tau is None:
        return ()
    return (("of the best, chosen by cross-validation", interval(verdict.baseline_tau)),)


def _tau_meaning(verdict: Verdict) -> str:
    chance = "" if _unknown(verdict.chance_tau) else _chance(verdict.chance_tau)
    p = "" if _unknown(verdict.tau_p) else f"; {p_value(verdict.tau_p)}"
    true = " of the true ranking" if verdict.edition > 1 else ""
    return f"agreement of the rankings, 95 % interval{true}{chance}{p}"


def _chance(tau: float) -> str:
    return f"; chance reaches {number(tau)} at most one time in twenty"


def _points(estimate: Estimate, verdict: Verdict) -> str:
    return gap_interval(estimate, verdict.measure, UNKNOWN)


def _ratio(value: float, low: float, high: float) -> str:
    if _unknown(value):
        return UNKNOWN
    bounds = f" ({number(low, 1)}{DASH}{number(high, 1)})" if low != high else ""
    return f"{number(value, 1)}{bounds}"


def _unknown(value: float | None) -> bool:
    return value is None or not math.isfinite(value)


def _pictures(results: Results, figures: Mapping[str, bytes]) -> list[Picture]:
    names = {i: arch.label for i, arch in enumerate(results.architectures)}
    return [
        Picture(
            name=name,
            drawing=inline_figure(figures[name], name, caption, names),
            caption=caption,
            has_curves=name.endswith("progress"),
        )
        for name, caption in _captions(results).items()
        if name in figures
    ]


def _captions(results: Results) -> dict[str, str]:
    n, measure = results.data.validation, results.measure.name
    bands = " Bands: lowest to highest seed." if len(results.seeds) > 1 else ""
    bars = " Bars: 95 % intervals." if results.verdict else ""
    on = f"{measure} on {n:,} validation samples"
    return {
        "supernet": "The supernet, and the blocks that each architecture runs.",
        "one_shot_progress": f"Inside the supernet during training: {on}.{bands}",
        "standalone_progress": f"Networks trained alone: {on}.{bands}",
        "agreement": f"One-shot against standalone {measure} on test samples.{bars}",
        "cost": "CPU time per seed, by kind of work.",
    }


def _setting(value: float | str | bool | list[int] | list[str] | None) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return str(value)
