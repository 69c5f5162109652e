"""The experiment: the nine-network space, its supernet and its standalone trainings, in workers."""

from __future__ import annotations

import functools
import io
import math
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from supernet import sharing
from supernet.datasets import ImageData, load_folder, load_mnist
from supernet.errors import CheckpointError, DataError
from supernet.evaluation.cost import empty_batch
from supernet.experiments.comparison import (
    Seed,
    compare,
    describe_architectures,
    describe_conditions,
    describe_network,
    hits_of,
)
from supernet.experiments.settings import Settings
from supernet.networks.zoo import build_mnist_net
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.records import ArchitectureRecord, NetworkRecord, Phase, Progress, Results
from supernet.runs.checkpoints import Checkpoints
from supernet.runs.environment import cpu_seconds
from supernet.runs.process import seed_process, set_up_process
from supernet.runs.workers import Desk, Report, Task, run_tasks
from supernet.sharing import Planner
from supernet.training.losses import mean_loss
from supernet.training.recipe import Recipe
from supernet.training.samplers import (
    AnySampler,
    Draw,
    every,
    make_sampler,
    sampler_at,
    training_macs,
)
from supernet.training.session import Saved, Trial, read_saved, train

Subject = Literal["supernet", "standalone", "longer"]
Watch = Callable[[str, Progress], None]
Weights = Mapping[str, NDArray[np.float32]]

#: Draws over which the work of a step is averaged.
_PROBES = 64

#: Speed is measured with no more images than this at a time.
_LARGEST_PROBE = 256


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
    """What a run will do, resolved and costed, before anything is trained.

    `sharing` is what one pass over all architectures does for a batch.
    """

    settings: Settings
    data_sha256: Mapping[str, str]
    network: NetworkRecord
    architectures: Sequence[ArchitectureRecord]
    sharing: sharing.Plan
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
    data = _load(settings)
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
        data_sha256=data.sha256,
        network=describe_network(supernet, data.shape),
        architectures=describe_architectures(supernet, data.shape),
        sharing=sharing.plan(
            supernet, supernet.space, empty_batch(data.shape, settings.batch_size)
        ),
        jobs=_jobs(settings, data, supernet, standalone=standalone),
        loading=loading,
    )


def measure_speed(plan: Plan, *, seconds: float = 1.0) -> float:
    """Return the multiply-adds per second that one worker does in a training step, measured now."""
    settings = plan.settings
    data = _load(settings)
    supernet = _build(settings, data, seed=0).train()
    archs = list(supernet.space)
    x, y = next(data.train.batches(min(settings.batch_size, _LARGEST_PROBE)))
    macs = sharing.plan(supernet, archs, x).training_macs
    mean_loss(supernet, x, y, archs).backward()
    steps, start = 0, time.perf_counter()
    while steps < 2 or time.perf_counter() - start < seconds:
        mean_loss(supernet, x, y, archs).backward()
        steps += 1
    return steps * macs / (time.perf_counter() - start)


@dataclass(frozen=True)
class Outcome:
    """What the trainings of a run end with.

    Attributes:
        seeds: The trials.
        weights: The supernets' weights, by seed.
        wall_s: How long it took, in seconds.
        cpu_s: The CPU seconds that trainings under way had behind them when they were taken up.
    """

    seeds: Sequence[Seed]
    weights: Mapping[int, Weights]
    wall_s: float
    cpu_s: float


