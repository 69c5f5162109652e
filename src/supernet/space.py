"""Search spaces as plain data: names, options, and what can be done with them.

Nothing here knows about tensors, so a search can be written, tested and replayed without torch.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from supernet.errors import SpaceError

Option = int | str


@dataclass(frozen=True, slots=True)
class Choice:
    """One named decision and its options, from least to most costly.

    Raises:
        SpaceError: If there are no options, or an option is repeated.
    """

    name: str
    options: tuple[Option, ...]

    def __post_init__(self) -> None:
        if not self.options:
            raise SpaceError(f"choice {self.name!r} has no options; give it at least one")
        if len(set(self.options)) != len(self.options):
            raise SpaceError(f"choice {self.name!r} repeats an option: {self.options}")


class Architecture(Mapping[str, Option]):
    """One option for every choice: immutable, hashable, and the same in any order.

    >>> a = Architecture({"depth": 2, "op": "conv3"})
    >>> a == Architecture({"op": "conv3", "depth": 2}), hash(a) == hash(a.but(depth=2))
    (True, True)
    >>> a.but(depth=3)
    Architecture(depth=3, op='conv3')
    >>> a.label
    '(2, conv3)'
    """

    __slots__ = ("_hash", "_options")

    def __init__(self, options: Mapping[str, Option] = {}) -> None:
        self._options = dict(sorted(options.items()))
        self._hash = hash(tuple(self._options.items()))

    def __getitem__(self, name: str) -> Option:
        return self._options[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._options)

    def __len__(self) -> int:
        return len(self._options)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Architecture):  # as Mapping has it, but without making two dicts
            return self._options == other._options
        return super().__eq__(other)

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[type[Architecture], tuple[dict[str, Option]]]:
        # Hashes of strings differ from process to process, so `_hash` must not travel.
        return Architecture, (self._options,)

    def __repr__(self) -> str:
        return f"Architecture({', '.join(f'{k}={v!r}' for k, v in self.items())})"

    @property
    def label(self) -> str:
        """The options alone, in the order of the choices' names: short enough for a table."""
        return f"({', '.join(str(option) for option in self.values())})"

    def but(self, **changes: Option) -> Architecture:
        """Return a copy with some options changed."""
        return Architecture({**self._options, **changes})

    def restrict(self, names: Iterable[str]) -> Architecture:
        """Return what this architecture says about some of the choices."""
        return Architecture({name: self._options[name] for name in names})


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """The product of independent choices. With no choices it holds exactly one architecture."""

    choices: tuple[Choice, ...] = ()

    def __post_init__(self) -> None:
        names = [choice.name for choice in self.choices]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise SpaceError(f"two different choices share a name: {twice}; rename one of them")

    @property
    def size(self) -> int:
        """How many architectures there are. Not `__len__`, which cannot count past 2**63."""
        return math.prod(len(choice.options) for choice in self.choices)

    def __iter__(self) -> Iterator[Architecture]:
        names = [choice.name for choice in self.choices]
        for options in itertools.product(*(choice.options for choice in self.choices)):
            yield Architecture(dict(zip(names, options, strict=True)))

    @property
    def smallest(self) -> Architecture:
        """The first option of every choice."""
        return Architecture({choice.name: choice.options[0] for choice in self.choices})

    @property
    def largest(self) -> Architecture:
        """The last option of every choice."""
        return Architecture({choice.name: choice.options[-1] for choice in self.choices})

    def sample(self, rng: random.Random) -> Architecture:
        """Draw one architecture, every one equally likely."""
        return Architecture({choice.name: rng.choice(choice.options) for choice in self.choices})

    def validate(self, arch: Mapping[str, Option]) -> None:
        """Raise `SpaceError`, naming the first offending choice, unless `arch` is in the space."""
        for choice in self.choices:
            if choice.name not in arch:
                raise SpaceError(
                    f"the architecture says nothing about {choice.name!r}; "
                    f"give it one of {choice.options}"
                )
            option = arch[choice.name]
            # 1 == True == 1.0, but only one of them is an option: compare the types too.
            if (type(option), option) not in [(type(known), known) for known in choice.options]:
                raise SpaceError(
                    f"{choice.name!r} is {option!r}, which is none of {choice.options}"
                )
        if unknown := sorted(set(arch) - {choice.name for choice in self.choices}):
            raise SpaceError(
                f"the architecture names choices that the space lacks: {unknown}; "
                f"the space has {[choice.name for choice in self.choices]}"
            )
