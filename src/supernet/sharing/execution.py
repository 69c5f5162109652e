"""Running a program: one instruction after the other, keeping no value longer than it is needed."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from supernet.errors import SharingError
from supernet.nn.supernet import Supernet
from supernet.sharing import inplace
from supernet.sharing.programs import Apply, ApplyRestricted, Instruction, Output, Program
from supernet.sharing.structure import Ref, leaves, replace
from supernet.space import Architecture


@dataclass(frozen=True, slots=True)
class Group:
    """A result, and the architectures it belongs to."""

    value: Any
    archs: tuple[Architecture, ...]


#: How to carry out an instruction on the values it reads: plainly, or with more around it, such as
#: batch-norm statistics of its architectures.
CarryOut = Callable[[Instruction, Sequence[Any], dict[str, Any]], Any]


def execute(
    program: Program,
    supernet: Supernet,
    inputs: Sequence[Any],
    carry_out: CarryOut | None = None,
    *,
    guarded: bool = True,
) -> Iterator[Group]:
    """Yield the outputs of a program as soon as they are there.

    Whoever lets go of them at once needs memory for the values in use only, however many
    architectures there are.

    Args:
        program: What to run.
        supernet: The network it was written for.
        inputs: The values it starts from.
        carry_out: How instructions are carried out; plainly, if not given.
        guarded: Whether to see to changes in place.

    Raises:
        SharingError: If an instruction changed, in place, a value that others still need.
    """
    values: list[Any] = [*inputs, *(None for _ in program.instructions)]
    guard = _Guard(program, values) if guarded and len(program.archs) > 1 else None
    outputs = iter(program.outputs)
    output = next(outputs, None)
    for at in range(len(program.instructions) + 1):
        while output and output.ready == at:
            if guard:
                guard.give(output)
            yield Group(replace(output.value, Ref, lambda ref: values[ref.index]), output.archs)
            output = next(outputs, None)
        if at:
            for index in program.instructions[at - 1].frees:
                values[index] = None
                if guard:
                    guard.forget(index)
        if at < len(program.instructions):
            _step(program, supernet, at, values, carry_out, guard)


def _step(
    program: Program,
    supernet: Supernet,
    at: int,
    values: list[Any],
    carry_out: CarryOut | None,
    guard: _Guard | None,
) -> None:
    instruction = program.instructions[at]
    copies = guard.before(at) if guard else {}

    def value_of(ref: Ref) -> Any:
        return copies.get(ref.index, values[ref.index])

    args = replace(instruction.args, Ref, value_of)
    kwargs = replace(instruction.kwargs, Ref, value_of)
    if carry_out:
        result = carry_out(instruction, args, kwargs)
    else:
        result = instruction.operation(supernet, args, kwargs)
    values[program.inputs + at] = result
    if guard:
        guard.after(at, copies)


class _Guard:
    """Sees to it that nobody gets a value that another architecture has changed.

    What counts is memory, because a change in place is a change of everything that lies there.
    """

    def __init__(self, program: Program, values: list[Any]) -> None:
        self.program = program
        self.values = values
        self._versions: dict[int, tuple[int, ...]] = {}
        self._memory: dict[int, tuple[int, ...]] = {}  # where a value lies
        self._tenants: dict[int, set[int]] = {}  # which values lie there
        # Who else holds on to it: someone outside, or autograd. A weak reference keeps the address
        # from being used again.
        self._held: dict[int, list[tuple[StorageWeakRef, Sequence[Architecture]]]] = {}
        self._bound = 64  # of its length, before it is gone through
        self._read_early: dict[int, list[StorageWeakRef]] = {}
        self._backups: dict[int, Any] = {}
        self._kept: dict[int, set[int]] = {}  # where early changes were not made
        for index in range(program.inputs):
            self._enter(index)

    def before(self, at: int) -> dict[int, Tensor]:
        """Return copies of the values that instruction `at` would spoil for others."""
        instruction = self.program.instructions[at]
        for index in instruction.reads:
            if _versions(self.values[index]) != self._versions[index]:
                raise SharingError(
                    f"a value that {self._maker(index)} made was changed in place while other "
                    "architectures still need it; make the change not in place"
                )
        read = [self.values[index] for index in instruction.reads]
        if torch.is_grad_enabled():  # what is done forward may have to be done backward
            self._take_note(read, instruction.archs)
        if at in self.program.early:
            self._read_early[at] = [StorageWeakRef(s) for s in _storages(read)]
        self._backups = {}
        if inplace.overwrites(instruction):
            index = instruction.reads[0]
            value = self.values[index]
            if not isinstance(value, Tensor):
                return {}
            if self._missed(at, index):
                raise self._refusal(at)
            if self._spoils(at, index):
                if self._seen(at, index):
                    raise self._refusal(at)
                self._keep(at, index)
                return {index: value.clone()}
            return {}
        if torch.is_inference_mode_enabled() and not inplace.spares(instruction):
            # Changes to inference tensors leave no trace, so they are found by comparison.
            for index in instruction.reads:
                if self._spoils(at, index) or self._missed(at, index):
                    self._backups[index] = replace(self.values[index], Tensor, Tensor.clone)
        return {}

    def after(self, at: int, copied: Container[int]) -> None:
        """Raise if instruction `at` has changed a value that others still need."""
        for index in self.program.instructions[at].reads:
            if index in copied or not self._has_changed(index):
                continue
            if self._missed(at, index):
                raise self._refusal(at)
            if index in self._backups:
                if self._seen(at, index) or self._spoils(at, index, besides=index):
                    raise self._refusal(at)
                self._move(index, self._backups[index])
                self._keep(at, index)
            elif self._spoils(at, index):
                raise self._refusal(at)
            for tenant in self._neighbours(index):
                self._versions[tenant] = _versions(self.values[tenant])
        result = self.program.inputs + at
        self._enter(result)
        for early, places in self._kept.items():
            # Alone, this would have been changed by now, if it lies in the same memory.
            if not places.isdisjoint(self._memory[result]) and inplace.comes_before(
                self.program, at, early
            ):
                raise self._refusal(early)

    def give(self, output: Output) -> None:
        """Take note that someone outside has an output now."""
        self._take_note([self.values[index] for index in output.reads], output.archs)

    def forget(self, index: int) -> None:
        """Take note that a value is gone."""
        for place in self._memory.pop(index, ()):
            self._tenants[place].discard(index)
            if not self._tenants[place]:
                del self._tenants[place]
        self._versions.pop(index, None)

    def _enter(self, index: int) -> None:
        value = self.values[index]
        self._versions[index] = _versions(value)
        self._memory[index] = tuple(storage._cdata for storage in _storages(value))
        for place in self._memory[index]:
            self._tenants.setdefault(place, set()).add(index)

    def _take_note(self, value: Any, archs: Sequence[Architecture]) -> None:
        for storage in _storages(value):
            self._held.setdefault(storage._cdata, []).append((StorageWeakRef(storage), archs))
        if len(self._held) > self._bound:
            # Notes of memory that is gone would keep pieces of the heap from being used again.
            alive = {p: [n for n in notes if not n[0].expired()] for p, notes in self._held.items()}
            self._held = {place: notes for place, notes in alive.items() if notes}
            self._bound = max(64, 2 * len(self._held))

    def _neighbours(self, index: int) -> set[int]:
        """Return the values that lie in the same memory, the value itself among them."""
        return {index}.union(*(self._tenants[place] for place in self._memory[index]))

    def _has_changed(self, index: int) -> bool:
        value = self.values[index]
        if _versions(value) != self._versions[index]:
            return True
        return index in self._backups and not all(
            map(_equal, leaves(value, Tensor), leaves(self._backups[index], Tensor))
        )

    def _spoils(self, at: int, index: int, besides: int = -1) -> bool:
        """Say whether a change by instruction `at` is one for architectures that don't run it."""
        mine = frozenset(self.program.instructions[at].archs)
        if any(
            inplace.needed_unchanged(self.program, at, there)
            for there in self._neighbours(index)
            if there != besides
        ):
            return True
        return any(
            not weak.expired() and not mine.issuperset(archs)
            for place in self._memory[index]
            for weak, archs in self._held.get(place, ())
        )

    def _seen(self, at: int, index: int) -> bool:
        """Say whether an architecture that makes a change in place counts on seeing it later."""
        return any(
            inplace.needed_changed(self.program, at, there) for there in self._neighbours(index)
        )

    def _missed(self, at: int, index: int) -> bool:
        """Say whether an instruction should have seen the change, but was done already."""
        places = self._memory[index]
        return any(
            any(not weak.expired() and weak.cdata in places for weak in read)
            and inplace.comes_before(self.program, at, early)
            for early, read in self._read_early.items()
        )

    def _move(self, index: int, copy: Any) -> None:
        """Put a copy in the place of a value; what is known of its memory holds for the new one."""
        before = self._memory[index]
        self.forget(index)
        self.values[index] = copy
        self._enter(index)
        for read in self._read_early.values():
            if any(weak.cdata in before for weak in read):
                read.extend(map(StorageWeakRef, _storages(copy)))
        for places in self._kept.values():
            if not places.isdisjoint(before):
                places.update(self._memory[index])

    def _keep(self, at: int, index: int) -> None:
        if at in self.program.early:
            self._kept.setdefault(at, set()).update(self._memory[index])

    def _refusal(self, at: int) -> SharingError:
        return SharingError(
            f"{describe(self.program.instructions[at])} changes its input in place, but other "
            "architectures still need that input; build it with inplace=False"
        )

    def _maker(self, index: int) -> str:
        at = index - self.program.inputs
        return describe(self.program.instructions[at]) if at >= 0 else "the caller"


def describe(instruction: Instruction) -> str:
    """Return what an instruction does in a word, for messages."""
    operation = instruction.operation
    if isinstance(operation, Apply | ApplyRestricted):
        return type(operation.module).__name__
    return f"{operation.name} in {type(operation.owner).__name__}"


def _versions(value: object) -> tuple[int, ...]:
    return tuple([0 if t.is_inference() else t._version for t in _tensors(value)])


def _storages(value: object) -> list[torch.UntypedStorage]:
    """Return where the tensors of a value lie, as far as they lie anywhere."""
    return [t.untyped_storage() for t in _tensors(value) if t.layout == torch.strided]


def _tensors(value: object) -> Iterable[Tensor]:
    return (value,) if isinstance(value, Tensor) else leaves(value, Tensor)


def _equal(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a, b) or bool(((a == b) | ((a != a) & (b != b))).all())  # NaN for NaN
