"""Conversion of users' batches: from loaders, splits and lists; with or without targets.

A batch is a pair, inputs and targets. Where only inputs are wanted, a tuple or list is taken for a
batch, and its first part for the inputs, as PyTorch's own `update_bn` does it; anything else is the
inputs. Inputs are a tensor, or tensors in a tuple or dict, with one entry per sample along the
first axis of each.
"""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from supernet.errors import DataError
from supernet.nn.supernet import Supernet
from supernet.sharing import Planner
from supernet.sharing.structure import replace
from supernet.tasks import describe, tensors_in

#: Samples per batch of a split that is gone through here.
BATCH = 250


class SplitLike(Protocol):
    """Samples that can be gone through in order; see `supernet.datasets.Split`."""

    def __len__(self) -> int:
        """How many samples there are."""

    def batches(self, size: int) -> Iterable[Any]:
        """Yield pairs of inputs and targets."""


class DataLike(Protocol):
    """Data that are split; see `supernet.datasets.ImageData`."""

    @property
    def train(self) -> SplitLike:
        """To learn from."""


#: Where batches of inputs and targets can come from, and of inputs; see `inputs_of`.
Batches = Iterable[Any] | SplitLike
Inputs = Iterable[Any] | SplitLike | DataLike


def inputs_of(source: Inputs) -> Iterator[Any]:
    """Yield the inputs of every batch of a source.

    Args:
        source: Batches, each one of inputs alone or of inputs and targets: a list, a generator, a
            `DataLoader`; a split of the data, such as `data.train`; data, of which it is the
            training split; or one tensor, which is a single batch.

    Raises:
        DataError: If it is something else, or gives what can't be inputs.
    """
    for number, batch in enumerate(_batches_of(source, inputs=True)):
        found = batch[0] if isinstance(batch, tuple | list) and batch else batch
        if next(tensors_in(found), None) is None:
            raise DataError(
                f"batch {number} is {describe(batch)}; it must be a tensor of inputs, a pair of "
                "inputs and targets, or a dict of tensors"
            )
        yield found


def pairs_of(source: Batches) -> Iterator[tuple[Any, Any]]:
    """Yield inputs and targets of every batch of a source; see `inputs_of`.

    Raises:
        DataError: If it is something else, or gives something else.
    """
    for number, batch in enumerate(_batches_of(source, inputs=False)):
        if not (isinstance(batch, tuple | list) and len(batch) == 2):
            raise DataError(
                f"batch {number} is {describe(batch)}; it must be a pair of inputs and targets"
            )
        yield batch[0], batch[1]


def _batches_of(source: Any, *, inputs: bool) -> Iterator[Any]:
    if inputs and isinstance(source, Tensor):
        return iter([source])
    if hasattr(source, "train") and hasattr(source.train, "batches"):
        if not inputs:
            raise DataError(
                f"scoring was given all of the data ({type(source).__name__}); say which split: "
                "data.validation, say"
            )
        source = source.train
    if hasattr(source, "batches") and hasattr(source, "__len__"):
        return iter(source.batches(even_size(len(source), BATCH) if inputs else BATCH))
    if isinstance(source, Dataset) and not isinstance(source, DataLoader):
        raise DataError(
            f"batches are a {type(source).__name__}, which gives one sample at a time; give "
            "DataLoader(dataset, batch_size=250)"
        )
    if isinstance(source, Tensor | Mapping | str | bytes | nn.Module) or not isinstance(
        source, Iterable
    ):
        raise DataError(
            f"batches are {describe(source)}; give a list, a generator or a DataLoader of "
            "batches, or a split of the data"
        )
    return iter(source)


