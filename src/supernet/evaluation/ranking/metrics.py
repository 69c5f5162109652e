"""Metrics of rankings: rank correlations, what chance reaches, and what a pick costs.

Functions whose names end in `_rows` take B rankings at a time: (B, A), A being the number of
architectures. In a ranking, higher is better.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any, Final

import numpy as np
import scipy  # loads its parts where they are used: half a second
from numpy.typing import NDArray

from supernet.errors import DivergedError

Floats = NDArray[np.float64]

CELLS: Final = 2**20
"""About as many numbers as a temporary array may have: keeps the peak below 200 MB."""

_EXACT_UP_TO: Final = 50


def kendall(x: Floats, y: Floats) -> tuple[float, float]:
    """Return Kendall's tau-b of two rankings (A,), and its one-sided p-value.

    p is how often a random order, all equally likely, reaches this tau or more. It is exact without
    ties for A <= 33, else a normal approximation (`scipy.stats.kendalltau`). Both are NaN if there
    are fewer than two architectures, or if one side is all ties.

    References:
        Kendall, "The treatment of ties in ranking problems", Biometrika 33, 1945.
    """
    if len(x) < 2:
        return math.nan, math.nan
    p = scipy.stats.kendalltau(x, y, alternative="greater").pvalue
    return float(kendall_rows(x[None], y[None])[0]), float(p)


def kendall_rows(x: Floats, y: Floats) -> Floats:
    """Return Kendall's tau-b of each row of `x` with the same row of `y`: (B, A) to (B,).

    The sum over pairs of `sign(x_i - x_j) sign(y_i - y_j)`, divided by the geometric mean of the
    numbers of pairs that are not tied in x and in y. NaN where one side is all ties, or A < 2.
    Takes time and memory of order A**2 a row.
    """
    x, y = np.broadcast_arrays(x, y)
    step = max(1, CELLS // max(1, x.shape[1] * (x.shape[1] - 1) // 2))
    taus = np.empty(len(x))
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        taus[rows] = cosine(pair_signs(x[rows]), pair_signs(y[rows]))
    return taus


def pair_signs(scores: Floats) -> Floats:
    """Return for each pair which of the two is better, 1, 0 or -1: (B, A) to (B, A (A - 1) / 2)."""
    first, second = np.triu_indices(scores.shape[1], 1)
    return np.asarray(np.sign(scores[:, first] - scores[:, second]))


def spearman_rows(x: Floats, y: Floats) -> Floats:
    """Return Spearman's rho of each row of `x` with the same row of `y`: (B, A) to (B,).

    The correlation of the ranks, ties getting their mean rank. NaN where one side is all ties, or
    A < 2.
    """
    a, b = (
        scipy.stats.rankdata(z, axis=1) - (z.shape[1] + 1) / 2 for z in np.broadcast_arrays(x, y)
    )
    return cosine(a, b)


def cosine(a: Floats, b: Floats) -> Floats:
    """Return the cosine of the angle between rows; NaN where one of them is zero.

    Of the signs of pairs it is tau-b, of ranks without their mean it is rho.
    """
    a, b = np.broadcast_arrays(a, b)
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
        return float(scipy.stats.norm.isf(0.05)) * math.sqrt(2 * (2 * n + 5) / (9 * n * (n - 1)))
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
    """Return scores with those that are NaN below all others of their row, and equal.

    >>> below_all(np.array([0.0, np.nan, 0.9])).tolist()
    [0.0, -1.0, 0.9]
    """
    lowest = np.where(np.isnan(scores), np.inf, scores).min(axis=-1, keepdims=True, initial=np.inf)
    return np.where(np.isnan(scores), np.where(np.isinf(lowest), 0, lowest) - 1, scores)


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


def regret_rows(
    scores: Floats, truth: Floats, macs: NDArray[Any], *, nothing: float | None = 0.0
) -> Floats:
    """Return what picking by `scores` costs: the best truth minus the truth of the picked.

    Args:
        scores: One-shot scores on validation samples, (B, A).
        truth: Standalone scores on test samples, (B, A).
        macs: (A,), to decide between equal scores.
        nothing: What a truth that is NaN counts as; None for the lowest of its row.

    Returns:
        (B,); never negative.
    """
    if nothing is None:
        truth = np.where(np.isnan(truth), below_all(truth) + 1, truth)
    truth = np.nan_to_num(truth, nan=nothing or 0.0)
    picked = np.take_along_axis(truth, pick(scores, macs)[:, None], axis=1)[:, 0]
    return np.asarray(truth.max(axis=1) - picked)
