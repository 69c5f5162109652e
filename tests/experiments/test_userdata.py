"""Data and tasks of a user's own, by function: taken as they are, or refused in a sentence."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from supernet.errors import DataError, DataWarning, SettingsError
from supernet.evaluation.cost import plan_costs
from supernet.experiments.components import load_data, task_of
from supernet.experiments.planning import plan
from supernet.experiments.settings import check_sources, make_settings
from supernet.experiments.userdata import take_data
from supernet.training.data import form_of_samples

SOURCE = """
import torch
from torch import nn

import supernet as sn


def rows(count):
    x = torch.arange(count * 4.0).view(count, 4) % 7
    return x, (x.sum(1) % 3).long()


def load():
    return rows(40), rows(9), rows(10)


def build(shape, classes):
    return nn.Sequential(sn.Depth("d", [nn.Linear(4, 4), nn.Tanh()]), nn.Linear(4, classes))


def broken(place):
    def load():
        splits = [[*rows(40)], [*rows(9)], [*rows(10)]]
        splits[0][0][30, 1] = float(place)
        return tuple(map(tuple, splits))
    return load


load_nan, load_inf = broken("nan"), broken("inf")


def load_bad_target():
    x, y = rows(40)
    y = y[:, None].float()
    y[7] = float("nan")
    return (x, y), (x[:9], y[10:19]), (x[:9], y[10:19])


def load_gaps():
    return tuple((x, torch.where(y == 1, 5, y)) for x, y in load())


class Copes(nn.Module):
    def forward(self, x):
        return x.nan_to_num(0, 0, 0)


def build_coping(shape, classes):
    return nn.Sequential(Copes(), build(shape, classes))


class Mine(sn.Task):
    def loss(self, outputs, targets):
        return nn.functional.cross_entropy(outputs, targets)

    def score(self, outputs, targets):
        return -nn.functional.cross_entropy(outputs, targets, reduction="none")


class Wrong(Mine):
    def score(self, outputs, targets):
        return outputs.mean()


def no_task():
    return 3


def tokens(count):
    x = torch.arange(count * 4).view(count, 4) % 7
    return x, x.roll(-1, 1)


def load_tokens():
    return tokens(40), tokens(9), tokens(10)


def build_reader(shape):
    assert shape == (4,)
    return nn.Sequential(nn.Embedding(7, 4), sn.Depth("d", [nn.Linear(4, 4)] * 2), nn.Linear(4, 7))


def load_dicts():
    def rows(count):
        x, y = tokens(count)
        return [({"tokens": a, "age": torch.ones(2)}, b) for a, b in zip(x, y)]

    return rows(40), rows(9), rows(10)


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.old = build_reader((4,)), nn.Linear(2, 7)

    def forward(self, tokens, age):
        return self.net(tokens) + self.old(age)[:, None]
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(SOURCE)
    return tmp_path / "own.py"


def settings(**changes: Any) -> Any:
    few = {"batch_size": 8, "calibration_images": 8, "validation_images": 9}
    return make_settings({"net": "own.py:build", "data": "own.py:load", **few, **changes})


def test_tensors_become_data_with_classes_and_a_digest(own: Path) -> None:
    data = load_data(settings(test_images=5).data)
    assert (data.name, data.classes, list(data.shape)) == ("own.py:load", 3, [4])
    assert (len(data.train), len(data.validation), len(data.test)) == (40, 9, 5)
    assert len(set(data.sha256.values())) == 3
    planned = plan(settings(), standalone=False)
    assert len(planned.archs) == 2
    assert set(planned.sources) == {"own.py"}


def test_a_task_of_ones_own_is_taken(own: Path) -> None:
    task = task_of(settings(task="own.py:Mine"))
    assert type(task).__name__ == "Mine"
    assert task_of(settings()) is None
    assert plan(settings(task="own.py:Mine"), standalone=False).sources


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("own.py:Nobody", "own.py has no 'Nobody'"),
        ("own.py:no_task", "gives a value of type int; it must be a subclass"),
        ("clasification", "there is no task 'clasification'"),
    ],
)
def test_a_task_that_is_none_is_refused(task: str, words: str, own: Path) -> None:
    with pytest.raises(SettingsError, match=words):
        task_of(settings(task=task))


