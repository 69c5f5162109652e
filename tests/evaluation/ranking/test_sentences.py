import math

import pytest
from hypothesis import given, strategies as st

from supernet.evaluation.ranking.sentences import sentences
from supernet.records import Estimate, Measure, Verdict
from tests.evaluation.ranking.samples import estimate, some_hits, verdict_of


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
                "undertrained": False,
                "baselines": {"multiply-adds": estimate(0.72, 0.6, 0.8)},
                "baseline_tau": estimate(0.72, 0.6, 0.8),
                "advantage": estimate(0.1, 0.01, 0.2),
            }
        )

    def test_the_whole(self, verdict: Verdict) -> None:
        assert sentences(verdict) == [
            "One-shot ranked the nine networks much as training them did: Kendall tau 0.78 (a "
            "random order reaches that with p = 0.002; between the true accuracies it is 0.56 to "
            "0.89, 95 % interval).",
            "Picking by one-shot costs 0.05 points (0.00 to 0.12) against the best of the nine; "
            "one-shot accuracies are on average 0.40 points lower (0.30 to 0.50).",
            "One supernet cost 1/4.9 of the CPU time of training the nine networks (1/5.1 to 1/4.7 "
            "over 3 seeds); it pays from 2 architectures on.",
            "The truth wobbles too: standalone rankings of two seeds agree with each other at tau "
            "0.83 (0.70 to 0.90), 0.05 more than one-shot agrees with their mean.",
            "Ranking without any training: counting multiply-adds gives tau 0.72 (0.60 to 0.80).",
        ]

    @given(
        ends=st.tuples(*[st.floats(-1, 1)] * 3).map(sorted),
        p=st.one_of(st.floats(0, 1), st.just(0.05)),
    )
    def test_one_test_on_one_side_decides_and_the_interval_has_no_part_in_it(
        self, ends: list[float], p: float
    ) -> None:
        low, value, high = ends
        verdict = verdict_of(some_hits(networks=9), resamples=1).model_copy(
            update={"tau": estimate(value, low, high), "tau_p": p, "advantage": None}
        )
        first = sentences(verdict)[0]
        assert ("as training them did" in first) == (p < 0.05)
        assert ("no better than chance" in first) == (p >= 0.05 and value <= 0)
        assert first.startswith("Can't tell") == (p >= 0.05 and value > 0)

    def test_no_better_than_chance(self, verdict: Verdict) -> None:
        worse = {"tau": estimate(-0.78, -0.89, -0.56), "tau_p": 0.99}
        assert sentences(verdict.model_copy(update=worse))[0] == (
            "One-shot ranked the nine networks no better than chance: Kendall tau "
            "\N{MINUS SIGN}0.78 (between the true accuracies it is \N{MINUS SIGN}0.89 to "
            "\N{MINUS SIGN}0.56, 95 % interval)."
        )

    def test_the_published_ranking_cannot_tell(self, verdict: Verdict) -> None:
        published = verdict.model_copy(update={"tau": estimate(0.42, 0.1, 0.8), "tau_p": 0.058})
        assert sentences(published)[0] == (
            "Can't tell whether the ranking is better than chance: Kendall tau 0.42 (a random "
            "order reaches that with p = 0.058; between the true accuracies it is 0.10 to 0.80, "
            "95 % interval)."
        )

    @pytest.mark.parametrize(
        ("advantage", "text"),
        [
            (estimate(0.06, -0.1, 0.3), "adds nothing to counting layers, as far as this run can"),
            (estimate(0.0, 0.0, 0.0), "adds nothing to counting layers, as far as this run can"),
            (estimate(-0.3, -0.5, -0.1), "is worse than counting layers: Kendall tau 0.78 against"),
            (estimate(0.3, 0.01, 0.5), None),
        ],
    )
    def test_what_a_supernet_adds_to_counting_comes_first_if_it_is_nothing(
        self, verdict: Verdict, advantage: Estimate, text: str | None
    ) -> None:
        tau = estimate(0.72, 0.6, 0.8)
        changed = verdict.model_copy(
            update={"advantage": advantage, "baseline": "layers", "baseline_tau": tau}
        )
        first = sentences(changed)[0]
        assert text in first if text else first.startswith("One-shot ranked")
        cost = next(s for s in sentences(changed) if s.startswith("One supernet cost"))
        assert ("it pays from 2" in cost) == (text is None)
        assert ("which pays only where its ranking adds something" in cost) == (text is not None)
        assert "adds nothing" not in first or advantage.low <= 0 <= advantage.high

    def test_two_taus_of_the_best_trivial_ranking_are_told_apart(self, verdict: Verdict) -> None:
        given = {"layers": estimate(0.73, 0.57, 0.81), "naswot": estimate(0.7, 0.5, 0.8)}
        base = {"advantage": estimate(-0.3, -0.5, 0.1), "baseline": "layers", "baselines": given}
        for tau, differs in ((0.69, True), (0.73, False), (0.7301, False), (math.nan, False)):
            changed = verdict.model_copy(update={**base, "baseline_tau": estimate(tau, tau, tau)})
            first, *_, last = sentences(changed)
            assert last.startswith(
                "Ranking without any training: counting layers gives tau 0.73 (0.57 to 0.81), "
                "naswot gives tau 0.70 (0.50 to 0.80)."
            )
            assert ("One-shot is compared with 0.69: what the best of these gives" in last) == (
                differs
            )
            assert ("against 0.69 (" in first) == differs
        naswot = verdict.model_copy(
            update={**base, "baseline": "naswot", "baseline_tau": given["naswot"]}
        )
        assert "adds nothing to naswot, as far" in sentences(naswot)[0]

    def test_a_supernet_that_is_not_trained_enough_comes_first_and_pays_nothing(
        self, verdict: Verdict
    ) -> None:
        changed = verdict.model_copy(
            update={
                "undertrained": True,
                "mean_gap": estimate(-0.17, -0.18, -0.16),
                "standalone": [estimate(v, v, v) for v in (0.7, 0.75, 0.72)],
                "advantage": estimate(0.0, -0.1, 0.1),
                "baseline_tau": estimate(0.72, 0.6, 0.8),
                "baseline": "layers",
            }
        )
        first, second, *rest = sentences(changed)
        assert first == (
            "The supernet isn't trained enough: one-shot accuracies are on average 17.00 points "
            "lower (16.00 to 18.00) than standalone ones, more than the 5.00 points between the "
            "best and the worst of the nine networks; train it longer before believing its ranking."
        )
        assert "adds nothing" in second
        assert any(s.endswith("as it isn't trained enough, that pays nothing.") for s in rest)
        assert not any("it pays" in s for s in rest)

    def test_the_tau_by_what_was_not_ranked_by_is_told_beside(self, verdict: Verdict) -> None:
        both = {"score": estimate(0.78, 0.5, 0.9), "loss": estimate(0.83, 0.6, 0.9)}
        text = " ".join(sentences(verdict.model_copy(update={"tau_by": both})))
        assert "Ranked by loss instead, Kendall tau is 0.83 (0.60 to 0.90)." in text
        by_loss = verdict.model_copy(update={"tau_by": both, "ranked_by": "loss"})
        assert "Ranked by accuracy instead, Kendall tau is 0.78" in " ".join(sentences(by_loss))

    def test_scores_of_another_task_are_called_what_they_are(self, verdict: Verdict) -> None:
        error = Measure(name="squared error", unit="K", higher_is_better=False)
        text = " ".join(sentences(verdict.model_copy(update={"measure": error})))
        assert "between the true scores (squared error) it is" in text
        assert "costs 0.0005000 K (0.00 to 0.001200) against" in text
        assert "on average 0.004000 K higher (0.003000 to 0.005000)" in text
        assert "point" not in text
        assert "accurac" not in text

    @pytest.mark.parametrize(("tau", "word"), [(0.7, "much"), (0.69, "only partly")])
    def test_how_much(self, verdict: Verdict, tau: float, word: str) -> None:
        changed = verdict.model_copy(update={"tau": estimate(tau, 0.5, 0.9)})
        assert f"the nine networks {word} as training them did" in sentences(changed)[0]

    @pytest.mark.parametrize(
        ("gap", "text"),
        [
            (estimate(0.01, 0.0, 0.02), "1.00 point higher (0.00 to 2.00)"),
            (estimate(-0.01, -0.03, 0.01), "1.00 point lower (\N{MINUS SIGN}1.00 to 3.00)"),
            (estimate(0.0, -0.00001, 0.0002), "0.00 points lower (\N{MINUS SIGN}0.02 to 0.00)"),
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
        assert not any(
            "\N{MINUS SIGN}0.00" in s for s in sentences(verdict.model_copy(update=changed))
        )

    def test_an_unknown_ranking_is_not_compared(self, verdict: Verdict) -> None:
        unknown = {"tau": estimate(math.nan, math.nan, math.nan)}
        assert sentences(verdict.model_copy(update=unknown))[3].endswith("0.83 (0.70 to 0.90).")

    def test_what_is_unknown_is_not_printed_as_nan(self, verdict: Verdict) -> None:
        nan = math.nan
        nothing = estimate(nan, nan, nan)
        for update in (
            {"ceiling_tau": nothing},
            {"baselines": {"layers": nothing}},
            {"advantage": nothing},
            {"tau": nothing, "tau_p": nan},
            {"ceiling_tau": estimate(1, nan, nan)},
        ):
            text = sentences(verdict.model_copy(update=update))
            assert not any("nan" in s for s in text)
        assert "tau 1.00 (can't tell)" in text[3]
        assert sentences(verdict.model_copy(update={"ceiling_tau": nothing}))[3].startswith(
            "Can't tell how far standalone rankings of two seeds agree"
        )
        assert len(sentences(verdict.model_copy(update={"baselines": {"layers": nothing}}))) == 4
