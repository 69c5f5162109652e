"""The latency of a run's networks on this device: measured once, and kept in the run's folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch

from supernet.errors import LatencyError
from supernet.evaluation.latency import LatencyTable, load_latency, measure_latency
from supernet.experiments.loading import LoadedRun
from supernet.training.data import form_of_samples

#: In the folder of a run.
LATENCY: Final = "latency.json"


def latency_here(
    run: LoadedRun, *, rounds: int = 30, progress: Callable[[str, float], None]
) -> tuple[Path, LatencyTable]:
    """Return where the latency table of a run is, and the table: of this device, eager, batch 1.

    One that is there is taken if it was measured here, with as many threads; else it is measured,
    and takes the place of another device's.

    Args:
        run: The run.
        rounds: See `measure_latency`; likewise `progress`.
        progress: Told what is being measured, and which share of it is done.

    Raises:
        RunFolderError: If its folder can't be written to.
    """
    path = run.folder / LATENCY
    if (found := _found_here(path, run)) is not None:
        return path, found
    form = form_of_samples(run.data)
    table = measure_latency(run.supernet, form, rounds=rounds, progress=progress)
    return table.save(path, root=run.folder), table


def _found_here(path: Path, run: LoadedRun) -> LatencyTable | None:
    try:
        table = load_latency(path)
        table.cost_of(run.supernet)
    except LatencyError:
        return None
    asked = ("torch", 1, torch.get_num_threads())
    return table if (table.runtime, table.batch, table.threads) == asked else None
