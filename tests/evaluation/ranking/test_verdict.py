import math
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats

from supernet.errors import DataError, DivergedError, SettingsError
from supernet.evaluation.ranking.bootstrap import Scores, interval, resample
from supernet.evaluation.ranking.metrics import (
    chance_tau,
    kendall_rows,
    pick,
    regret_rows,
    spearman_rows,
)
from supernet.evaluation.ranking.posterior import draw_truths, see
from supernet.evaluation.ranking.sentences import sentences
from supernet.evaluation.ranking.verdict import Costs, breakeven, cost_ratio, judge
from supernet.records import Estimate, Verdict
from tests.evaluation.ranking.samples import (
    ALL_HITS,
    at_random,
    costs_of,
    exactly,
    failed_in,
    nothing_right,
    numbers_in,
    same,
    some_hits,
    verdict_of,
)


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


class TestJudge:
    def test_means_are_as_scipy_and_numpy_say(self) -> None:
        hits = some_hits(seeds=3, networks=6, longer=True)
        assert hits.longer_test is not None
        verdict = verdict_of(hits)
        validation = hits.one_shot_validation.mean(axis=(0, 2))
        one_shot, standalone = (
            h.mean(axis=(0, 2)) for h in (hits.one_shot_test, hits.standalone_test)
        )
        expected = stats.kendalltau(validation, standalone, alternative="greater")
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

    def test_every_interval_is_of_its_own_draws(self) -> None:
        scores = some_hits(seeds=3, networks=6, longer=True)
        verdict, rng = verdict_of(scores), np.random.default_rng(1)
        drawn = resample(scores, rng, 200)
        seen = see(scores.one_shot_validation), see(scores.standalone_test)
        true, truth = draw_truths(*seen, rng, 200)
        assert drawn.longer is not None
        v, t, macs = drawn.validation, drawn.standalone, np.arange(6.0)
        for got, resampled in (
            (verdict.tau, kendall_rows(true, truth)),
            (verdict.spearman, spearman_rows(true, truth)),
            (verdict.macs_tau, kendall_rows(macs[None], truth)),
            (verdict.advantage, kendall_rows(true, truth) - kendall_rows(macs[None], truth)),
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
                    if isinstance(estimate, dict) and "low" in estimate:
                        assert estimate["low"] <= estimate["value"] <= estimate["high"]

    def test_the_same_generator_gives_the_same_verdict(self) -> None:
        assert verdict_of(some_hits()) == verdict_of(some_hits())

    @given(st.permutations(range(5)), st.integers(0, 99))
    @settings(deadline=None, max_examples=20)
    def test_permuting_architectures_permutes_their_results(
        self, order: list[int], seed: int
    ) -> None:
        hits = some_hits(seed=seed)
        permuted = Scores(*(h[:, order] for _, h in hits.arrays()))
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
        for name in ("regret", "mean_gap", "ceiling_tau"):
            assert same(getattr(moved, name), getattr(plain, name))
        for name in ("tau", "spearman", "macs_tau"):  # the draws of their intervals are others
            assert getattr(moved, name).value == pytest.approx(getattr(plain, name).value)
        assert (moved.picked, moved.best) == (plain.picked, plain.best)

    @given(st.lists(st.integers(0, 40), min_size=2, max_size=7, unique=True))
    @settings(deadline=None, max_examples=20)
    def test_identical_hits_agree_in_everything(self, counts: list[int]) -> None:
        verdict = verdict_of(Scores(*[exactly([counts], 40)] * 3), resamples=50)
        assert verdict.tau.value == verdict.spearman.value == 1
        zero = Estimate(value=0, low=0, high=0)
        assert verdict.gaps == [zero] * len(counts)
        assert verdict.mean_gap == zero
        assert verdict.regret.value == 0
        assert verdict.picked == verdict.best

    def test_reversed_validation_reverses_tau(self) -> None:
        hits = some_hits(networks=7)
        reverse = replace(hits, one_shot_validation=np.logical_not(hits.one_shot_validation))
        assert verdict_of(reverse).tau.value == pytest.approx(-verdict_of(hits).tau.value)

    def test_losses_may_rank_instead_of_scores(self) -> None:
        """Validation losses that rank as the truth does, where hits rank the other way round."""
        hits = Scores(
            exactly([[30, 20, 10]], 50), exactly([[10, 20, 30]], 50), exactly([[10, 20, 30]], 50)
        )
        losses = np.broadcast_to(np.array([3.0, 2.0, 1.0])[None, :, None], (1, 3, 50)).copy()
        parts: dict[str, Any] = {"labels": list("abc"), "macs": [1, 2, 3], "losses": losses}
        costs = costs_of(hits)
        by_score, by_loss = (
            judge(hits, costs, rng=np.random.default_rng(0), rank_by=by, resamples=20, **parts)
            for by in ("score", "loss")
        )
        assert (by_score.tau.value, by_score.picked, by_score.ranked_by) == (-1, "a", "score")
        assert (by_loss.tau.value, by_loss.picked, by_loss.ranked_by) == (1, "c", "loss")
        for verdict in (by_score, by_loss):
            assert {name: tau.value for name, tau in verdict.tau_by.items()} == {
                "score": -1,
                "loss": 1,
            }
        assert "Picking by one-shot loss costs" in " ".join(by_loss.sentences)
        with pytest.raises(SettingsError, match="no losses to rank by"):
            judge(
                hits,
                costs,
                rng=np.random.default_rng(0),
                rank_by="loss",
                **parts | {"losses": None},
            )
        with pytest.raises(SettingsError, match="rank by 'accuracy'"):
            judge(hits, costs, rng=np.random.default_rng(0), **parts | {"rank_by": "accuracy"})

    def test_scores_need_not_be_hits(self) -> None:
        """What is shifted and scaled ranks the same, and its gaps are scaled."""
        hits = some_hits(seeds=2, networks=5)
        numbers = Scores(*(7 * h.astype(np.float64) - 30 for _, h in hits.arrays()))
        plain, scaled = verdict_of(hits), verdict_of(numbers)
        assert scaled.tau.value == pytest.approx(plain.tau.value)
        assert scaled.tau.low == pytest.approx(plain.tau.low)
        assert scaled.regret.value == pytest.approx(7 * plain.regret.value)
        assert [g.high for g in scaled.gaps] == pytest.approx([7 * g.high for g in plain.gaps])
        assert (scaled.picked, scaled.best) == (plain.picked, plain.best)

    def test_a_failed_pick_counts_as_the_worst_where_scores_are_no_hits(self) -> None:
        rows = np.arange(3.0)[None, :, None] + np.zeros((1, 3, 5)) - 10
        failed = {"standalone_test": np.array([[False, False, True]])}
        verdict = verdict_of(Scores(rows, rows, rows, failed=failed), resamples=20)
        assert (verdict.picked, verdict.best) == ("(2)", "(1)")
        assert verdict.regret.value == 1  # -9 is the best, -10 the worst

    def test_a_gap_wider_than_the_networks_lie_apart_means_too_little_training(self) -> None:
        alone = exactly([[900, 920, 940]], 1000)
        for inside, undertrained in (([700, 720, 740], True), ([880, 900, 920], False)):
            one_shot = exactly([inside], 1000)
            verdict = verdict_of(Scores(one_shot, one_shot, alone))
            assert verdict.undertrained == undertrained
            assert (verdict.breakeven is None) == undertrained
            assert verdict.sentences[0].startswith("The supernet isn't trained") == undertrained

    def test_very_many_networks_get_fewer_draws(self, monkeypatch: pytest.MonkeyPatch) -> None:
        module = "supernet.evaluation.ranking.verdict"
        asked: list[int] = []

        def counting(*args: Any) -> Any:
            asked.append(args[-1])
            return draw_truths(*args)

        monkeypatch.setattr(f"{module}.draw_truths", counting)
        monkeypatch.setattr(f"{module}._MOST_PAIRS", 10 * 300)
        verdict_of(some_hits(networks=5), resamples=400)
        monkeypatch.setattr(f"{module}._MOST_PAIRS", 10)
        verdict_of(some_hits(networks=5), resamples=400)
        assert asked == [300, 200]

    def test_the_baselines_are_those_given(self) -> None:
        hits = Scores(*[exactly([[10, 20, 30, 40]], 40)] * 3)
        verdict = judge(
            hits,
            costs_of(hits),
            labels=list("abcd"),
            macs=[4, 3, 2, 1],
            rng=np.random.default_rng(0),
            resamples=50,
            baselines={"multiply-adds": [4, 3, 2, 1], "layers": [1, 2, 3, 4]},
        )
        assert {name: tau.value for name, tau in verdict.baselines.items()} == {
            "multiply-adds": -1,
            "layers": 1,
        }
        assert verdict.baseline == "layers"
        assert verdict.advantage is not None
        assert verdict.advantage.value == 0
        assert verdict.sentences[0].startswith("The supernet's ranking adds nothing to counting")

    @pytest.mark.parametrize("rank_by", ["score", "loss"])
    def test_nothing_added_is_said_exactly_where_the_paired_interval_says_so(
        self, rank_by: Literal["score", "loss"]
    ) -> None:
        """From a supernet that knows the truth, beside sizes that don't, to the other way round."""
        found = []
        for seed, share in enumerate([0.0, 0.25, 0.5, 0.75, 1.0] * 4):
            rng = np.random.default_rng(seed)
            truth, of_size, of_supernet = rng.permuted(np.tile(np.arange(16.0), (3, 1)), axis=1)
            sizes = share * truth + (1 - share) * of_size
            one_shot = (1 - share) * truth + share * of_supernet
            images = at_random(rng, 0.5 + 0.02 * np.array([[one_shot], [truth]]), 1000)
            verdict = judge(
                Scores(images[0], images[0], images[1]),
                costs_of(some_hits(seeds=1, networks=16)),
                labels=[str(i) for i in range(16)],
                macs=range(16),
                rng=rng,
                resamples=200,
                losses=1 - images[0].astype(np.float64),
                rank_by=rank_by,
                baselines={"layers": sizes.tolist(), "parameters": of_size.tolist()},
            )
            assert verdict.advantage is not None
            first, *rest = verdict.sentences
            worse, nothing = ("ranking is worse than" in first, "ranking adds nothing to" in first)
            assert worse == (verdict.advantage.high < 0)
            assert nothing == (verdict.advantage.low <= 0 <= verdict.advantage.high)
            assert not any("is worse than" in s or "adds nothing to" in s for s in rest)
            found.append((share, "worse" if worse else "nothing" if nothing else "adds"))
        assert {said for share, said in found if share == 0} == {"adds"}
        assert {said for share, said in found if share == 1} == {"worse"}
        assert "nothing" in {said for share, said in found if share == 0.5}

    def test_parts_that_do_not_fit(self) -> None:
        hits, rng = some_hits(), np.random.default_rng(0)
        good: dict[str, Any] = {"labels": list("abcde"), "macs": range(5), "rng": rng}
        for wrong in ({"labels": list("abcd")}, {"macs": range(6)}):
            with pytest.raises(
                DataError, match=r"5 architecture\(s\) in the scores, 5 in the costs"
            ):
                judge(hits, costs_of(hits), **good | wrong)
        with pytest.raises(DataError, match="6 in the costs"):
            judge(hits, costs_of(some_hits(networks=6)), **good)
        with pytest.raises(DataError, match=r"2 seed\(s\) in the scores, 3 in the costs"):
            judge(hits, costs_of(some_hits(seeds=3)), **good)


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
        for name in ("tau_p", "picked", "best", "regret"):
            assert getattr(got, name) == getattr(like, name)
        for name in ("tau", "spearman", "macs_tau"):
            assert getattr(got, name).value == getattr(like, name).value
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
        without = verdict_of(Scores(*(h[:, left] for _, h in hits.arrays())), resamples=50)
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
        hits = failed_in(Scores(right, right, right), **{key: [0] for key in ALL_HITS[:3]})
        verdict = verdict_of(hits, resamples=20)
        assert (verdict.picked, verdict.best) == ("(1)", "(1)")  # the cheaper one of those left
        assert verdict.regret == Estimate(value=0, low=0, high=0)
        scores = np.array([[np.nan, 0.0, 0.0], [0.0, np.nan, 0.5]])
        assert pick(scores, np.array([1, 3, 2])).tolist() == [2, 2]

    def test_a_pick_that_failed_alone_costs_all_the_best_has(self) -> None:
        hits = Scores(*[exactly([[10, 20, 38]], 40)] * 3)
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
        (failures,) = (s for s in verdict.sentences if "failed" in s)
        assert failures == (
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
        assert any(s.endswith("against the best of the five.") for s in verdict.sentences)
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
        for hits in (
            Scores(flat, flat, steep),
            Scores(steep, steep, flat),
            Scores(flat, flat, flat),
        ):
            verdict = verdict_of(hits, resamples=50)
            for estimate in (verdict.tau, verdict.spearman):
                assert np.isnan([estimate.value, estimate.low, estimate.high]).all()
            assert math.isnan(verdict.tau_p)
            assert verdict.sentences[0].startswith("Can't tell whether the ranking is better")
            assert "equal, which ranks nothing" in verdict.sentences[0]
            assert not any("nan" in s for s in verdict.sentences)

    def test_two_networks_that_differ_on_one_image_may_stand_either_way(self) -> None:
        verdict = verdict_of(Scores(*[exactly([[30, 31]], 40)] * 3))
        assert verdict.tau == Estimate(value=1, low=-1, high=1)

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
        verdict = verdict_of(Scores(*[exactly([[10, 900]], 1000)] * 3))
        assert (verdict.tau.value, verdict.tau_p) == (1, 0.5)
        assert verdict.sentences[0] == (
            "Can't tell whether the ranking is better than chance: Kendall tau 1.00 (a random "
            "order reaches that with p = 0.5, as even the right order of two comes up by chance "
            "that often; between the true accuracies it is 1.00 to 1.00, 95 % interval)."
        )

    def test_json_keeps_a_verdict(self) -> None:
        verdict = verdict_of(some_hits(longer=True))
        assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict
