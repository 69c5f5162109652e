import random
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, strategies as st
from torch import nn

from supernet.errors import SettingsError, SpaceError
from supernet.nn.choices import Depth, OneOf
from supernet.nn.supernet import Supernet
from supernet.sharing import Planner, plan
from supernet.space import Architecture, Choice, Condition, SearchSpace
from supernet.training.samplers import (
    MOST_AT_ONCE,
    Draw,
    Fair,
    Sampler,
    Sandwich,
    Shrinking,
    Split,
    Subtree,
    WithLargest,
    default_sampler,
    every,
    make_sampler,
    make_subtree,
    training_macs,
    uniform,
    uniform_options,
    warm_up,
)
from tests.conftest import nested, nine, plain_net
from tests.sampling import examples
from tests.space.spaces import blocks, spaces

SPACE = SearchSpace((Choice("a", (1, 2, 3)), Choice("b", (1, 2, 3))))
EMPTY = torch.empty(2, 1, 8, 8, device="meta")


def six() -> Supernet:
    """Six blocks of one or two layers: 64 architectures."""
    blocks = [Depth(f"d{i}", [nn.Linear(4, 4), nn.Linear(4, 4)]) for i in range(6)]
    return Supernet(nn.Sequential(*blocks, nn.Linear(4, 2)))


def vectors() -> torch.Tensor:
    return torch.empty(2, 4, device="meta")


def test_every_draws_all_in_order_and_no_luck_is_involved() -> None:
    rng = random.Random(0)
    before = rng.getstate()
    assert every(SPACE, rng) == Draw(tuple(SPACE))
    assert rng.getstate() == before


def test_uniform_is_uniform() -> None:
    rng = random.Random(0)
    draws = [uniform(SPACE, rng).archs for _ in range(9000)]
    assert {len(draw) for draw in draws} == {1}
    counts = Counter(arch for draw in draws for arch in draw)
    chi_square = sum((counts[arch] - 1000) ** 2 / 1000 for arch in SPACE)
    assert chi_square < 26.1  # 8 degrees of freedom: one seed in a thousand would be above


