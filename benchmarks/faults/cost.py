"""What checkpoints cost in a `quick` run: the share of the time that is spent saving.

    python benchmarks/faults/cost.py --trainings supernet standalone --every 10

Trains what `supernet compare --preset quick` trains (the supernet, and the smallest network alone,
for which saving weighs most), with checkpoints as often as it writes them, and adds up the time
inside `Checkpoints.save`: wall and CPU seconds over those of the whole training, scoring included.
The bar is 2 %.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import supernet as sn
from supernet.runs.checkpoints import Checkpoints
from supernet.runs.process import set_up_process

RECIPE = sn.Recipe(epochs=3, batch_size=16, learning_rate=0.1)


def measure(training: str, every_s: float) -> dict[str, float]:
    """Train once; return the seconds of the whole and of saving, and how often it saved."""
    data = sn.load_mnist().limit(train=3000, validation=2000)
    net = sn.Supernet(sn.build_mnist_net(seed=0))
    if training == "standalone":
        net = sn.Supernet(sn.extract(net, net.space.smallest))
    saving = {"wall": 0.0, "cpu": 0.0, "saves": 0.0}
    save = Checkpoints.save

    def timed(self: Checkpoints, state: Any) -> Path:
        wall, cpu = time.perf_counter(), time.process_time()
        path = save(self, state)
        saving["wall"] += time.perf_counter() - wall
        saving["cpu"] += time.process_time() - cpu
        saving["saves"] += 1
        return path

    Checkpoints.save = timed  # type: ignore[method-assign]
    try:
        with TemporaryDirectory(dir=".") as folder:
            wall, cpu = time.perf_counter(), time.process_time()
            sn.train(net, data, RECIPE, checkpoints=Checkpoints(Path(folder), every_s=every_s))
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    finally:
        Checkpoints.save = save  # type: ignore[method-assign]
    return {
        "seconds": wall,
        "wall": saving["wall"] / wall,
        "cpu": saving["cpu"] / cpu,
        "saves": saving["saves"],
    }


def main() -> None:
    """Measure, and print a line for each training."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trainings", nargs="+", default=["supernet", "standalone"])
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two saves")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    set_up_process(threads=1)
    for training in args.trainings:
        found = [measure(training, args.every) for _ in range(args.repeats)]
        for name, scale, unit in (
            ("seconds", 1, "s"), ("saves", 1, ""), ("wall", 100, "%"), ("cpu", 100, "%")
        ):  # fmt: skip
            values = sorted(scale * each[name] for each in found)
            print(
                f"{training} {name}: {values[len(values) // 2]:.3g} {unit} "
                f"({values[0]:.3g} to {values[-1]:.3g}), n = {len(values)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
