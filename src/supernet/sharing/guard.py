"""The guard against changes in place: nobody gets a value that another architecture has changed.

What is known to change its input in place is given a copy where others still need the input. What
does so unannounced is found out afterwards, by PyTorch's version counters or by comparison, and is
an error; so is a change that an architecture counts on seeing later, but wouldn't see.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from supernet.errors import SharingError
from supernet.sharing import inplace
from supernet.sharing.programs import Apply, ApplyRestricted, Instruction, Output, Program
from supernet.sharing.structure import leaves, replace
from supernet.space import Architecture


@final
class Guard:
    """Watches the values of a program that is being run.

    What counts is memory, because a change in place is a change of everything that lies there.

    Args:
        program: The program.
        values: The list in which its values stand. The inputs are there from the beginning.
    """

    def __init__(self, program: Program, values: list[Any]) -> None:
        self.program = program
        self.values = values
        self._versions: dict[int, tuple[int, ...]] = {}
        self._storages: dict[int, tuple[int, ...]] = {}  # in which storages a value lies
        self._values_in_storage: dict[int, set[int]] = {}
        # Who else holds on to a storage: someone outside, or autograd. A weak reference keeps the
        # address from being used again.
        self._held: dict[int, list[tuple[StorageWeakRef, Sequence[Architecture]]]] = {}
        self._bound = 64  # of its length, before it is gone through
        # What reordered instructions read, and the storages of which they changed a copy only.
        self._read_early: dict[int, list[StorageWeakRef]] = {}
        self._spared: dict[int, set[int]] = {}
        # Of the current instruction: copies to compare with, and what it got instead of values.
        self._backups: dict[int, Any] = {}
        self._parts: dict[int, tuple[Tensor, tuple[int, ...], Tensor | None]] = {}
        for index in range(program.inputs):
            self._enter(index)

    def before(self, at: int, taken: Mapping[int, Any]) -> Sequence[int]:
        """Return the numbers of the values that instruction `at` would spoil for others.

        It must be given copies of these. What it gets of each value is `taken`: the value itself,
        or a part of it, which may lie in the value's memory or elsewhere.
        """
        instruction = self.program.instructions[at]
        for index in instruction.reads:
            if _versions(self.values[index]) != self._versions[index]:
                raise SharingError(
                    f"a value that {self._maker(index)} made was changed in place while other "
                    "architectures still need it; make the change not in place"
                )
        read = [self.values[index] for index in instruction.reads]
        if torch.is_grad_enabled():  # what is done forward may have to be done backward
            self._hold(read, instruction.archs)
        if at in self.program.reordered:
            self._read_early[at] = [StorageWeakRef(s) for s in _storages(read)]
        self._backups, self._parts = {}, {}
        if inplace.overwrites(instruction):
            index = instruction.reads[0]
            if not isinstance(taken[index], Tensor):
                return ()
            if self._missed(at, index):
                raise self._refusal(at)
            apart = self._lies_apart(index, taken[index])
            if not apart and not self._breaks(at, index):
                return ()
            if self._seen(at, index):
                raise self._refusal(at)
            self._spare(at, index)
            return () if apart else (index,)
        compares = torch.is_inference_mode_enabled() and not inplace.spares(instruction)
        for index, part in taken.items():
            if part is not self.values[index] and self._lies_apart(index, part):
                backup = part.clone() if compares else None
                self._parts[index] = part, _versions(part), backup
            # Changes to inference tensors leave no trace, so they are found by comparison.
            elif compares and (self._breaks(at, index) or self._missed(at, index)):
                self._backups[index] = replace(self.values[index], Tensor, Tensor.clone)
        return ()

    def after(self, at: int, copied: Sequence[int]) -> None:
        """Raise if instruction `at` has changed a value that others still need."""
        for index in self.program.instructions[at].reads:
            if self._part_has_changed(index) and (self._seen(at, index) or self._missed(at, index)):
                raise self._refusal(at)
            if index in copied or not self._has_changed(index):
                continue
            if self._missed(at, index):
                raise self._refusal(at)
            if index in self._backups:
                if self._seen(at, index) or self._breaks(at, index, besides=index):
                    raise self._refusal(at)
                self._move(index, self._backups[index])
                self._spare(at, index)
            elif self._breaks(at, index):
                raise self._refusal(at)
            for alias in self._aliases(index):
                self._versions[alias] = _versions(self.values[alias])
        result = self.program.inputs + at
        self._enter(result)
        for early, storages in self._spared.items():
            # Alone, this would have been changed by now, if it lies in the same memory.
            if not storages.isdisjoint(self._storages[result]) and inplace.comes_before(
                self.program, at, early
            ):
                raise self._refusal(early)

    def give(self, output: Output) -> None:
        """Take note that someone outside has an output now."""
        self._hold([self.values[index] for index in output.reads], output.archs)

    def forget(self, index: int) -> None:
        """Take note that a value is gone."""
        for storage in self._storages.pop(index, ()):
            self._values_in_storage[storage].discard(index)
            if not self._values_in_storage[storage]:
                del self._values_in_storage[storage]
        self._versions.pop(index, None)

    def _enter(self, index: int) -> None:
        value = self.values[index]
        self._versions[index] = _versions(value)
        self._storages[index] = tuple(storage._cdata for storage in _storages(value))
        for storage in self._storages[index]:
            self._values_in_storage.setdefault(storage, set()).add(index)

    def _hold(self, value: Any, archs: Sequence[Architecture]) -> None:
        """Take note that some architectures hold on to a value, besides the program."""
        for storage in _storages(value):
            self._held.setdefault(storage._cdata, []).append((StorageWeakRef(storage), archs))
        if len(self._held) > self._bound:
            # Notes of memory that is gone would keep pieces of the heap from being used again.
            alive = {s: [n for n in notes if not n[0].expired()] for s, notes in self._held.items()}
            self._held = {storage: notes for storage, notes in alive.items() if notes}
            self._bound = max(64, 2 * len(self._held))

    def _aliases(self, index: int) -> set[int]:
        """Return the values that lie in the same memory, the value itself among them."""
        return {index}.union(*(self._values_in_storage[s] for s in self._storages[index]))

    def _lies_apart(self, index: int, part: Any) -> bool:
        """Say whether what an instruction gets of a value lies elsewhere than the value."""
        own = self._storages[index]
        return all(storage._cdata not in own for storage in _storages(part))

    def _has_changed(self, index: int) -> bool:
        value = self.values[index]
        if _versions(value) != self._versions[index]:
            return True
        return index in self._backups and not all(
            map(_equal, leaves(value, Tensor), leaves(self._backups[index], Tensor))
        )

    def _part_has_changed(self, index: int) -> bool:
        if index not in self._parts:
            return False
        part, versions, backup = self._parts[index]
        return _versions(part) != versions or (backup is not None and not _equal(part, backup))

    def _breaks(self, at: int, index: int, besides: int = -1) -> bool:
        """Say whether a change by instruction `at` is one for architectures that don't run it."""
        mine = frozenset(self.program.instructions[at].archs)
        if any(
            inplace.needed_unchanged(self.program, at, alias)
            for alias in self._aliases(index)
            if alias != besides
        ):
            return True
        return any(
            not weak.expired() and not mine.issuperset(archs)
            for storage in self._storages[index]
            for weak, archs in self._held.get(storage, ())
        )

    def _seen(self, at: int, index: int) -> bool:
        """Say whether an architecture that makes a change in place counts on seeing it later."""
        return any(
            inplace.needed_changed(self.program, at, alias) for alias in self._aliases(index)
        )

    def _missed(self, at: int, index: int) -> bool:
        """Say whether an instruction should have seen the change, but was done already."""
        storages = self._storages[index]
        return any(
            any(not weak.expired() and weak.cdata in storages for weak in read)
            and inplace.comes_before(self.program, at, early)
            for early, read in self._read_early.items()
        )

    def _move(self, index: int, copy: Any) -> None:
        """Put a copy in the place of a value; what is known of its memory holds for the new one."""
        before = self._storages[index]
        self.forget(index)
        self.values[index] = copy
        self._enter(index)
        for read in self._read_early.values():
            if any(weak.cdata in before for weak in read):
                read.extend(map(StorageWeakRef, _storages(copy)))
        for storages in self._spared.values():
            if not storages.isdisjoint(before):
                storages.update(self._storages[index])

    def _spare(self, at: int, index: int) -> None:
        """Take note that a reordered instruction changed a copy, and not the value."""
        if at in self.program.reordered:
            self._spared.setdefault(at, set()).update(self._storages[index])

    def _refusal(self, at: int) -> SharingError:
        return SharingError(
            f"{describe(self.program.instructions[at])} changes its input in place, but other "
            "architectures still need that input; build it with inplace=False"
        )

    def _maker(self, index: int) -> str:
        at = index - self.program.inputs
        return describe(self.program.instructions[at]) if at >= 0 else "the caller"


#: By instruction, the numbers of the values that it must be given copies of.
Copies = Mapping[int, Sequence[int]]


@final
class Known:
    """Says what a guard said about the same program before; for values that can't be watched."""

    def __init__(self, copies: Copies) -> None:
        self.copies = copies

    def before(self, at: int, taken: Mapping[int, Any]) -> Sequence[int]:
        """Return the numbers of the values that instruction `at` must be given copies of."""
        return self.copies.get(at, ())

    def after(self, at: int, copied: Sequence[int]) -> None:
        """Nothing can have changed."""

    def give(self, output: Output) -> None:
        """Nothing can change."""

    def forget(self, index: int) -> None:
        """There is nothing to forget."""


@final
class Recorder:
    """Watches as a guard does, and keeps what it says."""

    def __init__(self, guard: Guard) -> None:
        self.copies: dict[int, Sequence[int]] = {}
        self._guard = guard
        self.after, self.give, self.forget = guard.after, guard.give, guard.forget

    def before(self, at: int, taken: Mapping[int, Any]) -> Sequence[int]:
        """Return what the guard says, and keep it."""
        self.copies[at] = self._guard.before(at, taken)
        return self.copies[at]


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
