"""What a run will do and what it will cost, worked out before anything is trained."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from supernet import sharing
from supernet.datasets import ImageData
from supernet.errors import DataError
from supernet.evaluation.cost import empty_batch
from supernet.experiments.comparison import describe_architectures, describe_network
from supernet.experiments.components import build_supernet, load_data, sampler_of
from supernet.experiments.settings import Settings
from supernet.nn.supernet import Supernet
from supernet.records import ArchitectureRecord, NetworkRecord, Phase
from supernet.sharing import Planner
from supernet.training.losses import mean_loss
from supernet.training.samplers import Draw, sampler_at, training_macs

Subject = Literal["supernet", "standalone", "longer"]


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
class RunPlan:
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


def plan(settings: Settings, *, standalone: bool = True) -> RunPlan:
    """Load the data, build the network, and work out what has to be done.

    Args:
        settings: What to run.
        standalone: Whether to train the architectures on their own too.

    Raises:
        DataError: If the data are missing or damaged, or too few for the settings.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    data = load_data(settings)
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
    supernet = build_supernet(settings, data, seed=0)
    return RunPlan(
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


def measure_speed(plan: RunPlan, *, seconds: float = 1.0) -> float:
    """Return the multiply-adds per second that one worker does in a training step, measured now."""
    settings = plan.settings
    data = load_data(settings)
    supernet = build_supernet(settings, data, seed=0).train()
    archs = list(supernet.space)
    x, y = next(data.train.batches(min(settings.batch_size, _LARGEST_PROBE)))
    macs = sharing.plan(supernet, archs, x).training_macs
    mean_loss(supernet, x, y, archs).backward()
    steps, start = 0, time.perf_counter()
    while steps < 2 or time.perf_counter() - start < seconds:
        mean_loss(supernet, x, y, archs).backward()
        steps += 1
    return steps * macs / (time.perf_counter() - start)


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
    sampler, rng = sampler_of(settings, supernet, data), random.Random(0)
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
