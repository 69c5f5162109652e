"""A trial: one training, with its progress, its scores and its bill."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from supernet.errors import CheckpointError, DivergedError, Stopped
from supernet.evaluation.accuracy import accuracy, score, stack
from supernet.evaluation.batches import even_size
from supernet.evaluation.batchnorm import Statistics, calibrate
from supernet.evaluation.cost import Shape, empty_batch
from supernet.nn.supernet import Supernet
from supernet.records import Epoch, Phase, Progress, Training
from supernet.runs.checkpoints import Checkpoints, State, foreign_refused
from supernet.sharing import Planner
from supernet.space import Architecture
from supernet.training.recipe import Recipe
from supernet.training.samplers import AnySampler, Draw, every, name_of, training_macs
from supernet.training.steps import Step, TrainingData, train_steps

#: Images per pass when scoring. It does not change what is computed, only how fast.
SCORING_BATCH = 250

_T = TypeVar("_T")

Kind = Literal["training", "recalibration", "scoring"]
Subject = Literal["supernet", "standalone", "longer"]


class Images(TrainingData, Protocol):
    """Images that can also be gone through in order."""

    def batches(self, size: int) -> Iterable[tuple[Any, Any]]:
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
    sampler: AnySampler = every,
    seed: int = 0,
    calibration_images: int | None = None,
    subject: Subject | None = None,
    watch: Callable[[Progress], None] = lambda _: None,
    checkpoints: Checkpoints | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Trial:
    """Train a supernet, or a plain network as `Supernet(net)`, and score all its architectures.

    They are scored on validation data after every epoch, and after the last one on test data too,
    always with batch-norm statistics of their own, in one shared pass. With the recipe's `ema`, it
    is averaged weights that are scored, and left in the network at the end.

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
        watch: Called after every step, every epoch and every checkpoint.
        checkpoints: Where to save now and then, and from where to go on if something is there: the
            same arguments then give the same trial, bit for bit, times excepted, however often and
            wherever the process was killed.
        stop: Asked between steps whether to stop, after saving.

    Raises:
        CheckpointError: If what was saved there is of another training.
        DataError: If a batch, or the calibration, asks for more images than there are.
        DivergedError: If a loss or an output is not a finite number.
        RunFolderError: If a checkpoint can't be written or read.
        Stopped: If `stop` said so.
    """
    subject = subject or ("supernet" if supernet.space.size > 1 else "standalone")
    if calibration_images is None:
        calibration_images = min(1000, len(data.train))
    session = _Session(supernet, data, recipe, sampler, seed, calibration_images, subject, watch)
    return session.run(checkpoints, stop)


@dataclass(frozen=True)
class Saved:
    """What there is of a trial in its checkpoints.

    Attributes:
        trial: The trial, if it has ended.
        net: The weights it ended with, by name; empty if it hasn't.
        done: How much of it was done, from 0 to 1.
        cpu_s: The CPU seconds on its bill so far.
    """

    trial: Trial | None
    net: Mapping[str, Tensor]
    done: float
    cpu_s: float


def read_saved(checkpoints: Checkpoints) -> Saved:
    """Return what there is of a trial in its checkpoints.

    Raises:
        CheckpointError: If there is something else in them.
        RunFolderError: If a checkpoint can't be read.
    """
    state = checkpoints.load()
    if state is None:
        return Saved(None, {}, 0.0, 0.0)
    with _of_this_training(checkpoints):
        if "trial" not in state:
            cpu_s = sum(entry["cpu_s"] for entry in state["bill"].values())
            return Saved(None, {}, state["done"], cpu_s)
        trial = _from_state(state["trial"])
        return Saved(trial, state["net"], 1.0, sum(phase.cpu_s for phase in trial.phases))


def _of_this_training(checkpoints: Checkpoints) -> AbstractContextManager[None]:
    return foreign_refused(
        f"what the checkpoints in {checkpoints.folder} hold is not of this training",
        "choose another folder, or remove that one",
    )


class _Session:
    """A trial under way."""

    def __init__(
        self,
        supernet: Supernet,
        data: Data,
        recipe: Recipe,
        sampler: AnySampler,
        seed: int,
        calibration_images: int,
        subject: Subject,
        watch: Callable[[Progress], None],
    ) -> None:
        self.supernet, self.data, self.recipe, self.watch = supernet, data, recipe, watch
        self.archs = tuple(supernet.space)
        self.calibration = data.train.first(calibration_images)
        self.identity = {
            "recipe": asdict(recipe),
            "seed": seed,
            "subject": subject,
            "sampler": name_of(sampler),
            "choices": [(choice.name, choice.options) for choice in supernet.space.choices],
            "images": [len(data.train), len(data.validation), len(data.test), calibration_images],
        }
        self.steps = train_steps(supernet, data.train, recipe, sampler=sampler, seed=seed)
        self.bill = _Bill(supernet, data.shape, recipe, subject, seed)
        self.epochs: list[Epoch] = []
        self.losses: list[float] = []  # of the epoch under way

    def run(self, checkpoints: Checkpoints | None, stop: Callable[[], bool]) -> Trial:
        """Go on from what was saved, if anything was, to the end."""
        if checkpoints is None:
            return self._to_end(None, stop)
        if (state := checkpoints.load()) is not None:
            self._check_identity(state, checkpoints)
            with _of_this_training(checkpoints):
                if "trial" in state:
                    self.supernet.net.load_state_dict(state["net"])
                    return _from_state(state["trial"])
                self._restore(state)
        try:
            trial = self._to_end(checkpoints, stop)
        except Stopped:
            self._save(checkpoints)
            raise
        except DivergedError as error:
            if checkpoints.newest is None:
                raise
            raise DivergedError(
                f"{error}; the last good checkpoint is {checkpoints.newest}"
            ) from None
        net = self.supernet.net.state_dict()
        checkpoints.save({"identity": self.identity, "trial": _to_state(trial), "net": net})
        return trial

    def _to_end(self, checkpoints: Checkpoints | None, stop: Callable[[], bool]) -> Trial:
        while True:
            if checkpoints and checkpoints.due:
                self._save(checkpoints)
            if stop():
                raise Stopped("stopped between two steps, as asked")
            if self.steps.step == (len(self.epochs) + 1) * self.steps.per_epoch:
                trial = self._score_epoch(stop)
                if trial is not None:
                    self.steps.settle()
                    return trial
            step = self.bill.next_step(self.steps, self.recipe.batch_size)
            # Where training was rolled back, those after it are no more.
            self.losses[(step.step - 1) % self.steps.per_epoch :] = [step.loss]
            self.watch(self._progress())

    def _score_epoch(self, stop: Callable[[], bool]) -> Trial | None:
        """Score the epoch that has ended; after the last one, on the test images too.

        If it is stopped meanwhile, it is as if it had not begun.
        """
        last = self.steps.step == self.steps.steps
        with self.bill.all_or_nothing(), self.steps.averaged():
            with self.bill.entry("recalibration", self.archs, len(self.calibration)):
                size = even_size(len(self.calibration), SCORING_BATCH)
                inputs = _heeding(self.calibration.inputs(size), stop)
                statistics = calibrate(self.supernet, self.archs, inputs)
            validation = self._score(statistics, self.data.validation, stop)
            test = self._score(statistics, self.data.test, stop) if last else None
        self.epochs.append(
            Epoch(
                epoch=len(self.epochs) + 1,
                loss=_mean(loss for loss in self.losses if not math.isnan(loss)),
                validation=[accuracy(hits) for hits in validation],
            )
        )
        self.watch(self._progress(ended=self.epochs[-1]))
        self.losses.clear()
        return None if test is None else self._to_trial(validation, test)

    def _score(
        self, statistics: Statistics, images: Images, stop: Callable[[], bool]
    ) -> list[Tensor | None]:
        """Return what each architecture gets right, or None where its evaluation failed."""
        with self.bill.entry("scoring", self.archs, len(images)):
            hits = score(statistics, _heeding(images.batches(SCORING_BATCH), stop))
        return [hits[arch] for arch in self.archs]

    def _to_trial(
        self, validation: Sequence[Tensor | None], test: Sequence[Tensor | None]
    ) -> Trial:
        return Trial(
            archs=self.archs,
            recipe=self.recipe,
            calibration_images=len(self.calibration),
            training=Training(
                epochs=self.epochs,
                validation=self.epochs[-1].validation,
                test=[accuracy(hits) for hits in test],
                skipped=self.steps.skipped,
                rollbacks=self.steps.rollbacks,
            ),
            validation=stack(validation).numpy(),
            test=stack(test).numpy(),
            phases=self.bill.phases(),
        )

    def _progress(self, *, ended: Epoch | None = None, saved: bool = False) -> Progress:
        step, per_epoch = self.steps.step, self.steps.per_epoch
        return Progress(
            done=step / self.steps.steps,
            epoch=max(1, math.ceil(step / per_epoch)),
            epochs=self.recipe.epochs,
            loss=self.losses[-1] if self.losses else None,
            ended=ended,
            saved=saved,
        )

    def _save(self, checkpoints: Checkpoints) -> None:
        if not self.steps.sound:
            return  # better an older one
        checkpoints.save(
            {
                "identity": self.identity,
                "done": self.steps.step / self.steps.steps,
                "steps": self.steps.state(),
                "epochs": [epoch.model_dump() for epoch in self.epochs],
                "losses": self.losses,
                "bill": self.bill.state(),
            }
        )
        self.watch(self._progress(saved=True))

    def _check_identity(self, state: State, checkpoints: Checkpoints) -> None:
        saved = state.get("identity") if isinstance(state, dict) else None
        saved = saved if isinstance(saved, dict) else {}
        if differences := [
            f"{name} {saved.get(name)} there, {own} here"
            for name, own in self.identity.items()
            if saved.get(name) != own
        ]:
            raise CheckpointError(
                f"the checkpoints in {checkpoints.folder} are of another training: "
                f"{'; '.join(differences)}; choose another folder, or remove that one"
            )

    def _restore(self, state: State) -> None:
        self.steps.restore(state["steps"])
        self.epochs = [Epoch(**epoch) for epoch in state["epochs"]]
        self.losses = list(state["losses"])
        self.bill.restore(state["bill"])


def _heeding(batches: Iterable[_T], stop: Callable[[], bool]) -> Iterator[_T]:
    for batch in batches:
        if stop():
            raise Stopped("stopped between two batches, as asked")
        yield batch


def _mean(losses: Iterable[float]) -> float:
    sound = list(losses)
    return sum(sound) / len(sound) if sound else math.nan


def _to_state(trial: Trial) -> State:
    return {
        "archs": [dict(arch) for arch in trial.archs],
        "recipe": asdict(trial.recipe),
        "calibration_images": trial.calibration_images,
        "training": trial.training.model_dump(),
        "validation": torch.from_numpy(trial.validation),
        "test": torch.from_numpy(trial.test),
        "phases": [phase.model_dump() for phase in trial.phases],
    }


def _from_state(state: State) -> Trial:
    return Trial(
        archs=tuple(Architecture(options) for options in state["archs"]),
        recipe=Recipe(**state["recipe"]),
        calibration_images=state["calibration_images"],
        training=Training(**state["training"]),
        validation=state["validation"].numpy(),
        test=state["test"].numpy(),
        phases=tuple(Phase(**phase) for phase in state["phases"]),
    )


@dataclass
class _Entry:
    wall_s: float = 0.0
    cpu_s: float = 0.0
    images: int = 0
    macs: int = 0


class _Bill:
    """Adds up time, images and multiply-adds by kind of work."""

    def __init__(
        self, supernet: Supernet, shape: Shape, recipe: Recipe, subject: Subject, seed: int
    ) -> None:
        # As large as a step's: what has to be done in parts depends on it.
        self.planner = Planner(supernet, empty_batch(shape, recipe.batch_size))
        self.max_bytes = recipe.max_bytes
        self.subject, self.seed = subject, seed
        self.entries: dict[Kind, _Entry] = {}
        self.known: dict[Draw, int] = {}

    def next_step(self, steps: Iterator[Step], images: int) -> Step:
        with self._clock("training") as entry:
            step = next(steps)
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

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Forget what is entered inside the block if it raises."""
        before = copy.deepcopy(self.entries)
        try:
            yield
        except BaseException:
            self.entries = before
            raise

    def state(self) -> State:
        return {kind: dict(vars(entry)) for kind, entry in self.entries.items()}

    def restore(self, state: State) -> None:
        self.entries = {kind: _Entry(**entry) for kind, entry in state.items()}

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
            self.known[draw] = training_macs(draw, self.planner, self.max_bytes)
        return self.known[draw]
