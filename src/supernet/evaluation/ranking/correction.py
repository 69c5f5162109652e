"""Correction of a ranking by a few networks trained alone.

A supernet's scores are wrong in ways that have to do with the choices: it favors what trains fast.
Some networks trained alone show how. The score of a network is modeled as

    score = linear function of (one-shot score, log MACs, layers) + f(choices) + noise,

f being a Gaussian process with the covariance that a search uses: two architectures are alike by
the share of choices on which they agree (`supernet.strategies.gaussian_process`; Rasmussen and
Williams, "Gaussian Processes for Machine Learning", 2006, sections 2.7 and 5.4.1). The coefficients
of the linear function have a wide normal prior; how much is left to f, its mix and length, and the
noise are those with the largest marginal likelihood on a grid. How good it is, is told by leaving
out one trained network at a time; these four numbers stay what they were, which flatters it a
little.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.linalg

from supernet.errors import DataError
from supernet.evaluation.ranking.metrics import Floats, kendall, pick
from supernet.evaluation.ranking.sentences import correction_sentences
from supernet.records import ACCURACY, Corrected, Estimate, Measure
from supernet.strategies.gaussian_process import Parameters, covariance

FEWEST: Final = 6
"""With fewer trained networks than this there is more to estimate than to estimate it from."""

_Z: Final = 1.959964
_WIDE: Final = 10.0
"""Prior variance of a coefficient, where scores and features have variance 1."""

_MIXES: Final = (0.0, 0.5, 1.0)
_LENGTHS: Final = (0.15, 0.5)
_SHARES: Final = (0.0, 0.1, 0.3, 1.0)
_NOISES: Final = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


@dataclass(frozen=True, slots=True)
class Knobs:
    """How much f has of the variance, its mix and length, and the variance of noise."""

    share: float
    mix: float
    length: float
    noise: float


def correct(
    options: Sequence[Mapping[str, int | str]],
    features: Mapping[str, Sequence[float]],
    trained: Sequence[int],
    scores: Floats,
    *,
    labels: Sequence[str],
    macs: Sequence[int],
    measure: Measure = ACCURACY,
) -> Corrected:
    """Return scores predicted for all architectures, from those of the few trained alone.

    Args:
        options: What each architecture chose, A of them; a choice it doesn't have counts as one
        more
            option.
        features: A number for each architecture, by name; `one_shot` must be among them, higher
            is better. Others are log MACs, layers, what you have.
        trained: The numbers of the architectures trained alone, k of them, each once.
        scores: Their scores, (k,), finite.
        labels: Names of the architectures.
        macs: Of equals the cheapest is picked.
        measure: What the scores are called.

    Raises:
        DataError: If parts don't fit together, or there are fewer than `FEWEST` trained networks.
    """
    _check(options, features, trained, scores, labels)
    rows = list(trained)
    truth = np.asarray(scores, np.float64)
    linear = _standardized(np.array([features[name] for name in features], np.float64).T)
    hot = one_hot(options)
    full = _Process(linear[rows], hot[rows], truth)
    alone = _Process(np.zeros((len(rows), 0)), hot[rows], truth)
    mean, deviation = full.predict(linear, hot)
    left_out = full.leave_one_out()
    one_shot = np.asarray(features["one_shot"], np.float64)[rows]
    record = Corrected(
        trained=len(rows),
        measure=measure,
        predicted=[
            Estimate(value=m, low=m - _Z * d, high=m + _Z * d)
            for m, d in zip(mean.tolist(), deviation.tolist(), strict=True)
        ],
        taus={
            "one_shot": kendall(one_shot, truth)[0],
            "corrected": kendall(left_out, truth)[0],
            "choices": kendall(alone.leave_one_out(), truth)[0],
        },
        error=float(np.sqrt(np.mean((left_out - truth) ** 2))),
        picked=labels[int(pick(mean, np.asarray(macs, np.float64)))],
        sentences=[],
    )
    return record.model_copy(update={"sentences": correction_sentences(record)})


def one_hot(options: Sequence[Mapping[str, int | str]]) -> Floats:
    """Return rows of which the product of two is the number of choices on which they agree.

    A choice that an architecture doesn't have counts as one more option of it.
    """
    columns = [np.zeros((len(options), 0))]
    for name in sorted({name for each in options for name in each}):
        values = [each.get(name) for each in options]
        known = list(dict.fromkeys(values))
        columns.append(np.array([[value == other for other in known] for value in values], float))
    return np.concatenate(columns, axis=1)


class _Process:
    """The Gaussian process, fitted to k scores."""

    def __init__(self, linear: Floats, hot: Floats, scores: Floats) -> None:
        self.linear, self.hot = linear, hot
        self.center, self.scale = float(scores.mean()), float(scores.std()) or 1.0
        self.targets = (scores - self.center) / self.scale
        fits = [(_likelihood(self._gram(knobs), self.targets), knobs) for knobs in _grid()]
        self.knobs = max(fits, key=lambda fit: fit[0])[1]
        self.inverse = np.linalg.inv(self._gram(self.knobs))
        self.weights = self.inverse @ self.targets
        # The size of everything, by maximum likelihood given the knobs.
        self.size = math.sqrt(max(float(self.targets @ self.weights) / len(scores), 1e-12))

    def leave_one_out(self) -> Floats:
        """Return the prediction for each from all others (Rasmussen and Williams, eq. 5.12)."""
        missing = self.targets - self.weights / np.diag(self.inverse)
        return np.asarray(self.center + self.scale * missing)

    def predict(self, linear: Floats, hot: Floats) -> tuple[Floats, Floats]:
        """Return means and standard deviations for architectures."""
        cross = _covariance(linear, hot, self.linear, self.hot, self.knobs)
        mean = cross @ self.weights
        own = self.knobs.share + _WIDE * (linear**2).sum(axis=1) + 1.0
        variance = own - np.einsum("ij,jk,ik->i", cross, self.inverse, cross, optimize=True)
        deviation = self.size * np.sqrt(np.maximum(variance, 0))
        return self.center + self.scale * mean, self.scale * deviation

    def _gram(self, knobs: Knobs) -> Floats:
        gram = _covariance(self.linear, self.hot, self.linear, self.hot, knobs)
        return np.asarray(gram + np.eye(len(gram)) * knobs.noise)


def _covariance(
    linear: Floats, hot: Floats, known_linear: Floats, known_hot: Floats, knobs: Knobs
) -> Floats:
    """Return the prior covariance of some architectures with others, without noise.

    Each has `knobs.share` from its choices, as the search has it, scaled to 1.
    """
    choices = max(int(known_hot[0].sum()), 1)
    parameters = Parameters(mix=knobs.mix, length=knobs.length, noise=0.0)
    one = knobs.mix * choices / 2 + 2 * (1 - knobs.mix)
    alike = covariance(hot, known_hot, choices, parameters) / one
    return np.asarray(knobs.share * alike + _WIDE * linear @ known_linear.T + 1.0)


def _grid() -> list[Knobs]:
    return [Knobs(*knobs) for knobs in itertools.product(_SHARES, _MIXES, _LENGTHS, _NOISES)]


def _likelihood(gram: Floats, targets: Floats) -> float:
    """Return the log marginal likelihood, the scale of everything being the best one."""
    factor = scipy.linalg.cholesky(gram, lower=True, check_finite=False)
    solved = scipy.linalg.solve_triangular(factor, targets, lower=True, check_finite=False)
    n = len(targets)
    fit = max(float(solved @ solved) / n, 1e-300)
    return -0.5 * n * math.log(fit) - float(np.log(np.diag(factor)).sum())


def _standardized(columns: Floats) -> Floats:
    """Return features of mean 0 and variance 1; one that is the same everywhere becomes 0."""
    spread = columns.std(axis=0)
    return np.asarray((columns - columns.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def _check(
    options: Sequence[Mapping[str, int | str]],
    features: Mapping[str, Sequence[float]],
    trained: Sequence[int],
    scores: Floats,
    labels: Sequence[str],
) -> None:
    if len(trained) < FEWEST:
        raise DataError(
            f"{len(trained)} trained networks can't correct a ranking; give at least {FEWEST}"
        )
    if len(set(trained)) < len(trained) or not all(0 <= i < len(options) for i in trained):
        raise DataError(
            f"trained networks are numbers from 0 to {len(options) - 1}, each once; got {trained}"
        )
    if "one_shot" not in features:
        raise DataError(f"there must be a feature 'one_shot'; got {sorted(features)}")
    sizes = {name: len(values) for name, values in features.items()} | {"labels": len(labels)}
    if wrong := {name: size for name, size in sizes.items() if size != len(options)}:
        raise DataError(f"there are {len(options)} architectures, but {wrong}")
    if len(scores) != len(trained) or not np.isfinite(scores).all():
        raise DataError(f"give one finite score for each of the {len(trained)} trained networks")
    for name, values in features.items():
        if not np.isfinite(np.asarray(values, np.float64)).all():
            raise DataError(f"feature {name!r} has values that are not finite numbers")
