"""Comparison of exported files with their network, on real samples."""

from __future__ import annotations

import copy
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from supernet.errors import ExportError
from supernet.evaluation.batches import call, samples_in
from supernet.sharing.structure import replace

#: Samples that go through at a time.
_BATCH = 250

#: By how much outputs may differ, where none is above 1: by rounding only. Where some are, as many
#: times more as the largest is. Four times what the network itself loses to rounding is always
#: allowed: what adds up in another order may lose three times as much.
TOLERANCE = 1e-4
_ROUNDINGS = 4

Run = Callable[[Any], Any]


@dataclass(frozen=True)
class Exported:
    """A file that was exported, and how near it comes to its network.

    Attributes:
        path: The file.
        format: "onnx", "torch-export" or "int8".
        size: In bytes.
        samples: How many samples both were run on.
        difference: The largest between two outputs.
        same_top1: On how many samples both have the same largest output; None if there are none.
    """

    path: Path
    format: str
    size: int
    samples: int
    difference: float
    same_top1: int | None


@contextmanager
def whole_or_nothing(path: Path) -> Iterator[Path]:
    """Give the path of a new file beside `path` that gets its name at the end, or is removed.

    Raises:
        ExportError: If it can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise ExportError(f"{path} is a folder; give the name of a file")
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            temporary = Path(folder) / path.name
            yield temporary
            os.replace(temporary, path)
    except OSError as error:
        raise ExportError(f"can't write {path}: {error.strerror or error}") from error


@torch.no_grad()
def compare(
    model: nn.Module, run: Run, samples: Any, *, what: str, tolerance: float = TOLERANCE
) -> tuple[float, int | None]:
    """Return the largest difference between two networks' outputs, and how often the top-1 agrees.

    Args:
        model: The network, in evaluation mode.
        run: The exported one.
        samples: Inputs, at least one: a tensor, or tensors in a tuple or dict.
        what: What to call the exported one in an error.
        tolerance: The largest difference that may be; see `TOLERANCE`.

    Raises:
        ExportError: If a difference is larger, or an output is of another shape.
    """
    largest, same = 0.0, 0
    classifies = True
    for part in parts_of(samples):
        expected, found = call(model, part), run(part)
        if not isinstance(expected, Tensor):
            raise ExportError(f"the network returns a {type(expected).__name__}, not one tensor")
        if found.shape != expected.shape:
            raise ExportError(
                f"{what} returns shape {tuple(found.shape)}, and the network "
                f"{tuple(expected.shape)}; nothing was written"
            )
        difference = (found - expected).abs()
        allowed = tolerance * max(1.0, expected.abs().max().item())
        if difference.max() > allowed:
            allowed = max(allowed, _ROUNDINGS * _own_rounding(model, part, expected))
        if not torch.isfinite(difference).all() or difference.max() > allowed:
            raise ExportError(
                f"{what} computes something else than the network: outputs differ by up to "
                f"{difference.max().item():.3g}, and {allowed:.3g} is allowed; nothing was written"
            )
        largest = max(largest, difference.max().item())
        classifies = classifies and expected.ndim == 2
        if classifies:
            # Another top-1 within the tolerance is a tie: two outputs closer than twice of it.
            same += int((expected.argmax(1) == found.argmax(1)).sum())
    return largest, same if classifies else None


def parts_of(samples: Any) -> Iterator[Any]:
    """Yield inputs a few samples at a time."""
    for start in range(0, samples_in(samples), _BATCH):
        part = slice(start, start + _BATCH)
        yield replace(samples, Tensor, lambda tensor, part=part: tensor[part])  # type: ignore[misc]


def _own_rounding(model: nn.Module, x: Any, outputs: Tensor) -> float:
    """Return how far the network's own outputs are from those in double precision.

    A deep network in single precision may be further from them than an exported one is.
    """
    try:
        wide = replace(x, Tensor, lambda t: t.double() if t.is_floating_point() else t)
        exact = call(copy.deepcopy(model).double(), wide)
    except Exception:  # it insists on another type, so nobody can tell
        return 0.0
    error = (outputs.double() - exact).abs().max().item()
    return error if math.isfinite(error) else 0.0
