import itertools
import os
import pickle
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given, strategies as st

from supernet.errors import SpaceError
from supernet.space import Architecture, Choice, Condition, Option, SearchSpace
from tests.space.spaces import blocks, counts, meaning, spaces, spellings

SPACE = SearchSpace((Choice("depth", (1, 2, 3)), Choice("op", ("conv3", "conv5"))))

OPTIONS = st.dictionaries(st.text(max_size=3), st.one_of(st.integers(), st.text(max_size=3)))


@given(OPTIONS, st.randoms(use_true_random=False))
def test_an_architecture_is_the_same_in_any_order(options: dict[str, Any], rng: Any) -> None:
    items = list(options.items())
    rng.shuffle(items)
    arch, shuffled = Architecture(options), Architecture(dict(items))
    assert arch == shuffled
    assert hash(arch) == hash(shuffled)
    assert list(arch) == sorted(options)
    assert repr(arch) == repr(shuffled)
    assert dict(arch) == options


def test_an_architecture_does_not_change() -> None:
    options: dict[str, int | str] = {"depth": 1}
    arch = Architecture(options)
    options["depth"] = 2
    assert arch["depth"] == 1
    assert arch.but(depth=3) == Architecture({"depth": 3})
    assert arch["depth"] == 1
    with pytest.raises(TypeError):
        arch["depth"] = 2  # type: ignore[index]
    with pytest.raises(AttributeError):
        arch.depth = 2  # type: ignore[attr-defined]


def test_restricting_keeps_what_is_asked_for() -> None:
    arch = Architecture({"a": 1, "b": 2, "c": 3})
    assert arch.restrict(["c", "a"]) == Architecture({"a": 1, "c": 3})
    assert arch.restrict([]) == Architecture()


def test_an_architecture_survives_the_way_to_another_process() -> None:
    """Hashes of strings differ from process to process; one that is remembered must not travel."""
    arch = Architecture({"op": "conv3", "depth": 2})
    code = (
        "import pickle, sys; from supernet.space import Architecture;"
        "sys.stdout.buffer.write(pickle.dumps(Architecture({'op': 'conv3', 'depth': 2})))"
    )
    for seed in ("1", "2"):
        sent = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        assert {arch: "found"}[pickle.loads(sent)] == "found"


def test_a_space_lists_every_architecture_once() -> None:
    archs = list(SPACE)
    assert len(archs) == len(set(archs)) == SPACE.size == 6
    assert [arch.label for arch in archs] == [
        f"({depth}, {op})" for depth in (1, 2, 3) for op in ("conv3", "conv5")
    ]
    assert archs[0] == SPACE.smallest
    assert archs[-1] == SPACE.largest
    for arch in archs:
        SPACE.validate(arch)


def test_a_space_has_what_it_lists_and_nothing_else() -> None:
    parent, child = Choice("op", ("skip", "conv")), Choice("kernel", (3, 5))
    space = SearchSpace((parent, child), (Condition("kernel", (("op", ("conv",)),)),))
    listed = list(space)
    for options in itertools.product(("skip", "conv", "pool"), (3, 5, 7)):
        arch = Architecture(dict(zip(("op", "kernel"), options, strict=True)))
        assert (arch in space) == (arch in listed)
    assert Architecture({"op": "conv"}) not in space
    assert {"op": "conv", "kernel": 3} not in space


def test_whether_a_space_has_an_architecture_is_known_without_a_list() -> None:
    space = SearchSpace(tuple(Choice(f"c{i}", tuple(range(10))) for i in range(30)))
    assert space.largest in space
    assert space.largest.but(c0=10) not in space


def test_no_choices_are_one_architecture() -> None:
    assert list(SearchSpace()) == [Architecture()]
    assert SearchSpace().size == 1


def test_the_size_may_exceed_what_len_can_count() -> None:
    space = SearchSpace(tuple(Choice(f"c{i}", tuple(range(10))) for i in range(30)))
    assert space.size == 10**30


