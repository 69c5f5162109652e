"""Which recipe suits each side: short trainings over a grid, scored on validation images only.

Prints and appends one JSON line per training to the file given; a training that stands in the file
already is not repeated, so a stopped run goes on. Used for docs/experiments.md.

    python benchmarks/recipes.py OUT.jsonl --images 3000 --epochs 3 --grid supernet --part 0/2
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import Any

import torch

from supernet.datasets import ImageData, load_mnist
from supernet.evaluation.accuracy import evaluate
from supernet.networks.zoo import build_mnist_net
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.runs.process import set_up_process
from supernet.training.recipe import Recipe
from supernet.training.samplers import make_sampler
from supernet.training.steps import train_steps


def train_once(data: ImageData, job: dict[str, Any]) -> dict[str, Any]:
    """Train the supernet, or one architecture alone if `job["arch"]` names its depths; score it."""
    net = Supernet(build_mnist_net(seed=job["seed"] * 1000 + sum(job["arch"] or [])))
    if job["arch"]:
        net = Supernet(extract(net, next(a for a in net.space if [*a.values()] == job["arch"])))
    recipe = Recipe(
        epochs=job["epochs"],
        batch_size=job["batch_size"],
        learning_rate=job["learning_rate"],
        weight_decay=job["weight_decay"],
        warmup=job["warmup"],
    )
    start = time.process_time()
    try:
        sampler = make_sampler(job["sampler"], net, data.train.images[:2].float())
        for _ in train_steps(net, data.train, recipe, sampler=sampler, seed=job["seed"]):
            pass
    except ArithmeticError as error:
        return {**job, "error": str(error)}
    cpu = time.process_time() - start
    scores = evaluate(
        net,
        list(net.space),
        calibration=data.train.first(1000).inputs(500),
        batches=data.validation.batches(500),
    )
    accuracies = [round(score, 4) for score in scores.values()]
    return {
        **job,
        "cpu_s": round(cpu, 1),
        "mean": round(sum(accuracies) / len(accuracies), 4),
        "accuracies": accuracies,
    }


def jobs_of(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the trainings of the grid, in order."""
    archs = args.archs if args.grid == "standalone" else [None]
    return [
        {
            "images": args.images,
            "epochs": args.epochs,
            "sampler": args.sampler,
            "arch": arch,
            "seed": seed,
            "batch_size": batch,
            "learning_rate": rate,
            "weight_decay": decay,
            "warmup": warmup,
        }
        for seed, batch, rate, decay, warmup, arch in itertools.product(
            args.seeds, args.batch_sizes, args.rates, args.decays, args.warmups, archs
        )
    ]


def main() -> None:
    """Run the jobs that are this part's and not in the file yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--grid", choices=("supernet", "standalone"), required=True)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--sampler", default="every")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64])
    parser.add_argument("--rates", type=float, nargs="+", default=[0.1, 0.2, 0.4, 0.8])
    parser.add_argument("--decays", type=float, nargs="+", default=[5e-4])
    parser.add_argument("--warmups", type=float, nargs="+", default=[0.3])
    parser.add_argument("--archs", type=json.loads, default=[[1, 1], [2, 2], [3, 3]])
    parser.add_argument("--part", default="0/1", help="i/n: every n-th job, from i on")
    args = parser.parse_args()
    set_up_process(threads=1)
    part, parts = map(int, args.part.split("/"))
    data = load_mnist().limit(train=args.images)
    known = [json.loads(line) for line in args.out.open()] if args.out.exists() else []
    for job in jobs_of(args)[part::parts]:
        if any(all(old.get(k) == v for k, v in job.items()) for old in known):
            continue
        line = json.dumps(train_once(data, job))
        print(line, flush=True)
        with args.out.open("a") as file:
            file.write(line + "\n")


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
