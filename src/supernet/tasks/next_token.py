"""Next-token prediction: at every position of a text, what comes after it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import torch.nn.functional as F
from torch import Tensor

from supernet.records import Measure
from supernet.tasks.classification import soften
from supernet.tasks.dense import mean_of_counted
from supernet.tasks.task import Task, check_classes, check_outputs, is_whole, mismatch


@final
@dataclass(frozen=True)
class NextToken(Task):
    """What comes next, at every position of a sequence: cross-entropy per token.

    Outputs are logits, (N, T, V), as language models put them out; targets are token numbers,
    (N, T), already moved by one position: target t is the token after input t. Positions whose
    target is `ignored` count nowhere. The loss of a batch is the mean over its tokens. The score of
    a sample is minus the mean over its own tokens, in nats; `exp` of it is the perplexity.

    Attributes:
        ignored: The target of positions that don't count, such as padding.
        measure: See `Task`.
    """

    ignored: int = -100
    measure: Measure = field(
        default=Measure(name="cross-entropy per token", unit="nats", higher_is_better=False),
        repr=False,
    )

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy of the tokens that count."""
        return F.cross_entropy(
            outputs.flatten(0, 1), targets.flatten().long(), ignore_index=self.ignored
        )

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over the tokens that count, for each sample."""
        each = F.cross_entropy(
            outputs.transpose(1, 2), targets.long(), ignore_index=self.ignored, reduction="none"
        )
        return mean_of_counted(each, targets != self.ignored)

    def weight(self, targets: Tensor, samples: int) -> float:
        """Return how many tokens count."""
        return int((targets != self.ignored).sum())

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return minus the mean cross-entropy of the tokens of each sample."""
        return -self.losses(outputs, targets)

    def distill(self, outputs: Tensor, teacher: Tensor) -> Tensor:
        """Return the cross-entropy against the teacher's probabilities, at every position."""
        return F.cross_entropy(outputs.transpose(1, 2), soften(teacher.transpose(1, 2)))

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        """See `Task.check`."""
        check_outputs(self, outputs, targets)
        if outputs.ndim != 3 or targets.shape != outputs.shape[:2]:
            swapped = outputs.ndim == 3 and targets.shape == (len(outputs), outputs.shape[2])
            raise mismatch(
                self,
                outputs,
                targets,
                "the vocabulary must be the last axis of the outputs; swap the last two: "
                "outputs.transpose(1, 2)"
                if swapped
                else "it takes logits (N, time, vocabulary) and token numbers (N, time)",
            )
        if not is_whole(targets):
            way_out = "token numbers must be whole numbers; convert them with targets.long()"
            raise mismatch(self, outputs, targets, way_out)
        check_classes(self, outputs.transpose(1, 2), targets, ignored=self.ignored)
