import itertools

import numpy as np
import pytest

from supernet.errors import DataError
from supernet.evaluation.ranking.baselines import choose
from supernet.evaluation.ranking.metrics import kendall_rows

TRUTH = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])


def test_the_one_that_agrees_best_is_chosen() -> None:
    chosen = choose({"bad": [6, 5, 4, 3, 2, 1], "good": [1, 2, 3, 4, 6, 5]}, TRUTH)
    assert chosen
    assert chosen.name == "good"
    assert chosen.tau_rows(TRUTH[None])[0] == pytest.approx(
        kendall_rows(np.array([[1, 2, 3, 4, 6, 5.0]]), TRUTH[None])[0]
    )


def test_each_pair_is_ranked_by_what_was_chosen_without_it() -> None:
    """As by hand: for two networks, the ranking with the highest tau among the other four."""
    rng = np.random.default_rng(0)
    rankings = {name: rng.permutation(6).astype(float).tolist() for name in "abc"}
    chosen = choose(rankings, TRUTH)
    assert chosen
    for column, (i, j) in enumerate(itertools.combinations(range(6), 2)):
        rest = [k for k in range(6) if k not in (i, j)]

        # All pairs but those that i or j is in.
        taus = {
            name: kendall_rows(np.array([r])[:, rest], TRUTH[None, rest])[0]
            for name, r in rankings.items()
        }
        best = max(rankings, key=lambda name: round(taus[name], 9))
        sign = np.sign(rankings[best][i] - rankings[best][j])
        assert chosen.signs[0, column] == sign


def test_choosing_among_noise_gains_nothing() -> None:
    """The best of ten random rankings looks good; chosen by cross-validation it is no better."""
    rng = np.random.default_rng(0)
    naive, fair = [], []
    for _ in range(100):
        rankings = {str(i): rng.permutation(12).astype(float).tolist() for i in range(10)}
        truth = rng.permutation(12).astype(float)
        chosen = choose(rankings, truth)
        assert chosen
        naive.append(kendall_rows(np.array([rankings[chosen.name]]), truth[None])[0])
        fair.append(chosen.tau_rows(truth[None])[0])
    assert np.mean(naive) > 0.2
    assert np.mean(fair) < 0.1


@pytest.mark.parametrize(
    ("rankings", "truth"),
    [
        ({}, TRUTH),
        ({"same": [1] * 6}, TRUTH),
        ({"macs": [1, 2, 3]}, TRUTH[:3]),
        ({"macs": [1, 2, 3, 4]}, np.ones(4)),
    ],
)
def test_nothing_to_choose(rankings: dict[str, list[float]], truth: np.ndarray) -> None:
    assert choose(rankings, truth) is None


def test_a_ranking_of_others_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"layers is given for 2 architecture\(s\), but there are 6"
    ):
        choose({"layers": [1, 2]}, TRUTH)
