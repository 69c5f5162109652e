"""The protocol of strategies: they propose architectures and are told their values.

A strategy never proposes an architecture twice, nor one that breaks a limit. It is a function of
its seed and of what it is told: asked and told the same, it asks the same again. So a search that
was cut off is resumed by telling it all over again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from supernet.space import Architecture
from supernet.strategies.encoding import Rows, keys_of
from supernet.strategies.feasible import FeasibleRows, distinct
from supernet.strategies.pareto import best_first
from supernet.strategies.problem import Evaluation, Problem, points_of

#: How often new rows are tried for before a strategy says that there are fewer than wanted.
_TRIES = 30


class Strategy(ABC):
    """Subclasses are final and say what to ask for next. To vary one, wrap it.

    `StrategyContract` (in `supernet.testing`) has what all of them keep, as tests.
    """

    @abstractmethod
    def ask(self, count: int) -> list[Architecture]:
        """Return architectures to evaluate, canonical, distinct, and never asked for before.

        Args:
            count: How many at most. Fewer come only if there are no more, or none could be found;
                none at all means that the search is over.

        Raises:
            LimitError: If no architecture meets the limits.
        """

    @abstractmethod
    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Learn what came of evaluations; also of such as were never asked for."""


@final
class Archive:
    """What strategies have in common: what was seen, and the sound results so far.

    Attributes:
        rows: Of sound evaluations, evaluations x choices, in the order in which they were told.
        points: Theirs, evaluations x objectives, all to be small.
    """

    def __init__(self, problem: Problem, seed: int) -> None:
        self.problem = problem
        self.rng = np.random.default_rng(seed)
        self.feasible = FeasibleRows(problem, self.rng)
        self.rows: Rows = np.zeros((0, len(problem.encoded)), np.int16)
        self.points: NDArray[np.float64] = np.zeros((0, len(problem.objectives)))
        self._seen: set[bytes] = set()

    def __len__(self) -> int:
        return len(self.rows)

    def unseen(self, rows: Rows) -> Rows:
        """Return the rows that nobody asked for or told of, each once; they count as seen."""
        return distinct(rows, self._seen)

    def is_seen(self, rows: Rows) -> NDArray[np.bool_]:
        """Say which rows were asked for or told of."""
        return np.array([key in self._seen for key in keys_of(rows)], np.bool_)

    def fresh(self, count: int) -> Rows:
        """Return unseen rows that meet the limits, drawn at random; fewer, if there are no more."""
        if count < 1:
            return self.rows[:0]
        if (every := self.problem.listed) is not None:
            left = every[~self.is_seen(every)]
            return self.unseen(left[self.rng.permutation(len(left))[:count]])
        found, barren = self.rows[:0], 0
        while len(found) < count and barren < _TRIES:
            new = self.unseen(self.feasible.draw(count - len(found)))
            barren = 0 if len(new) else barren + 1
            found = np.concatenate([found, new])
        return found

    def add(self, evaluations: Sequence[Evaluation]) -> None:
        """Keep evaluations; of those that failed only that they were seen."""
        rows = self.problem.encoded.encode([evaluation.arch for evaluation in evaluations])
        self.unseen(rows)
        points = points_of(evaluations, self.problem.objectives)
        sound = np.isfinite(points).all(axis=1)
        sound &= np.array([evaluation.error is None for evaluation in evaluations], np.bool_)
        self.rows = np.concatenate([self.rows, rows[sound]])
        self.points = np.concatenate([self.points, points[sound]])

    def best(self, count: int) -> NDArray[np.intp]:
        """Return the numbers of the best, by front and by the room around them."""
        return best_first(self.points)[:count]
