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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from supernet.errors import DataError, DivergedError
from supernet.records import Estimate, Verdict

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

RESAMPLES: Final = 2000
_CELLS: Final = 2**20
"""About as many numbers as a temporary array may have: keeps the peak below 200 MB."""

_EXACT_UP_TO: Final = 50
_WORDS: Final = tuple(
    "zero one two three four five six seven eight nine ten eleven twelve".split()  # noqa: SIM905
)


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """Which images were classified right: bool, (S, A, images).

    `longer_test` is of a supernet trained for longer, on the test images, if there is one. `failed`
    says, by the names of the others, which evaluations failed: bool, (S, A). The hits of those
    don't count.

    Raises:
        DataError: If shapes do not fit together, something is empty, or is not bool.
    """

    one_shot_validation: Bools
    one_shot_test: Bools
    standalone_test: Bools
    longer_test: Bools | None = None
    failed: Mapping[str, Bools] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        for name, hits in self._arrays():
            if hits.dtype != np.bool_ or hits.ndim != 3 or not hits.size:
                raise DataError(
                    f"{name} is {hits.dtype} of shape {hits.shape}; give bool of shape "
                    "(seeds, architectures, images), none of them 0"
                )
            images = "validation" if name.endswith("validation") else "test"
            like = self.one_shot_validation if images == "validation" else self.one_shot_test
            if hits.shape != (self.seeds, self.networks, like.shape[2]):
                raise DataError(
                    f"{name} has shape {hits.shape}, but there are {self.seeds} seed(s), "
                    f"{self.networks} architecture(s) and {like.shape[2]} {images} image(s)"
                )
        for name, failed in self.failed.items():
            if failed.dtype != np.bool_ or failed.shape != (self.seeds, self.networks):
                raise DataError(
                    f"what failed of {name} is {failed.dtype} of shape {failed.shape}; give bool "
                    f"of shape {(self.seeds, self.networks)}: (seeds, architectures)"
                )

    def without_score(self, name: str) -> Bools:
        """Return which evaluations failed, (S, A)."""
        none = np.zeros((self.seeds, self.networks), np.bool_)
        return np.asarray(self.failed.get(name, none))

    def _arrays(self) -> Iterator[tuple[str, Bools]]:
        yield "one_shot_validation", self.one_shot_validation
        yield "one_shot_test", self.one_shot_test
        yield "standalone_test", self.standalone_test
        if self.longer_test is not None:
            yield "longer_test", self.longer_test

    @property
    def seeds(self) -> int:
        """S."""
        return int(self.one_shot_validation.shape[0])

    @property
    def networks(self) -> int:
        """A."""
        return int(self.one_shot_validation.shape[1])


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


@dataclass(frozen=True, slots=True, eq=False)
class Accuracies:
    """Accuracy of every architecture, mean over seeds: fractions, (..., A); NaN where one failed.

    `standalone_seeds` is (..., S, A), one accuracy per seed, and `drawn`, (..., S), says how often
    each of the seeds counts.
    """

    validation: Floats
    one_shot: Floats
    standalone: Floats
    longer: Floats | None
    standalone_seeds: Floats
    drawn: NDArray[np.int64]


def observe(hits: Hits) -> Accuracies:
    """Return the accuracies as they are: arrays of shape (A,), `standalone_seeds` (S, A)."""
    means = {name: array.mean(axis=(0, 2)) for name, array in hits._arrays()}
    return _accuracies(
        hits, means, hits.standalone_test.mean(axis=2), drawn=np.ones(hits.seeds, np.int64)
    )


