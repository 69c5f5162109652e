"""Optimizers of recipes and of users, and their schedules."""

from typing import Any

import pytest
import torch
from torch import nn

from supernet.errors import SettingsError
from supernet.training.optimizers import make_optimizer, make_schedule, scale_rates
from supernet.training.recipe import Recipe
from tests.conftest import plain_net


@pytest.mark.parametrize(
    ("name", "kind"),
    [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)],
)
def test_a_recipe_names_its_optimizer(name: Any, kind: type) -> None:
    recipe = Recipe(optimizer=name, learning_rate=0.01, momentum=0.8, weight_decay=0.5)
    optimizer = make_optimizer(plain_net(), recipe)
    assert type(optimizer) is kind
    decays = [(g["weight_decay"], [p.ndim for p in g["params"]]) for g in optimizer.param_groups]
    assert decays == [(0.5, [4, 2]), (0.0, [1, 1, 1])]
    assert {group["lr"] for group in optimizer.param_groups} == {0.01}
    if name != "sgd":
        assert {group["betas"] for group in optimizer.param_groups} == {(0.8, 0.999)}


def test_only_sgd_looks_ahead() -> None:
    Recipe(optimizer="adamw", momentum=0.0)
    with pytest.raises(SettingsError, match="nesterov"):
        Recipe(momentum=0.0)
    with pytest.raises(SettingsError, match="optimizer is 'lion'"):
        Recipe(optimizer="lion")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"give it beside the recipe: train\("):
        Recipe(optimizer=torch.optim.Adagrad)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="accumulate is 0"):
        Recipe(accumulate=0)


def test_each_group_of_a_users_own_keeps_its_rate_as_its_peak() -> None:
    net = nn.Linear(2, 2)

    def make(net: nn.Module) -> torch.optim.Optimizer:
        rates = zip(net.parameters(), (0.1, 0.02), strict=True)
        groups = [{"params": [parameter], "lr": rate} for parameter, rate in rates]
        return torch.optim.Adagrad(groups)

    recipe = Recipe(warmup=0.5)
    optimizer = make_optimizer(net, recipe, make)
    schedule = make_schedule(optimizer, recipe, 10)
    peaks = [0.0, 0.0]
    for _ in range(10):
        peaks = [max(p, g["lr"]) for p, g in zip(peaks, optimizer.param_groups, strict=True)]
        optimizer.step()
        schedule.step()
    assert peaks == pytest.approx([0.1, 0.02])
    scale_rates(optimizer, schedule, 0.5)
    assert [group["max_lr"] for group in optimizer.param_groups] == pytest.approx([0.05, 0.01])
