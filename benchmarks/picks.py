"""What picking costs, and what else one may do with a ranking than take its first.

A supernet is trained by a rule; its ranking is judged by the library's own verdict, against one
seed of networks trained alone whose hits are known (`python -m yardstick --seeds 2 --hits`), and
the best few by loss are trained on briefly. `--report` holds picks and verdicts against the truth,
the mean of the two other seeds, which gave no label.

    PYTHONPATH=benchmarks python benchmarks/picks.py --rules today --out FILE
    PYTHONPATH=benchmarks python benchmarks/picks.py --report --out FILE
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from labels import tune
from numpy.typing import NDArray
from rankings import TABLE, scores_of, steps_of
from yardstick.alone import CALIBRATION, SCORING_BATCH, hits_of
from yardstick.data import SCORED, TRAIN, load
from yardstick.judging import best_trivial, corrected, lean, sizes_of
from yardstick.lines import append, read
from yardstick.rules import RULES
from yardstick.spaces import SAMPLED, SPACES, sample
from yardstick.supernets import score_all, train_supernets
from yardstick.table import Floats, Table, table_of

from supernet.datasets import ImageData
from supernet.evaluation.accuracy import Scores as ScoresOfOne, evaluate
from supernet.evaluation.ranking.bootstrap import Scores
from supernet.evaluation.ranking.metrics import kendall
from supernet.evaluation.ranking.verdict import Costs, judge
from supernet.nn.supernet import Supernet
from supernet.records import Estimate, Verdict
from supernet.runs.process import set_up_process
from supernet.space import Architecture

HITS: Final = Path(__file__).parent / "results" / "yardstick-hits.jsonl"
RANKINGS: Final = Path(__file__).parent / "results" / "rankings.jsonl"
#: How many of the best by loss are trained on, and on how many images one-shot ranks.
TUNED, RANKED = 10, 2000
#: As `compare` names them, by the columns of the table.
COUNTS: Final = {"macs": "multiply-adds", "params": "parameters", "layers": "layers"}
DRAWS: Final = 20


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing, or report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spaces", nargs="+", choices=SPACES, default=list(SPACES))
    parser.add_argument("--rules", nargs="+", choices=RULES, default=["today"])
    parser.add_argument("--seconds", type=float, help="by default 5, for operations 15")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--networks", type=int, default=SAMPLED)
    parser.add_argument("--train", type=int, default=TRAIN, help="images to train on")
    parser.add_argument("--scored", type=int, default=SCORED, help="images to score on")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--hits", type=Path, default=HITS)
    parser.add_argument("--rankings", type=Path, default=RANKINGS, help="knows today's steps")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    if args.report:
        for space in args.spaces:
            report(args, space)
    else:
        train_missing(args)


def train_missing(args: argparse.Namespace) -> None:
    """Train the supernets that the file lacks, and judge them."""
    set_up_process(threads=1)
    data = load(args.train, args.scored)
    for seed in args.seeds:
        for rule in args.rules:
            for space in args.spaces:
                seconds = args.seconds or (15.0 if space == "operations" else 5.0)
                job = {"space": space, "rule": rule, "seconds": seconds, "seed": seed}
                if any(job.items() <= line.items() for line in read(args.out)):
                    continue
                told = steps_of(args.rankings, space, rule, seconds, data)
                (supernet,), took = train_supernets(space, RULES[rule], seed, data, told["steps"])
                archs = sample(SPACES[space](0), args.networks)
                found = told | took | score_all([supernet], archs, data, min(RANKED, args.scored))
                found |= judge_by_library(args, space, supernet, archs, data, found)
                best = np.argsort(found["loss"], kind="stable")[:TUNED].tolist()
                tuned = [tune(space, supernet, archs[i], seed, data) for i in best]
                found |= {
                    "tuned": best,
                    "tuned_accuracy": [round(100 * one["accuracy"], 2) for one in tuned],
                    "tuned_cpu_s": round(sum(one["cpu_s"] for one in tuned), 2),
                    "torch": torch.__version__,
                    "date": time.strftime("%Y-%m-%d"),
                }
                append(args.out, job | found)


def judge_by_library(
    args: argparse.Namespace,
    space: str,
    supernet: Supernet,
    archs: Sequence[Architecture],
    data: ImageData,
    found: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what the library's verdict says, ranked by accuracy and by loss.

    What ranks here are the yardstick's test images, what networks trained alone were scored on the
    validation images, so the names of the splits are the other way round.
    """
    lines = {Architecture(one["arch"]): one for one in read(args.hits) if one["space"] == space}
    ranked = _scores(supernet, archs, data, data.test.first(min(RANKED, args.scored)))
    others = _scores(supernet, archs, data, data.validation)
    alone = [lines[arch] for arch in archs]
    scores = Scores(
        one_shot_validation=_stacked(ranked, "scores").astype(np.bool_),
        one_shot_test=_stacked(others, "scores").astype(np.bool_),
        standalone_test=np.stack([hits_of(line, len(data.validation)) for line in alone])[None],
    )
    costs = Costs(
        supernet=np.array([found["cpu_s"]]),
        standalone=np.array([[line["cpu_s"] for line in alone]]),
        scoring=np.array([found["scoring_cpu_s"]]),
    )
    verdicts = {
        by: judge(
            scores,
            costs,
            labels=[arch.label for arch in archs],
            macs=[line["macs"] for line in alone],
            rng=np.random.default_rng(0),
            losses=_stacked(ranked, "losses"),
            rank_by="loss" if by == "loss" else "score",
            baselines={name: [line[key] for line in alone] for key, name in COUNTS.items()},
        )
        for by in ("accuracy", "loss")
    }
    return {"verdicts": {by: _told(verdict) for by, verdict in verdicts.items()}}


