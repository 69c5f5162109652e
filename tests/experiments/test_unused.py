"""A setting that changes nothing is named; one that changes something is not."""

from typing import Any

import pytest

from supernet.errors import SettingsWarning
from supernet.experiments.planning import plan
from supernet.experiments.settings import PRESETS, make_settings, resolve_settings
from supernet.experiments.unused import unused
from tests.experiments.tinyruns import small, write_data

IN_VAIN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "paths": ({"paths": 5}, {"sampler": "split"}),
    "order": ({"order": "block1.depth"}, {"sampler": "shrinking"}),
    "budget": ({"budget": 3.0}, {"sampler": "subtree"}),
    "power": ({"power": 2.0}, {"weigh": "macs"}),
    "decay": ({"decay": 2.0}, {"pace": "layers"}),
    "prior_weight": ({"prior_weight": 2.0}, {"prior": "macs"}),
    "momentum": ({"optimizer": "adam", "momentum": 0.5}, {"optimizer": "sgd"}),
    "warmup": ({"schedule": "constant", "warmup": 0.1}, {"schedule": "one-cycle"}),
    "resize_by": ({"resize_by": "pad"}, {"resize": 16}),
}


@pytest.mark.parametrize("name", IN_VAIN)
def test_a_setting_in_vain_is_named_with_what_it_needs(name: str) -> None:
    given, needed = IN_VAIN[name]
    (sentence,) = unused(make_settings(given))
    assert sentence.startswith(f"{name} is {given[name]}, and changes nothing without ")
    assert next(iter(needed)) in sentence
    assert list(unused(make_settings(given | needed))) == []


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_have_none(preset: str) -> None:
    assert list(unused(resolve_settings(preset))) == []


def test_whoever_plans_a_run_is_warned(tmp_path: Any) -> None:
    settings = small(write_data(tmp_path), paths=3, sampler="uniform")
    with pytest.warns(SettingsWarning, match="paths is 3, and changes nothing without the sampler"):
        plan(settings)
