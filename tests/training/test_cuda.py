"""Training on a GPU ends near the processor's numbers; skipped where there is none."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import supernet as sn
from supernet.errors import Stopped
from supernet.evaluation.accuracy import score_network
from supernet.evaluation.batchnorm import recalibrate
from supernet.runs.checkpoints import Checkpoints
from supernet.runs.ranks import ALONE, Ranks
from tests.conftest import nine, noise, stir, tiny_data
from tests.faults.runs import call
from tests.kinds import mine
from tests.ranks import together
from tests.training import test_distributed as ranked, test_synchronized as synced
from tests.training.test_device import KINDS, RECIPE, RECIPES, nine_net, seeded

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
DEVICE = "cuda"
CUDA: Any = {"device": DEVICE, "progress": False}


def both(make: Any, data: Any, recipe: sn.Recipe, **more: Any) -> None:
    here, there = seeded(make), seeded(make)
    expected = sn.train(here, data, recipe, progress=False, **more)
    found = sn.train(there, data, recipe, **CUDA, **more)
    assert {tensor.device.type for tensor in there.state_dict().values()} == {"cuda"}
    losses = [[e.loss for e in one.training.epochs] for one in (found, expected)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert found.validation.shape == expected.validation.shape


@pytest.mark.parametrize("kind", KINDS)
def test_any_task_and_data_train_there(kind: str) -> None:
    make, load, task = KINDS[kind]
    both(make, load(), RECIPE, task=task)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_part_of_a_recipe_works_there(recipe: str) -> None:
    both(nine_net, tiny_data(), sn.Recipe(epochs=1, batch_size=8, **RECIPES[recipe]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # some versions of PyTorch compile so
@pytest.mark.parametrize("more", [{"precision": "bfloat16"}, {"compile": True}], ids=str)
def test_faster_arithmetic_ends_near_it(more: Any) -> None:
    both(nine_net, tiny_data(), sn.Recipe(epochs=1, batch_size=8, **more), sampler="every")


@pytest.mark.parametrize("sampler", ["uniform", "sandwich", "split", "fair", "subtree"])
def test_samplers_work_there(sampler: str) -> None:
    both(nine_net, tiny_data(), sn.Recipe(epochs=1, batch_size=8), sampler=sampler)


@pytest.fixture
def as_one_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a single rank do what several do; as threads of a process they would share the thread
    that pulls gradients back on a GPU, and wait for each other in it forever."""
    monkeypatch.setattr(Ranks, "several", property(lambda ranks: ranks.group is not None))


@pytest.mark.usefixtures("as_one_of_several")
@pytest.mark.parametrize("sampler", ["every", "uniform"])
def test_a_rank_trains_there_as_one_process_does(sampler: str) -> None:
    given: Any = {"sampler": sampler, "device": DEVICE}
    wanted = ranked.trained(ALONE, ranked.RECIPE, **given)
    (found,) = together(1, lambda ranks: ranked.trained(ranks, ranked.RECIPE, **given))
    ranked.assert_alike(found, wanted)


@pytest.mark.usefixtures("as_one_of_several")
@pytest.mark.parametrize("kind", synced.KINDS)
@pytest.mark.parametrize("affine", [True, False])
def test_norms_of_a_rank_are_those_of_one_process(kind: str, affine: bool) -> None:
    module, shape = synced.KINDS[kind]
    x = 3 + 2 * noise(7, 3, *shape).double().to(DEVICE)

    def run(ranks: Ranks) -> dict[str, torch.Tensor]:
        norm = stir(module(3, eps=0.1, momentum=0.3, affine=affine)).double().to(DEVICE)
        return synced.run(norm, x, ranks)

    (found,) = together(1, run)
    for name, tensor in run(ALONE).items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-10, atol=1e-12)


def test_what_is_extracted_there_is_calibrated_scored_saved_and_tuned(tmp_path: Path) -> None:
    data, supernet = tiny_data(), nine()
    arch = supernet.space.largest
    here = sn.extract(supernet, arch, calibration=data)
    supernet.to("cuda")
    net = sn.extract(supernet, arch)
    recalibrate(net, data)
    assert score_network(net, data.validation).device.type == "cpu"  # scores come back
    sn.save(net, tmp_path / "model", data=data)
    x, _ = next(data.validation.batches(8))
    assert torch.allclose(sn.load(tmp_path / "model")(x), here.eval()(x), atol=1e-3)
    tuned = sn.finetune(supernet, arch, data, sn.Recipe(epochs=1, batch_size=8), taught=True)
    assert 0 <= tuned.tuned.value <= 1


def test_a_training_there_goes_on_from_its_checkpoints(tmp_path: Path) -> None:
    asked = iter([False] * 3 + [True])
    given = {"checkpoints": Checkpoints(tmp_path, every_s=0), **CUDA}
    expected = sn.train(nine(), tiny_data(), RECIPE, **CUDA)
    with pytest.raises(Stopped):
        sn.train(nine(), tiny_data(), RECIPE, stop=lambda: next(asked), **given)
    found = sn.train(nine(), tiny_data(), RECIPE, **given)
    assert found.scores == pytest.approx(expected.scores, abs=0.05)


@pytest.mark.parametrize("device", ["cuda", "auto"])
def test_the_command_line_trains_there(device: str, tmp_path: Path) -> None:
    source = Path(mine.__file__)
    given = [f"--net={source}:build_pair", f"--data={source}:load_pair", f"--device={device}"]
    given += ["--epochs=1", "--batch-size=8", "--calibration-images=20", "--alone=2"]
    code, _, told = call("compare", *given, "--out", tmp_path / "r")
    assert code == 0, told
    code, _, told = call("extract", tmp_path / "r", "--best", "--out", tmp_path / "m")
    assert code == 0, told
    code, out, told = call("predict", tmp_path / "m", f"{source}:load_pair", "--json")
    assert (code, len(json.loads(out))) == (0, 11), told
