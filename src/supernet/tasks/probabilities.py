"""A warning where a network puts out probabilities, and its task takes logits."""

from __future__ import annotations

import warnings
from typing import Any, Final

import torch
from torch import Tensor

from supernet.errors import DataWarning
from supernet.tasks.classification import Classification
from supernet.tasks.dense import Dense
from supernet.tasks.multilabel import MultiLabel
from supernet.tasks.next_token import NextToken
from supernet.tasks.task import Task

#: So many outputs are not all between 0 and 1 by chance.
_ENOUGH: Final = 20


def warn_of_probabilities(task: Task, outputs: Any) -> None:
    """Warn if outputs went through a softmax or sigmoid already, which is a part of the loss.

    A second one leaves every architecture nearly undecided: it learns little, and its scores say
    more of that than of the architecture.

    Args:
        task: What the network is for; one of the user's own is left alone.
        outputs: Of some samples, finite.
    """
    with torch.no_grad():
        layer = _doubled(task, outputs)
    if layer:
        warnings.warn(
            f"the network puts out probabilities, and {type(task).__name__} takes logits: its loss "
            f"has the {layer} in it, and a second one makes networks learn little; leave the "
            f"{layer} at the end out",
            DataWarning,
            stacklevel=3,
        )


def _doubled(task: Task, outputs: Any) -> str | None:
    if not isinstance(outputs, Tensor) or not outputs.numel() or outputs.min() < 0:
        return None
    if isinstance(task, MultiLabel):
        between = bool(((outputs > 0) & (outputs < 1)).all())
        return "sigmoid" if between and outputs.numel() >= _ENOUGH else None
    if not isinstance(task, Classification | Dense | NextToken):
        return None
    sums = outputs.double().sum(dim=-1 if isinstance(task, NextToken) else 1)
    return "softmax" if bool(((sums - 1).abs() < 1e-2).all()) else None
