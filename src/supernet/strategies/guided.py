"""NSGA-II guided by a Gaussian process: the default for large spaces.

What is measured is predicted from all measurements so far, what is known of every architecture is
not. Each time it is asked, NSGA-II searches the predictions, which is cheap, and the most promising
of what it finds are evaluated. The idea is LINAS's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from supernet.errors import SettingsError
from supernet.space import Architecture
from supernet.strategies.encoding import Rows, keys_of
from supernet.strategies.evolution import Breeder
from supernet.strategies.gaussian_process import GaussianProcess, Parameters
from supernet.strategies.pareto import Points, best_first, find_front
from supernet.strategies.problem import Evaluation, Problem
from supernet.strategies.strategy import Archive, Strategy


@final
class GuidedNsga2(Strategy):
    """Evaluates what looks best in a search of predictions.

    Args:
        problem: What is searched for.
        seed: Of all luck.
        start: How many are drawn at random before anything is predicted.
        population: Of the search of predictions.
        generations: Of the same.
        hope: How many standard deviations a prediction is moved to the better side, at most; drawn
            between 0 and that for each generation of it.

    References:
        Cummings et al., "A Hardware-Aware Framework for Accelerating Neural Architecture Search
        Across Modalities" (DyNAS-T, with LINAS), 2022, arXiv:2205.10358.
    """

    def __init__(
        self,
        problem: Problem,
        seed: int = 0,
        *,
        start: int = 48,
        population: int = 96,
        generations: int = 12,
        hope: float = 1.0,
    ) -> None:
        for name, size in (("start", start), ("population", population)):
            if size < 2:
                raise SettingsError(f"{name} is {size}; it must be at least 2")
        self._archive = Archive(problem, seed)
        self._start, self._population, self._generations = start, population, generations
        self._hope = hope
        self._parameters: dict[str, tuple[Parameters, bool]] = {}
        self._chosen_at = 0

    def ask(self, count: int) -> list[Architecture]:
        archive = self._archive
        if len(archive) < self._start:
            rows = archive.fresh(min(count, self._start - len(archive)))
        else:
            rows = self._promising(count)
            rows = np.concatenate([rows, archive.fresh(count - len(rows))])
        return archive.problem.encoded.decode(rows)

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        self._archive.add(evaluations)

    def _promising(self, count: int) -> Rows:
        """Return unseen rows that meet the limits and look best; fewer, if fewer were bred."""
        archive = self._archive
        models = self._models()
        pool = _Pool(archive.problem, models, archive.rng, self._hope)
        pool.add(archive.rows[archive.best(self._population)])
        pool.add(archive.feasible.draw(self._population // 3))
        breeder = Breeder(archive.problem, archive.rng)
        for _ in range(self._generations):
            alive = pool.best(self._population)
            breeder.settle(pool.rows[alive], pool.points[alive])
            children = breeder.children(self._population)
            fine = archive.problem.permits(children)
            if fine.mean() < 0.2:
                children = archive.feasible.repair(children[: self._population // 4])
                fine = np.ones(len(children), np.bool_)
            pool.add(children[fine])
        new = ~archive.is_seen(pool.rows)
        known = self._known(models)
        picked = pick(pool.points[new], known, count)
        return archive.unseen(pool.rows[new][picked])

    def _models(self) -> dict[str, GaussianProcess]:
        """Fit one process to each objective that isn't known beforehand.

        Parameters are chosen again when an eighth more is known than the last time.
        """
        archive = self._archive
        inputs = archive.problem.encoded.one_hot(archive.rows)
        if len(archive) >= self._chosen_at * 9 // 8:
            self._parameters, self._chosen_at = {}, len(archive)
        models = {}
        for at, objective in enumerate(archive.problem.objectives):
            if objective.name not in archive.problem.costs:
                model = GaussianProcess(
                    inputs,
                    archive.points[:, at],
                    len(archive.problem.encoded),
                    self._parameters.get(objective.name),
                )
                self._parameters[objective.name] = model.parameters, model.ranked
                models[objective.name] = model
        return models

    def _known(self, models: dict[str, GaussianProcess]) -> Points:
        """Return the front of what was measured, on the scale of the predictions."""
        archive = self._archive
        points = archive.points.copy()
        for at, objective in enumerate(archive.problem.objectives):
            if objective.name in models:
                points[:, at] = models[objective.name].as_fitted(points[:, at])
        return points[find_front(points)]


class _Pool:
    """Candidates with their predictions, each once."""

    def __init__(
        self,
        problem: Problem,
        models: dict[str, GaussianProcess],
        rng: np.random.Generator,
        hope: float,
    ) -> None:
        self._problem, self._models, self._rng, self._hope = problem, models, rng, hope
        self.rows: Rows = np.zeros((0, len(problem.encoded)), np.int16)
        self.points: Points = np.zeros((0, len(problem.objectives)))
        self._keys: set[bytes] = set()

    def add(self, rows: Rows) -> None:
        new = []
        for at, key in enumerate(keys_of(rows)):
            if key not in self._keys:
                self._keys.add(key)
                new.append(at)
        if not new:
            return
        rows = rows[new]
        points = self._predict(rows)
        sound = np.isfinite(points).all(axis=1)
        self.rows = np.concatenate([self.rows, rows[sound]])
        self.points = np.concatenate([self.points, points[sound]])

    def best(self, count: int) -> np.ndarray:
        """Return the numbers of the best by front and room."""
        if len(self.points) > 4 * count:  # far behind is no use to anyone
            front = find_front(self.points)
            order = np.argsort(~front, kind="stable")
            order = np.concatenate([order[front.sum() :][-3 * count :], order[: front.sum()]])
            return order[best_first(self.points[order])[:count]]
        return best_first(self.points)[:count]

    def _predict(self, rows: Rows) -> Points:
        """Return what to expect of rows, to be small, with some hope."""
        columns = []
        inputs = self._problem.encoded.one_hot(rows)
        hope = self._rng.uniform(0, self._hope)
        for objective in self._problem.objectives:
            if objective.name in self._models:
                mean, deviation = self._models[objective.name].predict(inputs)
                columns.append(mean - hope * deviation)
            else:
                columns.append(objective.sign * self._problem.cost(objective.name, rows))
        return np.stack(columns, axis=1)


def pick(points: Points, known: Points, count: int) -> np.ndarray:
    """Return the numbers of the points that together add most to what is known.

    With two objectives one by one, each the one that adds most to the dominated area; with more by
    front and room.
    """
    if points.shape[1] == 1:
        return np.argsort(points[:, 0], kind="stable")[:count]
    if points.shape[1] > 2:
        return best_first(points)[:count]
    every = np.concatenate([points, known])
    low, high = every.min(axis=0), every.max(axis=0)
    spread = np.where(high > low, high - low, 1.0)
    points, front = (points - low) / spread, (known - low) / spread
    chosen: list[int] = []
    free = np.ones(len(points), np.bool_)
    for _ in range(min(count, len(points))):
        gains = np.where(free, _gains(points, front), -1.0)
        best = int(gains.argmax())
        if gains[best] <= 0:  # nothing adds anything: those nearest to it
            rest = np.flatnonzero(free)
            order = rest[best_first(points[rest])]
            chosen += order[: count - len(chosen)].tolist()
            break
        chosen.append(best)
        free[best] = False
        front = np.concatenate([front, points[[best]]])
        front = front[find_front(front)]
    return np.array(chosen, np.intp)


def _gains(points: Points, front: Points) -> np.ndarray:
    """Return the area that each point would add to a front, up to a little beyond 1."""
    ordered = front[np.argsort(front[:, 0])]
    starts = np.concatenate([[-np.inf], ordered[:, 0]])  # from here on, the best so far is ...
    tops = np.concatenate([[1.1], ordered[:, 1]])
    ends = np.append(ordered[:, 0], 1.1)
    widths = np.clip(ends[None, :] - np.maximum(starts[None, :], points[:, [0]]), 0, None)
    return np.asarray((widths * np.clip(tops[None, :] - points[:, [1]], 0, None)).sum(axis=1))
