"""What sharing saves: nine architectures in one pass against nine passes, side by side in one run.

Measures, for the nine-network MNIST space: a training step over all nine against nine separate
steps; scoring all nine against scoring one by one; the memory of the joint step against that of the
largest network; which share of the machine's matrix-product peak a step reaches; and what training
through the library costs over the same loop written by hand. CPU seconds, the two sides in turn,
medians of the repeats with their range.

    python benchmarks/shared_step.py [--batch 64] [--threads 1] [--repeats 7] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import OneCycleLR

from supernet.datasets import DataSplit, load_mnist
from supernet.evaluation.accuracy import score, score_network
from supernet.evaluation.batchnorm import calibrate, recalibrate
from supernet.networks.zoo import build_mnist_net
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.runs.process import set_up_process
from supernet.sharing import Planner
from supernet.space import Architecture
from supernet.training.losses import mean_loss
from supernet.training.optimizers import make_optimizer
from supernet.training.recipe import Recipe
from supernet.training.steps import train_steps

SHAPE = (1, 28, 28)


def ratios(
    ours: Callable[[], object], theirs: Callable[[], object], repeats: int
) -> dict[str, Any]:
    """Run both in turn; return the CPU seconds of each and the ratio theirs / ours."""
    ours(), theirs()  # warm-up
    pairs = [(cpu_seconds(ours), cpu_seconds(theirs)) for _ in range(repeats)]
    each = sorted(b / a for a, b in pairs)
    return {
        "ours_s": statistics.median(a for a, _ in pairs),
        "theirs_s": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(each),
        "ratio_range": [each[0], each[-1]],
    }


def cpu_seconds(function: Callable[[], object]) -> float:
    """Return the CPU seconds of one call."""
    start = time.process_time()
    function()
    return time.process_time() - start


def measure_step(supernet: Supernet, x: Tensor, y: Tensor, repeats: int) -> dict[str, Any]:
    """One step over all architectures against a step of each, optimizer included."""
    archs = list(supernet.space)
    optimizer = make_optimizer(supernet, Recipe(learning_rate=1e-6))

    def step(chosen: Sequence[Architecture]) -> None:
        optimizer.zero_grad(set_to_none=True)
        mean_loss(supernet, x, y, chosen).backward()
        optimizer.step()

    def one_by_one() -> None:
        for arch in archs:
            step([arch])

    supernet.train()
    found = ratios(lambda: step(archs), one_by_one, repeats)
    planner = Planner(supernet, x)
    together = planner.plan(archs).training_macs
    apart = sum(planner.plan([arch]).training_macs for arch in archs)
    return against_promise(found, apart, together)


def against_promise(found: dict[str, Any], apart: int, together: int) -> dict[str, Any]:
    """Return ratios with what the multiply-adds of both sides promise, and their speeds."""
    return found | {
        "promised": apart / together,
        "kept": found["ratio"] * together / apart,
        "gflops": 2 * together / found["ours_s"] / 1e9,
        "gflops_apart": 2 * apart / found["theirs_s"] / 1e9,
    }


def measure_scoring(supernet: Supernet, images: DataSplit, repeats: int) -> dict[str, Any]:
    """Score all nine in one pass against the nine extracted networks one by one."""
    archs = list(supernet.space)
    inputs = list(images.inputs(250))
    together = calibrate(supernet, archs, inputs)
    nets = [extract(supernet, arch) for arch in archs]
    for net in nets:
        recalibrate(net, inputs)
    batches = list(images.batches(250))
    return ratios(
        lambda: score(together, batches),
        lambda: [score_network(net, batches) for net in nets],
        repeats,
    )


def measure_loop(images: DataSplit, batch: int, repeats: int) -> dict[str, Any]:
    """An epoch of (2, 2) through the library against the same loop by hand."""
    recipe = Recipe(epochs=1, batch_size=batch, learning_rate=0.1)
    steps = len(images) // batch

    def network() -> nn.Module:
        supernet = Supernet(build_mnist_net(seed=0))
        arch = next(arch for arch in supernet.space if arch.label == "(2, 2)")
        return extract(supernet, arch)

    def by_hand() -> nn.Module:
        net = network().train()
        weights = [p for p in net.parameters() if p.ndim >= 2]
        others = [p for p in net.parameters() if p.ndim < 2]
        optimizer = SGD(
            [{"params": weights, "weight_decay": 5e-4}, {"params": others, "weight_decay": 0.0}],
            lr=0.1,
            momentum=0.9,
            nesterov=True,
        )
        schedule = OneCycleLR(
            optimizer,
            0.1,
            total_steps=steps,
            pct_start=0.3,
            anneal_strategy="linear",
            cycle_momentum=False,
        )
        for x, y in images.shuffled(batch, seed=0, epoch=1):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            schedule.step()
        return net

    def by_library() -> nn.Module:
        net = network()
        for _ in train_steps(Supernet(net), images, recipe):
            pass
        return net

    found = ratios(by_hand, by_library, repeats)
    same = zip(by_hand().state_dict().values(), by_library().state_dict().values(), strict=True)
    found["same_bits"] = all(torch.equal(a, b) for a, b in same)
    return found


def measure_peak(repeats: int) -> dict[str, float]:
    """GFLOP/s of large matrix products, as torch.mm and as 1x1 and 3x3 convolutions, forward."""
    n = 2048
    a, b = torch.randn(n, n), torch.randn(n, n)
    large, ours = torch.randn(1, n, 64, 64), torch.randn(128, 64, 28, 28)
    one, three = nn.Conv2d(n, n, 1, bias=False), nn.Conv2d(64, 64, 3, padding=1, bias=False)
    for module in (one, three):
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    large, ours = (x.to(memory_format=torch.channels_last) for x in (large, ours))
    work: dict[str, tuple[Callable[[], object], int]] = {
        "torch.mm": (lambda: a @ b, n**3),
        "1x1 kernels": (lambda: one(large), n * n * 64 * 64),
        "3x3 kernels": (lambda: three(ours), 128 * 28 * 28 * 9 * 64 * 64),
    }
    with torch.no_grad():
        for function, _ in work.values():
            function()
        return {
            name: 2 * macs / min(cpu_seconds(function) for _ in range(repeats)) / 1e9
            for name, (function, macs) in work.items()
        }


def measure_memory(batch: int, which: str) -> int:
    """Return the bytes that a training step adds to the peak of a fresh process (this one)."""
    supernet = Supernet(build_mnist_net(seed=0)).train()
    archs = list(supernet.space)
    chosen = archs if which == "joint" else [archs[-1]]
    mean_loss(supernet, torch.randn(2, *SHAPE), torch.zeros(2, dtype=torch.long), archs).backward()
    before = peak_memory()
    x, y = torch.randn(batch, *SHAPE), torch.zeros(batch, dtype=torch.long)
    for _ in range(2):
        supernet.zero_grad()
        mean_loss(supernet, x, y, chosen).backward()
    return peak_memory() - before


def peak_memory() -> int:
    """Return the most memory this process has held so far, in bytes (Linux).

    Not from getrusage, whose figure a child takes over from its parent.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


