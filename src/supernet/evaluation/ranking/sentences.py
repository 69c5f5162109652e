"""A verdict in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

from supernet.records import Corrected, Ranking, Verdict
from supernet.report.wording import (
    LEANING,
    counted,
    height,
    in_points,
    in_words,
    loss_of,
    number,
    p_value,
    several,
    share,
    span,
    untrained,
)

#: Networks are named where their names take at most so many letters, and else counted.
_LONGEST_LIST = 80


def sentences(verdict: Verdict) -> list[str]:
    """Return the verdict in plain sentences; what matters most comes first.

    * That the supernet isn't trained enough, or that its ranking adds nothing to the best trivial
      one, as the interval of the difference holds 0, is the first sentence where it is so.
    * The ranking is called better than chance if p < 0.05, one-sided; no better if tau is 0 or
      less; else the sentence is "Can't tell ...". A ranking better than chance agrees "much" from
      a tau of 0.7 on, below that "only partly".
    * Then what the pick loses, what failed, what it cost, how far the truth itself can be trusted,
      and what ranking without training gives.

    Args:
        verdict: Its own sentences are not looked at.
    """
    parts = (
        *(_undertrained, _nothing_added, _ranking, _by_other, _loss),
        *(_failures, _longer, _cost, _wobble, _trivial),
    )
    return [text for part in parts if (text := part(verdict)) is not None]


def ranking_sentences(ranking: Ranking) -> list[str]:
    """Return what a one-shot ranking says by itself: the pick, and what would make it steadier."""
    return [text for part in (_pick, _steadiness) if (text := part(ranking)) is not None]


def correction_sentences(corrected: Corrected) -> list[str]:
    """Return what trained networks make of a ranking, and whether that helps."""
    before, after, alone = (corrected.taus[name] for name in ("one_shot", "corrected", "choices"))
    if not all(map(math.isfinite, (before, after, alone))):
        return []
    networks = several(corrected.trained, "trained network")
    facts = (
        f"left out one at a time, {networks} agree with what the others make of the supernet's "
        f"ranking at tau {number(after)}, with that ranking itself at {number(before)}, and with "
        f"what the others tell without a supernet at {number(alone)}"
    )
    error = in_points(corrected.error, corrected.measure)
    if after > max(before, alone):
        pick = f"it picks {corrected.picked}, and its error is {error}"
        return [f"The corrected ranking is better: {facts}; {pick}."]
    return [f"The correction doesn't help here: {facts}; its error is {error}."]


def _undertrained(v: Verdict) -> str | None:
    if not v.undertrained:
        return None
    known = [e.value for e in v.standalone if math.isfinite(e.value)]
    return (
        f"The supernet isn't trained enough: one-shot {_scores(v)} are on average "
        f"{height(v.mean_gap, v.measure)} than standalone ones, more than the "
        f"{in_points(max(known) - min(known), v.measure)} between the best and the worst of "
        f"{_the(v.networks)}; train it longer before believing its ranking."
    )


def _nothing_added(v: Verdict) -> str | None:
    if v.advantage is None or v.baseline is None or v.baseline_tau is None:
        return None
    if math.isnan(v.advantage.value) or v.advantage.low > 0:
        return None
    worse = v.advantage.high < 0
    return (
        f"The supernet's ranking {'is worse than' if worse else 'adds nothing to'} "
        f"{untrained(v.baseline)}{'' if worse else ', as far as this run can tell'}: Kendall tau "
        f"{number(v.tau.value)} against {number(v.baseline_tau.value)} (difference "
        f"{number(v.advantage.value)}, 95 % interval {span(v.advantage)})."
    )


def _ranking(v: Verdict) -> str:
    if v.networks == 1:
        return "There is only one network, so there is no ranking to judge."
    if side := _unrankable(v):
        return (
            f"Only one of {_the(v.networks)} has a {side} score, so there is no ranking to judge."
        )
    unsure = "Can't tell whether the ranking is better than chance: "
    if math.isnan(v.tau.value):
        return f"{unsure}on one side all {_scores(v)} are equal, which ranks nothing."
    p = p_value(v.tau_p)
    tau = f"Kendall tau {number(v.tau.value)}"
    true = f"between the true {_scores(v)} it is {span(v.tau)}, 95 % interval"
    if v.tau_p < 0.05:
        return (
            f"One-shot ranked {_the(v.networks)} {'much' if v.tau.value >= 0.7 else 'only partly'} "
            f"as training them did: {tau} (a random order reaches that with {p}; {true})."
        )
    if v.tau.value <= 0:
        return f"One-shot ranked {_the(v.networks)} no better than chance: {tau} ({true})."
    few = ""
    if math.isnan(v.chance_tau):
        few = f", as even the right order of {in_words(v.networks)} comes up by chance that often"
    return f"{unsure}{tau} (a random order reaches that with {p}{few}; {true})."


def _by_other(v: Verdict) -> str | None:
    """Say what the other thing to rank by would have given, where both are known."""
    instead = {by: v.measure.name if by == "score" else by for by in v.tau_by if by != v.ranked_by}
    found = {by: f"Ranked by {name} instead" for by, name in instead.items()}
    if v.leans:
        found = {v.ranked_by: "Without leaning to larger networks"}
    told = [
        f"{how}, Kendall tau is {number(v.tau_by[by].value)} ({span(v.tau_by[by])})."
        for by, how in found.items()
        if by in v.tau_by and math.isfinite(v.tau_by[by].value)
    ]
    return told[0] if told else None


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
    height_of_gap = height(v.mean_gap, v.measure)
    if v.networks == 1:
        if unknown:
            return None
        name = v.measure.name
        return f"Its one-shot {name} is {height_of_gap} than its standalone {name}."
    gap = "" if unknown else f"; one-shot {_scores(v)} are on average {height_of_gap}"
    by = f"one-shot{' loss' if v.ranked_by == 'loss' else ''}{f'{LEANING},' if v.leans else ''}"
    return (
        f"Picking by {by} costs {loss_of(v.regret, v.measure)} against the best of the "
        f"{in_words(v.networks)}{gap}."
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
        f"one-shot {v.measure.name} is on average {height(v.longer_gap, v.measure)}."
    )


def _cost(v: Verdict) -> str:
    ends = [share(ratio) for ratio in sorted(v.cost_ratio_range, reverse=True)]
    spread = f" ({ends[0]} to {ends[1]} over {counted(v.seeds, 'seed')})" if v.seeds > 1 else ""
    times = "of" if v.cost_ratio >= 1 else "times"
    if v.undertrained:
        pays = "as it isn't trained enough, that pays nothing"
    elif v.breakeven is None:
        pays = "it never pays, as scoring an architecture takes as long as training it"
    else:
        least = f"from {counted(int(v.breakeven), 'architecture')} on"
        adds_nothing = v.advantage is not None and v.advantage.low <= 0
        pays = (
            f"it is cheaper {least}, which pays only where its ranking adds something"
            if adds_nothing
            else f"it pays {least}"
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
            f"all {_scores(v)} are equal."
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


def _trivial(v: Verdict) -> str | None:
    known = {name: tau for name, tau in v.baselines.items() if math.isfinite(tau.value)}
    if not known:
        return None
    parts = [
        f"{untrained(name)} gives tau {number(t.value)} ({span(t)})" for name, t in known.items()
    ]
    return f"Ranking without any training: {', '.join(parts)}.{_chosen_fairly(v)}"


def _chosen_fairly(v: Verdict) -> str:
    """Say why the best trivial ranking is held against one-shot at another tau than its own."""
    if v.baseline is None or v.baseline_tau is None or v.baseline not in v.baselines:
        return ""
    own, fair = number(v.baselines[v.baseline].value), number(v.baseline_tau.value)
    if own == fair or not math.isfinite(v.baseline_tau.value):
        return ""
    return (
        f" One-shot is compared with {fair}: what the best of these gives if it is chosen, for "
        "every two networks, by all others, as nobody knows beforehand which it will be."
    )


def _pick(r: Ranking) -> str | None:
    if len(r.validation) < 2:
        return None
    by = "loss" if r.ranked_by == "loss" else r.measure.name
    by += "" if r.leaning is None else f"{LEANING},"
    samples = f"on {r.samples:,} validation samples"
    if not r.equals:
        return f"The best by one-shot {by} is {r.picked}, ahead of all others {samples}."
    which = f" ({_listed(r.equals)})"
    return (
        f"The best by one-shot {by} is {r.picked}; {several(len(r.equals), 'other')}"
        f"{which if len(which) <= _LONGEST_LIST else ''} can't be told from it {samples}."
    )


def _steadiness(r: Ranking) -> str | None:
    if math.isnan(r.scoring_tau):
        return None
    scoring = (
        f"Scored on other {r.samples:,} samples, the ranking would agree with this one at about "
        f"tau {number(r.scoring_tau)}"
    )
    if r.drift_tau is None or math.isnan(r.drift_tau):
        return f"{scoring}; halves of the samples agree at {number(r.halves_tau)}."
    # Of a few samples only the ranking of a training that hardly began is worth speaking of.
    enough = r.enough_samples if (r.enough_samples or 0) >= r.samples / 10 else None
    if r.drift_tau < r.scoring_tau:
        some = "" if enough is None else f"; for this training about {enough:,} would do"
        more = f"more training would steady it more than more samples{some}"
    else:
        some = "" if enough is None else f" (about {enough:,})"
        more = f"more samples{some} would steady it more than more training"
    return f"{scoring}, and the last two epochs agree at {number(r.drift_tau)}: {more}."


def _scores(v: Verdict) -> str:
    """Return what the scores are called, several of them."""
    return "accuracies" if v.measure.name == "accuracy" else f"scores ({v.measure.name})"


def _listed(labels: Sequence[str], most: int = 3) -> str:
    """Return the first few labels, and how many more there are."""
    more = len(labels) - most
    return ", ".join(labels[:most]) + (f" and {more:,} more" if more > 0 else "")


def _the(n: int) -> str:
    return f"the {several(n, 'network')}"
