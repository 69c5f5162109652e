"""Training on a device that isn't there ends in the bits of the processor; see `elsewhere`."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import supernet as sn
from supernet.errors import Stopped
from supernet.evaluation.accuracy import score_network
from supernet.evaluation.batches import moved
from supernet.evaluation.batchnorm import recalibrate
from supernet.runs.checkpoints import Checkpoints
from tests.conftest import nine, tiny_data
from tests.kinds import mine
from tests.training.elsewhere import ELSEWHERE, Away, Elsewhere

RECIPE = sn.Recipe(epochs=2, batch_size=8, learning_rate=0.05)
KINDS: dict[str, tuple[Any, Any, sn.Task]] = {
    "table": (lambda: mine.build_regression((3,)), mine.load_regression, sn.Regression()),
    "labels": (lambda: mine.build_labels((3,)), mine.load_labels, sn.MultiLabel((1.0, 2.0, 1.0))),
    "pixels": (lambda: mine.build_pixels((1,)), mine.load_pixels, sn.Dense(class_weights=(1, 2))),
    "tokens": (mine.build_tokens, mine.load_tokens, sn.NextToken()),
    "tuple": (mine.build_pair, mine.load_pair, sn.Classification(label_smoothing=0.1)),
    "dict": (mine.build_named, mine.load_named, mine.Nearness()),
}
RECIPES: dict[str, Any] = {
    "distilled": {"distill": True, "clip_norm": 1.0},
    "averaged": {"ema": 0.9, "accumulate": 2},
    "adamw": {"optimizer": "adamw"},
    "rolled back": {"on_nan": "rollback"},
}


def at_home(net: nn.Module) -> dict[str, Tensor]:
    return {name: moved(t, torch.device("cpu")) for name, t in net.state_dict().items()}


def seeded(make: Any) -> sn.Supernet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return sn.Supernet(make())


def both(make: Any, data: Any, recipe: sn.Recipe, **more: Any) -> None:
    """Train here and there, and compare everything."""
    here, there = seeded(make), seeded(make)
    expected = sn.train(here, data, recipe, progress=False, **more)
    with Elsewhere():
        found = sn.train(there, data, recipe, progress=False, device=str(ELSEWHERE), **more)
        assert all(isinstance(tensor, Away) for tensor in there.state_dict().values())
        weights = at_home(there.net)
    assert found.scores == expected.scores
    assert [e.loss for e in found.training.epochs] == [e.loss for e in expected.training.epochs]
    assert (found.validation == expected.validation).all()
    assert weights.keys() == at_home(here.net).keys()
    for name, tensor in at_home(here.net).items():
        assert torch.equal(weights[name], tensor)


def quick(names: Any, *kept: str) -> list[Any]:
    """Leave the others to `make test-all`."""
    return [pytest.param(n, marks=[] if n in kept else [pytest.mark.slow]) for n in names]


@pytest.mark.parametrize("kind", quick(KINDS, "tuple", "pixels"))
def test_any_task_and_data_train_there(kind: str) -> None:
    make, load, task = KINDS[kind]
    both(make, load(), RECIPE, task=task)


@pytest.mark.parametrize("recipe", quick(RECIPES, "distilled"))
def test_every_part_of_a_recipe_works_there(recipe: str) -> None:
    both(nine_net, tiny_data(), sn.Recipe(epochs=1, batch_size=8, **RECIPES[recipe]))


@pytest.mark.parametrize("sampler", quick(["uniform", "sandwich", "split", "fair"], "split"))
def test_samplers_work_there(sampler: str) -> None:
    both(nine_net, tiny_data(), sn.Recipe(epochs=1, batch_size=8), sampler=sampler)


def nine_net() -> nn.Module:
    return nine().net


def test_what_is_extracted_there_is_calibrated_scored_saved_and_tuned(tmp_path: Path) -> None:
    data, supernet = tiny_data(), nine()
    arch = supernet.space.largest
    here = sn.extract(supernet, arch, calibration=data)
    expected = sn.evaluate(supernet, arch, calibration=data, batches=data.validation)
    tuned = sn.finetune(supernet, arch, data, sn.Recipe(epochs=1, batch_size=8), taught=True)
    with Elsewhere():
        supernet.to(ELSEWHERE)
        found = sn.evaluate(supernet, arch, calibration=data, batches=data.validation)
        net = sn.extract(supernet, arch)
        recalibrate(net, data)
        scores = moved(score_network(net, data.validation), torch.device("cpu"))
        sn.save(net, tmp_path / "model", data=data)
        again = sn.finetune(supernet, arch, data, sn.Recipe(epochs=1, batch_size=8), taught=True)
    assert found == expected
    assert torch.equal(scores, score_network(here, data.validation))
    x, _ = next(data.validation.batches(8))
    assert torch.equal(sn.load(tmp_path / "model")(x), here.eval()(x))
    assert (again.inherited, again.tuned) == (tuned.inherited, tuned.tuned)


def test_a_training_there_goes_on_from_its_checkpoints(tmp_path: Path) -> None:
    asked = iter([False] * 3 + [True])
    expected = sn.train(nine(), tiny_data(), RECIPE)
    with Elsewhere():
        given: Any = {"device": str(ELSEWHERE), "checkpoints": Checkpoints(tmp_path, every_s=0)}
        with pytest.raises(Stopped):
            sn.train(nine(), tiny_data(), RECIPE, stop=lambda: next(asked), **given)
        found = sn.train(nine(), tiny_data(), RECIPE, **given)
    assert found.scores == expected.scores


def test_tensors_of_two_places_dont_meet() -> None:
    with Elsewhere(), pytest.raises(RuntimeError, match="on the same device"):
        torch.ones(2) + torch.ones(2, device=ELSEWHERE)


def test_batches_for_cuda_go_by_way_of_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    cuda = torch.device("cuda:0")

    def pin(tensor: Tensor) -> Tensor:
        asked.append("pinned")
        return tensor

    def send(tensor: Tensor, device: torch.device, *, non_blocking: bool) -> Tensor:
        asked.append((device, non_blocking))
        return tensor

    monkeypatch.setattr(Tensor, "pin_memory", pin)
    monkeypatch.setattr(Tensor, "to", send)
    batch = {"x": torch.ones(2), "more": (torch.ones(3),)}
    assert moved(batch, cuda).keys() == batch.keys()
    assert asked == ["pinned", (cuda, True)] * 2
