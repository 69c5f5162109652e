import itertools
import math
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from scipy import stats

from supernet.errors import DataError, DivergedError
from supernet.evaluation.ranking import verdict
from supernet.evaluation.ranking.verdict import (
    Bools,
    Costs,
    Floats,
    Hits,
    breakeven,
    ceiling_rows,
    chance_tau,
    cost_ratio,
    interval,
    judge,
    kendall,
    kendall_rows,
    observe,
    pick,
    regret_rows,
    resample,
    sentences,
    spearman_rows,
)
from supernet.records import Estimate, Verdict

PUBLISHED_ONE_SHOT = [0.925, 0.9656, 0.976, 0.9882, 0.9906, 0.9916, 0.9859, 0.9903, 0.9909]
PUBLISHED_STANDALONE = [0.9885, 0.9922, 0.9953, 0.9925, 0.9938, 0.9947, 0.9926, 0.995, 0.995]


def exactly(counts: list[list[int]], images: int) -> Bools:
    """Hits of which the first so many are right: counts[seed][architecture]."""
    return np.asarray(np.arange(images) < np.array(counts)[..., None])


def at_random(rng: np.random.Generator, accuracy: NDArray[Any], images: int) -> Bools:
    """Hits with the given chances, (S, A)."""
    return np.asarray(rng.random((*accuracy.shape, images)) < accuracy[..., None])


def some_hits(seeds: int = 2, networks: int = 5, seed: int = 0, longer: bool = False) -> Hits:
    rng = np.random.default_rng(seed)
    accuracy = rng.uniform(0.5, 0.9, (seeds, networks))
    return Hits(
        at_random(rng, accuracy, 60),
        at_random(rng, accuracy, 80),
        at_random(rng, accuracy, 80),
        at_random(rng, accuracy, 80) if longer else None,
    )


def costs_of(
    hits: Hits, supernet: float = 300, standalone: float = 150, scoring: float = 9
) -> Costs:
    return Costs(
        np.full(hits.seeds, supernet),
        np.full((hits.seeds, hits.networks), standalone),
        np.full(hits.seeds, scoring),
    )


def verdict_of(hits: Hits, costs: Costs | None = None, resamples: int = 200) -> Verdict:
    return judge(
        hits,
        costs or costs_of(hits),
        labels=[f"({i})" for i in range(hits.networks)],
        macs=range(100, 100 + hits.networks),
        rng=np.random.default_rng(1),
        resamples=resamples,
    )


def same(a: Estimate, b: Estimate) -> bool:
    """Equal to rounding, NaN being equal to NaN."""
    return np.allclose(
        [a.value, a.low, a.high], [b.value, b.low, b.high], rtol=0, atol=1e-12, equal_nan=True
    )


class TestCorrelations:
    def test_the_published_table(self) -> None:
        tau, p = kendall(np.array(PUBLISHED_ONE_SHOT), np.array(PUBLISHED_STANDALONE))
        assert round(tau, 2) == 0.42
        assert round(p, 2) == 0.12

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
        monkeypatch.setattr(verdict, "_CELLS", 25)
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
        monkeypatch.setattr(verdict, "_EXACT_UP_TO", 49)
        assert chance_tau(50) == pytest.approx(exact, abs=0.003)

    @pytest.mark.parametrize("n", [2, 3])
    def test_where_it_is_nan_no_p_is_below_five_percent(self, n: int) -> None:
        """So a sentence that calls a ranking better than chance never has to print it."""
        for x, y in itertools.product(itertools.product(range(n), repeat=n), repeat=2):
            if len(set(x)) > 1 < len(set(y)):
                assert kendall(np.array(x, float), np.array(y, float))[1] >= 0.05


class TestInterval:
    def test_percentiles(self) -> None:
        estimate = interval(0.5, np.linspace(0, 1, 1001)[::-1])
        assert same(estimate, Estimate(value=0.5, low=0.025, high=0.975))

    def test_holds_its_value(self) -> None:
        assert same(interval(2.0, np.zeros(9)), Estimate(value=2, low=0, high=2))
        assert same(interval(-2.0, np.zeros(9)), Estimate(value=-2, low=-2, high=0))

    def test_nan(self) -> None:
        nan = math.nan
        assert same(interval(nan, np.zeros(9)), Estimate(value=nan, low=nan, high=nan))
        assert same(interval(1, np.full(9, nan)), Estimate(value=1, low=nan, high=nan))
        assert same(interval(1, np.array([1, nan, 1])), Estimate(value=1, low=1, high=1))


