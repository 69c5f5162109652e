"""Pareto fronts and hypervolumes. Every objective here is better the smaller it is.

A point is a row of `points`, points x objectives; none of its numbers is NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


def dominates(points: Points, others: Points) -> NDArray[np.bool_]:
    """Say which of `points` dominate which of `others`, points x others.

    One dominates another if it is nowhere worse and somewhere better.
    """
    first, second = points[:, None, :], others[None, :, :]
    return np.asarray(np.all(first <= second, axis=2) & np.any(first < second, axis=2))


def find_front(points: Points) -> NDArray[np.bool_]:
    """Say which points no other dominates. Equal points are all in, or none of them is.

    >>> find_front(np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 3.0]])).tolist()
    [True, True, False]
    """
    if points.shape[1] == 2:
        return _front_of_pairs(points)
    front = np.ones(len(points), np.bool_)
    kept, count = np.empty_like(points), 0
    # In lexicographic order nobody is dominated by who comes later.
    for at in np.lexsort(points.T[::-1]):
        point, before = points[at], kept[:count]
        if (np.all(before <= point, axis=1) & np.any(before < point, axis=1)).any():
            front[at] = False
        else:
            kept[count] = point
            count += 1
    return front


def _front_of_pairs(points: Points) -> NDArray[np.bool_]:
    """Sweep along the first objective: who is in front has less of the second than all before."""
    order = np.lexsort((points[:, 1], points[:, 0]))
    first, second = points[order].T
    front = np.ones(len(points), np.bool_)
    starts = np.flatnonzero(np.append(True, np.diff(first) > 0))[: len(points)]
    group = np.cumsum(np.append(True, np.diff(first) > 0)[: len(points)]) - 1
    least = second[starts]  # of all that have the same first
    before = np.append(np.inf, np.minimum.accumulate(least))[: len(starts)]
    front[order] = (second == least[group]) & (second < before[group])
    return front


def rank(points: Points) -> NDArray[np.intp]:
    """Return the number of each point's front: 0 if none dominates it, 1 if only those do, ..."""
    found = np.zeros(len(points), np.intp)
    beaten = dominates(points, points)
    left, number = np.ones(len(points), np.bool_), 0
    while left.any():
        front = left & ~beaten[left].any(axis=0)
        found[front] = number
        left &= ~front
        number += 1
    return found


def crowding(points: Points) -> Points:
    """Return how much room each point has among these: the sum of the gaps beside it.

    Infinite for the ends of each objective (Deb et al. 2002, NSGA-II).
    """
    room = np.zeros(len(points))
    for column in points.T:
        order = np.argsort(column, kind="stable")
        spread = column[order[-1]] - column[order[0]] if len(order) else 0.0
        gaps = np.full(len(points), np.inf)
        if len(points) > 2:
            gaps[1:-1] = (column[order[2:]] - column[order[:-2]]) / (spread or 1.0)
        room[order] += gaps
    return room


def best_first(points: Points) -> NDArray[np.intp]:
    """Return the order of points by front, and within a front by room, the most of it first."""
    fronts = rank(points)
    room = np.zeros(len(points))
    for number in range(fronts.max(initial=-1) + 1):
        members = fronts == number
        room[members] = crowding(points[members])
    return np.lexsort((-room, fronts))


def hypervolume(points: Points, reference: NDArray[np.float64]) -> float:
    """Return the volume of what the points dominate, up to `reference`; exact.

    Points that aren't better than the reference in every objective add nothing. The time grows with
    the number of points to the number of objectives less one: fine for two and three.

    >>> hypervolume(np.array([[1.0, 2.0], [2.0, 1.0]]), np.array([3.0, 3.0]))
    3.0
    """
    inside = points[np.all(points < reference, axis=1)]
    if not len(inside):
        return 0.0
    return _volume(inside[find_front(inside)], reference)


def _volume(points: Points, reference: NDArray[np.float64]) -> float:
    """Sweep along the last objective; between two values of it, the section doesn't change."""
    if points.shape[1] == 1:
        return float(reference[0] - points[:, 0].min())
    if points.shape[1] == 2:
        ordered = points[np.lexsort((points[:, 1], points[:, 0]))]
        tops = np.minimum.accumulate(ordered[:, 1])
        ends = np.append(ordered[1:, 0], reference[0])
        return float(np.sum((ends - ordered[:, 0]) * (reference[1] - tops)))
    ordered = points[np.argsort(points[:, -1], kind="stable")]
    ends = np.append(ordered[1:, -1], reference[-1])
    volume = 0.0
    for at, (start, end) in enumerate(zip(ordered[:, -1], ends, strict=True)):
        if end > start:
            section = ordered[: at + 1, :-1]
            volume += (end - start) * _volume(section[find_front(section)], reference[:-1])
    return float(volume)
