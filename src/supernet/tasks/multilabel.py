"""Multi-label classification: several labels at once, each of which holds or doesn't."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from supernet.records import Measure
from supernet.tasks.classification import check_weights, weights_like
from supernet.tasks.task import Task, check_outputs, mismatch


@final
@dataclass(frozen=True)
class MultiLabel(Task):
    """Several labels at once: binary cross-entropy, and the share of labels that are right.

    Outputs are logits, (N, L); targets are 0 or 1, or in between, (N, L), of any type. A label is
    taken to hold if its logit is above 0. With L = 1 this is a single yes or no.

    Attributes:
        positive_weights: How much more a label counts where it holds, one number for each.
        measure: See `Task`.

    Raises:
        SettingsError: If a weight is not a number from 0 on.
    """

    positive_weights: tuple[float, ...] | None = None
    measure: Measure = field(default=Measure(name="labels right", unit="%"), repr=False)

    def __post_init__(self) -> None:
        check_weights("positive_weights", self.positive_weights)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over samples and labels."""
        return self._each(outputs, targets).mean()

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over the labels of each sample."""
        return self._each(outputs, targets).mean(dim=1)

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the share of its labels that are right, for each sample."""
        return ((outputs > 0) == (targets > 0.5)).to(torch.float32).mean(dim=1)

    def distill(self, outputs: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss against the teacher's probabilities."""
        likely = torch.sigmoid(teacher.detach().float()).to(outputs.dtype)
        return F.binary_cross_entropy_with_logits(outputs, likely)

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        """See `Task.check`."""
        check_outputs(self, outputs, targets)
        if outputs.ndim != 2 or targets.shape != outputs.shape:
            raise mismatch(self, outputs, targets, _way_out(outputs, targets))
        low, high = float(targets.min()), float(targets.max())
        if not 0 <= low <= high <= 1:
            raise mismatch(
                self,
                outputs,
                targets,
                f"targets run from {low:g} to {high:g}, and must be 0 or 1, or in between; for "
                "numbers use Regression",
            )
        if self.positive_weights is not None and len(self.positive_weights) != outputs.shape[1]:
            raise mismatch(
                self,
                outputs,
                targets,
                f"there are {len(self.positive_weights)} positive_weights for {outputs.shape[1]} "
                "labels; give one for each",
            )

    def _each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            outputs,
            targets.to(outputs.dtype),
            pos_weight=weights_like(self.positive_weights, outputs),
            reduction="none",
        )


def _way_out(outputs: Tensor, targets: Tensor) -> str:
    if targets.ndim == 1 and outputs.shape == (len(targets), 1):
        return "both must be (N, labels); give targets a last axis: targets[:, None]"
    if targets.ndim == 1 and outputs.ndim == 2:
        return (
            "it takes one target per label, (N, labels); for one class number per sample use "
            "Classification"
        )
    return "both must be (N, labels), with one logit and one target per label"
