"""Detection of equal parts of a network, and of what they differ in.

A person writes a repeated part once, as a function or a class, and gives it as arguments what is
different each time. So does `model.py`: parts that differ in numbers only have one template, and
its parameters are the numbers that differ. Numbers that are always equal are one parameter.
"""

from __future__ import annotations

import inspect
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from supernet.export import layers
from supernet.export.description import (
    BlockPart,
    ChainPart,
    LayerPart,
    OwnPart,
    children_of,
    parts_of,
)

#: Parameters that are clear without their names.
WIDTHS = ("channels", "features", "in_channels", "in_features", "out_channels", "out_features")

#: What an argument is that has no default.
REQUIRED = inspect.Parameter.empty


@dataclass(frozen=True)
class Hole:
    """A place in a part where a number stands: what it is called there, and its value."""

    name: str
    value: Any
    default: Any = REQUIRED


@dataclass(frozen=True)
class Parameter:
    """A parameter of a template."""

    name: str
    default: Any
    types: str


@dataclass(frozen=True)
class Template:
    """A part that is written once.

    Attributes:
        name: Of the function or class.
        example: One of the parts that are made by it.
        count: How many there are.
        parameters: Those without a default first.
        sources: For each hole in it: the parameter's place, an expression of parameters, or None
            for a number that is always the same.
        takes: For each parameter, the hole that its value is read from.
    """

    name: str
    example: Any
    count: int
    parameters: tuple[Parameter, ...]
    sources: tuple[int | str | None, ...]
    takes: tuple[int, ...]


@dataclass
class Templates:
    """The templates of a network, in the order in which they have to be defined."""

    of: dict[str, Template] = field(default_factory=dict)
    _keys: dict[int, str] = field(default_factory=dict)

    def find(self, part: Any) -> Template | None:
        """Return the template that makes a part, if it has one."""
        return self.of.get(self.key(part))

    def key(self, part: Any) -> str:
        """Return what parts have in common that have the same template."""
        if id(part) not in self._keys:
            self._keys[id(part)] = self._key(part)
        return self._keys[id(part)]

    def holes(self, part: Any) -> list[Hole]:
        """Return the numbers that have to be given to make a part, in the order of its code."""
        if (template := self.find(part)) is None:
            return self.inner_holes(part)
        inside = self.inner_holes(part)
        return [
            Hole(parameter.name, inside[at].value, parameter.default)
            for parameter, at in zip(template.parameters, template.takes, strict=True)
        ]

    def inner_holes(self, part: Any) -> list[Hole]:
        """Return the numbers inside a part, whether or not it has a template."""
        if isinstance(part, LayerPart):
            return [
                Hole(name, _frozen(part.arguments.get(name, parameter.default)), parameter.default)
                for name, parameter in layers.parameters_of(part.layer).items()
            ]
        found = []
        if isinstance(part, BlockPart | OwnPart):
            found = [
                Hole(f"{name}_size", size) for name, t in part.tensors.items() for size in t.shape
            ]
        for child in children_of(part).values():
            found += self.holes(child)
        return found

    def _key(self, part: Any) -> str:
        if isinstance(part, LayerPart):
            return part.layer
        inside = [(name, self.key(child)) for name, child in children_of(part).items()]
        if isinstance(part, ChainPart):
            return json.dumps([part.container, inside])
        rest = part.model_dump(exclude={"children", "tensors"})
        tensors = [(n, t.learned, t.dtype, len(t.shape)) for n, t in part.tensors.items()]
        return json.dumps([rest, tensors, inside], sort_keys=True)


def find_templates(root: Any, taken: Iterable[str]) -> Templates:
    """Return the templates of a network: every block is one, and every chain that is repeated.

    Args:
        root: The whole.
        taken: Names that templates can't have.
    """
    templates = Templates()
    groups: dict[str, list[Any]] = defaultdict(list)
    places: dict[str, set[object]] = defaultdict(set)
    for part in parts_of(root):
        groups[templates.key(part)].append(part)
        for name, child in children_of(part).items():
            # Within a block that is written once itself, it is written once anyway.
            inside = templates.key(part) if isinstance(part, BlockPart | OwnPart) else id(part)
            places[templates.key(child)].add((inside, name))
    names = set(taken)
    for key, group in groups.items():  # as `parts_of` has them: those inside others come first
        if _is_worth_it(group[0], len(places[key]), templates):
            name = _unused(_name(group[0]), names)
            names.add(name)
            templates.of[key] = _make(name, group, templates)
    return templates


