"""Every training rule on one space: accuracy, gap, ranking and cost at equal CPU seconds.

Each supernet gets about the CPU seconds asked for, in one one-cycle, in as many steps as its rule
can make of them. The truth is standalone networks, trained for one epoch of the same images
(`--truth`, once per seed). `supernet.evaluation.ranking` judges both sides: tau and regret are of
validation scores against standalone test accuracy, intervals are over images and seeds. Every
training is one line in the file given by `--out`; those already there are not done again.

    python benchmarks/rules.py --seconds 60 --seeds 3 --truth --out FILE
    python benchmarks/rules.py --report --seconds 60 --out FILE
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from samplers import BATCH, RATE, SPACES, TRUTH_IMAGES, lines_of, sample_of, train_for

from supernet.datasets import ImageData, load_mnist
from supernet.evaluation.accuracy import score, stack
from supernet.evaluation.batchnorm import calibrate
from supernet.evaluation.cost import count_macs, empty_batch
from supernet.evaluation.ranking.bootstrap import Scores
from supernet.evaluation.ranking.verdict import Costs, judge
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.records import Estimate
from supernet.runs.process import set_up_process
from supernet.sharing import Planner
from supernet.space import Architecture
from supernet.training.recipe import Recipe
from supernet.training.samplers import (
    AnySampler,
    Fair,
    Sandwich,
    Shrinking,
    Split,
    WithLargest,
    every,
    make_subtree,
    training_macs,
    uniform,
    warm_up,
)
from supernet.training.steps import train_steps

Bools = NDArray[np.bool_]
Make = Callable[[Supernet, torch.Tensor], AnySampler]

#: Of all steps, those of the largest network before the others.
FIRST = 0.2


@dataclass(frozen=True)
class Rule:
    """How to make its sampler for a network and an input, and what its recipe has besides."""

    make: Make
    changes: Mapping[str, Any] = field(default_factory=dict)


DISTILL = {"distill": True}
RULES: dict[str, Rule] = {
    "every": Rule(lambda *_: every),
    "every, distilled": Rule(lambda *_: every, DISTILL),
    "every, largest first": Rule(lambda *_: warm_up(every, FIRST)),
    "every, smoothed labels": Rule(lambda *_: every, {"label_smoothing": 0.1}),
    "every, clipped": Rule(lambda *_: every, {"clip_norm": 0.5}),
    "every, averaged": Rule(lambda *_: every, {"ema": 0.98}),
    "uniform": Rule(lambda *_: uniform),
    "uniform, largest first": Rule(lambda *_: warm_up(uniform, FIRST)),
    "uniform, distilled": Rule(lambda *_: WithLargest(uniform), DISTILL),
    "fair": Rule(lambda *_: Fair()),
    "fair, largest first": Rule(lambda *_: warm_up(Fair(), FIRST)),
    "sandwich": Rule(lambda *_: Sandwich()),
    "sandwich, distilled": Rule(lambda *_: Sandwich(), DISTILL),
    "shrinking": Rule(lambda *_: Shrinking()),
    "shrinking, distilled": Rule(lambda *_: WithLargest(Shrinking()), DISTILL),
    "subtree": Rule(lambda supernet, x: make_subtree(supernet, x, budget=1.5)),
    "split": Rule(lambda *_: Split()),
}


def main() -> None:
    """Do what is missing, or report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", choices=sorted(SPACES), default="nine")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=list(RULES), help="all by default")
    parser.add_argument("--truth", action="store_true", help="train the standalone networks too")
    parser.add_argument("--truth-images", type=int, default=TRUTH_IMAGES)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--report", action="store_true", help="print a table, and train nothing")
    args = parser.parse_args()
    if args.report:
        report(args)
        return
    set_up_process(threads=1)
    data = load_mnist()
    known = {line["job"] for line in lines_of(args.out)}
    for job, work in jobs(args, data):
        if job in known:
            continue
        line = {"job": job, "space": args.space, **work(), "torch": torch.__version__}
        line |= {"load": round(os.getloadavg()[0], 1), "date": time.strftime("%Y-%m-%d")}
        with args.out.open("a") as file:
            file.write(json.dumps(line) + "\n")


