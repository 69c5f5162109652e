"""Evolutionary strategies: regularized evolution, and NSGA-II."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from supernet.errors import SettingsError
from supernet.space import Architecture
from supernet.strategies.encoding import Rows
from supernet.strategies.feasible import distinct
from supernet.strategies.pareto import Points, crowding, rank
from supernet.strategies.problem import Evaluation, Problem
from supernet.strategies.strategy import Archive, Strategy

#: How often children are bred for one ask before the rest is drawn at random.
_GENERATIONS = 12


@final
class RegularizedEvolution(Strategy):
    """Mutates the best of a random few among the youngest; the oldest die, however good.

    With several objectives, who is best of the few is judged by their largest weighted distance
    from the best value of each, with new weights each time, so that all of the front is
    aimed at.

    Args:
        problem: What is searched for.
        seed: Of all luck.
        population: How many are alive.
        tournament: How many are compared.

    References:
        Real et al., "Regularized Evolution for Image Classifier Architecture Search", AAAI 2019,
        arXiv:1802.01548.
    """

    def __init__(
        self, problem: Problem, seed: int = 0, *, population: int = 64, tournament: int = 16
    ) -> None:
        _require(population=population, tournament=tournament)
        self._archive, self._tournament = Archive(problem, seed), tournament
        self._population = population
        self._alive: deque[int] = deque(maxlen=population)

    def ask(self, count: int) -> list[Architecture]:
        archive = self._archive
        wanted = min(count, max(0, self._population - len(archive)))
        rows = archive.fresh(wanted)
        if len(self._alive):
            rows = np.concatenate([rows, bred(archive, count - len(rows), self._children)])
        rows = np.concatenate([rows, archive.fresh(count - len(rows))])
        return archive.problem.encoded.decode(rows)

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        before = len(self._archive)
        self._archive.add(evaluations)
        self._alive.extend(range(before, len(self._archive)))

    def _children(self, count: int) -> Rows:
        archive, rng = self._archive, self._archive.rng
        alive = np.array(self._alive)
        points = _scaled(archive.points[alive])
        few = rng.integers(len(alive), size=(count, self._tournament))
        weights = rng.dirichlet(np.ones(points.shape[1]), size=count)
        # Chebyshev's distance reaches fronts of any shape; the sum decides between equals.
        away = points[few] * weights[:, None, :]
        winners = few[np.arange(count), (away.max(axis=2) + 1e-3 * away.sum(axis=2)).argmin(axis=1)]
        return archive.problem.encoded.mutate(archive.rows[alive[winners]], rng)


@final
class Nsga2(Strategy):
    """Breeds the best so far: by front, then by room, with tournaments, crossing and mutation.

    Half of the children are mutated, in one choice or more; most steps go to a neighboring option.

    Args:
        problem: What is searched for.
        seed: Of all luck.
        population: How many survive.

    References:
        Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", IEEE TEVC 2002.
    """

    def __init__(self, problem: Problem, seed: int = 0, *, population: int = 32) -> None:
        _require(population=population)
        self._archive, self._population = Archive(problem, seed), population

    def ask(self, count: int) -> list[Architecture]:
        archive = self._archive
        if len(archive) < self._population:
            rows = archive.fresh(min(count, self._population - len(archive)))
        else:
            alive = archive.best(self._population)
            breeder = Breeder(archive.problem, archive.rng)
            breeder.settle(archive.rows[alive], archive.points[alive])
            rows = bred(archive, count, breeder.children)
            rows = np.concatenate([rows, archive.fresh(count - len(rows))])
        return archive.problem.encoded.decode(rows)

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        self._archive.add(evaluations)


@final
class Breeder:
    """Makes children of a population, as NSGA-II does."""

    def __init__(self, problem: Problem, rng: np.random.Generator) -> None:
        self._encoded, self._rng = problem.encoded, rng

    def settle(self, rows: Rows, points: Points) -> None:
        """Take these for parents."""
        self._rows, self._fronts = rows, rank(points)
        self._room = np.zeros(len(rows))
        for number in range(self._fronts.max(initial=-1) + 1):
            members = self._fronts == number
            self._room[members] = crowding(points[members])

    def children(self, count: int) -> Rows:
        """Return so many children; they may be like their parents, and break limits."""
        first, second = self._rows[self._winners(count)], self._rows[self._winners(count)]
        rows = self._encoded.cross(first, second, self._rng)
        mutated = self._rng.random(count) < 0.5
        often = 1 + self._rng.poisson(0.5, size=count)
        for steps in range(1, int(often.max(initial=1)) + 1):
            which = mutated & (often == steps)
            rows[which] = self._encoded.mutate(rows[which], self._rng, steps=steps)
        return rows

    def _winners(self, count: int) -> NDArray[np.intp]:
        one, other = self._rng.integers(len(self._rows), size=(2, count))
        by_room = self._room[one] >= self._room[other]
        fronts, others = self._fronts[one], self._fronts[other]
        better = (fronts < others) | ((fronts == others) & by_room)
        return np.asarray(np.where(better, one, other))


def bred(archive: Archive, count: int, children: Callable[[int], Rows]) -> Rows:
    """Return unseen children that meet the limits; fewer, if it takes too many tries."""
    found = archive.rows[:0]
    for at in range(_GENERATIONS):
        if len(found) >= count:
            break
        rows = children(2 * (count - len(found)) + 8)
        rows = rows[~archive.is_seen(rows)]
        fine = archive.problem.permits(rows)
        if at and fine.sum() < 0.2 * len(rows):  # limits that few keep: lead them back
            rows = archive.feasible.repair(rows[:count])
        else:
            rows = rows[fine]
        # Only those that are asked for count as seen, so repeats go before the rest is cut off.
        new = distinct(rows[~archive.is_seen(rows)], set())
        found = np.concatenate([found, archive.unseen(new[: count - len(found)])])
    return found


def _scaled(points: Points) -> Points:
    """Return points between 0, the best of an objective, and 1, the worst."""
    best = points.min(axis=0)
    spread = points.max(axis=0) - best
    return np.asarray((points - best) / np.where(spread > 0, spread, 1.0))


def _require(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 2:
            raise SettingsError(f"{name} is {size}; it must be at least 2")
