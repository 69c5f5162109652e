"""A batch divided among architectures: each gets some of the samples, at the price of one path.

The same program as for a whole batch, except that every value has samples of its architectures
only. Where their courses part, a value is cut by samples; until then it is one tensor, so batch
norms see the samples of all the architectures that come this far together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from supernet.errors import SharingError
from supernet.nn.supernet import Supernet
from supernet.sharing.execution import describe
from supernet.sharing.inplace import overwrites
from supernet.sharing.programs import Compute, Program
from supernet.sharing.structure import Ref, replace
from supernet.space import Architecture


@dataclass(frozen=True, slots=True)
class Part:
    """A result for some samples of a batch, and the architectures it belongs to.

    Attributes:
        value: The result, with the samples of `rows`, in this order.
        archs: The architectures.
        rows: int64; which samples of the batch these are.
    """

    value: Any
    archs: tuple[Architecture, ...]
    rows: Tensor


@final
class Division:
    """Which samples each architecture gets: neighbours in the batch, as evenly as can be."""

    def __init__(self, archs: Sequence[Architecture], samples: int) -> None:
        if samples < len(archs):
            raise SharingError(
                f"a batch of {samples} can't be divided among {len(archs)} architectures; draw "
                "fewer, or make the batch larger"
            )
        ends = [samples * (place + 1) // len(archs) for place in range(len(archs))]
        starts = [0, *ends[:-1]]
        self._rows = {a: range(s, e) for a, s, e in zip(archs, starts, ends, strict=True)}

    def rows(self, archs: Sequence[Architecture]) -> Tensor:
        """Return the samples of some architectures."""
        return torch.tensor([row for arch in archs for row in self._rows[arch]])

    def count(self, archs: Sequence[Architecture]) -> int:
        """Return how many samples they have."""
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
            have to be divided.
    """
    values: list[Any] = [*inputs, *(None for _ in program.instructions)]
    owners = [*(program.archs for _ in inputs), *(step.archs for step in program.instructions)]
    # What does not depend on the batch (a parameter, say) is for everyone, and is not cut.
    constant = [False] * len(inputs)
    parts: list[Part] = []

    def value_of(index: int, archs: tuple[Architecture, ...], who: str) -> Any:
        value, owner = values[index], owners[index]
        if owner == archs or constant[index]:
            return value
        if not isinstance(value, Tensor) or not value.ndim or len(value) != division.count(owner):
            raise SharingError(
                f"{who} needs a part of a value that doesn't have one entry per sample along its "
                "first axis, so the batch can't be divided; use another sampler than `split`"
            )
        return division.cut(value, owner, archs)

    def add_outputs(ready: int) -> None:
        for output in program.outputs:
            if output.ready == ready:
                found = {Ref(i): value_of(i, output.archs, "the output") for i in output.reads}
                value = replace(output.value, Ref, found.__getitem__)
                parts.append(Part(value, output.archs, division.rows(output.archs)))

    add_outputs(0)
    for at, step in enumerate(program.instructions):
        found = {Ref(index): value_of(index, step.archs, describe(step)) for index in step.reads}
        if overwrites(step) and owners[step.reads[0]] != step.archs:
            # A part lies in the memory of the whole, which others need.
            found[Ref(step.reads[0])] = found[Ref(step.reads[0])].clone()
        filled = replace((step.args, step.kwargs), Ref, found.__getitem__)
        values[program.inputs + at] = step.operation(supernet, *filled)
        constant.append(
            isinstance(step.operation, Compute) and all(constant[index] for index in step.reads)
        )
        add_outputs(at + 1)
        for index in step.frees:
            values[index] = None
    return parts
