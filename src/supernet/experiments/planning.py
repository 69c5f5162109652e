"""Plans of runs: trainings and costs, known before anything is trained."""

from __future__ import annotations

import os
import random
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn

from supernet import sharing
from supernet.datasets import ImageData
from supernet.errors import DataError, DataWarning, SettingsWarning
from supernet.evaluation.batches import call, planner_for
from supernet.evaluation.cost import empty_batch
from supernet.experiments.comparison import describe_architectures, describe_network
from supernet.experiments.components import (
    build_named,
    device_of,
    example_of,
    fit_counts,
    limit_data,
    load_whole,
    measure_of,
    sampler_of,
    scored_of,
    sources_of,
    task_of,
)
from supernet.experiments.settings import Settings
from supernet.experiments.unused import unused
from supernet.experiments.userdata import Suspect
from supernet.networks.fitting import require_fit
from supernet.networks.named import NamedNetwork, space_sha256
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.records import ArchitectureRecord, Measure, NetworkRecord, Phase
from supernet.sharing import Planner
from supernet.space import Architecture
from supernet.tasks import Classification, Task, check_batch, tensors_in, warn_of_probabilities
from supernet.training.data import form_of_samples
from supernet.training.losses import mean_loss
from supernet.training.samplers import AnySampler, Draw, sampler_at, training_macs
from supernet.training.scored import ALL_UP_TO

Subject = Literal["supernet", "standalone", "longer"]

#: Draws over which the work of a step is averaged; fewer in spaces where each is a new one.
_PROBES, _FEWER_PROBES = 64, 8

#: Multiply-adds per second that stand for a budget of seconds where speed was not measured.
USUAL_SPEED = 2e10

#: Speed is measured with no more images than this at a time.
_LARGEST_PROBE = 256


@dataclass(frozen=True)
class Job:
    """One training. `arch` is the number of a standalone network's architecture in the space.

    `macs` is all the work it will take, scoring included; with a budget of `seconds`, the steps
    left out, whose number nobody knows yet; `epochs` then says nothing.
    """

    name: str
    subject: Subject
    seed: int
    arch: int | None
    epochs: int
    macs: int
    seconds: float | None = None

    @property
    def folder_name(self) -> str:
        """A name for a folder of its own, with nothing of what users call choices and networks."""
        network = "" if self.arch is None else f"-{self.arch + 1}"
        return f"seed{self.seed}-{self.subject}{network}"


@dataclass(frozen=True)
class RunPlan:
    """What a run will do, resolved and costed, before anything is trained.

    Attributes:
        settings: What was asked for.
        data: The data, so that nobody loads them again.
        named: The network, for its space and costs; its weights don't matter.
        archs: The architectures that are scored.
        alone: Those of them that are trained on their own too.
        network: The parts of the network, and its costs.
        architectures: Those scored, with their costs.
        sharing: What one pass over them does for a batch.
        sampler: Which architectures a step trains.
        jobs: The trainings.
        loading: What it took to load the data.
    """

    settings: Settings
    data: ImageData = field(repr=False)
    named: NamedNetwork = field(repr=False)
    archs: tuple[Architecture, ...] = field(repr=False)
    alone: tuple[Architecture, ...] = field(repr=False)
    network: NetworkRecord = field(repr=False)
    architectures: Sequence[ArchitectureRecord] = field(repr=False)
    sharing: sharing.PassPlan = field(repr=False)
    sampler: AnySampler
    jobs: Sequence[Job]
    loading: Phase = field(repr=False)

    @property
    def workers(self) -> int:
        """How many worker processes there will be."""
        return min(self.settings.run.workers or os.cpu_count() or 1, len(self.jobs))

    def seconds(self, speed: float) -> float:
        """Return how long it takes at so many multiply-adds per second and worker, as a guess."""
        each = [job.macs / speed + (job.seconds or 0.0) for job in self.jobs]
        return max(sum(each) / self.workers, max(each))

    def shares(self) -> dict[str, float]:
        """Return how much of the whole work each training is, as far as can be told, by name."""
        return {job.name: job.macs + (job.seconds or 0.0) * USUAL_SPEED for job in self.jobs}

    @property
    def sources(self) -> Mapping[str, str]:
        """SHA-256 of the user's own source files, by name."""
        return {**self.named.sources, **sources_of(self.settings)}

    @property
    def measure(self) -> Measure:
        """What the scores of its trainings are."""
        return measure_of(self.settings)

    @property
    def space_sha256(self) -> str:
        """A digest of the search space."""
        return space_sha256(self.named.supernet.space)