class TestResampling:
    def test_is_what_drawing_by_hand_gives(self) -> None:
        """The same draws, one by one, by indexing."""
        hits = some_hits(seeds=3, longer=True)
        got = resample(hits, np.random.default_rng(5), 20)
        rng = np.random.default_rng(5)
        drawn = rng.multinomial(3, [1 / 3] * 3, size=20)
        assert got.drawn.tolist() == drawn.tolist()
        for b in range(20):
            seeds = np.repeat(np.arange(3), drawn[b])
            validation, test = rng.integers(60, size=60), rng.integers(80, size=80)
            for mean, array, images in (
                (got.validation, hits.one_shot_validation, validation),
                (got.one_shot, hits.one_shot_test, test),
                (got.standalone, hits.standalone_test, test),
                (got.longer, hits.longer_test, test),
            ):
                assert mean is not None
                assert array is not None
                expected = array[seeds][:, :, images].mean(axis=(0, 2))
                np.testing.assert_allclose(mean[b], expected, rtol=0, atol=1e-14)
            np.testing.assert_allclose(
                got.standalone_seeds[b], hits.standalone_test[:, :, test].mean(axis=2), atol=1e-14
            )

    def test_chunks_make_no_difference(self, monkeypatch: pytest.MonkeyPatch) -> None:
        hits = some_hits()
        whole = resample(hits, np.random.default_rng(0), 30)
        monkeypatch.setattr(verdict, "_CELLS", 170)
        parts = resample(hits, np.random.default_rng(0), 30)
        for name in ("validation", "one_shot", "standalone", "standalone_seeds", "drawn"):
            assert getattr(parts, name).tolist() == getattr(whole, name).tolist()

    def test_equal_networks_stay_equal(self) -> None:
        hits = some_hits(seeds=3, networks=1)
        twice = Hits(*(np.repeat(h, 2, axis=1) for _, h in hits._arrays()))
        for accuracies in (observe(twice), resample(twice, np.random.default_rng(0), 50)):
            assert (accuracies.validation[..., 0] == accuracies.validation[..., 1]).all()

    def test_memory_is_bounded(self) -> None:
        hits = Hits(*(np.zeros((3, 9, n), bool) for n in (5_000, 10_000, 10_000)))
        tracemalloc.start()
        resample(hits, np.random.default_rng(0), 1000)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 25e6  # all at once, the weights alone would be 1000 x 15,000 x 4 bytes: 60 MB

    def test_needs_a_resample(self) -> None:
        with pytest.raises(DataError, match="resamples is 0; it must be at least 1"):
            resample(some_hits(), np.random.default_rng(0), 0)

    def test_covers_about_as_often_as_it_says(self) -> None:
        """Mean gap of 0.05, seen through 200 images, 200 times. Images are shared: it is paired.

        Between 90 and 99 % is 3 standard errors either way of what a bootstrap reaches here.
        """
        rng = np.random.default_rng(0)
        covered = 0
        widths = []
        for _ in range(200):
            hard = rng.random((1, 1, 200))
            one_shot, standalone = hard < 0.80, hard < 0.85
            one_shot, standalone = (np.repeat(h, 2, axis=1) for h in (one_shot, standalone))
            hits = Hits(one_shot, one_shot, standalone)
            seen, drawn = observe(hits), resample(hits, rng, 200)
            gap = interval(
                float((seen.one_shot - seen.standalone).mean()),
                (drawn.one_shot - drawn.standalone).mean(axis=1),
            )
            covered += gap.low <= -0.05 <= gap.high
            widths.append(gap.high - gap.low)
        assert 0.90 <= covered / 200 <= 0.99
        assert np.mean(widths) == pytest.approx(3.92 * math.sqrt(0.05 * 0.95 / 200), rel=0.1)

    def test_the_luck_of_seeds_widens_the_interval(self) -> None:
        one_shot, standalone = exactly([[50], [90]], 100), exactly([[70], [70]], 100)
        hits = Hits(one_shot, one_shot, standalone)
        gap = verdict_of(hits, resamples=1000).mean_gap
        assert gap.high - gap.low > 0.3  # images alone: 2 x 1.96 x 0.04


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
        hits = Hits(*[exactly(counts, 100)] * 3)
        assert verdict_of(hits).ceiling_tau == Estimate(value=1, low=1, high=1)

    def test_draws_of_one_seed_are_left_out_not_counted_as_nothing(self) -> None:
        """With two seeds that is half of the draws: counted as 0, low would be 0."""
        estimate = verdict_of(Hits(*[exactly([[10, 90], [10, 90]], 100)] * 3)).ceiling_tau
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
        hits = Hits(
            exactly([[10, 20, 30]], 50), exactly([[90, 20, 30]], 100), exactly([[60, 80, 75]], 100)
        )
        verdict = verdict_of(hits)
        assert (verdict.picked, verdict.best) == ("(2)", "(1)")
        assert verdict.regret.value == pytest.approx(0.05)


