"""Quantization to eight-bit integers, for onnxruntime.

Static quantization: the range of every activation is taken from training images, and weights get a
scale of their own for each output channel. It costs accuracy, and how much is measured here.

References:
    Jacob et al., "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", CVPR 2018, arXiv:1712.05877.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from supernet.errors import ExportError
from supernet.evaluation.intervals import estimate_difference, estimate_share
from supernet.export.onnx import INPUT, export_onnx, open_session, quiet, require
from supernet.export.torch_export import prepared
from supernet.export.verification import Exported, whole_or_nothing
from supernet.records import Estimate

#: Samples in one batch of the comparison.
_BATCH = 250


@dataclass(frozen=True)
class Quantized:
    """A quantized network, and what that cost.

    Attributes:
        file: The file; `difference` is the largest between two outputs.
        calibration_samples: From how many training samples the ranges are.
        score: Its accuracy, with a 95 % interval.
        float_score: That of the network it was made from, on the same samples.
        cost: By how much the score is lower, paired, with a 95 % interval.
        float_size: The size of the ONNX file it was made from, in bytes.
    """

    file: Exported
    calibration_samples: int
    score: Estimate
    float_score: Estimate
    cost: Estimate
    float_size: int


def export_int8(
    model: nn.Module,
    path: str | Path,
    *,
    calibration: Tensor,
    batches: Iterable[tuple[Tensor, Tensor]],
    most_cost: float = 0.05,
) -> Quantized:
    """Write a classifier as an ONNX file that computes with eight-bit integers.

    Args:
        model: A plain network, such as `extract` returns.
        path: Where to, by custom `*.onnx`. A file there is replaced.
        calibration: Training inputs, from which the ranges of activations are taken.
        batches: Validation inputs and labels, on which both are scored.
        most_cost: The most accuracy that it may cost; above that it is an error.

    Raises:
        CalibrationError: If a batch norm has no statistics.
        DataError: If `batches` is empty.
        ExportError: If the extra isn't installed, the network can't be exported, or quantization
            costs more; nothing is written then.
    """
    require("onnx", "onnxscript", "onnxruntime")
    path = Path(path)
    plain, kept = prepared(model), [(x.cpu(), y.cpu()) for x, y in batches]
    with whole_or_nothing(path) as temporary:
        whole = temporary.with_name("float.onnx")
        float_size = export_onnx(plain, whole, calibration[:_BATCH]).size
        _quantize(whole, temporary, calibration.cpu())
        size = temporary.stat().st_size
        own, quantized, difference = _score(plain, open_session(temporary), kept)
        score, float_score = estimate_share(quantized), estimate_share(own)
        cost = estimate_difference(own, quantized)
        if cost.value > most_cost:
            raise ExportError(
                f"eight-bit integers cost {cost.value:.4f} of accuracy ({float_score.value:.4f} to "
                f"{score.value:.4f} on {len(own)} samples), and {most_cost:g} is allowed; nothing "
                "was written"
            )
    same = int((own == quantized).sum())
    file = Exported(path, "int8", size, len(own), difference, same)
    return Quantized(file, len(calibration), score, float_score, cost, float_size)


def _quantize(source: Path, target: Path, calibration: Tensor) -> None:
    try:
        with quiet():
            import onnxruntime.quantization as tools  # type: ignore[import-untyped,import-not-found,unused-ignore]

            tools.quantize_static(
                str(source),
                str(target),
                _Reader(calibration),
                quant_format=tools.QuantFormat.QDQ,
                per_channel=True,
                activation_type=tools.QuantType.QUInt8,
                weight_type=tools.QuantType.QInt8,
            )
    except Exception as error:  # whatever onnxruntime says of what it can't do
        raise ExportError(f"the network can't be quantized: {error}") from error


class _Reader:
    """Gives onnxruntime one batch after the other, and None at the end."""

    def __init__(self, calibration: Tensor) -> None:
        self.parts = iter(calibration.split(_BATCH))

    def get_next(self) -> dict[str, Any] | None:
        """Return the next batch."""
        part = next(self.parts, None)
        return None if part is None else {INPUT: part.contiguous().numpy()}


@torch.no_grad()
def _score(model: nn.Module, run: Any, batches: Iterable[tuple[Tensor, Tensor]]) -> Any:
    """Return which samples both get right, and the largest difference between two outputs."""
    own, others, largest = [], [], 0.0
    for x, y in batches:
        expected, found = model(x), run(x)
        largest = max(largest, (expected - found).abs().max().item())
        own.append(expected.argmax(1) == y)
        others.append(found.argmax(1) == y)
    if not own:
        raise ExportError("there are no samples to score on; give at least one batch")
    return torch.cat(own).numpy(), torch.cat(others).numpy(), largest
