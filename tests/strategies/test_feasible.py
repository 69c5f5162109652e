import time

import numpy as np
import pytest

from supernet.errors import LimitError
from supernet.strategies.encoding import EncodedSpace, keys_of
from supernet.strategies.feasible import FeasibleRows
from supernet.strategies.problem import Problem
from tests.strategies.problems import NESTED, PLAIN, size


def one_in_a_million() -> float:
    """The size that one of a million architectures is below, from the normal law of sums."""
    encoded = EncodedSpace(PLAIN)
    sizes = [size(arch) for arch in encoded.decode(encoded.draw(3_000, np.random.default_rng(0)))]
    return float(np.mean(sizes) - 4.75 * np.std(sizes))


def test_limits_that_one_in_a_million_meets_are_met_in_a_second() -> None:
    limit = one_in_a_million()
    problem = Problem(PLAIN, limits=f"size <= {limit}", costs={"size": size})
    start = time.process_time()
    rows = FeasibleRows(problem, np.random.default_rng(0)).draw(100)
    spent = time.process_time() - start
    assert len(rows) == 100
    assert all(size(arch) <= limit for arch in problem.encoded.decode(rows))
    assert len(set(keys_of(rows))) > 60
    assert spent < 20  # a second on a machine that is not ten times slower; the benchmark has it


def test_a_narrow_band_is_met() -> None:
    problem = Problem(PLAIN, limits="size >= 20 and size <= 20.01", costs={"size": size})
    rows = FeasibleRows(problem, np.random.default_rng(0)).draw(20)
    assert all(20 <= size(arch) <= 20.01 for arch in problem.encoded.decode(rows))


def test_where_many_meet_them_all_come_as_often() -> None:
    problem = Problem(
        NESTED, limits="size <= 40", costs={"size": lambda arch: len(repr(arch)) % 7 * 10}
    )
    assert problem.listed is not None
    rows = FeasibleRows(problem, np.random.default_rng(0)).draw(100 * len(problem.listed))
    _, counts = np.unique(rows, axis=0, return_counts=True)
    assert len(counts) == len(problem.listed)
    assert 50 < counts.min() <= counts.max() < 160


def test_what_nothing_meets_says_the_least_there_is() -> None:
    few = Problem(
        NESTED, limits="size <= 3", costs={"size": lambda arch: float(len(str(arch["op"])))}
    )
    with pytest.raises(
        LimitError,
        match=r"no architecture meets size <= 3; the least size there is is 4, with Arch.*'skip'",
    ):
        FeasibleRows(few, np.random.default_rng(0)).draw(1)
    many = Problem(PLAIN, limits="size < 0", costs={"size": size})
    with pytest.raises(LimitError, match=r"the least size found is 0, with Architecture.c00=0"):
        FeasibleRows(many, np.random.default_rng(0)).draw(1)


def test_limits_that_exclude_each_other_are_said_to() -> None:
    problem = Problem(
        PLAIN,
        limits="size <= 5 and width >= 60",
        costs={"size": size, "width": lambda arch: float(sum(map(int, arch.values())))},
    )
    with pytest.raises(LimitError, match="not all of them together; nearest is Architecture"):
        FeasibleRows(problem, np.random.default_rng(0)).draw(1)


def test_a_cost_that_is_no_number_meets_nothing() -> None:
    problem = Problem(NESTED, limits="size <= 3", costs={"size": lambda arch: float("nan")})
    with pytest.raises(LimitError, match="size is not a number for any architecture"):
        FeasibleRows(problem, np.random.default_rng(0)).draw(1)
