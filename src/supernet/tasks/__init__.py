"""Tasks: the loss of a batch, and a score per sample (higher is better).

`Classification`, `MultiLabel`, `Regression`, `Dense` and `NextToken` are ready; one's own is a
subclass of `Task`, some twenty lines, as docs/tasks.md shows.
"""

from supernet.tasks.classification import Classification
from supernet.tasks.dense import Dense
from supernet.tasks.multilabel import MultiLabel
from supernet.tasks.naming import TaskName, make_task, name_of_task
from supernet.tasks.next_token import NextToken
from supernet.tasks.probabilities import warn_of_probabilities
from supernet.tasks.regression import Regression
from supernet.tasks.task import (
    Task,
    check_batch,
    check_scores,
    check_weight,
    count_samples,
    describe,
    form_of,
    tensors_in,
)

__all__ = [
    "Classification",
    "Dense",
    "MultiLabel",
    "NextToken",
    "Regression",
    "Task",
    "TaskName",
    "check_batch",
    "check_scores",
    "check_weight",
    "count_samples",
    "describe",
    "form_of",
    "make_task",
    "name_of_task",
    "tensors_in",
    "warn_of_probabilities",
]
