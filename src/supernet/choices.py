"""Modules that hold more than any one architecture uses.

A choice module says which of its children an architecture runs, in which order: its `path`. The
forward pass, extraction and shared execution all follow that one answer, so they can't disagree.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, final

from torch import nn

from supernet.errors import NoArchitectureError, SpaceError
from supernet.space import Architecture, Choice


class ChoiceModule(nn.Module, ABC):
    """A module whose computation depends on the architecture. Subclasses are final."""

    #: Set by `Supernet.activate`, and by nothing else; read as `active`.
    _active: Architecture | None = None

    @property
    def active(self) -> Architecture:
        """The architecture that is being run.

        Raises:
            NoArchitectureError: If none is. There is no default: a network that quietly ran its
                largest or its last architecture would give a number that looks like a result.
        """
        if self._active is None:
            raise NoArchitectureError(
                f"{type(self).__name__} has no active architecture; call the supernet as "
                "`supernet(x, arch)`, or use `with supernet.activate(arch):`"
            )
        return self._active

    @property
    @abstractmethod
    def choices(self) -> tuple[Choice, ...]:
        """The decisions this module makes; those of modules inside it are theirs."""

    @abstractmethod
    def path(self, arch: Architecture) -> tuple[nn.Module, ...]:
        """Return the children that `arch` runs here, in order: each is given the last one's output.

        It depends on the module's own choices only.
        """

    def forward(self, x: Any) -> Any:
        """Run the active architecture's path on a value: a tensor, or whatever its modules take.

        Raises:
            NoArchitectureError: If none is active.
        """
        for module in self.path(self.active):
            x = module(x)
        return x


@final
class Depth(ChoiceModule):
    """Runs the first `d` of its blocks, where `d` is chosen: 1, 1->2, 1->2->3, never a gap.

    Block k is the same module, with the same weights, in every architecture that runs it.

    Args:
        name: Name of the block. The choice is called `name + ".depth"`.
        blocks: The blocks, in order. Each must keep the shape of what it is given.
        shortest: The least number of blocks that may run; 0 makes the whole module skippable.

    Raises:
        SpaceError: If there are no blocks, or `shortest` is not among 0 to their number.
    """

    def __init__(self, name: str, blocks: Sequence[nn.Module], *, shortest: int = 1) -> None:
        super().__init__()
        if not blocks:
            raise SpaceError(f"Depth {name!r} has no blocks; give it at least one")
        if not 0 <= shortest <= len(blocks):
            raise SpaceError(
                f"Depth {name!r} can't run at least {shortest} of {len(blocks)} blocks; "
                f"`shortest` must be 0 to {len(blocks)}"
            )
        self.name = name
        self.depth = Choice(f"{name}.depth", tuple(range(shortest, len(blocks) + 1)))
        self.blocks = nn.ModuleList(blocks)

    @property
    def choices(self) -> tuple[Choice, ...]:
        return (self.depth,)

    def path(self, arch: Architecture) -> tuple[nn.Module, ...]:
        depth = arch[self.depth.name]
        assert isinstance(depth, int)  # its options are
        return tuple(self.blocks)[:depth]

    def extra_repr(self) -> str:
        return f"{self.name!r}, {self.depth.options[0]} to {self.depth.options[-1]} blocks"


@final
class OneOf(ChoiceModule):
    """Runs one of several operations, the chosen one.

    An operation is the same module, with the same weights, in every architecture that runs it.
    `extract` puts the chosen one in the place of the whole.

    Args:
        name: Name of the block. The choice is called `name + ".op"`.
        options: The operations by name, from least to most costly. Whichever is chosen, what comes
            next must be able to take its result, so all of them return the same shape. The skip is
            `nn.Identity()`.

    Raises:
        SpaceError: If there are no options, a name is not a string, an operation is not a module,
            or one and the same module has two names: its weights would be shared without a word.
            A part of theirs may be shared by several operations.
    """

    def __init__(self, name: str, options: Mapping[str, nn.Module]) -> None:
        super().__init__()
        if not options:
            raise SpaceError(f"OneOf {name!r} has no options; give it at least one")
        names: dict[nn.Module, str] = {}
        for option, module in options.items():
            if not isinstance(option, str):
                raise SpaceError(
                    f"OneOf {name!r} has an option called {option!r}; names must be strings, "
                    f"such as {str(option)!r}"
                )
            if not isinstance(module, nn.Module):
                raise SpaceError(
                    f"OneOf {name!r} has {module!r} as its option {option!r}; it must be a module, "
                    "and `nn.Identity()` is the one that does nothing"
                )
            if module in names:
                raise SpaceError(
                    f"OneOf {name!r} has one and the same module as its options {names[module]!r} "
                    f"and {option!r}, so they would share their weights; build one for each"
                )
            names[module] = option
        self.name = name
        self.op = Choice(f"{name}.op", tuple(options))
        # Not an nn.ModuleDict, which refuses names such as "keys" or "conv.3x3".
        self.operations = nn.ModuleList(options.values())

    @property
    def choices(self) -> tuple[Choice, ...]:
        return (self.op,)

    def path(self, arch: Architecture) -> tuple[nn.Module, ...]:
        return (self.operations[self.op.options.index(arch[self.op.name])],)

    def extra_repr(self) -> str:
        return f"{self.name!r}, one of {', '.join(map(repr, self.op.options))}"
