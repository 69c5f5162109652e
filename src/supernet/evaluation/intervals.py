"""Confidence intervals of one score, and of the difference of two.

A bootstrap over samples. Of hits only the counts matter, so resamples are drawn as counts, from the
multinomial distribution: that is the bootstrap itself, and not an approximation of it. Where all
samples are hits, or none is, that has no width, and the exact interval of a share is taken.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from supernet.errors import DataError
from supernet.evaluation.ranking.bootstrap import RESAMPLES, interval, widen_certainty
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


def estimate_difference(hits: Bools, others: Bools, *, seed: int = 0) -> Estimate:
    """Return by how much the share of `hits` is above that of `others`, with a 95 % interval.

    The two are paired: of the same samples. So what both get right or wrong adds no width.

    Args:
        hits: Which samples the first gets right: bool, (samples,).
        others: Which the second gets right.
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
    count = len(hits)
    better, worse = float((hits & ~others).mean()), float((~hits & others).mean())
    rest = max(0.0, 1.0 - better - worse)
    drawn = np.random.default_rng(seed).multinomial(count, [better, worse, rest], RESAMPLES)
    return interval(better - worse, (drawn[:, 0] - drawn[:, 1]) / count)


def _check(hits: Bools) -> None:
    if hits.ndim != 1 or not len(hits):
        raise DataError(f"hits have shape {hits.shape}; give one number per sample, at least one")
