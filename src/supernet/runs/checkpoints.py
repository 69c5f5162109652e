"""Checkpoints of a training: whole or not at all, checked before they are believed, never code.

A checkpoint is two files. `000007.safetensors` holds the state: its tensors, and everything else
as JSON inside one more tensor. `000007.sha256`, written after it, is the line that `sha256sum -c`
checks. A checkpoint counts only if the second file is there and fits the first byte for byte: of
single flipped bits, safetensors and `torch.load` notice next to none.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from supernet.errors import CheckpointError, CheckpointWarning, RunFolderError
from supernet.reading import SMALL, find_memory, read_regular
from supernet.runs import files
from supernet.text import show

#: What can be saved: tensors, numbers, strings, None, and lists, tuples and dictionaries of such.
State = Any

#: The tensor that holds what is no tensor.
_REST = "rest.json"

#: Names that a state's own tensors can't have: the other one is safetensors' own.
_TAKEN = (_REST, "__metadata__")

#: The types of tensors that safetensors writes and reads.
_TYPES = (
    *(torch.bool, torch.uint8, torch.uint16, torch.uint32, torch.uint64),
    *(torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64),
    *(torch.float8_e4m3fn, torch.float8_e5m2),
)

#: Saving may take this share of the time: after a slow save, the next one waits for longer.
_SHARE = 0.01

_PAYLOAD = re.compile(r"(\d{6,})\.safetensors")


def _warn(sentence: str) -> None:
    warnings.warn(sentence, CheckpointWarning, stacklevel=2)


@final
class Checkpoints:
    """A folder with the last states of one training.

    Args:
        folder: Where they are; made when something is saved. Only one process may save to it.
        keep: How many to keep.
        every_s: How many seconds lie between two saves, at least; see `due`.
        warn: Told, in a sentence, of every checkpoint that is damaged; `warnings.warn` by default.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keep: int = 2,
        every_s: float = 10.0,
        warn: Callable[[str], None] = _warn,
    ) -> None:
        self.folder = folder
        self.keep = keep
        self.every_s = every_s
        self.warn = warn
        self._damaged: set[int] = set()
        self._next = time.monotonic() + every_s

    @property
    def due(self) -> bool:
        """Whether it is time to save: `every_s` after the last time, and never for over 1 % of it.

        When it is depends on the clock, so nothing that is computed may depend on it.
        """
        return time.monotonic() >= self._next

    @property
    def newest(self) -> Path | None:
        """The newest checkpoint there is, unread."""
        numbers = self._numbers()
        return self._payload(numbers[-1]) if numbers else None

    def save(self, state: State) -> Path:
        """Write a checkpoint, then remove all but the last `keep` that are whole.

        Returns:
            Where it is.

        Raises:
            CheckpointError: If the state holds something else than `State` allows.
            RunFolderError: If it can't be written. Those before are there still.
        """
        start = time.monotonic()
        payload = self.take(pack(state))
        now = time.monotonic()
        self._next = now + max(self.every_s, (now - start) / _SHARE)
        return payload

    def take(self, content: bytes) -> Path:
        """Write a checkpoint that was saved elsewhere; see `save`.

        Args:
            content: The bytes of its first file.
        """
        numbers = self._numbers()
        number = numbers[-1] + 1 if numbers else 1
        payload = files.write(self._payload(number), content)
        files.write(self._manifest(number), _manifest_of(payload.name, content))
        whole = [n for n in numbers if self._manifest(n).exists() and n not in self._damaged]
        kept = [*whole, number][-self.keep :]
        for old in set(numbers) - set(kept):
            self._remove(old)
        with _told(self.folder):
            files.remove_leftovers(self.folder)
        return payload

    def newest_bytes(self) -> bytes | None:
        """Return what `take` takes elsewhere: the newest checkpoint that is whole, or None."""
        found = self._newest_whole()
        return None if found is None else found[1]

    def load(self) -> State | None:
        """Return the newest state that is whole, or None if there is none.

        A damaged checkpoint is told of, and the one before it taken. One whose second file was
        never written is none: the process was killed while it saved.
        """
        found = self._newest_whole()
        return None if found is None else self._unpacked(*found)

    def _newest_whole(self) -> tuple[int, bytes] | None:
        self._damaged.clear()
        most = find_memory() // 2  # its tensors are copies of what is in it
        for number in reversed(self._numbers()):
            try:
                with _told(self._payload(number)):
                    content = read_regular(self._payload(number), most, follow=False)
                with _told(self._manifest(number)):
                    manifest = read_regular(self._manifest(number), SMALL, follow=False)
            except FileNotFoundError:
                continue
            if manifest == _manifest_of(self._payload(number).name, content):
                if self._damaged:
                    self.warn(f"resuming from the checkpoint before, {show(self._payload(number))}")
                return number, content
            self._damaged.add(number)
            self.warn(f"the checkpoint {show(self._payload(number))} is damaged, and is not used")
        if self._damaged:
            self.warn(f"no checkpoint in {show(self.folder)} is whole; starting again")
        return None

    def _unpacked(self, number: int, content: bytes) -> State:
        try:
            return unpack(content)
        except CheckpointError as error:  # it is as it was written, by something else
            raise CheckpointError(
                f"in {show(self._payload(number))}: {error}; remove it to go on without it"
            ) from None

    def clear(self) -> None:
        """Remove all checkpoints."""
        for number in self._numbers():
            self._remove(number)

    def _numbers(self) -> list[int]:
        """Return the numbers of all payloads, in order."""
        try:
            with _told(self.folder):
                names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        found = (_PAYLOAD.fullmatch(name) for name in names)
        return sorted(int(match[1]) for match in found if match)

    def _payload(self, number: int) -> Path:
        return self.folder / f"{number:06}.safetensors"

    def _manifest(self, number: int) -> Path:
        return self.folder / f"{number:06}.sha256"

    def _remove(self, number: int) -> None:
        """Remove a checkpoint, first what makes it count."""
        for path in (self._manifest(number), self._payload(number)):
            with _told(path):
                path.unlink(missing_ok=True)
        self._damaged.discard(number)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Let what the system refuses be a sentence; that something is missing is for others to say."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RunFolderError(files.unreadable(path, error)) from error


