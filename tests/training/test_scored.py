"""Which architectures are scored: all of a small space, a fixed sample of a large one."""

import time
from typing import Any

import pytest
from hypothesis import given, strategies as st

from supernet.errors import SettingsError, SpaceError
from supernet.space import Architecture, Choice, SearchSpace
from supernet.training.scored import choose_scored
from tests.space.spaces import spaces

HUGE = SearchSpace(tuple(Choice(f"c{i}", tuple(range(9))) for i in range(20)))


@given(spaces(), st.integers(2, 40), st.integers(0, 3))
def test_a_sample_is_distinct_in_order_and_has_both_ends(
    space: SearchSpace, wanted: int, seed: int
) -> None:
    found = choose_scored(space, wanted, seed)
    assert len(found) == len(set(found)) == min(wanted, space.size)
    assert found == choose_scored(space, wanted, seed)
    assert {space.smallest, space.largest} <= set(found)
    if space.size <= 500:
        listed = list(space)
        assert [listed.index(arch) for arch in found] == sorted(map(listed.index, found))
    assert set(choose_scored(space, "all" if space.size < 999 else 2, seed)) <= set(space)


@pytest.mark.parametrize(("options", "expected"), [(256, 256), (257, 64), (1, 1), (2, 2)])
def test_by_default_all_of_256_and_else_64(options: int, expected: int) -> None:
    space = SearchSpace((Choice("a", tuple(range(options))),))
    assert len(choose_scored(space, None, 0)) == expected


def test_a_huge_space_is_not_listed() -> None:
    start = time.process_time()
    found = choose_scored(HUGE, None, 0)
    assert len(found) == 64
    assert (found[0], found[-1]) == (HUGE.smallest, HUGE.largest)
    assert len(choose_scored(HUGE, 1000, 0)) == 1000
    assert time.process_time() - start < 20


def test_seeds_draw_different_samples() -> None:
    assert set(choose_scored(HUGE, 9, 0)) != set(choose_scored(HUGE, 9, 1))


def test_one_may_say_which() -> None:
    archs = [HUGE.largest, HUGE.smallest, HUGE.largest]
    assert choose_scored(HUGE, archs, 0) == (HUGE.largest, HUGE.smallest)
    assert choose_scored(HUGE, HUGE.largest, 0) == (HUGE.largest,)


@pytest.mark.parametrize(
    ("wanted", "error", "sentence"),
    [
        (1, SettingsError, "score is 1; it must be at least 2"),
        (0, SettingsError, "score is 0"),
        (-3, SettingsError, "score is -3"),
        (True, SettingsError, "score is True"),
        ("all", SettingsError, "12,157,665,459,056,928,801 architectures.*at most 100,000"),
        (100_001, SettingsError, "score asks for 100,001"),
        ("some", SettingsError, "score is 'some'; give a number, 'all', or a list"),
        ([], SettingsError, "score is empty"),
        ([Architecture({"b": 1})], SpaceError, "says nothing about 'c0'"),
    ],
)
def test_what_makes_no_sense_is_refused(wanted: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        choose_scored(HUGE, wanted, 0)
