"""Programs: straight lists of instructions for some architectures of a supernet.

Every architecture is traced through the network: which module or function it would call, applied
to which earlier values. A call that two architectures have in common is one instruction. That is
all there is to sharing, so it holds for chains, for choices inside choices, and wherever several
values meet; and each architecture does exactly what it would do alone, in the same order, because
its instructions are those of its own trace.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

from torch import fx, nn

from supernet.nn.choices import ChoiceChain, ChoiceModule
from supernet.nn.reachability import restrict
from supernet.nn.supernet import Supernet
from supernet.sharing.module_state import plainly_runs
from supernet.sharing.structure import Ref, Structure, key, refs, replace
from supernet.space import Architecture


@dataclass(frozen=True, slots=True)
class Apply:
    """Calls a module in which nothing is left to choose."""

    module: nn.Module

    def __call__(self, supernet: Supernet, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        return self.module(*args, **kwargs)


@dataclass(frozen=True, slots=True)
class ApplyRestricted:
    """Calls a module for one restriction of the architectures to the choices inside it."""

    module: nn.Module
    restriction: Architecture
    arch: Architecture = field(compare=False)  # any of them: they agree on what matters here

    def __call__(self, supernet: Supernet, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        with supernet.activate_within(self.module, self.arch):
            return self.module(*args, **kwargs)


@dataclass(frozen=True, slots=True)
class Compute:
    """Does what a node of a traced module's graph says: a function, a method, an attribute."""

    node: fx.Node
    owner: nn.Module

    #: Nothing that could have hooks or statistics of its own.
    module: ClassVar[None] = None

    @property
    def name(self) -> str:
        """Of the function, the method or the attribute."""
        target = self.node.target
        return target if isinstance(target, str) else getattr(target, "__name__", str(target))

    def __call__(self, supernet: Supernet, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        target: Any = self.node.target
        if self.node.op == "get_attr":
            return functools.reduce(getattr, target.split("."), self.owner)
        if self.node.op == "call_method":
            return getattr(args[0], target)(*args[1:], **kwargs)
        return target(*args, **kwargs)


#: What an instruction does. Equal operations on equal inputs are one piece of work.
Operation = Apply | ApplyRestricted | Compute


@dataclass(frozen=True, slots=True)
class Instruction:
    """One piece of work, and the architectures that need it.

    Attributes:
        operation: What is done.
        args: What it is done to; `Ref`s stand for earlier values.
        kwargs: The same, by name.
        archs: Who needs it, in the program's order.
        reads: The numbers of the values it reads.
        last_uses: Values that nobody reads any more when it is done.
    """

    operation: Operation
    args: Structure
    kwargs: Structure
    archs: tuple[Architecture, ...]
    reads: tuple[int, ...]
    last_uses: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Output:
    """What some architectures end with, and after how many instructions it is there."""

    value: Structure
    archs: tuple[Architecture, ...]
    reads: tuple[int, ...]
    ready: int


@dataclass(frozen=True, slots=True)
class Program:
    """Everything some architectures do, each distinct piece of work once.

    Attributes:
        archs: Who it is for, ordered so that those with the longest common beginnings are
            neighbors: then the fewest values have to be kept at a time.
        inputs: How many values there are before the first instruction. Instruction `i` makes value
            number `inputs + i`.
        instructions: What to do, in order.
        outputs: What comes of it, in the order in which it is there.
        readers: Which instructions read a value, in order; values that none reads are left out.
        graphs: The traced graphs it rests on: whose they are, and the architectures that use them.
        schedules: The instructions of each of `archs`, in the order in which it runs them alone.
        reordered: Instructions that some architecture, alone, would run later than here. That
            matters to changes in place only.
    """

    archs: tuple[Architecture, ...]
    inputs: int
    instructions: tuple[Instruction, ...]
    outputs: tuple[Output, ...]
    readers: Mapping[int, Sequence[int]]
    graphs: Mapping[fx.Graph, tuple[nn.Module, Sequence[Architecture]]]
    schedules: Sequence[Sequence[int]]
    reordered: frozenset[int]


#: Gives the graph of a module for arguments like these, or None if it has to be run whole.
GraphOf = Callable[[nn.Module, Structure, Structure], fx.Graph | None]


def write_program(
    supernet: Supernet,
    archs: Iterable[Architecture],
    args: Structure,
    kwargs: Structure,
    graph_of: GraphOf,
) -> Program:
    """Return the program that runs `archs`, given once each, on such arguments."""
    builder = ProgramBuilder(supernet, len(list(refs((args, kwargs)))), graph_of)
    traces = [builder.trace(arch, args, kwargs) for arch in archs]
    traces.sort(key=lambda trace: trace.numbers)
    return _in_order(traces, builder)


@dataclass(frozen=True, slots=True)
class Trace:
    """What one architecture does: the numbers of the operations, and the result."""

    arch: Architecture
    numbers: list[int]
    output: Structure


@final
class ProgramBuilder:
    """Traces architectures through the network, and numbers distinct operations as they come."""

    def __init__(self, supernet: Supernet, inputs: int, graph_of: GraphOf) -> None:
        self.supernet = supernet
        self.inputs = inputs
        self.graph_of = graph_of
        self.written: list[tuple[Operation, Structure, Structure]] = []
        self.graphs: dict[fx.Graph, tuple[nn.Module, list[Architecture]]] = {}
        self._numbers: dict[object, int] = {}

    def trace(self, arch: Architecture, args: Structure, kwargs: Structure) -> Trace:
        """Follow one architecture from the inputs to the end."""
        self._arch = arch
        self._trace: list[int] = []
        self._times: dict[object, int] = {}
        output = self._call(self.supernet.net, args, kwargs)
        return Trace(arch, self._trace, output)

    def _call(self, module: nn.Module, args: Structure, kwargs: Structure) -> Structure:
        """Follow a call of a module; return what stands for its result."""
        chain = self._as_chain(module) if args else None
        alone = len(args) == 1 and not kwargs
        if chain is not None and (alone or isinstance(module, ChoiceChain)):
            value, *more = args
            for inner in chain:
                value = self._call(inner, (value, *more), kwargs)
            return value
        if module not in self.supernet.modules_with_choices:
            return self._write(Apply(module), args, kwargs)
        if not self._is_layer(module) and (graph := self.graph_of(module, args, kwargs)):
            return self._along(graph, module, args, kwargs)
        operation = ApplyRestricted(module, restrict(self._arch, module), self._arch)
        return self._write(operation, args, kwargs)

    def _as_chain(self, module: nn.Module) -> Iterable[nn.Module] | None:
        """Return what a module runs one after the other, if that is all it does."""
        if type(module) is nn.Identity and plainly_runs(module, nn.Identity.forward):
            return ()
        if module not in self.supernet.modules_with_choices:
            return None
        if isinstance(module, ChoiceChain) and plainly_runs(module, ChoiceChain.forward):
            return module.path(self._arch)
        if isinstance(module, nn.Sequential) and plainly_runs(module, nn.Sequential.forward):
            return module  # not `children()`, which gives a module used twice only once
        return None

    def _is_layer(self, module: nn.Module) -> bool:
        """Say whether a module chooses by itself, with nothing inside to walk into."""
        inside = self.supernet.modules_with_choices
        return (
            isinstance(module, ChoiceModule)
            and not isinstance(module, ChoiceChain)
            and inside.isdisjoint(module.children())
        )

    def _along(
        self, graph: fx.Graph, owner: nn.Module, args: Structure, kwargs: Structure
    ) -> Structure:
        """Follow the graph of a module's forward."""
        self.graphs.setdefault(graph, (owner, []))[1].append(self._arch)
        given = refs((args, kwargs))
        values: dict[fx.Node, Structure] = {}
        for node in graph.nodes:
            inner, named = replace((node.args, dict(node.kwargs)), fx.Node, values.__getitem__)
            if node.op == "placeholder":
                values[node] = next(given)
            elif node.op == "call_module":
                values[node] = self._call(owner.get_submodule(node.target), inner, named)
            elif node.op != "output":
                values[node] = self._write(Compute(node, owner), inner, named)
        return inner[0]  # the last node is the output

    def _write(self, operation: Operation, args: Structure, kwargs: Structure) -> Ref:
        what = operation, key(args), key(kwargs)
        # A second time is another piece of work: dropout draws again, and hooks run again.
        times = self._times[what] = self._times.get(what, 0) + 1
        number = self._numbers.setdefault((what, times), len(self.written))
        if number == len(self.written):
            self.written.append((operation, args, kwargs))
        self._trace.append(number)
        return Ref(self.inputs + number)


def _in_order(traces: Sequence[Trace], builder: ProgramBuilder) -> Program:
    """Renumber everything, in the order in which the traces come to it."""
    inputs = builder.inputs
    needed: dict[int, list[Architecture]] = {}
    for trace in traces:
        for number in trace.numbers:
            needed.setdefault(number, []).append(trace.arch)
    order = {number: at for at, number in enumerate(needed)}

    def moved(ref: Ref) -> Ref:
        return ref if ref.index < inputs else Ref(inputs + order[ref.index - inputs])

    def placed(structure: Structure) -> Structure:
        return replace(structure, Ref, moved)

    work = [
        (operation, placed(args), placed(kwargs), tuple(archs))
        for number, archs in needed.items()
        for operation, args, kwargs in [builder.written[number]]
    ]
    reads = [_indices((args, kwargs)) for _, args, kwargs, _ in work]
    readers: dict[int, list[int]] = {}
    for at, indices in enumerate(reads):
        for index in indices:
            readers.setdefault(index, []).append(at)
    schedules = tuple(tuple(order[number] for number in trace.numbers) for trace in traces)
    outputs = _outputs(traces, schedules, placed)
    last_uses = _last_uses(inputs + len(work), inputs, readers, outputs)
    return Program(
        archs=tuple(trace.arch for trace in traces),
        inputs=inputs,
        instructions=tuple(
            Instruction(*parts, reads[at], tuple(last_uses.get(at, ())))
            for at, parts in enumerate(work)
        ),
        outputs=tuple(outputs),
        readers=readers,
        graphs=builder.graphs,
        schedules=schedules,
        reordered=frozenset(itertools.chain.from_iterable(map(_reordered, schedules))),
    )


def _reordered(schedule: Sequence[int]) -> Iterator[int]:
    """Yield the instructions of a schedule that come after others with a higher number."""
    highest = -1
    for at in schedule:
        if at < highest:
            yield at
        highest = max(highest, at)


def _outputs(
    traces: Sequence[Trace],
    schedules: Sequence[Sequence[int]],
    placed: Callable[[Structure], Structure],
) -> list[Output]:
    ends: dict[object, tuple[Structure, list[Architecture], list[int]]] = {}
    for trace, schedule in zip(traces, schedules, strict=True):
        value = placed(trace.output)
        _, archs, ready = ends.setdefault(key(value), (value, [], []))
        archs.append(trace.arch)
        # Not as soon as the value is there: what comes later may change it in place.
        ready.append(max(schedule, default=-1) + 1)
    outputs = [
        Output(value, tuple(archs), _indices(value), max(ready))
        for value, archs, ready in ends.values()
    ]
    return sorted(outputs, key=lambda output: output.ready)


def _last_uses(
    values: int, inputs: int, readers: Mapping[int, Sequence[int]], outputs: Sequence[Output]
) -> dict[int, list[int]]:
    """Return, by instruction, the values that are not needed after it."""
    last = {index: max(0, index - inputs) for index in range(values)}  # read by none: at once
    last |= {index: at[-1] for index, at in readers.items()}
    for output in outputs:
        for index in output.reads:
            last[index] = max(last[index], output.ready - 1)
    last_uses: dict[int, list[int]] = {}
    for index, at in last.items():
        last_uses.setdefault(at, []).append(index)
    return last_uses


def _indices(structure: Structure) -> tuple[int, ...]:
    return tuple(dict.fromkeys(ref.index for ref in refs(structure)))
