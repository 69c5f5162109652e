import pytest
import torch
from torch import nn

from supernet.errors import SettingsError, UntrainedWarning
from supernet.evaluation.accuracy import evaluate
from supernet.evaluation.cost import count_macs, count_params
from supernet.evaluation.searching import search
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.strategies import select_best, select_front
from supernet.training.recipe import Recipe
from supernet.training.session import train
from tests.conftest import nine, tiny_data


def test_values_are_those_of_evaluate_and_of_the_counters() -> None:
    supernet, data = nine(), tiny_data()
    train(supernet, data, Recipe(epochs=2, batch_size=10, learning_rate=0.1))
    found = list(search(supernet, data, budget=20, generation=4))
    assert [one.arch for one in found] == list(supernet.space)
    alone = evaluate(
        supernet, supernet.space, calibration=data.train, batches=data.validation, per_sample=True
    )
    for one in found:
        scores = alone[one.arch].scores
        assert scores is not None
        assert one.values["score"] == scores.double().mean().item()
        assert one.values["loss"] == alone[one.arch].loss
        assert one.values["score_error"] == pytest.approx(scores.double().std().item() / 12**0.5)
        assert one.values["macs"] == count_macs(supernet, one.arch, data.shape)
        assert one.values["params"] == count_params(extract(supernet, one.arch))


def test_a_limit_on_macs_holds_and_resuming_in_a_generation_changes_nothing() -> None:
    supernet, data = nine(), tiny_data()
    train(supernet, data, Recipe(epochs=3, batch_size=10, learning_rate=0.1))
    most = count_macs(supernet, supernet.space.at(4), data.shape)
    limits = [f"macs <= {most}", "block2.depth in (1, 2)"]
    found = list(search(supernet, data, budget=20, limits=limits, generation=3))
    assert found
    assert all(one.values["macs"] <= most and one.arch["block2.depth"] != 3 for one in found)
    again = search(supernet, data, budget=20, limits=limits, generation=3, earlier=found[:2])
    assert list(again) == found
    front = select_front(found, ["score", "macs"])
    assert select_best(found, ["score"]).values["score"] == front[0].values["score"]


def test_weights_that_know_nothing_are_said_to() -> None:
    with pytest.warns(UntrainedWarning, match="the supernet seems untrained"):
        next(search(nine(seed=3), tiny_data(), budget=5, objectives=["score"]))


def test_outputs_that_are_not_finite_are_failures() -> None:
    supernet, data = nine(), tiny_data()
    train(supernet, data, Recipe(epochs=3, batch_size=10, learning_rate=0.1))
    with torch.no_grad():
        last = [m for m in supernet.modules() if isinstance(m, nn.Conv2d)][-1]
        last.weight.fill_(float("nan"))
    found = list(search(supernet, data, budget=9, objectives=["loss"]))
    failed = [one for one in found if one.error]
    assert {one.arch["block2.depth"] for one in failed} == {3}
    assert len(failed) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objectives": ["score", "latency_ms"]}, "latency_ms needs a table of this device"),
        ({"limits": "latency_ms <= 2"}, "latency_ms needs a table of this device"),
        ({"limits": "score >= 0.5"}, "known only after an architecture was evaluated"),
        ({"limits": "macs <= 1"}, "no architecture meets macs <= 1; the least macs there is is"),
        ({"budget": 0}, "the budget is 0"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        search(nine(), tiny_data(), **({"budget": 5} | settings))  # type: ignore[arg-type]


def test_costs_need_a_shape_and_data_need_splits() -> None:
    supernet: Supernet = nine()
    with pytest.raises(SettingsError, match="macs needs the shape of a sample"):
        search(supernet, lambda archs: {}, budget=5)
    with pytest.raises(SettingsError, match="it was given a list"):
        search(supernet, [], budget=5, objectives=["score"])
