import random
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st

from supernet.errors import SettingsError
from supernet.space import Architecture, Choice, SearchSpace
from supernet.training.samplers import (
    AnySampler,
    Draw,
    Fair,
    Phases,
    Sandwich,
    Shrinking,
    Split,
    Weighted,
    WithLargest,
    every,
    largest,
    sampler_at,
    uniform,
    warm_up,
)
from tests.space.spaces import spaces

SPACE = SearchSpace(
    (Choice("1.depth", (1, 2, 3)), Choice("1.kernel", (3, 5, 7)), Choice("2.kernel", (3, 5)))
)


def draws(sampler: AnySampler, steps: int, space: SearchSpace = SPACE) -> list[Draw]:
    """What a training of so many steps draws."""
    rng = random.Random(0)
    return [sampler_at(sampler, step / steps)(space, rng) for step in range(steps)]


# -- phases -------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 7, 10, 30])
def test_phases_follow_each_other_at_the_shares_given(steps: int) -> None:
    found = draws(Phases(((0.1, largest), (0.3, every), (1.0, Split(2)))), steps)
    for step, draw in enumerate(found):
        if 10 * step < steps:
            assert draw == largest(SPACE, random.Random(0))
        elif 10 * step < 3 * steps:
            assert draw == Draw(tuple(SPACE))
        else:
            assert draw.divided


def test_a_sampler_that_changes_has_its_phase_for_all_of_it() -> None:
    seen: list[float] = []

    class Note:
        def at(self, done: float) -> Any:
            seen.append(done)
            return largest

    draws(Phases(((0.5, Note()), (0.75, uniform), (1.0, Note()))), 8)
    assert seen == [0, 0.25, 0.5, 0.75, 0, 0.5]


def test_warming_up_is_the_largest_alone_first() -> None:
    found = draws(warm_up(every, 0.25), 8)
    assert [len(draw.archs) for draw in found] == [1, 1, *[18] * 6]
    assert found[0].archs == (SPACE.largest,)


@pytest.mark.parametrize("ends", [(), (0.5,), (0.0, 1.0), (0.6, 0.5, 1.0), (0.5, 0.5, 1.0), (1.5,)])
def test_shares_that_do_not_rise_to_one_are_refused(ends: tuple[float, ...]) -> None:
    with pytest.raises(SettingsError, match=r"phases end at \[.*\]; shares must rise"):
        Phases(tuple((end, uniform) for end in ends))
    with pytest.raises(SettingsError, match="shares must rise"):
        warm_up(uniform, 1.0)


# -- shrinking ----------------------------------------------------------------------------------


def test_options_are_opened_in_the_order_given() -> None:
    shrinking = Shrinking(("*kernel", "*depth"))
    stages = [shrinking.opened(SPACE, stage / 5) for stage in range(5)]
    assert [stage["1.kernel"] for stage in stages] == [(7,), (5, 7), *[(3, 5, 7)] * 3]
    assert [stage["2.kernel"] for stage in stages] == [(5,), *[(3, 5)] * 4]
    assert [stage["1.depth"] for stage in stages] == [*[(3,)] * 3, (2, 3), (1, 2, 3)]


@given(spaces(), st.integers(1, 40), st.integers(1, 3), st.randoms(use_true_random=False))
def test_from_the_largest_alone_to_all_and_never_back(
    space: SearchSpace, steps: int, paths: int, rng: random.Random
) -> None:
    shrinking, conditions = Shrinking(paths=paths), space.conditions
    opened = [shrinking.opened(space, step / steps) for step in range(steps)]
    stages = max((len(choice.options) for choice in space.choices), default=1)
    for choice in space.choices:
        sizes = [len(options[choice.name]) for options in opened]
        assert sizes[0] == 1
        assert all(b - a >= 0 for a, b in pairwise(sizes))
        if steps >= stages:
            assert sizes[-1] == len(choice.options)
            assert all(b - a <= 1 for a, b in pairwise(sizes))
    assert sampler_at(shrinking, 0.0)(space, rng).archs == (space.largest,)
    for step in range(steps):
        archs = sampler_at(shrinking, step / steps)(space, rng).archs
        assert archs == tuple(dict.fromkeys(map(space.canonical, archs)))
        assert len(archs) <= paths
        for arch in archs:
            active = space.active(arch) if conditions else arch
            assert all(arch[name] in opened[step][name] for name in active)


def test_all_open_options_are_equally_likely() -> None:
    rng = random.Random(0)
    found = Counter(sampler_at(Shrinking(), 0.99)(SPACE, rng).archs[0] for _ in range(9000))
    chi_square = sum((found[arch] - 500) ** 2 / 500 for arch in SPACE)
    assert chi_square < 40.8  # 17 degrees of freedom: one seed in a thousand would be above


@pytest.mark.parametrize(
    ("order", "sentence"),
    [
        (("*kernel",), "the order .*kernel never opens '1.depth'; name it, or add"),
        (("*", "*depth"), "'.*depth' in the order fits no choice that an earlier"),
        (("*width", "*"), "'.*width' in the order fits no choice .*1.depth, 1.kernel, 2.kernel"),
    ],
)
def test_an_order_that_does_not_fit_is_refused(order: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        draws(Shrinking(order), 1)


def test_an_order_or_a_step_of_nothing_is_refused() -> None:
    with pytest.raises(SettingsError, match="paths is 0; it must be at least 1"):
        Shrinking(paths=0)
    with pytest.raises(SettingsError, match="order is empty"):
        Shrinking(())


# -- wrappers -----------------------------------------------------------------------------------


def test_the_largest_is_added_where_it_is_not_drawn() -> None:
    inner = draws(uniform, 30)
    assert len({draw.archs for draw in inner}) > 5
    for draw, plain in zip(draws(WithLargest(uniform), 30), inner, strict=True):
        assert draw.archs == tuple(dict.fromkeys((*plain.archs, SPACE.largest)))
    for sampler in (every, Sandwich(), largest):
        assert draws(WithLargest(sampler), 5) == draws(sampler, 5)


def weigh(arch: Architecture) -> float:
    return float(arch["1.depth"])


def test_weights_multiply() -> None:
    for draw, plain in zip(draws(Weighted(Fair(), weigh), 20), draws(Fair(), 20), strict=True):
        assert draw.archs == plain.archs
        times = plain.weights or (1.0,) * len(plain.archs)
        assert draw.weights == tuple(
            weigh(arch) * n for arch, n in zip(plain.archs, times, strict=True)
        )
    with pytest.raises(SettingsError, match="has no weights"):
        draws(Weighted(Split(2), weigh), 1)


def test_a_sandwich_is_the_ends_and_some_between() -> None:
    for draw in draws(Sandwich(4), 30):
        assert draw.archs[:2] == (SPACE.largest, SPACE.smallest)
        assert 2 <= len(draw.archs) <= 4
    assert len({draw.archs for draw in draws(Sandwich(4), 30)}) > 20
    with pytest.raises(SettingsError, match="paths is 1; a sandwich needs at least 2"):
        Sandwich(1)


def test_wrappers_go_into_each_other() -> None:
    sampler = WithLargest(Weighted(warm_up(Shrinking(("*kernel", "*depth"), 3), 0.2), weigh))
    found = draws(sampler, 20)
    assert all(draw.archs == (SPACE.largest,) for draw in found[:7])
    assert all(SPACE.largest in draw.archs for draw in found)
    assert max(len(draw.archs) for draw in found) == 4
    assert draws(sampler, 20) == found
