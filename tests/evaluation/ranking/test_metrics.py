import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats

from supernet.evaluation.ranking import metrics
from supernet.evaluation.ranking.bootstrap import Scores
from supernet.evaluation.ranking.metrics import (
    ceiling_rows,
    chance_tau,
    kendall,
    kendall_rows,
    pick,
    regret_rows,
    spearman_rows,
)
from supernet.records import Estimate
from tests.evaluation.ranking.samples import (
    exactly,
    some_hits,
    verdict_of,
)

PUBLISHED_ONE_SHOT = [0.925, 0.9656, 0.976, 0.9882, 0.9906, 0.9916, 0.9859, 0.9903, 0.9909]
PUBLISHED_STANDALONE = [0.9885, 0.9922, 0.9953, 0.9925, 0.9938, 0.9947, 0.9926, 0.995, 0.995]


class TestCorrelations:
    def test_the_published_table(self) -> None:
        tau, p = kendall(np.array(PUBLISHED_ONE_SHOT), np.array(PUBLISHED_STANDALONE))
        assert round(tau, 2) == 0.42
        assert round(p, 2) == 0.06

    @given(
        st.integers(2, 8).flatmap(
            lambda n: st.lists(
                st.tuples(*[st.lists(st.integers(0, 5), min_size=n, max_size=n)] * 2),
                min_size=1,
                max_size=6,
            )
        )
    )
    @settings(deadline=None)
    def test_rows_are_what_scipy_says_ties_included(
        self, rows: list[tuple[list[int], list[int]]]
    ) -> None:
        x, y = (np.array(side, float) for side in zip(*rows, strict=True))
        defined = [len(set(a)) > 1 < len(set(b)) for a, b in rows]
        for function, known in (
            (kendall_rows, stats.kendalltau),
            (spearman_rows, stats.spearmanr),
        ):
            got = function(x, y)
            assert np.isfinite(got).tolist() == defined
            for value, a, b in zip(got, x, y, strict=True):
                if np.isfinite(value):
                    assert value == pytest.approx(known(a, b).statistic, abs=1e-12)

    @given(st.permutations(range(6)), st.permutations(range(6)))
    def test_only_the_order_counts(self, x: list[int], y: list[int]) -> None:
        a, b = np.array([x], float), np.array([y], float)
        for function in (kendall_rows, spearman_rows):
            assert function(np.exp(a), b**3) == pytest.approx(function(a, b), abs=1e-12)
            assert function(-a, b) == pytest.approx(-function(a, b), abs=1e-12)
            assert function(a, b) == pytest.approx(function(b, a), abs=1e-12)
            assert function(a, a)[0] == 1

    def test_one_row_against_many(self) -> None:
        rows = np.random.default_rng(0).random((7, 5))
        one = np.arange(5.0)
        assert kendall_rows(one[None], rows).tolist() == [
            pytest.approx(stats.kendalltau(one, row).statistic) for row in rows
        ]

    def test_chunks_make_no_difference(self, monkeypatch: pytest.MonkeyPatch) -> None:
        x, y = np.random.default_rng(0).random((2, 7, 5))
        whole = kendall_rows(x, y)
        monkeypatch.setattr(metrics, "CELLS", 25)
        assert kendall_rows(x, y).tolist() == whole.tolist()

    @pytest.mark.parametrize("x", [[], [0.5], [0.5, 0.5, 0.5]])
    def test_what_ranks_nothing_is_nan(self, x: list[float]) -> None:
        y = np.arange(float(len(x)))
        assert np.isnan(kendall(np.array(x), y)).all()
        assert np.isnan(kendall_rows(np.array([x]), y[None])).all()
        assert np.isnan(spearman_rows(np.array([x]), y[None])).all()


