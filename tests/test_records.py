import json
import math

import pytest
from hypothesis import given, strategies as st
from pydantic import ValidationError

from supernet.records import Estimate, Results, Training
from tests.report.samples import sample_results, with_failures


@pytest.mark.parametrize("verdict", [True, False])
@pytest.mark.parametrize("longer", [True, False])
def test_results_survive_json(verdict: bool, longer: bool) -> None:
    results = sample_results(seeds=2, verdict=verdict, longer=longer)
    again = Results.model_validate_json(results.model_dump_json())
    assert again == results
    for key, value in results.settings.items():  # 1 and 1.0 and true are equal, but not the same
        assert type(again.settings[key]) is type(value)


def test_what_is_not_a_number_survives_json() -> None:
    """`chance_tau` is NaN for fewer than four architectures; JSON itself has no word for that."""
    results = sample_results(seeds=2)
    assert results.verdict
    verdict = results.verdict.model_copy(
        update={
            "chance_tau": math.nan,
            "tau": Estimate(value=0.5, low=-math.inf, high=math.inf),
            "cost_ratio_range": (1.5, math.nan),
        }
    )
    text = results.model_copy(update={"verdict": verdict}).model_dump_json()
    assert '"chance_tau":"NaN"' in text
    again = Results.model_validate_json(text).verdict
    assert again
    assert math.isnan(again.chance_tau)
    assert (again.tau.low, again.tau.high) == (-math.inf, math.inf)
    assert again.cost_ratio_range[0] == 1.5
    assert math.isnan(again.cost_ratio_range[1])
    left_out = {"chance_tau", "cost_ratio_range"}
    assert again.model_dump(exclude=left_out) == verdict.model_dump(exclude=left_out)


@given(st.tuples(*[st.floats()] * 3))
def test_every_float_survives_json(numbers: tuple[float, float, float]) -> None:
    value, low, high = numbers
    estimate = Estimate(value=value, low=low, high=high)
    again = Estimate.model_validate_json(estimate.model_dump_json())
    assert repr(again) == repr(estimate)


def test_a_failed_evaluation_survives_json() -> None:
    results = with_failures(sample_results(seeds=2, longer=True), one_shot=[0], test=[3], alone=[5])
    text = results.model_dump_json()
    again = Results.model_validate_json(text)
    assert repr(again) == repr(results)
    assert again.model_dump_json() == text
    training = again.seeds[-1].supernet
    assert [i for i, score in enumerate(training.test) if math.isnan(score)] == [0, 3]


@pytest.mark.parametrize("accuracy", ["high", "", "nano", None, "Infinity", "-Infinity"])
@pytest.mark.parametrize("place", ["validation", "test", "epochs"])
def test_what_is_no_accuracy_is_refused(accuracy: str | float | None, place: str) -> None:
    training = json.loads(sample_results().seeds[0].supernet.model_dump_json())
    scores = training["epochs"][0]["validation"] if place == "epochs" else training[place]
    for fine in ("NaN", 0, 1, 0.5):
        scores[0] = fine
        Training.model_validate_json(json.dumps(training))
    scores[0] = accuracy
    with pytest.raises(ValidationError, match=f"{place}.*\n.*number"):
        Training.model_validate_json(json.dumps(training))


@pytest.mark.parametrize("accuracy", [-0.1, 1.1])
@pytest.mark.parametrize("place", ["validation", "test", "epochs"])
def test_percents_are_of_fractions_and_other_scores_may_be_any_number(
    accuracy: float, place: str
) -> None:
    record = json.loads(sample_results(verdict=False).model_dump_json())
    training = record["seeds"][0]["standalone"][2]
    scores = training["epochs"][0]["validation"] if place == "epochs" else training[place]
    scores[0] = accuracy
    with pytest.raises(ValidationError, match="accuracy is a fraction from 0 to 1, or NaN"):
        Results.model_validate(record)
    record["measure"] = {"name": "error", "unit": "K", "higher_is_better": False}
    Results.model_validate(record)


def test_records_of_before_measures_and_rankings_are_read() -> None:
    results = sample_results(seeds=2, longer=True)
    record = results.model_dump(exclude={"measure", "ranking", "corrected", "alone"})
    new = {"edition", "measure", "ranked_by", "tau_by", "undertrained"}
    new |= {"baselines", "baseline", "baseline_tau", "advantage"}
    record["verdict"] = {k: v for k, v in record["verdict"].items() if k not in new}
    for arch in record["architectures"]:
        del arch["layers"]
    assert Results.model_validate(record) == results


def test_records_that_are_older_than_failures_are_read() -> None:
    results = sample_results(seeds=2, longer=True)
    record = json.loads(results.model_dump_json())
    del record["verdict"]["failed"]
    assert Results.model_validate_json(json.dumps(record)) == results


def test_records_are_frozen_and_strict_about_names() -> None:
    results = sample_results()
    with pytest.raises(ValidationError, match="frozen"):
        results.verdict = None
    text = results.model_dump_json().replace('"schema_version":1', '"schema_version":2')
    with pytest.raises(ValidationError, match="schema_version"):
        Results.model_validate_json(text)
    with pytest.raises(ValidationError, match="surprise"):
        Estimate.model_validate({"value": 1, "low": 0, "high": 2, "surprise": 3})
