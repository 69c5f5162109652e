"""The base class of tasks: how outputs and targets become a loss and scores."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from supernet.errors import DataError, SettingsError
from supernet.records import Measure


class Task(ABC):
    """What a network is for. Subclass it for a task of your own; `loss` and `score` suffice.

    `outputs` is what the network returns for a batch, `targets` the second part of a batch as the
    data give it: tensors, or tuples, lists and dicts of them, with one entry per sample along the
    first axis of each tensor. A task has no state: the same arguments give the same numbers.

    Attributes:
        measure: What a mean score is called in tables: its name, its unit, and whether higher is
            better as it is printed.
    """

    measure: Measure = Measure(name="score")

    @abstractmethod
    def loss(self, outputs: Any, targets: Any) -> Tensor:
        """Return the loss of a batch, to follow downhill: one number, a mean over the samples."""

    @abstractmethod
    def score(self, outputs: Any, targets: Any) -> Tensor:
        """Return one number per sample, (N,), higher is better; booleans are hits and misses.

        Architectures are ranked by the mean over all samples, so what a score means must not
        depend on which samples are in a batch together.
        """

    def losses(self, outputs: Any, targets: Any) -> Tensor:
        """Return the loss of each sample, (N,), for evaluation: without what only helps to train.

        Unless a task says otherwise, it is `loss` of each sample alone, one after the other.
        """
        rows = [
            self.loss(_row(outputs, row), _row(targets, row))
            for row in range(count_samples(targets, outputs))
        ]
        return torch.stack(rows)

    def weight(self, targets: Any, samples: int) -> float:
        """Return how much a batch counts where its loss is put together with those of others.

        The mean of losses, so weighted, is the loss of all samples as one batch. It is the number
        of samples, unless `loss` is a mean over something else, such as the pixels that count.

        Args:
            targets: Of the batch.
            samples: How many it has.
        """
        return samples

    def distill(self, outputs: Any, teacher: Any) -> Tensor:
        """Return the loss of a batch against what a teacher puts out for it (`Recipe.distill`).

        Raises:
            SettingsError: Unless the task says how.
        """
        raise SettingsError(
            f"{type(self).__name__} doesn't say how to learn from a teacher; give it a method "
            "distill(outputs, teacher), or don't distill"
        )

    def check(self, outputs: Any, targets: Any) -> None:  # noqa: B027 - optional, not forgotten
        """Raise `DataError`, naming both, if outputs and targets don't fit the task.

        Called once for each form of batch (shapes and types), before the first step with it.
        """


def check_batch(task: Task, outputs: Any, targets: Any) -> None:
    """Check that outputs and targets fit a task, and that what it makes of them has the right form.

    Raises:
        DataError: If they don't, or it hasn't.
    """
    with torch.no_grad():
        task.check(outputs, targets)
        loss: Any = task.loss(outputs, targets)  # of a user's task, it may be anything
        scores: Any = task.score(outputs, targets)
    if not isinstance(loss, Tensor) or loss.ndim or not loss.is_floating_point():
        raise DataError(
            f"{type(task).__name__}.loss made {describe(loss)} of outputs {describe(outputs)} and "
            f"targets {describe(targets)}; it must return one floating-point number, as a tensor "
            "without axes"
        )
    check_scores(task, scores, outputs, targets)


def check_weight(task: Task, outputs: Any, targets: Any) -> None:
    """Check that the loss of a batch is the mean of its halves' losses, as the task weights them.

    Raises:
        DataError: If it isn't, so that the batch can't be shared.
    """
    samples = count_samples(targets, outputs)
    cuts = [slice(0, samples // 2), slice(samples // 2, samples)]
    if samples < 2:
        return
    whole, total = 0.0, 0.0
    with torch.no_grad():
        for cut in cuts:
            part = _row(targets, cut)
            weight = task.weight(part, cut.stop - cut.start)
            whole += weight * float(task.loss(_row(outputs, cut), part)) if weight else 0.0
            total += weight
        loss = float(task.loss(outputs, targets))
    if not total or not math.isfinite(loss):
        return
    if abs(whole / total - loss) > 1e-3 * max(1.0, abs(loss)):
        raise DataError(
            f"{type(task).__name__}.loss is {loss:.4g} for a batch, and {whole / total:.4g} from "
            "its two halves, so a batch can't be shared among ranks; if it is a mean over "
            "something else than samples, say so in a method weight(targets, samples)"
        )


def check_scores(
    task: Task, scores: Any, outputs: Any, targets: Any, *, method: str = "score"
) -> None:
    """Check that scores are one number per sample.

    Raises:
        DataError: If they are not.
    """
    kinds = (torch.bool, torch.float16, torch.bfloat16, torch.float32, torch.float64)
    samples = count_samples(targets, outputs)
    if not isinstance(scores, Tensor) or scores.dtype not in kinds or scores.shape != (samples,):
        raise DataError(
            f"{type(task).__name__}.{method} made {describe(scores)} of outputs "
            f"{describe(outputs)} and targets {describe(targets)}; it must return one boolean or "
            f"floating-point number per sample, ({samples},)"
        )


def count_samples(targets: Any, outputs: Any) -> int:
    """Return how many samples a batch has: the length of the first tensor in the targets.

    Without targets, of the first in the outputs.

    Raises:
        DataError: If there is none, or it has no axis.
    """
    first = next(tensors_in((targets, outputs)), None)
    if first is None or not first.ndim:
        raise DataError(
            f"a batch has targets {describe(targets)} and outputs {describe(outputs)}; there must "
            "be a tensor with one entry per sample along its first axis"
        )
    return len(first)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in tuples, lists and dicts, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, dict):
        for part in value.values():
            yield from tensors_in(part)


def form_of(value: Any) -> object:
    """Return shapes and types of what is in a value: equal for batches of one form."""
    if isinstance(value, Tensor):
        return value.shape, value.dtype
    if isinstance(value, tuple | list):
        return tuple(map(form_of, value))
    if isinstance(value, dict):
        return tuple((key, form_of(part)) for key, part in value.items())
    return type(value)


def describe(value: Any) -> str:
    """Return shapes and types in words.

    >>> describe({"boxes": torch.zeros(8, 4), "labels": [torch.zeros(8, dtype=torch.int64)]})
    '{boxes: (8, 4) float32, labels: [(8,) int64]}'
    """
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, list):
        return f"[{', '.join(map(describe, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(describe, value))})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {describe(part)}' for key, part in value.items())}}}"
    return f"a {type(value).__name__}"


def mismatch(task: Task, outputs: Any, targets: Any, way_out: str) -> DataError:
    """Return the error for outputs and targets that don't fit a task, with what to do."""
    return DataError(
        f"outputs are {describe(outputs)} and targets are {describe(targets)}, which don't fit "
        f"{type(task).__name__}: {way_out}"
    )