def resample(hits: Hits, rng: np.random.Generator, resamples: int = RESAMPLES) -> Accuracies:
    """Draw images and seeds with replacement, and return the accuracies of each draw.

    Equal accuracies stay exactly equal: what is summed are whole numbers, in float32, exact up to
    2**24 images. The draws do not depend on A, nor on how the work is cut into chunks.

    Args:
        hits: What to draw from.
        rng: Where chance comes from; it is advanced.
        resamples: B.

    Returns:
        Arrays of shape (B, A); `standalone_seeds` is (B, S, A) and holds all seeds, drawn or not.

    Raises:
        DataError: If `resamples` is below 1.
    """
    if resamples < 1:
        raise DataError(f"resamples is {resamples}; it must be at least 1")
    seeds = hits.seeds
    validation_images, images = (h.shape[2] for h in (hits.one_shot_validation, hits.one_shot_test))
    drawn = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)
    step = max(1, _CELLS // max(validation_images, images))
    parts: dict[str, list[NDArray[np.float32]]] = {name: [] for name, _ in hits._arrays()}
    for start in range(0, resamples, step):
        weights = _draw(rng, (validation_images, images), min(step, resamples - start))
        for name, array in hits._arrays():
            parts[name].append(_weigh(array, weights[0 if name.endswith("validation") else 1]))
    counts = {name: np.concatenate(part) for name, part in parts.items()}
    means = {
        name: np.einsum("bs,bsa->ba", drawn.astype(np.float64), counts[name])
        / (seeds * array.shape[2])
        for name, array in hits._arrays()
    }
    return _accuracies(hits, means, counts["standalone_test"] / np.float64(images), drawn=drawn)


def _accuracies(
    hits: Hits,
    means: Mapping[str, Floats],
    standalone_seeds: Floats,
    drawn: NDArray[np.int64],
) -> Accuracies:
    """Put accuracies together, and NaN in the place of what failed."""
    known = {
        name: np.where(hits.without_score(name).any(axis=0), np.nan, mean)
        for name, mean in means.items()
    }
    return Accuracies(
        validation=known["one_shot_validation"],
        one_shot=known["one_shot_test"],
        standalone=known["standalone_test"],
        longer=known.get("longer_test"),
        standalone_seeds=np.where(hits.without_score("standalone_test"), np.nan, standalone_seeds),
        drawn=drawn,
    )


def _draw(
    rng: np.random.Generator, images: Sequence[int], resamples: int
) -> list[NDArray[np.float32]]:
    """Return how often each image is drawn: for each set of images, (resamples, images)."""
    weights = [np.empty((resamples, n), np.float32) for n in images]
    for row in range(resamples):
        for array in weights:
            n = array.shape[1]
            array[row] = np.bincount(rng.integers(n, size=n), minlength=n)
    return weights


def _weigh(hits: Bools, weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the weighted number of hits, (B, S, A), of hits (S, A, N) and weights (B, N)."""
    flat = hits.reshape(-1, hits.shape[2])
    step = max(1, _CELLS // len(flat))
    counts = np.zeros((len(weights), len(flat)), np.float32)
    for start in range(0, flat.shape[1], step):
        part = slice(start, start + step)
        counts += weights[:, part] @ flat[:, part].T.astype(np.float32)
    return counts.reshape(-1, *hits.shape[:2])


def interval(value: float, resampled: Floats) -> Estimate:
    """Return a value with its 95 % percentile interval.

    Args:
        value: Of the data themselves. If it is NaN, so is the interval.
        resampled: Of the resamples, (B,). NaNs are left out; if nothing is left, the interval is
            NaN too.
    """
    resampled = resampled[np.isfinite(resampled)]
    if math.isnan(value) or not resampled.size:
        return Estimate(value=value, low=math.nan, high=math.nan)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Estimate(value=value, low=min(value, float(low)), high=max(value, float(high)))


def kendall(x: Floats, y: Floats) -> tuple[float, float]:
    """Return Kendall's tau-b of two rankings (A,), and its two-sided p-value.

    p is exact without ties for A <= 33, else a normal approximation (`scipy.stats.kendalltau`).
    Both are NaN if there are fewer than two architectures, or if one side is all ties.

    References:
        Kendall, "The treatment of ties in ranking problems", Biometrika 33, 1945.
    """
    if len(x) < 2:
        return math.nan, math.nan
    return float(kendall_rows(x[None], y[None])[0]), float(stats.kendalltau(x, y).pvalue)


def kendall_rows(x: Floats, y: Floats) -> Floats:
    """Return Kendall's tau-b of each row of `x` with the same row of `y`: (B, A) to (B,).

    The sum over pairs of `sign(x_i - x_j) sign(y_i - y_j)`, divided by the geometric mean of the
    numbers of pairs that are not tied in x and in y. NaN where one side is all ties, or A < 2.
    Takes time and memory of order A**2 a row.
    """
    x, y = np.broadcast_arrays(x, y)
    first, second = np.triu_indices(x.shape[1], 1)
    step = max(1, _CELLS // max(1, len(first)))
    taus = np.empty(len(x))
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        a, b = (np.sign(z[rows][:, first] - z[rows][:, second]) for z in (x, y))
        taus[rows] = _cosine(a, b)
    return taus


def spearman_rows(x: Floats, y: Floats) -> Floats:
    """Return Spearman's rho of each row of `x` with the same row of `y`: (B, A) to (B,).

    The correlation of the ranks, ties getting their mean rank. NaN where one side is all ties, or
    A < 2.
    """
    a, b = (stats.rankdata(z, axis=1) - (z.shape[1] + 1) / 2 for z in np.broadcast_arrays(x, y))
    return _cosine(a, b)


def _cosine(a: Floats, b: Floats) -> Floats:
    """Return the cosine of the angle between rows; NaN where one of them is zero."""
    product, aa, bb = (np.einsum("bp,bp->b", u, v) for u, v in ((a, b), (a, a), (b, b)))
    scale = np.sqrt(aa * bb)
    cosine = np.full(len(a), np.nan)
    np.divide(product, scale, out=cosine, where=scale > 0)
    return cosine.clip(-1, 1)


def chance_tau(n: int) -> float:
    """Return the smallest tau that chance reaches or exceeds at most one time in twenty.

    Chance is a ranking of `n` architectures drawn at random, all orders equally likely, no ties.
    One-sided, for the question is whether a ranking agrees *better* than chance. Exact for n <= 50,
    by counting permutations with k inversions (the Mahonian numbers): tau = 1 - 4 k / (n (n - 1)).
    Beyond, by the normal approximation with variance 2 (2 n + 5) / (9 n (n - 1)).

    NaN for n < 4: there even the perfect order comes up more often than one time in twenty.

    References:
        Kendall, "A new measure of rank correlation", Biometrika 30, 1938.

    >>> round(chance_tau(9), 3), round(chance_tau(100), 3), chance_tau(3)
    (0.5, 0.112, nan)
    """
    if n > _EXACT_UP_TO:
        return float(stats.norm.isf(0.05)) * math.sqrt(2 * (2 * n + 5) / (9 * n * (n - 1)))
    smallest = math.nan
    cumulated, permutations = 0, math.factorial(n)
    for inversions, count in enumerate(_mahonian(n)):
        cumulated += count
        if 20 * cumulated > permutations:
            break
        smallest = 1 - 4 * inversions / (n * (n - 1))
    return smallest


def _mahonian(n: int) -> list[int]:
    """Return how many permutations of n have 0, 1, 2, ... inversions."""
    counts = [1]
    for m in range(2, n + 1):
        longer = [0] * (len(counts) + m - 1)
        running = 0
        for k in range(len(longer)):
            running += counts[k] if k < len(counts) else 0
            running -= counts[k - m] if k >= m else 0
            longer[k] = running
        counts = longer
    return counts


def ceiling_rows(accuracies: Floats, drawn: NDArray[np.int64]) -> Floats:
    """Return how well one seed's ranking agrees with another's: the mean tau-b of pairs of seeds.

    Pairs count as often as both seeds were drawn; a seed is not paired with itself. All seeds are
    judged on the same images, whose luck they share, so this is rather high than low. NaN if
    the tau of a drawn pair is NaN, or if there is no pair, all draws being of the same seed.

    Args:
        accuracies: (B, S, A).
        drawn: (B, S).

    Returns:
        (B,).
    """
    total = np.zeros(len(accuracies))
    pairs = np.zeros(len(accuracies))
    for i, j in combinations(range(accuracies.shape[1]), 2):
        weight = drawn[:, i] * drawn[:, j]
        tau = kendall_rows(accuracies[:, i], accuracies[:, j])
        total += np.where(weight > 0, weight * tau, 0)
        pairs += weight
    mean = np.full(len(total), np.nan)
    np.divide(total, pairs, out=mean, where=pairs > 0)
    return mean


def below_all(scores: Floats) -> Floats:
    """Return scores with those that are NaN below all others, and level with one another.

    >>> below_all(np.array([0.0, np.nan, 0.9])).tolist()
    [0.0, -1.0, 0.9]
    """
    return np.nan_to_num(scores, nan=-1.0)  # accuracies are not negative


def pick(scores: Floats, macs: NDArray[Any]) -> NDArray[np.intp]:
    """Return the index of the highest score along the last axis; of equals, the cheapest.

    Of equals that cost the same, it is the first. NaN, a failed evaluation, is never picked.

    Raises:
        DivergedError: If there is nothing but NaN.
    """
    if np.isnan(scores).all(axis=-1).any():
        raise DivergedError(
            f"no architecture can be picked, as all {scores.shape[-1]} have failed evaluations; "
            "train again with a lower learning rate"
        )
    order = np.argsort(macs, kind="stable")
    return np.asarray(order[np.argmax(below_all(scores)[..., order], axis=-1)])


def regret_rows(scores: Floats, truth: Floats, macs: NDArray[Any]) -> Floats:
    """Return what picking by `scores` costs: the best truth minus the truth of the picked.

    Args:
        scores: One-shot accuracy on validation images, (B, A).
        truth: Standalone accuracy on test images, (B, A), as fractions; NaN counts as 0.
        macs: (A,), to decide between equal scores.

    Returns:
        (B,), fractions; never negative.
    """
    truth = np.nan_to_num(truth, nan=0.0)
    picked = np.take_along_axis(truth, pick(scores, macs)[:, None], axis=1)[:, 0]
    return np.asarray(truth.max(axis=1) - picked)


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
    tau = f"Kendall tau {v.tau.value:z.2f} (95 % interval {_span(v.tau)}"
    if v.tau.low > 0 and v.tau_p < 0.05:
        return (
            f"One-shot ranked {_the(v.networks)} {'much' if v.tau.value >= 0.7 else 'only partly'} "
            f"as training them did: {tau}; chance alone reaches {v.chance_tau:z.2f} at most one "
            "time in twenty)."
        )
    if v.tau.high < 0 and v.tau_p < 0.05:
        return f"One-shot ranked {_the(v.networks)} worse than chance: {tau}, p = {v.tau_p:.2g})."
    if math.isnan(v.chance_tau):
        few = f"; chance alone gets {_word(v.networks)} networks right more often than one time in"
        return f"{unsure}{tau}, p = {v.tau_p:.2g}{few} twenty)."
    return f"{unsure}{tau}, p = {v.tau_p:.2g})."


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
        return f"Its one-shot accuracy is {_height(v.mean_gap)} than its standalone accuracy."
    gap = "" if unknown else f"; one-shot accuracies are on average {_height(v.mean_gap)}"
    return (
        f"Picking by one-shot costs {_points(v.regret.value)} ({_percent(v.regret.low)} to "
        f"{_percent(v.regret.high)}) against the best of the {_word(v.networks)}{gap}."
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
        f"one-shot accuracy is on average {_height(v.longer_gap)}."
    )


def _cost(v: Verdict) -> str:
    ends = [_share(ratio) for ratio in sorted(v.cost_ratio_range, reverse=True)]
    spread = f" ({ends[0]} to {ends[1]} over {_count(v.seeds, 'seed')})" if v.seeds > 1 else ""
    times = "of" if v.cost_ratio >= 1 else "times"
    pays = (
        "it never pays, as scoring an architecture takes as long as training it"
        if v.breakeven is None
        else f"it pays from {_count(int(v.breakeven), 'architecture')} on"
    )
    return (
        f"One supernet cost {_share(v.cost_ratio)} {times} the CPU time of training "
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
        f"{v.ceiling_tau.value:z.2f} ({_span(v.ceiling_tau)})"
    )
    if math.isnan(v.tau.value):
        return f"{text}."
    more = round(v.ceiling_tau.value, 2) - round(v.tau.value, 2)
    if more > 0:
        return f"{text}, {more:.2f} more than one-shot agrees with their mean."
    return f"{text}, no more than one-shot agrees with their mean."


def _baseline(v: Verdict) -> str | None:
    if math.isnan(v.macs_tau.value):
        return None
    return (
        f"Ranking by multiply-adds alone, without any training, gives tau {v.macs_tau.value:z.2f} "
        f"({_span(v.macs_tau)})."
    )


def _span(estimate: Estimate) -> str:
    if math.isnan(estimate.low):
        return "unknown"
    return f"{estimate.low:z.2f} to {estimate.high:z.2f}"


def _height(gap: Estimate) -> str:
    """Say how much higher or lower, with the interval turned the same way."""
    sign, word = (1, "higher") if gap.value > 0 else (-1, "lower")
    low, high = sorted((sign * gap.low, sign * gap.high))
    return f"{_points(abs(gap.value))} {word} ({_percent(low)} to {_percent(high)})"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:z.2f}"


def _points(fraction: float) -> str:
    number = _percent(fraction)
    return f"{number} point{'' if number == '1.00' else 's'}"


def _share(ratio: float) -> str:
    return f"1/{ratio:.1f}" if ratio >= 1 else f"{1 / ratio:.1f}"


def _word(n: int) -> str:
    return _WORDS[n] if n < len(_WORDS) else f"{n:,}"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _listed(labels: Sequence[str], most: int = 3) -> str:
    """Return the first few labels, and how many more there are."""
    more = len(labels) - most
    return ", ".join(labels[:most]) + (f" and {more:,} more" if more > 0 else "")


def _the(n: int) -> str:
    return f"the {_word(n)} network{'' if n == 1 else 's'}"
