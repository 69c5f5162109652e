"""The verdict on a one-shot ranking: agreement with standalone training, with intervals.

One-shot scores on validation samples (what a search sees) are held against standalone scores on
test samples (the truth). Everything is computed from scores per sample; of a classifier, which
image was classified right. S is the number of seeds, A of architectures, N of samples, B of
resamples.

What the intervals mean. All are 95 % intervals, and none draws the architectures: they are all
there are. There are two kinds:

* Of rank correlations (tau, rho, those of the trivial rankings, and the advantage over these) they
  are of the *true* scores, on endless samples and, where S > 1, seeds: see `posterior`. Noise makes
  rankings agree less than the true scores do, so these intervals lie higher than the value seen,
  and are widened to hold it. They hold the truth 90 to 100 % of the time
  (`benchmarks/tau_coverage.py`).
* Of scores, gaps and regret they are percentile bootstrap intervals (Efron and Tibshirani, "An
  Introduction to the Bootstrap", 1993, chapter 13) over samples and, where S > 1, seeds. A seed is
  drawn with everything trained under it; validation and test samples are drawn independently; the
  networks compared on test samples meet the same draw. So is the tau between two seeds.

Three things to know:

* With S = 1 an interval knows nothing of the luck of training; with few seeds it understates that
  by a factor of about `sqrt((S - 1) / S)`.
* Resampling adds noise to noise, so the bootstrap interval of regret is a little high, and that of
  the tau between seeds a little low. An interval is widened to hold its value where this would
  push the value out.
* If the data themselves rank nothing, as one side is all ties, value and interval are NaN, and the
  sentences say "can't tell".

Whether a ranking is better than chance is decided by one test on one side: how often a random order
of the same networks would reach the tau that was seen (`kendall`). The interval has no part in it.

What failed. An evaluation fails if an output is not a finite number, and counts as failed if it
failed under any seed. It has no score, but it is not left out either: in rankings it stands
below everything that has a score, level with whatever else failed, and tau counts the pairs it is
in. It is never picked, nor the best. A network that failed alone and is picked nevertheless gets
nothing right, as regret counts it (where scores are no hits: as little as the worst of the others).
Gaps are of those only that have both scores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np

from supernet.errors import DataError, SettingsError
from supernet.evaluation.ranking.baselines import Chosen, choose
from supernet.evaluation.ranking.bootstrap import (
    RESAMPLES,
    Means,
    Samples,
    Scores,
    interval,
    observe,
    resample,
    widen_certainty,
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
from supernet.evaluation.ranking.posterior import draw_truths, see
from supernet.evaluation.ranking.sentences import sentences
from supernet.records import ACCURACY, Estimate, Measure, Verdict

_MOST_PAIRS: Final = 10**8
"""Of networks, over all draws of true scores: 2,000 draws up to 316 networks."""

_FEWEST_DRAWS: Final = 200


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
    scores: Scores,
    costs: Costs,
    *,
    labels: Sequence[str],
    macs: Sequence[int],
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    measure: Measure = ACCURACY,
    losses: Samples | None = None,
    rank_by: Literal["score", "loss"] = "score",
    baselines: Mapping[str, Sequence[float]] | None = None,
    leaning: Floats | None = None,
) -> Verdict:
    """Return how far the one-shot ranking can be trusted, and what it saved.

    Conventions: see the module. `one_shot` and `standalone` of the verdict are both scores on the
    test samples, so that `gaps` are their differences; the ranking, the pick and `regret` use
    one-shot scores, or losses, on validation samples. `chance_tau` is NaN for fewer than four
    architectures. With fewer than two that have a score on either side there is no ranking, and all
    is NaN that would judge it.

    Args:
        scores: Scores per sample, and what failed.
        costs: What it took.
        labels: Names of the architectures, A of them.
        macs: Their multiply-adds, to decide between equal scores.
        rng: Where the draws come from; it is advanced.
        resamples: B; of true scores fewer are drawn where there are more than 316 architectures.
        measure: What the scores are called.
        losses: Of the validation samples in the supernet, (S, A, N), lower is better, if known.
        rank_by: Whether one-shot ranks and picks by scores or by losses.
        baselines: Rankings without training: a number per network, higher is ranked better, by
            the name of what it counts. By default multiply-adds alone.
        leaning: What is added to each architecture's one-shot scores before they rank, (A,).

    Raises:
        DataError: If the parts do not fit together.
        DivergedError: If on one side the evaluations of all architectures failed.
        SettingsError: If losses are to rank, and there are none.
    """
    _check(scores, costs, labels, macs, losses, rank_by)
    by_loss = None if losses is None else replace(scores, one_shot_validation=np.negative(losses))
    plain, scores = scores, by_loss if by_loss and rank_by == "loss" else scores
    unleaned = {"score": plain} | ({"loss": by_loss} if by_loss else {})
    if leaning is not None:
        scores = replace(scores, one_shot_validation=scores.one_shot_validation + leaning[:, None])
    sizes = np.asarray(macs, np.float64)
    seen, drawn = observe(scores), resample(scores, rng, resamples)
    ratio, ratio_range = cost_ratio(costs)
    ranking, truth = below_all(seen.validation), below_all(seen.standalone)
    ranked = min(map(_scored, (seen.validation, seen.standalone))) > 1
    draws = _affordable(scores.networks, resamples)
    true = _draw_true(scores, seen, rng, draws)
    is_hits = scores.standalone_test.dtype == np.bool_
    nothing, hits = (0.0, scores.standalone_test.shape[2]) if is_hits else (None, 0)
    agreement = _Agreement(ranking, truth, *true, ranked=ranked)
    rivals = {"multiply-adds": macs} if baselines is None else baselines
    best = choose(rivals, truth) if ranked else None
    mean_gap = _mean_gap(seen.one_shot, seen.standalone, drawn.one_shot, drawn.standalone)
    undertrained = _undertrained(mean_gap, seen.standalone)
    verdict = Verdict(
        edition=2,
        measure=measure,
        networks=scores.networks,
        seeds=scores.seeds,
        validation_images=scores.one_shot_validation.shape[2],
        test_images=scores.one_shot_test.shape[2],
        tau=agreement.tau(),
        tau_p=kendall(ranking, truth)[1] if ranked else math.nan,
        tau_by=_tau_by(rng, draws, **unleaned) if by_loss or leaning is not None else {},
        ranked_by=rank_by,
        leans=leaning is not None,
        spearman=agreement.rho(),
        chance_tau=chance_tau(scores.networks),
        ceiling_tau=_ceiling(seen, drawn, ranked) if scores.seeds > 1 else None,
        macs_tau=agreement.tau_of(sizes),
        baselines={
            name: agreement.tau_of(np.asarray(rival, np.float64)) for name, rival in rivals.items()
        },
        baseline=best.name if best else None,
        baseline_tau=agreement.tau_of_chosen(best) if best else None,
        advantage=agreement.advantage(best) if best else None,
        picked=labels[int(pick(seen.validation, sizes))],
        best=labels[int(pick(seen.standalone, sizes))],
        regret=_regret(seen, drawn, sizes, nothing),
        mean_gap=mean_gap,
        gaps=_each(seen.one_shot - seen.standalone, drawn.one_shot - drawn.standalone),
        longer_gap=_longer_gap(seen, drawn),
        one_shot=_each(seen.one_shot, drawn.one_shot, hits),
        standalone=_each(seen.standalone, drawn.standalone, hits),
        cost_ratio=ratio,
        cost_ratio_range=ratio_range,
        breakeven=None if undertrained else breakeven(costs),
        undertrained=undertrained,
        sentences=[],
        failed=_failed(scores, labels),
    )
    return verdict.model_copy(update={"sentences": sentences(verdict)})


def _tau_by(rng: np.random.Generator, draws: int, **ranked_by: Scores) -> dict[str, Estimate]:
    """Return the tau of each way to rank."""
    return {name: _agreement(scores, rng, draws).tau() for name, scores in ranked_by.items()}


def _regret(seen: Means, drawn: Means, sizes: Floats, nothing: float | None) -> Estimate:
    (value,) = regret_rows(seen.validation[None], seen.standalone[None], sizes, nothing=nothing)
    return interval(
        float(value), regret_rows(drawn.validation, drawn.standalone, sizes, nothing=nothing)
    )


def _longer_gap(seen: Means, drawn: Means) -> Estimate | None:
    if seen.longer is None or drawn.longer is None:
        return None
    return _mean_gap(seen.longer, seen.standalone, drawn.longer, drawn.standalone)


def _failed(scores: Scores, labels: Sequence[str]) -> dict[str, list[str]]:
    """Return which architectures failed under any seed, by the evaluation that failed."""
    return {
        name: [labels[i] for i in np.flatnonzero(failed.any(axis=0)).tolist()]
        for name, failed in scores.failed.items()
        if failed.any()
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Agreement:
    """A ranking and the truth, (A,), as they were seen, and as they may truly be, (B, A)."""

    ranking: Floats
    truth: Floats
    rankings: Floats
    truths: Floats
    ranked: bool = field(kw_only=True)

    def tau(self) -> Estimate:
        """Kendall's tau."""
        return self._estimate(
            kendall(self.ranking, self.truth)[0], kendall_rows(self.rankings, self.truths)
        )

    def rho(self) -> Estimate:
        """Spearman's rho."""
        value = float(spearman_rows(self.ranking[None], self.truth[None])[0])
        return self._estimate(value, spearman_rows(self.rankings, self.truths))

    def tau_of(self, ranking: Floats) -> Estimate:
        """The tau of another ranking, one without noise."""
        return self._estimate(
            kendall(ranking, self.truth)[0], kendall_rows(ranking[None], self.truths)
        )

    def tau_of_chosen(self, chosen: Chosen) -> Estimate:
        """The tau of a ranking that was chosen by cross-validation."""
        return self._estimate(
            float(chosen.tau_rows(self.truth[None])[0]), chosen.tau_rows(self.truths)
        )

    def advantage(self, chosen: Chosen) -> Estimate:
        """How much higher tau is than that of a chosen ranking, on the same truths."""
        return self._estimate(
            self.tau().value - float(chosen.tau_rows(self.truth[None])[0]),
            np.nan_to_num(kendall_rows(self.rankings, self.truths))
            - np.nan_to_num(chosen.tau_rows(self.truths)),
        )

    def _estimate(self, value: float, drawn: Floats) -> Estimate:
        return _correlation(value if self.ranked else math.nan, drawn)