def test_a_task_whose_scores_have_the_wrong_shape_is_found_before_training(own: Path) -> None:
    with pytest.raises(DataError, match=r"Wrong\.score made"):
        plan(settings(task="own.py:Wrong"))
    with pytest.raises(DataError, match="targets"):
        plan(settings(task="dense"))


def test_missing_functions_are_found_without_running_anything(own: Path) -> None:
    own.write_text(SOURCE + "\nraise RuntimeError('not to be run')\n")
    check_sources(settings(task="own.py:Mine"))
    with pytest.raises(DataError, match=r"own\.py has no 'loud'; did you mean 'load'"):
        check_sources(settings(data="own.py:loud"))
    with pytest.raises(SettingsError, match=r"own\.py has no 'Mein'"):
        check_sources(settings(task="own.py:Mein"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("load_nan", "inputs of own.py:load_nan: train hold numbers that aren't finite .1 NaN, 0"),
        ("load_inf", "inputs of own.py:load_inf: train hold numbers that aren't finite .0 NaN, 1"),
    ],
)
def test_numbers_that_are_none_are_refused_before_training(
    own: Path, data: str, words: str
) -> None:
    with pytest.raises(DataError, match=words) as found:
        plan(settings(data=f"own.py:{data}"))
    assert "the first in sample 30" in str(found.value)
    plan(settings(data=f"own.py:{data}", train_images=20), standalone=False)  # it isn't among them
    plan(settings(data=f"own.py:{data}", net="own.py:build_coping"), standalone=False)


def test_a_target_that_is_none_is_refused_before_training(own: Path) -> None:
    own.write_text(SOURCE.replace("nn.Linear(4, classes)", "nn.Linear(4, 1)"))
    net = {"data": "own.py:load_bad_target", "net": "own.py:build", "net_arg": ["classes=1"]}
    with pytest.raises(DataError, match=r"targets of own.py:load_bad_target: train .* sample 7"):
        plan(settings(**net, task="regression"))


def test_gaps_between_labels_are_said(own: Path) -> None:
    with pytest.warns(DataWarning, match=r"no training sample of 3 of 6 classes: number 1, 3, 4;"):
        plan(settings(data="own.py:load_gaps"), standalone=False)


X, Y = torch.zeros(4, 2), torch.zeros(4, dtype=torch.long)
ROWS: Any = [0] * 4
UNEVEN = DataLoader[Any](ROWS, batch_size=4, collate_fn=lambda rows: ((X[0], X), Y))


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (3, "data are a int"),
        (((X, Y), (X, Y)), "returns no test data"),
        (
            ((X, Y), (X.long(), Y), (X, Y)),
            r"validation are \(2,\) int64, and those of train \(2,\)",
        ),
        (([("a", 1)] * 4,) * 3, "inputs are a tuple; they must be a tensor"),
        ((UNEVEN,) * 3, "2, 4 samples"),
        (((X, Y), (torch.zeros(4, 3), Y), (X, Y)), r"samples of validation are \(3,\)"),
    ],
)
def test_data_that_cannot_be_used_are_refused(found: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        take_data("own.py:load", found)


def test_targets_that_are_no_classes_make_none() -> None:
    pairs = ((X, torch.rand(4, 1)),) * 3
    data = take_data("f", pairs)
    assert (data.classes, data.shape) == (0, (2,))
    with pytest.raises(DataError, match="are for images"):
        data.augmented(flip=True)


def test_token_numbers_go_to_the_network_as_they_are(own: Path) -> None:
    wanted = settings(net="own.py:build_reader", data="own.py:load_tokens", task="next token")
    data = load_data(wanted.data)
    assert [*data.shape, data.classes, len(data.train)] == [4, 0, 40]
    planned = plan(wanted, standalone=False)
    macs = [record.macs for record in planned.architectures]
    assert macs == [4 * (4 * 4 + 4 * 7), 4 * (2 * 4 * 4 + 4 * 7)]


def test_inputs_in_a_dict_go_to_the_network_by_name(own: Path) -> None:
    wanted = settings(net="own.py:Reader", data="own.py:load_dicts", task="next token")
    data = load_data(wanted.data)
    assert [*data.shape] == [4]
    planned = plan(wanted, standalone=False)
    assert [record.macs for record in planned.architectures] == [190, 254]
    costs = plan_costs(planned.named.supernet, form_of_samples(data))
    assert [costs["macs"](arch) for arch in planned.archs] == [190, 254]
