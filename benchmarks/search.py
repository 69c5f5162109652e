"""How well each search strategy does on problems with a known answer, and what its engine costs.

Ten problems of 20 choices with 4 options each: the score has diminishing returns in every choice,
random deviations, and thirty pairs of choices that help or hinder each other; the cost is a sum.
All is made from a seed. Measured is the hypervolume (score against cost) that a strategy has
dominated after so many evaluations, paired by problem. Settings were chosen on problems 100 to 103,
which are not among those reported.

    python benchmarks/search.py --out benchmarks/results/search.json

It needs pymoo (the extra `benchmarks`), whose NSGA-II is the reference.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from supernet.runs.environment import hardware, versions
from supernet.space import Architecture, Choice, SearchSpace
from supernet.strategies import (
    Evaluation,
    GuidedNsga2,
    Nsga2,
    Problem,
    RandomSearch,
    RegularizedEvolution,
    Strategy,
    hypervolume,
)
from supernet.strategies.encoding import EncodedSpace, Rows
from supernet.strategies.feasible import FeasibleRows

CHOICES, OPTIONS, PAIRS = 20, 4, 30
SPACE = SearchSpace(tuple(Choice(f"c{at:02}", tuple(range(OPTIONS))) for at in range(CHOICES)))
ENCODED = EncodedSpace(SPACE)

Numbers = NDArray[np.float64]


class Family:
    """One of the problems."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 77])
        weights, bends = np.exp(rng.normal(0, 0.5, CHOICES)), rng.uniform(0.3, 1.2, CHOICES)
        self.gains = weights[:, None] * (1 - np.exp(-bends[:, None] * np.arange(OPTIONS)))
        self.gains += rng.normal(0, 0.15, self.gains.shape)
        self.pairs = [tuple(rng.choice(CHOICES, 2, replace=False)) for _ in range(PAIRS)]
        self.together = rng.normal(0, 0.25, (PAIRS, OPTIONS, OPTIONS))
        sizes = np.exp(rng.normal(0, 0.5, CHOICES))
        self.prices = sizes[:, None] * (1 + np.arange(OPTIONS))
        some = np.random.default_rng(0).integers(0, OPTIONS, (2_000, CHOICES))
        self.reference = np.array([-self.score(some).min(), self.prices[:, -1].sum()])

    def score(self, rows: Any) -> Numbers:
        """Return the score of each row, to be large."""
        total = self.gains[np.arange(CHOICES), rows].sum(axis=1)
        for (one, other), table in zip(self.pairs, self.together, strict=True):
            total = total + table[rows[:, one], rows[:, other]]
        return np.asarray(total)

    def cost(self, rows: Any) -> Numbers:
        """Return the cost of each row, to be small."""
        return np.asarray(self.prices[np.arange(CHOICES), rows].sum(axis=1))

    def points(self, rows: Any) -> Numbers:
        """Return both, to be small."""
        return np.stack([-self.score(rows), self.cost(rows)], axis=1)

    def problem(self, limits: str = "") -> Problem:
        """Return it as a problem to search."""
        return Problem(SPACE, ("score", "cost"), limits=limits, costs={"cost": Priced(self)})


class Priced:
    """The cost of a problem, many at once, as tables of costs give it."""

    encoded = ENCODED

    def __init__(self, family: Family) -> None:
        self._family = family

    def __call__(self, arch: Architecture) -> float:
        return float(self.of_rows(ENCODED.encode([arch]))[0])

    def of_rows(self, rows: Rows) -> Numbers:
        """Return the cost of each row."""
        return self._family.cost(rows)


