import itertools

import pytest
from hypothesis import given

from supernet.errors import SpaceError
from supernet.space import SearchSpace, counting
from supernet.space.counting import Counts
from tests.space.spaces import counts, spaces, spellings


def of(space: SearchSpace) -> Counts:
    names = [choice.name for choice in space.choices]
    ways: dict[str, list[dict[int, frozenset[int]]]] = {name: [] for name in names}
    for condition in space.conditions:
        ways[condition.choice].append(
            {
                names.index(parent): frozenset(
                    space.choices[names.index(parent)].options.index(option) for option in options
                )
                for parent, options in condition.needs
            }
        )
    return Counts(names, [len(choice.options) for choice in space.choices], list(ways.values()))


def courses(space: SearchSpace) -> list[list[int | None]]:
    """All distinct courses of decisions, by trying everything out, in order."""
    found: dict[tuple[int | None, ...], None] = {}
    for arch in spellings(space):
        course = (
            c.options.index(arch[c.name]) if counts(space, arch, c.name) else None
            for c in space.choices
        )
        found[tuple(course)] = None
    return list(map(list, found))


@given(spaces())
def test_every_course_has_one_number_in_order(space: SearchSpace) -> None:
    ours, theirs = of(space), courses(space)
    assert ours.size == len(theirs)
    assert [ours.at(number) for number in range(ours.size)] == theirs


@given(spaces())
def test_those_that_begin_alike_are_neighbors(space: SearchSpace) -> None:
    ours, theirs = of(space), courses(space)
    for place in range(len(space.choices) + 1):
        beginnings = [course[:place] for course in theirs]
        groups = [(b, len(list(group))) for b, group in itertools.groupby(beginnings)]
        start = 0
        for beginning, length in groups:
            numbers = ours.numbers([option or 0 for option in beginning])
            assert numbers == range(start, start + length)
            start += length
        assert ours.most(place) == max(length for _, length in groups)


def test_what_is_too_tangled_is_refused_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "_MOST_STATES", 1000)
    # Each of the later ones waits for a combination of its own, so everything has to be remembered.
    for count, fits in ((5, True), (12, False)):
        names = [f"c{number}" for number in range(2 * count)]
        one = frozenset({1})
        conditions = [()] * count + [({n: one, (n + 1) % count: one},) for n in range(count)]
        if fits:
            assert Counts(names, [2] * len(names), conditions).size > 2**count
        else:
            with pytest.raises(SpaceError, match=r"too many others at a time \(at 'c\d+'\)"):
                Counts(names, [2] * len(names), conditions)