def jobs(
    args: argparse.Namespace, data: ImageData
) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Yield names of trainings and what does them, all of a seed before the next."""
    for seed in range(args.seeds):
        for name in args.only or RULES:
            if args.space == "eight" and name.startswith("every"):
                continue  # 256 architectures per step
            job = f"{args.space}/{name}/{args.seconds:g}/{seed}"
            yield job, lambda name=name, seed=seed: train_rule(args, data, name, seed)  # type: ignore[misc]
        archs = sample_of(SPACES[args.space](0)) if args.truth else []
        for number, arch in enumerate(archs):
            job = f"{args.space}/alone/{arch.label}/{args.truth_images}/{seed}"
            yield (
                job,
                lambda arch=arch, number=number, seed=seed: train_alone(  # type: ignore[misc]
                    args, data, arch, number, seed
                ),
            )


def train_rule(args: argparse.Namespace, data: ImageData, name: str, seed: int) -> dict[str, Any]:
    """Train a supernet by a rule, for so many CPU seconds, and score the sample."""
    probe, rule = SPACES[args.space](seed), RULES[name]
    sampler = rule.make(probe, data.train.images[:2].float())
    supernet = SPACES[args.space](seed)
    draws, cpu = train_for(args.seconds, supernet, probe, data, sampler, seed, **rule.changes)
    planner = Planner(supernet, empty_batch(data.shape, BATCH))
    macs = {draw: training_macs(draw, planner) for draw in set(draws)}
    return {
        "rule": name,
        "seed": seed,
        "seconds": args.seconds,
        "cpu_s": cpu,
        "steps": len(draws),
        "architectures_per_step": sum(len(draw.archs) for draw in draws) / len(draws),
        "macs": BATCH * sum(map(macs.__getitem__, draws)),
        **scores(supernet, sample_of(supernet), data),
    }


def train_alone(
    args: argparse.Namespace, data: ImageData, arch: Architecture, number: int, seed: int
) -> dict[str, Any]:
    """Train one architecture on its own."""
    net = Supernet(extract(SPACES[args.space](1000 * (seed + 1) + number), arch))
    recipe = Recipe(epochs=1, batch_size=BATCH, learning_rate=RATE)
    start = time.process_time()
    for _ in train_steps(net, data.train.first(args.truth_images), recipe, seed=seed):
        pass
    cpu = time.process_time() - start
    macs = count_macs(net, net.space.largest, data.shape)
    found = scores(net, list(net.space), data)
    return {
        "alone": arch.label,
        "images": args.truth_images,
        "seed": seed,
        "cpu_s": cpu,
        "forward_macs": macs,
        **found,
    }


def scores(supernet: Supernet, archs: Sequence[Architecture], data: ImageData) -> dict[str, Any]:
    """Return which images each architecture gets right, packed, and the seconds that took."""
    start = time.process_time()
    statistics = calibrate(supernet, archs, data.train.first(1000).inputs(250))
    found = {
        name: stack([*score(statistics, part.batches(250)).values()]).numpy()
        for name, part in (("validation", data.validation), ("test", data.test))
    }
    return {
        "scoring_s": time.process_time() - start,
        **{name: packed(hits) for name, hits in found.items()},
    }


def packed(hits: Bools) -> dict[str, Any]:
    """Return hits, (A, N), as JSON: mostly true, so they take little."""
    bits = zlib.compress(np.packbits(hits, axis=-1).tobytes(), 9)
    return {"shape": hits.shape, "hits": base64.b64encode(bits).decode()}


def unpacked(saved: Mapping[str, Any]) -> Bools:
    """Return what `packed` packed."""
    networks, images = saved["shape"]
    bits = np.frombuffer(zlib.decompress(base64.b64decode(saved["hits"])), np.uint8)
    return np.unpackbits(bits.reshape(networks, -1), axis=-1, count=images).astype(np.bool_)


def report(args: argparse.Namespace) -> None:
    """Print a table in Markdown: a line for each rule, of the seeds that have a truth."""
    lines = [line for line in lines_of(args.out) if line["space"] == args.space]
    labels = [arch.label for arch in sample_of(SPACES[args.space](0))]
    alone = {
        (line["alone"], line["seed"]): line
        for line in lines
        if line.get("images") == args.truth_images
    }
    truths = [s for s in range(args.seeds) if all((label, s) in alone for label in labels)]
    print(
        "| rule | steps | architectures a step | CPU s | training GMACs an architecture "
        "| accuracy | gap, points | tau | regret, points |\n|" + "---|" * 9
    )
    for name in RULES:
        runs = {
            line["seed"]: line
            for line in lines
            if line.get("rule") == name and line["seconds"] == args.seconds
        }
        if seeds := [seed for seed in truths if seed in runs]:
            print(
                row(
                    name,
                    labels,
                    [runs[s] for s in seeds],
                    [[alone[label, s] for label in labels] for s in seeds],
                )
            )


def row(
    name: str,
    labels: Sequence[str],
    runs: Sequence[Mapping[str, Any]],
    alone: Sequence[Sequence[Mapping[str, Any]]],
) -> str:
    """Return a line of the table: of some seeds, the supernets and the standalone networks."""
    hits = Scores(
        np.stack([unpacked(run["validation"]) for run in runs]),
        np.stack([unpacked(run["test"]) for run in runs]),
        np.stack([np.concatenate([unpacked(net["test"]) for net in nets]) for nets in alone]),
    )
    costs = Costs(
        np.array([run["cpu_s"] for run in runs]),
        np.array([[net["cpu_s"] for net in nets] for nets in alone]),
        np.array([run["scoring_s"] for run in runs]),
    )
    sizes = [net["forward_macs"] for net in alone[0]]
    verdict = judge(hits, costs, labels=labels, macs=sizes, rng=np.random.default_rng(0))
    accuracies = 100 * hits.one_shot_test.mean(axis=(1, 2))

    def mean(key: str) -> float:
        return float(np.mean([run[key] for run in runs]))

    cells = [
        f"{name} (n = {len(runs)})",
        f"{mean('steps'):.0f}",
        f"{mean('architectures_per_step'):.1f}",
        f"{mean('cpu_s'):.0f}",
        f"{mean('macs') / 1e9 / len(labels):.0f}",
        f"{accuracies.mean():.2f} ({accuracies.min():.2f} to {accuracies.max():.2f})",
        shown(verdict.mean_gap, 100),
        shown(verdict.tau),
        shown(verdict.regret, 100),
    ]
    return f"| {' | '.join(cells)} |"


def shown(estimate: Estimate, times: float = 1.0) -> str:
    """Return a number with its interval."""
    value, low, high = (times * part for part in (estimate.value, estimate.low, estimate.high))
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    main()
