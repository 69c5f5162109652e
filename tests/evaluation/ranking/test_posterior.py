import numpy as np
import pytest
from numpy.typing import NDArray

from supernet.evaluation.ranking.metrics import kendall_rows
from supernet.evaluation.ranking.posterior import Seen, draw_truths, see
from tests.evaluation.ranking.samples import at_random


def many(means: NDArray[np.float64], noise: float) -> Seen:
    return Seen(means, np.eye(len(means)) * noise**2)


def test_the_noise_is_that_of_a_mean_and_paired() -> None:
    rng = np.random.default_rng(0)
    hits = at_random(rng, np.array([[0.7, 0.8, 0.9]]), 400)
    hits = np.concatenate([hits, hits[:, :1]], axis=1)  # the first network twice
    seen = see(hits)
    assert seen.mean.tolist() == pytest.approx(hits.mean(axis=(0, 2)).tolist())
    assert seen.noise == pytest.approx(np.cov(hits[0]) / 400)
    assert seen.noise[0, 3] == pytest.approx(seen.noise[0, 0])


def test_seeds_that_differ_add_their_spread() -> None:
    """Networks at 0.5 and 0.9 under one seed, 0.9 and 0.5 under the other.

    The variance is 0.16; of that the luck of samples could make 0.08 / 50.
    """
    apart = np.repeat(np.array([[[0.5], [0.9]], [[0.9], [0.5]]]), 50, axis=2)
    assert see(apart).noise == pytest.approx(np.eye(2) * (0.16 - 0.08 / 50) / 2)
    alike = np.repeat(np.array([[[0.5], [0.9]], [[0.6], [1.0]]]), 50, axis=2)
    assert see(alike).noise == pytest.approx(np.zeros((2, 2)), abs=1e-12)


def test_without_noise_the_truth_is_what_was_seen() -> None:
    x, y = np.random.default_rng(0).standard_normal((2, 6))
    drawn = draw_truths(many(x, 0.0), many(y, 0.0), np.random.default_rng(1), 20)
    for seen, true in zip((x, y), drawn, strict=True):
        assert true.shape == (20, 6)
        np.testing.assert_allclose(true, np.tile(seen - seen.mean(), (20, 1)), atol=1e-6)


def test_networks_that_are_equal_everywhere_stay_equal() -> None:
    hits = at_random(np.random.default_rng(0), np.array([[0.6, 0.7, 0.8]]), 200)
    seen = see(np.concatenate([hits, hits[:, :1]], axis=1))
    for true in draw_truths(seen, seen, np.random.default_rng(1), 50):
        np.testing.assert_allclose(true[:, 0], true[:, 3], atol=1e-9)


def test_the_common_level_has_no_part_in_it() -> None:
    x, y = np.random.default_rng(0).standard_normal((2, 7))
    plain, moved = (
        draw_truths(many(x + up, 0.3), many(y, 0.2), np.random.default_rng(1), 50)
        for up in (0.0, 100.0)
    )
    np.testing.assert_allclose(plain, moved, atol=1e-7)


def test_noise_hides_agreement_and_the_draws_look_behind_it() -> None:
    """True scores agree fully; what is seen hardly does, and a resampled tau would be lower yet."""
    rng = np.random.default_rng(3)
    true = np.arange(40.0)
    x, y = (true + 15 * rng.standard_normal(40) for _ in range(2))
    seen_tau = kendall_rows(x[None], y[None])[0]
    taus = kendall_rows(*draw_truths(many(x, 15.0), many(y, 15.0), rng, 400))
    assert seen_tau < 0.6
    assert np.median(taus) > seen_tau + 0.1
    assert np.percentile(taus, 97.5) > 0.85


def test_the_interval_holds_the_true_tau_about_as_often_as_it_says() -> None:
    """60 made-up runs of 9 networks; 95 % of 60 is 57, and 52 is 3 standard errors less."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(60):
        z = rng.standard_normal((2, 9))
        x, y = z[0], 0.8 * z[0] + 0.6 * z[1]
        true = kendall_rows(x[None], y[None])[0]
        seen = [many(s + 0.5 * rng.standard_normal(9), 0.5) for s in (x, y)]
        low, high = np.percentile(
            kendall_rows(*draw_truths(seen[0], seen[1], rng, 300)), [2.5, 97.5]
        )
        held += low - 1e-9 <= true <= high + 1e-9
    assert held >= 52