def run(
    plan: Plan,
    checkpoints: Path | None = None,
    *,
    every_s: float = 10.0,
    inherit: Sequence[int] = (),
    anew: bool = False,
    watch: Watch = lambda name, progress: None,
    trained: Callable[[str, Trial], None] = lambda name, trial: None,
    note: Callable[[str, str], None] = lambda name, sentence: None,
) -> Outcome:
    """Do all trainings, in worker processes, or what is left of them.

    Args:
        plan: What to do.
        checkpoints: A folder for the state of every training. What is there already is taken up,
            and ends in the same numbers as if it had never been left. By default a folder that is
            removed at the end.
        every_s: How many seconds lie between two checkpoints of a training, at least.
        inherit: File descriptors that workers keep open as long as they live.
        anew: Whether trainings that were saved by another plan begin anew, instead of raising.
        watch: Called with a job's name and its progress, several times a second.
        trained: Called with a job's name and what it left behind, when it has ended, or at once if
            it had ended before.
        note: Called with a job's name and a sentence: that its worker died, or a checkpoint is
            damaged.

    Raises:
        CheckpointError: If the checkpoints are of another run.
        DataError: If the data changed meanwhile.
        DivergedError: If a loss or an output is not a finite number.
        RunFolderError: If a checkpoint can't be written or read.
        WorkerError: If a worker process failed for good.
    """
    start = time.perf_counter()
    trials: dict[tuple[Subject, int, int | None], Trial] = {}
    weights: dict[int, Weights] = {}
    with ExitStack() as stack:
        if checkpoints is None:
            checkpoints = Path(stack.enter_context(TemporaryDirectory(prefix="supernet-")))
        folders = {job.name: checkpoints / _folder_name(job) for job in plan.jobs}

        def take_up(job: Job, note: Callable[[str, str], None]) -> Saved:
            found = read_saved(Checkpoints(folders[job.name], warn=partial(note, job.name)))
            if found.trial:
                trials[job.subject, job.seed, job.arch] = found.trial
                if job.subject == "supernet":
                    weights[job.seed] = {name: t.numpy() for name, t in found.net.items()}
            return found

        before = {job.name: take_up(job, note=lambda *_: None) for job in plan.jobs}
        for job in plan.jobs:
            if (trial := before[job.name].trial) and not anew:
                trained(job.name, trial)
        # With `anew`, workers see to it whether a trial that has ended is of this plan.
        left = {job.name: job for job in plan.jobs if anew or not before[job.name].trial}
        for job in plan.jobs:
            if done := before[job.name].done:
                epoch = max(1, math.ceil(done * job.epochs))
                watch(job.name, Progress(done=done, epoch=epoch, epochs=job.epochs))
        tasks = [
            Task(job.name, _do, (plan.settings, job, folders[job.name], every_s, anew))
            for job in left.values()
        ]

        def hear(report: Report) -> None:
            if isinstance(report.content, Progress):
                watch(report.task, report.content)
            else:
                note(report.task, report.content)

        reports = run_tasks(tasks, workers=plan.workers, inherit=inherit, last_words=hear)
        stack.enter_context(closing(reports))
        for report in reports:
            if report.kind == "done":
                trial = take_up(left[report.task], note).trial
                assert trial
                trained(report.task, trial)
            else:
                hear(report)
    return Outcome(
        seeds=_by_seed(trials),
        weights=weights,
        wall_s=time.perf_counter() - start,
        cpu_s=sum(found.cpu_s for found in before.values()),
    )


def _folder_name(job: Job) -> str:
    """Return a name that holds nothing of what users call their choices and networks."""
    network = "" if job.arch is None else f"-{job.arch + 1}"
    return f"seed{job.seed}-{job.subject}{network}"


def _by_seed(trials: Mapping[tuple[Subject, int, int | None], Trial]) -> list[Seed]:
    indices = sorted({arch for _, _, arch in trials if arch is not None})
    return [
        Seed(
            seed,
            trials["supernet", seed, None],
            [trials["standalone", seed, index] for index in indices],
            trials.get(("longer", seed, None)),
        )
        for seed in sorted({seed for _, seed, _ in trials})
    ]


def judge(
    plan: Plan,
    outcome: Outcome,
    *,
    command: str,
    started: str | None = None,
    wall_s: float = 0.0,
    mismatches: Sequence[str] = (),
) -> Results:
    """Return the records of a run, from which reports are made, with the verdict.

    Args:
        plan: What was to be done.
        outcome: What came of it.
        command: How the run was asked for, for the record.
        started: When, in ISO format; by default, so long ago as it took.
        wall_s: How long it had been worked on before it was taken up again, in seconds.
        mismatches: What had changed then.
    """
    settings = plan.settings
    data = _load(settings)
    return compare(
        _build(settings, data, seed=0),
        data,
        outcome.seeds,
        settings=settings.model_dump(),
        loading=plan.loading,
        conditions=describe_conditions(
            command,
            wall_s=wall_s + plan.loading.wall_s + outcome.wall_s,
            cpu_s=outcome.cpu_s + cpu_seconds(),
            started=started,
            workers=plan.workers,
            threads=settings.threads,
            mismatches=mismatches,
        ),
    )


def _do(settings: Settings, job: Job, folder: Path, every_s: float, anew: bool, desk: Desk) -> None:
    """Do one job, in a worker, and leave what comes of it in a folder."""
    _set_up_worker(settings)
    checkpoints = Checkpoints(folder, every_s=every_s, warn=desk.report)
    try:
        _train(settings, job, checkpoints, desk)
    except CheckpointError as error:
        if not anew:
            raise
        desk.report(f"beginning anew: {error}")
        checkpoints.clear()
        _train(settings, job, checkpoints, desk)


