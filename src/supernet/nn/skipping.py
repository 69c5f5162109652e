"""A block that architectures run which are deep enough, in the place where a network has it."""

from __future__ import annotations

from typing import Any, final

from torch import Tensor, nn

from supernet.errors import SpaceError
from supernet.nn.choices import ChoiceModule
from supernet.space import Architecture, Choice


@final
class Skippable(ChoiceModule):
    """Runs its block if the depth of its stack is more than the block's number there.

    Where `Depth` holds all blocks of a stack itself, these stay where their network has them, under
    the names they have there. All of a stack share one choice, so they are left out from the last
    one on, never with a gap.

    Args:
        depth: How many blocks of the stack run.
        number: How many blocks of the stack come before this one.
        block: The block. Without an `otherwise` it must keep the shape of what it is given.
        otherwise: What runs instead; without it, the value goes on as it is.
    """

    def __init__(
        self, depth: Choice, number: int, block: nn.Module, otherwise: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.depth, self.number = depth, number
        self.block, self.otherwise = block, otherwise

    @property
    def choices(self) -> tuple[Choice, ...]:
        return (self.depth,)

    def path(self, arch: Architecture) -> tuple[nn.Module, ...]:
        if int(arch[self.depth.name]) > self.number:
            return (self.block,)
        return () if self.otherwise is None else (self.otherwise,)

    def check(self, place: int, x: Any, y: Any) -> None:
        if isinstance(x, Tensor) and isinstance(y, Tensor) and x.shape != y.shape:
            raise SpaceError(
                f"block {self.number} of {self.depth.name!r} turns a tensor of shape "
                f"{tuple(x.shape)} into one of {tuple(y.shape)}; a block that may be left out must "
                "keep the shape"
            )

    def plain(self, arch: Architecture) -> nn.Module:
        return next(iter(self.path(arch)), nn.Identity())

    def extra_repr(self) -> str:
        return f"{self.depth.name!r} above {self.number}"
