"""Labels for the widths of a model: who makes and reads them, and along which axes they lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor, fx, nn

from supernet.networks.conversion.groups import Groups, Label, Segment
from supernet.networks.conversion.numbers import roots_of

#: A label for every axis of a tensor; None where no layer's width lies.
Labels = tuple[Label | None, ...]


@dataclass
class Role:
    """Of which widths a layer is.

    Attributes:
        inp: Its input width; None if no layer makes it.
        out: Its output width.
        block: How many channels a group of a grouped convolution or norm has; 0 where there are no
            groups that follow the width.
    """

    inp: Label | None
    out: Label | None
    block: int = 0


@final
class Labeling:
    """The widths of a model, found by walking along its graphs.

    Attributes:
        modules: The modules of the model by name.
        groups: Which widths must be equal, and which can't change.
        roles: By the name of a layer, of which widths it is.
        tensors: By the name of a parameter or buffer that the model's own code reads, a label per
            axis.
        labels: By node, one label per axis of its value.
        several: By node whose value is several tensors, the labels of each.
        read_layers: The names of layers whose weights the model's own code reads.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self.modules = modules
        self.groups = Groups()
        self.roles: dict[str, Role] = {}
        self.tensors: dict[str, Labels] = {}
        self.labels: dict[fx.Node, Labels] = {}
        self.several: dict[fx.Node, Sequence[Labels]] = {}
        self.read_layers: set[str] = set()

    def of(self, node: fx.Node) -> Labels:
        """Return the labels of a node; all None if there are none."""
        value = node.meta.get("value")
        return self.labels.get(node, (None,) * (value.ndim if isinstance(value, Tensor) else 0))

    def all_of(self, node: fx.Node) -> list[Label]:
        """Return every label that a node has, also if it stands for several tensors."""
        several = self.several.get(node, [self.of(node)])
        return [label for labels in several for label in labels if label is not None]

    def fix(self, node: fx.Node, why: str, axes: Sequence[int] | None = None) -> None:
        """Say that the widths along some axes of a value, or all, can't change."""
        if axes is None:
            for label in self.all_of(node):
                self.groups.fix(label, why)
        else:
            for axis in axes:
                self.groups.fix(self.of(node)[axis], why)

    def join(self, labels: Iterable[Label | None]) -> Label | None:
        """Say that labels are equally wide; return one of them."""
        found = [label for label in labels if label is not None]
        for label in found[1:]:
            self.groups.join(found[0], label)
        return found[0] if found else None

    def play(self, node: fx.Node, role: Role) -> Role:
        """Write down a layer's role; one that runs twice has one role."""
        name = str(node.target)
        known = self.roles.setdefault(name, role)
        if known is role:
            return role
        for first, second in ((known.inp, role.inp), (known.out, role.out)):
            if first is not None and second is not None:
                self.groups.join(first, second)
            else:
                self.groups.fix(first or second, f"{name!r} also runs where the width is fixed")
        return known

    def follow(self, size: Any, label: Label, what: str) -> None:
        """Say that the model's code asks for a size where a width lies.

        A number written into the code is a width that can't change. One that was read from a
        tensor, or is left open, can.

        Args:
            size: What the code asks for.
            label: The width.
            what: What is done to it, for the reason.
        """
        if size is None or (type(size) is int and size == -1):
            return
        read = [
            found
            for node, axis in roots_of(size)
            if isinstance(node, fx.Node) and isinstance(axis, int)
            if (found := self.of(node)[axis]) is not None
        ]
        if not read:
            self.groups.fix(label, f"it is {what} to {int(size)}, a number in the model's code")
        elif len(read) > 1:
            for width in (label, *read):
                self.groups.fix(width, f"it is {what} to what is computed of several widths")
        elif size_of(read[0]) % size == 0:
            self.equal(read[0], label * (size_of(read[0]) // size))
        elif size % size_of(read[0]) == 0:
            self.equal(label, read[0] * (size // size_of(read[0])))
        else:
            for width in (label, read[0]):
                self.groups.fix(width, f"it is {what} to what is computed of a width")

    def equal(self, first: Label, second: Label) -> None:
        """Say that as much lies along two labels, in whatever order."""
        if self._make_up(first) != self._make_up(second):
            self.groups.join(first, second)

    def _make_up(self, label: Label) -> Counter[int]:
        """Return how many positions of a label are of each width, in whatever order."""
        found: Counter[int] = Counter()
        for segment in self.groups.resolve(label):
            found[segment.width] += segment.size
        return found

    def fix_read(self, size: Any, why: str) -> None:
        """Say that the widths which a number was read from can't change."""
        for node, axis in roots_of(size):
            if isinstance(node, fx.Node) and isinstance(axis, int):
                self.groups.fix(self.of(node)[axis], why)

    def is_read(self, size: Any) -> bool:
        """Say whether a size follows from a width that may change."""
        return any(
            isinstance(node, fx.Node) and isinstance(axis, int) and self.of(node)[axis] is not None
            for node, axis in roots_of(size)
        )


def size_of(label: Label) -> int:
    """Return how many positions a label is about."""
    return sum(segment.size for segment in label)


def repeated(label: Label, times: int) -> Label:
    """Return a label in which every channel has so many positions more."""
    return tuple(Segment(s.width, s.count, s.repeat * times) for s in label)


def value_of(node: fx.Node) -> Tensor:
    """Return what a node's value was on the example, without its numbers."""
    value = node.meta["value"]
    assert isinstance(value, Tensor)
    return value


def source_of(node: fx.Node) -> fx.Node:
    """Return the first argument of an operation."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    return source


def argument(node: fx.Node, place: int, *names: str, default: Any = None) -> Any:
    """Return an argument of an operation, by its place or one of its names."""
    if len(node.args) > place:
        return node.args[place]
    return next((node.kwargs[name] for name in names if name in node.kwargs), default)