def _train(settings: Settings, job: Job, checkpoints: Checkpoints, desk: Desk) -> None:
    seed_process(_initial_seed(job))
    data = _load(settings)
    net = _build(settings, data, seed=_initial_seed(job))
    if job.arch is not None:
        net = Supernet(extract(net, list(net.space)[job.arch]))
    standalone = job.subject == "standalone"
    train(
        net,
        data,
        _recipe(settings, job),
        sampler=every if standalone else _sampler(settings, net, data),
        seed=job.seed,
        calibration_images=settings.calibration_images,
        subject=job.subject,
        watch=_throttled(desk.report),
        checkpoints=checkpoints,
        stop=desk.asked_to_stop,
    )


@functools.cache
def _set_up_worker(settings: Settings) -> None:
    """Once per worker, take a step with a throwaway network, and score it.

    PyTorch puts a second's work off until it is first needed, which would else be billed to
    whatever is trained first.
    """
    set_up_process(threads=settings.threads)
    data = _load(settings)
    few = data.limit(train=settings.batch_size, validation=1)
    recipe = Recipe(epochs=1, batch_size=settings.batch_size)
    train(
        _build(settings, data, seed=0),
        replace(few, test=data.test.first(1)),
        recipe,
        calibration_images=1,
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


@functools.lru_cache(maxsize=1)
def _load(settings: Settings) -> ImageData:
    data = load_mnist() if settings.data is None else load_folder(settings.data)
    data = data.limit(
        train=settings.train_images,
        validation=min(settings.validation_images, len(data.validation)),
    )
    if not (settings.crop or settings.flip or settings.cutout):
        return data
    return data.augmented(crop=settings.crop, flip=settings.flip, cutout=settings.cutout)


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
    # As large as a step's: what has to be done in parts depends on it.
    planner = Planner(supernet, empty_batch(data.shape, settings.batch_size))
    images = len(data.train) // settings.batch_size * settings.batch_size
    apart = [images * training_macs(Draw((arch,)), planner) for arch in archs]
    sampler, rng = _sampler(settings, supernet, data), random.Random(0)
    draws = Counter(
        sampler_at(sampler, probe / _PROBES)(supernet.space, rng) for probe in range(_PROBES)
    )
    macs = sum(
        times * training_macs(draw, planner, settings.max_bytes) for draw, times in draws.items()
    )
    per_epoch = images * macs // _PROBES

    def job(
        subject: Subject, seed: int, arch: int | None, epochs: int, macs: int, name: str
    ) -> Job:
        scored = archs if arch is None else [archs[arch]]
        scorings = epochs * (settings.calibration_images + len(data.validation)) + len(data.test)
        plan = planner.plan(scored)
        scoring = plan.macs // plan.samples * scorings
        title = name if settings.seeds == 1 else f"{name}, seed {seed}"
        return Job(title, subject, seed, arch, epochs, macs * epochs + scoring)

    jobs: list[Job] = []
    for seed in range(settings.seed, settings.seed + settings.seeds):
        of_seed = [job("supernet", seed, None, settings.epochs, per_epoch, "supernet")]
        if standalone and settings.longer:
            epochs = max(1, round(settings.epochs * sum(apart) / per_epoch))
            of_seed.append(job("longer", seed, None, epochs, per_epoch, "longer supernet"))
        if standalone:
            of_seed += [
                job("standalone", seed, i, settings.epochs, apart[i], f"standalone {arch.label}")
                for i, arch in enumerate(archs)
            ]
        jobs += sorted(of_seed, key=lambda job: -job.macs)
    return jobs


def _sampler(settings: Settings, supernet: Supernet, data: ImageData) -> AnySampler:
    return make_sampler(
        settings.sampler,
        supernet,
        empty_batch(data.shape),
        budget=settings.budget,
        paths=settings.paths,
        order=tuple(name.strip() for name in settings.order.split(",")),
        largest_first=settings.largest_first,
        with_largest=settings.distill,
    )


def files_of(outcome: Outcome, results: Results) -> dict[str, bytes]:
    """Return the files that keep a run, by name; what reports are made from comes last.

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
    files["results.json"] = results.model_dump_json(indent=1).encode()
    return files
