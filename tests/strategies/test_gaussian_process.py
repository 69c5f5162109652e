import numpy as np
import pytest
import scipy.stats

from supernet.strategies.encoding import EncodedSpace
from supernet.strategies.gaussian_process import (
    GaussianProcess,
    Parameters,
    as_normal,
    covariance,
)
from tests.strategies.problems import PLAIN, score

ENCODED = EncodedSpace(PLAIN)


def labeled(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rows = ENCODED.draw(count, np.random.default_rng(seed))
    return ENCODED.one_hot(rows), np.array([score(arch) for arch in ENCODED.decode(rows)])


def test_it_predicts_what_it_did_not_see() -> None:
    inputs, labels = labeled(120, 0)
    others, truth = labeled(100, 1)
    mean, deviation = GaussianProcess(inputs, labels, 20).predict(others)
    assert scipy.stats.kendalltau(mean, truth).statistic > 0.6
    assert (deviation > 0).all()


def test_it_is_sure_of_what_it_saw() -> None:
    inputs, labels = labeled(60, 0)
    process = GaussianProcess(inputs, labels, 20, (Parameters(0.5, 0.5, 1e-6), False))
    mean, deviation = process.predict(inputs)
    assert mean == pytest.approx(labels, abs=1e-3)
    assert deviation.max() < 0.2 * process.predict(labeled(50, 1)[0])[1].min()


def test_the_mean_and_the_variance_are_those_of_the_formulas() -> None:
    inputs, labels = labeled(25, 0)
    others, _ = labeled(5, 1)
    parameters = Parameters(0.4, 0.3, 0.05)
    process = GaussianProcess(inputs, labels, 20, (parameters, False))
    gram = covariance(inputs, inputs, 20, parameters) + 0.05 * np.eye(25)
    cross = covariance(others, inputs, 20, parameters)
    centered = labels - labels.mean()
    scale = centered @ np.linalg.solve(gram, centered) / 25
    own = covariance(others, others, 20, parameters)
    variance = scale * np.diag(own - cross @ np.linalg.solve(gram, cross.T))
    mean, deviation = process.predict(others)
    assert mean == pytest.approx(labels.mean() + cross @ np.linalg.solve(gram, centered))
    assert deviation**2 == pytest.approx(variance)


def test_labels_that_are_bent_are_ranked() -> None:
    inputs, labels = labeled(100, 0)
    straight = GaussianProcess(inputs, labels, 20)
    bent = GaussianProcess(inputs, np.exp(2 * (labels - labels.mean())), 20)
    assert bent.ranked
    assert not straight.ranked or as_normal(labels).std() > 0
    assert (np.diff(bent.as_fitted(np.sort(np.exp(labels - labels.mean())))) >= 0).all()


def test_labels_that_are_all_the_same_are_no_trouble() -> None:
    inputs, _ = labeled(30, 0)
    mean, deviation = GaussianProcess(inputs, np.full(30, 2.0), 20).predict(inputs)
    assert np.isfinite(mean).all()
    assert np.isfinite(deviation).all()
    assert mean == pytest.approx(2.0)
