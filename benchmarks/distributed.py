"""Two ranks of one thread against one process of one thread: the same result, and how much sooner.

    torchrun --standalone --nproc-per-node 2 benchmarks/distributed.py

Three questions, and what is held to be good enough:

* weights: an epoch in float64, the same global batches; weights equal to 1e-5 relative, and the
  same hits on all validation and test images
* speed: samples per second of two ranks over those of one process, in turn on the same machine; at
  least 1.6
* bytes: what a step of `uniform` adds up over ranks, over the drawn network's parameters; at most
  1.05

The one process is the first rank, while the other waits for it. Prints what it found, and writes it
as JSON with `--out`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

import supernet as sn
from supernet.runs.environment import hardware, versions
from supernet.runs.process import set_up_process
from supernet.runs.ranks import ALONE
from supernet.training.data import Samples


@dataclass(frozen=True)
class Double:
    """Samples in float64."""

    samples: Any

    def __len__(self) -> int:
        return len(self.samples)

    def first(self, count: int) -> Double:
        return Double(self.samples.first(count))

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        return ((x.double(), y) for x, y in self.samples.batches(size))

    def shuffled(
        self, batch_size: int, *, seed: int, epoch: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        found = self.samples.shuffled(batch_size, seed=seed, epoch=epoch)
        return ((x.double(), y) for x, y in found)


@dataclass(frozen=True)
class DoubleData:
    """Data in float64."""

    train: Samples
    validation: Samples
    test: Samples


class Counting:
    """A group that notes how many bytes are added up."""

    def __init__(self, group: Any) -> None:
        self.group, self.bytes = group, 0

    def allreduce(self, tensors: list[Tensor]) -> Any:
        self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return self.group.allreduce(tensors)


def network(widths: tuple[int, int] = (64, 32)) -> sn.Supernet:
    """Return the network of the experiment, always with the same weights."""
    return sn.Supernet(sn.build_mnist_net(seed=0, widths=widths))


def compare_weights(ranks: sn.Ranks, sampler: str) -> dict[str, Any]:
    """Train an epoch in float64 by all ranks, and by the first one alone."""
    whole = sn.load_mnist().limit(train=1280, validation=500, test=500)
    data = DoubleData(Double(whole.train), Double(whole.validation), Double(whole.test))
    recipe = sn.Recipe(epochs=1, batch_size=128, learning_rate=0.1)

    def train(who: sn.Ranks) -> tuple[sn.Supernet, sn.TrainingResult]:
        supernet = network((16, 8)).double()
        found = sn.train(supernet, data, recipe, sampler=sampler, distributed=who, progress=False)
        return supernet, found

    together, result = train(ranks)
    if not ranks.first:
        return {}
    alone, wanted = train(ALONE)
    pairs = list(zip(together.parameters(), alone.parameters(), strict=True))
    return {
        "largest relative difference of a weight tensor": max(
            float((ours - theirs).detach().norm() / theirs.detach().norm())
            for ours, theirs in pairs
        ),
        "validation hits that differ": int((result.validation != wanted.validation).sum()),
        "test hits that differ": int((result.test != wanted.test).sum()),
        "of": int(wanted.validation.size + wanted.test.size),
    }


def compare_speed(ranks: sn.Ranks, sampler: str, *, steps: int, repeats: int) -> dict[str, Any]:
    """Time steps of one process and of all ranks in turn; rounds of both count as one repeat."""
    data = sn.load_mnist().train
    recipe = sn.Recipe(epochs=100, batch_size=128, learning_rate=0.01)
    runs = {
        "one": sn.train_steps(network(), data, recipe, sampler=sampler),
        "all": sn.train_steps(network(), data, recipe, sampler=sampler, distributed=ranks),
    }
    rounds = []
    for number in range(repeats + 1):  # the first one warms up
        took = {}
        for name, run in runs.items():
            ranks.total(0.0)
            wall, cpu = time.perf_counter(), time.process_time()
            if name == "all" or ranks.first:
                for _ in range(steps):
                    next(run)
            spent = ranks.total(time.process_time() - cpu)[0]
            took[name] = time.perf_counter() - wall, spent
        if number:
            rounds.append(
                {
                    "ratio": took["one"][0] / took["all"][0],
                    "cpu_ratio": took["all"][1] / took["one"][1],
                    "one_s": took["one"][0] / steps,
                    "all_s": took["all"][0] / steps,
                    "load": os.getloadavg()[0],
                }
            )
    return {
        "samples per second, two ranks over one process": _spread([r["ratio"] for r in rounds]),
        "cpu seconds, two ranks over one process": _spread([r["cpu_ratio"] for r in rounds]),
        "seconds per step, one process": _spread([r["one_s"] for r in rounds]),
        "load": _spread([r["load"] for r in rounds]),
        "rounds": rounds,
    }


def count_bytes(ranks: sn.Ranks, steps: int = 12) -> dict[str, Any]:
    """Count what steps of `uniform` add up, by the parameters of what they drew."""
    counting = Counting(ranks.group)
    supernet = network()
    recipe = sn.Recipe(epochs=1, batch_size=128, learning_rate=0.01)
    run = sn.train_steps(
        supernet,
        sn.load_mnist().train,
        recipe,
        sampler="uniform",
        distributed=replace(ranks, group=counting),
    )
    next(run)  # it compares the batches too
    ratios = []
    for _ in range(steps):
        counting.bytes = 0
        (arch,) = next(run).draw.archs
        ratios.append(counting.bytes / (4 * sn.count_params(sn.extract(supernet, arch))))
    return {"bytes added up over those of the drawn parameters": _spread(ratios)}


def _spread(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 4),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
        "n": len(values),
    }


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description="Two ranks against one process.")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--only", choices=["weights", "speed", "bytes"])
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    set_up_process(threads=1)
    found: dict[str, Any] = {"versions": versions(), "hardware": hardware()}
    with sn.join_ranks(timeout_s=3600) as ranks:
        for sampler in ("every", "uniform"):
            if asked.only in (None, "weights"):
                found[f"weights, {sampler}"] = compare_weights(ranks, sampler)
            if asked.only in (None, "speed"):
                found[f"speed, {sampler}"] = compare_speed(
                    ranks, sampler, steps=asked.steps, repeats=asked.repeats
                )
        if asked.only in (None, "bytes"):
            found["bytes, uniform"] = count_bytes(ranks)
    if ranks.first:
        print(json.dumps(found, indent=1))
        if asked.out:
            asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