def in_fresh_process(which: str, batch: int, threads: int) -> int:
    """Run `measure_memory` in a process of its own."""
    command = [sys.executable, __file__, "--memory", which]
    command += ["--batch", str(batch), "--threads", str(threads)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory", choices=("joint", "largest"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    set_up_process(threads=args.threads)
    if args.memory:
        print(measure_memory(args.batch, args.memory))
        return
    data = load_mnist()
    supernet = Supernet(build_mnist_net(seed=0))
    x, y = next(data.train.shuffled(args.batch, seed=0, epoch=0))
    memory = {w: in_fresh_process(w, args.batch, args.threads) for w in ("joint", "largest")}
    found = {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "vector": torch.backends.cpu.get_cpu_capability(),
        "load": os.getloadavg()[0],
        "batch": args.batch,
        "threads": args.threads,
        "repeats": args.repeats,
        "step": measure_step(supernet, x, y, args.repeats),
        "scoring": measure_scoring(supernet, data.validation.first(1000), args.repeats),
        "loop": measure_loop(data.train.first(20 * args.batch), args.batch, args.repeats),
        "memory_bytes": memory,
        "peak_gflops": measure_peak(args.repeats),
    }
    show(found)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


def show(found: dict[str, Any]) -> None:
    """Print the measurements as sentences."""
    step, scoring, loop = found["step"], found["scoring"], found["loop"]
    memory, peak = found["memory_bytes"], found["peak_gflops"]
    best = max(peak.values())

    def ratio(of: dict[str, Any], digits: int = 2) -> str:
        low, high = of["ratio_range"]
        return f"{of['ratio']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"

    print(
        f"batch {found['batch']}, {found['threads']} thread(s), {found['repeats']} repeats, "
        f"torch {found['torch']}, {found['vector']}, load {found['load']:.1f}"
    )
    print(f"nine steps / one joint step:      {ratio(step)}; by MACs {step['promised']:.2f}")
    print(f"scoring one by one / together:    {ratio(scoring)}")
    print(f"library loop / loop by hand:      {ratio(loop, 3)}; same bits: {loop['same_bits']}")
    print(
        f"memory of joint step / largest:   {memory['joint'] / memory['largest']:.2f} "
        f"({memory['joint'] / 2**20:.0f} MiB / {memory['largest'] / 2**20:.0f} MiB)"
    )
    print(
        f"joint step: {step['gflops']:.0f} GFLOP/s; the machine: "
        + ", ".join(f"{value:.0f} as {name}" for name, value in peak.items())
        + f"; share of the best: {step['gflops'] / best:.0%}"
    )


if __name__ == "__main__":
    main()
