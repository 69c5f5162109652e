"""Which training rule ranks better at equal CPU seconds on the yardstick, and what labels add.

Every training is one line in the file given by `--out`, with the scores of all the yardstick's
networks; those that are there already are not done again. `--report` holds them against the table
of networks trained alone (`python -m yardstick`), the trivial rankings, and each other.

    PYTHONPATH=benchmarks python benchmarks/rankings.py --rules today --out FILE
    PYTHONPATH=benchmarks python benchmarks/rankings.py --report --out FILE
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from yardstick.data import SCORED, TRAIN, load
from yardstick.judging import Judged, best_trivial, judge_corrections, judge_ranking, lean
from yardstick.lines import append, read
from yardstick.rules import RULES
from yardstick.spaces import SAMPLED, SPACES, sample
from yardstick.supernets import relative_cost, score_all, steps_for, train_supernets
from yardstick.table import Floats, Table, table_of

from supernet.datasets import ImageData
from supernet.evaluation.naswot import naswot
from supernet.runs.process import set_up_process

TABLE = Path(__file__).parent / "results" / "yardstick.jsonl"
SECONDS = 5.0
NASWOT_IMAGES = 128


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing, or report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spaces", nargs="+", choices=SPACES, default=list(SPACES))
    parser.add_argument("--rules", nargs="+", choices=RULES, default=["today"])
    parser.add_argument("--seconds", type=float, default=SECONDS, help="CPU seconds of a training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--networks", type=int, default=SAMPLED)
    parser.add_argument("--train", type=int, default=TRAIN, help="images to train on")
    parser.add_argument("--scored", type=int, default=2000, help="images to score on")
    parser.add_argument("--naswot", action="store_true", help="score networks without training")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--labels", action="store_true", help="with --report: corrections too")
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    if args.report:
        report(args)
    elif args.naswot:
        score_untrained(args)
    else:
        train_missing(args)


def train_missing(args: argparse.Namespace) -> None:
    """Train the supernets that the file lacks, seed by seed; a rule has the same steps for all."""
    set_up_process(threads=1)
    data = load(args.train, SCORED)
    for seed in args.seeds:
        for rule in args.rules:
            for space in args.spaces:
                job = {"space": space, "rule": rule, "seconds": args.seconds}
                alike = [line for line in read(args.out) if job.items() <= line.items()]
                if any(line["seed"] == seed for line in alike):
                    continue
                told = steps_of(args.out, space, rule, args.seconds, data)
                supernets, took = train_supernets(space, RULES[rule], seed, data, told["steps"])
                archs = sample(SPACES[space](0), args.networks)
                scores = score_all(supernets, archs, data, args.scored)
                when = {"torch": torch.__version__, "date": time.strftime("%Y-%m-%d")}
                append(args.out, job | {"seed": seed} | told | took | scores | when)


def score_untrained(args: argparse.Namespace) -> None:
    """Score the networks by naswot under the seeds that the file lacks."""
    set_up_process(threads=1)
    images = load(args.train, SCORED).train.first(NASWOT_IMAGES)
    inputs = next(iter(images.inputs(NASWOT_IMAGES)))
    for seed in args.seeds:
        for space in args.spaces:
            job = {"space": space, "rule": "naswot", "seed": seed}
            if any(job.items() <= line.items() for line in read(args.out)):
                continue
            supernet = SPACES[space](seed)
            start = time.process_time()
            found = naswot(supernet, sample(supernet, args.networks), inputs=inputs)
            took = {"cpu_s": round(time.process_time() - start, 2), "images": len(images)}
            scores = {"naswot": [round(score, 3) for score in found.values()]}
            when = {"torch": torch.__version__, "date": time.strftime("%Y-%m-%d")}
            append(args.out, job | took | scores | when)


def steps_of(out: Path, space: str, rule: str, seconds: float, data: ImageData) -> dict[str, Any]:
    """Return how many steps a rule has, and what one costs, relative to today's.

    Today's are as many as fit in the seconds, measured once; with other seconds, in proportion.
    Others have more or fewer as one costs. Runs of other seeds repeat what is known.
    """

    def known_of(rule: str, seconds: float | None = seconds) -> list[dict[str, Any]]:
        job = {"space": space, "rule": rule} | ({} if seconds is None else {"seconds": seconds})
        return [line for line in read(out) if job.items() <= line.items()]

    costs_alike = RULES[rule].costs_alike and rule != "today"
    if not costs_alike and (alike := known_of(rule)):
        return {"steps": alike[0]["steps"], "relative_cost": alike[0].get("relative_cost", 1.0)}
    if rule == "today":
        if known := known_of("today", None):
            steps = round(known[0]["steps"] * seconds / known[0]["seconds"])
        else:
            steps = steps_for(space, RULES[rule], seconds, data)
        return {"steps": steps, "relative_cost": 1.0}
    todays = known_of("today")
    if not todays:
        raise SystemExit(f"train by the rule today first, for {seconds:g} s on {space}")
    cost = 1.0
    if not costs_alike:
        cost = relative_cost(space, RULES[rule], RULES["today"], data)
    return {"steps": round(todays[0]["steps"] / cost), "relative_cost": round(cost, 3)}


def report(args: argparse.Namespace) -> None:
    """Print tables for each space: of rules, and of corrections if they are wanted."""
    lines = read(args.out)
    for space in args.spaces:
        table = table_of(args.table, space)
        print(f"\n## {space}\n")
        of_space = [line for line in lines if line["space"] == space]
        untrained = {
            line["seed"]: np.array(line["naswot"]) for line in of_space if "naswot" in line
        }
        _print_trivial(table, untrained)
        for seconds in sorted({line["seconds"] for line in of_space if "seconds" in line}):
            chosen = [line for line in of_space if line.get("seconds") == seconds]
            _print_rules(table, chosen, seconds)
            if args.labels:
                runs = [line for line in chosen if line["rule"] in args.rules]
                _print_labels(table, runs, untrained)


def _print_trivial(table: Table, untrained: Mapping[int, Floats]) -> None:
    best = best_trivial(table)
    print("| ranking | tau | better half | regret |\n|---|---|---|---|")
    for name, size in table.sizes.items():
        judged = judge_ranking(table, size)
        print(f"| {name}{' (best)' if name == best else ''} | {_told(judged)} |")
    if untrained:
        found = [judge_ranking(table, scores) for scores in untrained.values()]
        columns = [
            _range([getattr(each, part) for each in found], digits)
            for part, digits in (("tau", 3), ("better", 3), ("regret", 2))
        ]
        print(f"| naswot, {len(found)} seeds | {' | '.join(columns)} |")
    tau, better = table.ceiling()
    print(f"| another seed (ceiling) | {tau:.3f} | {better:.3f} | |\n")


def _print_rules(table: Table, lines: list[dict[str, Any]], seconds: float) -> None:
    """Print what each rule reaches, and its differences from today's, paired by seeds."""
    print(f"{seconds:g} CPU seconds each:\n")
    print(
        "| rule | n | CPU s | steps | accuracy | by | tau | better half | regret | tau - today | "
        "better half - today |\n|---|---|---|---|---|---|---|---|---|---|---|"
    )
    today = _judged(table, [line for line in lines if line["rule"] == "today"], "accuracy")
    for rule in dict.fromkeys(line["rule"] for line in lines):
        runs = [line for line in lines if line["rule"] == rule]
        cpu, steps = (float(np.mean([run[key] for run in runs])) for key in ("cpu_s", "steps"))
        mean = float(np.mean([run["accuracy"] for run in runs]))
        for by in ("accuracy", "loss", "loss, leaning"):
            judged = _judged(table, runs, by)
            gains = (
                [
                    [getattr(judged[seed], part) - getattr(today[seed], part) for seed in judged]
                    for part in ("tau", "better")
                ]
                if judged.keys() <= today.keys()
                else []
            )
            print(
                f"| {rule} | {len(runs)} | {cpu:.1f} | {steps:.0f} | {mean:.1f} | {by} | "
                f"{_range([j.tau for j in judged.values()])} | "
                f"{_range([j.better for j in judged.values()])} | "
                f"{_range([j.regret for j in judged.values()], 2)} | "
                + " | ".join(_range(gain, sign="+") for gain in gains)
                + " |"
            )
    print()


