"""A task of one's own: what it has to say, and what is made of what it says."""

from typing import Any

import pytest
import torch
from torch import Tensor

from supernet.errors import DataError, SettingsError
from supernet.records import Measure
from supernet.tasks import Task, check_batch, count_samples, describe, form_of

Boxed = dict[str, Tensor]


class Boxes(Task):
    """One box per picture: outputs and targets are dicts, the score is an overlap."""

    measure = Measure(name="overlap", unit="%")

    def loss(self, outputs: Boxed, targets: Boxed) -> Tensor:
        return (outputs["box"] - targets["box"]).abs().mean()

    def score(self, outputs: Boxed, targets: Boxed) -> Tensor:
        return 1 - (outputs["box"] - targets["box"]).abs().mean(dim=1).clamp(max=1)


OUTPUTS = {"box": torch.arange(12.0).view(3, 4), "aside": torch.zeros(3)}
TARGETS: dict[str, Any] = {"box": torch.ones(3, 4), "kind": [torch.zeros(3, dtype=torch.int64)]}


def test_two_methods_make_a_task() -> None:
    check_batch(Boxes(), OUTPUTS, TARGETS)
    expected = (OUTPUTS["box"] - 1).abs().mean(dim=1)
    torch.testing.assert_close(Boxes().losses(OUTPUTS, TARGETS), expected)


def test_a_task_without_them_is_none() -> None:
    with pytest.raises(TypeError):
        Task()  # type: ignore[abstract]


def test_what_it_does_not_say_is_an_error_when_asked_for() -> None:
    with pytest.raises(SettingsError, match=r"Boxes .* distill\(outputs, teacher\)"):
        Boxes().distill(OUTPUTS, OUTPUTS)


@pytest.mark.parametrize(
    ("loss", "score", "sentence"),
    [
        (torch.zeros(3), torch.zeros(3), r"Boxes.loss made \(3,\) float32 of outputs"),
        (torch.tensor(1), torch.zeros(3), r"Boxes.loss made \(\) int64"),
        (0.5, torch.zeros(3), "Boxes.loss made a float"),
        (torch.tensor(1.0), torch.tensor(1.0), r"Boxes.score made \(\) float32 .*\(3,\)"),
        (torch.tensor(1.0), torch.zeros(3, 1), r"Boxes.score made \(3, 1\) float32"),
        (torch.tensor(1.0), torch.zeros(2), r"Boxes.score made \(2,\) float32"),
        (torch.tensor(1.0), torch.zeros(3, dtype=torch.int64), r"Boxes.score made \(3,\) int64"),
        (torch.tensor(1.0), [1.0, 2.0, 3.0], "Boxes.score made \\[a float"),
    ],
)
def test_a_loss_or_a_score_of_the_wrong_form_is_refused(
    loss: Any, score: Any, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Boxes, "loss", lambda *_: loss)
    monkeypatch.setattr(Boxes, "score", lambda *_: score)
    with pytest.raises(DataError, match=sentence):
        check_batch(Boxes(), OUTPUTS, TARGETS)


def test_samples_are_counted_in_the_targets_or_else_in_the_outputs() -> None:
    assert count_samples(TARGETS, torch.zeros(7)) == 3
    assert count_samples(None, torch.zeros(7)) == 7
    for nothing in (None, torch.tensor(1.0)):
        with pytest.raises(DataError, match="one entry per sample"):
            count_samples(nothing, nothing)


def test_a_form_is_what_shapes_and_types_say() -> None:
    assert form_of(TARGETS) == form_of({key: TARGETS[key] for key in TARGETS})
    assert form_of(torch.zeros(2)) != form_of(torch.zeros(3))
    assert form_of(torch.zeros(2)) != form_of(torch.zeros(2).double())
    assert describe((TARGETS, None)) == "({box: (3, 4) float32, kind: [(3,) int64]}, a NoneType)"
