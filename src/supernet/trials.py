"""A trial: one training, with its progress, its scores and its bill."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from supernet.batchnorm import calibrate
from supernet.cost import Shape, empty_batch
from supernet.evaluation import Batches, accuracy, score
from supernet.records import Epoch, Phase, Progress, Training
from supernet.samplers import Draw, Sampler, every, training_macs
from supernet.sharing import Planner
from supernet.space import Architecture
from supernet.supernet import Supernet
from supernet.training import Recipe, Step, TrainingData, train_steps

#: Images per pass when scoring. It does not change what is computed, only how fast.
SCORING_BATCH = 250

Kind = Literal["training", "recalibration", "scoring"]
Subject = Literal["supernet", "standalone", "longer"]


class Images(TrainingData, Protocol):
    """Images that can also be gone through in order."""

    def batches(self, size: int) -> Batches:
        """Yield inputs and labels in order."""

    def inputs(self, size: int) -> Iterator[Tensor]:
        """Yield inputs in order."""

    def first(self, count: int) -> Images:
        """Return the first `count` images."""


class Data(Protocol):
    """What a trial needs of its data; see `supernet.datasets.ImageData`."""

    @property
    def train(self) -> Images:
        """To learn from."""

    @property
    def validation(self) -> Images:
        """To follow the training and to rank by."""

    @property
    def test(self) -> Images:
        """To judge by, once."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image: channels, height, width."""


@dataclass(frozen=True)
class Trial:
    """What a trial leaves behind.

    Attributes:
        archs: The architectures scored, in the order of everything below.
        recipe: How it was trained.
        calibration_images: From how many images the batch-norm statistics are.
        training: Losses and accuracies.
        validation: Which validation images each architecture got right: architectures x images.
        test: The same for the test images.
        phases: Time, images and work.
    """

    archs: tuple[Architecture, ...]
    recipe: Recipe
    calibration_images: int
    training: Training
    validation: NDArray[np.bool_]
    test: NDArray[np.bool_]
    phases: tuple[Phase, ...]


def train(
    supernet: Supernet,
    data: Data,
    recipe: Recipe,
    *,
    sampler: Sampler = every,
    seed: int = 0,
    calibration_images: int | None = None,
    subject: Subject | None = None,
    watch: Callable[[Progress], None] = lambda _: None,
) -> Trial:
    """Train a supernet, or a plain network as `Supernet(net)`, and score all its architectures.

    They are scored on validation data after every epoch, and after the last one on test data too,
    always with batch-norm statistics of their own, in one shared pass.

    Args:
        supernet: What to train, in place.
        data: Training, validation and test images.
        recipe: How to train.
        sampler: Which architectures a step trains.
        seed: Of the data order and the sampler.
        calibration_images: How many training images the statistics are taken from; by default
            1,000, or all there are.
        subject: Under which heading the bill puts it; by default `supernet`, or `standalone` for
            a network with one architecture.
        watch: Called after every step and every epoch.

    Raises:
        DataError: If a batch, or the calibration, asks for more images than there are.
        DivergedError: If a loss or an output is not a finite number.
    """
    subject = subject or ("supernet" if supernet.space.size > 1 else "standalone")
    if calibration_images is None:
        calibration_images = min(1000, len(data.train))
    bill = _Bill(supernet, data.shape, subject, seed)
    archs = tuple(supernet.space)
    calibration = data.train.first(calibration_images)
    epochs: list[Epoch] = []
    losses: list[float] = []
    steps = train_steps(supernet, data.train, recipe, sampler=sampler, seed=seed)
    while (step := bill.next_step(steps, recipe.batch_size)) is not None:
        losses.append(step.loss)
        watch(_progress(step, recipe))
        if step.ends_epoch:
            with bill.entry("recalibration", archs, calibration_images):
                statistics = calibrate(supernet, archs, calibration.inputs(SCORING_BATCH))
            with bill.entry("scoring", archs, len(data.validation)):
                validation = score(statistics, data.validation.batches(SCORING_BATCH))
            epochs.append(
                Epoch(
                    epoch=step.epoch,
                    loss=sum(losses) / len(losses),
                    validation=[accuracy(validation[arch]) for arch in archs],
                )
            )
            losses.clear()
            watch(_progress(step, recipe, epochs[-1]))
    with bill.entry("scoring", archs, len(data.test)):
        test = score(statistics, data.test.batches(SCORING_BATCH))
    return Trial(
        archs=archs,
        recipe=recipe,
        calibration_images=calibration_images,
        training=Training(
            epochs=epochs,
            validation=epochs[-1].validation,
            test=[accuracy(test[arch]) for arch in archs],
        ),
        validation=np.stack([validation[arch].numpy() for arch in archs]),
        test=np.stack([test[arch].numpy() for arch in archs]),
        phases=bill.phases(),
    )


def _progress(step: Step, recipe: Recipe, ended: Epoch | None = None) -> Progress:
    return Progress(
        done=step.step / step.steps,
        epoch=step.epoch,
        epochs=recipe.epochs,
        loss=step.loss,
        ended=ended,
    )


@dataclass
class _Entry:
    wall_s: float = 0.0
    cpu_s: float = 0.0
    images: int = 0
    macs: int = 0


class _Bill:
    """Adds up time, images and multiply-adds by kind of work."""

    def __init__(self, supernet: Supernet, shape: Shape, subject: Subject, seed: int) -> None:
        self.planner = Planner(supernet, empty_batch(shape))
        self.subject, self.seed = subject, seed
        self.entries: dict[Kind, _Entry] = {}
        self.known: dict[Draw, int] = {}

    def next_step(self, steps: Iterator[Step], images: int) -> Step | None:
        with self._clock("training") as entry:
            step = next(steps, None)
        if step is not None:
            entry.images += images
            entry.macs += images * self._macs_of(step.draw)
        return step

    @contextmanager
    def entry(self, kind: Kind, archs: Sequence[Architecture], images: int) -> Iterator[None]:
        with self._clock(kind) as entry:
            yield
        entry.images += images
        plan = self.planner.plan(archs)
        entry.macs += images * (plan.macs // plan.samples)

    def phases(self) -> tuple[Phase, ...]:
        return tuple(
            Phase(
                name=f"{self.subject} {kind}",
                kind=kind,
                subject=self.subject,
                seed=self.seed,
                arch=None,
                **vars(entry),
            )
            for kind, entry in self.entries.items()
        )

    @contextmanager
    def _clock(self, kind: Kind) -> Iterator[_Entry]:
        entry = self.entries.setdefault(kind, _Entry())
        wall, cpu = time.perf_counter(), time.process_time()
        yield entry
        entry.wall_s += time.perf_counter() - wall
        entry.cpu_s += time.process_time() - cpu

    def _macs_of(self, draw: Draw) -> int:
        if draw not in self.known:
            self.known[draw] = training_macs(draw, self.planner)
        return self.known[draw]
