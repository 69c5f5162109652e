"""Fine-tuning of a run's architecture into a model folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from supernet.evaluation.ranking.bootstrap import Samples
from supernet.experiments.components import task_of
from supernet.experiments.extraction import Extracted, kept_scores, write_model
from supernet.experiments.loading import LoadedRun
from supernet.export.card import ScoreRecord
from supernet.records import Progress
from supernet.runs import files
from supernet.runs.checkpoints import Checkpoints
from supernet.runs.lock import LOCK, hold
from supernet.runs.ranks import ALONE, Ranks
from supernet.space import Architecture
from supernet.training.finetuning import Tuned, finetune
from supernet.training.recipe import Recipe

#: Of the rate that the supernet learned at.
_SHARE = 0.1


@dataclass(frozen=True)
class TunedModel:
    """A fine-tuned network, and the model folder it is in."""

    tuned: Tuned
    written: Extracted


def recipe_for(
    run: LoadedRun, *, epochs: int, learning_rate: float | None, batch_size: int | None
) -> Recipe:
    """Return the run's own recipe for a fine-tuning: a tenth of the rate, and no distillation."""
    own = run.recipe
    return replace(
        own,
        epochs=epochs,
        learning_rate=own.learning_rate * _SHARE if learning_rate is None else learning_rate,
        batch_size=own.batch_size if batch_size is None else batch_size,
        distill=False,
        compile=False,
    )


def tune(
    run: LoadedRun,
    arch: Architecture,
    recipe: Recipe,
    folder: Path,
    *,
    taught: bool,
    seed: int,
    command: str,
    every_s: float = 10.0,
    watch: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    ranks: Ranks = ALONE,
) -> TunedModel | None:
    """Fine-tune an architecture of a run and write it as a model folder.

    While it works, its state is in a folder beside, from which the same call goes on; that is
    removed when the model folder is written.

    Args:
        run: The run.
        arch: Which architecture.
        recipe: How to train on.
        folder: The model folder; there must be nothing yet.
        taught: Whether it learns from what the largest architecture puts out.
        seed: Of the data order.
        command: How it was asked for.
        every_s: How many seconds lie between two checkpoints, at least.
        watch: As for `train`.
        stop: As for `train`.
        ranks: Who does it together. The first one writes the model folder; others get None.
    """
    state = checkpoints_of(folder)
    with _held(state) if ranks.first else nullcontext():
        tuned = finetune(
            run.supernet,
            arch,
            run.data,
            recipe,
            task=task_of(run.settings),
            taught=taught,
            standalone=standalone_scores(run, arch),
            seed=seed,
            calibration_images=run.results.data.calibration,
            watch=watch,
            checkpoints=Checkpoints(state, every_s=every_s),
            stop=stop,
            distributed=ranks,
        )
        if not ranks.first:
            return None
        written = _write(run, arch, tuned, recipe, folder, command=command)
        shutil.rmtree(state, ignore_errors=True)
    return TunedModel(tuned, written)


def _write(
    run: LoadedRun, arch: Architecture, tuned: Tuned, recipe: Recipe, folder: Path, *, command: str
) -> Extracted:
    taught_by = ", taught by the largest architecture" if tuned.taught else ""
    return write_model(
        run,
        arch,
        tuned.net,
        folder,
        command=command,
        weights=f"with weights inherited from a supernet and tuned for {recipe.epochs} epochs"
        f"{taught_by}",
        scores=[
            ScoreRecord(
                name=tuned.measure.name,
                estimate=tuned.tuned,
                images=run.results.data.test,
                split="test",
                measure=tuned.measure,
            )
        ],
    )


@contextmanager
def _held(state: Path) -> Iterator[None]:
    """Hold the folder with the state of a fine-tuning, and leave none with nothing in it.

    Raises:
        RunFolderError: If another process holds it, or it can't be made.
    """
    files.make_folder(state, state.parent)
    lock = hold(state)
    try:
        yield
    finally:
        with suppress(OSError):
            if {each.name for each in state.iterdir()} <= {LOCK}:
                (state / LOCK).unlink(missing_ok=True)
                state.rmdir()
        os.close(lock)


def checkpoints_of(folder: Path) -> Path:
    """Return where the state of a fine-tuning is while it works."""
    return folder.with_name(f".{folder.name}.tuning")


def standalone_scores(run: LoadedRun, arch: Architecture) -> Samples | None:
    """Return what an architecture scored on test samples when trained alone; None if it wasn't."""
    if arch not in run.archs or not any(record.standalone for record in run.results.seeds):
        return None
    place = run.archs.index(arch)
    numbers = run.results.alone
    if numbers is not None:
        if place not in numbers:
            return None
        place = numbers.index(place)
    return kept_scores(run, "standalone_test", place)
