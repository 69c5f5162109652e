"""Arrays become what a network takes, or a sentence says why not."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from supernet.errors import DataError
from supernet.evaluation.batches import call
from supernet.export.card import InputsRecord
from supernet.export.inputs import describe_inputs, fit_arrays, resized, word_inputs


class Two(nn.Module):
    def forward(self, age: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        return age + words.sum(1, keepdim=True)


class Whole(nn.Module):
    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return batch["age"] + batch["words"].sum(1, keepdim=True)


AGE, WORDS = torch.rand(2, 1), torch.arange(6).view(2, 3)
FORMS: list[tuple[nn.Module, Any]] = [
    (nn.Linear(1, 1), AGE),
    (nn.Embedding(9, 1), WORDS),
    (Two(), (AGE, WORDS)),
    (Two(), {"age": AGE, "words": WORDS}),
    (Whole(), {"age": AGE, "words": WORDS}),
]


def arrays_of(inputs: Any) -> dict[str, Any]:
    if isinstance(inputs, torch.Tensor):
        return {"anything": inputs.numpy()}
    if isinstance(inputs, dict):
        return {name: tensor.numpy() for name, tensor in inputs.items()}
    return {f"arr_{place}": tensor.numpy() for place, tensor in enumerate(inputs)}


@pytest.mark.parametrize(("net", "inputs"), FORMS)
def test_what_a_network_took_comes_back_from_arrays(net: nn.Module, inputs: Any) -> None:
    record = describe_inputs(net, inputs)
    assert record is not None
    again = fit_arrays(arrays_of(inputs), InputsRecord(**record.model_dump()), "file.npz")
    assert torch.equal(call(net, again), call(net, inputs))
    assert type(again) is type(inputs)
    assert record.apart == (isinstance(net, Two))
    assert resized(again, record) == []


def test_nested_inputs_are_not_described() -> None:
    assert describe_inputs(Whole(), {"age": (AGE, AGE)}) is None
    assert describe_inputs(Whole(), "text") is None
    assert describe_inputs(Whole(), torch.zeros(2, dtype=torch.complex64)) is None


TWO = describe_inputs(Two(), (AGE, WORDS))
WORD = describe_inputs(nn.Embedding(9, 1), WORDS)
NUMBER = describe_inputs(nn.Linear(1, 1), AGE)


@pytest.mark.parametrize(
    ("record", "arrays", "said"),
    [
        (TWO, {"age": np.ones((2, 1))}, r"must hold age \(N, 1\) float32, words \(N, 3\) int64"),
        (TWO, {}, "it holds none"),
        (TWO, {"age": np.ones((2, 1)), "words": np.ones((3, 3), int)}, "2 and 3 samples"),
        (WORD, {"x": np.ones((2, 3))}, r"whole numbers \(int64\); convert"),
        (WORD, {"x": np.array([["a", "b", "c"]])}, "it must hold numbers"),
        (WORD, {"x": np.full((1, 3), 2**64 - 1, np.uint64)}, "beyond what int64 holds"),
        (WORD, {"x": np.ones(3, int)}, r"axis of its own: array\[None\]"),
        (WORD, {"x": np.ones((2, 3, 4), int)}, r"shape \(2, 3, 4\)"),
        (NUMBER, {"x": np.ones((0, 1))}, "at least one"),
        (NUMBER, {"one": np.ones((2, 1)), "two": np.ones((2, 1))}, r"holds 'one', 'two'"),
    ],
)
def test_what_doesnt_fit_is_said(record: Any, arrays: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        fit_arrays(arrays, record, "file.npz")


def test_numbers_are_converted_where_that_loses_nothing() -> None:
    assert NUMBER is not None
    assert WORD is not None
    for dtype in (np.float64, np.float16, np.int64, np.uint8, np.bool_):
        assert fit_arrays({"x": np.ones((2, 1), dtype)}, NUMBER, "").dtype == torch.float32
    assert fit_arrays({"x": np.ones((2, 3), np.uint8)}, WORD, "").dtype == torch.int64
    assert fit_arrays({"x": np.ones((1, 2)), "y": np.ones(5)}, NUMBER, "").shape == (1, 2)


def test_other_sizes_are_named() -> None:
    assert WORD is not None
    (said,) = resized(torch.zeros(2, 5, dtype=torch.int64), WORD)
    assert said == "x has shape (5,) for a sample, and the network was trained on (3,)"
    assert word_inputs(WORD) == "x (N, 3) int64"
