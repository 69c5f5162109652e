"""Costs as sums of table entries: exact, without building anything, thousands in a millisecond.

What a network costs is the sum of what its parts cost, and each part depends on few choices. Which
these are is found out by asking for the parts of some architectures, one choice changed at a time;
then every combination of them is asked for once, and after that a cost is a sum of look-ups.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from supernet.errors import SpaceError
from supernet.space import Architecture, SearchSpace
from supernet.strategies.encoding import EncodedSpace, Rows

#: What an architecture costs. Called often, so it should be quick; it must not depend on luck.
Cost = Callable[[Architecture], float]

#: Says what the parts of an architecture are: what stands in each place, by the place's name. Parts
#: that are equal cost the same; a place that an architecture lacks has none.
PartsOf = Callable[[Architecture], Mapping[str, Hashable]]

#: A part that depends on so many combinations of options isn't listed beforehand.
_LARGEST_TABLE = 4_096

#: Tables count as complete when so many random architectures in a row held nothing new.
_QUIET = 24

#: Bounds for learning; beyond them, what is missing is asked for when it is needed.
_MOST_ASKED = 20_000


@runtime_checkable
class RowCost(Protocol):
    """A cost that also takes rows of a space, many at once.

    Attributes:
        encoded: The space.
    """

    encoded: EncodedSpace

    def __call__(self, arch: Architecture) -> float: ...

    def of_rows(self, rows: Rows) -> NDArray[np.float64]:
        """Return the cost of each row."""
        ...


@dataclass(frozen=True)
class Place:
    """What can stand in one place of a network, by the choices that decide it.

    Attributes:
        name: Of the place.
        choices: The numbers of these choices.
        parts: What stands there, by their options' numbers; None: nothing.
    """

    name: str
    choices: tuple[int, ...]
    parts: dict[tuple[int, ...], Hashable]


@final
class Parts:
    """The parts of every architecture of a space, learned from some.

    Args:
        space: The space.
        parts_of: Says what an architecture consists of.
        seed: Of the random architectures that it is asked about.
    """

    def __init__(self, space: SearchSpace, parts_of: PartsOf, *, seed: int = 0) -> None:
        self.encoded = EncodedSpace(space)
        self._parts_of = parts_of
        self._asked: dict[bytes, Mapping[str, Hashable]] = {}
        self._entered: set[bytes] = set()
        self._rows: list[Rows] = []
        self._depends: dict[str, set[int]] = {}
        self._tables: dict[str, dict[tuple[int, ...], tuple[Hashable, int]]] = {}
        self._learn(np.random.default_rng(seed))

    @property
    def places(self) -> list[Place]:
        """All places, in the order in which they were met."""
        return [
            Place(
                name,
                tuple(sorted(self._depends[name])),
                {key: part for key, (part, _) in table.items()},
            )
            for name, table in self._tables.items()
        ]

    @property
    def distinct(self) -> list[Hashable]:
        """All different parts, in the order in which they were met."""
        found = {p: None for t in self._tables.values() for p, _ in t.values() if p is not None}
        return list(found)

    @property
    def asked(self) -> int:
        """How many architectures were looked at."""
        return len(self._asked)

    def of(self, row: Rows) -> Mapping[str, Hashable]:
        """Return the parts of one architecture, asked for, and learn from it."""
        return self._add(row)

    # -- learning ---------------------------------------------------------------------------------

    def _learn(self, rng: np.random.Generator) -> None:
        encoded = self.encoded
        bases = encoded.encode([encoded.space.largest, encoded.space.smallest])
        bases = np.concatenate([bases, encoded.draw(2, rng)])
        for base in bases:
            self._add(base)
            for place in np.flatnonzero(encoded.active(base[None])[0]):
                options = encoded.counts[place]
                for option in {0, options // 2, options - 1} - {int(base[place])}:
                    changed = base.copy()
                    changed[place] = option
                    self._add(encoded.canonical(changed[None])[0])
        self._explore(rng)
        self._fill(rng)
        self._explore(rng)

    def _explore(self, rng: np.random.Generator) -> None:
        """Look at random architectures until none of them shows another dependence."""
        quiet = 0
        while quiet < _QUIET and self.asked < _MOST_ASKED:
            before = {name: len(choices) for name, choices in self._depends.items()}
            self._add(self.encoded.draw(1, rng)[0])
            after = {name: len(choices) for name, choices in self._depends.items()}
            quiet = quiet + 1 if before == after else 0

    def _fill(self, rng: np.random.Generator) -> None:
        """Look at architectures that have the combinations of options not met yet."""
        missing = {name: self._missing(name) for name in self._tables}
        while any(missing.values()) and self.asked < _MOST_ASKED:
            row, aimed = self._aiming(missing, rng)
            before = {name: len(choices) for name, choices in self._depends.items()}
            self._add(row)
            # A combination that no architecture has is not waited for.
            missing[aimed[0]].discard(aimed[1])
            for name, choices in self._depends.items():
                if len(choices) == before.get(name):
                    missing[name].discard(self._key(name, row))
                else:
                    missing[name] = self._missing(name)

    def _aiming(
        self, missing: Mapping[str, set[tuple[int, ...]]], rng: np.random.Generator
    ) -> tuple[Rows, tuple[str, tuple[int, ...]]]:
        """Return an architecture with a missing combination, and others where they fit; and which.

        A place with many missing ones comes first.
        """
        row, decided = self.encoded.draw(1, rng)[0], set[int]()
        aimed: tuple[str, tuple[int, ...]] | None = None
        for name in sorted(missing, key=lambda name: -len(missing[name])):
            choices = sorted(self._depends[name])
            for key in itertools.islice(missing[name], 50):
                pairs = zip(choices, key, strict=True)
                if all(row[choice] == option for choice, option in pairs if choice in decided):
                    aimed = aimed or (name, key)
                    row[choices] = key
                    decided.update(choices)
                    break
        assert aimed is not None  # there is a missing one, and nothing was decided before it
        return self.encoded.canonical(row[None])[0], aimed

    def _missing(self, name: str) -> set[tuple[int, ...]]:
        """Return the combinations of options not met yet; none, if there are too many of them."""
        counts = [int(self.encoded.counts[c]) for c in sorted(self._depends[name])]
        if math.prod(counts) > _LARGEST_TABLE:
            return set()
        return set(itertools.product(*map(range, counts))) - self._tables[name].keys()

    def _add(self, row: Rows) -> Mapping[str, Hashable]:
        """Learn from one architecture, in canonical form."""
        parts, key = self._ask(row), row.tobytes()
        if key in self._entered:
            return parts
        self._entered.add(key)
        self._rows.append(row)
        at = len(self._rows) - 1
        for name in parts:
            if name not in self._tables:  # all before it had nothing there
                self._depends[name], self._tables[name] = set(), {}
                for earlier in range(at):
                    self._enter(name, earlier)
        for name in list(self._tables):
            self._enter(name, at)
        return parts

    def _ask(self, row: Rows) -> Mapping[str, Hashable]:
        key = row.tobytes()
        if key not in self._asked:
            self._asked[key] = self._parts_of(self.encoded.decode(row[None])[0])
        return self._asked[key]

    def _part(self, name: str, at: int) -> Hashable:
        return self._asked[self._rows[at].tobytes()].get(name)

    def _enter(self, name: str, at: int) -> None:
        """Enter what one architecture has in a place; find the choice that a contradiction shows.

        Each time round, the place depends on one choice more.
        """
        while True:
            key, part = self._key(name, self._rows[at]), self._part(name, at)
            known = self._tables[name].get(key)
            if known is None:
                self._tables[name][key] = part, at
                return
            if known[0] == part:
                return
            self._depends[name].add(self._culprit(name, self._rows[known[1]], self._rows[at]))
            self._tables[name] = {}
            for earlier in range(at):
                self._enter(name, earlier)

    def _culprit(self, name: str, first: Rows, second: Rows) -> int:
        """Return a choice in which two architectures differ, and on which a place depends.

        Going from one to the other choice by choice, what stands there changes somewhere; halving
        finds where.
        """
        differing = np.flatnonzero(first != second)
        low, high = 0, len(differing)
        start = self._asked[first.tobytes()].get(name)
        while high - low > 1:
            middle = (low + high) // 2
            row = first.copy()
            row[differing[:middle]] = second[differing[:middle]]
            row = self.encoded.canonical(row[None])[0]
            if self._ask(row).get(name) == start:
                low = middle
            else:
                high = middle
        return int(differing[low])

    def _key(self, name: str, row: Rows) -> tuple[int, ...]:
        return tuple(row[sorted(self._depends[name])].tolist())


@final
class TableCost:
    """A cost that is a constant, plus a factor times the sum of the costs of all parts.

    Example: `TableCost(parts, lambda part: part.macs)`.

    Args:
        parts: What there is.
        cost_of: What one part costs; a number, finite.
        factor: See above.
        constant: See above.
    """

    def __init__(
        self,
        parts: Parts,
        cost_of: Callable[[Hashable], float],
        *,
        factor: float = 1.0,
        constant: float = 0.0,
    ) -> None:
        self.encoded = parts.encoded
        self._parts, self._cost_of = parts, cost_of
        self._factor, self._constant = factor, constant
        self._build()

    def __call__(self, arch: Architecture) -> float:
        """Return the cost of an architecture of the space, in whatever spelling.

        Raises:
            SpaceError: If it is not in the space.
        """
        try:
            return float(self.of_rows(self.encoded.encode([arch]))[0])
        except KeyError:
            self.encoded.space.validate(arch)
            raise

    def of_rows(self, rows: Rows) -> NDArray[np.float64]:
        """Return the cost of each row."""
        total = np.full(len(rows), self._fixed)
        wide = rows.astype(np.int64)
        for choices, strides, table in self._tables:
            total += table[wide[:, choices] @ strides]
        if np.isnan(total).any():
            for at in np.flatnonzero(np.isnan(total)):
                total[at] = self._ask(rows[at])
        return total * self._factor + self._constant

    def least(self, allowed: Sequence[NDArray[np.int16]]) -> float:
        """Return a number that no architecture with these options costs less than."""
        total = self._fixed
        for choices, strides, table in self._tables:
            # 0 too, where that is what a choice has that doesn't count.
            off = [{0} if self.encoded.is_conditional(c) else set() for c in choices]
            options = [
                sorted(o | set(allowed[c].tolist())) for o, c in zip(off, choices, strict=True)
            ]
            sums = np.zeros(1, np.int64)
            for own, stride in zip(options, strides, strict=True):
                sums = (sums[:, None] + np.array(own) * stride).ravel()
            known = table[sums]
            total += 0.0 if np.isnan(known).any() else known.min()
        return total * self._factor + self._constant

    def _ask(self, row: Rows) -> float:
        found = self._parts.of(row)
        return float(sum(self._cost_of(part) for part in found.values()))

    def _build(self) -> None:
        """Put places that depend on the same choices into one table, and those within into it."""
        counts = self.encoded.counts.astype(np.int64)
        groups: dict[tuple[int, ...], list[Place]] = {}
        for place in self._parts.places:
            groups.setdefault(place.choices, []).append(place)
        self._fixed = 0.0
        self._tables: list[tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.float64]]] = []
        for choices, places in groups.items():
            sizes = counts[list(choices)]
            if math.prod(sizes.tolist()) > 4_000_000:
                raise SpaceError(
                    f"{places[0].name!r} depends on {len(choices)} choices at once, in more ways "
                    "than fit into a table; its cost can't be had without building networks"
                )
            strides = np.array(
                [math.prod(sizes[at + 1 :].tolist()) for at in range(len(sizes))], np.int64
            )
            table = np.zeros(math.prod(sizes.tolist()))
            for place in places:
                own = np.full(len(table), np.nan)
                for key, part in place.parts.items():
                    value = 0.0 if part is None else self._cost_of(part)
                    own[int(np.dot(key, strides))] = value
                table += own
            if choices:
                self._tables.append((np.array(choices, np.intp), strides, table))
            else:
                self._fixed += float(table[0])


def costs_of_rows(cost: Cost, encoded: EncodedSpace, rows: Rows) -> NDArray[np.float64]:
    """Return the cost of each row; NaN where it is no finite number or couldn't be had."""
    if isinstance(cost, RowCost) and cost.encoded.space == encoded.space:
        return cost.of_rows(rows)
    return np.array([_tried(cost, arch) for arch in encoded.decode(rows)], np.float64)


def _tried(cost: Cost, arch: Architecture) -> float:
    try:
        value = float(cost(arch))
    except Exception:  # a user's function may raise whatever it likes: this one can't be chosen
        return math.nan
    return value if math.isfinite(value) else math.nan