def plan(settings: Settings, *, standalone: bool = True, elsewhere: bool = False) -> RunPlan:
    """Load the data, build the network, and work out what has to be done.

    Args:
        settings: What to run. The plan's own say how many images there are.
        standalone: Whether to train the architectures on their own too.
        elsewhere: Whether other machines will train, so that the device need not be here.

    Raises:
        DataError: If the data are missing or damaged, or too few for the settings.
        NetworkError: If the network can't be had.
    """
    for sentence in unused(settings):
        warnings.warn(sentence, SettingsWarning, stacklevel=2)
    settings, data, loading = _load(settings)
    _check_sizes(settings, data)
    named = build_named(
        settings, shape=data.shape, classes=data.classes, seed=0, example=example_of(data)
    )
    form = form_of_samples(data)
    supernet = named.supernet
    require_fit(supernet, form)
    if not elsewhere:
        device_of(settings)
    _check_task(settings, supernet, data)
    archs = scored_of(settings, supernet.space)
    # As large as a step's: what has to be done in parts depends on it.
    planner = planner_for(supernet, empty_batch(form, settings.recipe.batch_size))
    sampler = sampler_of(settings, supernet, data)
    costs = _Costs(settings, data, planner, archs)
    architectures = describe_architectures(supernet, form, archs)
    macs = [record.macs for record in architectures]
    alone = spread(archs, macs, settings.run.alone) if standalone else ()
    shared = planner.plan(archs)
    return RunPlan(
        settings=settings,
        data=data,
        named=named,
        archs=archs,
        alone=alone,
        network=describe_network(supernet, form, archs, macs, shared),
        architectures=architectures,
        sharing=shared,
        sampler=sampler,
        jobs=list(_jobs(settings, supernet, sampler, costs, alone)),
        loading=loading,
    )


def _check_task(settings: Settings, supernet: Supernet, data: ImageData) -> None:
    """Run the smallest architecture on two samples, and see that the task can judge the outputs."""
    task = task_of(settings) or Classification()
    net = extract(supernet, supernet.space.smallest).train()
    x, y = next(iter(data.train.first(2).batches(2)))
    with torch.no_grad():
        outputs = call(net, x)
    check_batch(task, outputs, y)
    warn_of_probabilities(task, outputs)
    found: Any = data  # a user's own say what they found when they were looked at
    if isinstance(task, Classification) and (missing := getattr(found, "missing", ())):
        some = f"{', '.join(map(str, missing[:5]))}{', ...' if len(missing) > 5 else ''}"
        warnings.warn(
            f"{data.name} has no training sample of {len(missing)} of {data.classes} classes: "
            f"number {some}; nothing trains the outputs for them: number the classes from 0 on "
            "without gaps, if that is a slip",
            DataWarning,
            stacklevel=2,
        )
    for split, suspect in getattr(found, "suspects", {}).items():
        if suspect.number < len(getattr(data, split)):
            _check_suspect(task, net, suspect)


def _check_suspect(task: Task, net: nn.Module, suspect: Suspect) -> None:
    """Refuse a sample whose numbers are not finite, unless the network copes with it."""
    x, y = suspect.batch
    with torch.no_grad():
        outputs = call(net, x)
        sound = all(bool(torch.isfinite(tensor).all()) for tensor in tensors_in(outputs))
        if not sound or not bool(torch.isfinite(task.loss(outputs, y))):
            raise DataError(suspect.sentence)


def spread(
    archs: Sequence[Architecture], macs: Sequence[int], count: int
) -> tuple[Architecture, ...]:
    """Return some architectures, spread evenly over the order of their multiply-adds.

    The cheapest and the most costly are among them.

    Args:
        archs: Of which ones.
        macs: The multiply-adds of each.
        count: How many; all, if there are no more.
    """
    if count >= len(archs):
        return tuple(archs)
    order = sorted(range(len(archs)), key=lambda place: macs[place])
    steps = max(1, count - 1)
    places = {order[round(step * (len(order) - 1) / steps)] for step in range(count)}
    return tuple(archs[place] for place in sorted(places))


def _load(settings: Settings) -> tuple[Settings, ImageData, Phase]:
    wall, cpu = time.perf_counter(), time.process_time()
    whole = load_whole(settings.data)
    _check_sizes(settings, whole)
    settings = fit_counts(settings, whole)
    data = limit_data(settings.data, whole)
    phase = Phase(
        name="data",
        kind="data",
        subject="all",
        seed=None,
        arch=None,
        wall_s=time.perf_counter() - wall,
        cpu_s=time.process_time() - cpu,
        images=len(data.train) + len(data.validation) + len(data.test),
        macs=0,
    )
    return settings, data, phase


