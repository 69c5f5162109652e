"""How fast a network runs on one image: onnxruntime against PyTorch, and eight-bit integers.

For each of the nine MNIST networks (initial weights, calibrated: what they are changes no time):
PyTorch in eager mode, onnxruntime, and onnxruntime with eight-bit integers, at batch 1 and with one
thread, in turn, a block of runs each. CPU seconds per image, medians over the blocks, and the
ratios block by block with their range. The files are those of `sn.export_onnx`, `sn.export_int8`.

    python benchmarks/runtimes.py [--blocks 9] [--runs 100] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from supernet.datasets import load_mnist
from supernet.evaluation.batchnorm import recalibrate
from supernet.export.onnx import export_onnx, open_session
from supernet.export.quantization import export_int8
from supernet.networks.zoo import build_mnist_net
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.runs.process import set_up_process

Run = Callable[[Tensor], Tensor]


def main() -> None:
    """Measure, print, and write a file if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=9)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    set_up_process(threads=1)
    load = os.getloadavg()[0]
    data = load_mnist().limit(train=500, validation=1000)
    supernet = Supernet(build_mnist_net(seed=0))
    rows = []
    for arch in supernet.space:
        net = extract(supernet, arch)
        recalibrate(net, data.train.inputs(250))
        net.eval().requires_grad_(False)
        rows.append({"arch": arch.label, **measure(net, data, given.blocks, given.runs)})
        print("  ".join(f"{name} {shown(value)}" for name, value in rows[-1].items()))
    result = {
        "threads": 1,
        "batch": 1,
        "blocks": given.blocks,
        "runs_per_block": given.runs,
        "load_before": load,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "versions": {
            name: version(name) for name in ("torch", "onnx", "onnxscript", "onnxruntime")
        },
        "networks": rows,
    }
    ratios = [row["torch_over_onnx"] for row in rows]
    print(f"PyTorch over onnxruntime: {min(ratios):.2f} to {max(ratios):.2f}")
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n")


def measure(net: nn.Module, data: Any, blocks: int, runs: int) -> dict[str, Any]:
    """Return the times of one network, and the sizes of its files."""
    with TemporaryDirectory() as folder:
        whole, small = Path(folder) / "whole.onnx", Path(folder) / "small.onnx"
        exported = export_onnx(net, whole, next(data.validation.inputs(1000)))
        quantized = export_int8(
            net,
            small,
            calibration=next(data.train.inputs(500)),
            batches=data.validation.batches(250),
            most_cost=1.0,
        )
        ways: dict[str, Run] = {
            "torch": net,
            "onnx": open_session(whole, threads=1),
            "int8": open_session(small, threads=1),
        }
        x = next(data.validation.inputs(1))
        times: dict[str, list[float]] = {name: [] for name in ways}
        with torch.no_grad():
            for run in ways.values():
                seconds_per_run(run, x, runs)  # warm-up
            for _ in range(blocks):
                for name, run in ways.items():
                    times[name].append(seconds_per_run(run, x, runs))
    faster = sorted(a / b for a, b in zip(times["torch"], times["onnx"], strict=True))
    int8 = sorted(a / b for a, b in zip(times["onnx"], times["int8"], strict=True))
    return {
        **{f"{name}_ms": 1000 * statistics.median(values) for name, values in times.items()},
        "torch_over_onnx": statistics.median(faster),
        "torch_over_onnx_range": [faster[0], faster[-1]],
        "onnx_over_int8": statistics.median(int8),
        "onnx_over_int8_range": [int8[0], int8[-1]],
        "onnx_bytes": exported.size,
        "int8_bytes": quantized.file.size,
        "largest_difference": exported.difference,
        "same_top1_of_1000": exported.same_top1,
    }


def seconds_per_run(run: Run, x: Tensor, runs: int) -> float:
    """Return the CPU seconds of one run, from several."""
    start = time.process_time()
    for _ in range(runs):
        run(x)
    return (time.process_time() - start) / runs


def shown(value: object) -> str:
    """Return a value for a line of text."""
    if isinstance(value, list):
        return f"({' to '.join(f'{part:.2f}' for part in value)})"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
