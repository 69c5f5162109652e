"""Inputs for predictions that a user's own function gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from supernet.errors import DataError
from supernet.runs.functions import FunctionName, call_function, load_function
from supernet.sharing.structure import replace
from supernet.training.sources import as_data

#: Samples that are taken from a split at a time.
_BATCH = 100


def inputs_from(name: FunctionName) -> Iterator[Any]:
    """Yield batches of inputs from a function: what it returns, or the test samples of its data.

    Args:
        name: Of a function that returns inputs, a tensor or array or several in a tuple or dict; or
            data, as `--data` takes it.

    Raises:
        DataError: If it returns something else, or data without test samples.
    """
    found = call_function(name, load_function(name), offered={}, arguments={}, option="")
    found = replace(found, np.ndarray, lambda array: torch.as_tensor(array))
    parts = list(found.values()) if isinstance(found, dict) else found
    if isinstance(found, Tensor) or all(
        isinstance(part, Tensor) for part in (parts if isinstance(parts, list | tuple) else [None])
    ):
        yield tuple(found) if isinstance(found, list) else found
        return
    data = as_data(found)
    if data.test is None:
        raise DataError(f"{name} returns no test data to predict; return inputs, or a test split")
    for x, _ in data.test.batches(_BATCH):
        yield x
