"""Placement of labels beside points without overlaps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_DIRECTIONS = 16
_STEPS = 24


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle: left, bottom, right, top."""

    x0: float
    y0: float
    x1: float
    y1: float

    def overlap(self, other: Box) -> float:
        """Return the area that two rectangles share."""
        width = min(self.x1, other.x1) - max(self.x0, other.x0)
        height = min(self.y1, other.y1) - max(self.y0, other.y0)
        return max(width, 0.0) * max(height, 0.0)

    def area_outside(self, frame: Box) -> float:
        """Return the part of the area that lies outside a frame."""
        return (self.x1 - self.x0) * (self.y1 - self.y0) - self.overlap(frame)


def place(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    obstacles: Sequence[Box],
    frame: Box,
    *,
    radius: float,
    gap: float,
) -> list[Box]:
    """Return a rectangle for each label, all in the unit of the points.

    Greedy: each label in turn takes the nearest of a fixed set of places around its point that
    covers nothing, or where there is none the one that covers least. So it always ends, and the
    same points give the same places.

    Args:
        points: Where the points are.
        sizes: Width and height of each label.
        obstacles: What else is not to be covered.
        frame: Where labels may be.
        radius: A point covers a square of twice this side.
        gap: The room to leave around a label.
    """
    dots = [Box(x - radius, y - radius, x + radius, y + radius) for x, y in points]
    taken: list[Box] = []
    for point, (width, height) in zip(points, sizes, strict=True):
        best, least = None, math.inf
        for box in _places(point, width, height, radius + gap):
            room = Box(box.x0 - gap, box.y0 - gap, box.x1 + gap, box.y1 + gap)
            cost = 10 * sum(map(room.overlap, taken)) + 3 * sum(map(room.overlap, dots))
            cost += sum(map(box.overlap, obstacles)) + 10 * room.area_outside(frame)
            if cost < least:
                best, least = box, cost
            if cost <= 1e-9:
                break
        assert best is not None
        taken.append(best)
    return taken


def _places(
    point: tuple[float, float], width: float, height: float, nearest: float
) -> Iterator[Box]:
    x, y = point
    for step in range(_STEPS):
        away = nearest + step * 0.5 * height
        for direction in range(_DIRECTIONS):
            angle = 2 * math.pi * direction / _DIRECTIONS
            cx = x + math.cos(angle) * (away + width / 2)
            cy = y + math.sin(angle) * (away + height / 2)
            yield Box(cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