class TestCosts:
    def test_ratio_by_hand(self) -> None:
        costs = Costs(np.array([10.0, 20.0]), np.array([[20.0, 30.0], [30.0, 50.0]]), np.ones(2))
        ratio, ends = cost_ratio(costs)
        assert ratio == pytest.approx(4.5)
        assert ends == pytest.approx((4, 5))

    @given(st.floats(1, 1e4), st.floats(1, 1e3), st.floats(0, 1e3), st.integers(1, 9))
    def test_breakeven_is_the_first_n_that_pays(
        self, training: float, alone: float, scoring: float, networks: int
    ) -> None:
        costs = Costs(np.array([training]), np.full((1, networks), alone), np.array([scoring]))
        n, s = breakeven(costs), scoring / networks

        def pays(count: float) -> bool:
            return training + count * s < count * alone * (1 + 1e-9)

        if n is None:
            assert s >= alone * (1 - 1e-9)
        else:
            assert n == int(n)
            assert pays(n)
            assert n == 1 or training + (n - 1) * s >= (n - 1) * alone * (1 - 1e-9)

    def test_a_tie_does_not_pay(self) -> None:
        hits = some_hits(networks=1)
        assert breakeven(costs_of(hits, supernet=10, standalone=6, scoring=1)) == 3
        assert breakeven(costs_of(hits, supernet=10, standalone=6, scoring=6)) is None

    def test_scoring_is_shared_out_among_the_networks(self) -> None:
        assert breakeven(costs_of(some_hits(networks=5), 100, 20, 50)) == 11

    @pytest.mark.parametrize("bad", [0.0, -1.0, math.inf, math.nan])
    def test_impossible_times(self, bad: float) -> None:
        hits = some_hits()
        for name in ("supernet", "standalone", "scoring"):
            if name == "scoring" and bad == 0:
                continue
            with pytest.raises(DataError, match=f"{name} costs .* give times above 0"):
                costs_of(hits, **{name: bad})

    @pytest.mark.parametrize(
        ("supernet", "standalone", "scoring"),
        [((2,), (3, 4), (2,)), ((3,), (3, 4), (2,)), ((3,), (3,), (3,)), ((3,), (3, 0), (3,))],
    )
    def test_shapes(self, supernet: Any, standalone: Any, scoring: Any) -> None:
        with pytest.raises(DataError, match="costs have shapes"):
            Costs(np.ones(supernet), np.ones(standalone), np.ones(scoring))


class TestHits:
    @pytest.mark.parametrize(
        ("position", "shape"), [(0, (3, 5, 0)), (1, (2, 5)), (2, (3, 0, 80)), (3, (1, 1, 1, 1))]
    )
    def test_not_three_dimensions_or_empty(self, position: int, shape: tuple[int, ...]) -> None:
        arrays: list[Any] = [h for _, h in some_hits(longer=True)._arrays()]
        arrays[position] = np.ones(shape, bool)
        with pytest.raises(DataError, match=r"give bool of shape \(seeds, architectures, images\)"):
            Hits(*arrays)

    def test_not_bool(self) -> None:
        arrays: list[Any] = [h for _, h in some_hits()._arrays()]
        arrays[1] = arrays[1].astype(np.uint8)
        with pytest.raises(DataError, match=r"one_shot_test is uint8 of shape \(2, 5, 80\); give"):
            Hits(*arrays)

    @pytest.mark.parametrize(
        ("position", "shape"),
        [(1, (3, 5, 80)), (1, (2, 4, 80)), (2, (2, 5, 60)), (3, (2, 5, 81))],
    )
    def test_shapes_that_do_not_fit(self, position: int, shape: tuple[int, ...]) -> None:
        arrays: list[Any] = [h for _, h in some_hits(longer=True)._arrays()]
        arrays[position] = np.ones(shape, bool)
        with pytest.raises(DataError, match=r"has shape .*, but there are 2 seed\(s\), 5 arch"):
            Hits(*arrays)


