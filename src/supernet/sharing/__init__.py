"""Shared execution: many architectures in one pass, each common piece of work done once.

Every architecture is traced through the network, operation by operation; what two of them have in
common is done once (`supernet.sharing.programs`). A module without choices is one
operation. Chains, choice modules and, along the graph that `torch.fx` traces, any other module with
choices inside are walked into; a module whose graph can't be had, or can't be trusted, runs once
per distinct restriction of the architectures to the choices inside it, and a `SharingWarning` says
so. What a module gets and returns is exactly what it would get and return one by one, so outputs
are equal bit for bit, in training mode too: a batch norm sees the values of one group at a time.
Random modules, such as dropout, draw once for all the architectures that share the operation: each
architecture sees draws as good as its own, but not the same as when it runs alone.

The idea is not new: see path parallelism in supernet training (Xu et al., HPCA 2023), multi-exit
networks, and stage trees in hyper-parameter search.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from supernet.errors import SharingError
from supernet.nn.supernet import Supernet
from supernet.sharing.compiling import Compiled
from supernet.sharing.dividing import Division, Part, execute_divided
from supernet.sharing.execution import Group, RunInstruction, execute
from supernet.sharing.planning import PassPlan, Piece, Planner, plan
from supernet.sharing.preparing import prepare
from supernet.sharing.programs import Instruction, Program
from supernet.space import Architecture

__all__ = [
    "Compiled",
    "Group",
    "Instruction",
    "Part",
    "PassPlan",
    "Piece",
    "Planner",
    "Program",
    "RunInstruction",
    "divide",
    "execute",
    "outputs",
    "plan",
    "prepare",
    "run",
    "stream",
]


def run(supernet: Supernet, x: Any, archs: Iterable[Architecture], /, **inputs: Any) -> list[Group]:
    """Return the outputs of `supernet` for all `archs`, each common piece of work done once.

    Args:
        supernet: The network, in whatever mode it is.
        x: Its first input, as for `supernet(x, arch)`: a tensor, or tensors in tuples and dicts.
        archs: Architectures of its space. One given twice counts once.
        **inputs: Its other inputs.

    Returns:
        Groups that cover `archs`: each output with the architectures it belongs to. Architectures
        that differ only in choices that did not matter come in one group.

    Raises:
        SpaceError: If an architecture is not in the space.
        SharingError: If a module changed, in place, a value that other architectures still need.
    """
    return list(stream(supernet, x, archs, **inputs))


def stream(
    supernet: Supernet, x: Any, archs: Iterable[Architecture], /, **inputs: Any
) -> Iterator[Group]:
    """Yield what `run` returns, each group as soon as it is there.

    Without gradients, and if groups are dropped as they come, memory is needed only for the values
    in use at a time, however many architectures there are.
    """
    program, tensors = prepare(supernet, x, archs, **inputs)
    yield from execute(program, supernet, tensors)


def outputs(
    supernet: Supernet, x: Any, archs: Sequence[Architecture], /, **inputs: Any
) -> list[Any]:
    """Return what `[supernet(x, arch) for arch in archs]` returns, bit for bit, from one pass."""
    by_arch = {
        a: group.value for group in stream(supernet, x, archs, **inputs) for a in group.archs
    }
    return [by_arch[arch] for arch in archs]


def divide(
    supernet: Supernet,
    x: Any,
    archs: Iterable[Architecture],
    part: Callable[[int], range] | None = None,
    /,
    **inputs: Any,
) -> list[Part]:
    """Divide a batch among `archs`, and return what each makes of its samples.

    As long as architectures do the same, their samples run as one tensor; so all of them
    together cost what one architecture of average size costs for the whole batch. A batch norm in
    training takes its statistics from the samples of all architectures that share it.

    Args:
        supernet: The network, in whatever mode it is.
        x: Its first input. The samples are along the first axis of this and of all other tensors.
        archs: Architectures of its space, at most as many as there are samples.
        part: Given how many samples an architecture gets, it returns which of them are run here, if
            others run the rest; by default all.
        **inputs: Its other inputs.

    Raises:
        SpaceError: If an architecture is not in the space.
        SharingError: If there are fewer samples than architectures, or a value that has to be
            divided doesn't have one entry per sample.
    """
    program, tensors = prepare(supernet, x, archs, **inputs)
    if not program.archs:
        return []
    samples = {len(tensor) if tensor.ndim else 0 for tensor in tensors}
    if len(samples) != 1:
        raise SharingError(
            f"a batch can be divided only if all inputs have as many samples; these have "
            f"{sorted(samples)}"
        )
    if part is None:
        return execute_divided(program, supernet, tensors, Division(program.archs, samples.pop()))
    division = Division(program.archs, samples.pop(), part)
    rows = division.rows(program.archs)
    tensors = [tensor[rows] for tensor in tensors]
    return execute_divided(program, supernet, tensors, division)
