"""Train the yardstick's networks alone, those that are missing in the file; or describe it.

PYTHONPATH=benchmarks python -m yardstick --out benchmarks/results/yardstick.jsonl
PYTHONPATH=benchmarks python -m yardstick --out benchmarks/results/yardstick.jsonl --describe
PYTHONPATH=benchmarks python -m yardstick --seeds 2 --hits --out FILE
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from supernet.runs.process import set_up_process
from yardstick.alone import RECIPES, train_alone
from yardstick.data import SCORED, TRAIN, load
from yardstick.lines import append, read
from yardstick.spaces import SAMPLED, SPACES, sample
from yardstick.table import describe


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what is missing, seed by seed, or describe what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spaces", nargs="+", choices=SPACES, default=list(SPACES))
    parser.add_argument("--networks", type=int, default=SAMPLED, help="of each space")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--epochs", type=int, help="instead of the recipe's, to try the program")
    parser.add_argument("--train", type=int, default=TRAIN, help="images to train on")
    parser.add_argument("--scored", type=int, default=SCORED, help="images to score on")
    parser.add_argument("--hits", action="store_true", help="keep which images were right")
    parser.add_argument("--describe", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    if not args.describe:
        train_missing(args)
    describe(args.out)


def train_missing(args: argparse.Namespace) -> None:
    """Train what the file lacks, a line each."""
    set_up_process(threads=1)
    data = load(args.train, args.scored)
    known = {(line["space"], str(line["arch"]), line["seed"]) for line in read(args.out)}
    for seed in args.seeds:
        for space in args.spaces:
            recipe = RECIPES[space]
            recipe = recipe if args.epochs is None else replace(recipe, epochs=args.epochs)
            for arch in sample(SPACES[space](0), args.networks):
                if (space, str(dict(arch)), seed) not in known:
                    append(args.out, train_alone(space, arch, seed, data, recipe, args.hits))


if __name__ == "__main__":
    main()
