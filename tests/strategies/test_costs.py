from collections.abc import Mapping

import numpy as np
import pytest

from supernet.errors import LimitError, SpaceError
from supernet.space import Architecture, Choice, SearchSpace
from supernet.strategies.costs import Parts, TableCost
from supernet.strategies.encoding import EncodedSpace
from supernet.strategies.feasible import FeasibleRows
from supernet.strategies.problem import Problem
from tests.strategies.problems import NESTED, PLAIN, number

Part = tuple[str, int]


def parts_of(arch: Architecture) -> Mapping[str, Part]:
    """A network by hand: a stem, up to three blocks, an operation whose cost has two reasons."""
    depth = number(arch["depth"])
    parts = {"stem": ("conv", 10)}
    for at in range(1, depth + 1):
        parts[f"block{at}"] = ("conv", number(arch[f"kernel{at}"]) ** 2)
    if arch["op"] == "conv":  # how large its input is depends on the last kernel
        last = number(arch[f"kernel{depth}"])
        parts["op"] = ("linear", number(arch["op.width"]) * last)
    return parts


def cost(arch: Architecture) -> float:
    return float(sum(part[1] for part in parts_of(arch).values()))


def test_tables_equal_the_sum_of_the_parts() -> None:
    table = TableCost(Parts(NESTED, parts_of), lambda part: part[1])  # type: ignore[index]
    assert [table(arch) for arch in NESTED] == [cost(arch) for arch in NESTED]
    assert table(NESTED.smallest.but(kernel3=7, **{"op.width": 16})) == cost(NESTED.smallest)


def test_a_place_depends_on_what_decides_it_only() -> None:
    parts = Parts(NESTED, parts_of)
    names = EncodedSpace(NESTED).names
    depends = {place.name: {names[at] for at in place.choices} for place in parts.places}
    assert depends["stem"] == set()
    assert depends["block1"] == {"kernel1"}
    assert depends["block3"] == {"depth", "kernel3"}
    assert depends["op"] == {"op", "op.width", "depth", "kernel1", "kernel2", "kernel3"}
    assert set(parts.distinct) >= {("conv", 9), ("conv", 10), ("linear", 112)}


def test_a_large_space_is_learned_from_few_architectures() -> None:
    def pairs(arch: Architecture) -> Mapping[str, int]:
        options = [number(option) for option in arch.values()]
        return {str(at): options[at] * options[at + 1] for at in range(19)}

    parts = Parts(PLAIN, pairs)
    assert parts.asked < 500
    table = TableCost(parts, float)  # type: ignore[arg-type]
    rows = EncodedSpace(PLAIN).draw(200, np.random.default_rng(5))
    expected = [sum(pairs(arch).values()) for arch in EncodedSpace(PLAIN).decode(rows)]
    assert table.of_rows(rows).tolist() == expected
    scaled = TableCost(parts, float, factor=2.0, constant=1.0)  # type: ignore[arg-type]
    assert scaled.of_rows(rows).tolist() == [2.0 * value + 1.0 for value in expected]
    assert scaled.least(table.encoded.allowed) == 1.0


def test_what_was_not_listed_is_asked_for() -> None:
    space = SearchSpace(tuple(Choice(f"c{at}", tuple(range(9))) for at in range(6)))

    def one(arch: Architecture) -> Mapping[str, int]:
        return {"all": sum(number(option) << at for at, option in enumerate(arch.values()))}

    table = TableCost(Parts(space, one), float)  # type: ignore[arg-type]
    rows = EncodedSpace(space).draw(20, np.random.default_rng(1))
    expected = [one(arch)["all"] for arch in EncodedSpace(space).decode(rows)]
    assert table.of_rows(rows).tolist() == expected


def test_the_least_cost_there_is_is_proven_by_the_tables() -> None:
    def sizes(arch: Architecture) -> Mapping[str, int]:
        return {name: 2 + number(option) for name, option in arch.items()}

    table = TableCost(Parts(PLAIN, sizes), float)  # type: ignore[arg-type]
    problem = Problem(PLAIN, limits="size <= 39 and c00 != 0", costs={"size": table})
    with pytest.raises(LimitError, match="the least size there is is 41, with Architecture"):
        FeasibleRows(problem, np.random.default_rng(0)).draw(1)


def test_an_architecture_of_another_space_is_refused() -> None:
    table = TableCost(Parts(NESTED, parts_of), lambda part: part[1])  # type: ignore[index]
    with pytest.raises(SpaceError, match="says nothing about"):
        table(Architecture({"depth": 1}))
    with pytest.raises(SpaceError, match="none of"):
        table(NESTED.smallest.but(depth=9))
