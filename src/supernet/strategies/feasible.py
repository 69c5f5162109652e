"""Architectures that meet the limits, also where they are rare.

Where many do, drawing until one does is best: every one is equally likely. Where few do, random
ones walk towards the limits (each step changes a choice or two, and is kept if it breaks them less,
sometimes if it doesn't), and then at random among those that meet them, until the start is
forgotten.
"""

from __future__ import annotations

import math
from typing import final

import numpy as np

from supernet.strategies.encoding import Rows, keys_of
from supernet.strategies.problem import Problem

#: How many are drawn, and how many walk, at a time.
_CROWD, _WALKERS = 256, 64

#: Drawing goes on while at least this share of what is drawn is of use.
_WORTH_DRAWING = 0.02

#: Steps towards the limits before giving up: so many for each choice, and no fewer than that.
_STEPS_PER_CHOICE, _LEAST_STEPS = 20, 500

#: Steps within the limits, for each choice, before a walker's place counts as drawn.
_FORGETTING_PER_CHOICE = 3


@final
class FeasibleRows:
    """Draws rows that meet the limits of a problem.

    Args:
        problem: Whose limits.
        rng: Where the luck comes from.
    """

    def __init__(self, problem: Problem, rng: np.random.Generator) -> None:
        self._problem, self._rng = problem, rng
        self._encoded = problem.encoded
        self._share = 1.0  # of what was drawn last, how much met the limits
        self._walkers: Rows | None = None

    def draw(self, count: int) -> Rows:
        """Return at least one row, at most `count`; they may repeat.

        Raises:
            LimitError: If none could be found.
        """
        if (every := self._problem.listed) is not None:
            return every[self._rng.integers(len(every), size=count)]
        found = self._drawn(count) if self._share >= _WORTH_DRAWING else self._none()
        if len(found) < count:
            found = np.concatenate([found, self._walked(count - len(found))])
        return np.asarray(found[:count])

    def repair(self, rows: Rows) -> Rows:
        """Return rows near these that meet the limits; fewer, where a short walk finds none."""
        fine = self._problem.permits(rows)
        if fine.all():
            return rows
        walked, excess = self._approach(rows[~fine], 4 * max(1, len(self._encoded)))
        return np.concatenate([rows[fine], walked[excess == 0]])

    def _none(self) -> Rows:
        return np.zeros((0, len(self._encoded)), np.int16)

    def _drawn(self, count: int) -> Rows:
        parts, got = [self._none()], 0
        for _ in range(200):
            rows = self._encoded.draw(max(_CROWD, min(4 * count, 4096)), self._rng)
            rows = rows[self._problem.permits(rows)]
            self._share = len(rows) / max(_CROWD, min(4 * count, 4096))
            parts.append(rows)
            got += len(rows)
            if got >= count or self._share < _WORTH_DRAWING:
                break
        return np.concatenate(parts)

    def _walked(self, count: int) -> Rows:
        if self._walkers is None:
            self._walkers = self._arrive()
        parts, got = [self._none()], 0
        while got < count:
            self._walkers = self._wander(self._walkers)
            parts.append(self._walkers[self._rng.permutation(len(self._walkers))])
            got += len(self._walkers)
        return np.concatenate(parts)

    def _arrive(self) -> Rows:
        """Return walkers that reached the limits from random places."""
        steps = max(_LEAST_STEPS, _STEPS_PER_CHOICE * len(self._encoded))
        rows, excess = self._approach(self._encoded.draw(_WALKERS, self._rng), steps)
        arrived = rows[excess == 0]
        if not len(arrived):
            raise self._problem.nothing_found(np.concatenate([rows, self._extremes()]))
        again = self._rng.integers(len(arrived), size=_WALKERS)
        again[: len(arrived)] = np.arange(len(arrived))
        return np.asarray(arrived[again])

    def _approach(self, rows: Rows, steps: int) -> tuple[Rows, np.ndarray]:
        """Walk towards the limits; return where each was nearest, and how far away that is."""
        excess = self._finite(self._problem.excess(rows))
        best, nearest = rows.copy(), excess.copy()
        first = max(float(np.median(excess)), 1e-6)
        for step in range(steps):
            # Enough have arrived if half have: the others may stand in dead ends.
            if (nearest == 0).sum() * 2 > len(rows):
                break
            heat = 0.05 * first * math.exp(-12 * step / steps)
            new = self._encoded.mutate(rows, self._rng, steps=1 + step % 2)
            then = self._finite(self._problem.excess(new))
            worse = np.maximum(then - excess, 0.0)
            accept = (excess > 0) & (self._rng.random(len(rows)) < np.exp(-worse / heat))
            rows, excess = np.where(accept[:, None], new, rows), np.where(accept, then, excess)
            better = excess < nearest
            best[better], nearest[better] = rows[better], excess[better]
        return best, nearest

    def _wander(self, rows: Rows) -> Rows:
        """Walk at random within the limits."""
        for step in range(_FORGETTING_PER_CHOICE * max(1, len(self._encoded))):
            new = self._encoded.mutate(rows, self._rng, steps=1 + step % 3)
            fine = self._problem.permits(new)
            rows = np.where(fine[:, None], new, rows)
        return rows

    def _extremes(self) -> Rows:
        """Return, for each limited cost, the row nearest to its limits alone."""
        problem, found = self._problem, [self._none()]
        for limit in problem.cost_limits:
            alone = Problem(
                problem.space,
                limits=[one for one in problem.limits if one not in problem.cost_limits],
                costs={limit.name: problem.costs[limit.name]},
            )
            rows = self._encoded.draw(_WALKERS, self._rng)
            away = self._finite(limit.excess(alone.cost(limit.name, rows)))
            for _ in range(_STEPS_PER_CHOICE * max(1, len(self._encoded))):
                new = self._encoded.mutate(rows, self._rng)
                then = self._finite(limit.excess(alone.cost(limit.name, new)))
                better = then <= away
                rows, away = np.where(better[:, None], new, rows), np.where(better, then, away)
            found.append(rows[[int(away.argmin())]])
        return np.concatenate(found)

    @staticmethod
    def _finite(excess: np.ndarray) -> np.ndarray:
        return np.asarray(np.nan_to_num(excess, nan=1e9, posinf=1e9))


def distinct(rows: Rows, seen: set[bytes]) -> Rows:
    """Return the rows that are new, each once; they count as seen from now on."""
    keep = []
    for at, key in enumerate(keys_of(rows)):
        if key not in seen:
            seen.add(key)
            keep.append(at)
    return rows[keep]