def measure_speed(plan: RunPlan, *, seconds: float = 1.0) -> float:
    """Return the multiply-adds per second that one worker does in a training step, measured now."""
    supernet = plan.named.supernet.train()
    archs = list(sampler_at(plan.sampler, 0.0)(supernet.space, random.Random(0)).archs)
    batch = min(plan.settings.recipe.batch_size, _LARGEST_PROBE)
    x, y = next(plan.data.train.batches(batch))
    macs = planner_for(supernet, x).plan(archs).training_macs
    task = task_of(plan.settings)
    mean_loss(supernet, x, y, archs, task=task).backward()
    steps, start = 0, time.perf_counter()
    while steps < 2 or time.perf_counter() - start < seconds:
        mean_loss(supernet, x, y, archs, task=task).backward()
        steps += 1
    return steps * macs / (time.perf_counter() - start)


def _check_sizes(settings: Settings, data: ImageData) -> None:
    """Refuse what was asked for and can't be had of these data."""
    asked = {"batch_size": settings.recipe.batch_size}
    if "calibration_images" not in settings.data.at_most:
        asked["calibration_images"] = settings.data.calibration_images or 0
    for name, count in asked.items():
        if count > len(data.train):
            raise DataError(
                f"{name} is {count}, but there are only {len(data.train)} training images; choose "
                f"fewer with --{name.replace('_', '-')}, or more with --train-images"
            )
    if len(data.train) < 2:
        raise DataError("there is 1 training image; choose more with --train-images")


@dataclass(frozen=True)
class _Costs:
    """What trainings cost, in multiply-adds."""

    settings: Settings
    data: ImageData
    planner: Planner
    archs: Sequence[Architecture]

    @property
    def _images(self) -> int:
        """Images of an epoch: the last batch is left out if it isn't full."""
        batch = self.settings.recipe.batch_size
        return len(self.data.train) // batch * batch

    def epoch_alone(self, arch: Architecture) -> int:
        """Return the work of an epoch of one architecture."""
        return self._images * training_macs(Draw((arch,)), self.planner)

    def epoch(self, supernet: Supernet, sampler: AnySampler) -> int:
        """Return the work of an epoch of the supernet, averaged over some draws."""
        rng = random.Random(0)
        probes = _PROBES if supernet.space.size <= ALL_UP_TO else _FEWER_PROBES
        draws = Counter(
            sampler_at(sampler, probe / probes)(supernet.space, rng).work for probe in range(probes)
        )
        bound = self.settings.recipe.max_bytes
        macs = sum(n * training_macs(draw, self.planner, bound) for draw, n in draws.items())
        return self._images * macs // probes

    def scoring(self, archs: Sequence[Architecture], epochs: int) -> int:
        """Return the work of scoring architectures after every epoch, and on test images."""
        calibration = self.settings.data.calibration_images or len(self.data.train)
        images = epochs * (calibration + len(self.data.validation)) + len(self.data.test)
        plan = self.planner.plan(archs)
        return plan.macs // plan.samples * images


def _jobs(
    settings: Settings,
    supernet: Supernet,
    sampler: AnySampler,
    costs: _Costs,
    alone: Sequence[Architecture],
) -> Iterator[Job]:
    """Yield the trainings, the longest of a seed first, so that no worker ends alone with one."""
    run, epochs = settings.run, settings.recipe.epochs
    of_supernet = costs.epoch(supernet, sampler)
    of_archs = [costs.epoch_alone(arch) for arch in alone]
    numbers = [supernet.space.numbers(arch)[0] for arch in alone]
    seconds = settings.recipe.seconds
    if seconds is None:
        macs_of_supernet = of_supernet * epochs + costs.scoring(costs.archs, epochs)
    else:
        guess = max(1, round(seconds * USUAL_SPEED / of_supernet))
        macs_of_supernet = costs.scoring(costs.archs, guess)
    for seed in range(run.seed, run.seed + run.seeds):
        suffix = "" if run.seeds == 1 else f", seed {seed}"
        name = f"supernet{suffix}"
        jobs = [Job(name, "supernet", seed, None, epochs, macs_of_supernet, seconds)]
        if alone and run.longer:
            longer = max(1, round(epochs * sum(of_archs) / of_supernet))
            macs = of_supernet * longer + costs.scoring(costs.archs, longer)
            jobs.append(Job(f"longer supernet{suffix}", "longer", seed, None, longer, macs))
        for arch, number, per_epoch in zip(alone, numbers, of_archs, strict=True):
            macs = per_epoch * epochs + costs.scoring([arch], epochs)
            name = f"standalone {arch.label}{suffix}"
            jobs.append(Job(name, "standalone", seed, number, epochs, macs))
        yield from sorted(jobs, key=lambda job: -job.macs - (job.seconds or 0.0) * USUAL_SPEED)
