"""What labels cost: networks trained alone, against some trained on briefly from a supernet.

A supernet is trained by a rule; every network of the yardstick is taken out of it, trained on for
an epoch, and scored. `--report` holds that against the table of networks trained alone: how well
either agrees with the truth, what it costs, and what a ranking corrected by some reaches.

    PYTHONPATH=benchmarks python benchmarks/labels.py --spaces depth --out FILE
    PYTHONPATH=benchmarks python benchmarks/labels.py --spaces depth --report --out FILE
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rankings import SECONDS, TABLE, scores_of
from yardstick.alone import RECIPES, score, scores_of as as_line
from yardstick.data import SCORED, TRAIN, load
from yardstick.judging import judge_corrections
from yardstick.lines import append, read
from yardstick.rules import RULES
from yardstick.spaces import SAMPLED, SPACES, sample
from yardstick.supernets import score_all, steps_for, train_supernets
from yardstick.table import table_of

from supernet.datasets import ImageData
from supernet.evaluation.ranking.metrics import kendall
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.runs.process import set_up_process
from supernet.space import Architecture
from supernet.training.steps import train_steps

#: Passes over the data, and the share of the rate that the network would be trained alone with.
EPOCHS, SHARE = 1, 0.5


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and tune, or report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spaces", nargs="+", choices=SPACES, default=list(SPACES))
    parser.add_argument("--rule", choices=RULES, default="today")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="CPU seconds of a training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--networks", type=int, default=SAMPLED)
    parser.add_argument("--train", type=int, default=TRAIN, help="images to train on")
    parser.add_argument("--scored", type=int, default=SCORED, help="images to score on")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    if args.report:
        for line in read(args.out):
            if line["space"] in args.spaces:
                report(line, args.table)
        return
    set_up_process(threads=1)
    data = load(args.train, args.scored)
    for space in args.spaces:
        append(args.out, tune_all(args, space, data))


def tune_all(args: argparse.Namespace, space: str, data: ImageData) -> dict[str, Any]:
    """Return what every network reaches after a brief training from inherited weights."""
    rule, archs = RULES[args.rule], sample(SPACES[space](0), args.networks)
    steps = steps_for(space, rule, args.seconds, data)
    supernets, told = train_supernets(space, rule, args.seed, data, steps)
    told |= score_all(supernets, archs, data, min(2000, args.scored))
    tuned = [tune(space, supernets[-1], arch, args.seed, data) for arch in archs]
    columns = {f"tuned_{key}": [line[key] for line in tuned] for key in tuned[0]}
    return {"space": space, "rule": args.rule, "seed": args.seed} | told | columns


def tune(
    space: str, supernet: Supernet, arch: Architecture, seed: int, data: ImageData
) -> dict[str, float]:
    """Train one network on, from its weights in the supernet."""
    net = Supernet(extract(supernet, arch))
    recipe = RECIPES[space]
    recipe = replace(recipe, epochs=EPOCHS, learning_rate=SHARE * recipe.learning_rate)
    start = time.process_time()
    for _ in train_steps(net, data.train, recipe, seed=seed):
        pass
    return {"cpu_s": round(time.process_time() - start, 3)} | as_line(score(net, data))


def report(line: dict[str, Any], path: Path) -> None:
    """Print how well either kind of label agrees with the truth, and what it is good for."""
    table = table_of(path, line["space"])
    kinds = {
        "trained alone": (table.accuracies[0], table.cpu_s[0]),
        "tuned": (100 * np.array(line["tuned_accuracy"]), np.array(line["tuned_cpu_s"])),
    }
    # The truth of other seeds than the one that gives labels: neither side knows it.
    other = replace(table, accuracies=table.accuracies[1:])
    for kind, (labels, cpu) in kinds.items():
        mine = replace(table, accuracies=np.stack([labels, *other.accuracies]))
        tau = kendall(labels, other.truth)[0]
        print(
            f"{line['space']}, {kind}: {cpu.mean():.2f} CPU s each, accuracy {labels.mean():.1f}, "
            f"tau with another seed alone {tau:.3f}"
        )
        for row in judge_corrections(mine, scores_of(line), truth=other.truth):
            if row["by"] in ("corrected", "labels without supernet", "uncorrected loss"):
                print(
                    f"  {row['labels']} labels, {row['by']}: tau {row['tau']:.3f}, better half "
                    f"{row['better']:.3f}; the labels took {cpu.mean() * row['labels']:.0f} CPU s"
                )


if __name__ == "__main__":
    main()
