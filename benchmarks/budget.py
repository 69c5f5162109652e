"""How long a supernet must train before its nine accuracies reach those of standalone training.

Trains supernets for several numbers of epochs, each with a schedule of its own, and compares them
with the standalone networks of a finished run of `supernet compare`. Appends a JSON line per number
of epochs and seed to OUT; what stands there already is not repeated, so a stopped run goes on.

    python benchmarks/budget.py runs/standard budget.jsonl --epochs 2 3 4 --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from supernet.experiments import execution, planning
from supernet.experiments.settings import resolve_settings
from supernet.records import Results, Training
from supernet.runs.folder import read_results


def gaps(one_shot: Training, standalone: Sequence[Training]) -> dict[str, float]:
    """Return the mean gap in points, one-shot minus standalone, on validation and test images."""
    return {
        split: 100
        * (mean(getattr(one_shot, split)) - mean(getattr(t, split)[0] for t in standalone))
        for split in ("validation", "test")
    }


def training_seconds(results: Results, subject: str, seed: int) -> float:
    """Return the CPU seconds of training under one seed."""
    return sum(
        phase.cpu_s
        for phase in results.ledger
        if (phase.kind, phase.subject, phase.seed) == ("training", subject, seed)
    )


def line(truth: Results, found: Results, subject: str, epochs: int, seed: int) -> dict[str, Any]:
    """Compare one supernet with the standalone networks of the same seed."""
    record = next(record for record in found.seeds if record.seed == seed)
    training = record.longer if subject == "longer" else record.supernet
    assert training is not None
    alone = next(record for record in truth.seeds if record.seed == seed).standalone
    cpu = training_seconds(found, subject, seed)
    return {
        "epochs": epochs,
        "seed": seed,
        "gap_points": {k: round(v, 3) for k, v in gaps(training, alone).items()},
        "supernet_cpu_s": round(cpu, 1),
        "cost_ratio": round(training_seconds(truth, "standalone", seed) / cpu, 2),
    }


def main() -> None:
    """Train what is missing, then print the means per number of epochs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    truth = read_results(args.run)
    known = [json.loads(text) for text in args.out.open()] if args.out.exists() else []

    def keep(new: dict[str, Any]) -> None:
        known.append(new)
        with args.out.open("a") as file:
            file.write(json.dumps(new) + "\n")

    done = {(old["epochs"], old["seed"]) for old in known}
    own_epochs = len(truth.seeds[0].supernet.epochs)
    for record in truth.seeds:
        of_run = [("supernet", own_epochs)]
        if record.longer:
            of_run.append(("longer", len(record.longer.epochs)))
        for subject, epochs in of_run:
            if (epochs, record.seed) not in done:
                keep(line(truth, truth, subject, epochs, record.seed))
    for epochs in args.epochs:
        for seed in args.seeds:
            if (epochs, seed) not in done:
                own = {**truth.settings, "epochs": epochs, "seed": seed, "seeds": 1}
                plan = planning.plan(resolve_settings("quick", None, own), standalone=False)
                outcome = execution.run(plan)
                found = execution.judge(plan, outcome, command="benchmarks/budget.py")
                keep(line(truth, found, "supernet", epochs, seed))
    for epochs in sorted({old["epochs"] for old in known}):
        of = [old for old in known if old["epochs"] == epochs]
        test, ratio = [old["gap_points"]["test"] for old in of], [old["cost_ratio"] for old in of]
        print(
            f"{epochs} epoch(s), {len(of)} seed(s): mean gap {mean(test):+.2f} points "
            f"({min(test):+.2f} to {max(test):+.2f}), {mean(ratio):.2f} times cheaper"
        )


if __name__ == "__main__":
    main()