class TestJudge:
    def test_means_are_as_scipy_and_numpy_say(self) -> None:
        hits = some_hits(seeds=3, networks=6, longer=True)
        assert hits.longer_test is not None
        verdict = verdict_of(hits)
        validation = hits.one_shot_validation.mean(axis=(0, 2))
        one_shot, standalone = (
            h.mean(axis=(0, 2)) for h in (hits.one_shot_test, hits.standalone_test)
        )
        expected = stats.kendalltau(validation, standalone)
        assert verdict.tau.value == pytest.approx(expected.statistic)
        assert verdict.tau_p == pytest.approx(expected.pvalue)
        assert verdict.spearman.value == pytest.approx(
            stats.spearmanr(validation, standalone).statistic
        )
        assert verdict.macs_tau.value == pytest.approx(
            stats.kendalltau(np.arange(6), standalone).statistic
        )
        assert verdict.chance_tau == chance_tau(6)
        assert [e.value for e in verdict.one_shot] == pytest.approx(one_shot)
        assert [e.value for e in verdict.standalone] == pytest.approx(standalone)
        assert [e.value for e in verdict.gaps] == pytest.approx(one_shot - standalone)
        assert verdict.mean_gap.value == pytest.approx((one_shot - standalone).mean())
        assert verdict.longer_gap is not None
        assert verdict.longer_gap.value == pytest.approx(
            (hits.longer_test.mean(axis=(0, 2)) - standalone).mean()
        )
        assert (verdict.networks, verdict.seeds) == (6, 3)
        assert (verdict.validation_images, verdict.test_images) == (60, 80)
        assert (verdict.cost_ratio, verdict.breakeven) == (3, 3)
        assert verdict.sentences == sentences(verdict)

    def test_every_interval_is_of_its_own_resamples(self) -> None:
        verdict = verdict_of(some_hits(seeds=3, networks=6, longer=True))
        drawn = resample(some_hits(seeds=3, networks=6, longer=True), np.random.default_rng(1), 200)
        assert drawn.longer is not None
        v, t, macs = drawn.validation, drawn.standalone, np.arange(6.0)
        for got, resampled in (
            (verdict.tau, kendall_rows(v, t)),
            (verdict.spearman, spearman_rows(v, t)),
            (verdict.macs_tau, kendall_rows(macs[None], t)),
            (verdict.regret, regret_rows(v, t, macs)),
            (verdict.mean_gap, (drawn.one_shot - t).mean(axis=1)),
            (verdict.longer_gap, (drawn.longer - t).mean(axis=1)),
            (verdict.gaps[4], (drawn.one_shot - t)[:, 4]),
            (verdict.one_shot[4], drawn.one_shot[:, 4]),
            (verdict.standalone[4], t[:, 4]),
        ):
            assert got is not None
            assert same(got, interval(got.value, resampled))

    def test_every_interval_holds_its_value(self) -> None:
        for seed in range(20):
            verdict = verdict_of(some_hits(seed=seed, longer=True), resamples=20)
            for value in verdict.model_dump().values():
                for estimate in value if isinstance(value, list) else [value]:
                    if isinstance(estimate, dict) and estimate:
                        assert estimate["low"] <= estimate["value"] <= estimate["high"]

    def test_the_same_generator_gives_the_same_verdict(self) -> None:
        assert verdict_of(some_hits()) == verdict_of(some_hits())

    @given(st.permutations(range(5)), st.integers(0, 99))
    @settings(deadline=None, max_examples=20)
    def test_permuting_architectures_permutes_their_results(
        self, order: list[int], seed: int
    ) -> None:
        hits = some_hits(seed=seed)
        permuted = Hits(*(h[:, order] for _, h in hits._arrays()))
        costs = Costs(np.ones(2), np.random.default_rng(seed).uniform(1, 2, (2, 5)), np.ones(2))
        labels, macs = list("abcde"), [10, 20, 30, 40, 50]
        plain, moved = (
            judge(h, c, labels=a, macs=m, rng=np.random.default_rng(2), resamples=50)
            for h, c, a, m in (
                (hits, costs, labels, macs),
                (
                    permuted,
                    replace(costs, standalone=costs.standalone[:, order]),
                    [labels[i] for i in order],
                    [macs[i] for i in order],
                ),
            )
        )
        for name in ("gaps", "one_shot", "standalone"):
            expected = [getattr(plain, name)[i] for i in order]
            assert all(map(same, getattr(moved, name), expected))
        for name in ("tau", "spearman", "macs_tau", "regret", "mean_gap", "ceiling_tau"):
            assert same(getattr(moved, name), getattr(plain, name))
        assert (moved.picked, moved.best) == (plain.picked, plain.best)
        assert moved.sentences[0] == plain.sentences[0]

    @given(st.lists(st.integers(0, 40), min_size=2, max_size=7, unique=True))
    @settings(deadline=None, max_examples=20)
    def test_identical_hits_agree_in_everything(self, counts: list[int]) -> None:
        verdict = verdict_of(Hits(*[exactly([counts], 40)] * 3), resamples=50)
        assert verdict.tau.value == verdict.spearman.value == 1
        zero = Estimate(value=0, low=0, high=0)
        assert verdict.gaps == [zero] * len(counts)
        assert verdict.mean_gap == zero
        assert verdict.regret.value == 0
        assert verdict.picked == verdict.best

    def test_reversed_validation_reverses_tau(self) -> None:
        hits = some_hits(networks=7)
        reverse = replace(hits, one_shot_validation=~hits.one_shot_validation)
        assert verdict_of(reverse).tau.value == pytest.approx(-verdict_of(hits).tau.value)

    def test_parts_that_do_not_fit(self) -> None:
        hits, rng = some_hits(), np.random.default_rng(0)
        good: dict[str, Any] = {"labels": list("abcde"), "macs": range(5), "rng": rng}
        for wrong in ({"labels": list("abcd")}, {"macs": range(6)}):
            with pytest.raises(DataError, match=r"5 architecture\(s\) in the hits, 5 in the costs"):
                judge(hits, costs_of(hits), **good | wrong)
        with pytest.raises(DataError, match="6 in the costs"):
            judge(hits, costs_of(some_hits(networks=6)), **good)
        with pytest.raises(DataError, match=r"2 seed\(s\) in the hits, 3 in the costs"):
            judge(hits, costs_of(some_hits(seeds=3)), **good)


