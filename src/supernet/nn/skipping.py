"""A block that only deep enough architectures run, left in its place."""

from __future__ import annotations

from typing import Any, final

from torch import Tensor, fx, nn

from supernet.errors import SpaceError
from supernet.nn.choices import ChoiceChain
from supernet.space import Architecture, Choice


@final
class Skippable(ChoiceChain):
    """Runs its block if the depth of its stack is more than the block's number there.

    Where `Depth` holds all blocks of a stack itself, these stay where their network has them, under
    the names they have there. All of a stack share one choice, so they are left out from the last
    one on, never with a gap.

    Args:
        depth: How many blocks of the stack run.
        number: How many blocks of the stack come before this one.
        block: The block. Without an `otherwise` it must keep the shape of what it is given.
        otherwise: What runs instead; without it, the value goes on as it is.
        more: Whether the block is given more than the value, such as a mask.
    """

    def __init__(
        self,
        depth: Choice,
        number: int,
        block: nn.Module,
        otherwise: nn.Module | None = None,
        *,
        more: bool = False,
    ) -> None:
        super().__init__()
        self.depth, self.number, self.more = depth, number, more
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
        if path := self.path(arch):
            return path[0]
        return _first_of_all() if self.more else nn.Identity()

    def extra_repr(self) -> str:
        return f"{self.depth.name!r} above {self.number}"


def _first_of_all() -> nn.Module:
    """Return a module that returns the first of whatever it is given; its class is PyTorch's."""
    graph = fx.Graph()
    value = graph.placeholder("value")
    graph.placeholder("*more")
    graph.placeholder("**named")
    graph.output(value)
    return fx.GraphModule(nn.Module(), graph)
