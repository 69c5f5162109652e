import random
from collections import Counter

import pytest

from supernet.errors import SpaceError
from supernet.samplers import MOST_AT_ONCE, SAMPLERS, every, uniform
from supernet.space import Choice, SearchSpace

SPACE = SearchSpace((Choice("a", (1, 2, 3)), Choice("b", (1, 2, 3))))


def test_every_draws_all_in_order_and_no_luck_is_involved() -> None:
    rng = random.Random(0)
    before = rng.getstate()
    assert list(every(SPACE, rng)) == list(SPACE)
    assert rng.getstate() == before


def test_uniform_is_uniform() -> None:
    rng = random.Random(0)
    draws = [uniform(SPACE, rng) for _ in range(9000)]
    assert {len(draw) for draw in draws} == {1}
    counts = Counter(arch for draw in draws for arch in draw)
    chi_square = sum((counts[arch] - 1000) ** 2 / 1000 for arch in SPACE)
    assert chi_square < 26.1  # 8 degrees of freedom: one seed in a thousand would be above


def test_uniform_is_a_function_of_the_generator() -> None:
    draws = [[uniform(SPACE, rng) for _ in range(20)] for rng in map(random.Random, (1, 1, 2))]
    assert draws[0] == draws[1] != draws[2]


def test_every_refuses_a_space_that_is_too_large() -> None:
    most = SearchSpace((Choice("a", tuple(range(MOST_AT_ONCE))),))
    assert len(every(most, random.Random(0))) == MOST_AT_ONCE
    more = SearchSpace((Choice("a", tuple(range(MOST_AT_ONCE + 1))),))
    with pytest.raises(SpaceError, match=r"all 4,097 architectures.*use `uniform`"):
        every(more, random.Random(0))


def test_samplers_go_by_their_names() -> None:
    assert {"every": every, "uniform": uniform} == SAMPLERS
