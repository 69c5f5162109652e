"""The chosen few of a search, trained alone: what they are worth without shared weights.

Each is trained from new weights with the run's own recipe, as `supernet compare` trains its
standalone networks, and scored on the test split once, at the end. `alone.jsonl` in the search's
folder holds what they ended with; the state of those under way is in a folder beside it.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from supernet.errors import CheckpointError, DivergedError
from supernet.experiments.components import (
    build_named,
    device_of,
    example_of,
    initial_seed,
    load_data,
    recipe_of,
    task_of,
)
from supernet.experiments.jsonlines import read_lines, write_lines
from supernet.experiments.loading import LoadedRun
from supernet.experiments.settings import Settings
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.records import Progress
from supernet.runs.checkpoints import Checkpoints
from supernet.runs.process import seed_process
from supernet.space import Architecture
from supernet.training.result import TrainingResult
from supernet.training.samplers import every
from supernet.training.session import train

ALONE = "alone.jsonl"

#: The folder with the states of those under way.
STATE = "alone"

_REMEDY = "remove it, and search again"

Watch = Callable[[str, Progress], None]


@dataclass(frozen=True)
class Confirmed:
    """A network that was scored on samples that the search never saw.

    Attributes:
        arch: Which.
        validation: Its mean score on validation samples after it was trained alone; NaN if it
            wasn't, or that failed.
        scores: The score of each test sample, bool or float: (samples,); empty if it failed.
        error: Why there is no score, if there is none.
    """

    arch: Architecture
    validation: float = math.nan
    scores: NDArray[Any] = field(default_factory=lambda: np.zeros(0), repr=False)
    error: str | None = None


@dataclass(frozen=True)
class Wanted:
    """A network of a run that is to be trained alone.

    Attributes:
        settings: Of the run.
        arch: Which.
        number: The architecture's number in the space.
        seed: Of the run's supernet.
        calibration: How many training samples batch norms are recalibrated on.
    """

    settings: Settings
    arch: Architecture
    number: int
    seed: int
    calibration: int

    @classmethod
    def of(cls, run: LoadedRun, arch: Architecture) -> Self:
        """Return what is to be trained for an architecture of a run."""
        (number,) = run.supernet.space.numbers(arch)
        return cls(run.settings, arch, number, run.seed, run.results.data.calibration)


#: Trains architectures, and yields what they reach, in whatever order.
TrainMany = Callable[[Sequence[Architecture]], Iterator[Confirmed]]


def train_alone(
    run: LoadedRun,
    archs: Sequence[Architecture],
    folder: Path,
    *,
    every_s: float = 10.0,
    watch: Watch = lambda name, progress: None,
    train_many: TrainMany | None = None,
) -> dict[Architecture, Confirmed]:
    """Train architectures, or those that are left, and return what they reach.

    Args:
        run: Whose data, recipe and seed are taken.
        archs: Which.
        folder: Of the search.
        every_s: How many seconds lie between two checkpoints, at least.
        watch: Told of an architecture's label and its progress.
        train_many: What trains them; by default this process, one after the other.

    Raises:
        RunFolderError: If what was saved is damaged, or can't be written.
    """
    found = {one.arch: one for one in read_lines(folder / ALONE, _parse, remedy=_REMEDY)}
    state = folder / STATE

    def train_here(archs: Sequence[Architecture]) -> Iterator[Confirmed]:
        for arch in archs:
            checkpoints = Checkpoints(state, every_s=every_s)
            yield train_one(Wanted.of(run, arch), checkpoints, partial(watch, arch.label))
            shutil.rmtree(state, ignore_errors=True)

    for one in (train_many or train_here)([arch for arch in archs if arch not in found]):
        found[one.arch] = one
        written = [each for arch, each in found.items() if arch not in archs]
        written += [found[arch] for arch in archs if arch in found]  # in whatever order they came
        write_lines(folder / ALONE, map(_row, written), folder)
    shutil.rmtree(state, ignore_errors=True)
    return {arch: found[arch] for arch in archs}


def train_one(
    wanted: Wanted,
    checkpoints: Checkpoints,
    watch: Callable[[Progress], None],
    stop: Callable[[], bool] = lambda: False,
) -> Confirmed:
    """Train an architecture alone, or go on with it.

    Args:
        wanted: Which.
        checkpoints: Its states; those of something else are removed.
        watch: Told how far it is.
        stop: Asked between steps whether to stop, after saving.

    Raises:
        Stopped: If `stop` said so.
    """
    arch = wanted.arch
    try:
        try:
            result = _result_of(wanted, checkpoints, watch, stop)
        except CheckpointError:  # damaged, or of another training: begin again
            checkpoints.clear()
            result = _result_of(wanted, checkpoints, watch, stop)
    except DivergedError:
        return Confirmed(arch, error="its loss or its outputs were no finite numbers")
    validation, scores = result.training.validation[0], result.test[0]
    if math.isnan(validation) or math.isnan(result.training.test[0]):
        return Confirmed(arch, error="its outputs were no finite numbers")
    hits = scores.dtype == np.bool_
    return Confirmed(arch, validation, scores if hits else scores.astype(np.float64))


def _result_of(
    wanted: Wanted,
    checkpoints: Checkpoints,
    watch: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> TrainingResult:
    settings, arch = wanted.settings, wanted.arch
    data = load_data(settings.data)
    seed = initial_seed(wanted.seed, "standalone", wanted.number)  # as `supernet compare` does
    with _own_luck(seed):
        whole = build_named(
            settings, shape=data.shape, classes=data.classes, seed=seed, example=example_of(data)
        ).supernet
        return train(
            Supernet(extract(whole, arch)),
            data,
            recipe_of(settings, standalone=True, epochs=settings.recipe.epochs),
            sampler=every,
            device=device_of(settings),
            task=task_of(settings),
            seed=wanted.seed,
            calibration_images=wanted.calibration,
            subject="standalone",
            job={"name": f"alone {arch.label}", "seed": wanted.seed, "arch": wanted.number},
            watch=watch,
            stop=stop,
            checkpoints=checkpoints,
        )


@contextmanager
def _own_luck(seed: int) -> Iterator[None]:
    """Seed what dropout and its like draw from inside the block, and put it back after."""
    with torch.random.fork_rng():
        seed_process(seed)
        yield


def _row(one: Confirmed) -> dict[str, Any]:
    return {
        "options": dict(one.arch),
        "validation": None if one.error else one.validation,
        "kind": "hits" if one.scores.dtype == np.bool_ else "scores",
        "test": (one.scores + 0).tolist(),  # hits as 0 and 1
        "error": one.error,
    }


def _parse(_: int, said: Any) -> Confirmed:
    scores = np.array(said["test"], np.float64)
    if said["kind"] == "hits":
        scores = scores.astype(np.bool_)
    if scores.ndim != 1 or bool(len(scores)) == bool(said["error"]):
        raise ValueError("its test scores are not one number per sample")
    validation = math.nan if said["validation"] is None else float(said["validation"])
    return Confirmed(Architecture(said["options"]), validation, scores, said["error"])
