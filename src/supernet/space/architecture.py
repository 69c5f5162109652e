"""Choices and architectures: named decisions, and one option for each of them."""

from __future__ import annotations

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
        if not isinstance(options, Mapping):
            raise SpaceError(
                f"an architecture is made of {options!r}; give a dict of choices and their "
                "options, such as {'body.depth': 2}"
            )
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
