import itertools

import numpy as np
import pytest

from supernet.strategies.pareto import best_first, crowding, find_front, hypervolume, rank

RNG = np.random.default_rng(0)


def points(count: int, objectives: int) -> np.ndarray:
    """Points on a coarse grid, so that equal numbers and equal points occur."""
    return RNG.integers(0, 6, size=(count, objectives)).astype(float)


def dominated(point: np.ndarray, others: np.ndarray) -> bool:
    return any((other <= point).all() and (other < point).any() for other in others)


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_the_front_is_what_no_other_dominates(objectives: int) -> None:
    for count in (0, 1, 2, 7, 40):
        some = points(count, objectives)
        assert find_front(some).tolist() == [not dominated(point, some) for point in some]


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_ranks_are_fronts_of_what_is_left(objectives: int) -> None:
    some = points(30, objectives)
    found, left = rank(some), np.arange(30)
    for number in range(int(found.max()) + 1):
        front = find_front(some[left])
        assert set(left[front]) == set(np.flatnonzero(found == number))
        left = left[~front]
    assert not len(left)


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_the_hypervolume_is_the_number_of_dominated_cells(objectives: int) -> None:
    reference = np.full(objectives, 5.0)
    for count in (0, 1, 3, 12):
        some = points(count, objectives)
        cells = itertools.product(range(5), repeat=objectives)
        expected = sum(any((point <= cell).all() for point in some) for cell in cells)
        assert hypervolume(some, reference) == pytest.approx(expected)


def test_the_ends_of_a_front_have_the_most_room() -> None:
    room = crowding(np.array([[0.0, 4.0], [1.0, 3.0], [3.0, 1.0], [4.0, 0.0]]))
    assert np.isinf(room[[0, 3]]).all()
    assert np.isfinite(room[[1, 2]]).all()
    assert best_first(np.array([[2.0, 2.0], [1.0, 1.0], [0.0, 3.0]])).tolist()[-1] == 0
