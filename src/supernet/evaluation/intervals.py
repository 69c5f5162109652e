"""Confidence intervals of one score, and of the difference of two.

A bootstrap over samples. Of hits only the counts matter, so resamples are drawn as counts, from the
multinomial distribution: that is the bootstrap itself, and not an approximation of it. Where all
samples are hits, or none is, that has no width, and the exact interval of a share is taken.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from supernet.errors import DataError
from supernet.evaluation.ranking.bootstrap import (
    RESAMPLES,
    Samples,
    interval,
    widen_certainty,
)
from supernet.evaluation.ranking.metrics import CELLS
from supernet.records import Estimate

Bools = NDArray[np.bool_]


def estimate_share(hits: Bools, *, seed: int = 0) -> Estimate:
    """Return the share of hits, with a 95 % interval over samples.

    Args:
        hits: Which samples are right: bool, (samples,).
        seed: Of the resamples.

    Raises:
        DataError: If there are no samples.

    >>> estimate_share(np.array([True] * 90 + [False] * 10)).value
    0.9
    """
    _check(hits)
    count = len(hits)
    drawn = np.random.default_rng(seed).binomial(count, hits.mean(), RESAMPLES)
    return widen_certainty(interval(float(hits.mean()), drawn / count), count)


def estimate_mean(scores: Samples, *, seed: int = 0) -> Estimate:
    """Return the mean of scores, with a 95 % interval over samples; of hits, their share.

    Args:
        scores: One per sample, finite: bool or floating point, (samples,).
        seed: Of the resamples.

    Raises:
        DataError: If there are no samples.

    >>> estimate_mean(np.array([-1.0, -3.0])).value
    -2.0
    """
    if scores.dtype == np.bool_:
        return estimate_share(scores.astype(np.bool_), seed=seed)
    _check(scores)
    return interval(float(scores.mean(dtype=np.float64)), _resampled(scores, seed))


def _resampled(values: Samples, seed: int) -> NDArray[np.float64]:
    """Return means of resamples, (B,), drawn a few at a time."""
    rng, count = np.random.default_rng(seed), len(values)
    exact = values.astype(np.float64)
    step = max(1, CELLS // count)
    parts = [
        exact[rng.integers(count, size=(min(step, RESAMPLES - start), count))].mean(axis=1)
        for start in range(0, RESAMPLES, step)
    ]
    return np.concatenate(parts)


def estimate_difference(hits: Samples, others: Samples, *, seed: int = 0) -> Estimate:
    """Return by how much the mean of `hits` is above that of `others`, with a 95 % interval.

    The two are paired: of the same samples. So what both get right or wrong adds no width.

    Args:
        hits: Which samples the first gets right: bool, (samples,); or their scores.
        others: The same of the second.
        seed: Of the resamples.

    Raises:
        DataError: If there are no samples, or not the same number of both.
    """
    _check(hits)
    if hits.shape != others.shape:
        raise DataError(
            f"there are {len(hits)} samples of one network and {len(others)} of the other; a "
            "paired difference needs the same samples of both"
        )
    if hits.dtype != np.bool_ or others.dtype != np.bool_:
        apart = hits.astype(np.float64) - others.astype(np.float64)
        return interval(float(apart.mean()), _resampled(apart, seed))
    count = len(hits)
    better, worse = float((hits > others).mean()), float((hits < others).mean())
    rest = max(0.0, 1.0 - better - worse)
    drawn = np.random.default_rng(seed).multinomial(count, [better, worse, rest], RESAMPLES)
    return interval(better - worse, (drawn[:, 0] - drawn[:, 1]) / count)


def _check(scores: Samples) -> None:
    if scores.ndim != 1 or not len(scores):
        raise DataError(
            f"scores have shape {scores.shape}; give one number per sample, at least one"
        )
