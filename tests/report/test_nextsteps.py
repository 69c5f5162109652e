from supernet.records import Corrected, Estimate, Ranking, Results
from supernet.report.nextsteps import next_steps
from tests.report.samples import sample_results

ESTIMATES = [Estimate(value=0.9, low=0.88, high=0.92)] * 9


def with_ranking(results: Results, scoring: float, drift: float | None) -> Results:
    ranking = Ranking(
        samples=10, validation=ESTIMATES, picked="a", equals=[], halves_tau=0.5,
        scoring_tau=scoring, drift_tau=drift, sentences=[],
    )  # fmt: skip
    return results.model_copy(update={"ranking": ranking})


def texts(results: Results) -> str:
    return " ".join(step.text for step in next_steps(results))


def test_one_seed_and_no_standalone_networks_are_mended_by_commands() -> None:
    extract = "supernet extract RUN --best"
    for results, commands in (
        (sample_results(), ["supernet compare --epochs 3 --seeds 3", extract]),
        (sample_results(standalone=False), [extract, "supernet compare"]),
        (sample_results(seeds=3), [extract]),
        (sample_results(seeds=3, depths=(1,)), []),
    ):
        assert [step.command for step in next_steps(results)] == commands


def test_what_is_less_steady_is_bought() -> None:
    results = sample_results(seeds=3)
    assert "more epochs" in texts(with_ranking(results, 0.8, 0.5))
    assert "more validation samples" in texts(with_ranking(results, 0.5, 0.8))
    assert "more validation samples" in texts(with_ranking(results, 0.5, None))
    assert "more" not in texts(with_ranking(results, 0.95, 0.97))


def test_how_many_samples_to_buy_is_part_of_the_command() -> None:
    results = with_ranking(sample_results(seeds=3), 0.5, 0.8)
    assert results.ranking
    for enough, command in ((None, ""), (9, ""), (50, " --validation-images 50")):
        ranking = results.ranking.model_copy(update={"enough_samples": enough})
        (step,) = [
            step
            for step in next_steps(results.model_copy(update={"ranking": ranking}))
            if "more validation samples" in step.text
        ]
        assert step.command == (f"{results.conditions.command}{command}" if command else "")


def test_a_supernet_that_adds_nothing_is_not_searched_with() -> None:
    results = sample_results(seeds=3)
    assert results.verdict
    nothing = {"advantage": Estimate(value=0.1, low=-0.1, high=0.2), "baseline": "layers"}
    for update, words in (
        (nothing, "counting layers needs no training"),
        (nothing | {"undertrained": True}, "Train the supernet longer"),
    ):
        verdict = results.verdict.model_copy(update=update)
        assert words in texts(results.model_copy(update={"verdict": verdict}))


def test_a_correction_that_helps_is_searched_with() -> None:
    results = sample_results(seeds=3)
    for taus, helps in (
        ((0.5, 0.8, 0.6), True),
        ((0.5, 0.6, 0.8), False),
        ((0.5,) + (float("nan"),) * 2, False),
    ):
        corrected = Corrected(
            trained=8, predicted=ESTIMATES, error=0.1, picked="a", sentences=[],
            taus=dict(zip(("one_shot", "corrected", "choices"), taus, strict=True)),
        )  # fmt: skip
        steps = next_steps(results.model_copy(update={"corrected": corrected}))
        assert any("--objective corrected" in step.command for step in steps) == helps
