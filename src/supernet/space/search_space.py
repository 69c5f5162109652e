"""Search spaces as plain data: names, options, and what can be done with them.

A choice may be *conditional*: inside a block that the chosen depth doesn't reach, it decides
nothing. Architectures that differ only in such choices are one and the same; it is spelled, in its
*canonical* form, with the first option of every choice that doesn't count.

Nothing here knows about tensors, so a search can be written, tested and replayed without torch.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import math
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set as AbstractSet
from dataclasses import dataclass
from typing import Literal

from supernet.errors import SpaceError
from supernet.space.architecture import Architecture, Choice, Option
from supernet.space.counting import Counts
from supernet.space.notebook import count, html_table


@dataclass(frozen=True, slots=True)
class Condition:
    """A way in which a choice comes to count. With several, any of them will do.

    >>> Condition("inner.depth", (("outer.depth", (2, 3)), ("op", ("cell",))))
    Condition(choice='inner.depth', needs=(('outer.depth', (2, 3)), ('op', ('cell',))))

    Attributes:
        choice: The name of the choice it is about.
        needs: Names of other choices, and those of their options that will do. All of them have to
            count themselves, and to have one of these options.
    """

    choice: str
    needs: tuple[tuple[str, tuple[Option, ...]], ...]


@dataclass(frozen=True, repr=False)
class SearchSpace:
    """All architectures: one option for every choice that counts.

    Everything here speaks of distinct architectures, in canonical form. Without conditions that is
    the product of the choices; without choices, exactly one.

    Attributes:
        choices: The choices. One that another depends on comes before it.
        conditions: When choices count; one that has no condition always does.

    Raises:
        SpaceError: If two choices share a name, or a condition is about what isn't there: an
            unknown choice, one that comes later, an option it lacks.

    Example:
        >>> depths = Choice("block1.depth", (1, 2, 3)), Choice("block2.depth", (1, 2, 3))
        >>> space = SearchSpace(depths)
        >>> space
        SearchSpace(9 architectures of 2 choices)
        >>> space.smallest, len(space)
        (Architecture(block1.depth=1, block2.depth=1), 9)
    """

    choices: tuple[Choice, ...] = ()
    conditions: tuple[Condition, ...] = ()

    def __post_init__(self) -> None:
        names = [choice.name for choice in self.choices]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise SpaceError(f"two different choices share a name: {twice}; rename one of them")
        for condition in self.conditions:
            self._check(condition, names)

    def _check(self, condition: Condition, names: Sequence[str]) -> None:
        name = condition.choice
        if name not in names:
            raise SpaceError(
                f"a condition is about {name!r}, which is no choice of the space; it has {names}"
            )
        if not condition.needs:
            raise SpaceError(
                f"a condition of {name!r} needs nothing, so the choice always counts; leave all "
                "its conditions out"
            )
        parents = [parent for parent, _ in condition.needs]
        if twice := sorted({parent for parent in parents if parents.count(parent) > 1}):
            raise SpaceError(
                f"a condition of {name!r} names {twice} twice; name each choice once, with those "
                "of its options that will do"
            )
        for parent, options in condition.needs:
            if parent not in names:
                raise SpaceError(
                    f"{name!r} depends on {parent!r}, which is no choice of the space; it has "
                    f"{names}"
                )
            if names.index(parent) >= names.index(name):
                raise SpaceError(
                    f"{name!r} depends on {parent!r}, which doesn't come before it; put choices in "
                    "an order in which each depends on earlier ones only"
                )
            known = self.choices[names.index(parent)].options
            if not options:
                raise SpaceError(
                    f"{name!r} depends on {parent!r} having none of its options; give some of "
                    f"{known}"
                )
            if unknown := [option for option in options if not _is_among(option, known)]:
                raise SpaceError(
                    f"{name!r} depends on {parent!r} being one of {unknown}, which are none of "
                    f"{known}"
                )

    @functools.cached_property
    def _ways(self) -> dict[str, list[Condition]]:
        ways: dict[str, list[Condition]] = {}
        for condition in self.conditions:
            ways.setdefault(condition.choice, []).append(condition)
        return ways

    @functools.cached_property
    def _counts(self) -> Counts:
        places = {choice.name: place for place, choice in enumerate(self.choices)}

        def numbers(parent: str, options: tuple[Option, ...]) -> frozenset[int]:
            return frozenset(map(self.choices[places[parent]].options.index, options))

        return Counts(
            list(places),
            [len(choice.options) for choice in self.choices],
            [
                [
                    {places[parent]: numbers(parent, options) for parent, options in way.needs}
                    for way in self._ways.get(name, ())
                ]
                for name in places
            ],
        )

    def keep(self, options: Mapping[str, Sequence[Option]]) -> SearchSpace:
        """Return the part of the space in which choices have only some of their options.

        A choice that can't count any more keeps one option, so that architectures of the part are
        architectures of the whole.

        Args:
            options: What to keep of choices, by name; the others keep all of theirs.

        Raises:
            SpaceError: If there is no such choice or option, or a choice is left with none.
        """
        names = [choice.name for choice in self.choices]
        if unknown := sorted(set(options) - set(names)):
            raise SpaceError(f"the space has no choices {unknown}; it has {names}")
        kept: dict[str, tuple[Option, ...]] = {}
        conditions: list[Condition] = []
        dead: set[str] = set()  # no architecture of the part has these count
        for choice in self.choices:
            wanted = options.get(choice.name, choice.options)
            if foreign := [o for o in wanted if not _is_among(o, choice.options)]:
                raise SpaceError(
                    f"{choice.name!r} has no options {foreign}; it has {list(choice.options)}"
                )
            kept[choice.name] = tuple(o for o in choice.options if _is_among(o, wanted))
            if not kept[choice.name]:
                raise SpaceError(
                    f"{choice.name!r} is left without options; keep some of {list(choice.options)}"
                )
            if ways := self._ways.get(choice.name):
                alive = [left for way in ways if (left := _within(way, kept, dead))]
                conditions += alive
                if not alive:
                    dead.add(choice.name)
                    kept[choice.name] = kept[choice.name][:1]
        return SearchSpace(
            tuple(Choice(name, left) for name, left in kept.items()), tuple(conditions)
        )

    @functools.cached_property
    def sha256(self) -> str:
        """A digest of its choices, options and conditions, in their order."""
        content = [
            [[choice.name, *choice.options] for choice in self.choices],
            [[condition.choice, condition.needs] for condition in self.conditions],
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @property
    def size(self) -> int:
        """How many architectures there are. Unlike `len(space)`, it counts past 2**63.

        Raises:
            SpaceError: If too many choices depend on one another in too many ways; this holds for
                everything that has to know.
        """
        if not self.conditions:
            return math.prod(len(choice.options) for choice in self.choices)
        return self._counts.size

    def __len__(self) -> int:
        if self.size > sys.maxsize:
            raise OverflowError(
                f"the space has {count(self.size, 'architecture')}, more than `len` can count; "
                "use `space.size`, and `space.sample` instead of a list of all"
            )
        return self.size

    def __bool__(self) -> bool:
        return True  # there is always one, and nobody who asks wants them counted

    def __repr__(self) -> str:
        return (
            f"SearchSpace({count(self.size, 'architecture')} of "
            f"{count(len(self.choices), 'choice')})"
        )

    def _repr_html_(self) -> str:
        """Return a table of the choices, for notebooks."""
        rows = [(c.name, ", ".join(map(str, c.options)), self._when(c.name)) for c in self.choices]
        return html_table(
            count(self.size, "architecture"), ("choice", "options", "counts if"), rows
        )

    def _when(self, name: str) -> str:
        """Return in words when a choice counts; empty if it always does."""
        ways = (
            " and ".join(f"{on} is {' or '.join(map(str, some))}" for on, some in way.needs)
            for way in self._ways.get(name, ())
        )
        return "; or ".join(ways)

    def __iter__(self) -> Iterator[Architecture]:
        """Yield every architecture once, in lexicographic order."""
        if self.conditions:
            yield from map(self.at, range(self.size))
            return
        names = [choice.name for choice in self.choices]
        for options in itertools.product(*(choice.options for choice in self.choices)):
            yield Architecture(dict(zip(names, options, strict=True)))

    def __contains__(self, arch: object) -> bool:
        # As iteration has it, without the iteration.
        try:
            return isinstance(arch, Architecture) and self.canonical(arch) == arch
        except SpaceError:
            return False

    def at(self, number: int) -> Architecture:
        """Return the architecture with this number, in the order of iteration, from 0 on."""
        course = zip(self.choices, self._counts.at(number), strict=True)
        return Architecture({choice.name: choice.options[at or 0] for choice, at in course})

    def numbers(self, beginning: Mapping[str, Option]) -> range:
        """Return the numbers of the architectures that begin alike.

        Args:
            beginning: What some architecture of the space, in canonical form, says about the first
                so many choices.
        """
        first = self.choices[: len(beginning)]
        return self._counts.numbers([c.options.index(beginning[c.name]) for c in first])

    def most(self, place: int) -> int:
        """Return how many architectures agree before that choice, where these are most."""
        return self._counts.most(place)

    @property
    def smallest(self) -> Architecture:
        """The first option of every choice."""
        return Architecture({choice.name: choice.options[0] for choice in self.choices})

    @property
    def largest(self) -> Architecture:
        """The last option of every choice that counts if those before it have theirs."""
        return self.deal(1, lambda choice, _: choice.options[-1:])[0]

    def sample(
        self, rng: random.Random, *, by: Literal["architectures", "options"] = "architectures"
    ) -> Architecture:
        """Draw one architecture.

        Args:
            rng: Where the luck comes from.
            by: What is equally likely: all distinct architectures, or all options of each choice,
                where it counts. The two differ only if there are conditions: a skipped block is
                then one architecture of thousands, or one option of two.
        """
        if self.conditions and by == "architectures":
            return self.at(rng.randrange(self.size))
        return self.deal(1, lambda choice, _: [rng.choice(choice.options)])[0]

    def deal(
        self,
        count: int,
        options_of: Callable[[Choice, int], Sequence[Option]],
        beginning: Mapping[str, Option] = Architecture(),
    ) -> list[Architecture]:
        """Make architectures side by side, choice by choice.

        Args:
            count: How many.
            options_of: Given a choice, and in how many of them it counts (one at least), returns an
                option for each of these.
            beginning: What is decided already for all of them.

        Returns:
            The architectures, which need not be distinct, in canonical form.
        """
        rows: list[dict[str, Option]] = [{} for _ in range(count)]
        active: list[set[str]] = [set() for _ in range(count)]
        for choice in self.choices:
            name = choice.name
            there = [at for at in range(count) if self._matters(name, rows[at], active[at])]
            options: Sequence[Option] = ()
            if name in beginning:
                options = [beginning[name]] * len(there)
            elif there:
                options = options_of(choice, len(there))
            for row in rows:
                row[name] = choice.options[0]
            for at, option in zip(there, options, strict=True):
                rows[at][name] = option
                active[at].add(name)
        return [Architecture(row) for row in rows]

    def active(self, arch: Mapping[str, Option]) -> tuple[str, ...]:
        """Return the names of the choices that count in an architecture of the space, in order."""
        active: dict[str, None] = {}
        for choice in self.choices:
            if self._matters(choice.name, arch, active.keys()):
                active[choice.name] = None
        return tuple(active)

    def _matters(self, name: str, arch: Mapping[str, Option], active: AbstractSet[str]) -> bool:
        """Say whether a choice counts, given what earlier ones are and which of them count."""
        ways = self._ways.get(name)
        return ways is None or any(
            all(parent in active and arch[parent] in options for parent, options in way.needs)
            for way in ways
        )

    def canonical(self, arch: Architecture) -> Architecture:
        """Return the canonical form of an architecture: equal for those that are one and the same.

        Raises:
            SpaceError: If it is not in the space.
        """
        self.validate(arch)
        if not self.conditions:
            return arch
        active = set(self.active(arch))
        return arch.but(**{c.name: c.options[0] for c in self.choices if c.name not in active})

    def validate(self, arch: Mapping[str, Option]) -> None:
        """Raise `SpaceError`, naming the first offending choice, unless `arch` is in the space.

        What a choice that doesn't count has for an option must be one of its options, any of them.
        """
        for choice in self.choices:
            if choice.name not in arch:
                raise SpaceError(
                    f"the architecture says nothing about {choice.name!r}; "
                    f"give it one of {choice.options}"
                )
            option = arch[choice.name]
            if not _is_among(option, choice.options):
                raise SpaceError(
                    f"{choice.name!r} is {option!r}, which is none of {choice.options}"
                )
        if unknown := sorted(set(arch) - {choice.name for choice in self.choices}):
            raise SpaceError(
                f"the architecture names choices that the space lacks: {unknown}; "
                f"the space has {[choice.name for choice in self.choices]}"
            )


def _within(
    way: Condition, kept: Mapping[str, tuple[Option, ...]], dead: AbstractSet[str]
) -> Condition | None:
    """Return what a condition needs where choices have these options; None if it can't be met."""
    needs = tuple(
        (parent, tuple(option for option in options if _is_among(option, kept[parent])))
        for parent, options in way.needs
    )
    if any(parent in dead or not options for parent, options in needs):
        return None
    return Condition(way.choice, needs)


def _is_among(option: object, options: Iterable[Option]) -> bool:
    # 1 == True == 1.0, but only one of them is an option: compare the types too.
    return (type(option), option) in [(type(known), known) for known in options]
