import math

import numpy as np
import pytest

from supernet.errors import SettingsError
from supernet.space import Choice
from supernet.strategies.constraints import (
    Limit,
    allowed_options,
    as_limits,
    check_names,
    parse_limits,
    require_consistent,
)
from tests.strategies.problems import NESTED


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("", ()),
        ("macs <= 5e6", (Limit("macs", "<=", (5e6,)),)),
        ("macs<=5e6", (Limit("macs", "<=", (5e6,)),)),
        ("block1.depth == 2", (Limit("block1.depth", "==", (2,)),)),
        ("0.width != 1e-3", (Limit("0.width", "!=", (1e-3,)),)),
        ("kernel in (3, 5)", (Limit("kernel", "in", (3, 5)),)),
        ("kernel in [3,]", (Limit("kernel", "in", (3,)),)),
        ("op not in (skip, 'conv 3x3')", (Limit("op", "not in", ("skip", "conv 3x3")),)),
        ("'my choice' > -1", (Limit("my choice", ">", (-1,)),)),
        ("'and' == 1 and b < 2", (Limit("and", "==", (1,)), Limit("b", "<", (2,)))),
        ("op == 'in'", (Limit("op", "==", ("in",)),)),
    ],
)
def test_a_limit_is_read_and_written_again(text: str, limits: tuple[Limit, ...]) -> None:
    assert parse_limits(text) == limits
    assert parse_limits(" and ".join(map(str, limits))) == limits


@pytest.mark.parametrize(
    "text",
    [
        "macs",
        "macs <=",
        "<= 5",
        "macs = 5",
        "macs <= 5 or params <= 3",
        "macs <= 5 params <= 3",
        "macs <= 5 and",
        "and macs <= 5",
        "5e6 >= macs",
        "kernel in 3",
        "kernel in ()",
        "kernel in (3",
        "kernel in (3 5)",
        "kernel not 3",
        "macs <= (5)",
        "__import__('os').system('true')",
        "macs <= 5; import os",
        "macs <= 5 * 2",
        "a" * 20_000,
    ],
)
def test_what_is_no_limit_is_refused_with_the_form_of_one(text: str) -> None:
    with pytest.raises(SettingsError, match="write limits as in: macs <= 5e6"):
        parse_limits(text)


@pytest.mark.parametrize("sign", ["<=", "<", ">=", ">", "==", "!="])
def test_the_excess_is_zero_exactly_where_the_limit_holds(sign: str) -> None:
    limit, values = Limit("macs", sign, (2.0,)), np.array([1.0, 2.0, 3.0, math.nan])
    excess = limit.excess(values)
    assert [e == 0 for e in excess] == [limit.holds(v) for v in values.tolist()]
    assert (excess >= 0).all()
    assert excess[3] == math.inf


def test_the_excess_grows_with_the_distance() -> None:
    values = np.array([5.0, 6.0, 8.0])
    assert Limit("a", "<=", (5,)).excess(values).tolist() == [0.0, 0.2, 0.6]
    assert Limit("a", "in", (5, 8)).excess(values).tolist() == [0.0, 0.2, 0.0]


def test_options_are_numbers_or_texts() -> None:
    kernels, ops = Choice("k", (3, 5, 7)), Choice("op", ("1", "conv"))
    assert allowed_options(kernels, parse_limits("k <= 5 and k != 3")) == [1]
    assert allowed_options(ops, parse_limits("op == 1")) == [0]
    assert allowed_options(ops, parse_limits("op not in (conv)")) == [0]
    with pytest.raises(SettingsError, match=r"no option of 'k' meets k == 4; its options are \(3"):
        allowed_options(kernels, parse_limits("k == 4"))
    with pytest.raises(SettingsError, match="compares text by size"):
        allowed_options(ops, parse_limits("op <= 1"))


@pytest.mark.parametrize(
    "text",
    ["macs <= 1 and macs >= 2", "macs < 1 and macs >= 1", "macs == 1 and macs in (2, 3)"],
)
def test_contradictory_limits_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="contradict each other"):
        require_consistent(parse_limits(text))


def test_limits_that_leave_room_are_not() -> None:
    require_consistent(parse_limits("macs >= 1 and macs <= 2 and macs != 1 and macs != 2"))
    require_consistent(parse_limits("macs <= 1 and params >= 2"))
    with pytest.raises(SettingsError, match="is text"):
        require_consistent(parse_limits("macs <= many"))


def test_limits_are_on_costs_and_choices_only() -> None:
    check_names(parse_limits("macs <= 1 and depth == 2"), NESTED, ["macs"], ["score"])
    with pytest.raises(SettingsError, match=r"unknown name 'mac'.*costs \['macs'\].*'depth'"):
        check_names(parse_limits("mac <= 1"), NESTED, ["macs"], ["score"])
    with pytest.raises(SettingsError, match="known only after an architecture was evaluated"):
        check_names(parse_limits("score >= 1"), NESTED, ["macs"], ["score"])
    with pytest.raises(SettingsError, match="is a cost and a choice"):
        check_names(parse_limits("depth <= 1"), NESTED, ["depth"], ["score"])


def test_several_texts_are_all_of_them() -> None:
    one, two = Limit("a", "<=", (1,)), Limit("b", ">", (2,))
    assert as_limits(["a <= 1", two]) == as_limits("a <= 1 and b > 2") == (one, two)
