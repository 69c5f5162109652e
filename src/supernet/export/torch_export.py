"""Export to PyTorch's own format: a `.pt2` file, for ExecuTorch and other PyTorch tools.

We write it and never load one from anybody else: there is a pickle inside.
"""

from __future__ import annotations

import copy
import inspect
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from supernet.errors import ExportError
from supernet.evaluation.batches import as_arguments, moved, samples_in
from supernet.evaluation.batchnorm import require_statistics
from supernet.export.verification import TOLERANCE, Exported, compare, whole_or_nothing
from supernet.sharing.structure import replace


def export_program(
    model: nn.Module, path: str | Path, samples: Any, *, tolerance: float = TOLERANCE
) -> Exported:
    """Write a network as a `torch.export` program that takes any number of samples.

    Args:
        model: A plain network, such as `extract` returns.
        path: Where to, by custom `*.pt2`. A file there is replaced.
        samples: Real inputs of two or more samples, on which the program must do what the network
            does: a tensor, or tensors in a tuple or dict.
        tolerance: By how much outputs may differ, in units of the largest if that is above 1.

    Raises:
        CalibrationError: If a batch norm has no statistics.
        ExportError: If the network can't be exported, or the program computes something else;
            nothing is written then.
    """
    path, samples = Path(path), moved(samples, torch.device("cpu"))
    plain = prepared(model)
    program = trace(plain, samples)
    with whole_or_nothing(path) as temporary, warnings.catch_warnings(action="ignore"):
        torch.export.save(program, temporary)
        # Of the program that was written, as it was written by ourselves just now.
        written = program.module()

        def run(inputs: Any) -> Any:
            args, kwargs = as_arguments(plain, inputs)
            return written(*args, **kwargs)

        difference, same = compare(plain, run, samples, what="the program", tolerance=tolerance)
        size = temporary.stat().st_size
    return Exported(path, "torch-export", size, samples_in(samples), difference, same)


def prepared(model: nn.Module) -> nn.Module:
    """Return a copy of a network to be exported: on the CPU, in evaluation mode.

    Raises:
        CalibrationError: If a batch norm has no statistics.
    """
    require_statistics(model)
    with torch.inference_mode(False):
        plain = copy.deepcopy(model).cpu().eval()
        for parameter in plain.parameters():
            parameter.requires_grad_(False)
    return plain


def trace(model: nn.Module, samples: Any) -> ExportedProgram:
    """Return the program of a network, for any number of samples.

    Raises:
        ExportError: If the network can't be traced, or there are fewer than two samples.
    """
    if samples_in(samples) < 2:
        raise ExportError(
            f"{samples_in(samples)} sample(s) are too few to export with; give two or more, as "
            "sizes of 1 are taken for constants"
        )
    # A clone, as the whole storage of an example is kept in the program.
    example = replace(samples, Tensor, lambda t: t[:2].detach().cpu().contiguous().clone())
    args, kwargs = as_arguments(model, example)
    batch = Dim("batch")
    shapes, named_shapes = replace((args, kwargs), Tensor, lambda tensor: {0: batch})
    if kwargs:  # by name, those by position too
        first = next(iter(inspect.signature(model.forward).parameters))
        shapes = {first: shapes[0], **named_shapes}
    try:
        with warnings.catch_warnings(action="ignore"), torch.no_grad():
            return torch.export.export(model, args, kwargs, dynamic_shapes=shapes)
    except Exception as error:  # whatever PyTorch says of what it can't trace
        raise ExportError(
            f"the network can't be exported: {type(error).__name__}: {_first_line(error)}"
        ) from error


def _first_line(error: Exception) -> str:
    return next(
        (line.strip() for line in str(error).splitlines() if line.strip()), "no reason given"
    )