ALL_HITS = ("one_shot_validation", "one_shot_test", "standalone_test", "longer_test")


def failed_in(hits: Hits, **failed: list[int]) -> Hits:
    """The hits, with the evaluations of some architectures failed under the last seed."""
    masks = {name: np.zeros((hits.seeds, hits.networks), bool) for name in failed}
    for name, which in failed.items():
        masks[name][-1, which] = True
    return replace(hits, failed=masks)


def nothing_right(hits: Hits, **failed: list[int]) -> Hits:
    """The hits, with nothing right for some architectures, under any seed."""
    changed = {name: getattr(hits, name).copy() for name in failed}
    for name, which in failed.items():
        changed[name][:, which] = False
    return replace(hits, **changed)


def numbers_in(verdict: Verdict) -> list[Estimate]:
    return [
        Estimate(**value)
        for found in verdict.model_dump(exclude={"failed"}).values()
        for value in (found if isinstance(found, list) else [found])
        if isinstance(value, dict)
    ]


class TestFailures:
    @given(st.integers(0, 99), st.sets(st.integers(0, 4), min_size=1, max_size=3), st.booleans())
    @settings(deadline=None, max_examples=20)
    def test_it_ranks_where_getting_nothing_right_would(
        self, seed: int, which: set[int], alone: bool
    ) -> None:
        """But what gets nothing right has gaps, and these have none."""
        hits, failed = some_hits(seed=seed, longer=True), {"one_shot_validation": [*which]}
        if alone:
            failed["standalone_test"] = [*which]
        got = verdict_of(failed_in(hits, **failed), resamples=50)
        like = verdict_of(nothing_right(hits, **failed), resamples=50)
        names = ["tau", "tau_p", "spearman", "macs_tau", "picked", "best", "regret"]
        for name in names:
            assert getattr(got, name) == getattr(like, name)
        assert not {got.picked, got.best} & {f"({i})" for i in which if alone}
        assert got.picked not in {f"({i})" for i in which}

    @given(st.integers(0, 99), st.integers(0, 4))
    @settings(deadline=None, max_examples=10)
    def test_it_changes_no_number_of_another(self, seed: int, which: int) -> None:
        hits = some_hits(seed=seed, longer=True)
        got = verdict_of(failed_in(hits, **{key: [which] for key in ALL_HITS}), resamples=50)
        plain = verdict_of(hits, resamples=50)
        for name in ("gaps", "one_shot", "standalone"):
            for i, (a, b) in enumerate(zip(getattr(got, name), getattr(plain, name), strict=True)):
                assert a == b if i != which else np.isnan([a.value, a.low, a.high]).all()
        left = [i for i in range(5) if i != which]
        without = verdict_of(Hits(*(h[:, left] for _, h in hits._arrays())), resamples=50)
        for name in ("mean_gap", "longer_gap"):
            assert same(getattr(got, name), getattr(without, name))

    @pytest.mark.parametrize("names", [ALL_HITS, ALL_HITS[:1], ALL_HITS[1:2], ALL_HITS[2:3]])
    def test_nothing_else_is_nan_and_no_sentence_says_so(self, names: tuple[str, ...]) -> None:
        for seed in range(5):
            hits = some_hits(seeds=3, seed=seed, longer=True)
            verdict = verdict_of(failed_in(hits, **{key: [1] for key in names}), resamples=50)
            bad = [e for e in numbers_in(verdict) if np.isnan([e.value, e.low, e.high]).any()]
            own = [verdict.gaps[1], verdict.one_shot[1], verdict.standalone[1]]
            assert all(any(e is mine or same(e, mine) for mine in own) for e in bad)
            assert len(bad) == sum(math.isnan(e.value) for e in own)
            text = " ".join(verdict.sentences)
            assert "nan" not in text.lower()
            assert verdict.failed == {key: ["(1)"] for key in names}

    def test_it_is_never_picked_even_if_all_others_get_nothing_right(self) -> None:
        right = exactly([[40, 0, 0]], 40)
        hits = failed_in(Hits(right, right, right), **{key: [0] for key in ALL_HITS[:3]})
        verdict = verdict_of(hits, resamples=20)
        assert (verdict.picked, verdict.best) == ("(1)", "(1)")  # the cheaper one of those left
        assert verdict.regret == Estimate(value=0, low=0, high=0)
        scores = np.array([[np.nan, 0.0, 0.0], [0.0, np.nan, 0.5]])
        assert pick(scores, np.array([1, 3, 2])).tolist() == [2, 2]

    def test_a_pick_that_failed_alone_costs_all_the_best_has(self) -> None:
        hits = Hits(*[exactly([[10, 20, 38]], 40)] * 3)
        verdict = verdict_of(failed_in(hits, standalone_test=[2]), resamples=50)
        assert (verdict.picked, verdict.best) == ("(2)", "(1)")
        assert verdict.regret.value == 0.5
        assert math.isnan(verdict.gaps[2].value)

    def test_the_sentence(self) -> None:
        hits = some_hits(networks=9, seeds=1, longer=True)
        verdict = verdict_of(
            failed_in(
                hits,
                one_shot_validation=[0, 2, 4, 6, 8],
                one_shot_test=[0, 1],
                standalone_test=[3],
                longer_test=[5],
            )
        )
        assert verdict.sentences[2] == (
            "Evaluations failed, as outputs were not finite numbers: one-shot (0), (2), (4) and 2 "
            "more (ranked last, and never picked); one-shot on the test images (1) (without a gap);"
            " standalone (3) (ranked last, and counted as nothing right if picked); with the "
            "longer-trained supernet (5) (without a gap)."
        )
        assert not any("failed" in s for s in verdict_of(hits).sentences)

    @pytest.mark.parametrize(
        ("name", "side"), [("one_shot_validation", "one-shot"), ("standalone_test", "standalone")]
    )
    def test_one_that_is_left_ranks_nothing(self, name: str, side: str) -> None:
        verdict = verdict_of(failed_in(some_hits(networks=3), **{name: [0, 2]}), resamples=20)
        assert verdict.sentences[0] == (
            f"Only one of the three networks has a {side} score, so there is no ranking to judge."
        )
        for number in (verdict.tau, verdict.spearman, verdict.macs_tau, verdict.ceiling_tau):
            assert number
            assert math.isnan(number.value)
        assert math.isnan(verdict.tau_p)
        assert "(1)" in (verdict.picked if side == "one-shot" else verdict.best)
        assert not any("nan" in s or "wobbles" in s or "seed" in s for s in verdict.sentences[1:3])

    def test_no_gap_at_all_is_not_spoken_of(self) -> None:
        hits = failed_in(some_hits(longer=True), one_shot_test=[*range(5)], longer_test=[*range(5)])
        verdict = verdict_of(hits, resamples=20)
        assert verdict.sentences[1].endswith("against the best of the five.")
        assert "nan" not in " ".join(verdict.sentences)
        one = verdict_of(failed_in(some_hits(networks=1), one_shot_test=[0]), resamples=20)
        assert not any("nan" in s for s in one.sentences)

    @pytest.mark.parametrize("name", ["one_shot_validation", "standalone_test"])
    def test_none_that_is_left_is_an_error(self, name: str) -> None:
        hits = failed_in(some_hits(networks=3), **{name: [0, 1, 2]})
        with pytest.raises(DivergedError, match=r"no architecture can be picked, as all 3 have"):
            verdict_of(hits, resamples=20)

    @pytest.mark.parametrize("mask", [np.zeros((1, 5), bool), np.zeros((2, 5))])
    def test_masks_that_do_not_fit(self, mask: Any) -> None:
        with pytest.raises(DataError, match=r"failed of one_shot_test is .*; give bool of shape"):
            replace(some_hits(), failed={"one_shot_test": mask})

    def test_a_verdict_without_failures_can_be_older_than_they_are(self) -> None:
        verdict = verdict_of(some_hits(), resamples=20)
        assert Verdict.model_validate(verdict.model_dump(exclude={"failed"})) == verdict