def _scores(
    supernet: Supernet, archs: Sequence[Architecture], data: ImageData, split: Any
) -> list[ScoresOfOne]:
    calibration = data.train.first(min(CALIBRATION, len(data.train)))
    found = evaluate(
        supernet,
        archs,
        calibration=calibration.inputs(SCORING_BATCH),
        batches=split.batches(SCORING_BATCH),
        per_sample=True,
    )
    return [found[arch] for arch in archs]


def _stacked(scores: Sequence[ScoresOfOne], name: str) -> NDArray[Any]:
    return np.stack([getattr(one, name).numpy() for one in scores])[None]


def _told(verdict: Verdict) -> dict[str, Any]:
    def ends(estimate: Estimate | None) -> list[float]:
        return [] if estimate is None else [round(estimate.value, 4), *_interval(estimate)]

    return {
        "tau": ends(verdict.tau),
        "baseline": verdict.baseline,
        "baseline_tau": ends(verdict.baseline_tau),
        "advantage": ends(verdict.advantage),
        "first": verdict.sentences[0],
    }


def _interval(estimate: Estimate) -> tuple[float, float]:
    return round(estimate.low, 4), round(estimate.high, 4)


def report(args: argparse.Namespace, space: str) -> None:
    """Print verdicts beside what other seeds say, and what each way of picking costs."""
    table, labels = table_of(args.table, space), table_of(args.hits, space)
    at = {arch: place for place, arch in enumerate(labels.archs)}
    known = labels.accuracies[0][[at[arch] for arch in table.archs]]
    runs = [line for line in read(args.out) if line["space"] == space]
    print(f"\n## {space}\n")
    print(f"best by a third seed of all: {_regret(table, known):.2f} points of regret; ", end="")
    print(f"{labels.cpu_s.mean():.2f} CPU s for a network alone\n")
    _print_verdicts(table, runs)
    for rule, seconds in dict.fromkeys((run["rule"], run["seconds"]) for run in runs):
        some = [run for run in runs if (run["rule"], run["seconds"]) == (rule, seconds)]
        print(f"\n{rule}, {seconds:g} s:\n\n| pick | regret | CPU s besides | \n|---|---|---|")
        rows = [picks(table, known, run, float(labels.cpu_s.mean())) for run in some]
        for name in rows[0]:
            regrets = [row[name][0] for row in rows]
            cost = np.mean([row[name][1] for row in rows])
            print(
                f"| {name} | {np.mean(regrets):.2f} ({min(regrets):.2f} to {max(regrets):.2f}) "
                f"| {cost:.0f} |"
            )


