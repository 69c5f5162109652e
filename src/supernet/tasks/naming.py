"""Tasks by name, as the command line takes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

from supernet.errors import SettingsError
from supernet.tasks.classification import Classification
from supernet.tasks.dense import Dense
from supernet.tasks.multilabel import MultiLabel
from supernet.tasks.next_token import NextToken
from supernet.tasks.regression import Regression
from supernet.tasks.task import Task

TaskName = Literal["classification", "multi-label", "regression", "dense", "next token", "other"]

_KNOWN: Final[dict[str, Callable[..., Task]]] = {
    "classification": Classification,
    "multi-label": MultiLabel,
    "regression": Regression,
    "dense": Dense,
    "next token": NextToken,
}


def make_task(name: str, **arguments: Any) -> Task:
    """Return a ready task by its name.

    >>> make_task("regression", error="absolute")
    Regression(error='absolute', unit='')

    Args:
        name: `classification`, `multi-label`, `regression`, `dense` or `next token`.
        **arguments: What the task's class takes.

    Raises:
        SettingsError: If there is no such task, or it takes no such argument.
    """
    if name not in _KNOWN:
        *others, last = _KNOWN
        raise SettingsError(f"there is no task {name!r}; choose {', '.join(others)} or {last}")
    try:
        return _KNOWN[name](**arguments)
    except TypeError as error:
        raise SettingsError(f"the task {name!r} can't be made of {arguments}: {error}") from None


def name_of_task(task: Task) -> TaskName:
    """Return the name of a ready task, or `other` for one that somebody wrote.

    >>> name_of_task(Classification(label_smoothing=0.1))
    'classification'
    """
    names = [name for name, kind in _KNOWN.items() if type(task) is kind]
    return names[0] if names else "other"  # type: ignore[return-value]  # one of the names