class TestNothingToRank:
    def test_equal_accuracies(self) -> None:
        flat, steep = exactly([[30, 30, 30]], 40), exactly([[10, 20, 30]], 40)
        for hits in (Hits(flat, flat, steep), Hits(steep, steep, flat), Hits(flat, flat, flat)):
            verdict = verdict_of(hits, resamples=50)
            for estimate in (verdict.tau, verdict.spearman):
                assert np.isnan([estimate.value, estimate.low, estimate.high]).all()
            assert math.isnan(verdict.tau_p)
            assert verdict.sentences[0].startswith("Can't tell whether the ranking is better")
            assert "equal, which ranks nothing" in verdict.sentences[0]
            assert not any("nan" in s for s in verdict.sentences)

    def test_a_resample_without_a_ranking_counts_as_no_correlation(self) -> None:
        """Two networks that differ on one image: a third of the resamples do not draw it."""
        verdict = verdict_of(Hits(*[exactly([[30, 31]], 40)] * 3))
        assert verdict.tau == Estimate(value=1, low=0, high=1)

    def test_one_network(self) -> None:
        verdict = verdict_of(some_hits(networks=1, seeds=1))
        assert len(verdict.sentences) == 3
        assert math.isnan(verdict.tau.value)
        assert verdict.sentences[0] == (
            "There is only one network, so there is no ranking to judge."
        )
        assert "Its one-shot accuracy is" in verdict.sentences[1]
        assert not any("nan" in s or "networks" in s for s in verdict.sentences)

    def test_two_networks_cannot_tell(self) -> None:
        verdict = verdict_of(Hits(*[exactly([[10, 900]], 1000)] * 3))
        assert (verdict.tau.value, verdict.tau_p) == (1, 1)
        assert verdict.sentences[0] == (
            "Can't tell whether the ranking is better than chance: Kendall tau 1.00 (95 % interval "
            "1.00 to 1.00, p = 1; chance alone gets two networks right more often than one time in "
            "twenty)."
        )

    def test_json_keeps_a_verdict(self) -> None:
        verdict = verdict_of(some_hits(longer=True))
        assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value=value, low=low, high=high)