def is_float(value: Any) -> bool:
    """Return whether a value is a tensor of floating-point numbers."""
    return isinstance(value, Tensor) and value.is_floating_point()


def is_whole(value: Any) -> bool:
    """Return whether a value is a tensor of whole numbers."""
    return isinstance(value, Tensor) and value.dtype in _WHOLE


_WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def check_outputs(task: Task, outputs: Any, targets: Any) -> None:
    """Raise `DataError` unless outputs and targets are one tensor each, of as many samples."""
    if not is_float(outputs) or not isinstance(targets, Tensor):
        raise mismatch(
            task,
            outputs,
            targets,
            "it takes one tensor of floating-point numbers and one of targets; for anything else, "
            "write a Task of your own, or let the network return that tensor",
        )
    if not outputs.ndim or not targets.ndim or len(outputs) != len(targets):
        raise mismatch(
            task, outputs, targets, "both must have one entry per sample along the first axis"
        )


def check_classes(
    task: Task, outputs: Tensor, targets: Tensor, *, ignored: int | None = None
) -> None:
    """Raise `DataError` unless class numbers lie below the number of outputs (axis 1)."""
    counted = targets if ignored is None else targets[targets != ignored]
    classes = outputs.shape[1]
    if counted.numel() and not 0 <= int(counted.min()) <= int(counted.max()) < classes:
        worst = int(counted.min()) if int(counted.min()) < 0 else int(counted.max())
        ignoring = "" if ignored is None else f", or {ignored} for what doesn't count"
        raise mismatch(
            task,
            outputs,
            targets,
            f"a target is {worst}, but with {classes} outputs they run from 0 to {classes - 1}"
            f"{ignoring}; give the network more outputs, or other targets",
        )


def _row(value: Any, row: int | slice) -> Any:
    if isinstance(value, Tensor):
        return value[row if isinstance(row, slice) else slice(row, row + 1)]
    if isinstance(value, tuple):
        parts = [_row(part, row) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, list):
        return [_row(part, row) for part in value]
    if isinstance(value, dict):
        return {key: _row(part, row) for key, part in value.items()}
    return value