SAMPLERS: dict[str, Callable[[], Sampler]] = {
    "uniform": lambda: uniform,
    "uniform options": lambda: uniform_options,
    "split": lambda: Split(5),
    "fair": Fair,
    "sandwich": lambda: Sandwich(4),
    "subtree": lambda: make_subtree(six(), vectors(), budget=2),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_are_functions_of_the_generator(name: str) -> None:
    sampler, space = SAMPLERS[name](), six().space
    draws = [[sampler(space, rng) for _ in range(20)] for rng in map(random.Random, (1, 1, 2))]
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_option_of_a_choice_is_drawn_equally_often(name: str) -> None:
    sampler, space, rng = SAMPLERS[name](), six().space, random.Random(0)
    draws = [sampler(space, rng).archs for _ in range(4000)]
    for choice in space.choices:
        # Of each step, the difference between how often the two options were drawn.
        shallow, deep = choice.options
        differences = [
            sum((arch[choice.name] == deep) - (arch[choice.name] == shallow) for arch in draw)
            for draw in draws
        ]
        mean = sum(differences) / len(differences)
        variance = sum((d - mean) ** 2 for d in differences) / len(differences)
        assert abs(mean) <= 4 * (variance / len(differences)) ** 0.5


def test_without_conditions_the_draws_are_those_of_committed_results() -> None:
    """The numbers asked for, in this order, decide what every run so far has trained."""
    names = [choice.name for choice in SPACE.choices]
    for seed in range(20):
        ours, theirs = random.Random(seed), random.Random(seed)
        for sampler in (uniform, uniform_options):
            drawn = [theirs.choice(choice.options) for choice in SPACE.choices]
            assert sampler(SPACE, ours).archs == (
                Architecture(dict(zip(names, drawn, strict=True))),
            )
        columns = []
        for choice in SPACE.choices:
            columns.append([*choice.options, *theirs.sample(choice.options, 2)])
            theirs.shuffle(columns[-1])
        rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        assert Split(5)(SPACE, ours).archs == tuple(dict.fromkeys(map(Architecture, rows)))
        place = theirs.choice([0, 1])
        begin = [theirs.choice(choice.options) for choice in SPACE.choices][:place]
        columns = [[option] * 2 for option in begin]
        for choice in SPACE.choices[place:]:
            columns.append(theirs.sample(choice.options, 2))
            theirs.shuffle(columns[-1])
        rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        drawn_archs = Subtree((2, 2), (1.0, 1.0))(SPACE, ours).archs
        assert drawn_archs == tuple(dict.fromkeys(map(Architecture, rows)))
        assert ours.getstate() == theirs.getstate()


# -- choices that don't always count --------------------------------------------------------------

#: A block that is skipped or has a kernel, and six heads.
SKIPPABLE = SearchSpace(
    (Choice("op", ("skip", "conv")), Choice("kernel", (3, 5, 7)), Choice("head", tuple(range(6)))),
    (Condition("kernel", (("op", ("conv",)),)),),
)


@given(spaces(least=1), st.integers(1, 9), st.randoms(use_true_random=False))
def test_draws_are_canonical_and_nothing_is_drawn_twice(
    space: SearchSpace, count: int, rng: random.Random
) -> None:
    places = len(space.choices)
    names = [choice.name for choice in space.choices]
    subtree = Subtree((count + 1,) * places, (1.0,) * places)
    for sampler in (
        every,
        uniform,
        uniform_options,
        Split(count),
        subtree,
        Fair(),
        Sandwich(count + 1),
    ):
        archs = sampler(space, rng).archs
        assert archs == tuple(dict.fromkeys(map(space.canonical, archs)))
        assert 1 <= len(archs) <= space.size
    if count >= space.size:
        assert set(Split(count)(space, rng).archs) == set(space)
    for place in range(places):
        here = Subtree((1,) * place + (count + 1,) + (1,) * (places - place - 1), (1.0,) * places)
        archs = here(space, rng).archs
        (beginning,) = {arch.restrict(names[:place]) for arch in archs}
        alike = [arch for arch in space if arch.restrict(names[:place]) == beginning]
        assert set(archs) <= set(alike)
        assert len(archs) == len(alike) or len(archs) <= count + 1 <= len(alike)


def test_uniform_is_over_architectures_or_over_options() -> None:
    rng = random.Random(0)
    for sampler, skipped in ((uniform, 1 / 4), (uniform_options, 1 / 2)):
        counts = Counter(sampler(SKIPPABLE, rng).archs[0] for _ in range(6000))
        chances = {
            arch: (skipped if arch["op"] == "skip" else (1 - skipped) / 3) / 6 for arch in SKIPPABLE
        }
        chi_square = sum((counts[a] - 6000 * p) ** 2 / (6000 * p) for a, p in chances.items())
        assert chi_square < 49.8  # 23 degrees of freedom: one seed in a thousand would be above


def test_split_is_balanced_wherever_a_choice_counts() -> None:
    rng = random.Random(0)
    for _ in range(50):
        archs = Split(6)(SKIPPABLE, rng).archs
        assert Counter(arch["op"] for arch in archs) == {"skip": 3, "conv": 3}
        assert {arch["kernel"] for arch in archs if arch["op"] == "conv"} == {3, 5, 7}
        assert {arch["kernel"] for arch in archs if arch["op"] == "skip"} == {3}


def test_a_subtree_of_a_nested_network() -> None:
    supernet, rng = nested(), random.Random(0)
    sampler = make_subtree(supernet, vectors(), budget=2)
    assert sampler.ends[0] > 1
    # From no place on are there more ends than after the richest beginning.
    assert all(a <= b for a, b in zip(sampler.ends, (11, 6, 2), strict=True))
    for _ in range(100):
        archs = sampler(supernet.space, rng).archs
        assert set(archs) <= set(supernet.space)
        assert len(set(archs)) == len(archs)


def test_no_sampler_goes_through_a_deep_space() -> None:
    space, rng = blocks(20), random.Random(0)
    subtree = Subtree((4,) * 41, (1.0,) * 41)
    for sampler in (uniform, uniform_options, Split(8), subtree, Fair(420), Sandwich(8)):
        for _ in range(20):
            assert all(space.canonical(arch) == arch for arch in sampler(space, rng).archs)


# -- split --------------------------------------------------------------------------------------


def test_split_divides_the_batch_among_balanced_architectures() -> None:
    rng = random.Random(0)
    for _ in range(50):
        draw = Split(6)(SPACE, rng)
        assert draw.divided
        for choice in SPACE.choices:
            uses = Counter(arch[choice.name] for arch in draw.archs)
            assert max(uses.values()) <= 2


def test_split_draws_no_more_than_there_are() -> None:
    assert set(Split(100)(SPACE, random.Random(0)).archs) == set(SPACE)
    with pytest.raises(SettingsError, match=r"paths is 0; it must be at least 1"):
        Split(0)


# -- subtree ------------------------------------------------------------------------------------


def test_a_subtree_begins_alike_and_keeps_to_its_budget_on_average() -> None:
    supernet, rng = six(), random.Random(5)
    planner = Planner(supernet, vectors())
    largest = planner.plan([supernet.space.largest]).macs
    for budget in (1.5, 2, 3):
        sampler = make_subtree(supernet, vectors(), budget=budget)
        work: dict[int, list[int]] = {}
        for _ in range(examples(400)):
            archs = sampler(supernet.space, rng).archs
            assert len(archs) == len(set(archs)) > 1
            names = [choice.name for choice in supernet.space.choices]
            common = 0
            while len({arch[names[common]] for arch in archs}) == 1:
                common += 1
            work.setdefault(common, []).append(planner.plan(archs).macs)
        assert len(work) > 1
        for macs in work.values():
            if len(macs) >= 30:
                assert sum(macs) / len(macs) <= 1.1 * budget * largest


def test_a_larger_budget_draws_more_architectures_per_step() -> None:
    small, large = (make_subtree(six(), vectors(), budget=budget) for budget in (1.5, 3))
    assert all(a <= b for a, b in zip(small.ends, large.ends, strict=True))
    assert sum(small.ends) < sum(large.ends)


def test_a_subtree_of_a_small_space_is_all_of_it() -> None:
    supernet = nine()
    sampler = make_subtree(supernet, EMPTY, budget=2)
    assert sampler.ends[0] == 9
    draws = [sampler(supernet.space, random.Random(seed)).archs for seed in range(20)]
    assert {9, 3} == set(map(len, draws))
    assert all(set(draw) == set(supernet.space) for draw in draws if len(draw) == 9)


def test_a_subtree_says_what_it_shares() -> None:
    supernet = nine()
    sampler = make_subtree(supernet, EMPTY, budget=2)
    whole = plan(supernet, supernet.space, EMPTY)
    assert sampler.savings[0] == pytest.approx(whole.ratio)
    assert str(sampler).startswith("architectures per step, each equally often: 9 that agree in ")


def test_a_subtree_needs_several_architectures_and_a_budget_for_them() -> None:
    with pytest.raises(SettingsError, match=r"needs more than one architecture"):
        make_subtree(Supernet(plain_net()), EMPTY)
    with pytest.raises(SettingsError, match=r"a budget of 0\.5 .* allows for one only; raise it"):
        make_subtree(six(), vectors(), budget=0.5)
    with pytest.raises(SettingsError, match=r"allows for one only"):
        make_subtree(nine(), EMPTY, budget=0)


# -- all of them --------------------------------------------------------------------------------


def test_every_refuses_a_space_that_is_too_large() -> None:
    most = SearchSpace((Choice("a", tuple(range(MOST_AT_ONCE))),))
    assert len(every(most, random.Random(0)).archs) == MOST_AT_ONCE
    more = SearchSpace((Choice("a", tuple(range(MOST_AT_ONCE + 1))),))
    with pytest.raises(SpaceError, match=r"all 4,097 architectures.*`uniform`"):
        every(more, random.Random(0))


def test_samplers_go_by_their_names() -> None:
    supernet = nine()
    assert make_sampler("every", supernet, EMPTY) is every
    assert make_sampler("uniform", supernet, EMPTY) is uniform
    assert make_sampler("uniform options", supernet, EMPTY) is uniform_options
    assert make_sampler("split", supernet, EMPTY, paths=3) == Split(3)
    assert isinstance(make_sampler("subtree", supernet, EMPTY), Subtree)
    assert make_sampler("fair", supernet, EMPTY) == Fair()
    assert make_sampler("sandwich", supernet, EMPTY, paths=3) == Sandwich(3)
    shrinking = make_sampler("shrinking", supernet, EMPTY, paths=2, order=("block2*", "*"))
    assert shrinking == Shrinking(("block2*", "*"), 2)
    first = make_sampler("uniform", supernet, EMPTY, largest_first=0.2, with_largest=True)
    assert first == WithLargest(warm_up(uniform, 0.2))
    with pytest.raises(
        SettingsError, match=r"no sampler 'greedy'; choose every, uniform, .* or split"
    ):
        make_sampler("greedy", supernet, EMPTY)


def test_the_default_is_every_where_tens_share_most_of_their_work_else_uniform() -> None:
    assert default_sampler(nine(), EMPTY) == "every"
    assert make_sampler(None, nine(), EMPTY) is every
    apart = [nn.Conv2d(1, 2, 3), nn.Conv2d(1, 2, 3), nn.Conv2d(1, 2, 3)]
    branches = Supernet(nn.Sequential(OneOf("op", dict(zip("abc", apart, strict=True)))))
    assert default_sampler(branches, EMPTY) == "uniform"
    many = Supernet(nn.Sequential(*[Depth(f"d{i}", [nn.ReLU()], shortest=0) for i in range(7)]))
    assert default_sampler(many, EMPTY) == "uniform"


def test_the_work_of_a_draw_is_that_of_its_shared_pass_or_of_the_average_path() -> None:
    supernet = nine()
    planner, archs = Planner(supernet, EMPTY), tuple(supernet.space)
    assert training_macs(Draw(archs), planner) == planner.plan(archs).training_macs // 2
    alone = [planner.plan([arch]).training_macs // 2 for arch in archs]
    assert training_macs(Draw(archs, divided=True), planner) == sum(alone) // 9
