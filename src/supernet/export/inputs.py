"""What a network takes that is no picture: its record, and arrays from elsewhere made to fit."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from supernet.errors import DataError
from supernet.evaluation.batches import split_inputs
from supernet.export.card import DTYPES, InputsRecord, TensorRecord
from supernet.tasks import tensors_in
from supernet.text import show

Arrays = Mapping[str, NDArray[Any]]

#: What the only tensor may be called in a file of several arrays.
_USUAL = ("x", "inputs")


def describe_inputs(net: nn.Module, example: Any) -> InputsRecord | None:
    """Return what a network takes, from inputs that it was run on.

    Args:
        net: The network.
        example: Inputs for some samples.

    Returns:
        None where they are nested deeper than tensors in a tuple or dict, or of an odd type.
    """
    parts: dict[Any, Any]
    if isinstance(example, Tensor):
        form, parts = "tensor", {"x": example}
    elif isinstance(example, dict):
        form, parts = "dict", example
    elif isinstance(example, tuple | list):
        form, parts = "tuple", dict(zip(_names(net, len(example)), example, strict=True))
    else:
        return None
    if not all(isinstance(part, Tensor) and _dtype(part) in DTYPES for part in parts.values()):
        return None
    tensors = [
        TensorRecord(name=str(name), shape=tuple(part.shape[1:]), dtype=_dtype(part))
        for name, part in parts.items()
    ]
    return InputsRecord(
        form=form,  # type: ignore[arg-type]  # one of three
        tensors=tensors,
        apart=split_inputs(net, example)[0] is not example,
    )


def _names(net: nn.Module, count: int) -> list[str]:
    """Return what `forward` calls its arguments, if it takes so many, or else `x0` and so on."""
    usual = inspect.Parameter.POSITIONAL_OR_KEYWORD
    own = [p.name for p in inspect.signature(net.forward).parameters.values() if p.kind == usual]
    return own[:count] if len(own) >= count > 1 else [f"x{place}" for place in range(count)]


def _dtype(tensor: Tensor) -> Any:
    return str(tensor.dtype).removeprefix("torch.")


def fit_arrays(arrays: Arrays, record: InputsRecord, where: str) -> Any:
    """Return arrays as the inputs that a network takes.

    Numbers are converted to the type it takes where that loses nothing but precision. Sizes are as
    the arrays have them: some networks take others than they were trained on.

    Args:
        arrays: By name, each with one entry per sample along its first axis.
        record: What the network takes.
        where: What they are from, for errors.

    Raises:
        DataError: If one is missing, or is of another kind.
    """
    found = [
        _converted(array, tensor, f"{where}: {name}")
        for tensor, (name, array) in zip(
            record.tensors, _choose(arrays, record, where), strict=True
        )
    ]
    counts = [len(tensor) for tensor in found]
    if len(set(counts)) > 1 or not counts[0]:
        raise DataError(
            f"{where} holds {' and '.join(map(str, counts))} samples; give as many in each array, "
            "at least one"
        )
    if record.form == "tensor":
        return found[0]
    names = [tensor.name for tensor in record.tensors]
    return tuple(found) if record.form == "tuple" else dict(zip(names, found, strict=True))


def _choose(arrays: Arrays, record: InputsRecord, where: str) -> list[tuple[str, NDArray[Any]]]:
    if len(record.tensors) == 1:
        if len(arrays) == 1:
            return list(arrays.items())
        wanted: tuple[str, ...] = (record.tensors[0].name, *_USUAL)
        there = [name for name in wanted if name in arrays]
        if there:
            return [(there[0], arrays[there[0]])]
    names = [tensor.name for tensor in record.tensors]
    numbered = [f"arr_{place}" for place in range(len(names))]  # as numpy.savez calls them
    for those in (names, numbered):
        if all(name in arrays for name in those):
            return [(name, arrays[name]) for name in those]
    listed = ", ".join(repr(show(name, 40)) for name in list(arrays)[:8]) or "none"
    raise DataError(
        f"{where} must hold {word_inputs(record)}; it holds {listed}. Save it with "
        f"numpy.savez(file, {', '.join(f'{name}=...' for name in names)})"
    )


def _converted(array: NDArray[Any], record: TensorRecord, where: str) -> Tensor:
    if array.ndim != len(record.shape) + 1:
        hint = ""
        if array.ndim == len(record.shape):
            hint = "; a single sample needs an axis of its own: array[None]"
        raise DataError(
            f"{where} has shape {array.shape}, and the network takes {word_tensor(record)}{hint}"
        )
    if array.dtype.kind not in "biuf":
        raise DataError(f"{where} holds {array.dtype}; it must hold numbers: {record.dtype}")
    wanted = np.dtype(record.dtype if record.dtype != "bfloat16" else "float32")
    if wanted.kind in "iu" and array.dtype.kind == "f":
        raise DataError(
            f"{where} holds {array.dtype}, and the network takes whole numbers ({record.dtype}); "
            "convert them with array.astype('int64') if that is what they are"
        )
    if wanted.kind in "iu" and array.size:
        bounds = np.iinfo(wanted)
        low, high = int(array.min()), int(array.max())
        if low < bounds.min or high > bounds.max:
            raise DataError(f"{where} runs from {low} to {high}, beyond what {record.dtype} holds")
    plain = np.ascontiguousarray(array.astype(wanted, copy=False))
    return torch.from_numpy(plain).to(getattr(torch, record.dtype))


def word_inputs(record: InputsRecord) -> str:
    """Return what a network takes, in words.

    >>> word_inputs(InputsRecord(form="tensor", tensors=[
    ...     TensorRecord(name="x", shape=(6,), dtype="float32")]))
    'x (N, 6) float32'
    """
    return ", ".join(f"{tensor.name} {word_tensor(tensor)}" for tensor in record.tensors)


def word_tensor(record: TensorRecord) -> str:
    """Return the shape and type of a tensor for N samples."""
    return (
        f"({', '.join(['N', *map(str, record.shape)])}{'' if record.shape else ','}) {record.dtype}"
    )


def resized(inputs: Any, record: InputsRecord) -> list[str]:
    """Return, as sentences, where inputs have other sizes than the network was trained on."""
    tensors = list(tensors_in(inputs))
    if len(tensors) != len(record.tensors):
        return []  # the network itself will say so
    return [
        f"{known.name} has shape {tuple(tensor.shape[1:])} for a sample, and the network was "
        f"trained on {known.shape}"
        for tensor, known in zip(tensors, record.tensors, strict=True)
        if tuple(tensor.shape[1:]) != known.shape
    ]
