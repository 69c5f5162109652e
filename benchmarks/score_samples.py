"""How many validation samples a one-shot ranking needs, from supernets that were scored on many.

Reads what `rules.py` left: which validation images each of nine architectures gets right in
supernets of different rules and seeds, and the test accuracies of the nine trained alone. Then it
ranks by fewer images, drawn at random, and says how well that agrees with the truth, and how well
two rankings by as many images would agree with each other.

    python benchmarks/score_samples.py
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from rules import unpacked
from samplers import lines_of

from supernet.evaluation.ranking.metrics import kendall
from supernet.evaluation.ranking.stability import full_tau, halves_tau

RESULTS = Path(__file__).parent / "results" / "rules-nine-narrow.jsonl"
DRAWS = 20


def main() -> None:
    """Print a line for each number of samples."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS, help="what rules.py wrote")
    lines = lines_of(parser.parse_args().out)
    alone: dict[str, list[float]] = defaultdict(list)
    for line in lines:
        if "alone" in line:
            alone[line["alone"]].append(float(unpacked(line["test"]).mean()))
    truth = np.array([np.mean(alone[label]) for label in sorted(alone)])
    supernets = [unpacked(line["validation"]) for line in lines if "rule" in line]
    rng = np.random.default_rng(0)
    print(f"{len(supernets)} supernets, {len(truth)} architectures\n")
    print("| samples | tau against the truth | tau of two such rankings |\n|---|---|---|")
    whole = supernets[0].shape[1]
    for count in (250, 500, 1000, 2000, whole):
        found, steady = [], []
        for hits in supernets:
            for _ in range(DRAWS if count < whole else 1):
                part = hits[:, rng.permutation(whole)[:count]]
                found.append(kendall(part.mean(axis=1), truth)[0])
                steady.append(full_tau(halves_tau(part[None], rng)))
        print(f"| {count:,} | {np.nanmean(found):.3f} | {np.nanmean(steady):.2f} |")


if __name__ == "__main__":
    main()