def _agreement(scores: Scores, rng: np.random.Generator, draws: int) -> _Agreement:
    seen = observe(scores)
    return _Agreement(
        below_all(seen.validation),
        below_all(seen.standalone),
        *_draw_true(scores, seen, rng, draws),
        ranked=min(map(_scored, (seen.validation, seen.standalone))) > 1,
    )


def _draw_true(
    scores: Scores, seen: Means, rng: np.random.Generator, draws: int
) -> tuple[Floats, Floats]:
    """Draw one-shot and standalone scores from what they may truly be, (B, A); failed ones lowest.

    Those that have only one of the two scores keep it as it was seen.
    """
    both = np.isfinite(seen.validation) & np.isfinite(seen.standalone)
    sides = [
        np.broadcast_to(side - (side[both].mean() if both.any() else 0), (draws, len(side))).copy()
        for side in (seen.validation, seen.standalone)
    ]
    if both.sum() > 1:
        samples = scores.one_shot_validation[:, both], scores.standalone_test[:, both]
        true = draw_truths(see(samples[0]), see(samples[1]), rng, draws)
        for side, drawn in zip(sides, true, strict=True):
            side[:, both] = drawn
    return below_all(sides[0]), below_all(sides[1])


def _check(
    scores: Scores,
    costs: Costs,
    labels: Sequence[str],
    macs: Sequence[int],
    losses: Samples | None,
    rank_by: str,
) -> None:
    networks = scores.networks
    if not len(labels) == len(macs) == costs.standalone.shape[1] == networks:
        raise DataError(
            f"there are {networks} architecture(s) in the scores, {costs.standalone.shape[1]} in "
            f"the costs, {len(labels)} label(s) and {len(macs)} number(s) of MACs"
        )
    if len(costs.supernet) != scores.seeds:
        raise DataError(
            f"there are {scores.seeds} seed(s) in the scores, {len(costs.supernet)} in the costs"
        )
    if rank_by not in ("score", "loss"):
        raise SettingsError(f"rank by {rank_by!r}? Give 'score' or 'loss'")
    if rank_by == "loss" and losses is None:
        raise SettingsError("there are no losses to rank by; give them, or rank by 'score'")