def _print_verdicts(table: Table, runs: Sequence[Mapping[str, Any]]) -> None:
    print("| rule | seed | by | tau | best trivial | advantage | by other seeds | first sentence |")
    print("|---|---|---|---|---|---|---|---|")
    for run in runs:
        for by, told in run["verdicts"].items():
            chosen = next(key for key, name in COUNTS.items() if name == told["baseline"])
            others = (
                kendall(scores_of(dict(run))[by], table.truth)[0]
                - kendall(table.sizes[chosen], table.truth)[0]
            )
            value, low, high = told["advantage"]
            print(
                f"| {run['rule']} | {run['seed']} | {by} | {told['tau'][0]:.2f} | "
                f"{told['baseline']} {told['baseline_tau'][0]:.2f} | "
                f"{value:+.2f} ({low:+.2f} to {high:+.2f}) | {others:+.2f} | "
                f"{told['first'][:48]} |"
            )


def picks(
    table: Table, known: Floats, run: Mapping[str, Any], alone: float
) -> dict[str, tuple[float, float]]:
    """Return what ways to pick cost, by name: points of regret, and CPU seconds besides.

    Args:
        table: The truth, of seeds that gave no label.
        known: What each network reached under the seed that gives labels, (A,).
        run: A supernet's line.
        alone: CPU seconds of a network trained alone.
    """
    scores = scores_of(dict(run))
    by_loss = np.argsort(-scores["loss"], kind="stable")
    trivial = np.argsort(-table.sizes[best_trivial(table)], kind="stable")
    found: dict[str, tuple[float, float]] = {
        f"first by {by}": (_regret(table, scores[by]), 0.0) for by in ("accuracy", "loss")
    }
    leaning = lean(table, scores["loss"])
    found["first by loss, leaning"] = _regret(table, leaning), 0.0
    for count in (3, 5, 10):
        orders = {
            "loss": by_loss,
            "loss, leaning": np.argsort(-leaning, kind="stable"),
            "the best trivial ranking": trivial,
        }
        for name, order in orders.items():
            found[f"best of {count} by {name}, trained alone"] = (
                _regret(table, known, order[:count]),
                count * alone,
            )
        some = np.array(run["tuned"][:count])
        tuned = np.full(len(known), -np.inf)
        tuned[some] = run["tuned_accuracy"][:count]
        found[f"best of {count} by loss, trained on"] = (
            _regret(table, tuned, some),
            run["tuned_cpu_s"] * count / len(run["tuned"]),
        )
    drawn = [_with_labels(table, known, scores, draw) for draw in range(DRAWS)]
    for name, networks in drawn[0][1].items():
        found[name] = float(np.mean([regrets[name] for regrets, _ in drawn])), networks * alone
    return found


def _with_labels(
    table: Table, known: Floats, scores: Mapping[str, Floats], draw: int
) -> tuple[dict[str, float], dict[str, int]]:
    """Return the regret of picks with labels of networks drawn at random, and how many labels."""
    order = np.random.default_rng(draw).permutation(len(known))
    regrets, networks = {}, {}
    for first, confirmed in ((20, 0), (10, 5), (10, 10), (15, 5)):
        some = order[:first]
        predicted = corrected(table, some, known[some], scores, sizes_of(table))
        if not confirmed:
            regrets[f"best of {first} at random, trained alone"] = _regret(table, known, some)
            networks[f"best of {first} at random, trained alone"] = first
            best = predicted.copy()
            best[some] = known[some] / 100
            name = f"corrected by {first}: first of labels and predictions"
            regrets[name], networks[name] = _regret(table, best), first
        else:
            order_of_all = np.argsort(-predicted, kind="stable")
            fresh = order_of_all[~np.isin(order_of_all, some)]
            name = f"corrected by {first}: best of these and {confirmed} more, trained alone"
            all_known = np.concatenate([some, fresh[:confirmed]])
            regrets[name], networks[name] = _regret(table, known, all_known), first + confirmed
    return regrets, networks


def _regret(table: Table, scores: Floats, among: NDArray[np.intp] | None = None) -> float:
    """Return what the network with the highest score lacks against the best of all, in points."""
    among = np.arange(len(scores)) if among is None else among
    return float(table.truth.max() - table.truth[among[int(np.argmax(scores[among]))]])


if __name__ == "__main__":
    main()
