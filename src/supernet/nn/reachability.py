"""Choices of a network, and when each counts: if a module that makes it is reached.

A chain reaches what is on its `path`, any other module all of its children. That is said in one
place only: the conditions of the search space come from trying out what `path` answers.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from torch import nn

from supernet.errors import SpaceError
from supernet.nn.choices import ChoiceChain, ChoiceModule
from supernet.space import Architecture, Choice, Condition, Option, SearchSpace

# A way to reach something: certain options of certain choices. Without any, it is always reached.
_Way = frozenset[tuple[str, frozenset[Option]]]


def find_space(net: nn.Module) -> SearchSpace:
    """Return the search space of a network.

    Choices are in the order of their modules, except that each comes after those it depends on. One
    that several modules make counts if any of them is reached; one never reached is left out.

    Raises:
        SpaceError: If two different choices share a name, or two depend on each other.
    """
    every = _choices_of(net)
    ways = _ways_from(net, {})
    choices = _in_order({choice: ways[choice] for choice in every if choice in ways})
    places = {choice.name: place for place, choice in enumerate(choices)}
    conditions = []
    for choice in choices:
        # Sorted, because the order of a set differs from process to process.
        numbered = sorted(
            sorted((places[name], _numbers(choices[places[name]], some)) for name, some in way)
            for way in ways[choice]
        )
        for needs in filter(None, numbered):
            named = ((choices[place], numbers) for place, numbers in needs)
            conditions.append(
                Condition(
                    choice.name,
                    tuple(
                        (on.name, tuple(on.options[n] for n in numbers)) for on, numbers in named
                    ),
                )
            )
    return SearchSpace(tuple(choices), tuple(conditions))


def restrict(arch: Architecture, module: nn.Module) -> Architecture:
    """Return what an architecture says about the choices that it reaches inside a module.

    Two architectures for which that is the same do the same there.
    """
    names: list[str] = []
    todo, seen = [module], {module}
    while todo:
        inner = todo.pop()
        if isinstance(inner, ChoiceModule):
            names += (choice.name for choice in inner.choices)
        new = set(_reached(inner, arch)) - seen
        todo += new
        seen |= new
    return arch.restrict(names)


def _reached(module: nn.Module, arch: Architecture) -> Iterable[nn.Module]:
    """Return the modules inside that a module hands on to, for an architecture."""
    if isinstance(module, ChoiceChain) and _runs_its_path(module):
        return module.path(arch)
    return module.children()


def _runs_its_path(chain: ChoiceChain) -> bool:
    # A forward that somebody put on the object itself may run anything.
    return "forward" not in vars(chain)


def _choices_of(net: nn.Module) -> list[Choice]:
    """Return all choices, in the order of the modules."""
    found: dict[str, tuple[Choice, str]] = {}
    for place, module in net.named_modules():
        for choice in module.choices if isinstance(module, ChoiceModule) else ():
            known, first = found.setdefault(choice.name, (choice, place))
            if known != choice:
                raise SpaceError(
                    f"two different choices share a name, {choice.name!r}: that of {_shown(first)} "
                    f"has the options {known.options}, that of {_shown(place)} has "
                    f"{choice.options}; rename one of them, or give both the same options"
                )
    return [choice for choice, _ in found.values()]


def _shown(place: str) -> str:
    return f"module {place!r}" if place else "the network itself"


def _ways_from(
    module: nn.Module, known: dict[nn.Module, Mapping[Choice, Collection[_Way]]]
) -> Mapping[Choice, Collection[_Way]]:
    """Return the ways to reach the choices inside a module, once it is reached itself."""
    if module in known:
        return known[module]
    own = module.choices if isinstance(module, ChoiceModule) else ()
    # Whatever another module chooses, it reaches the same: there is nothing to try out.
    deciding = own if isinstance(module, ChoiceChain) and _runs_its_path(module) else ()
    # Which combinations of its own options lead on to a choice, by the way from there.
    leading: dict[tuple[Choice, _Way], list[Architecture]] = {}
    for arch in SearchSpace(tuple(dict.fromkeys(deciding))):
        onward = {
            (choice, way): None
            for inner in _reached(module, arch)
            for choice, ways in _ways_from(inner, known).items()
            for way in ways
        }
        for what in onward:
            leading.setdefault(what, []).append(arch)
    found: dict[Choice, set[_Way]] = {choice: {frozenset()} for choice in own}
    for (choice, rest), archs in leading.items():
        for first in _boxes(deciding, archs):
            if (way := _both(first, rest)) is not None:
                found.setdefault(choice, set()).add(way)
    known[module] = {choice: _weakest(ways) for choice, ways in found.items()}
    return known[module]


def _boxes(choices: Sequence[Choice], archs: Sequence[Architecture]) -> Iterator[_Way]:
    """Yield ways that together are these combinations of options, one way if that is possible."""
    some = {choice: frozenset(arch[choice.name] for arch in archs) for choice in choices}
    if math.prod(map(len, some.values())) == len(archs):
        yield frozenset(
            (c.name, will_do) for c, will_do in some.items() if len(will_do) < len(c.options)
        )
        return
    for arch in archs:
        yield frozenset((name, frozenset([option])) for name, option in arch.items())


def _both(first: _Way, second: _Way) -> _Way | None:
    """Return the way that holds if both do; None if they contradict each other."""
    needs = dict(first)
    for name, options in second:
        needs[name] = needs.get(name, options) & options
    return frozenset(needs.items()) if all(needs.values()) else None


def _weakest(ways: Collection[_Way]) -> list[_Way]:
    """Leave out the ways that hold only if another holds too."""

    def implies(way: _Way, other: _Way) -> bool:
        needs = dict(way)
        return all(name in needs and needs[name] <= options for name, options in other)

    return [w for w in ways if not any(w != other and implies(w, other) for other in ways)]


def _in_order(ways: Mapping[Choice, Collection[_Way]]) -> list[Choice]:
    """Return choices in an order in which each comes after those it depends on."""
    needed = {choice: {name for way in found for name, _ in way} for choice, found in ways.items()}
    ordered: list[Choice] = []
    while needed:
        placed = {choice.name for choice in ordered}
        ready = next((choice for choice, names in needed.items() if names <= placed), None)
        if ready is None:
            names = [choice.name for choice in needed]
            raise SpaceError(
                f"some of the choices {names} each decide whether the other counts; "
                "give the modules names of their own, so that they have choices of their own"
            )
        ordered.append(ready)
        del needed[ready]
    return ordered


def _numbers(choice: Choice, options: Collection[Option]) -> tuple[int, ...]:
    return tuple(n for n, option in enumerate(choice.options) if option in options)
