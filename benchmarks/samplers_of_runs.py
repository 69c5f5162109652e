"""Which sampler ranks better: supernets of several runs against one run's standalone networks.

Takes the folder of a `supernet compare` run, which has the truth, and of any `supernet train` or
`compare` runs on the same data. Prints, for each, CPU seconds, accuracies and rank agreement: of
the mean over seeds, and of each seed with the range.

    python benchmarks/samplers.py runs/truth runs/other ...
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from supernet.evaluation.ranking.metrics import kendall
from supernet.runs.folder import read_results


def main() -> None:
    """Print a line per run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("truth", type=Path)
    parser.add_argument("others", type=Path, nargs="*")
    args = parser.parse_args()
    alone = read_results(args.truth).seeds
    truth = np.mean([[trial.test[0] for trial in seed.standalone] for seed in alone], axis=0)
    print(f"standalone: mean test accuracy {truth.mean():.4f} over {len(alone)} seed(s)")
    for folder in [args.truth, *args.others]:
        results = read_results(folder)
        scores = np.array([seed.supernet.validation for seed in results.seeds])
        test = np.array([seed.supernet.test for seed in results.seeds])
        cpu = sum(
            phase.cpu_s
            for phase in results.ledger
            if (phase.subject, phase.kind) == ("supernet", "training")
        )
        taus = [kendall(row, truth)[0] for row in scores]
        tau, p = kendall(scores.mean(axis=0), truth)
        print(
            f"{results.settings['sampler']}, {results.settings['epochs']} epochs: "
            f"{cpu / len(scores):.1f} CPU s a seed; mean test accuracy {test.mean():.4f} "
            f"({test.mean(axis=1).min():.4f} to {test.mean(axis=1).max():.4f}); tau {tau:.2f} "
            f"(p = {p:.3f}), single seeds {min(taus):.2f} to {max(taus):.2f}"
        )


if __name__ == "__main__":
    main()
