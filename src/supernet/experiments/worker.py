"""One training of a run, inside a worker process."""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from supernet.errors import CheckpointError, DataWarning
from supernet.experiments.components import (
    build_named,
    device_of,
    example_of,
    initial_seed,
    load_data,
    recipe_of,
    sampler_of,
    scored_of,
    task_of,
)
from supernet.experiments.planning import Job
from supernet.experiments.settings import Settings
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.records import Progress
from supernet.runs.checkpoints import Checkpoints
from supernet.runs.process import seed_process, set_up_process
from supernet.runs.ranks import ALONE, Ranks
from supernet.runs.workers import TaskContext
from supernet.training.recipe import Recipe
from supernet.training.samplers import every
from supernet.training.session import TrainingSession, train


def do_job(
    settings: Settings, job: Job, folder: Path, every_s: float, restart: bool, context: TaskContext
) -> None:
    """Do one training, in a worker, and leave its result in a folder of checkpoints."""
    checkpoints = Checkpoints(folder, every_s=every_s, warn=context.report)
    events = follow_job(
        settings,
        job,
        checkpoints,
        restart=restart,
        stop=context.asked_to_stop,
        note=context.report,
    )
    report = throttled(context.report)
    for progress in events:
        report(progress)


def follow_job(
    settings: Settings,
    job: Job,
    checkpoints: Checkpoints,
    *,
    restart: bool,
    stop: Callable[[], bool],
    note: Callable[[str], None] = lambda _: None,
    ranks: Ranks = ALONE,
) -> Iterator[Progress]:
    """Do one training, or go on with it, and yield how far it is.

    Args:
        settings: Of the run.
        job: Which of its trainings.
        checkpoints: Where it is saved; by the first of several ranks alone.
        restart: Whether what was saved by another plan is begun again, instead of raising.
        stop: Asked between two steps whether to stop.
        note: Told, in a sentence, why it begins again.
        ranks: Who does it together.
    """
    warm_up(settings)
    try:
        yield from open_session(settings, job, ranks).events(checkpoints, stop)
    except CheckpointError as error:
        if not restart:
            raise
        note(f"beginning again: {error}")
        if ranks.first:
            checkpoints.clear()
        yield from open_session(settings, job, ranks).events(checkpoints, stop)


def identity_of(job: Job) -> dict[str, Any]:
    """Return what tells a job from the others of its run, as its checkpoints keep it."""
    return {"name": job.name, "subject": job.subject, "seed": job.seed, "arch": job.arch}


def open_session(settings: Settings, job: Job, ranks: Ranks = ALONE) -> TrainingSession:
    """Return a training that is about to begin, its network made and its process seeded.

    Args:
        settings: Of the run.
        job: Which of its trainings.
        ranks: Who does it together.
    """
    seed = initial_seed(job.seed, job.subject, job.arch)
    seed_process(seed)
    data = load_data(settings.data)
    net = build_named(
        settings, shape=data.shape, classes=data.classes, seed=seed, example=example_of(data)
    ).supernet
    standalone = job.arch is not None
    if job.arch is not None:
        net = Supernet(extract(net, net.space.at(job.arch)))
    return TrainingSession(
        net,
        data,
        recipe_of(settings, standalone=standalone, epochs=job.epochs, seconds=job.seconds),
        sampler=every if standalone else sampler_of(settings, net, data),
        score=None if standalone else scored_of(settings, net.space),
        device=device_of(settings, ranks),
        task=task_of(settings),
        seed=job.seed,
        calibration_images=settings.data.calibration_images,
        subject=job.subject,
        job=identity_of(job),
        distributed=ranks,
    )


@functools.cache
def warm_up(settings: Settings) -> None:
    """Once per process, take a step with a throwaway network, and score it.

    PyTorch puts a second's work off until it is first needed, which would else be billed to
    whatever is trained first.
    """
    set_up_process(threads=settings.run.threads)
    with warnings.catch_warnings(action="ignore", category=DataWarning):  # whoever planned was told
        data = load_data(settings.data)
    batch = settings.recipe.batch_size
    few = data.limit(train=max(2, batch), validation=1)
    net = build_named(
        settings, shape=data.shape, classes=data.classes, seed=0, example=example_of(data)
    ).supernet
    train(
        Supernet(extract(net, net.space.smallest)),
        replace(few, test=data.test.first(1)),
        Recipe(epochs=1, batch_size=batch),
        calibration_images=2,  # one has no variance
        device=device_of(settings),
        task=task_of(settings),
        progress=False,
    )


def throttled(
    report: Callable[[Progress], None], *, seconds: float = 0.2
) -> Callable[[Progress], None]:
    """Pass on what ends an epoch, was saved or was measured, and otherwise only so often."""
    last = 0.0

    def pass_on(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if progress.ended or progress.saved or progress.steps or now - last >= seconds:
            last = now
            report(progress)

    return pass_on
