"""Classification: one class out of several."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from supernet.errors import SettingsError
from supernet.records import ACCURACY, Measure
from supernet.tasks.task import Task, check_classes, check_outputs, is_float, is_whole, mismatch


@final
@dataclass(frozen=True)
class Classification(Task):
    """One class out of several: cross-entropy, and hits.

    Outputs are logits, (N, C). Targets are class numbers, (N,), or a distribution over the classes,
    (N, C), whose rows add up to 1: soft labels, or one-hot ones. A sample is a hit if its largest
    logit, the first of equals, is that of its class; for soft labels, of the likeliest class.

    Example:
        >>> task = Classification()
        >>> task.score(torch.tensor([[2.0, 1.0], [0.5, 0.7]]), torch.tensor([0, 0]))
        tensor([ True, False])

    Attributes:
        label_smoothing: The share of a label that is spread over all classes (arXiv:1512.00567),
            in training only.
        class_weights: How much each class counts in the loss; by default all the same.
        measure: See `Task`.

    Raises:
        SettingsError: If the smoothing is not from 0 to below 1, or a weight is not a number from 0
            on.
    """

    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None
    measure: Measure = field(default=ACCURACY, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise SettingsError(
                f"label_smoothing is {self.label_smoothing!r}; it must be from 0 to below 1"
            )
        check_weights("class_weights", self.class_weights)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy."""
        return F.cross_entropy(
            outputs,
            _as_labels(targets, outputs),
            weight=weights_like(self.class_weights, outputs),
            label_smoothing=self.label_smoothing,
        )

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy of each sample, without smoothing, times its class's weight."""
        return F.cross_entropy(
            outputs,
            _as_labels(targets, outputs),
            weight=weights_like(self.class_weights, outputs),
            reduction="none",
        )

    def weight(self, targets: Tensor, samples: int) -> float:
        """Return the weights of the samples' classes together; of soft labels, their number."""
        if self.class_weights is None or targets.ndim > 1:
            return samples
        return sum_of_weights(self.class_weights, targets)

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return which samples are hits."""
        labels = _as_labels(targets, outputs)
        classes = labels if labels.ndim == 1 else labels.argmax(dim=1)
        return outputs.argmax(dim=1) == classes

    def distill(self, outputs: Tensor, teacher: Tensor) -> Tensor:
        """Return the cross-entropy against the teacher's probabilities."""
        return F.cross_entropy(outputs, soften(teacher))

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        """See `Task.check`."""
        check_outputs(self, outputs, targets)
        if outputs.ndim != 2:
            raise mismatch(self, outputs, targets, _other_outputs(outputs))
        classes = outputs.shape[1]
        if classes == 1:
            raise mismatch(
                self,
                outputs,
                targets,
                "with one output there is nothing to choose between, and the loss is always 0; "
                "give the network one output per class, or use MultiLabel (yes or no) or "
                "Regression (a number)",
            )
        if self.class_weights is not None and len(self.class_weights) != classes:
            raise mismatch(
                self,
                outputs,
                targets,
                f"there are {len(self.class_weights)} class_weights for {classes} outputs; give "
                "one for each",
            )
        if targets.ndim == 1 and is_whole(targets):
            check_classes(self, outputs, targets)
        elif targets.shape == outputs.shape:
            _check_distribution(self, outputs, targets)
        else:
            raise mismatch(self, outputs, targets, _other_targets(outputs, targets))


def weights_like(weights: tuple[float, ...] | None, outputs: Tensor) -> Tensor | None:
    """Return weights as a tensor where outputs are, in their type."""
    return None if weights is None else outputs.new_tensor(weights)


def sum_of_weights(weights: tuple[float, ...], classes: Tensor) -> float:
    """Return the weights of classes, (N,), added up."""
    return float(torch.tensor(weights, dtype=torch.float64)[classes.cpu().long()].sum())


def check_weights(name: str, weights: tuple[float, ...] | None) -> None:
    """Raise `SettingsError` unless weights are a tuple of numbers from 0 on, some above it."""
    if weights is None:
        return
    if not all(0 <= weight < float("inf") for weight in weights) or not any(weights):
        raise SettingsError(
            f"{name} is {weights!r}; it must be a tuple of numbers from 0 on, not all of them 0"
        )


def soften(teacher: Tensor) -> Tensor:
    """Return probabilities over axis 1, in at least float32, in which they can be told apart."""
    wide = torch.promote_types(teacher.dtype, torch.float32)
    return F.softmax(teacher.detach(), dim=1, dtype=wide)


def _as_labels(targets: Tensor, outputs: Tensor) -> Tensor:
    if targets.ndim == 1:
        return targets.long()
    return targets.to(torch.promote_types(outputs.dtype, torch.float32))


def _check_distribution(task: Classification, outputs: Tensor, targets: Tensor) -> None:
    numbers = targets.double()
    sums = numbers.sum(dim=1)
    wrong = ((sums - 1).abs() > 1e-3) | (numbers < 0).any(dim=1) | sums.isnan()
    if bool(wrong.any()):
        row = int(wrong.int().argmax())
        raise mismatch(
            task,
            outputs,
            targets,
            f"rows of targets must be distributions, and the one at {row} adds up to "
            f"{sums[row].item():.4g} with a smallest entry of {numbers[row].min().item():.4g}; for "
            "labels of which several can hold at once use MultiLabel",
        )


def _other_outputs(outputs: Tensor) -> str:
    if outputs.ndim == 1:
        return (
            "it takes logits (N, classes); for one number per sample use Regression, and let the "
            "network keep the axis for classes"
        )
    return (
        "it takes logits (N, classes); for (N, classes, height, width) use Dense, for (N, time, "
        "vocabulary) use NextToken, else let the network pool what is left over"
    )


def _other_targets(outputs: Tensor, targets: Tensor) -> str:
    samples = len(outputs)
    if targets.shape == (samples, 1):
        return f"it takes class numbers ({samples},); take the last axis away: targets[:, 0]"
    if targets.ndim == 1 and is_float(targets):
        return (
            "class numbers must be whole numbers; convert them with targets.long(), or use "
            "Regression for numbers"
        )
    if targets.ndim == 2:
        return (
            f"a distribution must have one entry per output; give {tuple(outputs.shape)}, or class "
            f"numbers ({samples},)"
        )
    return f"it takes class numbers ({samples},), whole numbers, or {tuple(outputs.shape)}"
