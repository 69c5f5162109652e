"""Counts of dependent decisions, without making them all.

Decisions are made in order, and some count only after certain earlier ones. What has been decided
matters to the rest only through what it leaves open of their conditions: two beginnings that leave
the same can go on in equally many ways. So ways are counted once for each place and remainder, and
the counts also say which is the n-th. Here are plain numbers; what is decided, nobody need know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

from supernet.errors import SpaceError

#: What a decision may wait for: from earlier decisions to those of their options that will do.
Way = Mapping[int, frozenset[int]]

_Rest = frozenset[tuple[int, frozenset[int]]]  # of a way: what is still open
_Condition = frozenset[_Rest]  # any of these
_State = tuple[_Condition, ...]  # of a decision and all later ones

_MET: _Condition = frozenset({frozenset()})

#: More remainders than this, over all places, would take minutes and gigabytes.
_MOST_STATES = 200_000


@final
class Counts:
    """Says how many courses of decisions there are, and which is which.

    They are numbered in lexicographic order, so those with a common beginning are neighbors.

    Args:
        names: What the decisions are called; for the error.
        options: How many options each has.
        conditions: When each counts: after any of these ways; always, if there are none. A way
            holds if every decision it names counts and has one of the options named.

    Raises:
        SpaceError: If too much is open at a time.
    """

    def __init__(
        self, names: Sequence[str], options: Sequence[int], conditions: Sequence[Sequence[Way]]
    ) -> None:
        self._options = options
        self._later = [
            [j for j, ways in enumerate(conditions) if any(place in way for way in ways)]
            for place in range(len(options))
        ]
        self._known: dict[tuple[_Condition, int, int | None], _Condition] = {}
        self._start: _State = tuple(
            frozenset(frozenset(way.items()) for way in ways) or _MET for ways in conditions
        )
        # For each place and remainder, what each option leaves; a single one if nothing counts.
        self._steps: list[dict[_State, tuple[_State, ...]]] = []
        states, total = {self._start: None}, 0
        for place, name in enumerate(names):
            self._steps.append({state: self._branches(place, state) for state in states})
            states = {next_: None for found in self._steps[-1].values() for next_ in found}
            total += len(states)
            if total > _MOST_STATES:
                raise SpaceError(
                    f"when choices count depends on too many others at a time (at {name!r}) for "
                    "the architectures to be counted; let modules that are reached in different "
                    "ways have choices of their own, under names of their own"
                )
        # How many ways lead on from there.
        self._counts: list[dict[_State, int]] = [{(): 1}]
        for steps in reversed(self._steps):
            onward = self._counts[-1]
            self._counts.append({s: sum(map(onward.__getitem__, n)) for s, n in steps.items()})
        self._counts.reverse()

    @property
    def size(self) -> int:
        """How many there are."""
        return self._counts[0][self._start]

    def most(self, place: int) -> int:
        """Return how many have the same beginning before `place`, where these are most."""
        return max(self._counts[place].values())

    def at(self, number: int) -> list[int | None]:
        """Return one by its number: the option of every decision, None where it doesn't count."""
        state, course = self._start, list[int | None]()
        for place, steps in enumerate(self._steps):
            option = 0
            while number >= (ways := self._counts[place + 1][steps[state][option]]):
                number -= ways
                option += 1
            course.append(option if state[0] == _MET else None)
            state = steps[state][option]
        return course

    def numbers(self, beginning: Sequence[int]) -> range:
        """Return the numbers of those that begin with these options; what doesn't count is 0."""
        state, first = self._start, 0
        for place, option in enumerate(beginning):
            onward, branches = self._counts[place + 1], self._steps[place][state]
            first += sum(onward[branch] for branch in branches[:option])
            state = branches[option]
        return range(first, first + self._counts[len(beginning)][state])

    def _branches(self, place: int, state: _State) -> tuple[_State, ...]:
        if state[0] != _MET:
            return (self._after(place, None, state),)
        return tuple(self._after(place, option, state) for option in range(self._options[place]))

    def _after(self, place: int, option: int | None, state: _State) -> _State:
        left = list(state)
        for later in self._later[place]:
            left[later - place] = self._left(left[later - place], place, option)
        return tuple(left[1:])

    def _left(self, condition: _Condition, place: int, option: int | None) -> _Condition:
        what = condition, place, option
        if what not in self._known:
            rests = {
                frozenset(need for need in rest if need[0] != place)
                for rest in condition
                if all(number != place or option in options for number, options in rest)
            }
            self._known[what] = _MET if frozenset() in rests else frozenset(rests)
        return self._known[what]
