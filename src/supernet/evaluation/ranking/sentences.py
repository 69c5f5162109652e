"""The verdict in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

from supernet.records import Verdict
from supernet.report.wording import (
    counted,
    height,
    in_points,
    in_words,
    number,
    p_value,
    percent,
    several,
    share,
    span,
)


def sentences(verdict: Verdict) -> list[str]:
    """Return the verdict in plain sentences: ranking, pick, failures, cost, how sure the truth is.

    The ranking is called better than chance if the interval of tau lies above 0 and p < 0.05, worse
    if it lies below 0 and p < 0.05; in every other case, NaN included, the sentence is "Can't tell
    ...". p is two-sided. A ranking better than chance agrees "much" from a tau of 0.7 on, below
    that "only partly". What is taken for the truth wobbles too: a sentence says how much, if there
    are seeds to tell by. The last one says what ranking by size alone would have done.

    Args:
        verdict: Its own sentences are not looked at.
    """
    parts = (_ranking, _loss, _failures, _longer, _cost, _wobble, _baseline)
    return [text for part in parts if (text := part(verdict)) is not None]


def _ranking(v: Verdict) -> str:
    if v.networks == 1:
        return "There is only one network, so there is no ranking to judge."
    if side := _unrankable(v):
        return (
            f"Only one of {_the(v.networks)} has a {side} score, so there is no ranking to judge."
        )
    unsure = "Can't tell whether the ranking is better than chance: "
    if math.isnan(v.tau.value):
        return f"{unsure}on one side all accuracies are equal, which ranks nothing."
    tau = f"Kendall tau {number(v.tau.value)} (95 % interval {span(v.tau)}"
    if v.tau.low > 0 and v.tau_p < 0.05:
        return (
            f"One-shot ranked {_the(v.networks)} {'much' if v.tau.value >= 0.7 else 'only partly'} "
            f"as training them did: {tau}; chance alone reaches {number(v.chance_tau)} at most one "
            "time in twenty)."
        )
    if v.tau.high < 0 and v.tau_p < 0.05:
        return f"One-shot ranked {_the(v.networks)} worse than chance: {tau}, {p_value(v.tau_p)})."
    if math.isnan(v.chance_tau):
        few = (
            f"; chance alone gets {in_words(v.networks)} networks right more often than one time in"
        )
        return f"{unsure}{tau}, {p_value(v.tau_p)}{few} twenty)."
    return f"{unsure}{tau}, {p_value(v.tau_p)})."


def _unrankable(v: Verdict) -> str | None:
    """Return the side on which fewer than two architectures have a score, if there is one."""
    sides: list[tuple[str, str]] = [
        ("one-shot", "one_shot_validation"),
        ("standalone", "standalone_test"),
    ]
    few = [side for side, name in sides if v.networks - len(v.failed.get(name, [])) < 2]
    return few[0] if few else None


def _loss(v: Verdict) -> str | None:
    unknown = math.isnan(v.mean_gap.value)
    if v.networks == 1:
        if unknown:
            return None
        return f"Its one-shot accuracy is {height(v.mean_gap)} than its standalone accuracy."
    gap = "" if unknown else f"; one-shot accuracies are on average {height(v.mean_gap)}"
    return (
        f"Picking by one-shot costs {in_points(v.regret.value)} ({percent(v.regret.low)} to "
        f"{percent(v.regret.high)}) against the best of the {in_words(v.networks)}{gap}."
    )


def _failures(v: Verdict) -> str | None:
    """Say which evaluations failed, and what follows from that."""
    ranked = v.failed.get("one_shot_validation", [])
    unranked = [label for label in v.failed.get("one_shot_test", []) if label not in ranked]
    parts = [
        f"{what} {_listed(labels)} ({follows})"
        for what, labels, follows in (
            ("one-shot", ranked, "ranked last, and never picked"),
            ("one-shot on the test images", unranked, "without a gap"),
            (
                "standalone",
                v.failed.get("standalone_test", []),
                "ranked last, and counted as nothing right if picked",
            ),
            ("with the longer-trained supernet", v.failed.get("longer_test", []), "without a gap"),
        )
        if labels
    ]
    if not parts:
        return None
    return f"Evaluations failed, as outputs were not finite numbers: {'; '.join(parts)}."


def _longer(v: Verdict) -> str | None:
    if v.longer_gap is None or math.isnan(v.longer_gap.value):
        return None
    return (
        "With a supernet trained for about as much compute as all standalone training together, "
        f"one-shot accuracy is on average {height(v.longer_gap)}."
    )


def _cost(v: Verdict) -> str:
    ends = [share(ratio) for ratio in sorted(v.cost_ratio_range, reverse=True)]
    spread = f" ({ends[0]} to {ends[1]} over {counted(v.seeds, 'seed')})" if v.seeds > 1 else ""
    times = "of" if v.cost_ratio >= 1 else "times"
    pays = (
        "it never pays, as scoring an architecture takes as long as training it"
        if v.breakeven is None
        else f"it pays from {counted(int(v.breakeven), 'architecture')} on"
    )
    return (
        f"One supernet cost {share(v.cost_ratio)} {times} the CPU time of training "
        f"{_the(v.networks)}{spread}; {pays}."
    )


def _wobble(v: Verdict) -> str | None:
    if _unrankable(v):
        return None
    if v.ceiling_tau is None:
        return (
            "All this is from one seed: the intervals cover the choice of images only, and we "
            "can't tell how far the standalone ranking itself would change with another seed."
        )
    if math.isnan(v.ceiling_tau.value):
        return (
            "Can't tell how far standalone rankings of two seeds agree: under one seed at least, "
            "all accuracies are equal."
        )
    text = (
        "The truth wobbles too: standalone rankings of two seeds agree with each other at tau "
        f"{number(v.ceiling_tau.value)} ({span(v.ceiling_tau)})"
    )
    if math.isnan(v.tau.value):
        return f"{text}."
    more = round(v.ceiling_tau.value, 2) - round(v.tau.value, 2)
    if more > 0:
        return f"{text}, {number(more)} more than one-shot agrees with their mean."
    return f"{text}, no more than one-shot agrees with their mean."


def _baseline(v: Verdict) -> str | None:
    if math.isnan(v.macs_tau.value):
        return None
    return (
        "Ranking by multiply-adds alone, without any training, gives tau "
        f"{number(v.macs_tau.value)} ({span(v.macs_tau)})."
    )


def _listed(labels: Sequence[str], most: int = 3) -> str:
    """Return the first few labels, and how many more there are."""
    more = len(labels) - most
    return ", ".join(labels[:most]) + (f" and {more:,} more" if more > 0 else "")


def _the(n: int) -> str:
    return f"the {several(n, 'network')}"
