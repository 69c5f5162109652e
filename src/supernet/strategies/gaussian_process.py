"""A Gaussian process over architectures: what a score will be, and how sure that is.

Two architectures are alike by the share s of choices on which they agree. The covariance is

    k = a L/2 s + 2 (1 - a) exp(-(1 - s) / l)

over L choices: a part that sums effects of single choices, and one for what they do together. The
mix `a`, the length `l` and the noise are those with the largest marginal likelihood; one
eigendecomposition for each pair (a, l) serves all noises, and the scale is had in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import scipy
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

_MIXES = (0.0, 0.3, 0.6, 0.85, 1.0)
_LENGTHS = (0.08, 0.2, 0.45, 1.0)
_NOISES = 10.0 ** np.arange(-5.0, 1.5, 0.5)

#: Parameters are chosen on so many labels at most; all labels are used to predict.
_MOST_TO_CHOOSE = 256


@dataclass(frozen=True, slots=True)
class Parameters:
    """Of the covariance, all relative to the scale.

    Attributes:
        mix: `a`, the share of the part that sums.
        length: `l`.
        noise: The variance of a label's error.
    """

    mix: float
    length: float
    noise: float


@final
class GaussianProcess:
    """Predicts numbers for rows given as one-hot vectors; see `EncodedSpace.one_hot`.

    Args:
        inputs: Labeled rows, rows x features; the product of two is the number of choices on
            which they agree.
        labels: A number for each.
        choices: How many choices there are.
        parameters: Those of an earlier fit, to save the search for them; and whether labels were
            replaced by their ranks then.
    """

    def __init__(
        self,
        inputs: Numbers,
        labels: Numbers,
        choices: int,
        parameters: tuple[Parameters, bool] | None = None,
    ) -> None:
        self._inputs, self._choices = inputs, max(choices, 1)
        self.parameters, self.ranked = parameters or _choose(inputs, labels, self._choices)
        self._sorted = np.sort(labels)
        numbers = as_normal(labels) if self.ranked else labels
        self._mean = float(numbers.mean())
        gram = covariance(inputs, inputs, self._choices, self.parameters)
        gram[np.diag_indices_from(gram)] += self.parameters.noise
        self._factor = scipy.linalg.cho_factor(gram, lower=True)
        self._weights = scipy.linalg.cho_solve(self._factor, numbers - self._mean)
        self._scale = max(float((numbers - self._mean) @ self._weights) / len(numbers), 1e-24)

    def predict(self, inputs: Numbers) -> tuple[Numbers, Numbers]:
        """Return mean and standard deviation for each row, on the scale of what was fitted.

        That scale is monotone in the labels: the labels' own, or that of normal quantiles.
        """
        cross = covariance(inputs, self._inputs, self._choices, self.parameters)
        mean = self._mean + cross @ self._weights
        half = scipy.linalg.solve_triangular(self._factor[0], cross.T, lower=True)
        own = self.parameters.mix * self._choices / 2 + 2 * (1 - self.parameters.mix)
        variance = np.maximum(own - np.einsum("ij,ij->j", half, half), 1e-12)
        return mean, np.sqrt(self._scale * variance)

    def as_fitted(self, labels: Numbers) -> Numbers:
        """Return labels on the scale of `predict`."""
        if not self.ranked:
            return labels
        places = np.searchsorted(self._sorted, labels, side="left").astype(float)
        places = (places + np.searchsorted(self._sorted, labels, side="right")) / 2
        return np.asarray(scipy.stats.norm.ppf((places + 1e-9) / len(self._sorted)).clip(-3.5, 3.5))


def covariance(first: Numbers, second: Numbers, choices: int, parameters: Parameters) -> Numbers:
    """Return the covariance of rows with rows, without noise."""
    share = (first @ second.T) / choices
    mix = parameters.mix
    found = share * (mix * choices / 2)
    if mix < 1:
        found += 2 * (1 - mix) * np.exp((share - 1) / parameters.length)
    return np.asarray(found)


def as_normal(labels: Numbers) -> Numbers:
    """Return the normal quantile that belongs to each label's rank; equal for equal labels."""
    ranks = scipy.stats.rankdata(labels)
    return np.asarray(scipy.stats.norm.ppf((ranks - 0.5) / len(labels)))


def _choose(inputs: Numbers, labels: Numbers, choices: int) -> tuple[Parameters, bool]:
    """Return the best parameters, and whether ranks predict left-out labels' order better."""
    if len(labels) > _MOST_TO_CHOOSE:  # an even choice, the latest in it
        places = np.linspace(0, len(labels) - 1, _MOST_TO_CHOOSE).astype(int)
        inputs, labels = inputs[places], labels[places]
    variants = [labels, as_normal(labels)]
    share = (inputs @ inputs.T) / choices
    best: list[tuple[float, Parameters, Numbers]] = [
        (-np.inf, Parameters(0.5, 0.45, 0.1), labels) for _ in variants
    ]
    for mix in _MIXES:
        for length in _LENGTHS if mix < 1 else _LENGTHS[:1]:
            gram = share * (mix * choices / 2) + 2 * (1 - mix) * np.exp((share - 1) / length)
            values, vectors = scipy.linalg.eigh(gram, check_finite=False)
            values = np.maximum(values, 0.0)
            spectra = values[:, None] + _NOISES[None, :]
            for at, variant in enumerate(variants):
                centered = variant - variant.mean()
                turned = vectors.T @ centered
                fits = (turned[:, None] ** 2 / spectra).sum(axis=0) / len(labels)
                fits = np.maximum(fits, 1e-300)
                likelihoods = -0.5 * (len(labels) * np.log(fits) + np.log(spectra).sum(axis=0))
                noise = int(likelihoods.argmax())
                if likelihoods[noise] > best[at][0]:
                    chosen = Parameters(mix, length, float(_NOISES[noise]))
                    best[at] = (
                        likelihoods[noise],
                        chosen,
                        _left_out(values, vectors, turned, centered, float(_NOISES[noise])),
                    )
    taus = [_tau(found, labels) for _, _, found in best]
    ranked = taus[1] > taus[0]
    return best[int(ranked)][1], bool(ranked)


def _left_out(
    values: Numbers, vectors: Numbers, turned: Numbers, centered: Numbers, noise: float
) -> Numbers:
    """Return what is predicted for each label from all others (Rasmussen & Williams, 5.4.2)."""
    inverse = 1 / (values + noise)
    solved = vectors @ (turned * inverse)
    diagonal = (vectors**2) @ inverse
    return np.asarray(centered - solved / diagonal)


def _tau(found: Numbers, labels: Numbers) -> float:
    tau = float(scipy.stats.kendalltau(found, labels).statistic)
    return tau if np.isfinite(tau) else 0.0
