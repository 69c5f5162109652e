from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import supernet as sn
from supernet.errors import CheckpointError, DataError, SettingsError, SpaceError, Stopped
from supernet.evaluation.accuracy import score_network
from supernet.evaluation.batchnorm import recalibrate
from supernet.nn.extraction import extract
from supernet.runs.checkpoints import Checkpoints
from supernet.space import Architecture
from supernet.training.finetuning import TEACHER, Taught, TaughtData, finetune
from supernet.training.recipe import Recipe
from tests.conftest import nine, tiny_data

DATA, RECIPE = tiny_data(), Recipe(epochs=2, batch_size=8, learning_rate=0.1)


def bits(net: torch.nn.Module) -> dict[str, bytes]:
    return {name: t.detach().numpy().tobytes() for name, t in net.state_dict().items()}


def test_it_reports_both_scores_on_the_same_samples_and_what_it_cost() -> None:
    supernet = nine()
    arch = supernet.space.smallest
    before = bits(supernet.net)
    net = extract(supernet, arch)
    recalibrate(net, DATA.train.inputs(250))
    inherited = score_network(net, DATA.test.batches(250)).double().mean().item()
    tuned = finetune(supernet, arch, DATA, RECIPE)
    assert tuned.inherited.value == pytest.approx(inherited)
    own = score_network(tuned.net, DATA.test.batches(250)).double().mean().item()
    assert tuned.tuned.value == pytest.approx(own)
    assert tuned.gain.value == pytest.approx(tuned.tuned.value - tuned.inherited.value)
    assert tuned.cpu_s > 0
    assert bits(supernet.net) == before  # the supernet is left as it is
    assert not tuned.net.training
    assert tuned.standalone is None


def test_it_learns() -> None:
    supernet = nine(seed=1)
    tuned = finetune(
        supernet, supernet.space.largest, DATA, Recipe(epochs=8, batch_size=8, learning_rate=0.1)
    )
    assert tuned.gain.value > 0.2


def test_the_standalone_score_is_compared_pair_by_pair() -> None:
    supernet, hits = nine(), np.ones(len(DATA.test), bool)
    tuned = finetune(supernet, supernet.space.smallest, DATA, RECIPE, standalone=hits)
    assert tuned.standalone is not None
    assert tuned.behind is not None
    assert tuned.standalone.value == 1
    assert tuned.behind.value == pytest.approx(1 - tuned.tuned.value)


@pytest.mark.parametrize("taught", [False, True])
def test_killed_and_continued_it_ends_with_the_same_bits(taught: bool, tmp_path: Path) -> None:
    supernet, arch = nine(), nine().space.smallest

    def run(checkpoints: Checkpoints | None, stop: Callable[[], bool]) -> dict[str, bytes]:
        tuned = finetune(
            supernet, arch, DATA, RECIPE, taught=taught, checkpoints=checkpoints, stop=stop
        )
        return bits(tuned.net)

    whole = run(None, lambda: False)
    asked = iter([False] * 4 + [True] * 100)
    with pytest.raises(Stopped):
        run(Checkpoints(tmp_path, every_s=0), lambda: next(asked))
    assert run(Checkpoints(tmp_path), lambda: False) == whole


def test_the_state_of_another_architecture_is_not_taken_up(tmp_path: Path) -> None:
    supernet = nine()
    asked = iter([False] * 4 + [True] * 100)
    with pytest.raises(Stopped):
        finetune(
            supernet,
            supernet.space.smallest,
            DATA,
            RECIPE,
            checkpoints=Checkpoints(tmp_path, every_s=0),
            stop=lambda: next(asked),
        )
    for arch, taught in ((supernet.space.largest, False), (supernet.space.smallest, True)):
        with pytest.raises(CheckpointError, match="of another training"):
            finetune(supernet, arch, DATA, RECIPE, taught=taught, checkpoints=Checkpoints(tmp_path))


@pytest.mark.parametrize("task", [sn.Classification(), sn.MultiLabel(), sn.Regression("huber")])
def test_a_task_is_taught_by_distilling_and_scored_by_itself(task: sn.Task) -> None:
    outputs, said = torch.randn(5, 3), torch.randn(5, 3)
    targets = {
        sn.Classification: torch.arange(5) % 3,
        sn.MultiLabel: torch.ones(5, 3),
        sn.Regression: torch.zeros(5, 3),
    }[type(task)]
    taught = Taught(task)
    assert torch.equal(taught.loss(outputs, {TEACHER: said}), task.distill(outputs, said))
    for name in ("loss", "losses", "score"):
        assert torch.equal(
            getattr(taught, name)(outputs, targets), getattr(task, name)(outputs, targets)
        )
    assert taught.measure == task.measure
    with pytest.raises(DataError):
        taught.check(outputs, targets[:2])


def test_a_teachers_outputs_take_the_place_of_labels() -> None:
    supernet = nine()
    teacher = extract(supernet, supernet.space.largest)
    recalibrate(teacher, DATA.train.inputs(250))
    taught = TaughtData(DATA, teacher)
    pairs = zip(
        taught.train.shuffled(8, seed=0, epoch=1), DATA.train.shuffled(8, seed=0, epoch=1),
        strict=True,
    )  # fmt: skip
    for (x, soft), (same, _) in pairs:
        assert torch.equal(x, same)
        assert torch.equal(soft[TEACHER], teacher.eval()(x).detach())
        assert not soft[TEACHER].requires_grad
        assert torch.is_grad_enabled()
    assert torch.equal(next(taught.train.batches(8))[1], next(DATA.train.batches(8))[1])


def test_what_makes_no_sense_is_refused() -> None:
    supernet = nine()
    with pytest.raises(SpaceError):
        finetune(supernet, Architecture({"block1.depth": 9, "block2.depth": 1}), DATA, RECIPE)
    with pytest.raises(SettingsError, match="taught=True"):
        finetune(supernet, supernet.space.largest, DATA, Recipe(distill=True))