class TestSentences:
    @pytest.fixture
    def verdict(self) -> Verdict:
        """Nine networks, three seeds, nothing to complain of."""
        verdict = verdict_of(some_hits(seeds=3, networks=9), resamples=2)
        return verdict.model_copy(
            update={
                "tau": estimate(0.78, 0.56, 0.89),
                "tau_p": 0.002,
                "ceiling_tau": estimate(0.83, 0.7, 0.9),
                "macs_tau": estimate(0.72, 0.6, 0.8),
                "regret": estimate(0.0005, 0, 0.0012),
                "mean_gap": estimate(-0.004, -0.005, -0.003),
                "cost_ratio": 4.9,
                "cost_ratio_range": (4.7, 5.1),
                "breakeven": 2.0,
            }
        )

    def test_the_whole(self, verdict: Verdict) -> None:
        assert sentences(verdict) == [
            "One-shot ranked the nine networks much as training them did: Kendall tau 0.78 (95 % "
            "interval 0.56 to 0.89; chance alone reaches 0.50 at most one time in twenty).",
            "Picking by one-shot costs 0.05 points (0.00 to 0.12) against the best of the nine; "
            "one-shot accuracies are on average 0.40 points lower (0.30 to 0.50).",
            "One supernet cost 1/4.9 of the CPU time of training the nine networks (1/5.1 to 1/4.7 "
            "over 3 seeds); it pays from 2 architectures on.",
            "The truth wobbles too: standalone rankings of two seeds agree with each other at tau "
            "0.83 (0.70 to 0.90), 0.05 more than one-shot agrees with their mean.",
            "Ranking by multiply-adds alone, without any training, gives tau 0.72 (0.60 to 0.80).",
        ]

    @given(
        ends=st.tuples(*[st.floats(-1, 1)] * 3).map(sorted),
        p=st.one_of(st.floats(0, 1), st.just(0.05)),
    )
    def test_cannot_tell_exactly_when_the_rule_says(self, ends: list[float], p: float) -> None:
        low, value, high = ends
        verdict = verdict_of(some_hits(networks=9), resamples=1).model_copy(
            update={"tau": estimate(value, low, high), "tau_p": p}
        )
        first = sentences(verdict)[0]
        assert ("worse than chance" in first) == (high < 0 and p < 0.05)
        assert ("as training them did" in first) == (low > 0 and p < 0.05)
        assert first.startswith("Can't tell") == (p >= 0.05 or low <= 0 <= high)

    def test_worse_than_chance(self, verdict: Verdict) -> None:
        worse = verdict.model_copy(update={"tau": estimate(-0.78, -0.89, -0.56)})
        assert sentences(worse)[0] == (
            "One-shot ranked the nine networks worse than chance: Kendall tau -0.78 (95 % interval "
            "-0.89 to -0.56, p = 0.002)."
        )

    def test_the_published_ranking_cannot_tell(self, verdict: Verdict) -> None:
        published = verdict.model_copy(update={"tau": estimate(0.42, 0.1, 0.8), "tau_p": 0.116})
        assert sentences(published)[0] == (
            "Can't tell whether the ranking is better than chance: Kendall tau 0.42 (95 % interval "
            "0.10 to 0.80, p = 0.12)."
        )

    @pytest.mark.parametrize(("tau", "word"), [(0.7, "much"), (0.69, "only partly")])
    def test_how_much(self, verdict: Verdict, tau: float, word: str) -> None:
        changed = verdict.model_copy(update={"tau": estimate(tau, 0.5, 0.9)})
        assert f"the nine networks {word} as training them did" in sentences(changed)[0]

    @pytest.mark.parametrize(
        ("gap", "text"),
        [
            (estimate(0.01, 0.0, 0.02), "1.00 point higher (0.00 to 2.00)"),
            (estimate(-0.01, -0.03, 0.01), "1.00 point lower (-1.00 to 3.00)"),
            (estimate(0.0, -0.00001, 0.0002), "0.00 points lower (-0.02 to 0.00)"),
        ],
    )
    def test_gaps(self, verdict: Verdict, gap: Estimate, text: str) -> None:
        changed = verdict.model_copy(update={"mean_gap": gap, "longer_gap": gap})
        assert f"one-shot accuracies are on average {text}." in sentences(changed)[1]
        assert sentences(changed)[2] == (
            "With a supernet trained for about as much compute as all standalone training "
            f"together, one-shot accuracy is on average {text}."
        )

    @pytest.mark.parametrize(
        ("networks", "words"), [(2, "the two"), (12, "the twelve"), (13, "the 13"), (2000, "2,000")]
    )
    def test_numbers_of_networks(self, verdict: Verdict, networks: int, words: str) -> None:
        text = sentences(verdict.model_copy(update={"networks": networks}))
        assert f"{words} networks much" in text[0]
        assert f"the best of {words.removeprefix('the ')}".split()[-1] in text[1]
        assert f"training {'the ' if networks > 999 else ''}{words} networks" in text[2]

    def test_a_dear_supernet(self, verdict: Verdict) -> None:
        changed = verdict.model_copy(
            update={
                "cost_ratio": 0.8,
                "cost_ratio_range": (0.5, 1.25),
                "breakeven": 1.0,
                "seeds": 2,
                "networks": 1,
            }
        )
        assert sentences(changed)[2] == (
            "One supernet cost 1.2 times the CPU time of training the one network (1/1.2 to 2.0 "
            "over 2 seeds); it pays from 1 architecture on."
        )

    def test_it_never_pays(self, verdict: Verdict) -> None:
        changed = verdict.model_copy(update={"breakeven": None})
        assert sentences(changed)[2].endswith(
            "; it never pays, as scoring an architecture takes as long as training it."
        )

    def test_one_seed(self, verdict: Verdict) -> None:
        text = sentences(verdict.model_copy(update={"seeds": 1, "ceiling_tau": None}))
        assert "of training the nine networks; it pays" in text[2]
        assert text[3].startswith("All this is from one seed: the intervals cover the choice of ")

    def test_a_ceiling_that_is_no_higher(self, verdict: Verdict) -> None:
        text = sentences(verdict.model_copy(update={"ceiling_tau": estimate(0.78, 0.5, 0.9)}))
        assert text[3].endswith(
            "0.78 (0.50 to 0.90), no more than one-shot agrees with their mean."
        )

    def test_no_minus_zero(self, verdict: Verdict) -> None:
        nearly = estimate(-0.00001, -0.00001, 0.00001)
        changed = {"tau": nearly, "regret": nearly, "mean_gap": nearly, "ceiling_tau": nearly}
        assert not any("-0.00" in s for s in sentences(verdict.model_copy(update=changed)))

    def test_an_unknown_ranking_is_not_compared(self, verdict: Verdict) -> None:
        unknown = {"tau": estimate(math.nan, math.nan, math.nan)}
        assert sentences(verdict.model_copy(update=unknown))[3].endswith("0.83 (0.70 to 0.90).")

    def test_what_is_unknown_is_not_printed_as_nan(self, verdict: Verdict) -> None:
        nan = math.nan
        nothing = estimate(nan, nan, nan)
        for update in (
            {"ceiling_tau": nothing},
            {"macs_tau": nothing},
            {"tau": nothing, "tau_p": nan},
            {"ceiling_tau": estimate(1, nan, nan)},
        ):
            text = sentences(verdict.model_copy(update=update))
            assert not any("nan" in s for s in text)
        assert "tau 1.00 (unknown)" in text[3]
        assert sentences(verdict.model_copy(update={"ceiling_tau": nothing}))[3].startswith(
            "Can't tell how far standalone rankings of two seeds agree"
        )
        assert len(sentences(verdict.model_copy(update={"macs_tau": nothing}))) == 4


def test_floats_are_floats() -> None:
    """Whatever float type went in, counts are exact and means are float64."""
    drawn = resample(some_hits(), np.random.default_rng(0), 3)
    arrays: list[Floats] = [drawn.validation, drawn.standalone, drawn.standalone_seeds]
    assert {a.dtype for a in arrays} == {np.dtype(np.float64)}
