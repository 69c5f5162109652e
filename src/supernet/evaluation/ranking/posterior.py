"""Posterior of the true scores, given scores on some samples.

Scores are means over samples, so they are true scores and noise. Noise makes two rankings agree
less than the true scores do (attenuation: Spearman, "The proof and measurement of association
between two things", American Journal of Psychology 15, 1904), and drawing the samples again adds
noise to noise. An interval of a rank correlation that is to hold the one of the true scores
therefore needs a model of them. This is the usual hierarchical one (Gelman et al., "Bayesian Data
Analysis", 3rd edition, 2013, chapter 5), fitted to each run:

* The pair of true scores of an architecture, one-shot and standalone, is normal around the mean of
  all, with standard deviations `s`, `t` and correlation `r`, all unknown. Flat priors: of `s` and
  `t` above 0, and of Kendall's tau, `2 / pi asin r`, from -1 to 1.
* What is seen is the truth plus normal noise. Its covariance is that of the means over samples,
  so networks that get the same samples wrong are compared in pairs; with several seeds, the spread
  between them is added.

A ranking doesn't change when all scores move together, so the mean over the architectures is taken
out of everything. Both noises are written in the axes of their sum, and what is not diagonal there
is dropped: exact where the noise of all pairs of networks is alike, else an approximation whose
coverage `benchmarks/tau_coverage.py` measures. Time and memory are of order A**2, A**3 once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from supernet.evaluation.ranking.metrics import CELLS, Floats

_STEPS: Final = (13, 13, 25)
"""Grid points for `s`, `t` and tau, in each of the rounds that close in on where the mass is."""

_ROUNDS: Final = 4
_NEGLIGIBLE: Final = 1e-5


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Scores as they were seen: means (A,), and the covariance of their noise (A, A)."""

    mean: Floats
    noise: Floats


def see(samples: NDArray[Any]) -> Seen:
    """Return mean scores and the covariance of their noise.

    Args:
        samples: Scores per sample, (S, A, N); N at least 2.
    """
    seeds, networks, n = samples.shape
    of_samples = samples.mean(axis=0, dtype=np.float64)
    noise = np.atleast_2d(np.cov(of_samples)) / n
    if seeds > 1:
        noise = noise + np.eye(networks) * _seed_variance(samples) / seeds
    return Seen(of_samples.mean(axis=1), noise)


def _seed_variance(samples: NDArray[Any]) -> float:
    """Return how much the score of one network varies with the seed, as a variance, mean over A.

    What all networks of a seed have in common is left out, and so is the luck of samples.
    """
    seeds, networks, n = samples.shape
    means: Floats = samples.mean(axis=2, dtype=np.float64)
    rest = means - means.mean(axis=0) - means.mean(axis=1, keepdims=True) + means.mean()
    freedom = (seeds - 1) * max(networks - 1, 1)
    luck = samples.var(axis=0, ddof=1, dtype=np.float64).mean() / n
    return float(max(0.0, (rest**2).sum() / freedom - luck))


def draw_truths(
    one_shot: Seen, standalone: Seen, rng: np.random.Generator, draws: int
) -> tuple[Floats, Floats]:
    """Draw true scores from what they may be, given those seen.

    Args:
        one_shot: Of the architectures inside the supernet.
        standalone: Of the same trained alone; at least two architectures.
        rng: Where chance comes from; it is advanced.
        draws: B.

    Returns:
        One-shot and standalone scores, (B, A) each, up to a number that all of a draw share.
    """
    axes, (x, y), (dx, dy) = _axes(one_shot, standalone)
    s, t, r = _hyperparameters(x, y, dx, dy, rng, draws)
    a, b, c = s[:, None] ** 2, t[:, None] ** 2, (r * s * t)[:, None]
    # The posterior of each pair, given the prior [[a, c], [c, b]] and noise diag(dx, dy).
    p, q = a + dx, b + dy
    determinant = p * q - c**2
    gxx, gxy = (a * q - c * c) / determinant, (c * p - a * c) / determinant
    gyx, gyy = (c * q - b * c) / determinant, (b * p - c * c) / determinant
    vxx = np.maximum(a - gxx * a - gxy * c, 0)
    vxy = c - gxx * c - gxy * b
    vyy = np.maximum(b - gyx * c - gyy * b, 0)
    u, v = rng.standard_normal((2, *p.shape))
    root = np.sqrt(vxx)
    slope = np.divide(vxy, root, out=np.zeros_like(root), where=root > 0)
    true_x = gxx * x + gxy * y + root * u
    true_y = gyx * x + gyy * y + slope * u + np.sqrt(np.maximum(vyy - slope**2, 0)) * v
    # Rounded, so that what is equal by all samples stays equal.
    return (true_x @ axes).round(10), (true_y @ axes).round(10)


