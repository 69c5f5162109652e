import math
from typing import Any

import pytest
import torch

from supernet.errors import ExportError
from supernet.export import operations


def test_no_function_reads_writes_imports_or_calls_what_it_is_given() -> None:
    # Against additions without a thought; the lists themselves are the rule.
    dangerous = {"load", "save", "compile", "eval", "exec", "open", "apply", "map_", "numpy"}
    dangerous |= {"hub", "ops", "jit", "from_file", "tofile", "share_memory_", "register_hook"}
    named = {name.rpartition(".")[2] for name in operations.FUNCTIONS} | operations.METHODS
    assert not named & dangerous
    assert not any(name.startswith("_") for name in named | operations.ATTRIBUTES)
    assert all(callable(function) for function in operations.FUNCTIONS.values())


@pytest.mark.parametrize("name", ["torch.cat", "F.relu", "operator.add", "F.max_pool2d"])
def test_a_function_has_its_name(name: str) -> None:
    assert operations.name_of(operations.FUNCTIONS[name]) == name


def test_what_is_in_no_list_has_no_name() -> None:
    assert operations.name_of(torch.load) is None
    assert operations.name_of([]) is None


@pytest.mark.parametrize(
    "value",
    [
        None, True, 3, -1.5, "text", [1, [2, 3]], (1, (2,)), slice(None, 2, None), ...,
        torch.float32, torch.device("cpu"), math.inf, (slice(1, None), ..., None),
    ],
)  # fmt: skip
def test_an_argument_comes_back_as_it_was(value: Any) -> None:
    assert operations.from_json(operations.to_json(value), {}) == value


def test_what_is_no_argument_is_refused() -> None:
    with pytest.raises(ExportError, match="which can't be written down"):
        operations.to_json(object())
    for value in ({"result": "x"}, {"call": "eval"}, {}, {"dtype": "load"}, {"slice": [1]}):
        with pytest.raises(ExportError, match="is no argument"):
            operations.from_json(value, {})
