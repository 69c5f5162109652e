"""Dense prediction: a class for every pixel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import torch.nn.functional as F
from torch import Tensor

from supernet.records import Measure
from supernet.tasks.classification import check_weights, soften, sum_of_weights, weights_like
from supernet.tasks.task import Task, check_classes, check_outputs, is_whole, mismatch


@final
@dataclass(frozen=True)
class Dense(Task):
    """A class for every pixel: cross-entropy, and the share of pixels that are right.

    Outputs are logits, (N, C, H, W), or with any other number of places; targets are class numbers,
    (N, H, W), of any whole type. Pixels whose target is `ignored` count nowhere. The loss of a
    batch is the mean over its pixels, and scores are means over the pixels of each sample.

    Attributes:
        ignored: The target of pixels that don't count; 255 is usual in data sets of pictures.
        class_weights: How much each class counts in the loss; by default all the same.
        measure: See `Task`.

    Raises:
        SettingsError: If a weight is not a number from 0 on.
    """

    ignored: int = 255
    class_weights: tuple[float, ...] | None = None
    measure: Measure = field(default=Measure(name="pixel accuracy", unit="%"), repr=False)

    def __post_init__(self) -> None:
        check_weights("class_weights", self.class_weights)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy of the pixels that count."""
        weights = weights_like(self.class_weights, outputs)
        return F.cross_entropy(outputs, targets.long(), weight=weights, ignore_index=self.ignored)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over the pixels that count, for each sample."""
        each = F.cross_entropy(
            outputs,
            targets.long(),
            weight=weights_like(self.class_weights, outputs),
            ignore_index=self.ignored,
            reduction="none",
        )
        return mean_of_counted(each, targets != self.ignored)

    def weight(self, targets: Tensor, samples: int) -> float:
        """Return how many pixels count, or the weights of their classes together."""
        counted = targets[targets != self.ignored]
        if self.class_weights is None:
            return len(counted)
        return sum_of_weights(self.class_weights, counted)

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the share of the pixels that count that are right, for each sample."""
        right = (outputs.argmax(dim=1) == targets).float()
        return mean_of_counted(right, targets != self.ignored)

    def distill(self, outputs: Tensor, teacher: Tensor) -> Tensor:
        """Return the cross-entropy against the teacher's probabilities, at every pixel."""
        return F.cross_entropy(outputs, soften(teacher))

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        """See `Task.check`."""
        check_outputs(self, outputs, targets)
        if targets.shape == (len(outputs), 1, *outputs.shape[2:]):
            way_out = "targets have an axis for channels; take it away: targets[:, 0]"
            raise mismatch(self, outputs, targets, way_out)
        if outputs.ndim < 3 or targets.shape != (len(outputs), *outputs.shape[2:]):
            raise mismatch(
                self,
                outputs,
                targets,
                "it takes logits (N, classes, height, width) and class numbers (N, height, width); "
                "let the network bring its outputs to the size of the targets",
            )
        if not is_whole(targets):
            way_out = "class numbers must be whole numbers; convert them with targets.long()"
            raise mismatch(self, outputs, targets, way_out)
        check_classes(self, outputs, targets, ignored=self.ignored)


def mean_of_counted(values: Tensor, counted: Tensor) -> Tensor:
    """Return the mean of what counts in each sample, (N,); NaN where nothing does."""
    values, counted = values.flatten(1), counted.flatten(1)
    return values.masked_fill(~counted, 0).sum(dim=1) / counted.sum(dim=1)
