"""Which sampler trains and ranks better at equal CPU seconds, on two small spaces.

`nine`: the nine-network MNIST space. `eight`: eight places where a convolution may be skipped, 256
architectures of which 32 are the sample. The truth is the test accuracy of standalone networks, the
mean of three seeds, all trained on the same images. Each supernet gets the CPU seconds asked for,
in one one-cycle; it is scored on validation images, and ranked against the truth. Every training is
one line in the file given by `--out`; those already there are not done again.

    python benchmarks/samplers.py --space eight --seconds 60 --seeds 3 --out FILE
    python benchmarks/samplers.py --report --out FILE
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau
from torch import nn

from supernet.datasets import ImageData, load_mnist
from supernet.evaluation.accuracy import evaluate
from supernet.networks.zoo import build_mnist_net
from supernet.networks.zoo.parts import channels_last, classifier, conv_bn_relu, seeded
from supernet.nn.choices import OneOf
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.runs.process import set_up_process
from supernet.space import Architecture, SearchSpace
from supernet.training.recipe import Recipe
from supernet.training.samplers import (
    AnySampler,
    Draw,
    Sampler,
    Split,
    every,
    make_subtree,
    uniform,
)
from supernet.training.steps import train_steps

BATCH, RATE = 32, 0.2
TRUTH_IMAGES, TRUTH_SEEDS = 20_000, 3


def two_whole(space: SearchSpace, rng: random.Random) -> Draw:
    """Draw two architectures with balanced options: opposites, where there are two options."""
    return Draw(Split(2)(space, rng).archs)


#: How to make each sampler for a network and an input.
SAMPLERS: dict[str, Callable[[Supernet, torch.Tensor], Sampler]] = {
    "uniform": lambda *_: uniform,
    "two whole": lambda *_: two_whole,
    "subtree 1.5": lambda supernet, x: make_subtree(supernet, x, budget=1.5),
    "subtree 2": lambda supernet, x: make_subtree(supernet, x, budget=2),
    "subtree 3": lambda supernet, x: make_subtree(supernet, x, budget=3),
    "split 2": lambda *_: Split(2),
    "split 4": lambda *_: Split(4),
    "split 8": lambda *_: Split(8),
    "every": lambda *_: every,
}


def eight(seed: int) -> Supernet:
    """Return the space of eight skippable convolutions, for images of 1 x 28 x 28."""
    with seeded(seed):
        places = [
            OneOf(f"place{i}", {"skip": nn.Identity(), "conv": conv_bn_relu(16, 16)})
            for i in range(8)
        ]
        net = nn.Sequential(
            conv_bn_relu(1, 16, stride=2),
            *places[:4],
            conv_bn_relu(16, 16, stride=2),
            *places[4:],
            *classifier(16, 10, shape=(1, 28, 28), halvings=2),
        )
    return Supernet(channels_last(net))


SPACES = {
    "nine": lambda seed: Supernet(build_mnist_net(seed=seed)),
    # A quarter of the channels: a fifteenth of the work.
    "nine-narrow": lambda seed: Supernet(build_mnist_net(seed=seed, widths=(16, 8))),
    "eight": eight,
}


def sample_of(supernet: Supernet) -> list[Architecture]:
    """Return the architectures whose ranking is judged."""
    archs = list(supernet.space)
    return archs if len(archs) <= 32 else sorted(random.Random(0).sample(archs, 32), key=str)


def main() -> None:
    """Do what is missing, or report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", choices=sorted(SPACES), default="nine")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="names of samplers; all by default")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--report", action="store_true")
    args = parser.parse_args()
    if args.report:
        report(args.out)
        return
    set_up_process(threads=1)
    data = load_mnist()
    known = {line["job"] for line in lines_of(args.out)}
    for job, line in jobs(args, data, known):
        line |= {"job": job, "space": args.space, "torch": torch.__version__}
        line |= {"load": round(os.getloadavg()[0], 1), "date": time.strftime("%Y-%m-%d")}
        with args.out.open("a") as file:
            file.write(json.dumps(line) + "\n")


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Return what is there already."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def jobs(
    args: argparse.Namespace, data: ImageData, known: set[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the trainings that are missing: supernets first, the truth last."""
    for seed in range(args.seeds):
        for name in args.only or SAMPLERS:
            if name == "every" and args.space == "eight":
                continue  # 256 architectures per step
            job = f"{args.space}/{name}/{args.seconds:g}/{seed}"
            if job not in known:
                yield job, train_supernet(args, data, name, seed)
    for seed in range(TRUTH_SEEDS):
        for number, arch in enumerate(sample_of(SPACES[args.space](0))):
            job = f"{args.space}/truth/{arch.label}/{seed}"
            if job not in known:
                supernet = SPACES[args.space](1000 * (seed + 1) + number)
                yield job, train_alone(Supernet(extract(supernet, arch)), data, arch, seed)


def train_supernet(
    args: argparse.Namespace, data: ImageData, name: str, seed: int
) -> dict[str, Any]:
    """Train a supernet for so many CPU seconds, and score the sample."""
    probe = SPACES[args.space](seed)
    sampler = SAMPLERS[name](probe, data.train.images[:2].float())
    supernet = SPACES[args.space](seed)
    draws, cpu = train_for(args.seconds, supernet, probe, data, sampler, seed)
    archs = sample_of(supernet)
    scores, test = (
        evaluate(
            supernet,
            archs,
            calibration=data.train.first(1000).inputs(250),
            batches=part.batches(250),
        )
        for part in (data.validation, data.test)
    )
    return {
        "sampler": name,
        "seed": seed,
        "seconds": args.seconds,
        "cpu_s": cpu,
        "steps": len(draws),
        "architectures_per_step": sum(len(draw.archs) for draw in draws) / len(draws),
        "validation": {arch.label: scores[arch] for arch in archs},
        "test": {arch.label: test[arch] for arch in archs},
    }


def train_for(
    seconds: float,
    supernet: Supernet,
    probe: Supernet,
    data: ImageData,
    sampler: AnySampler,
    seed: int,
    **changes: Any,
) -> tuple[list[Draw], float]:
    """Train for about so many CPU seconds; return what was drawn, and the seconds it took.

    Args:
        seconds: How many.
        supernet: What to train.
        probe: A network like it, to measure the time of a step on; it is spoiled.
        data: To train on.
        sampler: Which architectures a step trains.
        seed: Of the data order and the sampler.
        **changes: Fields of the recipe.
    """
    steps = max(10, round(seconds / seconds_per_step(probe, data, sampler, **changes)))
    # Whole epochs of a part of the training images, as many steps as fit.
    epochs = -(-steps * BATCH // len(data.train))
    images = data.train.first(steps // epochs * BATCH)
    recipe = Recipe(epochs=epochs, batch_size=BATCH, learning_rate=RATE, **changes)
    start = time.process_time()
    training = train_steps(supernet, images, recipe, sampler=sampler, seed=seed)
    draws = [step.draw for step in training]
    training.settle()
    return draws, time.process_time() - start


def seconds_per_step(
    supernet: Supernet, data: ImageData, sampler: AnySampler, **changes: Any
) -> float:
    """Return the CPU seconds of a step: the mean of a training of 40, after one to warm up."""
    recipe = Recipe(epochs=1, batch_size=BATCH, learning_rate=1e-3, **changes)
    for count in (10, 40):
        start = time.process_time()
        for _ in train_steps(supernet, data.train.first(count * BATCH), recipe, sampler=sampler):
            pass
    return (time.process_time() - start) / count


def train_alone(net: Supernet, data: ImageData, arch: Architecture, seed: int) -> dict[str, Any]:
    """Train one architecture on its own."""
    start = time.process_time()
    recipe = Recipe(epochs=1, batch_size=BATCH, learning_rate=RATE)
    for _ in train_steps(net, data.train.first(TRUTH_IMAGES), recipe, seed=seed):
        pass
    cpu = time.process_time() - start
    (accuracy,) = evaluate(
        net,
        list(net.space),
        calibration=data.train.first(1000).inputs(250),
        batches=data.test.batches(250),
    ).values()
    return {"truth": arch.label, "seed": seed, "cpu_s": cpu, "test": accuracy}


def report(path: Path) -> None:
    """Print a table per space and budget."""
    lines = lines_of(path)
    for space in sorted({line["space"] for line in lines}):
        of_space = [line for line in lines if line["space"] == space]
        truths: dict[str, list[float]] = defaultdict(list)
        for line in of_space:
            if "truth" in line:
                truths[line["truth"]].append(line["test"])
        labels = sorted(truths)
        truth = np.array([np.mean(truths[label]) for label in labels])
        seeds = min(map(len, truths.values()))
        halves = [np.array([truths[label][seed] for label in labels]) for seed in range(seeds)]
        ceilings = [
            kendalltau(halves[a], halves[b]).statistic for a in range(seeds) for b in range(a)
        ]
        print(
            f"{space}: {len(labels)} architectures, {seeds} standalone seeds, mean accuracy "
            f"{truth.mean():.4f} ({truth.min():.4f} to {truth.max():.4f}); tau between two seeds "
            f"{np.mean(ceilings):.2f}"
        )
        for seconds in sorted({line["seconds"] for line in of_space if "seconds" in line}):
            print(f"  {seconds:g} CPU seconds each:")
            for name in sorted({line["sampler"] for line in of_space if "sampler" in line}):
                runs = [
                    line
                    for line in of_space
                    if line.get("sampler") == name and line["seconds"] == seconds
                ]
                if not runs:
                    continue
                taus = [
                    kendalltau([run["validation"][label] for label in labels], truth).statistic
                    for run in runs
                ]
                accuracy = [np.mean([run["test"][label] for label in labels]) for run in runs]
                print(
                    f"    {name:12} {np.mean([run['steps'] for run in runs]):6.0f} steps of "
                    f"{np.mean([run['architectures_per_step'] for run in runs]):.1f}; "
                    f"accuracy {np.mean(accuracy):.4f} ({min(accuracy):.4f} to "
                    f"{max(accuracy):.4f}); tau {np.mean(taus):.2f} ({min(taus):.2f} to "
                    f"{max(taus):.2f}), n = {len(runs)}; "
                    f"{np.mean([run['cpu_s'] for run in runs]):.0f} CPU s"
                )


if __name__ == "__main__":
    main()
