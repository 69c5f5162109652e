"""Batches as people have them, cut so that none is much smaller than the others."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor, nn

from supernet.evaluation.batches import (
    call,
    device_of,
    even_size,
    evened,
    inputs_of,
    moved,
    not_finite,
    samples_in,
    split_inputs,
)
from supernet.tasks import tensors_in
from tests.conftest import noise

SIZES = st.lists(st.integers(1, 12), min_size=1, max_size=8)


@given(SIZES)
def test_evening_out_loses_no_sample_and_leaves_no_single_one(sizes: list[int]) -> None:
    x = torch.arange(float(sum(sizes)))[:, None]
    found = list(evened(x.split(sizes)))
    assert torch.equal(torch.cat(found), x)
    if len(x) > 1:
        assert min(map(len, found)) > 1
    assert max(map(len, found)) <= 2 * max(*sizes, 2)


@given(st.integers(2, 40), st.integers(1, 9), st.integers(1, 39))
def test_a_remainder_is_not_left_alone(size: int, full: int, rest: int) -> None:
    samples = torch.zeros(size * full + min(rest, size), 1)
    found = [len(batch) for batch in evened(samples.split(size))]
    assert 2 * found[-1] >= size
    assert found[:-1] == [size] * (len(found) - 1)


def test_what_can_not_be_joined_stays_apart() -> None:
    texts = [torch.zeros(4, 9), torch.zeros(1, 7)]
    assert [batch.shape for batch in evened(texts)] == [(4, 9), (1, 7)]
    pairs = [
        {"a": torch.zeros(4, 2), "b": torch.zeros(4)},
        {"a": torch.ones(1, 2), "b": torch.ones(1)},
    ]
    (one,) = evened(pairs)
    assert {key: len(part) for key, part in one.items()} == {"a": 5, "b": 5}


@given(st.integers(1, 5000), st.integers(1, 300))
def test_even_sizes_are_even(count: int, about: int) -> None:
    size = even_size(count, about)
    parts = [len(part) for part in torch.empty(count, 0).split(size)]
    assert sum(parts) == count
    assert size <= max(1.5 * about + 1, 2)
    assert size - parts[-1] <= len(parts)


class Two(nn.Module):
    def forward(self, left: Tensor, right: Tensor, scale: float = 1.0) -> Tensor:
        return (left - right) * scale


class One(nn.Module):
    def forward(self, x: Any) -> Any:
        return x


A, B = noise(3, seed=1), noise(3, seed=2)


@pytest.mark.parametrize("inputs", [(A, B), {"left": A, "right": B}, {"right": B, "left": A}])
def test_several_inputs_reach_the_arguments_they_are_for(inputs: Any) -> None:
    assert torch.equal(call(Two(), inputs), A - B)
    first, others = split_inputs(Two(), inputs)
    assert torch.equal(first, A)
    assert list(others) == ["right"]


@pytest.mark.parametrize("inputs", [(A, B), {"left": A}, {"x": A, "y": B}, A, [A, B]])
def test_a_network_of_one_argument_gets_all_of_them(inputs: Any) -> None:
    assert call(One(), inputs) is inputs
    assert split_inputs(nn.Sequential(One()), inputs) == (inputs, {})


def test_a_dict_with_the_name_of_the_one_argument_is_taken_apart() -> None:
    assert call(One(), {"x": A}) is A


def test_inputs_are_found_in_batches_of_any_form() -> None:
    for batch in (A, (A, 3), [A, B], (A,)):
        assert next(inputs_of([batch])) is A
    both = {"x": A, "y": B}
    assert next(inputs_of([both])) is both
    assert next(inputs_of([((A, B), 0)])) == (A, B)
    assert list(inputs_of(A)) == [A]
    assert samples_in(both) == 3


def test_everything_in_a_batch_goes_to_the_device_of_the_network() -> None:
    """As far as it can be seen without another device: PyTorch's own stand-in, `meta`."""
    net = nn.Linear(3, 2, device="meta")
    device = device_of(net)
    assert device == torch.device("meta")
    batch = {"x": (A, [B]), "n": 3}
    there = moved(batch, device)
    assert [tensor.device.type for tensor in tensors_in(there)] == ["meta", "meta"]
    assert there["n"] == 3
    assert call(net, moved(noise(4, 3), device)).device.type == "meta"
    assert moved(batch, torch.device("cpu")) is batch
    assert moved(batch, device_of(nn.Identity())) is batch
    assert device_of(nn.BatchNorm1d(2, affine=False)) == torch.device("cpu")


@given(SIZES, st.sampled_from([math.nan, math.inf, -math.inf]), st.data())
def test_the_first_sample_that_is_not_finite_is_named(
    sizes: list[int], bad: float, data: st.DataObject
) -> None:
    x = torch.zeros(sum(sizes), 2, 3)
    assert not_finite({"x": x, "y": torch.arange(3)}, "the inputs") is None
    wrong = data.draw(st.integers(0, len(x) - 1))
    x[wrong, 1, 2] = bad
    said = not_finite([torch.zeros(2), (x,)], "the inputs", before=5)
    assert said is not None
    assert f"the first in sample {wrong + 5};" in said
    assert "(1 NaN, 0 infinite)" in said or not math.isnan(bad)


def test_one_number_that_is_not_finite_is_found_too() -> None:
    assert not_finite(torch.tensor(math.nan), "the inputs") is not None
