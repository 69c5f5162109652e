"""What scoring a generation in one shared pass saves, set-up included.

Architectures of the NAS-Bench-Macro space, narrow (its multiply-adds keep their proportions), are
scored together and one by one: recalibration and scoring, from a network that nothing has run on.
Random ones share what they share by chance; those of the second row are at most two changes away
from one architecture, as the children of a front are.

    python benchmarks/generation.py --samples 100 --out benchmarks/results/generation.json
    python benchmarks/generation.py --width 32 --samples 16 --out ...
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

import torch

import supernet as sn
from supernet.runs.environment import hardware, versions
from supernet.runs.process import set_up_process

SHAPE = (3, 32, 32)


def draw_random(space: sn.SearchSpace, count: int, rng: random.Random) -> list[sn.Architecture]:
    """Return different architectures, at random."""
    found: dict[sn.Architecture, None] = {}
    while len(found) < count:
        found[space.sample(rng)] = None
    return list(found)


def draw_near(space: sn.SearchSpace, count: int, rng: random.Random) -> list[sn.Architecture]:
    """Return different architectures with at most two changes, in any choices, of one."""
    middle = space.sample(rng)
    found: dict[sn.Architecture, None] = {middle: None}
    while len(found) < count:
        changed = middle
        for choice in rng.sample(space.choices, 2):
            changed = changed.but(**{choice.name: rng.choice(choice.options)})
        found[changed] = None
    return list(found)


def cpu_seconds_of(
    supernet: sn.Supernet, parts: list[list[sn.Architecture]], samples: int
) -> tuple[float, dict[sn.Architecture, float]]:
    """Return CPU seconds to score parts one after the other, and the scores."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples, *SHAPE, generator=generator)
    y = torch.randint(10, (samples,), generator=generator)
    scores: dict[sn.Architecture, float] = {}
    start = time.process_time()
    for part in parts:
        scores |= sn.evaluate(supernet, part, calibration=[x], batches=[(x, y)])
    return time.process_time() - start, scores


def measure(archs: list[sn.Architecture], *, width: int, samples: int) -> dict[str, Any]:
    """Compare together with one by one."""
    new = [
        sn.Supernet(sn.build_nasbench_macro_net(seed=0, width=width, head=20 * width))
        for _ in range(2)
    ]
    together, scores = cpu_seconds_of(new[0], [archs], samples)
    apart, alone = cpu_seconds_of(new[1], [[arch] for arch in archs], samples)
    assert scores == alone
    return {
        "together_cpu_s": round(together, 2),
        "apart_cpu_s": round(apart, 2),
        "times": round(apart / together, 2),
        "macs_times": round(sn.plan(new[0], archs, torch.empty(2, *SHAPE)).ratio, 2),
    }


def main() -> None:
    """Measure, print, and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--samples", type=int, default=250)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    set_up_process(threads=1)
    space = sn.Supernet(sn.build_nasbench_macro_net(seed=0, width=4, head=8)).space
    how = {"width": arguments.width, "samples": arguments.samples}
    results: dict[str, Any] = {}
    for name, draw in (("random", draw_random), ("near one another", draw_near)):
        results[name] = measure(draw(space, arguments.count, random.Random(0)), **how)
        print(name, results[name], flush=True)
    results["conditions"] = {**vars(arguments), "out": "", **hardware(), **versions()}
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
