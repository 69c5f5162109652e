"""Modules that hold more than any one architecture uses.

A choice module says which of its children an architecture runs, in which order: its `path`. The
forward pass, extraction and shared execution all follow that one answer, so they can't disagree.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import final

from torch import Tensor, nn

from supernet.errors import NoArchitectureError, SpaceError
from supernet.space import Architecture, Choice


class ChoiceModule(nn.Module, ABC):
    """A module whose computation depends on the architecture. Subclasses are final."""

    #: Set by `Supernet.activate`, and by nothing else.
    active: Architecture | None = None

    @property
    @abstractmethod
    def choices(self) -> tuple[Choice, ...]:
        """The decisions this module makes; those of modules inside it are theirs."""

    @abstractmethod
    def path(self, arch: Architecture) -> tuple[nn.Module, ...]:
        """Return the children that `arch` runs here, in order: each is given the last one's output.

        It depends on the module's own choices only.
        """

    def forward(self, x: Tensor) -> Tensor:
        """Run the active architecture's path.

        Raises:
            NoArchitectureError: If none is active. There is no default: a network that quietly ran
                its largest or its last architecture would give a number that looks like a result.
        """
        if self.active is None:
            raise NoArchitectureError(
                f"{type(self).__name__} has no active architecture; call the supernet as "
                "`supernet(x, arch)`, or use `with supernet.activate(arch):`"
            )
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
