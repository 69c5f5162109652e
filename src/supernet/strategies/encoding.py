"""Encoding of architectures as rows of option numbers.

Column j is the number of the option of choice j. A row is in canonical form, as `SearchSpace` has
it: 0 where a choice doesn't count. So two rows are equal exactly if the architectures are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from supernet.errors import SettingsError
from supernet.space import Architecture, SearchSpace

Rows = NDArray[np.int16]
Mask = NDArray[np.bool_]

#: Of steps to another option, this share goes to a neighboring one: options stand from least to
#: most costly, so neighbors are most alike.
_NEIGHBORS = 0.7


@final
class EncodedSpace:
    """Draws, changes and lists rows of a space.

    Args:
        space: The space.
        allowed: For some choices the numbers of the options they may have where they count; all
            options for the others.

    Raises:
        SettingsError: If a choice is left without options.
    """

    def __init__(self, space: SearchSpace, allowed: Mapping[str, Sequence[int]] = {}) -> None:
        self.space = space
        self.names = tuple(choice.name for choice in space.choices)
        self.counts = np.array([len(choice.options) for choice in space.choices], np.int16)
        self.allowed = tuple(
            np.array(sorted(allowed.get(c.name, range(len(c.options)))), np.int16)
            for c in space.choices
        )
        for name, options in zip(self.names, self.allowed, strict=True):
            if not len(options):
                raise SettingsError(f"the limits leave no option of {name!r}")
        self._numbers = [{o: n for n, o in enumerate(c.options)} for c in space.choices]
        places = {name: place for place, name in enumerate(self.names)}
        # For each choice, when it counts: any of these ways, in each of them all of these parents.
        self._ways: list[list[list[tuple[int, Mask]]]] = [[] for _ in self.names]
        for condition in space.conditions:
            way = [
                (places[name], self._among(places[name], some)) for name, some in condition.needs
            ]
            self._ways[places[condition.choice]].append(way)

    def _among(self, place: int, options: Sequence[Any]) -> Mask:
        mask = np.zeros(self.counts[place], np.bool_)
        mask[[self._numbers[place][option] for option in options]] = True
        return mask

    def __len__(self) -> int:
        """How many choices there are: the length of a row."""
        return len(self.names)

    def is_conditional(self, place: int) -> bool:
        """Say whether there are architectures in which a choice doesn't count."""
        return bool(self._ways[place])

    def encode(self, archs: Sequence[Architecture]) -> Rows:
        """Return architectures of the space as canonical rows, architectures x choices."""
        rows = np.zeros((len(archs), len(self)), np.int16)
        for at, arch in enumerate(archs):
            for place, name in enumerate(self.names):
                rows[at, place] = self._numbers[place][arch[name]]
        return self.canonical(rows)

    def decode(self, rows: Rows) -> list[Architecture]:
        """Return rows as architectures."""
        choices = self.space.choices
        return [
            Architecture({c.name: c.options[n] for c, n in zip(choices, row, strict=True)})
            for row in rows.tolist()
        ]

    def active(self, rows: Rows) -> Mask:
        """Say which choices count, rows x choices."""
        active = np.ones(rows.shape, np.bool_)
        for place, ways in enumerate(self._ways):
            if not ways:
                continue
            counts = np.zeros(len(rows), np.bool_)
            for way in ways:
                holds = np.ones(len(rows), np.bool_)
                for parent, among in way:
                    holds &= active[:, parent] & among[rows[:, parent]]
                counts |= holds
            active[:, place] = counts
        return active

    def canonical(self, rows: Rows) -> Rows:
        """Return the rows with 0 where a choice doesn't count."""
        if not self.space.conditions:
            return rows
        return np.where(self.active(rows), rows, np.int16(0))

    def permits(self, rows: Rows) -> Mask:
        """Say which rows have allowed options only, where choices count."""
        fine, active = np.ones(len(rows), np.bool_), self.active(rows)
        for place, options in enumerate(self.allowed):
            if len(options) < self.counts[place]:
                fine &= ~active[:, place] | np.isin(rows[:, place], options)
        return fine

    def draw(self, count: int, rng: np.random.Generator) -> Rows:
        """Draw rows: every allowed option of a choice is equally likely, where it counts."""
        return self.canonical(self._any(count, rng))

    def _any(self, count: int, rng: np.random.Generator) -> Rows:
        rows = np.zeros((count, len(self)), np.int16)
        for place, options in enumerate(self.allowed):
            rows[:, place] = options[rng.integers(len(options), size=count)]
        return rows

    def mutate(self, rows: Rows, rng: np.random.Generator, *, steps: int = 1) -> Rows:
        """Return the rows with up to `steps` choices that count changed, each to another option.

        Choices that begin to count by that get any allowed option.
        """
        active = self.active(rows)
        full = np.where(active, rows, self._any(len(rows), rng))
        free = np.array([len(options) > 1 for options in self.allowed])
        at = np.arange(len(rows))
        for _ in range(steps):
            # The largest of random numbers: one choice of those that count, all equally likely.
            luck = np.where(active & free, rng.random(rows.shape), -1.0)
            if not luck.size:
                break
            place = luck.argmax(axis=1)
            movable = luck[at, place] >= 0
            full[at[movable], place[movable]] = self._step(
                full[at[movable], place[movable]], place[movable], rng
            )
        return self.canonical(full)

    def _step(
        self, options: NDArray[np.int16], places: NDArray[np.intp], rng: np.random.Generator
    ) -> NDArray[np.int16]:
        """Return other options of these choices, mostly neighboring ones."""
        new = options.copy()
        near, up = rng.random(len(options)) < _NEIGHBORS, rng.random(len(options)) < 0.5
        for at, place in enumerate(places):
            allowed = self.allowed[place]
            here = int(np.searchsorted(allowed, options[at]))
            if near[at]:
                to = here + (1 if up[at] else -1)
                to = to if 0 <= to < len(allowed) else 2 * here - to
            else:
                to = int(rng.integers(len(allowed) - 1))
                to += to >= here
            new[at] = allowed[min(max(to, 0), len(allowed) - 1)]
        return new

    def cross(self, first: Rows, second: Rows, rng: np.random.Generator) -> Rows:
        """Return rows that have each choice from either of two parents.

        A choice that counts in one of them only is that one's.
        """
        counts, others = self.active(first), self.active(second)
        full = np.where(rng.random(first.shape) < 0.5, first, second)
        full = np.where(counts & ~others, first, np.where(others & ~counts, second, full))
        neither = ~counts & ~others
        return self.canonical(np.where(neither, self._any(len(first), rng), full))

    def list_all(self, most: int) -> Rows | None:
        """Return all rows with allowed options, in lexicographic order; None if over `most`."""
        rows = np.zeros((1, len(self)), np.int16)
        for place, options in enumerate(self.allowed):
            counts = self.active(rows)[:, place]
            times = np.where(counts, len(options), 1)
            if times.sum() > most:
                return None
            rows = np.repeat(rows, times, axis=0)
            where = np.repeat(counts, times)
            rows[where, place] = np.tile(options, int(counts.sum()))
        return rows

    def one_hot(self, rows: Rows) -> NDArray[np.float64]:
        """Return, for rows x (options of all choices, and "doesn't count"), 1 or 0.

        The product of two of them is the number of choices that agree.
        """
        sizes = self.counts.astype(np.int64) + 1
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]) if len(self) else sizes
        columns = np.where(self.active(rows), rows + 1, 0) + starts
        flat = np.zeros((len(rows), int(sizes.sum())))
        flat[np.arange(len(rows))[:, None], columns] = 1.0
        return flat


def keys_of(rows: Rows) -> list[bytes]:
    """Return something hashable for each row, equal exactly for equal rows."""
    solid = np.ascontiguousarray(rows, np.int16)
    return [row.tobytes() for row in solid]
