"""Few-shot training: what is divided, what each part is trained as, and what it costs."""

import copy
import random
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from supernet.errors import SettingsError, SpaceError
from supernet.evaluation.accuracy import evaluate
from supernet.experiments.comparison import SeedResults, compare
from supernet.nn.choices import Depth, OneOf
from supernet.nn.supernet import Supernet
from supernet.training import fewshot
from supernet.training.fewshot import (
    Division,
    FewShot,
    find_division,
    share_out,
    train_few_shot,
)
from supernet.training.recipe import Recipe
from supernet.training.samplers import uniform
from supernet.training.session import train
from tests.conftest import nine, stir, tiny_data

RECIPE = Recipe(epochs=4, batch_size=8, learning_rate=0.1)
KEYS: dict[str, Any] = {"calibration_images": 10, "sampler": uniform}


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def torn() -> Supernet:
    """One choice turns the sign of what comes before it, the other hardly changes it."""
    net = nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 6),
        OneOf("sign", {"plus": Times(1.0), "minus": Times(-1.0), "more": Times(1.1)}),
        OneOf("size", {"a": Times(1.0), "b": Times(1.01), "c": Times(0.99)}),
        nn.Linear(6, 3),
    )
    return Supernet(stir(net))


def parts_of(few: FewShot) -> list[list[str]]:
    return [[arch.label for arch in supernet.space] for supernet in few.supernets]


def same(a: nn.Module, b: nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_choice_is_divided_whose_options_pull_apart() -> None:
    found = find_division(torn(), tiny_data().train, RECIPE)
    assert found.choice == "sign.op"
    assert found.groups == (("plus", "more"), ("minus",))
    assert found.agreement["sign.op"] < 0.5 < 0.9 < found.agreement["size.op"] <= 1
    three = find_division(torn(), tiny_data().train, RECIPE, parts=3)
    assert three.groups == (("plus",), ("minus",), ("more",))


def test_looking_for_a_division_leaves_the_network_and_the_generators_as_they_are() -> None:
    supernet, before = nine().eval(), torch.get_rng_state()
    random.seed(1)
    own = random.getstate()
    reference = copy.deepcopy(supernet)
    first = find_division(supernet, tiny_data().train, RECIPE)
    assert same(supernet, reference)
    assert not supernet.training
    assert all(p.grad is None for p in supernet.parameters())
    assert torch.equal(torch.get_rng_state(), before)
    assert random.getstate() == own
    assert find_division(supernet, tiny_data().train, RECIPE) == first
    assert find_division(supernet, tiny_data().train, RECIPE, seed=1).agreement != first.agreement


def test_a_choice_that_counts_in_some_architectures_only_is_compared_in_those() -> None:
    inner = Depth("inner", [Times(1.0), Times(-1.0)], shortest=1)
    outer = Depth("outer", [nn.Identity(), inner], shortest=1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), outer, nn.Linear(6, 3))
    supernet = Supernet(stir(net))
    names = [choice.name for choice in supernet.space.choices]
    found = find_division(supernet, tiny_data().train, RECIPE)
    assert set(found.agreement) == set(names)
    assert found.choice == next(name for name in names if "inner" in name)


def test_it_is_the_common_training_and_then_one_of_each_part() -> None:
    """Done by hand with `train`, to the bit."""
    supernet, data = nine(), tiny_data()
    few = train_few_shot(supernet, data, RECIPE, parts=2, common=0.5, **KEYS)
    reference = nine()
    common = train(reference, data, Recipe(epochs=2, batch_size=8, learning_rate=0.1), **KEYS)
    assert same(reference, supernet)
    division = find_division(reference, data.train, RECIPE)
    assert few.division == division
    total = common.training.steps
    for group, part in zip(division.groups, few.supernets, strict=True):
        own = copy.deepcopy(reference)
        own.space = reference.space.keep({division.choice: group})
        trial = train(own, data, Recipe(epochs=1, batch_size=8, learning_rate=0.1), **KEYS)
        assert same(own, part)
        assert part.space == own.space
        total += trial.training.steps
        for arch, score in trial.scores.items():
            assert few.result.scores[arch] == score
    assert few.result.training.steps == total == 4 * 5  # as many as one training of four epochs