def _affordable(networks: int, draws: int) -> int:
    """Return how many draws of true scores to make: fewer where each has very many pairs."""
    pairs = networks * (networks - 1) // 2
    return min(draws, max(_FEWEST_DRAWS, _MOST_PAIRS // max(pairs, 1)))


def _undertrained(mean_gap: Estimate, standalone: Floats) -> bool:
    """Say whether one-shot scores lie further below the others than these lie apart."""
    known = standalone[np.isfinite(standalone)]
    apart = float(np.ptp(known)) if len(known) else 0.0
    return apart > 0 and mean_gap.high < -apart


def _correlation(value: float, drawn: Floats) -> Estimate:
    """An interval in which a draw that ranks nothing counts as no correlation."""
    return interval(value, np.nan_to_num(drawn, nan=0.0))


def _scored(scores: Floats) -> int:
    """Return how many of them there are, without those that are NaN."""
    return int(np.isfinite(scores).sum())


def _ceiling(seen: Means, drawn: Means, ranked: bool) -> Estimate:
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


def _each(values: Floats, resampled: Floats, hits: int = 0) -> list[Estimate]:
    """An interval for each architecture; `hits` is of how many samples, if these are shares."""
    found = [interval(float(v), r) for v, r in zip(values, resampled.T, strict=True)]
    return [widen_certainty(one, hits) for one in found]
