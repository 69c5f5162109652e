"""Detection of changes in place, which break code whose input is shared.

Alone, an architecture may overwrite a value it has no more use for. In a pass with others, they may
still need it. What is known to overwrite its input (`x += y`, `relu_`, `nn.ReLU(inplace=True)`) is
given a copy then; what does it unannounced is found out by PyTorch's own version counters, or by
comparison, and is an error.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from supernet.nn.choices import ChoiceModule
from supernet.sharing.module_state import has_hooks
from supernet.sharing.programs import Compute, Instruction, Program
from supernet.sharing.tracing import IN_PLACE_OPERATORS


def overwrites(instruction: Instruction) -> bool:
    """Say whether an instruction is known to change its first argument in place."""
    operation = instruction.operation
    if isinstance(operation, Compute):
        name = operation.name
        underscored = name.endswith("_") and not name.endswith("__")
        return (
            underscored or name in IN_PLACE_OPERATORS or instruction.kwargs.get("inplace") is True
        )
    return starts_in_place(operation.module)


def starts_in_place(module: nn.Module) -> bool:
    """Say whether a module is known to change its input in place: itself, or its first part."""
    if isinstance(module, nn.Sequential) and len(module):
        return starts_in_place(module[0])
    return getattr(module, "inplace", False) is True


def spares(instruction: Instruction) -> bool:
    """Say whether an instruction is known not to change what it reads."""
    operation = instruction.operation
    if isinstance(operation, Compute):
        target = operation.node.target
        return getattr(target, "__module__", "") == "_operator" and not overwrites(instruction)
    return _spares(operation.module)


def _spares(module: nn.Module) -> bool:
    if has_hooks(module):
        return False
    if type(module) is nn.Sequential and len(module):
        # What comes after the first can't get at the input, unless the first hands it on.
        first, *others = module
        fresh = isinstance(first, _ConvNd | _BatchNorm | nn.Linear)
        return _spares(first) and (fresh or all(map(_spares, others)))
    if isinstance(module, ChoiceModule):
        return module.keeps_input
    known = type(module).__module__.startswith("torch.nn.modules.")
    return known and not module._modules and not starts_in_place(module)


def needed_unchanged(program: Program, at: int, index: int) -> bool:
    """Say whether anyone still needs a value as it was before instruction `at` changed it.

    Besides those who don't run it, these are those who, alone, would run it later than here.
    """
    mine = set(program.instructions[at].archs)
    if any(index in o.reads and not mine.issuperset(o.archs) for o in program.outputs):
        return True
    return any(
        not mine.issuperset(program.instructions[later].archs)
        or (at in program.reordered and comes_before(program, later, at))
        for later in _later_readers(program, at, index)
    )


def needed_changed(program: Program, at: int, index: int) -> bool:
    """Say whether anyone who runs instruction `at` counts on seeing later what it changed."""
    mine = set(program.instructions[at].archs)
    if any(index in o.reads and not mine.isdisjoint(o.archs) for o in program.outputs):
        return True
    return any(comes_before(program, at, r) for r in _later_readers(program, at, index))


def comes_before(program: Program, at: int, other: int) -> bool:
    """Say whether an architecture, alone, runs instruction `at` before the other one."""
    both = set(program.instructions[at].archs).intersection(program.instructions[other].archs)
    if at < other and at not in program.reordered:
        return bool(both)
    schedules = zip(program.archs, program.schedules, strict=True)
    return any(run.index(at) < run.index(other) for arch, run in schedules if arch in both)


def _later_readers(program: Program, at: int, index: int) -> Sequence[int]:
    readers = program.readers.get(index, ())
    return readers[bisect.bisect_right(readers, at) :]
