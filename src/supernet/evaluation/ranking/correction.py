"""Correction of a ranking by a few networks trained alone.

A supernet's scores are wrong in ways that have to do with the choices: it favors what trains fast.
Some networks trained alone show how. The score of a network is modeled as

    score = linear function of (one-shot score and loss, sizes) + f(choices) + noise,

sizes being log MACs, log parameters and layers, and f a Gaussian process with the covariance that a
search uses: two architectures are alike by the share of choices on which they agree
(`supernet.strategies.gaussian_process`; Rasmussen and Williams, "Gaussian Processes for Machine
Learning", 2006, sections 2.7 and 5.4.1). Shares such as accuracies are modeled as log-odds, of
which a point near 99 % is more than one near 60 %, and losses as their logarithms.

The coefficients of the linear function have a normal prior, which for what isn't of the supernet is
narrower, or nothing. What is of the supernet leans to size, as brief training underrates large
networks (`supernet.evaluation.ranking.leaning`), or doesn't. Whether it does, how narrow that prior
is, how much is left to f, its mix and length, and the noise are not chosen, as few networks can't
tell which are right: predictions are averaged over a grid of them, by their marginal likelihoods.
So a feature that doesn't help is left out by as much as the networks speak against it. How good all
this is, is told by leaving out one trained network at a time; the weights of the grid stay what
they were, which flatters it a little. It was settled with `benchmarks/rankings.py`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
import scipy

from supernet.errors import DataError
from supernet.evaluation.ranking.features import (
    Features,
    Known,
    Odds,
    Options,
    Plain,
    Reader,
    are_shares,
)
from supernet.evaluation.ranking.metrics import Floats, kendall, pick
from supernet.evaluation.ranking.sentences import correction_sentences
from supernet.records import ACCURACY, Corrected, Estimate, Measure
from supernet.strategies.gaussian_process import Parameters, covariance

FEWEST: Final = 6
"""With fewer trained networks than this there is more to estimate than to estimate it from."""

_Z: Final = 1.959964
_ASIDES: Final[tuple[float, ...]] = (0.0, 0.03, 0.1)
_ASIDES_ALONE: Final[tuple[float, ...]] = (0.0, 0.1, 1.0)
"""Without a supernet sizes are all that the mean has."""
_SHARES: Final = (0.0, 0.1, 0.3, 1.0)
_MIXES: Final = (0.0, 0.5, 1.0)
_LENGTHS: Final = (0.15, 0.5)
_NOISES: Final = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_NEGLIGIBLE: Final = 1e-3
"""Knobs that are so much less likely than the likeliest are left out."""


@dataclass(frozen=True, slots=True)
class Knobs:
    """What the mean and f are before labels are seen, where scores and features have variance 1.

    Attributes:
        lean: How much log MACs count in what is of the supernet, against 1 for the score.
        aside: The prior variance of coefficients of other features; the supernet's have 1.
        share: The variance of f.
        mix: See `supernet.strategies.gaussian_process`.
        length: The same.
        noise: The variance of a label's error.
    """

    lean: float
    aside: float
    share: float
    mix: float
    length: float
    noise: float


def correct(
    options: Sequence[Options],
    features: Features,
    trained: Sequence[int],
    scores: Floats,
    *,
    labels: Sequence[str],
    macs: Sequence[int],
    measure: Measure = ACCURACY,
    ranking: Floats | None = None,
) -> Corrected:
    """Return scores predicted for all architectures, from those of the few trained alone.

    Args:
        options: What each architecture chose, A of them; a choice it doesn't have counts as one
        more
            option.
        features: A number for each architecture, by name. `one_shot` must be among them, its score
            in the supernet, higher is better; `one_shot_loss`, lower is better, may be. Others are
            log MACs, layers, what you have.
        trained: The numbers of the architectures trained alone, k of them, each once.
        scores: Their scores, (k,), finite.
        labels: Names of the architectures.
        macs: Multiply-adds, (A,): what the supernet's scores lean to. Of equals the cheapest is
            picked.
        measure: What the scores are called.
        ranking: What the supernet ranks by, (A,), higher is better; by default `one_shot`.

    Raises:
        DataError: If parts don't fit together, or there are fewer than `FEWEST` trained networks.
    """
    correction = Correction(options, features, trained, scores, macs=macs)
    if len(labels) != len(options):
        raise DataError(f"there are {len(options)} architectures, but {len(labels)} labels")
    truth, rows = np.asarray(scores, np.float64), list(trained)
    ranks = np.asarray(features["one_shot"] if ranking is None else ranking, np.float64)
    value, low, high = correction.predict(options, features, macs=macs)
    left_out = correction.leave_one_out()
    record = Corrected(
        trained=len(rows),
        measure=measure,
        predicted=[
            Estimate(value=v, low=a, high=b)
            for v, a, b in zip(value.tolist(), low.tolist(), high.tolist(), strict=True)
        ],
        taus={
            "one_shot": kendall(ranks[rows], truth)[0],
            "corrected": kendall(left_out, truth)[0],
            "choices": kendall(correction.leave_one_out(supernet=False), truth)[0],
        },
        error=float(np.sqrt(np.mean((left_out - truth) ** 2))),
        picked=labels[int(pick(value, np.asarray(macs, np.float64)))],
        sentences=[],
    )
    return record.model_copy(update={"sentences": correction_sentences(record)})


@final
class Correction:
    """What some networks trained alone tell about the scores of any others.

    Features are scaled as the architectures given here have them; `predict` takes others too.

    Args:
        options: See `correct`, and so for the others.
        features: By name.
        trained: The numbers of those trained alone.
        scores: What they reached.
        macs: Multiply-adds.

    Raises:
        DataError: If parts don't fit together, or there are fewer than `FEWEST` trained networks.
    """

    def __init__(
        self,
        options: Sequence[Options],
        features: Features,
        trained: Sequence[int],
        scores: Floats,
        *,
        macs: Sequence[int],
    ) -> None:
        _check(options, features, trained, scores)
        self._scores = np.asarray(scores, np.float64)
        one_shot = np.asarray(features["one_shot"], np.float64)
        odds = are_shares(self._scores) and are_shares(one_shot)
        self._scale = Odds() if odds else Plain()
        self._reader = Reader(options, features, macs, self._scale)
        self._known = self._reader.read(options, features, macs).at(list(trained))
        self._process = _Process(self._known, self._scale.to(self._scores))

    def predict(
        self, options: Sequence[Options], features: Features, *, macs: Sequence[int]
    ) -> tuple[Floats, Floats, Floats]:
        """Return the scores of architectures, if trained alone, and the ends of 95 % intervals."""
        mean, deviation = self._process.predict(self._reader.read(options, features, macs))
        value, low, high = (self._scale.back(mean + z * deviation) for z in (0, -_Z, _Z))
        return value, low, high

    def leave_one_out(self, *, supernet: bool = True) -> Floats:
        """Return the score of each trained network as the others predict it.

        Args:
            supernet: Whether they go by what the supernet says, too.
        """
        process = self._process
        if not supernet:
            process = _Process(self._known.without_supernet(), self._scale.to(self._scores))
        return self._scale.back(process.leave_one_out())


class _Process:
    """The Gaussian process, fitted to k scores: a mixture over knobs."""

    def __init__(self, known: Known, scores: Floats) -> None:
        self.known = known
        self.center, self.scale = float(scores.mean()), float(scores.std()) or 1.0
        self.targets = (scores - self.center) / self.scale
        knobs = _grid(known)
        grams = _Grams(known, known)
        fits = np.array([_likelihood(_noisy(grams.of(each), each), self.targets) for each in knobs])
        weights = np.exp(fits - fits.max())
        kept = np.flatnonzero(weights > _NEGLIGIBLE)
        self.weights = weights[kept] / weights[kept].sum()
        self.parts = [
            _Part(knobs[i], _inverse(_noisy(grams.of(knobs[i]), knobs[i])), self.targets)
            for i in kept
        ]

    def leave_one_out(self) -> Floats:
        """Return the prediction for each from all others (Rasmussen and Williams, eq. 5.12)."""
        missing = [self.targets - part.solved / np.diag(part.inverse) for part in self.parts]
        return np.asarray(self.center + self.scale * (self.weights @ np.array(missing)))

    def predict(self, known: Known) -> tuple[Floats, Floats]:
        """Return means and standard deviations for architectures."""
        grams, own = _Grams(known, self.known), _Grams(known, known)
        means, variances = [], []
        for part in self.parts:
            cross = grams.of(part.knobs)
            explained = np.einsum("ij,jk,ik->i", cross, part.inverse, cross, optimize=True)
            left = np.maximum(own.diagonal_of(part.knobs) - explained, 0)
            means.append(cross @ part.solved)
            variances.append(part.size * left)
        mean = self.weights @ np.array(means)
        square = self.weights @ (np.array(variances) + np.array(means) ** 2)
        deviation = np.sqrt(np.maximum(square - mean**2, 0))
        return self.center + self.scale * mean, self.scale * deviation


class _Part:
    """The process with some knobs; its size, by maximum likelihood given these, is a variance."""

    def __init__(self, knobs: Knobs, inverse: Floats, targets: Floats) -> None:
        self.knobs, self.inverse = knobs, inverse
        self.solved: Floats = inverse @ targets
        self.size = max(float(targets @ self.solved) / len(targets), 1e-12)


class _Grams:
    """Prior covariances of some architectures with others, without noise, for any knobs.

    Each has `knobs.share` from its choices, as the search has it, scaled to 1, and 1 for the mean.
    """

    def __init__(self, some: Known, others: Known) -> None:
        self._some, self._others = some, others
        self._own = {lean: own @ others.own[lean].T for lean, own in some.own.items()}
        self._aside = some.others @ others.others.T
        self._alike: dict[tuple[float, float], Floats] = {}

    def of(self, knobs: Knobs) -> Floats:
        """Return the covariances."""
        linear = self._own[knobs.lean] + knobs.aside * self._aside + 1.0
        return linear + knobs.share * self._by_choices(knobs) if knobs.share else linear

    def diagonal_of(self, knobs: Knobs) -> Floats:
        """Return those of each with itself."""
        linear = np.diag(self._own[knobs.lean]) + knobs.aside * np.diag(self._aside)
        return np.asarray(linear + 1 + knobs.share)

    def _by_choices(self, knobs: Knobs) -> Floats:
        key = knobs.mix, knobs.length
        if key not in self._alike:
            choices = max(int(self._others.hot[0].sum()), 1)
            parameters = Parameters(mix=knobs.mix, length=knobs.length, noise=0.0)
            one = knobs.mix * choices / 2 + 2 * (1 - knobs.mix)
            alike = covariance(self._some.hot, self._others.hot, choices, parameters)
            self._alike[key] = alike / one
        return self._alike[key]


def _grid(known: Known) -> list[Knobs]:
    """Return all knobs that differ in what they do: without f it has no mix, nor length."""
    asides = _ASIDES if known.own[0.0].any() else _ASIDES_ALONE
    if not known.others.shape[1]:
        asides = asides[:1]
    shares = [(0.0, _MIXES[0], _LENGTHS[0])]
    if known.hot.shape[1]:
        shares += itertools.product(_SHARES[1:], _MIXES, _LENGTHS)
    return [
        Knobs(lean, aside, share, mix, length, noise)
        for lean, aside, (share, mix, length), noise in itertools.product(
            known.own, asides, shares, _NOISES
        )
    ]


def _inverse(gram: Floats) -> Floats:
    return np.asarray(np.linalg.inv(gram), np.float64)


def _noisy(gram: Floats, knobs: Knobs) -> Floats:
    return np.asarray(gram + np.eye(len(gram)) * knobs.noise)


def _likelihood(gram: Floats, targets: Floats) -> float:
    """Return the log marginal likelihood, the scale of everything being the best one."""
    factor = scipy.linalg.cholesky(gram, lower=True, check_finite=False)
    solved = scipy.linalg.solve_triangular(factor, targets, lower=True, check_finite=False)
    n = len(targets)
    fit = max(float(solved @ solved) / n, 1e-300)
    return -0.5 * n * math.log(fit) - float(np.log(np.diag(factor)).sum())


def _check(
    options: Sequence[Options], features: Features, trained: Sequence[int], scores: Floats
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
    sizes = {name: len(values) for name, values in features.items()}
    if wrong := {name: size for name, size in sizes.items() if size != len(options)}:
        raise DataError(f"there are {len(options)} architectures, but {wrong}")
    if len(scores) != len(trained) or not np.isfinite(scores).all():
        raise DataError(f"give one finite score for each of the {len(trained)} trained networks")
    for name, values in features.items():
        if not np.isfinite(np.asarray(values, np.float64)).all():
            raise DataError(f"feature {name!r} has values that are not finite numbers")
