"""Strategies that don't learn: everything in order, and at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from supernet.errors import SettingsError
from supernet.space import Architecture
from supernet.strategies.problem import LISTED, Evaluation, Problem
from supernet.strategies.strategy import Archive, Strategy


@final
class Exhaustive(Strategy):
    """Asks for every architecture that meets the limits, in lexicographic order.

    Raises:
        SettingsError: If the space is too large to be listed.
    """

    def __init__(self, problem: Problem, seed: int = 0) -> None:
        self._archive = Archive(problem, seed)
        if problem.listed is None:
            raise SettingsError(
                f"a space of {problem.space.size:,} architectures is too large to look at each "
                f"(more than {LISTED:,}, or the limited costs are slow); use another strategy"
            )
        self._rows, self._at = problem.listed, 0

    def ask(self, count: int) -> list[Architecture]:
        found = self._rows[:0]
        while len(found) < count and self._at < len(self._rows):
            found = self._archive.unseen(self._rows[self._at : self._at + count])
            self._at += count
        return self._archive.problem.encoded.decode(found)

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        self._archive.add(evaluations)


@final
class RandomSearch(Strategy):
    """Asks for architectures at random.

    In a space small enough to be listed, all that meet the limits are equally likely; in a larger
    one, all options of each choice are where it counts, as far as the limits leave that open.
    """

    def __init__(self, problem: Problem, seed: int = 0) -> None:
        self._archive = Archive(problem, seed)

    def ask(self, count: int) -> list[Architecture]:
        return self._archive.problem.encoded.decode(self._archive.fresh(count))

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        self._archive.add(evaluations)
