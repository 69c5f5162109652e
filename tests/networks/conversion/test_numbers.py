"""Numbers that know where they come from."""

import copy
import math

import pytest
import torch
from torch import fx

from supernet.networks.conversion.numbers import Root, Sized, roots_of

NODE = fx.Graph().placeholder("x")


def sized(value: int, axis: int, decided: set[Root] | None = None) -> Sized:
    return Sized.of(value, frozenset({(NODE, axis)}), set() if decided is None else decided)


def test_what_is_computed_keeps_its_roots() -> None:
    a, b = sized(6, 0), sized(4, 1)
    for value, expected in (
        (a + b, 10), (a * b, 24), (a - 1, 5), (10 - a, 4), (a // 4, 1), (-a, -6), (13 % a, 1),
        (2**a, 64), (divmod(a, 4)[0], 1), (round(a), 6), (abs(a), 6),
    ):  # fmt: skip
        assert value == expected
    assert roots_of(a * b + 1) == {(NODE, 0), (NODE, 1)}
    assert roots_of(2 * a) == {(NODE, 0)}
    assert roots_of(7) == roots_of(a / 4) == roots_of(math.sqrt(a)) == frozenset()


def test_comparisons_are_noted() -> None:
    decided: set[Root] = set()
    a, b = sized(6, 0, decided), sized(4, 1, decided)
    assert a > 5
    assert decided == {(NODE, 0)}
    assert a != b
    assert decided == {(NODE, 0), (NODE, 1)}


def test_they_are_numbers() -> None:
    a = sized(3, 0)
    assert list(range(a)) == [0, 1, 2]
    assert torch.zeros(a, 2).shape == (3, 2)
    assert {3: "x"}[a] == "x"
    assert f"{a} {a:02d}" == "3 03"
    assert [*"abcd"][a] == "d"
    assert copy.deepcopy([a])[0] is a
    assert isinstance(torch.Size((a, 1))[0], Sized)
    with pytest.raises(TypeError):
        a < "x"  # type: ignore[operator]  # noqa: B015