def search(
    family: Family,
    make: Callable[[Problem, int], Strategy],
    *,
    budget: int,
    asked: int,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the hypervolume, and the engine's CPU milliseconds for each evaluation."""
    strategy, spent = make(family.problem(), seed), 0.0
    rows: list[Rows] = []
    while sum(map(len, rows)) < budget:
        start = time.process_time()
        archs = strategy.ask(min(asked, budget - sum(map(len, rows))))
        spent += time.process_time() - start
        rows.append(ENCODED.encode(archs))
        told = [
            Evaluation(arch, {"score": -float(minus), "cost": float(cost)})
            for arch, (minus, cost) in zip(archs, family.points(rows[-1]), strict=True)
        ]
        start = time.process_time()
        strategy.tell(told)
        spent += time.process_time() - start
    points = family.points(np.concatenate(rows))
    return hypervolume(points, family.reference), 1e3 * spent / budget


def search_with_pymoo(family: Family, *, budget: int, population: int, seed: int = 1) -> float:
    """Return the hypervolume of pymoo's NSGA-II."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import Problem as PymooProblem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize

    seen: list[Numbers] = []

    class Wrapped(PymooProblem):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(n_var=CHOICES, n_obj=2, xl=0, xu=OPTIONS - 1, vtype=int)

        def _evaluate(self, x: Any, out: dict[str, Any], *_: Any, **__: Any) -> None:
            out["F"] = family.points(x.astype(int))
            seen.append(out["F"])

    repair = RoundingRepair()
    algorithm = NSGA2(
        pop_size=population,
        sampling=IntegerRandomSampling(),
        crossover=SBX(prob=1.0, eta=3.0, vtype=float, repair=repair),
        mutation=PM(prob=1.0, eta=3.0, vtype=float, repair=repair),
        eliminate_duplicates=True,
    )
    minimize(Wrapped(), algorithm, ("n_eval", budget), seed=seed)
    return hypervolume(np.concatenate(seen)[:budget], family.reference)


def compare(families: list[Family]) -> dict[str, dict[str, Any]]:
    """Return hypervolumes and costs of all strategies, and how they compare, paired."""
    plans: dict[str, tuple[Callable[[Problem, int], Strategy], int, int]] = {
        "random, 256": (RandomSearch, 256, 16),
        "random, 1024": (RandomSearch, 1_024, 64),
        "evolution, 1024": (RegularizedEvolution, 1_024, 16),
        "nsga2, 1024": (Nsga2, 1_024, 32),
        "guided, 256": (GuidedNsga2, 256, 16),
    }
    found: dict[str, dict[str, Any]] = {}
    for name, (make, budget, asked) in plans.items():
        runs = [search(family, make, budget=budget, asked=asked) for family in families]
        found[name] = {
            "hypervolumes": [round(volume, 2) for volume, _ in runs],
            "engine_ms_per_evaluation": round(float(np.mean([ms for _, ms in runs])), 3),
            "asked_at_once": asked,
        }
        print(name, found[name], flush=True)
    found["pymoo NSGA-II, 1024"] = {
        "hypervolumes": [
            round(search_with_pymoo(family, budget=1_024, population=32), 2) for family in families
        ],
        "population": 32,
    }
    for name, row in found.items():
        row["mean"] = round(float(np.mean(row["hypervolumes"])), 2)
        for other in ("random, 256", "random, 1024", "pymoo NSGA-II, 1024"):
            if other != name:
                row[f"above {other}"] = paired(row["hypervolumes"], found[other]["hypervolumes"])
    return found


def paired(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """Return how often, and by how much, ours are larger; and the p value of Wilcoxon's test."""
    difference = np.array(ours) - np.array(theirs)
    test = scipy.stats.wilcoxon(difference, alternative="greater", method="exact")
    return {
        "of": len(ours),
        "better": int((difference > 0).sum()),
        "mean_difference": round(float(difference.mean()), 2),
        "p": float(test.pvalue),
    }


def measure_limits(family: Family) -> dict[str, float]:
    """Return what 100 architectures cost that meet a limit which one in a million meets."""
    rng = np.random.default_rng(0)
    costs = np.concatenate([family.cost(ENCODED.draw(100_000, rng)) for _ in range(50)])
    limit = float(np.sort(costs)[5])  # of five million
    problem = family.problem(f"cost <= {limit}")
    start = time.process_time()
    rows: Rows = FeasibleRows(problem, np.random.default_rng(1)).draw(100)
    spent = time.process_time() - start
    assert (family.cost(rows) <= limit).all()
    return {
        "cpu_s": round(spent, 3),
        "samples": len(rows),
        "distinct": len(np.unique(rows, axis=0)),
    }


def main() -> None:
    """Measure, print, and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="seed of the first problem")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    families = [Family(arguments.first + at) for at in range(arguments.problems)]
    results: dict[str, Any] = {
        "strategies": compare(families),
        "one in a million": measure_limits(families[0]),
        "guided, 1000 labels": dict(
            zip(
                ("hypervolume", "engine_ms_per_evaluation"),
                search(families[0], GuidedNsga2, budget=1_000, asked=32),
                strict=True,
            )
        ),
        "conditions": {
            "command": f"python benchmarks/search.py --problems {arguments.problems} "
            f"--first {arguments.first}",
            **hardware(),
            **versions(),
            "pymoo": version("pymoo"),
        },
    }
    print(json.dumps(results, indent=1))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
