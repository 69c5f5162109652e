"""One compiled graph for many architectures.

A network that runs another architecture at every step is another graph to `torch.compile` each
time. A program is one graph for all of them, so it is compiled once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, final

import torch
from torch import fx, nn

from supernet.errors import SharingError
from supernet.nn.supernet import Supernet
from supernet.sharing.checking import require_shareable
from supernet.sharing.execution import Group
from supernet.sharing.inplace import needed_unchanged, overwrites
from supernet.sharing.preparing import prepare
from supernet.sharing.programs import Apply, ApplyRestricted, Compute, Program
from supernet.sharing.structure import Ref, replace
from supernet.space import Architecture

#: More sets of architectures than this mean that nearly every step would compile anew.
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
            require_shareable(self.supernet, program.archs, (x,), inputs)
            graph = to_graph(program, self.supernet)
            self._known[id(program)] = program, torch.compile(graph, **self._options)
        _, compiled = self._known[id(program)]
        values = compiled(*tensors)
        return [Group(v, o.archs) for v, o in zip(values, program.outputs, strict=True)]


def to_graph(program: Program, supernet: Supernet) -> fx.GraphModule:
    """Return a program as a module that takes its inputs and returns a tuple of its outputs.

    It holds the network's own modules and parameters.
    """
    root, graph = nn.Module(), fx.Graph()
    names: dict[object, str] = {}

    def name_of(part: object, make: Callable[[], Any]) -> str:
        if part not in names:
            names[part] = f"part{len(names)}"
            setattr(root, names[part], make())
        return names[part]

    nodes = [graph.placeholder(f"input{index}") for index in range(program.inputs)]
    for at, step in enumerate(program.instructions):
        filled = list(nodes)
        if overwrites(step) and needed_unchanged(program, at, step.reads[0]):
            filled[step.reads[0]] = graph.call_method("clone", (nodes[step.reads[0]],))
        args, kwargs = replace((step.args, step.kwargs), Ref, lambda ref: filled[ref.index])  # noqa: B023 - called at once
        operation = step.operation
        if isinstance(operation, Compute) and operation.node.op == "get_attr":
            name = name_of((operation.owner, operation.name), lambda: operation(supernet, (), {}))  # noqa: B023
            nodes.append(graph.get_attr(name))
        elif isinstance(operation, Compute):
            nodes.append(graph.create_node(operation.node.op, operation.node.target, args, kwargs))
        elif isinstance(operation, Apply):
            name = name_of(operation.module, lambda: operation.module)  # noqa: B023
            nodes.append(graph.call_module(name, args, kwargs))
        else:
            name = name_of(operation, lambda: _Restricted(operation, supernet))  # noqa: B023
            nodes.append(graph.call_module(name, args, kwargs))
    graph.output(
        tuple(replace(o.value, Ref, lambda ref: nodes[ref.index]) for o in program.outputs)
    )
    return fx.GraphModule(root, graph)


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