def even_size(count: int, about: int) -> int:
    """Return the size of batches that are all nearly equal, and about so large.

    >>> even_size(1001, 250)  # three batches of 251 and one of 248
    251
    """
    return -(-count // max(1, round(count / about)))


def evened(batches: Iterable[Any]) -> Iterator[Any]:
    """Yield inputs batch by batch, without a last batch much smaller than the others.

    If the last has less than half as many samples as the one before, the two come as one. Batches
    of a single sample, which has no variance, are joined with others, unless there is no other.
    Two batches are held back for this, and no sample is left out.
    """
    before: Any = None
    held: Any = None
    for batch in batches:
        if held is not None and samples_in(held) < 2 and _alike(held, batch):
            held = _join(held, batch)
            continue
        if before is not None:
            yield before
        before, held = held, batch
    if before is not None and _is_small(held, before) and _alike(before, held):
        before, held = None, _join(before, held)
    yield from (batch for batch in (before, held) if batch is not None)


def joined(batches: Sequence[Any]) -> Any:
    """Return inputs of several batches as one batch."""
    return functools.reduce(_join, batches)


def samples_in(inputs: Any) -> int:
    """Return how many samples inputs have: the length of their first tensor."""
    first = next(tensors_in(inputs), None)
    return len(first) if first is not None and first.ndim else 0


def not_finite(value: Any, what: str, *, before: int = 0) -> str | None:
    """Say which sample of a batch holds NaN or infinite numbers, or return None if none does.

    Only asked where a network put out such numbers: some networks are given infinities on purpose,
    as in a mask, and cope with them.

    Args:
        value: Inputs or targets, with one entry per sample along the first axis of each tensor.
        what: What to call them in the sentence.
        before: How many samples came before; the sentence counts from the first of all.
    """
    for tensor in tensors_in(value):
        wrong = ~torch.isfinite(tensor)
        count = int(wrong.sum())
        if count:
            nan = int(torch.isnan(tensor).sum())
            rows = wrong.reshape(len(wrong), -1).any(dim=1) if wrong.ndim else wrong[None]
            return (
                f"{what} hold numbers that aren't finite ({nan:,} NaN, {count - nan:,} infinite), "
                f"the first in sample {before + int(rows.int().argmax())}; leave such samples out, "
                "or mend how they are read (dividing by a deviation of 0 does this)"
            )
    return None


def device_of(net: nn.Module) -> torch.device | None:
    """Return where a network is, or None if it has neither parameters nor buffers."""
    first = next(itertools.chain(net.parameters(), net.buffers()), None)
    return None if first is None else first.device


def moved(value: Any, device: torch.device | None) -> Any:
    """Return a value with all its tensors on a device; as it is, if they are there.

    To a GPU they go by way of pinned memory, and nobody waits for them to arrive.
    """
    if device is None or all(tensor.device == device for tensor in tensors_in(value)):
        return value
    return replace(value, Tensor, lambda tensor: _send(tensor, device))


def _send(tensor: Tensor, device: torch.device) -> Tensor:
    pins = device.type == "cuda" and tensor.device.type == "cpu" and not tensor.is_pinned()
    return (tensor.pin_memory() if pins else tensor).to(device, non_blocking=True)


def call(net: nn.Module, inputs: Any) -> Any:
    """Run a plain network on inputs; see `split_inputs`."""
    first, others = split_inputs(net, inputs)
    with naming(inputs):
        return net(first, **others)


@contextmanager
def naming(inputs: Any) -> Iterator[None]:
    """Inside the block, what a network can't do with inputs that are no tensor is told with them.

    Raises:
        DataError: Instead of a type or attribute error, if inputs are anything else than a tensor.
    """
    try:
        yield
    except (AttributeError, TypeError) as error:
        if isinstance(inputs, Tensor):
            raise
        raise DataError(
            f"the network can't take inputs {describe(inputs)}: {' '.join(str(error).split())}; a "
            "tuple goes to `forward` argument by argument if it takes several, a dict by name if "
            "it has arguments of these names, and anything else as a whole"
        ) from error


def split_inputs(net: nn.Module, inputs: Any) -> tuple[Any, dict[str, Any]]:
    """Return the first argument of a network for inputs, and the others by name.

    A tuple goes to `forward` argument by argument if it takes several, and a dict by name if it has
    arguments of these names; anything else, or to a `forward` that takes one, whole.
    """
    if not isinstance(inputs, tuple | dict) or isinstance(net, nn.Sequential):
        return inputs, {}
    names = _arguments_of(type(net).forward)
    if isinstance(inputs, tuple) and len(names) >= len(inputs) > 1:
        return inputs[0], dict(zip(names[1:], inputs[1:], strict=False))
    if isinstance(inputs, dict) and names and names[0] in inputs and inputs.keys() <= set(names):
        return inputs[names[0]], {name: inputs[name] for name in inputs if name != names[0]}
    return inputs, {}


def as_arguments(net: nn.Module, inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a network for inputs: those by position, those by name in its order.

    A tuple that is handed on argument by argument stays one.
    """
    first, others = split_inputs(net, inputs)
    if isinstance(inputs, tuple) and others:
        return inputs, {}
    order = {name: place for place, name in enumerate(_arguments_of(type(net).forward))}
    return (first,), {name: others[name] for name in sorted(others, key=lambda n: order[n])}


def planner_for(supernet: Supernet, inputs: Any) -> Planner:
    """Return a planner for a supernet and inputs such as it gets; see `sharing.plan`."""
    first, others = split_inputs(supernet.net, inputs)
    return Planner(supernet, first, **others)


@functools.lru_cache(maxsize=256)
def _arguments_of(forward: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of the arguments that a `forward` takes, those of any number left out."""
    usual = inspect.Parameter.POSITIONAL_OR_KEYWORD
    _, *parameters = inspect.signature(forward).parameters.values()
    return tuple(each.name for each in parameters if each.kind == usual)


def _is_small(last: Any, before: Any) -> bool:
    return samples_in(last) < 2 or 2 * samples_in(last) < samples_in(before)


def _alike(one: Any, other: Any) -> bool:
    """Return whether two inputs can be joined: the same tensors but for the number of samples."""
    ours, theirs = list(tensors_in(one)), list(tensors_in(other))
    return type(one) is type(other) and [(t.shape[1:], t.dtype) for t in ours] == [
        (t.shape[1:], t.dtype) for t in theirs
    ]


def _join(one: Any, other: Any) -> Any:
    rest = tensors_in(other)
    return replace(one, Tensor, lambda tensor: torch.cat([tensor, next(rest)]))
