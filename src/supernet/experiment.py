"""The experiment: the nine-network space, its supernet and its standalone trainings, in workers."""

from __future__ import annotations

import functools
import io
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from supernet.comparison import Seed, compare, describe_architectures, describe_network, hits_of
from supernet.cost import count_shared_macs
from supernet.datasets import ImageData, load_idx, load_mnist
from supernet.errors import DataError
from supernet.launch import Emit, Task, run_tasks
from supernet.records import ArchitectureRecord, NetworkRecord, Phase, Progress, Results
from supernet.samplers import SAMPLERS
from supernet.settings import Settings
from supernet.subnet import extract
from supernet.supernet import Supernet
from supernet.training import Recipe, mean_loss
from supernet.trials import Trial, train
from supernet.zoo import build_mnist_net

Subject = Literal["supernet", "standalone", "longer"]
Watch = Callable[[str, Progress], None]
Weights = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Job:
    """One training. `arch` is the index of a standalone network's architecture.

    `macs` is all the work it will take, scoring included.
    """

    name: str
    subject: Subject
    seed: int
    arch: int | None
    epochs: int
    macs: int


@dataclass(frozen=True)
class Plan:
    """What a run will do, resolved and costed, before anything is trained."""

    settings: Settings
    network: NetworkRecord
    architectures: Sequence[ArchitectureRecord]
    jobs: Sequence[Job]
    loading: Phase

    @property
    def workers(self) -> int:
        """How many worker processes there will be."""
        return min(self.settings.workers or os.cpu_count() or 1, len(self.jobs))