def test_every_architecture_is_scored_by_the_supernet_of_its_part() -> None:
    data = tiny_data()
    few = train_few_shot(nine(), data, RECIPE, **KEYS)
    result = few.result
    assert result.archs == tuple(nine().space)
    assert sorted(chain.from_iterable(parts_of(few))) == sorted(arch.label for arch in nine().space)
    found = few.evaluate(result.archs, calibration=data.train.first(10), batches=data.validation)
    for number, arch in enumerate(result.archs):
        scores = found[arch].scores
        assert scores is not None
        assert scores.tolist() == result.validation[number].tolist()
        own = few.supernet_of(arch)
        single = evaluate(own, arch, calibration=data.train.first(10), batches=data.test)
        assert single[arch] == result.training.test[number] == result.test[number].mean()
    assert result.validation_losses is not None
    assert result.training.epochs[-1].validation == result.training.validation
    assert [phase.kind for phase in result.phases] == ["training", "recalibration", "scoring"]
    assert "9 architectures" in repr(few)
    assert few.division.choice in repr(few)
    with pytest.raises(SpaceError, match="the parts have"):
        few.supernet_of(result.archs[0].but(**{few.division.choice: 7}))


def test_compare_takes_it_for_a_supernet() -> None:
    data = tiny_data()
    few = train_few_shot(nine(), data, RECIPE, **KEYS)
    results = compare(nine(), data, [SeedResults(0, few.result)])
    assert results.ranking is not None
    assert results.seeds[0].supernet.validation == few.result.training.validation


def test_stopped_between_two_trainings_it_goes_on_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_few_shot(nine(), tiny_data(), RECIPE, checkpoints=tmp_path / "whole", **KEYS)
    for allowed in range(3):
        left = iter(range(allowed))

        def breaking(*args: Any, left: Any = left, **settings: Any) -> Any:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return train(*args, **settings)

        settings = {**KEYS, "checkpoints": tmp_path / str(allowed)}
        with monkeypatch.context() as patch:
            patch.setattr(fewshot, "train", breaking)
            with pytest.raises(KeyboardInterrupt):
                train_few_shot(nine(), tiny_data(), RECIPE, **settings)
        begun = nine(seed=3 if allowed else 0)  # what it holds is read, once something was saved
        again = train_few_shot(begun, tiny_data(), RECIPE, **settings)
        assert again.division == whole.division
        assert np.array_equal(again.result.validation, whole.result.validation)
        assert all(map(same, again.supernets, whole.supernets))


def test_a_part_without_a_scored_architecture_is_trained_all_the_same() -> None:
    supernet = nine()
    name = supernet.space.choices[0].name
    division = Division(name, ((1, 2), (3,)))
    archs = [arch for arch in supernet.space if arch[name] == 1]
    few = train_few_shot(supernet, tiny_data(), RECIPE, division=division, score=archs, **KEYS)
    assert few.result.archs == tuple(archs)
    assert [supernet.space.size for supernet in few.supernets] == [6, 3]


def test_the_budget_is_that_of_one_training() -> None:
    first, each = share_out(Recipe(seconds=400), 2, 0.25)
    assert (first.seconds, each.seconds) == (100, 150)
    for epochs in range(4, 20):
        first, each = share_out(Recipe(epochs=epochs), 2, 0.5)
        assert first.epochs + 2 * each.epochs == epochs
        assert min(first.epochs, each.epochs) >= 1
    first, each = share_out(Recipe(epochs=8), 4, 0.5)
    assert (first.epochs, each.epochs) == (4, 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"parts": 1}, "parts is 1; it must be at least 2"),
        ({"common": 1.0}, "common is 1.0; it must be between 0 and 1"),
        ({"parts": 4}, "no choice has 4 options to divide among 4 parts; the most there are is 3"),
        ({"recipe": Recipe(epochs=3)}, "3 epochs are too few .* give 4 or more, or seconds"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(
    settings: dict[str, Any], message: str
) -> None:
    settings = {"recipe": Recipe(epochs=9), **settings}
    supernet = nine()
    with pytest.raises(SettingsError, match=message):
        train_few_shot(supernet, tiny_data(), **settings, **KEYS)
    assert same(supernet, nine())
