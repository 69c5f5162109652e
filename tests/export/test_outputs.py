"""What outputs say, by task."""

import numpy as np
import pytest
import torch

from supernet.errors import ModelFolderError
from supernet.export.outputs import Reader, named

LOGITS = torch.tensor([[2.0, 1.0, -3.0], [0.0, 0.5, 0.25]])


def test_the_likeliest_come_first() -> None:
    found = Reader("classification", top=2).read(LOGITS)
    assert found["classes"].tolist() == [[0, 1], [1, 2]]
    assert np.allclose(found["probabilities"], LOGITS.softmax(1).sort(1, descending=True)[0][:, :2])
    assert len(Reader("classification", top=9).read(LOGITS)["classes"][0]) == 3


def test_labels_hold_above_the_threshold() -> None:
    assert Reader("multi-label").read(LOGITS)["labels"].tolist() == (LOGITS > 0).tolist()
    assert Reader("multi-label", threshold=0.9).read(LOGITS)["labels"].sum() == 0


def test_the_next_token_is_that_after_the_last() -> None:
    logits = torch.stack([-LOGITS, LOGITS], 1)
    found = Reader("next token", top=1).read(logits)
    assert found["tokens"].tolist() == [[0], [1]]


def test_pixels_have_a_class_each() -> None:
    logits = torch.randn(2, 3, 4, 5)
    assert Reader("dense").read(logits)["classes"].tolist() == logits.argmax(1).tolist()


@pytest.mark.parametrize("task", [None, "other"])
def test_what_nobody_knows_is_handed_on(task: str | None) -> None:
    assert Reader(task).read(LOGITS)["outputs"].tolist() == LOGITS.tolist()
    found = Reader(task).read((LOGITS, {"a": LOGITS[:, 0]}))
    assert {name: array.shape for name, array in found.items()} == {
        "outputs0": (2, 3),
        "outputs1": (2,),
    }


@pytest.mark.parametrize("task", ["classification", "multi-label", "dense", "next token"])
def test_outputs_of_another_task_are_refused(task: str) -> None:
    with pytest.raises(ModelFolderError, match=f"not what networks for the task {task} do"):
        Reader(task).read(torch.zeros(2))


def test_numbers_that_are_none_are_refused_and_named() -> None:
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ModelFolderError, match="first for sample 1"):
            Reader("regression").read(torch.tensor([[1.0], [bad]]))
    with pytest.raises(ModelFolderError, match="one entry per sample"):
        Reader("regression").read(torch.tensor(1.0))


def test_names_go_with_probabilities() -> None:
    found = {name: a[1] for name, a in Reader("classification", top=1).read(LOGITS).items()}
    ((name, likely),) = named(found, "classes", ["cat", "dog", "emu"])
    assert (name, round(likely, 4)) == ("dog", round(float(LOGITS[1].softmax(0)[1]), 4))
    assert named(found, "classes", None)[0][0] == "1"
    assert named({"values": np.zeros(1)}, "classes", None) == ()
