"""Placeholders for values, and the tuples, lists and dicts that hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

#: Anything made of tuples, lists, dicts and slices, with `Ref`s and constants inside.
Structure = Any

Leaf = TypeVar("Leaf")


@dataclass(frozen=True, slots=True)
class Ref:
    """Stands for the value with this number, in the order in which values come to be."""

    index: int


def refs(structure: Structure) -> Iterator[Ref]:
    """Yield the references inside, from left to right."""
    return leaves(structure, Ref)


def leaves(structure: Structure, kind: type[Leaf]) -> Iterator[Leaf]:
    """Yield the parts of a type, from left to right."""
    if isinstance(structure, kind):
        yield structure
    elif isinstance(structure, tuple | list):
        for part in structure:
            yield from leaves(part, kind)
    elif isinstance(structure, dict):
        for part in structure.values():
            yield from leaves(part, kind)
    elif isinstance(structure, slice):
        yield from leaves((structure.start, structure.stop, structure.step), kind)


def replace(structure: Structure, kind: type[Leaf], new: Callable[[Leaf], Any]) -> Structure:
    """Return the structure with every part of a type replaced by what `new` makes of it."""
    if isinstance(structure, kind):
        return new(structure)
    if isinstance(structure, tuple):
        parts = [replace(part, kind, new) for part in structure]
        return type(structure)(*parts) if hasattr(structure, "_fields") else tuple(parts)
    if isinstance(structure, list):
        return [replace(part, kind, new) for part in structure]
    if isinstance(structure, dict):
        return {key: replace(part, kind, new) for key, part in structure.items()}
    if isinstance(structure, slice):
        return slice(*replace((structure.start, structure.stop, structure.step), kind, new))
    return structure


def key(structure: Structure) -> object:
    """Return something hashable that is equal for equal structures, and for no others."""
    if isinstance(structure, Ref):
        return structure
    if isinstance(structure, tuple | list):
        return type(structure), *map(key, structure)
    if isinstance(structure, dict):
        return dict, *((name, key(part)) for name, part in structure.items())
    if isinstance(structure, slice):
        return slice, *map(key, (structure.start, structure.stop, structure.step))
    if isinstance(structure, bool | int | float | complex | str | bytes | None):
        return type(structure), structure
    return Same(structure)


@dataclass(frozen=True, slots=True, eq=False)
class Same:
    """Makes an object hashable, equal to itself alone, and keeps it alive."""

    what: object

    def __hash__(self) -> int:
        return id(self.what)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.what is other.what
