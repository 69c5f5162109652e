"""How far a one-shot ranking can be trusted: agreement with standalone training, with intervals.

One-shot scores on validation images (what a search sees) are held against standalone accuracy on
test images (the truth). Everything is computed from hits: which image was classified right by which
network. S is the number of seeds, A of architectures, N of images, B of resamples.

What the intervals mean. They are 95 % percentile bootstrap intervals (Efron and Tibshirani, "An
Introduction to the Bootstrap", 1993, chapter 13) over images and, where S > 1, seeds. A seed is
drawn with everything trained under it; validation and test images are drawn independently; the
networks compared on test images meet the same draw. The architectures are not drawn: they are all
there are. Three things to know:

* With S = 1 an interval knows nothing of the luck of training; with few seeds it understates that
  by a factor of about `sqrt((S - 1) / S)`.
* Resampling adds noise to noise, so rankings of resamples agree less than those of fresh data
  would: intervals of rank correlations are conservative, those of regret a little high. An interval
  is widened to hold its value where this would push the value out.
* A resample in which one side is all ties ranks nothing, and counts as a correlation of 0. If the
  data themselves rank nothing, value and interval are NaN, and the sentences say "can't tell".

What failed. An evaluation fails if an output is not a finite number, and counts as failed if it
failed under any seed. It has no accuracy, but it is not left out either: in rankings it stands
below everything that has a score, level with whatever else failed, and tau counts the pairs it is
in. It is never picked, nor the best. A network that failed alone and is picked nevertheless gets
nothing right, as regret counts it. Gaps are of those only that have both accuracies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from supernet.errors import DataError
from supernet.evaluation.ranking.bootstrap import (
    RESAMPLES,
    Accuracies,
    Hits,
    interval,
    observe,
    resample,
)
from supernet.evaluation.ranking.metrics import (
    Floats,
    below_all,
    ceiling_rows,
    chance_tau,
    kendall,
    kendall_rows,
    pick,
    regret_rows,
    spearman_rows,
)
from supernet.evaluation.ranking.sentences import sentences
from supernet.records import Estimate, Verdict


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """What it took, in CPU seconds.

    `supernet` (S,) is training the supernet, `standalone` (S, A) training each architecture on its
    own, and `scoring` (S,) recalibrating and scoring all architectures with the supernet.

    Raises:
        DataError: If shapes do not fit together, or a time is not positive and finite (scoring may
            take no time).
    """

    supernet: Floats
    standalone: Floats
    scoring: Floats

    def __post_init__(self) -> None:
        shape = self.standalone.shape
        fits = len(shape) == 2 and self.supernet.shape == self.scoring.shape == shape[:1]
        if not fits or not self.standalone.size:
            raise DataError(
                f"costs have shapes {self.supernet.shape}, {self.standalone.shape} and "
                f"{self.scoring.shape}; give (seeds,), (seeds, architectures) and (seeds,)"
            )
        for name, times, smallest in (
            ("supernet", self.supernet, np.nextafter(0, 1)),
            ("standalone", self.standalone, np.nextafter(0, 1)),
            ("scoring", self.scoring, 0.0),
        ):
            if not (np.isfinite(times) & (times >= smallest)).all():
                raise DataError(f"{name} costs {times.tolist()} CPU seconds; give times above 0")


def cost_ratio(costs: Costs) -> tuple[float, tuple[float, float]]:
    """Return how many times the supernet's training all standalone trainings cost, in CPU time.

    The mean of the ratios of the seeds, and the smallest and largest of them.
    """
    ratios = costs.standalone.sum(axis=1) / costs.supernet
    return float(ratios.mean()), (float(ratios.min()), float(ratios.max()))


def breakeven(costs: Costs) -> float | None:
    """Return the number of architectures from which on a supernet is cheaper than training each.

    The smallest whole n with `T + n s < n t`, where T is the supernet's training, s what it takes
    to recalibrate and score an architecture, t a standalone training; all means over seeds. None if
    scoring costs as much as training, so that no n will do.
    """
    training = float(costs.supernet.mean())
    saved = float(costs.standalone.mean() - costs.scoring.mean() / costs.standalone.shape[1])
    return None if saved <= 0 else float(math.floor(training / saved) + 1)


def judge(
    hits: Hits,
    costs: Costs,
    *,
    labels: Sequence[str],
    macs: Sequence[int],
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Verdict:
    """Return how far the one-shot ranking can be trusted, and what it saved.

    Conventions: see the module. `one_shot` and `standalone` of the verdict are both accuracies on
    the test images, so that `gaps` are their differences; the ranking, the pick and `regret` use
    one-shot accuracies on validation images. `chance_tau` is NaN for fewer than four architectures.
    With fewer than two that have a score on either side there is no ranking, and all is NaN that
    would judge it.

    Args:
        hits: What was classified right, and what failed.
        costs: What it took.
        labels: Names of the architectures, A of them.
        macs: Their multiply-adds, for the ranking by size that one-shot should beat.
        rng: Where the resamples come from; it is advanced.
        resamples: B.

    Raises:
        DataError: If the parts do not fit together.
        DivergedError: If on one side the evaluations of all architectures failed.
    """
    seeds, networks = hits.seeds, hits.networks
    if not len(labels) == len(macs) == costs.standalone.shape[1] == networks:
        raise DataError(
            f"there are {networks} architecture(s) in the hits, {costs.standalone.shape[1]} in the "
            f"costs, {len(labels)} label(s) and {len(macs)} number(s) of MACs"
        )
    if len(costs.supernet) != seeds:
        raise DataError(
            f"there are {seeds} seed(s) in the hits, {len(costs.supernet)} in the costs"
        )
    sizes = np.asarray(macs, np.float64)
    seen, drawn = observe(hits), resample(hits, rng, resamples)
    ratio, ratio_range = cost_ratio(costs)
    ranking, truth = below_all(seen.validation), below_all(seen.standalone)
    rankings, truths = below_all(drawn.validation), below_all(drawn.standalone)
    ranked = min(map(_scored, (seen.validation, seen.standalone))) > 1
    verdict = Verdict(
        networks=networks,
        seeds=seeds,
        validation_images=hits.one_shot_validation.shape[2],
        test_images=hits.one_shot_test.shape[2],
        tau=_correlation(
            kendall(ranking, truth)[0] if ranked else math.nan, kendall_rows(rankings, truths)
        ),
        tau_p=kendall(ranking, truth)[1] if ranked else math.nan,
        spearman=_correlation(
            float(spearman_rows(ranking[None], truth[None])[0]) if ranked else math.nan,
            spearman_rows(rankings, truths),
        ),
        chance_tau=chance_tau(networks),
        ceiling_tau=_ceiling(seen, drawn, ranked) if seeds > 1 else None,
        macs_tau=_correlation(
            kendall(sizes, truth)[0] if ranked else math.nan, kendall_rows(sizes[None], truths)
        ),
        picked=labels[int(pick(seen.validation, sizes))],
        best=labels[int(pick(seen.standalone, sizes))],
        regret=interval(
            float(regret_rows(seen.validation[None], seen.standalone[None], sizes)[0]),
            regret_rows(drawn.validation, drawn.standalone, sizes),
        ),
        mean_gap=_mean_gap(seen.one_shot, seen.standalone, drawn.one_shot, drawn.standalone),
        gaps=_each(seen.one_shot - seen.standalone, drawn.one_shot - drawn.standalone),
        longer_gap=None
        if seen.longer is None or drawn.longer is None
        else _mean_gap(seen.longer, seen.standalone, drawn.longer, drawn.standalone),
        one_shot=_each(seen.one_shot, drawn.one_shot),
        standalone=_each(seen.standalone, drawn.standalone),
        cost_ratio=ratio,
        cost_ratio_range=ratio_range,
        breakeven=breakeven(costs),
        sentences=[],
        failed={
            name: [labels[i] for i in np.flatnonzero(failed.any(axis=0)).tolist()]
            for name, failed in hits.failed.items()
            if failed.any()
        },
    )
    return verdict.model_copy(update={"sentences": sentences(verdict)})


def _correlation(value: float, resampled: Floats) -> Estimate:
    """An interval in which a resample that ranks nothing counts as no correlation."""
    return interval(value, np.nan_to_num(resampled, nan=0.0))


def _scored(accuracies: Floats) -> int:
    """Return how many of them there are, without those that are NaN."""
    return int(np.isfinite(accuracies).sum())


def _ceiling(seen: Accuracies, drawn: Accuracies, ranked: bool) -> Estimate:
    """Tau between seeds; draws of one and the same seed, which say nothing of it, are left out."""
    value = ceiling_rows(below_all(seen.standalone_seeds)[None], seen.drawn[None])
    pairs = (drawn.drawn > 0).sum(axis=1) > 1
    resampled = ceiling_rows(below_all(drawn.standalone_seeds[pairs]), drawn.drawn[pairs])
    return _correlation(float(value[0]) if ranked else math.nan, resampled)


def _mean_gap(a: Floats, b: Floats, drawn_a: Floats, drawn_b: Floats) -> Estimate:
    """Mean of a - b over the architectures that have both; NaN if none has."""
    both = np.isfinite(a - b)
    if not both.any():
        return Estimate(value=math.nan, low=math.nan, high=math.nan)
    return interval(
        float((a - b)[both].mean()), np.compress(both, drawn_a - drawn_b, axis=1).mean(axis=1)
    )


def _each(values: Floats, resampled: Floats) -> list[Estimate]:
    """An interval for each architecture."""
    return [interval(float(v), r) for v, r in zip(values, resampled.T, strict=True)]
