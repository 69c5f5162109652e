"""A network that puts out probabilities is warned of, once, and no other one."""

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import supernet as sn
from supernet.errors import DataWarning
from supernet.tasks import Task, warn_of_probabilities
from tests.conftest import nine, noise, tiny_data
from tests.experiments.tinyruns import options, write_data
from tests.faults.runs import call

LOGITS = noise(8, 5)


def told_of(task: Task, outputs: Any) -> list[str]:
    with warnings.catch_warnings(record=True, action="always") as found:
        warn_of_probabilities(task, outputs)
    return [str(one.message) for one in found]


@pytest.mark.parametrize(
    ("task", "outputs", "layer"),
    [
        (sn.Classification(), LOGITS.softmax(1), "softmax"),
        (sn.Classification(), LOGITS.bfloat16().softmax(1), "softmax"),
        (sn.Dense(), noise(2, 3, 4, 4).softmax(1), "softmax"),
        (sn.NextToken(), noise(2, 6, 5).softmax(2), "softmax"),
        (sn.MultiLabel(), LOGITS.sigmoid(), "sigmoid"),
    ],
    ids=repr,
)
def test_a_layer_that_the_loss_has_too_is_named(task: Task, outputs: Any, layer: str) -> None:
    (told,) = told_of(task, outputs)
    assert f"leave the {layer} at the end out" in told
    assert type(task).__name__ in told


@pytest.mark.parametrize(
    ("task", "outputs"),
    [
        (sn.Classification(), LOGITS),
        (sn.Classification(), LOGITS.relu()),
        (sn.Classification(), LOGITS.log_softmax(1)),
        (sn.Classification(), torch.zeros(2, 5)),
        (sn.MultiLabel(), LOGITS),
        (sn.MultiLabel(), torch.zeros(8, 5)),
        (sn.MultiLabel(), torch.full((2, 3), 0.5)),  # so few may be so by chance
        (sn.Regression(), LOGITS.softmax(1)),
        (sn.Dense(), noise(2, 3, 4, 4)),
        (sn.NextToken(), noise(2, 6, 5)),
    ],
    ids=repr,
)
def test_others_are_not_warned_of(task: Task, outputs: Any) -> None:
    assert told_of(task, outputs) == []


def doubled() -> sn.Supernet:
    return sn.Supernet(nn.Sequential(copy.deepcopy(nine().net), nn.Softmax(1)))


def test_training_from_python_warns() -> None:
    recipe = sn.Recipe(epochs=1, batch_size=20)
    with pytest.warns(DataWarning, match="leave the softmax at the end out"):
        sn.train(doubled(), tiny_data(), recipe, progress=False)


def test_the_command_warns_once(tmp_path: Path) -> None:
    warnings.simplefilter("always", DataWarning)  # pytest puts that back
    source = tmp_path / "doubled.py"
    source.write_text(
        "import supernet\n"
        "from torch import nn\n"
        "def build(**given):\n"
        "    net = supernet.build_mnist_net(seed=0, shape=(1, 8, 8), **given)\n"
        "    return nn.Sequential(net, nn.Softmax(1))\n"
    )
    given = options(write_data(tmp_path / "data"), epochs=1, net=f"{source}:build")
    code, _, told = call("train", *given, "--out", tmp_path / "run")
    assert code == 0, told
    assert told.count("leave the softmax at the end out") == 1
