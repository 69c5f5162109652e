"""Regression: numbers close to given numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor

from supernet.errors import SettingsError
from supernet.records import Measure
from supernet.tasks.task import Task, check_outputs, is_float, mismatch


@final
@dataclass(frozen=True)
class Regression(Task):
    """Numbers close to given numbers: (N,) or (N, anything), outputs and targets of one shape.

    The score of a sample is minus its error, the mean over all its numbers; tables show the error.

    Example:
        >>> task = Regression("absolute")
        >>> task.score(torch.tensor([[1.0], [2.0]]), torch.tensor([[1.5], [2.0]]))
        tensor([-0.5000, -0.0000])

    Attributes:
        error: What is made small: the `squared` error, the `absolute` one, or `huber`, which is
            half the squared one up to 1 and grows like the absolute one from there.
        unit: Of the error, for tables.
        measure: See `Task`; by default named after the error.

    Raises:
        SettingsError: If there is no such error.
    """

    error: Literal["squared", "absolute", "huber"] = "squared"
    unit: str = ""
    measure: Measure = field(default=Measure(name="error", higher_is_better=False), repr=False)

    def __post_init__(self) -> None:
        if self.error not in _ERRORS:
            raise SettingsError(
                f"error is {self.error!r}; it must be {', '.join(list(_ERRORS)[:-1])} or "
                f"{list(_ERRORS)[-1]}"
            )
        name = "Huber loss" if self.error == "huber" else f"{self.error} error"
        measure = Measure(name=name, unit=self.unit, higher_is_better=False)
        object.__setattr__(self, "measure", measure)  # the only way in a frozen class

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean error."""
        return self._each(outputs, targets).mean()

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean error of each sample."""
        return self._each(outputs, targets).flatten(1).mean(dim=1)

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return minus the mean error of each sample."""
        return -self.losses(outputs, targets)

    def distill(self, outputs: Tensor, teacher: Tensor) -> Tensor:
        """Return the mean error against what the teacher puts out."""
        return self.loss(outputs, teacher.detach())

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        """See `Task.check`."""
        check_outputs(self, outputs, targets)
        if outputs.shape != targets.shape:
            raise mismatch(self, outputs, targets, _way_out(outputs, targets))
        if not is_float(targets):
            raise mismatch(
                self,
                outputs,
                targets,
                "targets must be floating-point numbers; convert them with targets.float(), or "
                "use Classification for class numbers",
            )
        if not bool(torch.isfinite(targets).all()):
            raise mismatch(
                self,
                outputs,
                targets,
                "a target is NaN or infinite; leave out the samples that have none",
            )

    def _each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        # A last axis, so that (N,) has one to take the mean over too.
        return _ERRORS[self.error](outputs[..., None], targets[..., None], reduction="none")


_ERRORS: dict[str, Callable[..., Tensor]] = {
    "squared": F.mse_loss,
    "absolute": F.l1_loss,
    "huber": F.huber_loss,
}


def _way_out(outputs: Tensor, targets: Tensor) -> str:
    if outputs.shape == (*targets.shape, 1):
        return "both must have one shape; give targets a last axis: targets[:, None]"
    if targets.shape == (*outputs.shape, 1):
        return "both must have one shape; take the last axis of targets away: targets[:, 0]"
    return "both must have one shape, else each would be compared with others' targets"
