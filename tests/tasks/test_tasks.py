"""The ready tasks: what their numbers are, by hand, and what they refuse."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from supernet.errors import DataError, SettingsError
from supernet.tasks import (
    Classification,
    Dense,
    MultiLabel,
    NextToken,
    Regression,
    Task,
    check_batch,
    make_task,
)

G = torch.Generator().manual_seed(0)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=G)


def classes(count: int, *shape: int) -> Tensor:
    return torch.randint(count, shape, generator=G)


SOFT = torch.softmax(normal(6, 4), dim=1)
READY: list[tuple[Task, Tensor, Tensor]] = [
    (Classification(), normal(6, 4), classes(4, 6)),
    (Classification(label_smoothing=0.1), normal(6, 4), classes(4, 6).to(torch.int32)),
    (Classification(class_weights=(1.0, 2.0, 0.5, 0.0)), normal(6, 4), classes(4, 6)),
    (Classification(), normal(6, 4), SOFT),
    (Classification(), normal(6, 4), F.one_hot(classes(4, 6), 4)),
    (MultiLabel(), normal(6, 4), classes(2, 6, 4)),
    (MultiLabel(), normal(6, 4), classes(2, 6, 4).bool()),
    (MultiLabel(positive_weights=(2.0,)), normal(6, 1), classes(2, 6, 1).float()),
    (Regression(), normal(6), normal(6)),
    (Regression("absolute"), normal(6, 3), normal(6, 3)),
    (Regression("huber"), normal(6, 3, 2), normal(6, 3, 2)),
    (Dense(), normal(6, 4, 5, 3), classes(4, 6, 5, 3)),
    (Dense(ignored=3), normal(6, 4, 7), classes(4, 6, 7).to(torch.uint8)),
    (Dense(class_weights=(1.0, 2.0, 0.5, 1.0)), normal(6, 4, 5, 3), classes(4, 6, 5, 3)),
    (NextToken(), normal(6, 5, 4), classes(4, 6, 5)),
    (NextToken(ignored=0), normal(6, 5, 4), classes(4, 6, 5)),
]


@pytest.mark.parametrize(("task", "outputs", "targets"), READY)
def test_a_score_does_not_depend_on_who_is_in_the_batch(
    task: Task, outputs: Tensor, targets: Tensor
) -> None:
    """So that scores per sample are the same however the samples are cut into batches."""
    check_batch(task, outputs, targets)
    for of in (task.score, task.losses):
        whole = of(outputs, targets)
        assert whole.shape == (6,)
        alone = [of(outputs[i : i + 1], targets[i : i + 1]) for i in range(6)]
        torch.testing.assert_close(whole, torch.cat(alone))


@pytest.mark.parametrize(("task", "outputs", "targets"), READY)
def test_better_outputs_score_higher_and_lose_less(
    task: Task, outputs: Tensor, targets: Tensor
) -> None:
    """Down the gradient of the loss, the loss falls and the mean score doesn't."""
    outputs = outputs.clone().requires_grad_()
    scores = []
    losses = []
    for _ in range(40):
        loss = task.loss(outputs, targets)
        (gradient,) = torch.autograd.grad(loss, outputs)
        outputs = (outputs - gradient).detach().requires_grad_()
        losses.append(loss.item())
        scores.append(task.score(outputs.detach(), targets).double().mean().item())
    assert losses[-1] < losses[0]
    assert scores[-1] >= scores[0]


PLAIN = (Classification(), MultiLabel(), Regression("absolute"), Dense(), NextToken())


@pytest.mark.parametrize(
    ("task", "outputs", "targets"), [case for case in READY if case[0] in PLAIN]
)
def test_the_loss_of_a_batch_is_that_of_its_samples(
    task: Task, outputs: Tensor, targets: Tensor
) -> None:
    """Where a batch mean is a plain mean: no smoothing, no weights, nothing ignored."""
    torch.testing.assert_close(task.losses(outputs, targets).mean(), task.loss(outputs, targets))


@pytest.mark.parametrize(("task", "outputs", "targets"), READY)
def test_a_teacher_who_agrees_teaches_nothing(task: Task, outputs: Tensor, targets: Tensor) -> None:
    student = outputs.clone().requires_grad_()
    task.distill(student, outputs).backward()
    assert student.grad is not None
    torch.testing.assert_close(student.grad, torch.zeros_like(outputs), atol=1e-6, rtol=0)


def test_classification_is_cross_entropy_and_argmax_to_the_bit() -> None:
    x, y = normal(64, 10), classes(10, 64)
    assert torch.equal(Classification().loss(x, y), F.cross_entropy(x, y))
    smooth = Classification(label_smoothing=0.1).loss(x, y)
    assert torch.equal(smooth, F.cross_entropy(x, y, label_smoothing=0.1))
    assert torch.equal(Classification().score(x, y), x.argmax(dim=1) == y)
    assert Classification().score(x, y).dtype == torch.bool


def test_one_hot_labels_are_hard_labels() -> None:
    x, y = normal(16, 5), classes(5, 16)
    for hot in (F.one_hot(y, 5), F.one_hot(y, 5).float(), F.one_hot(y, 5).bool()):
        check_batch(Classification(), x, hot)
        torch.testing.assert_close(Classification().loss(x, hot), Classification().loss(x, y))
        assert torch.equal(Classification().score(x, hot), Classification().score(x, y))


