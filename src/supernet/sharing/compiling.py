"""One compiled graph for many architectures.

A network that runs another architecture at every step is another graph to `torch.compile` each
time. A program is one graph for all of them, so it is compiled once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, final

import torch
from torch import fx, nn

from supernet.errors import SharingError
from supernet.nn.supernet import Supernet
from supernet.sharing.checking import find_copies
from supernet.sharing.execution import Group, interpret
from supernet.sharing.guard import Copies, Known
from supernet.sharing.preparing import prepare
from supernet.sharing.programs import Apply, ApplyRestricted, Instruction, Program
from supernet.space import Architecture

#: More sets of architectures than this mean that nearly every step would compile again.
_MOST = 8


@final
class Compiled:
    """Runs programs compiled: one compilation for each set of architectures.

    Args:
        supernet: The network.
        **options: As for `torch.compile`.
    """

    def __init__(self, supernet: Supernet, **options: Any) -> None:
        self.supernet = supernet
        self._options = options
        self._known: dict[int, tuple[Program, Callable[..., tuple[Any, ...]]]] = {}

    def run(self, x: Any, archs: Iterable[Architecture], /, **inputs: Any) -> list[Group]:
        """Return what `sharing.run` returns, computed by compiled code: equal up to rounding.

        Raises:
            SpaceError: If an architecture is not in the space.
            SharingError: If a module changes, in place, a value that other architectures still
                need; or if the architectures differ from call to call.
        """
        program, tensors = prepare(self.supernet, x, archs, **inputs)
        if id(program) not in self._known:
            if len(self._known) == _MOST:
                raise SharingError(
                    f"{_MOST} sets of architectures were compiled already, and compiling takes "
                    "longer than it saves; compile only where every step runs the same "
                    "architectures, as with the sampler `every`"
                )
            copies = find_copies(self.supernet, program.archs, (x,), inputs)
            graph = to_graph(program, self.supernet, copies)
            self._known[id(program)] = program, torch.compile(graph, **self._options)
        _, compiled = self._known[id(program)]
        values = compiled(*tensors)
        return [Group(v, o.archs) for v, o in zip(values, program.outputs, strict=True)]


def to_graph(program: Program, supernet: Supernet, copies: Copies) -> fx.GraphModule:
    """Return a program as a module that takes its inputs and returns a tuple of its outputs.

    It holds the network's own modules and parameters.

    Args:
        program: What to write down.
        supernet: The network it was written for.
        copies: Of which values each instruction must get copies; see `find_copies`.
    """
    writer = _GraphWriter(supernet)
    outputs = interpret(
        program,
        [writer.graph.placeholder(f"input{index}") for index in range(program.inputs)],
        writer.run_instruction,
        watching=lambda *_: Known(copies),
        copy=lambda node: writer.graph.call_method("clone", (node,)),
    )
    writer.graph.output(tuple([value for _, value in outputs]))
    return fx.GraphModule(writer.root, writer.graph)


@final
class _GraphWriter:
    """Writes instructions down as nodes of a graph, instead of running them."""

    def __init__(self, supernet: Supernet) -> None:
        self.supernet = supernet
        self.root, self.graph = nn.Module(), fx.Graph()
        self._names: dict[object, str] = {}

    def run_instruction(
        self, instruction: Instruction, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> fx.Node:
        operation, graph = instruction.operation, self.graph
        if isinstance(operation, Apply):
            name = self._name_of(operation.module, operation.module)
            return graph.call_module(name, tuple(args), kwargs)
        if isinstance(operation, ApplyRestricted):
            name = self._name_of(operation, _Restricted(operation, self.supernet))
            return graph.call_module(name, tuple(args), kwargs)
        if operation.node.op == "get_attr":
            what = operation.owner, operation.name
            return graph.get_attr(self._name_of(what, operation(self.supernet, (), {})))
        return graph.create_node(operation.node.op, operation.node.target, tuple(args), kwargs)

    def _name_of(self, part: object, value: Any) -> str:
        if part not in self._names:
            self._names[part] = f"part{len(self._names)}"
            setattr(self.root, self._names[part], value)
        return self._names[part]


class _Restricted(nn.Module):
    """Runs a module that can't be walked into, for one restriction."""

    def __init__(self, operation: ApplyRestricted, supernet: Supernet) -> None:
        super().__init__()
        self.module = operation.module
        self.activate = functools.partial(
            supernet.activate_within, operation.module, operation.arch
        )

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with self.activate():
            return self.module(*args, **kwargs)
