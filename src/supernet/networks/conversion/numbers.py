"""Numbers that a model's code reads off the shapes of tensors.

Whoever traces a model with an example knows them all, so the model's code may loop, branch and
assert on them. What must not be lost is where they come from: a tensor that is reshaped to a size
which was read follows a width, one that is reshaped to a number in the code does not.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Self, final

from torch import fx

#: An axis of the value of a node, or an attribute of a module: ("attention", "num_heads").
Root = tuple[fx.Node, int] | tuple[str, str]


@final
class Sized(int):
    """A whole number, and what it was computed from.

    Attributes:
        roots: The axes and attributes whose sizes it follows from.
        decided: Where comparisons leave what they compared; shared by all numbers of a trace.
    """

    roots: frozenset[Root]
    decided: set[Root]

    @classmethod
    def of(cls, value: int, roots: frozenset[Root], decided: set[Root]) -> Self:
        """Return a number with its roots."""
        number = cls(value)
        number.roots, number.decided = roots, decided
        return number

    def __hash__(self) -> int:
        return int.__hash__(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # as a number, which can't change

    def __reduce__(self) -> tuple[Any, ...]:
        return int, (int(self),)


def roots_of(value: object) -> frozenset[Root]:
    """Return what a number was computed from; nothing if it stands in the code."""
    return value.roots if isinstance(value, Sized) else frozenset()


def _computing(name: str) -> Callable[..., Any]:
    compute = getattr(int, name)

    def method(self: Sized, *others: Any) -> Any:
        value = compute(self, *others)
        if type(value) is int:
            roots = self.roots.union(*map(roots_of, others))
            return Sized.of(value, roots, self.decided)
        return value

    return method


def _comparing(name: str) -> Callable[..., Any]:
    compare = getattr(operator, name)

    def method(self: Sized, other: Any) -> Any:
        if not isinstance(other, int | float):
            return NotImplemented
        self.decided.update(self.roots | roots_of(other))
        return compare(int(self), int(other) if isinstance(other, Sized) else other)

    return method


for _name in ("add", "sub", "mul", "floordiv", "mod", "pow"):
    for _prefix in ("", "r"):
        setattr(Sized, f"__{_prefix}{_name}__", _computing(f"__{_prefix}{_name}__"))
for _name in ("neg", "pos", "abs", "round", "ceil", "floor", "trunc"):
    setattr(Sized, f"__{_name}__", _computing(f"__{_name}__"))
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(Sized, f"__{_name}__", _comparing(_name))