class TestChanceTau:
    @pytest.mark.parametrize("n", range(1, 8))
    def test_against_all_permutations(self, n: int) -> None:
        orders = np.array(list(itertools.permutations(range(n))), float)
        taus = kendall_rows(np.arange(float(n))[None], orders).round(9) if n > 1 else np.ones(1)
        rare = [t for t in np.unique(taus) if (taus >= t).mean() <= 0.05]
        assert chance_tau(n) == pytest.approx(min(rare, default=math.nan), nan_ok=True)

    def test_nine_networks(self) -> None:
        """As in Kendall's table: for n = 9, P(S >= 18) = 0.038 and P(S >= 16) = 0.060."""
        assert chance_tau(9) == 18 / 36

    def test_exact_and_approximate_meet(self, monkeypatch: pytest.MonkeyPatch) -> None:
        exact = chance_tau(50)
        monkeypatch.setattr(metrics, "_EXACT_UP_TO", 49)
        assert chance_tau(50) == pytest.approx(exact, abs=0.003)

    @pytest.mark.parametrize("n", [2, 3])
    def test_where_it_is_nan_no_p_is_below_five_percent(self, n: int) -> None:
        """So a sentence that calls a ranking better than chance never has to print it."""
        for x, y in itertools.product(itertools.product(range(n), repeat=n), repeat=2):
            if len(set(x)) > 1 < len(set(y)):
                assert kendall(np.array(x, float), np.array(y, float))[1] >= 0.05


class TestCeiling:
    def test_by_hand(self) -> None:
        """Seeds 0 and 1 agree, 2 is the reverse of both: pairs have tau 1, -1, -1."""
        accuracies = np.array([[[1, 2, 3], [4, 5, 6], [9, 8, 7]]], float)
        assert ceiling_rows(accuracies, np.array([[1, 1, 1]]))[0] == pytest.approx(-1 / 3)
        assert ceiling_rows(accuracies, np.array([[2, 1, 0]]))[0] == 1
        assert ceiling_rows(accuracies, np.array([[2, 0, 1]]))[0] == -1
        assert np.isnan(ceiling_rows(accuracies, np.array([[3, 0, 0]]))[0])

    def test_a_seed_not_drawn_does_not_matter(self) -> None:
        accuracies = np.array([[[1, 2, 3], [4, 5, 6], [7, 7, 7]]], float)
        assert ceiling_rows(accuracies, np.array([[1, 2, 0]]))[0] == 1
        assert np.isnan(ceiling_rows(accuracies, np.array([[1, 1, 1]]))[0])

    def test_none_with_one_seed(self) -> None:
        assert verdict_of(some_hits(seeds=1)).ceiling_tau is None

    def test_of_a_verdict(self) -> None:
        counts = [[10, 50, 90], [20, 60, 95]]
        hits = Scores(*[exactly(counts, 100)] * 3)
        assert verdict_of(hits).ceiling_tau == Estimate(value=1, low=1, high=1)

    def test_draws_of_one_seed_are_left_out_not_counted_as_nothing(self) -> None:
        """With two seeds that is half of the draws: counted as 0, low would be 0."""
        estimate = verdict_of(Scores(*[exactly([[10, 90], [10, 90]], 100)] * 3)).ceiling_tau
        assert estimate is not None
        assert estimate.low == 1


class TestPickAndRegret:
    def test_regret_by_hand(self) -> None:
        scores = np.array([[0.1, 0.9, 0.5], [0.9, 0.1, 0.5]])
        truth = np.array([[0.7, 0.8, 0.9], [0.7, 0.8, 0.6]])
        np.testing.assert_allclose(regret_rows(scores, truth, np.arange(3)), [0.1, 0.1])

    def test_of_equals_the_cheapest(self) -> None:
        scores = np.array([0.9, 0.5, 0.9, 0.9])
        assert pick(scores, np.array([30, 10, 20, 20])) == 2
        assert pick(scores, np.array([30, 10, 20, 15])) == 3

    def test_in_a_verdict(self) -> None:
        """Validation likes the third network, test images the first; the second is the best."""
        hits = Scores(
            exactly([[10, 20, 30]], 50), exactly([[90, 20, 30]], 100), exactly([[60, 80, 75]], 100)
        )
        verdict = verdict_of(hits)
        assert (verdict.picked, verdict.best) == ("(2)", "(1)")
        assert verdict.regret.value == pytest.approx(0.05)
