"""Strict fairness is strict."""

import math
import random
from collections import Counter

import pytest
from hypothesis import given, strategies as st

from supernet.errors import SpaceError
from supernet.space import Choice, Condition, Option, SearchSpace
from supernet.training.samplers import Draw, Fair
from tests.space.spaces import blocks, spaces


def uses(space: SearchSpace, draw: Draw, choice: Choice) -> dict[Option, float]:
    """How much the architectures in which a choice counts weigh, by the option they have."""
    found: Counter[Option] = Counter(dict.fromkeys(choice.options, 0))
    for arch in draw.archs:
        if choice.name in space.active(arch):
            found[arch[choice.name]] += draw.weight((arch,))  # type: ignore[assignment]
    return dict(found)


@given(spaces(), st.randoms(use_true_random=False))
def test_each_option_is_used_equally_often_in_every_step(
    space: SearchSpace, rng: random.Random
) -> None:
    conditional = {condition.choice for condition in space.conditions}
    for _ in range(3):
        draw = Fair()(space, rng)
        count = math.lcm(*(len(choice.options) for choice in space.choices))
        assert draw.weight(draw.archs) == count
        assert len(set(draw.archs)) == len(draw.archs) <= count
        for choice in space.choices:
            weights = uses(space, draw, choice).values()
            if choice.name in conditional:
                assert max(weights) - min(weights) <= 1
            else:
                assert set(weights) == {count / len(choice.options)}


def test_with_equal_numbers_of_options_it_is_the_papers() -> None:
    """As many as there are options, each used once, and all ways of it equally likely."""
    space, rng = SearchSpace(tuple(Choice(name, (1, 2, 3)) for name in "ab")), random.Random(0)
    draws = [Fair()(space, rng) for _ in range(6000)]
    assert all(draw.weights is None and len(draw.archs) == 3 for draw in draws)
    pairings = Counter(frozenset(draw.archs) for draw in draws)
    assert len(pairings) == math.factorial(3)
    chi_square = sum((times - 1000) ** 2 / 1000 for times in pairings.values())
    assert chi_square < 20.5  # 5 degrees of freedom: one seed in a thousand would be above


def test_what_comes_twice_is_trained_once_and_counts_twice() -> None:
    space, rng = SearchSpace((Choice("a", (1, 2)), Choice("b", (1, 2, 3)))), random.Random(0)
    draws = [Fair()(space, rng) for _ in range(50)]
    weights = Counter(weight for draw in draws for weight in draw.weights or [])
    assert weights[2.0] > 10
    assert {len(draw.archs) for draw in draws if draw.weights is None} == {6}


def test_a_step_that_would_be_too_large_is_refused() -> None:
    space = SearchSpace(tuple(Choice(str(n), tuple(range(n))) for n in (4, 5, 7)))
    with pytest.raises(SpaceError, match=r"takes 140 .* \[4, 5, 7\]; at most 64 .* raise `most`"):
        Fair()(space, random.Random(0))
    assert Fair(140)(space, random.Random(0)).weight(Fair(140)(space, random.Random(0)).archs)
    with pytest.raises(SpaceError, match="takes 42 "):
        Fair(41)(blocks(6), random.Random(0))


def test_a_choice_that_counts_sometimes_is_used_evenly_where_it_counts() -> None:
    op = Choice("op", ("skip", "conv"))
    space = SearchSpace(
        (op, Choice("kernel", (3, 5, 7))), (Condition("kernel", (("op", ("conv",)),)),)
    )
    for seed in range(20):
        draw = Fair()(space, random.Random(seed))
        assert uses(space, draw, op) == {"skip": 3, "conv": 3}
        assert uses(space, draw, space.choices[1]) == {3: 1, 5: 1, 7: 1}
