"""Groups of widths that must be equal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import final

_MIXED = "channels that come from several layers are combined with others, in another order"


@dataclass(frozen=True, slots=True)
class Segment:
    """Neighboring positions of an axis that come from one width.

    Attributes:
        width: The number of the width, among those of `Groups`.
        count: How many channels that is.
        repeat: How many neighboring positions belong to each channel.
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
    """Knows which widths must be equal, which consist of others, and which can't change and why."""

    def __init__(self) -> None:
        self._above: list[int] = []
        self._groups: dict[int, _Group] = {}
        self._parts: dict[int, Label] = {}

    def new(self, count: int, *writers: str, fixed: Sequence[str] = ()) -> Label:
        """Return the label of a new width.

        Args:
            count: How many channels.
            *writers: The names of the layers that make them. None makes those of a parameter.
            fixed: Why it can't change.
        """
        number = len(self._above)
        self._above.append(number)
        self._groups[number] = _Group(count, list(writers), fixed=list(fixed))
        return (Segment(number, count),)

    def top(self, number: int) -> int:
        """Return the number that stands for the whole group."""
        while self._above[number] != number:
            number = self._above[number]
        return number

    def resolve(self, label: Label) -> Label:
        """Return a label with the parts that its widths consist of by now."""
        found: list[Segment] = []
        for segment in label:
            number = self.top(segment.width)
            if number in self._parts:
                found += (
                    Segment(part.width, part.count, part.repeat * segment.repeat)
                    for part in self.resolve(self._parts[number])
                )
            else:
                found.append(Segment(number, segment.count, segment.repeat))
        return tuple(found)

    def fix(self, label: Label | None, why: str) -> None:
        """Say that a label's widths can't change."""
        for segment in self.resolve(label or ()):
            reasons = self._groups[segment.width].fixed
            if why not in reasons:
                reasons.append(why)

    def keep_multiple(self, label: Label, of: int) -> None:
        """Say that the positions of each segment must stay a multiple of a number."""
        for segment in self.resolve(label):
            group = self._groups[segment.width]
            group.multiple = math.lcm(group.multiple, of // math.gcd(of, segment.repeat))

    def join(self, first: Label, second: Label) -> None:
        """Say that two labels are of equal sizes, segment by segment.

        Where one has a single width and the other several, the single one is parted.
        """
        place = 0
        while True:  # ends: each time round, another segment is equal, or a width has more parts
            one, other = self.resolve(first), self.resolve(second)
            if place == len(one) or place == len(other):
                break
            a, b = one[place], other[place]
            if (a.count, a.repeat) == (b.count, b.repeat):
                self._unite(a.width, b.width)
                place += 1
            elif not self._part_like(a, b) and not self._part_like(b, a):
                break
        one, other = self.resolve(first), self.resolve(second)
        if place < len(one) or place < len(other):
            for label in (first, second):
                self.fix(label, _MIXED)

    def _part_like(self, whole: Segment, part: Segment) -> bool:
        """Part a width so that it begins as another does; say whether that is possible."""
        repeat, left = part.repeat // whole.repeat, whole.size - part.size
        if part.repeat % whole.repeat or left < 0 or self.top(whole.width) == self.top(part.width):
            return False
        forms = [(part.count, repeat)]
        if left:
            forms.append((whole.count - part.count * repeat, 1))
        return self.part(whole.width, forms) is not None

    def part(self, number: int, forms: Sequence[tuple[int, int]]) -> Label | None:
        """Let a width consist of new ones.

        Args:
            number: The width.
            forms: Of each part, how many channels it has, and of how many positions each is.

        Returns:
            The label of the parts; None if the width has to be whole.
        """
        number = self.top(number)
        if number in self._parts:
            return None
        group = self._groups[number]
        if sum(count * repeat for count, repeat in forms) != group.count:
            return None
        if any(count * repeat % group.multiple for count, repeat in forms):
            return None
        parts: list[Segment] = []
        for count, repeat in forms:
            (segment,) = self.new(count, *group.writers, fixed=group.fixed)
            multiple = group.multiple // math.gcd(group.multiple, repeat)
            self._groups[segment.width].multiple = multiple
            parts.append(Segment(segment.width, count, repeat))
        del self._groups[number]
        self._parts[number] = tuple(parts)
        return self._parts[number]

    def _unite(self, first: int, second: int) -> None:
        one, other = sorted((self.top(first), self.top(second)))
        if one != other:
            self._above[other] = one
            kept, gone = self._groups[one], self._groups.pop(other)
            kept.writers += [name for name in gone.writers if name not in kept.writers]
            kept.multiple = math.lcm(kept.multiple, gone.multiple)
            kept.fixed += [why for why in gone.fixed if why not in kept.fixed]

    def is_free(self, label: Label | None) -> bool:
        """Say whether some width of a label may change, as far as is known."""
        segments = self.resolve(label or ())
        return any(not self._groups[segment.width].fixed for segment in segments)

    def is_made(self, label: Label | None) -> bool:
        """Say whether a layer makes some of a label, and not all of it belongs to parameters."""
        return any(self._groups[s.width].writers for s in self.resolve(label or ()))

    def reasons(self, number: int) -> list[str]:
        """Return why a width can't change; nothing if it can."""
        return self._groups[self.top(number)].fixed

    def writers(self, number: int) -> list[str]:
        """Return the names of the layers that make a width."""
        return self._groups[self.top(number)].writers

    def multiple(self, number: int) -> int:
        """Return what a width must be a multiple of."""
        return self._groups[self.top(number)].multiple

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._groups))

    def count(self, number: int) -> int:
        """Return how many channels a width has in the given model."""
        return self._groups[self.top(number)].count
