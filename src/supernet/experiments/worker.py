"""One training of a run, as a worker process does it."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from supernet.errors import CheckpointError
from supernet.experiments.components import build_supernet, load_data, sampler_of
from supernet.experiments.planning import Job
from supernet.experiments.settings import Settings
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.records import Progress
from supernet.runs.checkpoints import Checkpoints
from supernet.runs.process import seed_process, set_up_process
from supernet.runs.workers import TaskContext
from supernet.training.recipe import Recipe
from supernet.training.samplers import every
from supernet.training.session import train


def do_job(
    settings: Settings, job: Job, folder: Path, every_s: float, anew: bool, context: TaskContext
) -> None:
    """Do one job, in a worker, and leave what comes of it in a folder."""
    _warm_up(settings)
    checkpoints = Checkpoints(folder, every_s=every_s, warn=context.report)
    try:
        _train_job(settings, job, checkpoints, context)
    except CheckpointError as error:
        if not anew:
            raise
        context.report(f"beginning anew: {error}")
        checkpoints.clear()
        _train_job(settings, job, checkpoints, context)


def _train_job(
    settings: Settings, job: Job, checkpoints: Checkpoints, context: TaskContext
) -> None:
    seed_process(_initial_seed(job))
    data = load_data(settings)
    net = build_supernet(settings, data, seed=_initial_seed(job))
    if job.arch is not None:
        net = Supernet(extract(net, list(net.space)[job.arch]))
    standalone = job.subject == "standalone"
    train(
        net,
        data,
        _recipe(settings, job),
        sampler=every if standalone else sampler_of(settings, net, data),
        seed=job.seed,
        calibration_images=settings.calibration_images,
        subject=job.subject,
        watch=_throttled(context.report),
        checkpoints=checkpoints,
        stop=context.asked_to_stop,
    )


@functools.cache
def _warm_up(settings: Settings) -> None:
    """Once per worker, take a step with a throwaway network, and score it.

    PyTorch puts a second's work off until it is first needed, which would else be billed to
    whatever is trained first.
    """
    set_up_process(threads=settings.threads)
    data = load_data(settings)
    few = data.limit(train=max(2, settings.batch_size), validation=1)
    recipe = Recipe(epochs=1, batch_size=settings.batch_size)
    train(
        build_supernet(settings, data, seed=0),
        replace(few, test=data.test.first(1)),
        recipe,
        calibration_images=2,  # one has no variance
    )


def _throttled(
    report: Callable[[Progress], None], *, seconds: float = 0.2
) -> Callable[[Progress], None]:
    """Pass on what ends an epoch or was saved, and otherwise only so often."""
    last = 0.0

    def pass_on(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if progress.ended or progress.saved or now - last >= seconds:
            last = now
            report(progress)

    return pass_on


def _initial_seed(job: Job) -> int:
    """Every network of a run starts from weights of its own."""
    offset = {"supernet": 0, "longer": 999, "standalone": 1 + (job.arch or 0)}
    return job.seed * 1000 + offset[job.subject]


def _recipe(settings: Settings, job: Job) -> Recipe:
    standalone = job.subject == "standalone"
    return Recipe(
        epochs=job.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.standalone_rate if standalone else settings.supernet_rate,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
        schedule=settings.schedule,
        warmup=settings.warmup,
        precision=settings.precision,
        compile=settings.compile,
        max_bytes=settings.max_bytes,
        on_nan=settings.on_nan,
        distill=settings.distill,
        label_smoothing=settings.label_smoothing,
        clip_norm=settings.clip_norm,
        ema=settings.ema,
    )
