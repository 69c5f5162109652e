"""Division of a batch among architectures: each gets some samples, at the price of one path.

The same program as for a whole batch, except that every value has samples of its architectures
only. Where their ways part, a value is cut by samples; until then it is one tensor, so batch
norms see the samples of all the architectures that come this far together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import torch
from torch import Tensor

from supernet.errors import SharingError
from supernet.nn.supernet import Supernet
from supernet.sharing.execution import Take, interpret, run_plainly
from supernet.sharing.guard import describe
from supernet.sharing.programs import Compute, Instruction, Output, Program
from supernet.space import Architecture


@dataclass(frozen=True, slots=True)
class Part:
    """A result for some samples of a batch, and the architectures it belongs to.

    Attributes:
        value: The result, with the samples of `rows`, in this order.
        archs: The architectures.
        rows: int64; which samples of the batch these are.
        block: int64; which are the architectures' in all, those that others run included.
    """

    value: Any
    archs: tuple[Architecture, ...]
    rows: Tensor
    block: Tensor


@final
class Division:
    """Which samples each architecture gets: neighbors in the batch, as evenly as can be.

    Args:
        archs: The architectures.
        samples: How many there are.
        part: Given how many samples an architecture gets, it returns which of them are run here; by
            default all.
    """

    def __init__(
        self, archs: Sequence[Architecture], samples: int, part: Callable[[int], range] = range
    ) -> None:
        if samples < len(archs):
            raise SharingError(
                f"a batch of {samples} can't be divided among {len(archs)} architectures; draw "
                "fewer, or make the batch larger"
            )
        ends = [samples * (place + 1) // len(archs) for place in range(len(archs))]
        starts = [0, *ends[:-1]]
        self._blocks = {a: range(s, e) for a, s, e in zip(archs, starts, ends, strict=True)}
        self._rows = {
            arch: [block[at] for at in part(len(block))] for arch, block in self._blocks.items()
        }

    def rows(self, archs: Sequence[Architecture]) -> Tensor:
        """Return the samples of some architectures that are run here."""
        return torch.tensor([row for arch in archs for row in self._rows[arch]])

    def block(self, archs: Sequence[Architecture]) -> Tensor:
        """Return the samples of some architectures, wherever they are run."""
        return torch.tensor([row for arch in archs for row in self._blocks[arch]])

    def count(self, archs: Sequence[Architecture]) -> int:
        """Return how many samples of theirs are run here."""
        return sum(len(self._rows[arch]) for arch in archs)

    def cut(self, value: Tensor, of: Sequence[Architecture], to: Sequence[Architecture]) -> Tensor:
        """Return the samples of the architectures `to` from a value that has those of `of`."""
        parts: list[tuple[int, int]] = []
        wanted, start = set(to), 0
        for arch in of:
            length = len(self._rows[arch])
            if arch in wanted:
                if parts and sum(parts[-1]) == start:
                    parts[-1] = parts[-1][0], parts[-1][1] + length
                else:
                    parts.append((start, length))
            start += length
        pieces = [value.narrow(0, first, length) for first, length in parts]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def execute_divided(
    program: Program, supernet: Supernet, inputs: Sequence[Tensor], division: Division
) -> list[Part]:
    """Run a program on a batch divided among its architectures.

    Raises:
        SharingError: If something other than a tensor with the samples along its first axis would
            have to be divided; or if an instruction changed, in place, a value that others need.
    """
    take = _take_samples(program, division)
    parts = interpret(program, inputs, partial(run_plainly, supernet), take=take)
    return [
        Part(value, o.archs, division.rows(o.archs), division.block(o.archs)) for o, value in parts
    ]


def _take_samples(program: Program, division: Division) -> Take:
    """Return what gives each reader the samples of its architectures."""
    owners = [*[program.archs] * program.inputs, *(step.archs for step in program.instructions)]
    # What does not depend on the batch (a parameter, say) is for everyone, and is not cut.
    constant = [False] * program.inputs
    for step in program.instructions:
        computed = isinstance(step.operation, Compute)
        constant.append(computed and all(constant[index] for index in step.reads))

    def take(index: int, value: Any, reader: Instruction | Output) -> Any:
        owner = owners[index]
        if owner == reader.archs or constant[index]:
            return value
        if not isinstance(value, Tensor) or not value.ndim or len(value) != division.count(owner):
            who = describe(reader) if isinstance(reader, Instruction) else "the output"
            raise SharingError(
                f"{who} needs a part of a value that doesn't have one entry per sample along its "
                "first axis, so the batch can't be divided; use another sampler than `split`"
            )
        return division.cut(value, owner, reader.archs)

    return take