def _judged(table: Table, runs: list[dict[str, Any]], by: str) -> dict[int, Judged]:
    """Judge the runs of a rule, by seed."""
    found = {run["seed"]: scores_of(run)[by.removesuffix(", leaning")] for run in runs}
    if by.endswith("leaning"):
        found = {seed: lean(table, scores) for seed, scores in found.items()}
    return {seed: judge_ranking(table, scores) for seed, scores in found.items()}


def scores_of(run: dict[str, Any]) -> dict[str, Floats]:
    """Return accuracy and loss of a run's networks, higher is better for both."""
    return {"accuracy": np.array(run["accuracy"]), "loss": -np.array(run["loss"])}


def _print_labels(
    table: Table, runs: list[dict[str, Any]], untrained: Mapping[int, Floats]
) -> None:
    """Print what rankings reach with labels, the mean of the runs of each rule."""
    print("| rule | labels | by | tau | better half | regret |\n|---|---|---|---|---|---|")
    for rule in dict.fromkeys(run["rule"] for run in runs):
        found = [
            judge_corrections(
                table,
                scores_of(run),
                others={"naswot": untrained[run["seed"]]} if run["seed"] in untrained else None,
            )
            for run in runs
            if run["rule"] == rule
        ]
        for rows in zip(*found, strict=True):
            values = [
                _range([float(str(row[part])) for row in rows], 3 if part != "regret" else 2)
                for part in ("tau", "better", "regret")
            ]
            print(f"| {rule} | {rows[0]['labels']} | {rows[0]['by']} | {' | '.join(values)} |")
    print()


def _told(judged: Judged) -> str:
    return f"{judged.tau:.3f} | {judged.better:.3f} | {judged.regret:.2f}"


def _range(values: Sequence[float], digits: int = 3, sign: str = "") -> str:
    """Return a mean and the range, as text."""
    form = f"{{:{sign}.{digits}f}}"
    mean, low, high = (form.format(f(values)) for f in (np.mean, min, max))
    return mean if len(values) < 2 else f"{mean} ({low} to {high})"


if __name__ == "__main__":
    main()