def _axes(
    one_shot: Seen, standalone: Seen
) -> tuple[Floats, tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Return axes (A - 1, A) across the common mean, and scores and noise variances along them."""
    n = len(one_shot.mean)
    across = np.linalg.qr(np.column_stack([np.ones(n), np.eye(n)[:, 1:]]))[0][:, 1:].T
    noises = [across @ seen.noise @ across.T for seen in (one_shot, standalone)]
    scales = [float(np.trace(noise)) or 1.0 for noise in noises]
    pooled = sum(noise / scale for noise, scale in zip(noises, scales, strict=True))
    axes = np.linalg.eigh(pooled)[1].T @ across
    dx, dy = (
        np.maximum(np.einsum("ka,ab,kb->k", axes, seen.noise, axes, optimize=True), 0)
        for seen in (one_shot, standalone)
    )
    return axes, (axes @ one_shot.mean, axes @ standalone.mean), (dx, dy)


def _hyperparameters(
    x: Floats, y: Floats, dx: Floats, dy: Floats, rng: np.random.Generator, draws: int
) -> tuple[Floats, Floats, Floats]:
    """Draw `s`, `t` and `r` from their posterior, on a grid that closes in on its mass."""
    most = [4 * float(np.sqrt((z**2 + d).mean())) or 1.0 for z, d in ((x, dx), (y, dy))]
    ends = [(0.0, most[0]), (0.0, most[1]), (-1.0, 1.0)]
    for _ in range(_ROUNDS):
        edges = [np.linspace(*end, steps + 1) for end, steps in zip(ends, _STEPS, strict=True)]
        grid = [(edge[1:] + edge[:-1]) / 2 for edge in edges]
        weights = _weights(x, y, dx, dy, grid)
        ends = [_where(weights, axis, edges[axis]) for axis in range(3)]
    flat = rng.choice(weights.size, size=draws, p=weights.ravel())
    cells = np.unravel_index(flat, weights.shape)
    s, t, tau = (
        grid[axis][cell] + (rng.random(draws) - 0.5) * (edges[axis][1] - edges[axis][0])
        for axis, cell in enumerate(cells)
    )
    return s, t, np.sin(np.pi / 2 * tau)


def _weights(x: Floats, y: Floats, dx: Floats, dy: Floats, grid: list[Floats]) -> Floats:
    """Return the posterior mass of each cell of a grid of `s`, `t` and tau."""
    s, t, tau = (z.ravel() for z in np.meshgrid(*grid, indexing="ij"))
    c = np.sin(np.pi / 2 * tau) * s * t
    logs = np.empty(len(s))
    step = max(1, CELLS // len(x))
    for start in range(0, len(s), step):
        part = slice(start, start + step)
        p, q = s[part, None] ** 2 + dx, t[part, None] ** 2 + dy
        off = c[part, None]
        determinant = p * q - off**2
        square = (q * x**2 - 2 * off * x * y + p * y**2) / determinant
        logs[part] = -0.5 * (np.log(determinant) + square).sum(axis=1)
    weights = np.exp(logs - logs.max()).reshape([len(z) for z in grid])
    return np.asarray(weights / weights.sum())


def _where(weights: Floats, axis: int, edges: Floats) -> tuple[float, float]:
    """Return the stretch of an axis that holds the mass, with a cell to spare on each side."""
    rest = tuple(other for other in range(3) if other != axis)
    inside = np.flatnonzero(weights.sum(axis=rest) > _NEGLIGIBLE)
    low, high = max(inside[0] - 1, 0), min(inside[-1] + 2, len(edges) - 1)
    return float(edges[low]), float(edges[high])
