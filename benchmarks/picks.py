"""What picking costs, and what else one may do with a ranking than take its first.

A supernet is trained by a rule; its ranking is judged by the library's own verdict, against one
seed of networks trained alone whose hits are known (`python -m yardstick --seeds 2 --hits`), and
the best few by loss are trained on briefly. `--report` holds picks and verdicts against networks
trained alone under seeds that had no part in them.

    PYTHONPATH=benchmarks python benchmarks/picks.py --rules today --out FILE
    PYTHONPATH=benchmarks python benchmarks/picks.py --report --out FILE
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from supernet.evaluation.ranking.metrics import kendall, pick
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
DRAWS: Final = 10


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
    third = labels.accuracies[0][[at[arch] for arch in table.archs]]
    seeds = np.vstack([table.accuracies, third])
    alone = float(labels.cpu_s.mean())
    runs = [line for line in read(args.out) if line["space"] == space]
    print(f"\n## {space}\n")
    print(
        f"a network's accuracy has a standard deviation of {_deviation(table, seeds):.2f} points "
    )
    print(f"between seeds, in the better half; a training takes {alone:.2f} CPU s\n")
    _print_verdicts(table, runs)
    for rule, seconds in dict.fromkeys((run["rule"], run["seconds"]) for run in runs):
        some = [run for run in runs if (run["rule"], run["seconds"]) == (rule, seconds)]
        print(f"\n{rule}, {seconds:g} s:\n")
        print("| pick | regret | short of the best of all | CPU s besides |\n|---|---|---|---|")
        rows = [what_picks_cost(table, seeds, run, alone) for run in some]
        for name in rows[0]:
            regret, short, cost = (np.array([row[name][i] for row in rows]) for i in range(3))
            print(f"| {name} | {_spread(regret)} | {_spread(short)} | {cost.mean():.0f} |")


def _deviation(table: Table, seeds: Floats) -> float:
    return float(np.sqrt(seeds[:, table.better].var(axis=0, ddof=1).mean()))


def _spread(values: Floats) -> str:
    return f"{values.mean():.2f} ({values.min():.2f} to {values.max():.2f})"


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


def what_picks_cost(
    table: Table, seeds: Floats, run: Mapping[str, Any], alone: float
) -> dict[str, tuple[float, float, float]]:
    """Return what ways to pick cost, by name: two measures in points, and CPU seconds besides.

    The first is the regret, with labels of the last seed, against the mean of the others. Its best
    network is the luckiest, so even training all once more has some. The second has no such luck:
    what the pick lacks, under a seed that had no part in anything, against the network that is
    best under the two others. A label is of one of these two; all ways to share out the seeds.

    Args:
        table: Of all networks.
        seeds: Accuracies of networks trained alone, (3, A); the table has the first two.
        run: A supernet's line.
        alone: CPU seconds of a network trained alone.
    """
    count = len(seeds)
    ways = [picks(table, known, run) for known in seeds]
    mean = seeds[:-1].mean(axis=0)
    best = [int(np.argmax(np.delete(seeds, judge, axis=0).mean(axis=0))) for judge in range(count)]
    found = {}
    for name, last in ways[-1].items():
        short = [
            seeds[judge, best[judge]] - seeds[judge, ways[label][name].picked].mean()
            for judge in range(count)
            for label in range(count)
            if label != judge
        ]
        regret = mean.max() - mean[last.picked].mean()
        found[name] = float(regret), float(np.mean(short)), last.trained * alone + last.cpu_s
    return found


@dataclass(frozen=True)
class Picked:
    """Which networks were picked, one for each draw of luck, and what that took.

    Attributes:
        picked: Their numbers.
        trained: How many networks were trained alone for that.
        cpu_s: What else it took, besides the supernet.
    """

    picked: list[int]
    trained: int = 0
    cpu_s: float = 0.0


def picks(table: Table, known: Floats, run: Mapping[str, Any]) -> dict[str, Picked]:
    """Return what is picked, by the way to do it.

    Args:
        table: Of all networks, for sizes and choices.
        known: What each network reached alone, (A,); looked at for those that are trained.
        run: A supernet's line.
    """
    scores, macs = scores_of(dict(run)), table.sizes["macs"]
    leaning = lean(table, scores["loss"])
    orders = {
        "loss": scores["loss"],
        "loss, leaning": leaning,
        "the best trivial ranking": table.sizes[best_trivial(table)],
    }
    found = {
        f"first by {name}": Picked([int(pick(ranking, macs))])
        for name, ranking in ({"accuracy": scores["accuracy"]} | orders).items()
    }
    for count in (3, 5, 10):
        for name, ranking in orders.items():
            some = np.argsort(-ranking, kind="stable")[:count]
            found[f"best of {count} by {name}, trained alone"] = Picked(
                [_best(known, some)], len(some)
            )
        some, reached = run["tuned"][:count], run["tuned_accuracy"][:count]
        found[f"best of {count} by loss, trained on"] = Picked(
            [some[int(np.argmax(reached))]], 0, run["tuned_cpu_s"] * len(some) / len(run["tuned"])
        )
    found["best of all, trained alone"] = Picked([int(np.argmax(known))], len(known))
    for draw in range(DRAWS):
        for name, one in _with_labels(table, known, scores, draw).items():
            found.setdefault(name, Picked([], one.trained)).picked.extend(one.picked)
    return found


def _with_labels(
    table: Table, known: Floats, scores: Mapping[str, Floats], draw: int
) -> dict[str, Picked]:
    """Return picks with labels of networks drawn at random."""
    order = np.random.default_rng(draw).permutation(len(known))
    some = order[:20]
    predicted = corrected(table, some, known[some], scores, sizes_of(table))
    either = predicted.copy()
    either[some] = known[some] / 100
    found = {
        "best of 20 at random, trained alone": Picked([_best(known, some)], len(some)),
        "corrected by 20, first by prediction": Picked([int(np.argmax(predicted))], len(some)),
        "corrected by 20, first of labels and predictions": Picked(
            [int(np.argmax(either))], len(some)
        ),
    }
    some = order[:10]
    predicted = corrected(table, some, known[some], scores, sizes_of(table))
    others = np.argsort(-predicted, kind="stable")
    all_known = np.concatenate([some, others[~np.isin(others, some)][:10]])
    found["corrected by 10, best of these and the next 10, trained alone"] = Picked(
        [_best(known, all_known)], len(all_known)
    )
    return found


def _best(known: Floats, among: NDArray[np.intp]) -> int:
    return int(among[int(np.argmax(known[among]))])


if __name__ == "__main__":
    main()
