"""`report.html`: the whole run on one page that needs no network and no scripts."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from supernet.records import Estimate, Results, Verdict
from supernet.report import conditions, table
from supernet.report.cleaning import cleaned
from supernet.report.summary import account, compared, total
from supernet.report.wording import (
    DASH,
    DIVIDED,
    UNKNOWN,
    brief,
    count,
    gap_interval,
    interval,
    number,
    p_value,
    seconds,
    several,
)


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure on the page."""

    name: str
    source: str
    caption: str


@dataclass(frozen=True, slots=True)
class KeyNumber:
    """A number that matters, and what it means."""

    name: str
    value: str
    meaning: str

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
    """Return the page.

    Args:
        results: The run.
        figures: SVG by name. The table's is not shown: the page has the table itself.
    """
    results = cleaned(results)
    environment = Environment(
        loader=PackageLoader("supernet.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": count, "seconds": seconds, "glued": glued}
    return environment.get_template("page.html.j2").render(
        results=results,
        title=_title(results),
        summary=_summary(results),
        caveats=conditions.caveats(results),
        key_numbers=_key_numbers(results.verdict) if results.verdict else [],
        columns=table.columns(results),
        picked=_picked(results),
        note=table.note(results),
        pictures=[
            Picture(name, _data_uri(figures[name]), caption)
            for name, caption in _captions(results).items()
            if name in figures
        ],
        account=account(results.ledger),
        total=total(results.ledger),
        settings={name: _setting(value) for name, value in results.settings.items()},
    )


def glued(text: str) -> str:
    """Return text that is not broken between a number and its percent sign."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def _title(results: Results) -> str:
    kind = "One-shot against standalone" if compared(results) else "One-shot training"
    return f"{kind}: {brief(results.network.name)} on {brief(results.data.name)}"


def _summary(results: Results) -> str:
    n = several(len(results.architectures), "architecture")
    text = f"{n}, {several(len(results.seeds), 'seed')}, {conditions.training(results)}."
    return text[0].upper() + text[1:]


def _picked(results: Results) -> int | None:
    labels = [arch.label for arch in results.architectures]
    verdict = results.verdict
    return labels.index(verdict.picked) if verdict and verdict.picked in labels else None


def _key_numbers(verdict: Verdict) -> list[KeyNumber]:
    low, high = verdict.cost_ratio_range
    numbers = [
        KeyNumber("Kendall tau", interval(verdict.tau), _tau_meaning(verdict)),
        KeyNumber("Spearman", interval(verdict.spearman), "the same question, by rank distances"),
        KeyNumber(
            "Tau between seeds",
            interval(verdict.ceiling_tau),
            "agreement of standalone rankings of two seeds",
        ),
        KeyNumber(
            "Tau of size alone", interval(verdict.macs_tau), "ranking by multiply-adds, untrained"
        ),
        KeyNumber(
            "Mean gap", _points(verdict.mean_gap, verdict), "points, one-shot minus standalone"
        ),
        KeyNumber(
            "Regret",
            _points(verdict.regret, verdict),
            f"points lost by the pick, {brief(verdict.picked)}, to the best, {brief(verdict.best)}",
        ),
        KeyNumber(
            "Cost ratio",
            _ratio(verdict.cost_ratio, low, high),
            f"CPU time of training, standalone {DIVIDED} supernet",
        ),
        KeyNumber(
            "Breaks even at",
            "never" if verdict.breakeven is None else number(verdict.breakeven, 0),
            "architectures: from there on a supernet is cheaper than training each",
        ),
    ]
    if verdict.longer_gap:
        gap = _points(verdict.longer_gap, verdict)
        numbers.append(
            KeyNumber("Gap, longer", gap, "points, with a supernet trained at equal compute")
        )
    return numbers


def _tau_meaning(verdict: Verdict) -> str:
    chance = "" if _unknown(verdict.chance_tau) else _chance(verdict.chance_tau)
    p = "" if _unknown(verdict.tau_p) else f"; {p_value(verdict.tau_p)}"
    return f"agreement of the rankings, 95 % interval{chance}{p}"


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


def _captions(results: Results) -> dict[str, str]:
    validation = conditions.everything(results, "validation", results.data.validation)
    test = conditions.everything(results, "test", results.data.test)
    bands = " Bands: lowest to highest seed." if len(results.seeds) > 1 else ""
    bars = " Bars: 95 % intervals." if results.verdict else ""
    return {
        "supernet": "The supernet, and the blocks that each architecture runs.",
        "one_shot_progress": f"Accuracy inside the supernet during training. {validation}{bands}",
        "standalone_progress": f"Accuracy of the networks trained alone. {validation}{bands}",
        "agreement": f"One-shot against standalone accuracy. {test}{bars}",
        "cost": f"CPU time per seed, by kind of work. {conditions.training(results)}.",
    }


def _data_uri(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii")


def _setting(value: float | str | bool | list[int] | list[str] | None) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return str(value)
