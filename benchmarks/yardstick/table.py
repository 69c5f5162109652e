"""The yardstick's table: the truth about each space, and how well two seeds of it agree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from supernet.evaluation.ranking.metrics import kendall
from supernet.space import Architecture
from yardstick.lines import read

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Table:
    """A space's networks trained alone: A of them, under S seeds each.

    Attributes:
        archs: The architectures.
        accuracies: Percent, (S, A).
        losses: (S, A).
        sizes: Multiply-adds, parameters and layers by name, (A,).
        cpu_s: What each training took, (S, A).
    """

    archs: list[Architecture]
    accuracies: Floats
    losses: Floats
    sizes: dict[str, Floats]
    cpu_s: Floats

    @property
    def truth(self) -> Floats:
        """The mean accuracy of the seeds, in percent."""
        return np.asarray(self.accuracies.mean(axis=0))

    @property
    def better(self) -> NDArray[np.intp]:
        """The numbers of the better half, by the truth."""
        return np.argsort(-self.truth, kind="stable")[: len(self.archs) // 2]

    def ceiling(self) -> tuple[float, float]:
        """Return the tau between the first two seeds, in all and in the better half."""
        first, second = self.accuracies[:2]
        half = self.better
        return kendall(first, second)[0], kendall(first[half], second[half])[0]


def table_of(path: Path, space: str) -> Table:
    """Return a space's table: the networks that every seed in the file has."""
    found: dict[Architecture, dict[int, dict[str, Any]]] = {}
    for line in read(path):
        if line["space"] == space:
            found.setdefault(Architecture(line["arch"]), {})[line["seed"]] = line
    seeds = sorted({seed for lines in found.values() for seed in lines})
    whole = {arch: lines for arch, lines in found.items() if len(lines) == len(seeds)}

    def column(name: str) -> Floats:
        return np.array([[lines[seed][name] for lines in whole.values()] for seed in seeds], float)

    return Table(
        archs=list(whole),
        accuracies=100 * column("accuracy"),
        losses=column("loss"),
        sizes={name: column(name)[0] for name in ("macs", "params", "layers")},
        cpu_s=column("cpu_s"),
    )


def describe(path: Path) -> None:
    """Print a line per space."""
    for space in dict.fromkeys(line["space"] for line in read(path)):
        table = table_of(path, space)
        low, middle, high = np.percentile(table.truth, [0, 50, 100])
        trivial = {name: kendall(size, table.truth)[0] for name, size in table.sizes.items()}
        better = table.better
        print(
            f"{space}: {len(table.archs)} networks, {len(table.accuracies)} seeds, accuracy "
            f"{low:.1f} to {high:.1f} (median {middle:.1f}); "
            + (
                "tau between two seeds {:.3f}, better half {:.3f}; ".format(*table.ceiling())
                if len(table.accuracies) > 1
                else ""
            )
            + ", ".join(f"{name} {tau:.2f}" for name, tau in trivial.items())
            + "; better half "
            + ", ".join(
                f"{name} {kendall(size[better], table.truth[better])[0]:.2f}"
                for name, size in table.sizes.items()
            )
            + f"; {table.cpu_s.mean():.2f} CPU s each"
        )
