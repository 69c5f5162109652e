"""The bootstrap over samples and seeds, from scores per sample.

S is the number of seeds, A of architectures, N of samples, B of resamples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from supernet.errors import DataError
from supernet.evaluation.ranking.metrics import CELLS, Floats
from supernet.records import Estimate

Bools = NDArray[np.bool_]
Samples = NDArray[np.bool_] | NDArray[np.floating[Any]]
Sums = NDArray[np.floating[Any]]

RESAMPLES: Final = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """One score per sample and network, higher is better: (S, A, samples).

    Booleans are hits: which sample was classified right. `longer_test` is of a supernet trained for
    longer, on the test samples, if there is one. `failed` says, by the names of the others, which
    evaluations failed: bool, (S, A). The scores of those don't count.

    Raises:
        DataError: If shapes do not fit together, something is empty, is neither bool nor floating
            point, or is not finite where the evaluation did not fail.
    """

    one_shot_validation: Samples
    one_shot_test: Samples
    standalone_test: Samples
    longer_test: Samples | None = None
    failed: Mapping[str, Bools] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        for name, scores in self.arrays():
            if scores.dtype.kind not in "bf" or scores.ndim != 3 or not scores.size:
                raise DataError(
                    f"{name} is {scores.dtype} of shape {scores.shape}; give bool or floating "
                    "point of shape (seeds, architectures, samples), none of them 0"
                )
            split = "validation" if name.endswith("validation") else "test"
            like = self.one_shot_validation if split == "validation" else self.one_shot_test
            if scores.shape != (self.seeds, self.networks, like.shape[2]):
                raise DataError(
                    f"{name} has shape {scores.shape}, but there are {self.seeds} seed(s), "
                    f"{self.networks} architecture(s) and {like.shape[2]} {split} sample(s)"
                )
        for name, failed in self.failed.items():
            if failed.dtype != np.bool_ or failed.shape != (self.seeds, self.networks):
                raise DataError(
                    f"what failed of {name} is {failed.dtype} of shape {failed.shape}; give bool "
                    f"of shape {(self.seeds, self.networks)}: (seeds, architectures)"
                )
        for name, scores in self.arrays():
            if not np.isfinite(scores[~self.without_score(name)]).all():
                raise DataError(
                    f"{name} has scores that are not finite numbers, of evaluations that are not "
                    "said to have failed"
                )

    def without_score(self, name: str) -> Bools:
        """Return which evaluations failed, (S, A)."""
        none = np.zeros((self.seeds, self.networks), np.bool_)
        return np.asarray(self.failed.get(name, none))

    def arrays(self) -> Iterator[tuple[str, Samples]]:
        """Yield what there is, by name."""
        yield "one_shot_validation", self.one_shot_validation
        yield "one_shot_test", self.one_shot_test
        yield "standalone_test", self.standalone_test
        if self.longer_test is not None:
            yield "longer_test", self.longer_test

    @property
    def are_hits(self) -> bool:
        """Whether all are booleans."""
        return all(scores.dtype == np.bool_ for _, scores in self.arrays())

    @property
    def seeds(self) -> int:
        """S."""
        return int(self.one_shot_validation.shape[0])

    @property
    def networks(self) -> int:
        """A."""
        return int(self.one_shot_validation.shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class Means:
    """The mean score of every architecture, over samples and seeds: (..., A); NaN where one failed.

    `standalone_seeds` is (..., S, A), one mean per seed, and `drawn`, (..., S), says how often each
    of the seeds counts.
    """

    validation: Floats
    one_shot: Floats
    standalone: Floats
    longer: Floats | None
    standalone_seeds: Floats
    drawn: NDArray[np.int64]


def observe(scores: Scores) -> Means:
    """Return the means as they are: arrays of shape (A,), `standalone_seeds` (S, A)."""
    means = {name: array.mean(axis=(0, 2), dtype=np.float64) for name, array in scores.arrays()}
    seeds = scores.standalone_test.mean(axis=2, dtype=np.float64)
    return _means(scores, means, seeds, drawn=np.ones(scores.seeds, np.int64))


def resample(scores: Scores, rng: np.random.Generator, resamples: int = RESAMPLES) -> Means:
    """Draw samples and seeds with replacement, and return the means of each draw.

    Equal accuracies stay exactly equal: hits are summed as whole numbers, in float32, exact up to
    2**24 samples; other scores are summed in float64. The draws do not depend on A, nor on how the
    work is cut into chunks.

    Args:
        scores: What to draw from.
        rng: Where chance comes from; it is advanced.
        resamples: B.

    Returns:
        Arrays of shape (B, A); `standalone_seeds` is (B, S, A) and holds all seeds, drawn or not.

    Raises:
        DataError: If `resamples` is below 1.
    """
    if resamples < 1:
        raise DataError(f"resamples is {resamples}; it must be at least 1")
    seeds = scores.seeds
    validation_images, images = (
        h.shape[2] for h in (scores.one_shot_validation, scores.one_shot_test)
    )
    drawn = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)
    step = max(1, CELLS // max(validation_images, images))
    parts: dict[str, list[Sums]] = {name: [] for name, _ in scores.arrays()}
    for start in range(0, resamples, step):
        weights = _draw(rng, (validation_images, images), min(step, resamples - start))
        for name, array in scores.arrays():
            parts[name].append(_weigh(array, weights[0 if name.endswith("validation") else 1]))
    sums: dict[str, Sums] = {name: np.concatenate(part) for name, part in parts.items()}
    means = {
        name: np.einsum("bs,bsa->ba", drawn.astype(np.float64), sums[name])
        / (seeds * array.shape[2])
        for name, array in scores.arrays()
    }
    return _means(scores, means, sums["standalone_test"] / np.float64(images), drawn=drawn)


def _means(
    scores: Scores,
    means: Mapping[str, Floats],
    standalone_seeds: Floats,
    drawn: NDArray[np.int64],
) -> Means:
    """Put means together, and NaN in the place of what failed."""
    known = {
        name: np.where(scores.without_score(name).any(axis=0), np.nan, mean)
        for name, mean in means.items()
    }
    return Means(
        validation=known["one_shot_validation"],
        one_shot=known["one_shot_test"],
        standalone=known["standalone_test"],
        longer=known.get("longer_test"),
        standalone_seeds=np.where(
            scores.without_score("standalone_test"), np.nan, standalone_seeds
        ),
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


def _weigh(scores: Samples, weights: NDArray[np.float32]) -> Sums:
    """Return weighted sums, (B, S, A), of scores (S, A, N) by weights (B, N)."""
    exact = np.float32 if scores.dtype == np.bool_ else np.float64
    flat = scores.reshape(-1, scores.shape[2])
    step = max(1, CELLS // len(flat))
    sums = np.zeros((len(weights), len(flat)), exact)
    for start in range(0, flat.shape[1], step):
        part = slice(start, start + step)
        sums += weights[:, part].astype(exact) @ flat[:, part].T.astype(exact)
    return sums.reshape(-1, *scores.shape[:2])


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


def widen_certainty(share: Estimate, samples: int) -> Estimate:
    """Return a share of hits whose interval has a width, also where all samples agree.

    If all are hits, or none is, every resample says the same, and so does a standard deviation: the
    interval has no width. What the samples rule out is given by the exact interval of Clopper and
    Pearson ("The use of confidence or fiducial limits", Biometrika 1934): what never happened in N
    samples happens in at most 1 - 0.025 to the power of 1/N of all.

    Args:
        share: Of hits, with its interval.
        samples: N; nothing is widened if it is 0.

    >>> round(widen_certainty(Estimate(value=1.0, low=1.0, high=1.0), 21).low, 2)  # 21 of 21
    0.84
    """
    if samples < 1 or share.low != share.high or share.value not in (0.0, 1.0):
        return share
    reach = 1 - 0.025 ** (1 / samples)
    return Estimate(
        value=share.value, low=max(0.0, share.value - reach), high=min(1.0, share.value + reach)
    )