def _is_worth_it(part: Any, places: int, templates: Templates) -> bool:
    if isinstance(part, BlockPart | OwnPart):
        return True
    if not isinstance(part, ChainPart) or part.container != "Sequential" or places < 2:
        return False
    children = part.children.values()
    return len({templates.key(child) for child in children if not isinstance(child, ChainPart)}) > 1


def _make(name: str, group: Sequence[Any], templates: Templates) -> Template:
    rows = [templates.inner_holes(part) for part in group]
    columns = [tuple(row[at].value for row in rows) for at in range(len(rows[0]))]
    holes = rows[0]
    varying: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for at, column in enumerate(columns):
        if any(not _equal(value, column[0]) for value in column):
            varying[column].append(at)
    parameters: list[tuple[Parameter, list[int]]] = []
    derived: dict[int, str] = {}
    names: set[str] = set()
    for column, places in varying.items():
        if (half := _half_of(column, holes[places[0]].name, varying, holes)) is not None:
            derived.update(dict.fromkeys(places, half))
            continue
        word = _common_name([holes[at].name for at in places])
        word = _unused("hidden" if word in names and word in WIDTHS else word, names)
        names.add(word)
        parameters.append(
            (Parameter(word, _default(column, places, holes), _types(column)), places)
        )
    parameters.sort(key=lambda entry: entry[0].default is not REQUIRED)
    sources: list[int | str | None] = [derived.get(at) for at in range(len(columns))]
    for place, (_, places) in enumerate(parameters):
        for at in places:
            sources[at] = place
    return Template(
        name=name,
        example=group[0],
        count=len(group),
        parameters=tuple(parameter for parameter, _ in parameters),
        sources=tuple(sources),
        takes=tuple(places[0] for _, places in parameters),
    )


def _half_of(
    column: tuple[Any, ...], name: str, varying: dict[tuple[Any, ...], list[int]], holes: list[Hole]
) -> str | None:
    """Return `kernel_size // 2`, where a padding is always that."""
    if name != "padding":
        return None
    for other, places in varying.items():
        if holes[places[0]].name == "kernel_size" and all(
            type(k) is int and type(p) is int and p == k // 2
            for k, p in zip(other, column, strict=True)
        ):
            return "kernel_size // 2"
    return None


def _common_name(names: Sequence[str]) -> str:
    """Return a name for numbers that are always equal: `channels` for those that go in and out."""
    words = [name.rstrip("0123456789") for name in names]
    for kind in ("channels", "features"):
        if {f"in_{kind}", f"out_{kind}"} <= set(words):
            return kind
    return words[0]


def _default(column: tuple[Any, ...], places: Sequence[int], holes: Sequence[Hole]) -> Any:
    """Return the default of a parameter: its hole's own, where that is among its values."""
    default = holes[places[0]].default
    plain = default is None or type(default) in (int, float, bool, str)
    return default if plain and any(_equal(value, default) for value in column) else REQUIRED


def _equal(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _types(values: Iterable[Any]) -> str:
    kinds = {"None" if value is None else type(value).__name__ for value in values}
    kinds = {"tuple[int, ...]" if kind == "tuple" else kind for kind in kinds}
    return " | ".join(sorted(kinds, key=lambda kind: (kind == "None", kind)))


def _unused(name: str, names: set[str]) -> str:
    return next(
        (found for number in range(2, len(names) + 3) if (found := f"{name}{number}") not in names)
        if name in names
        else iter([name])
    )


_WORDS = {
    "ConvTranspose": "deconv",
    "Conv": "conv",
    "BatchNorm": "bn",
    "LayerNorm": "norm",
    "GroupNorm": "norm",
    "Linear": "linear",
    "AdaptiveAvgPool": "pool",
    "AvgPool": "pool",
    "MaxPool": "pool",
    "Hardswish": "hswish",
    "Hardsigmoid": "hsigmoid",
}


def _name(part: Any) -> str:
    """Return a name for a template: a class's own, or what is in a chain."""
    if isinstance(part, BlockPart | OwnPart):
        return part.name[0].upper() + part.name[1:]
    words = [_word(child) for child in part.children.values()]
    return "_".join(words) if len(words) <= 4 else f"{words[0]}_to_{words[-1]}"


def _word(part: Any) -> str:
    if isinstance(part, ChainPart):
        return "layers"
    if isinstance(part, BlockPart | OwnPart):
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", part.name).lower()
    for start, word in _WORDS.items():
        if part.layer.startswith(start):
            return word
    return str(part.layer).lower()
