import itertools
import math
from typing import Any

import pytest
from torch import nn

from supernet.errors import SettingsError
from supernet.training.optimizers import make_optimizer, make_schedule, scale_rates
from supernet.training.recipe import Recipe
from tests.conftest import plain_net


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("momentum", 1.0),
        ("momentum", -0.1),
        ("momentum", 0.0),  # with nesterov
        ("weight_decay", -1e-9),
        ("schedule", "cosine"),
        ("warmup", 0.0),
        ("warmup", 1.0),
        ("precision", "float16"),
        ("max_bytes", 0),
        ("on_nan", "hope"),
        ("label_smoothing", 1.0),
        ("label_smoothing", -0.1),
        ("clip_norm", 0.0),
        ("clip_norm", math.nan),
        ("ema", 1.0),
        ("ema", -0.5),
    ],
)
def test_impossible_recipes_are_refused(setting: str, value: Any) -> None:
    name = "nesterov" if value == 0.0 and setting == "momentum" else setting
    with pytest.raises(SettingsError, match=rf"^{name} is .*; it must be "):
        Recipe(**{setting: value})


def test_only_weights_decay() -> None:
    optimizer = make_optimizer(plain_net(), Recipe(weight_decay=0.5))
    decays = [(g["weight_decay"], [p.ndim for p in g["params"]]) for g in optimizer.param_groups]
    assert decays == [(0.5, [4, 2]), (0.0, [1, 1, 1])]
    only = make_optimizer(nn.Linear(2, 2, bias=False), Recipe())
    assert len(only.param_groups) == 1


def rates(recipe: Recipe, steps: int) -> list[float]:
    optimizer = make_optimizer(nn.Linear(2, 2), recipe)
    schedule = make_schedule(optimizer, recipe, steps)
    found = []
    for _ in range(steps):
        found.append(float(schedule.get_last_lr()[0]))
        assert {g["lr"] for g in optimizer.param_groups} == {found[-1]}
        optimizer.step()
        schedule.step()
    return found


def test_one_cycle_is_linear_up_and_down_to_nothing() -> None:
    found = rates(Recipe(learning_rate=0.3, warmup=0.3), 101)
    peak = max(range(101), key=found.__getitem__)
    assert peak in (29, 30)
    assert found[peak] == pytest.approx(0.3, rel=0.02)
    assert found[0] == pytest.approx(0.3 / 25)
    assert found[-1] == pytest.approx(0, abs=1e-5)
    rises = [b - a for a, b in itertools.pairwise(found[:29])]
    falls = [b - a for a, b in itertools.pairwise(found[31:])]
    assert min(rises) == pytest.approx(max(rises))
    assert min(falls) == pytest.approx(max(falls))


def test_constant_is_constant() -> None:
    assert rates(Recipe(schedule="constant", learning_rate=0.2), 5) == [0.2] * 5


@pytest.mark.parametrize("warmup", [0.05, 0.1, 0.25, 0.3, 0.5, 0.9])
def test_any_number_of_steps_has_a_schedule(warmup: float) -> None:
    for steps in range(1, 25):
        found = rates(Recipe(warmup=warmup, learning_rate=0.2), steps)
        assert all(0 <= rate <= 0.2 + 1e-12 for rate in found)
        assert steps < 10 or max(found) > 0.1


@pytest.mark.parametrize("schedule", ["one-cycle", "constant"])
@pytest.mark.parametrize("at", [0, 3, 7])
def test_rates_are_scaled_now_and_for_all_that_is_left(schedule: Any, at: int) -> None:
    recipe = Recipe(schedule=schedule, learning_rate=0.4)
    whole = rates(recipe, 10)
    optimizer = make_optimizer(plain_net(), recipe)
    left = make_schedule(optimizer, recipe, 10)
    for step, rate in enumerate(whole):
        if step == at:
            scale_rates(optimizer, left, 0.25)
        found = [group["lr"] for group in optimizer.param_groups]
        assert found == pytest.approx([rate if step < at else rate / 4] * 2, rel=1e-12)
        optimizer.step()
        left.step()