def test_sampling_is_even_and_reproducible() -> None:
    rng = random.Random(0)
    counts = Counter(SPACE.sample(rng) for _ in range(6000))
    chi_square = sum((counts[arch] - 1000) ** 2 / 1000 for arch in SPACE)
    assert chi_square < 20.5  # 5 degrees of freedom: one seed in a thousand would be above
    draws = [[SPACE.sample(rng) for _ in range(9)] for rng in (random.Random(7), random.Random(7))]
    assert draws[0] == draws[1]


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ({"op": "conv3"}, r"says nothing about 'depth'.*\(1, 2, 3\)"),
        ({"depth": 1}, r"says nothing about 'op'"),
        ({"depth": 4, "op": "conv3"}, r"'depth' is 4, which is none of \(1, 2, 3\)"),
        ({"depth": "1", "op": "conv3"}, r"'depth' is '1', which is none of"),
        ({"depth": True, "op": "conv3"}, r"'depth' is True, which is none of"),
        ({"depth": 1.0, "op": "conv3"}, r"'depth' is 1.0, which is none of"),
        ({"depth": 1, "op": "conv7"}, r"'op' is 'conv7', which is none of"),
        ({"depth": 1, "op": "conv3", "width": 8}, r"the space lacks: \['width'\]"),
    ],
)
def test_what_is_not_in_the_space_is_named(arch: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        SPACE.validate(Architecture(arch))


def test_malformed_spaces_are_refused() -> None:
    with pytest.raises(SpaceError, match="'depth' has no options"):
        Choice("depth", ())
    with pytest.raises(SpaceError, match="'depth' repeats an option"):
        Choice("depth", (1, 1))
    with pytest.raises(SpaceError, match=r"share a name: \['depth'\]"):
        SearchSpace((Choice("depth", (1, 2)), Choice("depth", (1, 3))))


# -- conditions -----------------------------------------------------------------------------------


@given(spaces())
def test_architectures_that_differ_only_where_it_does_not_count_are_one(space: SearchSpace) -> None:
    distinct: dict[Architecture, Architecture] = {}
    for arch in spellings(space):
        canonical = space.canonical(arch)
        assert meaning(space, canonical) == meaning(space, arch)
        distinct.setdefault(Architecture(meaning(space, arch)), canonical)
        assert distinct[Architecture(meaning(space, arch))] == canonical
        assert space.canonical(canonical) == canonical
        assert space.active(arch) == space.active(canonical)
        assert list(space.active(arch)) == [
            choice.name for choice in space.choices if counts(space, arch, choice.name)
        ]
    assert len(set(distinct.values())) == len(distinct) == space.size
    assert set(space) == set(distinct.values())


@given(spaces())
def test_they_come_in_order_and_by_number(space: SearchSpace) -> None:
    archs = list(space)
    assert archs == [arch for arch in spellings(space) if space.canonical(arch) == arch]
    assert [space.at(number) for number in range(space.size)] == archs
    assert space.smallest == archs[0]
    assert space.largest == archs[-1]
    for place in range(len(space.choices) + 1):
        names = [choice.name for choice in space.choices[:place]]
        ends = Counter(arch.restrict(names) for arch in archs)
        assert space.most(place) == max(ends.values())
        for beginning in ends:
            alike = [arch for arch in archs if arch.restrict(names) == beginning]
            assert list(map(space.at, space.numbers(beginning))) == alike


@given(spaces(), st.integers())
def test_without_conditions_sampling_is_one_draw_per_choice(space: SearchSpace, seed: int) -> None:
    """The draws that committed results are made of."""
    free = SearchSpace(space.choices)
    for by in ("architectures", "options"):
        ours, theirs = random.Random(seed), random.Random(seed)
        expected = Architecture({c.name: theirs.choice(c.options) for c in space.choices})
        assert free.sample(ours, by=by) == expected
        assert ours.getstate() == theirs.getstate()
    assert list(free) == spellings(space)


class Scripted(random.Random):
    """Draws what it is told to, and notes among how many each was."""

    def __init__(self, script: Sequence[Any]) -> None:
        super().__init__(0)
        self.script = list(script)
        self.among: list[int] = []

    def choice(self, options: Any) -> Any:
        self.among.append(len(options))
        assert self.script[0] in options
        return self.script.pop(0)

    def randrange(self, stop: int) -> int:  # type: ignore[override]
        self.among.append(stop)
        return int(self.script.pop(0))


@given(spaces(least=2))
def test_sampling_by_architectures_is_exactly_even(space: SearchSpace) -> None:
    assume(space.conditions)
    rngs = [Scripted([number]) for number in range(space.size)]
    assert [space.sample(rng) for rng in rngs] == list(space)  # each by one of `size` numbers
    assert all(rng.among == [space.size] for rng in rngs)


@given(spaces())
def test_sampling_by_options_is_even_wherever_a_choice_counts(space: SearchSpace) -> None:
    total = Fraction(0)
    for arch in space:
        rng = Scripted([arch[name] for name in space.active(arch)])
        assert space.sample(rng, by="options") == arch
        assert not rng.script
        chance = Fraction(1)
        for among in rng.among:
            chance /= among
        total += chance
    assert total == 1  # so nothing else is ever drawn


@given(spaces(), st.integers(1, 4), st.randoms(use_true_random=False))
def test_dealing_asks_for_a_choice_only_where_it_counts(
    space: SearchSpace, count: int, rng: random.Random
) -> None:
    asked: Counter[str] = Counter()

    def options_of(choice: Choice, times: int) -> list[Option]:
        asked[choice.name] += times
        return rng.choices(choice.options, k=times)

    beginning = space.sample(rng).restrict(c.name for c in space.choices[:2])
    archs = space.deal(count, options_of, beginning)
    assert len(archs) == count
    expected: Counter[str] = Counter()
    for arch in archs:
        assert space.canonical(arch) == arch
        assert arch.restrict(beginning) == beginning
        expected.update(name for name in space.active(arch) if name not in beginning)
    assert asked == expected


def test_a_deep_space_is_counted_and_sampled_without_going_through_it() -> None:
    space = blocks(20)
    assert len(space.choices) == 41
    assert space.size == sum(4**depth for depth in range(21))
    assert space.largest["20.kernel"] == 7
    assert space.canonical(space.largest.but(depth=2)).label.count("skip") == 18
    rng = random.Random(0)
    depths = Counter(space.sample(rng)["depth"] for _ in range(1000))
    assert abs(depths[20] - 750) < 3.3 * (1000 * 0.75 * 0.25) ** 0.5  # 4**20 in size: three fourths
    depths = Counter(space.sample(rng, by="options")["depth"] for _ in range(2100))
    chi_square = sum((depths[depth] - 100) ** 2 / 100 for depth in range(21))
    assert chi_square < 45.4  # 20 degrees of freedom: one seed in a thousand would be above


def test_a_choice_shared_by_many_modules_counts_if_any_is_reached() -> None:
    ops = [Choice(f"op{number}", ("skip", "conv")) for number in range(40)]
    conditions = tuple(Condition("kernel", ((op.name, ("conv",)),)) for op in ops)
    space = SearchSpace((*ops, Choice("kernel", (3, 5, 7))), conditions)
    assert space.size == 3 * (2**40 - 1) + 1
    assert space.active(space.smallest) == tuple(op.name for op in ops)
    assert "kernel" in space.active(space.smallest.but(op17="conv"))


def test_a_space_survives_the_way_to_another_process() -> None:
    space = blocks(3)
    assert space.size == 85  # and what was counted goes with it, or is counted again
    again = pickle.loads(pickle.dumps(space))
    assert again == space
    assert hash(again) == hash(space)
    assert list(again) == list(space)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (Condition("c", (("a", (1,)),)), r"about 'c', which is no choice .*\['a', 'b'\]"),
        (Condition("b", ()), r"of 'b' needs nothing, so the choice always counts; leave"),
        (Condition("b", (("a", (1,)), ("a", (2,)))), r"condition of 'b' names \['a'\] twice"),
        (Condition("b", (("x", (1,)),)), r"'b' depends on 'x', which is no choice"),
        (Condition("a", (("b", (1,)),)), r"'a' depends on 'b', which doesn't come before it"),
        (Condition("b", (("b", (1,)),)), r"'b' depends on 'b', which doesn't come before it"),
        (Condition("b", (("a", ()),)), r"'b' depends on 'a' having none of its options.*\(1, 2\)"),
        (Condition("b", (("a", (2, 3)),)), r"'b' depends on 'a' being one of \[3\], which.*\(1, 2"),
        (Condition("b", (("a", (True,)),)), r"'b' depends on 'a' being one of \[True\]"),
    ],
)
def test_malformed_conditions_are_refused(condition: Condition, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        SearchSpace((Choice("a", (1, 2)), Choice("b", (1, 2))), (condition,))


def test_only_what_is_in_the_space_has_a_canonical_form() -> None:
    space = blocks(2)
    with pytest.raises(SpaceError, match=r"'02\.kernel' is 4, which is none of"):
        space.canonical(space.smallest.but(**{"02.kernel": 4}))


def test_its_length_is_its_size_where_that_fits() -> None:
    space = SearchSpace((Choice("a", (1, 2, 3)), Choice("b", (1, 2))))
    assert len(space) == space.size == 6
    huge = SearchSpace(tuple(Choice(f"c{place}", (1, 2)) for place in range(64)))
    assert bool(huge)
    with pytest.raises(OverflowError, match=r"1\.8e19 architectures.*use `space\.size`"):
        len(huge)


def test_it_shows_itself_in_one_line_and_in_a_table() -> None:
    conditions = (Condition("<b>", (("a", (2, 3)),)),)
    space = SearchSpace((Choice("a", (1, 2, 3)), Choice("<b>", (1, 2))), conditions)
    assert repr(space) == "SearchSpace(5 architectures of 2 choices)"
    table = space._repr_html_()
    assert "<td>&lt;b&gt;</td><td>1, 2</td><td>a is 2 or 3</td>" in table


# -- a part of a space ------------------------------------------------------------------------


@given(spaces(), st.randoms(use_true_random=False))
def test_what_is_kept_of_a_space_is_what_a_filter_leaves(
    space: SearchSpace, rng: random.Random
) -> None:
    kept = {c.name: rng.sample(c.options, rng.randint(1, len(c.options))) for c in space.choices}
    part = space.keep(kept)

    def fits(arch: Architecture) -> bool:
        return all(arch[name] in kept[name] for name in space.active(arch))

    wanted = {
        tuple((name, arch[name]) for name in space.active(arch)) for arch in space if fits(arch)
    }
    found = [tuple((name, arch[name]) for name in space.active(arch)) for arch in part]
    assert set(found) == wanted
    assert len(found) == len(set(found)) == part.size
    for arch in part:
        space.validate(arch)


def test_keeping_what_is_not_there_is_an_error() -> None:
    space = SearchSpace((Choice("a", (1, 2)),))
    with pytest.raises(SpaceError, match=r"no choices \['b'\]"):
        space.keep({"b": [1]})
    with pytest.raises(SpaceError, match=r"'a' has no options \[3\]"):
        space.keep({"a": [3]})
    with pytest.raises(SpaceError, match="'a' is left without options"):
        space.keep({"a": []})
    assert space.keep({}) == space
