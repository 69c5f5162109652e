"""How often the 95 % interval of Kendall's tau holds the tau of the true accuracies.

Networks are made up: true one-shot and true standalone accuracies of `--networks` architectures,
spread over some points and correlated to some degree. Each is then seen on some images, of which
some are harder than others for all networks (a logistic model of ability and difficulty), so the
networks' errors have much in common, as those of real ones have. Whoever made them up knows the tau
of the true accuracies; the benchmark counts how often the verdict's interval holds it, and how
often a plain bootstrap over images would.

    python benchmarks/tau_coverage.py > benchmarks/results/tau_coverage.json

One line of JSON per case: coverage in percent of `--repeats` made-up runs (its own standard error
is about 1.5 points at 200), misses on either side, and the mean width of the intervals.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time

import numpy as np
from numpy.typing import NDArray

from supernet.evaluation.ranking.bootstrap import Scores, resample
from supernet.evaluation.ranking.metrics import kendall_rows
from supernet.evaluation.ranking.posterior import draw_truths, see

Floats = NDArray[np.float64]


def true_accuracies(
    rng: np.random.Generator, networks: int, spread: float, correlation: float, middle: float
) -> tuple[Floats, Floats]:
    """Return true one-shot and standalone abilities whose accuracies lie `spread` apart."""
    z = rng.standard_normal((2, networks))
    z[1] = correlation * z[0] + np.sqrt(1 - correlation**2) * z[1]
    z -= z.mean(axis=1, keepdims=True)
    accuracies = middle + spread * z / np.ptp(z, axis=1)[:, None]
    return accuracies[0], accuracies[1]


def hits(
    rng: np.random.Generator, accuracies: Floats, images: int, seeds: int, wobble: float
) -> NDArray[np.bool_]:
    """Return hits (S, A, N) of networks with such accuracies; images differ in difficulty.

    An image of difficulty d is got right by a network of ability a if `a - d + noise > 0`, all
    normal, with a share of the variance in the images. `wobble` is what a seed moves an accuracy.
    """
    from scipy.stats import norm

    shared = 0.8  # the share of an image's difficulty that all networks feel alike
    moved = accuracies + wobble * rng.standard_normal((seeds, len(accuracies)))
    ability = norm.ppf(np.clip(moved, 1e-4, 1 - 1e-4))[..., None]
    difficulty = np.sqrt(shared) * rng.standard_normal(images)
    own = np.sqrt(1 - shared) * rng.standard_normal((seeds, len(accuracies), images))
    return np.asarray(ability > difficulty + own)


def measure(
    networks: int,
    images: int,
    spread: float,
    correlation: float,
    *,
    seeds: int,
    wobble: float,
    repeats: int,
    rng: np.random.Generator,
) -> dict[str, float]:
    """Return how one case came out."""
    bounds: dict[str, list[tuple[float, float]]] = {"interval": [], "bootstrap": []}
    truths, seen_taus = [], []
    for _ in range(repeats):
        one_shot, standalone = true_accuracies(rng, networks, spread, correlation, 0.95)
        truths.append(float(kendall_rows(one_shot[None], standalone[None])[0]))
        validation = hits(rng, one_shot, images, seeds, wobble)
        test = hits(rng, standalone, images, seeds, wobble)
        seen = see(validation), see(test)
        seen_taus.append(float(kendall_rows(seen[0].mean[None], seen[1].mean[None])[0]))
        draws = kendall_rows(*draw_truths(*seen, rng, 1000))
        resampled = resample(Scores(validation, test, test), rng, 200)
        for name, taus in (
            ("interval", draws),
            ("bootstrap", kendall_rows(resampled.validation, resampled.standalone)),
        ):
            low, high = np.percentile(np.nan_to_num(taus), [2.5, 97.5])
            bounds[name].append((min(low, seen_taus[-1]), max(high, seen_taus[-1])))
    truth = np.array(truths)
    found = {"true_tau": truth.mean(), "seen_tau": float(np.mean(seen_taus))}
    for name, ends in bounds.items():
        low, high = np.array(ends).T
        found[f"{name}_covers"] = 100 * ((low <= truth + 1e-9) & (truth <= high + 1e-9)).mean()
        found[f"{name}_below"] = 100 * (truth < low - 1e-9).mean()
        found[f"{name}_above"] = 100 * (truth > high + 1e-9).mean()
        found[f"{name}_width"] = (high - low).mean()
    return {name: round(float(value), 3) for name, value in found.items()}


def main() -> None:
    """Go through the cases."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--networks", type=int, nargs="+", default=[9])
    parser.add_argument("--images", type=int, nargs="+", default=[500, 1000, 2000, 5000])
    parser.add_argument("--spread", type=float, nargs="+", default=[1.0, 2.0, 3.0], help="points")
    parser.add_argument("--correlation", type=float, nargs="+", default=[0.0, 0.6, 0.95])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--wobble", type=float, default=0.0, help="points that a seed moves each")
    parser.add_argument("--repeats", type=int, default=200)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    for networks, images, spread, correlation in itertools.product(
        options.networks, options.images, options.spread, options.correlation
    ):
        case = {
            "networks": networks, "images": images, "spread_points": spread,
            "correlation": correlation, "seeds": options.seeds, "wobble_points": options.wobble,
            "repeats": options.repeats,
        }  # fmt: skip
        start = time.process_time()
        found = measure(
            networks, images, spread / 100, correlation, seeds=options.seeds,
            wobble=options.wobble / 100, repeats=options.repeats, rng=rng,
        )  # fmt: skip
        print(json.dumps(case | found | {"cpu_s": round(time.process_time() - start, 1)}))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
