"""Interpreter of programs: one instruction after the other, keeping no value longer than needed.

There is one loop, `interpret`. Its uses differ in what is done with an instruction, and in what an
instruction gets of a value: all of it (`execute`), the samples of its architectures (`dividing`), a
tensor without numbers (`planning`), or a node of a graph that is written down (`compiling`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, final

from torch import Tensor

from supernet.nn.supernet import Supernet
from supernet.sharing.guard import Guard
from supernet.sharing.programs import Instruction, Output, Program
from supernet.sharing.structure import Ref, Structure, replace
from supernet.space import Architecture


@dataclass(frozen=True, slots=True)
class Group:
    """A result, and the architectures it belongs to."""

    value: Any
    archs: tuple[Architecture, ...]


#: How to run an instruction on the values it reads: plainly, or with more around it, such as
#: batch-norm statistics of its architectures.
RunInstruction = Callable[[Instruction, Sequence[Any], dict[str, Any]], Any]

#: What an instruction, or an output, gets of a value: given its number, the value, and who reads.
Take = Callable[[int, Any, Instruction | Output], Any]


class Watch(Protocol):
    """Says which values an instruction must be given as copies; see `Guard`."""

    def before(self, at: int, taken: Mapping[int, Any]) -> Sequence[int]:
        """Return the numbers of the values that instruction `at` must get copies of."""

    def after(self, at: int, copied: Sequence[int]) -> None:
        """Take note that instruction `at` was run."""

    def give(self, output: Output) -> None:
        """Take note that an output is handed out."""

    def forget(self, index: int) -> None:
        """Take note that a value is gone."""


#: Makes a watch for a program, and for the list in which its values will stand.
Watching = Callable[[Program, list[Any]], Watch]


def execute(
    program: Program,
    supernet: Supernet,
    inputs: Sequence[Any],
    run_instruction: RunInstruction | None = None,
) -> Iterator[Group]:
    """Yield the outputs of a program as soon as they are there.

    Whoever lets go of them at once needs memory for the values in use only, however many
    architectures there are.

    Args:
        program: What to run.
        supernet: The network it was written for.
        inputs: The values it starts from.
        run_instruction: How instructions are run; plainly, if not given.

    Raises:
        SharingError: If an instruction changed, in place, a value that others still need.
    """
    run = run_instruction or partial(run_plainly, supernet)
    for output, value in interpret(program, inputs, run):
        yield Group(value, output.archs)
        del value


def run_plainly(
    supernet: Supernet, instruction: Instruction, args: Sequence[Any], kwargs: dict[str, Any]
) -> Any:
    """Do what an instruction says, and nothing else."""
    return instruction.operation(supernet, args, kwargs)


def interpret(
    program: Program,
    inputs: Sequence[Any],
    run_instruction: RunInstruction,
    *,
    watching: Watching | None = Guard,
    take: Take | None = None,
    copy: Callable[[Any], Any] = Tensor.clone,
) -> Iterator[tuple[Output, Structure]]:
    """Yield each output of a program with its value, as soon as it is there.

    Args:
        program: What to run.
        inputs: The values it starts from.
        run_instruction: What makes a value of the values that an instruction reads.
        watching: What sees to changes in place; None if they don't matter.
        take: What a reader gets of a value; the value itself, if not given.
        copy: Makes a copy of what a reader gets.
    """
    run = _Interpreter(program, inputs, run_instruction, watching, take, copy)
    outputs = iter(program.outputs)
    output = next(outputs, None)
    for at in range(len(program.instructions) + 1):
        while output and output.ready == at:
            yield output, run.value_of(output)
            output = next(outputs, None)
        if at:
            run.free(at - 1)
        if at < len(program.instructions):
            run.step(at)


@final
class _Interpreter:
    """The values of a program that is being run."""

    def __init__(
        self,
        program: Program,
        inputs: Sequence[Any],
        run_instruction: RunInstruction,
        watching: Watching | None,
        take: Take | None,
        copy: Callable[[Any], Any],
    ) -> None:
        self.program, self.run_instruction, self.take, self.copy = (
            program,
            run_instruction,
            take,
            copy,
        )
        self.values: list[Any] = [*inputs, *(None for _ in program.instructions)]
        # An architecture that runs alone may change whatever it likes.
        several = len(program.archs) > 1
        self.watch = watching(program, self.values) if watching and several else None

    def value_of(self, output: Output) -> Structure:
        """Return an output."""
        if self.watch:
            self.watch.give(output)
        return _filled(output.value, self._taken(output))

    def step(self, at: int) -> None:
        """Run an instruction."""
        instruction = self.program.instructions[at]
        taken = self._taken(instruction)
        copied: Sequence[int] = self.watch.before(at, taken) if self.watch else ()
        for index in copied:
            taken[index] = self.copy(taken[index])
        args, kwargs = _filled((instruction.args, instruction.kwargs), taken)
        result = self.run_instruction(instruction, args, kwargs)
        self.values[self.program.inputs + at] = result
        if self.watch:
            self.watch.after(at, copied)

    def free(self, at: int) -> None:
        """Let go of the values that nobody needs after an instruction."""
        for index in self.program.instructions[at].last_uses:
            self.values[index] = None
            if self.watch:
                self.watch.forget(index)

    def _taken(self, reader: Instruction | Output) -> dict[int, Any]:
        values, take = self.values, self.take
        if take is None:
            return {index: values[index] for index in reader.reads}
        return {index: take(index, values[index], reader) for index in reader.reads}


def _filled(structure: Structure, values: Mapping[int, Any]) -> Structure:
    return replace(structure, Ref, lambda ref: values[ref.index])