def _manifest_of(name: str, content: bytes) -> bytes:
    return f"{hashlib.sha256(content).hexdigest()}  {name}\n".encode()


@contextmanager
def foreign_refused(what: str, way_on: str) -> Iterator[None]:
    """Let whatever goes wrong where a state is put to use be a `CheckpointError`, with the reason.

    Args:
        what: What is wrong, as the beginning of a sentence.
        way_on: What can be done, as its end.
    """
    try:
        yield
    except CheckpointError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{what}: {reason}; {way_on}") from None


def pack(state: State) -> bytes:
    """Return a state as the bytes of a safetensors file.

    Tensors keep values, shape and type; not device, memory layout or shared storage.

    Raises:
        CheckpointError: If it holds something else than `State` allows.
    """
    tensors: dict[str, Tensor] = {}
    try:
        rest = json.dumps(_without_tensors(state, (), tensors)).encode()
    except CheckpointError:
        raise
    except (RecursionError, ValueError) as error:  # nested too deeply, or an endless number
        raise CheckpointError(f"the state can't be saved: {error}") from None
    tensors[_REST] = torch.frombuffer(bytearray(rest), dtype=torch.uint8)
    return safetensors.torch.save(tensors)


def unpack(content: bytes) -> State:
    """Return the state that `pack` was given.

    Raises:
        CheckpointError: If these are not bytes that `pack` returned.
    """
    try:
        tensors = safetensors.torch.load(content)
        rest = json.loads(tensors[_REST].numpy().tobytes())
        return _with_tensors(rest, tensors)
    except (
        safetensors.SafetensorError,
        LookupError,
        TypeError,
        ValueError,
        RecursionError,
    ) as error:
        raise CheckpointError(f"this is no saved state: {type(error).__name__}: {error}") from None


# JSON has no tuples, and strings for keys only; so these, and tensors, are marked by a name.


def _without_tensors(value: State, path: tuple[str, ...], tensors: dict[str, Tensor]) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Tensor):
        _check_tensor(value, path)
        name = ("/".join(path) or "state").encode(errors="backslashreplace").decode()
        while name in tensors or name in _TAKEN:
            name += "'"
        # A clone, because safetensors refuses what shares storage.
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": name}
    if isinstance(value, list | tuple):
        items = [_without_tensors(item, (*path, str(at)), tensors) for at, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, Mapping):
        return {
            "items": [
                [_without_tensors(k, path, tensors), _without_tensors(v, (*path, str(k)), tensors)]
                for k, v in value.items()
            ]
        }
    raise CheckpointError(
        f"{'/'.join(path) or 'the state'} is a {type(value).__name__}, which can't be saved; "
        "tensors, numbers, strings, lists, tuples and dictionaries can"
    )


def _check_tensor(tensor: Tensor, path: tuple[str, ...]) -> None:
    plain = tensor.layout == torch.strided and not (tensor.is_nested or tensor.is_meta)
    if not plain or tensor.dtype not in _TYPES:
        what = str(tensor.dtype if plain else tensor.layout).removeprefix("torch.")
        what = "meta" if tensor.is_meta else "nested" if tensor.is_nested else what
        raise CheckpointError(
            f"{'/'.join(path) or 'the state'} is a {what} tensor, which can't be saved; dense ones "
            "of a usual type can"
        )


def _with_tensors(value: Any, tensors: Mapping[str, Tensor]) -> State:
    if isinstance(value, list):
        return [_with_tensors(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "tuple":
        return tuple(_with_tensors(item, tensors) for item in content)
    if kind == "items":
        return {_with_tensors(k, tensors): _with_tensors(v, tensors) for k, v in content}
    raise LookupError(kind)
