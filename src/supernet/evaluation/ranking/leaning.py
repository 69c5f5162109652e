"""A lean of a one-shot ranking to larger networks, which few steps train too little."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from supernet.errors import SettingsError
from supernet.evaluation.ranking.bootstrap import Bools
from supernet.evaluation.ranking.metrics import Floats


def lean_to_larger(
    samples: NDArray[Any], macs: Sequence[int], share: float, failed: Bools | None = None
) -> Floats:
    """Return what to add to the scores of architectures so that their ranking leans to larger ones.

    Scores say what a supernet found, and multiply-adds what one believed before: with scores and
    logarithms of multiply-adds scaled to the same spread, the ranking is by the score and `share`
    times the logarithm. It is a constant for each architecture, so the noise of scores stays what
    it is, and differences between architectures of the same size do.

    Args:
        samples: What ranks, higher is better, (S, A, N).
        macs: Multiply-adds, A of them.
        share: How much size counts, against 1 for the score; 0 is not at all.
        failed: Which evaluations failed, (S, A); they have no part in the spread.

    Returns:
        (A,); zeros where all are of one size.

    Raises:
        SettingsError: If the share is below 0, or not a finite number.

    >>> scores = np.array([[[0.5, 0.7], [0.8, 0.8]]])
    >>> lean_to_larger(scores, [100, 1000], 0.5).round(3).tolist()
    [-0.05, 0.05]
    """
    if not (math.isfinite(share) and share >= 0):
        raise SettingsError(f"lean is {share}; give a finite number from 0 on")
    logs = np.log(np.maximum(np.asarray(macs, np.float64), 1))
    means = samples.mean(axis=(0, 2), dtype=np.float64)
    known = means if failed is None else means[~failed.any(axis=0)]
    if not (np.ptp(logs) > 0 and len(known)):
        return np.zeros(len(logs))
    return np.asarray(share * known.std() * (logs - logs.mean()) / logs.std())
