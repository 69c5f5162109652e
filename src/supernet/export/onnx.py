"""Export to ONNX, and runs with onnxruntime.

Needs the extra `onnx`: `pip install supernet[onnx]`.
"""

from __future__ import annotations

import importlib.util
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from supernet.errors import ExportError
from supernet.evaluation.batches import moved, samples_in
from supernet.export.inputs import describe_inputs
from supernet.export.torch_export import prepared, trace
from supernet.export.verification import TOLERANCE, Exported, compare, whole_or_nothing
from supernet.tasks import describe, tensors_in

#: What the only input and the output of an exported network are called.
INPUT: Final = "inputs"
OUTPUT: Final = "outputs"


def export_onnx(
    model: nn.Module, path: str | Path, samples: Any, *, tolerance: float = TOLERANCE
) -> Exported:
    """Write a network as an ONNX file that takes any number of samples.

    Before the file gets its name, onnxruntime runs it on all of `samples`, and its outputs must be
    the network's own within the tolerance.

    Args:
        model: A plain network, such as `extract` returns.
        path: Where to, by custom `*.onnx`. A file there is replaced.
        samples: Real inputs of two or more samples, normalized as the network takes them: a
            tensor, or tensors in a tuple or dict; validation images say most. Several inputs have
            the names that `forward` has for them in the file.
        tolerance: By how much outputs may differ, in units of the largest if that is above 1.

    Example:
        exported = sn.export_onnx(model, "model.onnx", next(data.validation.inputs(1000)))

    Raises:
        CalibrationError: If a batch norm has no statistics.
        ExportError: If the extra isn't installed, an operator isn't in ONNX (the module and the
            operator are named), or the file computes something else; nothing is written then.
    """
    require("onnx", "onnxscript", "onnxruntime")
    path, samples = Path(path), moved(samples, torch.device("cpu"))
    plain = prepared(model)
    with whole_or_nothing(path) as temporary:
        _write(trace(plain, samples), temporary, _names(plain, samples))
        size = temporary.stat().st_size
        difference, same = compare(
            plain, open_session(temporary), samples, what="onnxruntime", tolerance=tolerance
        )
    return Exported(path, "onnx", size, samples_in(samples), difference, same)


def _names(model: nn.Module, samples: Any) -> list[str]:
    if isinstance(samples, Tensor):
        return [INPUT]
    record = describe_inputs(model, samples)
    if record is None:
        raise ExportError(
            f"the network takes {describe(samples)}, and ONNX files take tensors only; let it take "
            "them one by one"
        )
    return [tensor.name for tensor in record.tensors]


def open_session(path: Path, *, threads: int | None = None) -> Callable[[Any], Tensor]:
    """Return a function that runs an ONNX file with onnxruntime, on the CPU.

    It takes what the network takes: a tensor, or several in a tuple or dict.

    Args:
        path: The file.
        threads: How many threads it takes; onnxruntime's own choice by default.

    Raises:
        ExportError: If onnxruntime isn't installed, or can't load the file.
    """
    require("onnxruntime")
    import onnxruntime  # type: ignore[import-untyped,import-not-found,unused-ignore]

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    if threads is not None:
        options.intra_op_num_threads = options.inter_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # of several classes, none of which is documented
        raise ExportError(f"onnxruntime can't load {path}: {error}") from error
    names = [entry.name for entry in session.get_inputs()]

    def run(x: Any) -> Tensor:
        by_name = x if isinstance(x, dict) else dict(zip(names, tensors_in(x), strict=False))
        if missing := [name for name in names if name not in by_name]:
            raise ValueError(f"{path.name} takes {', '.join(names)}, and lacks {missing[0]}")
        given = {name: by_name[name].contiguous().numpy() for name in names}
        try:
            (result,) = session.run(None, given)
        except Exception as error:  # of several classes, none of which is documented
            raise ValueError(" ".join(f"onnxruntime says {error}".split())[:300]) from error
        return torch.from_numpy(result)

    return run


def require(*packages: str) -> None:
    """Raise `ExportError` if one of the packages is not installed."""
    if missing := [name for name in packages if importlib.util.find_spec(name) is None]:
        raise ExportError(
            f"this needs {', '.join(missing)}, which is not installed; "
            "run `pip install supernet[onnx]`"
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Inside the block, what exporters log and warn of is not shown."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)


def _write(program: ExportedProgram, path: Path, names: Sequence[str]) -> None:
    try:
        with quiet():
            written = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                external_data=False,
                input_names=list(names),
                output_names=[OUTPUT],
            )
            assert written is not None
            written.save(str(path), external_data=False)
    except Exception as error:  # whatever the exporter says of what it can't translate
        raise ExportError(_reason(error, program)) from error


def _reason(error: Exception, program: ExportedProgram) -> str:
    """Return which operator can't be exported, and which module uses it."""
    found = re.search(r"op='([\w.:]+)'", str(error))
    if found is None:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return f"the network can't be exported: {lines[-1] if lines else type(error).__name__}"
    operator = found[1].replace("::", ".")
    return (
        f"{_user_of(operator, program)} uses the operator {operator}, which has no translation to "
        "ONNX; replace it, or take the format torch-export"
    )


def _user_of(operator: str, program: ExportedProgram) -> str:
    # What the exporter names is a part of what the module calls, and has its name within that.
    name = operator.rpartition(".")[2]
    for node in program.graph.nodes:
        if name in str(node.target):
            stack: Sequence[Any] = list(node.meta.get("nn_module_stack", {}).values())
            if stack and (place := stack[-1])[0]:
                return f"the module {place[0]!r} ({str(place[1]).rpartition('.')[2]})"
    return "the network"