def plan(settings: Settings, *, standalone: bool = True) -> Plan:
    """Load the data, build the network, and work out what has to be done.

    Args:
        settings: What to run.
        standalone: Whether to train the architectures on their own too.

    Raises:
        DataError: If the data are missing or damaged, or too few for the settings.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    data = _load(settings.data, settings.train_images, settings.validation_images)
    images = len(data.train) + len(data.validation) + len(data.test)
    loading = Phase(
        name="data",
        kind="data",
        subject="all",
        seed=None,
        arch=None,
        wall_s=time.perf_counter() - wall,
        cpu_s=time.process_time() - cpu,
        images=images,
        macs=0,
    )
    _check_sizes(settings, data)
    supernet = _build(settings, data, seed=0)
    return Plan(
        settings=settings,
        network=describe_network(supernet, data.shape),
        architectures=describe_architectures(supernet, data.shape),
        jobs=_jobs(settings, data, supernet, standalone=standalone),
        loading=loading,
    )


def measure_speed(plan: Plan, *, seconds: float = 1.0) -> float:
    """Return the multiply-adds per second that one worker does in a training step, measured now."""
    settings = plan.settings
    data = _load(settings.data, settings.train_images, settings.validation_images)
    supernet = _build(settings, data, seed=0).train()
    archs = list(supernet.space)
    x, y = next(data.train.shuffled(settings.batch_size, seed=0, epoch=0))
    macs = settings.batch_size * count_shared_macs(supernet, archs, data.shape, backward=True)
    mean_loss(supernet, x, y, archs).backward()
    steps, start = 0, time.perf_counter()
    while steps < 2 or time.perf_counter() - start < seconds:
        mean_loss(supernet, x, y, archs).backward()
        steps += 1
    return steps * macs / (time.perf_counter() - start)


@dataclass(frozen=True)
class Outcome:
    """What a run ends with.

    Attributes:
        results: The records: what reports are made from.
        seeds: The trials behind them.
        weights: The supernets' weights, by seed.
    """

    results: Results
    seeds: Sequence[Seed]
    weights: Mapping[int, Weights]


def run(plan: Plan, *, command: str, watch: Watch = lambda name, progress: None) -> Outcome:
    """Do all trainings in worker processes, then judge.

    Args:
        plan: What to do.
        command: How this run was asked for, for the record.
        watch: Called with a job's name and its progress, several times a second.

    Raises:
        DataError: If the data changed meanwhile.
        DivergedError: If a loss or an output is not a finite number.
        WorkerError: If a worker process failed for good.
    """
    start = time.perf_counter()
    settings = plan.settings
    jobs = {job.name: job for job in plan.jobs}
    tasks = [Task(job.name, _do, (settings, job)) for job in plan.jobs]
    trials: dict[tuple[Subject, int, int | None], Trial] = {}
    weights: dict[int, Weights] = {}
    for report in run_tasks(tasks, workers=plan.workers, threads=settings.threads):
        job = jobs[report.task]
        if not report.done:
            watch(report.task, report.content)
            continue
        trials[job.subject, job.seed, job.arch], state = report.content
        if job.subject == "supernet":
            weights[job.seed] = state
    seeds = [
        Seed(
            seed,
            trials["supernet", seed, None],
            [
                trials["standalone", seed, index]
                for index in range(len(plan.architectures))
                if ("standalone", seed, index) in trials
            ],
            trials.get(("longer", seed, None)),
        )
        for seed in sorted(weights)
    ]
    data = _load(settings.data, settings.train_images, settings.validation_images)
    results = compare(
        _build(settings, data, seed=0),
        data,
        seeds,
        settings=settings.model_dump(),
        loading=plan.loading,
        command=command,
        workers=plan.workers,
        threads=settings.threads,
        wall_s=plan.loading.wall_s + time.perf_counter() - start,
    )
    return Outcome(results, seeds, weights)


def _do(settings: Settings, job: Job, emit: Emit) -> tuple[Trial, Weights]:
    """Do one job, in a worker."""
    data = _load(settings.data, settings.train_images, settings.validation_images)
    net = _build(settings, data, seed=_initial_seed(job))
    if job.arch is not None:
        net = Supernet(extract(net, list(net.space)[job.arch]))
    standalone = job.subject == "standalone"
    trial = train(
        net,
        data,
        _recipe(settings, job),
        sampler=SAMPLERS["every" if standalone else settings.sampler],
        seed=job.seed,
        calibration_images=settings.calibration_images,
        subject=job.subject,
        watch=_throttled(emit),
    )
    state = {name: tensor.contiguous().numpy() for name, tensor in net.net.state_dict().items()}
    return trial, {} if standalone else state


def _throttled(emit: Emit, *, seconds: float = 0.2) -> Callable[[Progress], None]:
    """Pass on what ends an epoch, and otherwise only so often."""
    last = 0.0

    def pass_on(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if progress.ended or now - last >= seconds:
            last = now
            emit(progress)

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
    )


@functools.lru_cache(maxsize=1)
def _load(folder: str | None, train: int | None, validation: int) -> ImageData:
    data = load_mnist() if folder is None else load_idx(Path(folder))
    return data.limit(train=train, validation=min(validation, len(data.validation)))


def _build(settings: Settings, data: ImageData, *, seed: int) -> Supernet:
    return Supernet(
        build_mnist_net(
            seed=seed,
            classes=data.classes,
            shape=data.shape,
            widths=(settings.wide, settings.narrow),
            longest=settings.longest,
        )
    )


def _check_sizes(settings: Settings, data: ImageData) -> None:
    for name, asked in (
        ("batch_size", settings.batch_size),
        ("calibration_images", settings.calibration_images),
    ):
        if asked > len(data.train):
            raise DataError(
                f"{name} is {asked}, but there are only {len(data.train)} training images; "
                f"choose a smaller {name} or more train_images"
            )


def _jobs(
    settings: Settings, data: ImageData, supernet: Supernet, *, standalone: bool
) -> list[Job]:
    """List the trainings, the longest of a seed first, so that no worker ends alone with one."""
    archs = list(supernet.space)
    apart = [_training_macs(settings, supernet, [arch], data) for arch in archs]
    shared = _training_macs(settings, supernet, archs, data)
    per_step = shared if settings.sampler == "every" else sum(apart) // len(apart)

    def job(
        subject: Subject, seed: int, arch: int | None, epochs: int, macs: int, name: str
    ) -> Job:
        scored = archs if arch is None else [archs[arch]]
        scorings = epochs * (settings.calibration_images + len(data.validation)) + len(data.test)
        scoring = count_shared_macs(supernet, scored, data.shape) * scorings
        title = name if settings.seeds == 1 else f"{name}, seed {seed}"
        return Job(title, subject, seed, arch, epochs, macs * epochs + scoring)

    jobs: list[Job] = []
    for seed in range(settings.seed, settings.seed + settings.seeds):
        of_seed = [job("supernet", seed, None, settings.epochs, per_step, "supernet")]
        if standalone and settings.longer:
            epochs = max(1, round(settings.epochs * sum(apart) / per_step))
            of_seed.append(job("longer", seed, None, epochs, per_step, "longer supernet"))
        if standalone:
            of_seed += [
                job("standalone", seed, i, settings.epochs, apart[i], f"standalone {arch.label}")
                for i, arch in enumerate(archs)
            ]
        jobs += sorted(of_seed, key=lambda job: -job.macs)
    return jobs


def _training_macs(
    settings: Settings,
    supernet: Supernet,
    archs: Sequence[Architecture],
    data: ImageData,
) -> int:
    """Return the work of one epoch in which every step trains `archs`."""
    images = len(data.train) // settings.batch_size * settings.batch_size
    return images * count_shared_macs(supernet, archs, data.shape, backward=True)


def files_of(outcome: Outcome) -> dict[str, bytes]:
    """Return the files that keep an outcome, by name; what reports are made from comes last.

    `hits.npz` holds one bit per image, packed along the last axis, and the number of images.
    """
    found = hits_of(outcome.seeds)
    packed = {name: np.packbits(hits, axis=-1) for name, hits in found.items()}
    sizes = {f"{name}_images": np.array(hits.shape[-1]) for name, hits in found.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **packed, **sizes)
    files = {
        f"supernet-seed{seed}.safetensors": safetensors.numpy.save(dict(weights))
        for seed, weights in outcome.weights.items()
    }
    files["hits.npz"] = buffer.getvalue()
    files["results.json"] = outcome.results.model_dump_json(indent=1).encode()
    return files
