import math

import pytest
from hypothesis import given, strategies as st
from pydantic import ValidationError

from supernet.records import Estimate, Results
from tests.report.samples import sample_results


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


def test_records_are_frozen_and_strict_about_names() -> None:
    results = sample_results()
    with pytest.raises(ValidationError, match="frozen"):
        results.verdict = None
    text = results.model_dump_json().replace('"schema_version":1', '"schema_version":2')
    with pytest.raises(ValidationError, match="schema_version"):
        Results.model_validate_json(text)
    with pytest.raises(ValidationError, match="surprise"):
        Estimate.model_validate({"value": 1, "low": 0, "high": 2, "surprise": 3})
