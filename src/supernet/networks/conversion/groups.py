"""Widths that must be equal, in groups."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import final


@dataclass(frozen=True, slots=True)
class Segment:
    """Neighbouring positions of an axis that come from one width.

    Attributes:
        width: The number of the width, among those of `Groups`.
        count: How many channels that is.
        repeat: How many neighbouring positions belong to each channel.
    """

    width: int
    count: int
    repeat: int = 1

    @property
    def size(self) -> int:
        """How many positions there are."""
        return self.count * self.repeat


#: What lies along an axis. There are several segments after a concatenation.
Label = tuple[Segment, ...]


@dataclass
class _Group:
    count: int
    writers: list[str] = field(default_factory=list)
    multiple: int = 1
    fixed: list[str] = field(default_factory=list)


@final
class Groups:
    """Knows which widths must be equal, and which can't change and why."""

    def __init__(self) -> None:
        self._above: list[int] = []
        self._groups: dict[int, _Group] = {}

    def new(self, count: int, writer: str | None = None) -> Label:
        """Return the label of a new width.

        Args:
            count: How many channels.
            writer: The name of the layer that makes them. Without one, the width is fixed.
        """
        number = len(self._above)
        self._above.append(number)
        self._groups[number] = _Group(count, [] if writer is None else [writer])
        label = (Segment(number, count),)
        if writer is None:
            self.fix(label, "some of its channels are made by no layer")
        return label

    def top(self, number: int) -> int:
        """Return the number that stands for the whole group."""
        while self._above[number] != number:
            number = self._above[number]
        return number

    def fix(self, label: Label | None, why: str) -> None:
        """Say that a label's widths can't change."""
        for segment in label or ():
            reasons = self._groups[self.top(segment.width)].fixed
            if why not in reasons:
                reasons.append(why)

    def keep_multiple(self, label: Label, of: int) -> None:
        """Say that a label's widths must be multiples of a number."""
        for segment in label:
            group = self._groups[self.top(segment.width)]
            group.multiple = math.lcm(group.multiple, of)

    def join(self, first: Label, second: Label) -> None:
        """Say that two labels are of equal sizes, segment by segment."""
        forms = [[(s.count, s.repeat) for s in label] for label in (first, second)]
        if forms[0] != forms[1]:
            for label in (first, second):
                self.fix(label, "channels that come from several layers are added to others")
            return
        for a, b in zip(first, second, strict=True):
            one, other = sorted((self.top(a.width), self.top(b.width)))
            if one != other:
                self._above[other] = one
                kept, gone = self._groups[one], self._groups.pop(other)
                kept.writers += gone.writers
                kept.multiple = math.lcm(kept.multiple, gone.multiple)
                kept.fixed += [why for why in gone.fixed if why not in kept.fixed]

    def reasons(self, number: int) -> list[str]:
        """Return why a width can't change; nothing if it can."""
        return self._groups[self.top(number)].fixed

    def writer(self, number: int) -> str:
        """Return the name of the first layer that makes a width; empty if none does."""
        return next(iter(self._groups[self.top(number)].writers), "")

    def multiple(self, number: int) -> int:
        """Return what a width must be a multiple of."""
        return self._groups[self.top(number)].multiple

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._groups))

    def count(self, number: int) -> int:
        """Return how many channels a width has in the given model."""
        return self._groups[self.top(number)].count