def test_ignored_targets_count_nowhere() -> None:
    x, y = normal(2, 3, 4), torch.tensor([[0, 1, 2, 255], [255, 255, 1, 1]])
    each = F.cross_entropy(x, y, ignore_index=255, reduction="none")
    assert torch.equal(
        Dense().losses(x, y), torch.stack([each[0, :3].sum() / 3, each[1, 2:].sum() / 2])
    )
    right = x.argmax(dim=1) == y
    assert Dense().score(x, y)[0].item() == pytest.approx(right[0, :3].double().mean().item())
    nothing = torch.full((2, 4), 255)
    assert Dense().score(x, nothing).isnan().all()  # which scoring refuses, naming the sample


A_VECTOR, A_MATRIX = normal(8), normal(8, 3)


@pytest.mark.parametrize(
    ("task", "outputs", "targets", "sentence"),
    [
        # Each of these trains or scores silently wrong, or dies inside PyTorch, without the check.
        (Classification(), A_MATRIX, classes(3, 8)[:, None], r"targets\[:, 0\]"),
        (Classification(), normal(8, 1), normal(8), "nothing to choose between"),
        (Classification(), normal(8, 1), classes(2, 8), "the loss is always 0"),
        (Classification(), A_MATRIX, classes(2, 8, 3).float().fill_(1), "adds up to 3 .*Multi"),
        (Classification(), A_MATRIX, torch.full((8, 3), torch.nan), "adds up to nan"),
        (Classification(), A_MATRIX, normal(8), r"targets.long\(\)"),
        (Classification(), A_MATRIX, torch.full((8,), 3), "a target is 3, .* run from 0 to 2"),
        (Classification(), A_MATRIX, torch.full((8,), -1), "a target is -1"),
        (Classification(), A_MATRIX, classes(3, 7), "one entry per sample"),
        (Classification(), A_MATRIX, F.one_hot(classes(4, 8), 4), "one entry per output"),
        (Classification(), normal(8, 5, 3), classes(3, 8, 5), "NextToken"),
        (Classification(), A_VECTOR, classes(2, 8), "Regression"),
        (Classification(class_weights=(1.0, 2.0)), A_MATRIX, classes(3, 8), "2 class_weights"),
        (MultiLabel(), A_MATRIX, classes(3, 8), "Classification"),
        (MultiLabel(), normal(8, 1), classes(2, 8), r"targets\[:, None\]"),
        (MultiLabel(), A_MATRIX, normal(8, 3) + 9, "must be 0 or 1"),
        (MultiLabel(positive_weights=(1.0,)), A_MATRIX, classes(2, 8, 3), "1 positive_weights"),
        (Regression(), normal(8, 1), A_VECTOR, r"targets\[:, None\]"),
        (Regression(), A_VECTOR, normal(8, 1), r"targets\[:, 0\]"),
        (Regression(), A_MATRIX, normal(8, 4), "one shape"),
        (Regression(), A_VECTOR, classes(3, 8), r"targets.float\(\)"),
        (Regression(), A_VECTOR, torch.full((8,), torch.nan), "NaN"),
        (Dense(), normal(8, 3, 4, 4), classes(3, 8, 1, 4, 4), r"targets\[:, 0\]"),
        (Dense(), normal(8, 3, 2, 2), classes(3, 8, 4, 4), "size of the targets"),
        (Dense(), normal(8, 3, 4, 4), classes(3, 8, 4, 4) + 7, "or 255 for what doesn't count"),
        (NextToken(), normal(8, 9, 5), classes(3, 8, 5), r"transpose\(1, 2\)"),
        (NextToken(), normal(8, 5, 3), classes(3, 8, 4), "time, vocabulary"),
        (Regression(), (A_VECTOR, A_VECTOR), A_VECTOR, "Task of your own"),
        (Regression(), A_VECTOR, [1.0] * 8, "one of targets"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_a_sentence_that_names_both(
    task: Task, outputs: Tensor, targets: Tensor, sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence) as caught:
        check_batch(task, outputs, targets)
    assert "outputs are " in str(caught.value)
    assert "targets are " in str(caught.value)
    assert type(task).__name__ in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda: Classification(label_smoothing=1.0), "label_smoothing is 1.0"),
        (lambda: Classification(class_weights=(0.0, 0.0)), "class_weights"),
        (lambda: MultiLabel(positive_weights=(-1.0,)), "positive_weights"),
        (lambda: Dense(class_weights=(float("nan"),)), "class_weights is .nan"),
        (lambda: Regression("cubed"), "must be squared, absolute or huber"),  # type: ignore[arg-type]
        (lambda: make_task("ranking"), "choose classification, .* or next token"),
        (lambda: make_task("dense", smoothing=1), "smoothing"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused(wrong: Callable[[], Task], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        wrong()


def test_ready_tasks_have_names() -> None:
    assert make_task("multi-label") == MultiLabel()
    assert make_task("dense", ignored=0) == Dense(ignored=0)
    assert make_task("regression", error="absolute", unit="°C").measure.unit == "°C"
