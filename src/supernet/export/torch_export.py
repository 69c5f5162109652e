"""Export to PyTorch's own format: a `.pt2` file, for ExecuTorch and other PyTorch tools.

We write it and never load one from anybody else: there is a pickle inside.
"""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from supernet.errors import ExportError
from supernet.evaluation.batchnorm import require_statistics
from supernet.export.verification import TOLERANCE, Exported, compare, whole_or_nothing


def export_program(
    model: nn.Module, path: str | Path, samples: Tensor, *, tolerance: float = TOLERANCE
) -> Exported:
    """Write a network as a `torch.export` program that takes any number of samples.

    Args:
        model: A plain network, such as `extract` returns.
        path: Where to, by custom `*.pt2`. A file there is replaced.
        samples: Real inputs, two or more, on which the program must do what the network does.
        tolerance: By how much outputs may differ, in units of the largest if that is above 1.

    Raises:
        CalibrationError: If a batch norm has no statistics.
        ExportError: If the network can't be exported, or the program computes something else;
            nothing is written then.
    """
    path = Path(path)
    plain = prepared(model)
    program = trace(plain, samples)
    with whole_or_nothing(path) as temporary, warnings.catch_warnings(action="ignore"):
        torch.export.save(program, temporary)
        # Of the program that was written, as it was written by ourselves just now.
        difference, same = compare(
            plain, program.module(), samples.cpu(), what="the program", tolerance=tolerance
        )
        size = temporary.stat().st_size
    return Exported(path, "torch-export", size, len(samples), difference, same)


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


def trace(model: nn.Module, samples: Tensor) -> ExportedProgram:
    """Return the program of a network, for any number of samples.

    Raises:
        ExportError: If the network can't be traced, or there are fewer than two samples.
    """
    if len(samples) < 2:
        raise ExportError(
            f"{len(samples)} sample(s) are too few to export with; give two or more, as sizes of 1 "
            "are taken for constants"
        )
    # A clone, as the whole storage of an example is kept in the program.
    example = samples[:2].detach().cpu().contiguous().clone()
    try:
        with warnings.catch_warnings(action="ignore"), torch.no_grad():
            return torch.export.export(model, (example,), dynamic_shapes=({0: Dim("batch")},))
    except Exception as error:  # whatever PyTorch says of what it can't trace
        raise ExportError(
            f"the network can't be exported: {type(error).__name__}: {_first_line(error)}"
        ) from error


def _first_line(error: Exception) -> str:
    return next(
        (line.strip() for line in str(error).splitlines() if line.strip()), "no reason given"
    )
