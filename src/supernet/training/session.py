"""The function `train`: epochs, scores, checkpoints, progress, and the result."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from supernet.errors import CheckpointError, DataError, DivergedError, SettingsError, Stopped
from supernet.evaluation.accuracy import Scores, accuracy, score_samples, stack
from supernet.evaluation.batches import device_of, even_size, moved, samples_in, split_inputs
from supernet.evaluation.batchnorm import Statistics, calibrate, evaluating, has_batch_norms
from supernet.evaluation.cost import empty_batch
from supernet.nn.supernet import Supernet
from supernet.records import Epoch, Progress, Training
from supernet.runs.checkpoints import Checkpoints, State, foreign_refused, pack, unpack
from supernet.runs.ranks import ALONE, Ranks
from supernet.tasks import Task, check_batch, describe, tensors_in, warn_of_probabilities
from supernet.training.data import Data as Data, Samples, SplitData, empty_inputs
from supernet.training.distributed import largest_part
from supernet.training.ledger import Ledger, Subject
from supernet.training.losses import task_of
from supernet.training.optimizers import OptimizerMaker
from supernet.training.recipe import Recipe
from supernet.training.result import TrainingResult, from_state, to_state
from supernet.training.samplers import AnySampler, make_sampler, name_of
from supernet.training.scored import Scored, choose_scored
from supernet.training.showing import showing
from supernet.training.sources import DatasetSamples, LoaderSamples, as_data
from supernet.training.steps import Steps, train_steps

#: Samples per pass when scoring. It does not change what is computed, only how fast.
SCORING_BATCH = 250

#: Samples from which batch-norm statistics are taken, if there are as many.
CALIBRATION = 1000

_T = TypeVar("_T")


def train(
    supernet: Supernet | nn.Module,
    data: SplitData | Sequence[Any],
    recipe: Recipe | None = None,
    *,
    task: Task | None = None,
    epochs: int | None = None,
    seconds: float | None = None,
    sampler: AnySampler | str | None = None,
    score: Scored | None = None,
    optimizer: OptimizerMaker | None = None,
    seed: int = 0,
    calibration_images: int | None = None,
    device: str | torch.device | None = None,
    progress: bool | None = None,
    subject: Subject | None = None,
    job: Mapping[str, Any] | None = None,
    watch: Callable[[Progress], None] | None = None,
    checkpoints: Checkpoints | None = None,
    stop: Callable[[], bool] = lambda: False,
    distributed: Ranks = ALONE,
) -> TrainingResult:
    """Train a supernet, or a plain network, and score its architectures, or a sample of them.

    They are scored on validation data after every epoch, and after the last one on test data too,
    always with batch-norm statistics of their own, in one shared pass. With the recipe's `ema`, it
    is averaged weights that are scored, and left in the network at the end.

    Args:
        supernet: What to train, in place. A plain network is taken as `Supernet(net)`.
        data: Training, validation and test samples, as `load_folder` and `wrap_datasets` return
            them; or `(train, validation, test)`, each a `Dataset` or a `DataLoader`. A loader's
            own batch size, order, workers and collation are used. See
            `supernet.training.sources.as_data`.
        recipe: How to train; `Recipe()` by default.
        task: What the network is for; classification by default.
        epochs: Instead of the recipe's, and of its seconds.
        seconds: Instead of the recipe's; see `Recipe`. Two trainings with the same seconds may
            differ in the number of steps; going on from checkpoints keeps it.
        sampler: Which architectures a step trains: a sampler, or the name of one. By default
            `every` for spaces of some tens that share most of their work, else `uniform`.
        score: Which architectures are scored: how many, `"all"`, or these. By default all of at
            most 256, else 64, with the smallest and the largest, drawn once from the seed.
        optimizer: A function that makes the optimizer of the network it is given, parameter groups
            and all, instead of the recipe's. Their learning rates are the peaks of the schedule.
        seed: Of the data order, the sampler and the sample of architectures scored.
        calibration_images: From how many training samples the statistics are taken; by default
            1,000, or all there are.
        device: Where to train, such as `cuda`; the network is moved there for good, and batches as
            they come. By default where the network is.
        progress: Whether to show it: a bar in a terminal or a notebook, a line per epoch elsewhere.
            By default where somebody sees a bar, unless there is a `watch`.
        subject: Under which heading the ledger puts it; by default `supernet`, or `standalone` for
            a network with one architecture.
        job: What else tells this training from others that keep checkpoints, as plain data.
        watch: Called after every step, every epoch and every checkpoint.
        checkpoints: Where to save now and then, and from where to go on if something is there: the
            same arguments then give the same result, bit for bit, times excepted, however often and
            wherever the process was killed.
        stop: Asked between steps whether to stop, after saving.
        distributed: The processes that train it together, as `join_ranks` gives them; by default,
            this one alone. Each takes its part of every batch, and of the scoring; all get the
            same weights and the same result, which equal those of one process to rounding. The
            first one alone writes checkpoints and shows progress.

    Raises:
        CheckpointError: If what was saved there is of another training.
        DataError: If a batch, or the calibration, asks for more samples than there are, or they
            don't fit the task.
        DivergedError: If a loss or an output is not a finite number.
        RankError: If ranks disagree, or one is gone.
        RunFolderError: If a checkpoint can't be written or read.
        SettingsError: If an argument makes no sense, or doesn't go with the others.
        Stopped: If `stop` said so.

    Example:
        >>> import supernet as sn
        >>> net = nn.Sequential(sn.Depth("body", [nn.Linear(2, 2), nn.Tanh()]))
        >>> x = torch.eye(2).repeat(20, 1)
        >>> y = x.argmax(dim=1)
        >>> result = train(Supernet(net), ((x, y), (x, y)), sn.Recipe(epochs=9, batch_size=8))
        >>> result
        TrainingResult(2 architectures, 9 epochs, validation accuracy 100 %, best (1))
    """
    session = TrainingSession(
        supernet,
        data,
        _recipe_of(recipe, epochs, seconds),
        task=task,
        sampler=sampler,
        score=score,
        optimizer=optimizer,
        seed=seed,
        calibration_images=calibration_images,
        device=device,
        subject=subject,
        job=job,
        distributed=distributed,
    )
    if (progress is None and watch is not None) or not distributed.first:
        progress = False
    with showing(progress, session.subject, session.task.measure) as show:
        for event in session.events(checkpoints, stop):
            show(event)
            if watch is not None:
                watch(event)
    return session.result


@dataclass(frozen=True)
class Saved:
    """What there is of a training in its checkpoints.

    Attributes:
        result: The result, if it has ended.
        net: The weights it ended with, by name; empty if it hasn't.
        done: How much of it was done, from 0 to 1.
        cpu_s: The CPU seconds in its ledger so far.
        epochs: How many epochs it has in all; 0 if nothing was saved.
    """

    result: TrainingResult | None
    net: Mapping[str, Tensor]
    done: float
    cpu_s: float
    epochs: int = 0


NOTHING_SAVED = Saved(None, {}, 0.0, 0.0)


def read_saved(checkpoints: Checkpoints, job: Mapping[str, Any] | None = None) -> Saved:
    """Return what there is of a training in its checkpoints.

    Args:
        checkpoints: Where.
        job: What was given to `train` as such; by default, whatever it was will do.

    Raises:
        CheckpointError: If there is something else in them, such as another job's training, or
            mean scores that don't follow from the scores.
        RunFolderError: If a checkpoint can't be read.
    """
    state = checkpoints.load()
    if state is None:
        return NOTHING_SAVED
    if job is not None:
        _check_same(checkpoints, state, {"job": dict(job)})
    with _of_this_training(checkpoints):
        if "result" not in state:
            cpu_s = sum(entry["cpu_s"] for entry in state["ledger"].values())
            return Saved(None, {}, state["done"], cpu_s, state["of_epochs"])
        result = from_state(state["result"])
        cpu_s = sum(phase.cpu_s for phase in result.phases)
        return Saved(result, state["net"], 1.0, cpu_s, len(result.training.epochs))


class TrainingSession:
    """A training under way: an iterator of what happens, and then its result.

    `train` runs it to its end; whoever wants the loop for themselves goes through `events`. The
    arguments are those of `train`.

    Attributes:
        supernet: What is trained.
        archs: The architectures that are scored.
        identity: What tells this training from others, as plain data.
    """

    def __init__(
        self,
        supernet: Supernet | nn.Module,
        data: SplitData | Sequence[Any],
        recipe: Recipe,
        *,
        task: Task | None = None,
        sampler: AnySampler | str | None = None,
        score: Scored | None = None,
        optimizer: OptimizerMaker | None = None,
        seed: int = 0,
        calibration_images: int | None = None,
        device: str | torch.device | None = None,
        subject: Subject | None = None,
        job: Mapping[str, Any] | None = None,
        distributed: Ranks = ALONE,
    ) -> None:
        self._ranks = distributed
        self.supernet = _as_supernet(supernet)
        self.data = as_data(data)
        self.recipe, self.task = recipe, task_of(task, recipe)
        self.subject: Subject = subject or (
            "supernet" if self.supernet.space.size > 1 else "standalone"
        )
        if device is not None:
            self.supernet.to(_device(device))
        _check_batches(self.supernet, self.data.train, recipe)
        if calibration_images is None:
            calibration_images = min(CALIBRATION, len(self.data.train))
        if calibration_images == 1 and has_batch_norms(self.supernet):
            raise SettingsError(
                "calibration_images is 1, and the network has batch norms: a single sample has no "
                "variance; choose more, such as 1000"
            )
        self.calibration = self.data.train.first(calibration_images)
        self.archs = choose_scored(self.supernet.space, score, seed)
        _look_ahead(self.supernet, self.task, self.data, warns=job is None)
        inputs = empty_inputs(self.data, recipe.batch_size)
        if sampler is None or isinstance(sampler, str):
            sampler = make_sampler(sampler, self.supernet, inputs, with_largest=recipe.distill)
        self._steps: Steps = train_steps(
            self.supernet,
            self.data.train,
            recipe,
            sampler=sampler,
            seed=seed,
            task=self.task,
            optimizer=optimizer,
            distributed=distributed,
        )
        if distributed.several:  # in each, activations of its part of a batch
            inputs = empty_batch(inputs, largest_part(samples_in(inputs), distributed))
        self._ledger = Ledger(self.supernet, inputs, recipe, self.subject, seed, distributed)
        self._epochs: list[Epoch] = []
        self._losses: list[float] = []  # of the epoch under way
        self._result: TrainingResult | None = None
        test = self.data.test
        self.identity = {
            "recipe": asdict(recipe),
            "seed": seed,
            "subject": self.subject,
            "sampler": name_of(sampler),
            "choices": [(choice.name, choice.options) for choice in self.supernet.space.choices],
            "images": [
                *(len(self.data.train), len(self.data.validation)),
                *(0 if test is None else len(test), calibration_images),
            ],
            "task": name_of(self.task),
            "optimizer": None if optimizer is None else name_of(optimizer),
            "scored": [len(self.archs), _digest(repr(self.archs))],
            "network": _digest(_description_of(self.supernet.net)),
            "data": dict(getattr(self.data, "sha256", {})),
            "job": dict(job or {}),
            "ranks": distributed.size,
        }
        distributed.require_same(self.identity)

    @property
    def result(self) -> TrainingResult:
        """What the training left behind.

        Raises:
            SettingsError: If it hasn't ended.
        """
        if self._result is None:
            raise SettingsError("the training has not ended; go through its events to the end")
        return self._result

    def events(
        self,
        checkpoints: Checkpoints | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[Progress]:
        """Train to the end, from what was saved, if anything was; yield what happens.

        An event comes after every step, every epoch and every checkpoint. Leaving the loop leaves
        the training where it is, unsaved.
        """
        self._ranks.require_same({"checkpoints": checkpoints is not None})
        if checkpoints is None:
            yield from self._to_end(None, stop)
            return
        if (state := self._load(checkpoints)) is not None:
            _check_same(checkpoints, state, self.identity)
            with _of_this_training(checkpoints):
                if "result" in state:
                    result = from_state(state["result"])
                    self.supernet.net.load_state_dict(state["net"])
                    self._result = result
                    return
                self._restore(state)
        try:
            yield from self._to_end(checkpoints, stop)
        except Stopped:
            yield from self._save(checkpoints)
            raise
        except DivergedError as error:
            if checkpoints.newest is None:
                raise
            raise DivergedError(
                f"{error}; the last good checkpoint is {checkpoints.newest}"
            ) from None
        if self._ranks.first:
            net = self.supernet.net.state_dict()
            result = to_state(self.result)
            checkpoints.save({"identity": self.identity, "result": result, "net": net})

    def _load(self, checkpoints: Checkpoints) -> State | None:
        """Return what the first rank finds in the checkpoints, or None."""
        if not self._ranks.several:
            return checkpoints.load()
        state = checkpoints.load() if self._ranks.first else None
        content = self._ranks.tell(None if state is None else pack(state))
        return None if content is None else unpack(content)

    def _to_end(
        self, checkpoints: Checkpoints | None, stop: Callable[[], bool]
    ) -> Iterator[Progress]:
        steps = self._steps
        if not steps.steps:
            self._ledger.measure(steps)
            yield self._progress(steps=steps.steps)
            if checkpoints:  # at once: measured again, it would be another number
                yield from self._save(checkpoints)
        while True:
            due = checkpoints is not None and checkpoints.due and self._ranks.first
            due, stopped = self._ranks.any(due, stop())
            if checkpoints and due:
                yield from self._save(checkpoints)
            if stopped:
                raise Stopped("stopped between two steps, as asked")
            if steps.step == steps.end_of(len(self._epochs) + 1):
                found = self._score_epoch(stop)
                yield self._progress(ended=self._epochs[-1])
                self._losses.clear()
                if found is not None:
                    self._result = found
                    steps.settle()
                    return
            step = self._ledger.next_step(steps)
            # Where training was rolled back, those after it are no more.
            self._losses[step.step - 1 - len(self._epochs) * steps.per_epoch :] = [step.loss]
            yield self._progress()

    def _score_epoch(self, stop: Callable[[], bool]) -> TrainingResult | None:
        """Score the epoch that has ended; after the last one, on the test samples too.

        If it is stopped meanwhile, it is as if it had not begun. Ranks, of which each has other
        batches, are asked again when it has ended.
        """
        if self._ranks.several:
            stop = _never
        self._steps.require_same()
        last = self._steps.step == self._steps.steps
        test: list[Scores] | None = None
        with self._ledger.all_or_nothing(), self._steps.averaged():
            with self._ledger.entering("recalibration") as entry:
                size = even_size(len(self.calibration), SCORING_BATCH)
                batches = _heeding(self.calibration.batches(size), stop)
                statistics = calibrate(self.supernet, self.archs, batches, ranks=self._ranks)
                self._ledger.passed(entry, self.archs, len(self.calibration))
            validation = self._score(statistics, self.data.validation, stop)
            if last and self.data.test is not None:
                test = self._score(statistics, self.data.test, stop)
        self._epochs.append(
            Epoch(
                epoch=len(self._epochs) + 1,
                loss=_mean(loss for loss in self._losses if not math.isnan(loss)),
                validation=[found.score for found in validation],
            )
        )
        return self._to_result(validation, test) if last else None

    def _score(
        self, statistics: Statistics, samples: Samples, stop: Callable[[], bool]
    ) -> list[Scores]:
        """Return what each architecture scores; nothing where its evaluation failed."""
        quick = type(self.task).losses is not Task.losses
        with self._ledger.entering("scoring") as entry:
            batches = _heeding(samples.batches(SCORING_BATCH), stop)
            found = score_samples(statistics, batches, self.task, losses=quick, ranks=self._ranks)
            self._ledger.passed(entry, self.archs, len(samples))
        return [found[arch] for arch in self.archs]

    def _to_result(
        self, validation: Sequence[Scores], test: Sequence[Scores] | None
    ) -> TrainingResult:
        rows = stack([found.scores for found in validation])
        return TrainingResult(
            archs=self.archs,
            recipe=self.recipe,
            calibration_images=len(self.calibration),
            training=Training(
                epochs=self._epochs,
                validation=self._epochs[-1].validation,
                test=[] if test is None else [accuracy(found.scores) for found in test],
                skipped=self._steps.skipped,
                rollbacks=self._steps.rollbacks,
                steps=self._steps.steps,
            ),
            validation=rows.numpy(),
            test=(rows[:, :0] if test is None else stack([found.scores for found in test])).numpy(),
            phases=self._ledger.phases(),
            measure=self.task.measure,
            validation_losses=_losses_of(validation),
            test_losses=None if test is None else _losses_of(test),
        )

    def _progress(
        self, *, ended: Epoch | None = None, saved: bool = False, steps: int | None = None
    ) -> Progress:
        step, of = self._steps.step, self._steps
        return Progress(
            done=step / of.steps,
            epoch=min(max(1, math.ceil(step / of.per_epoch)), of.epochs),
            epochs=of.epochs,
            loss=self._losses[-1] if self._losses else None,
            step=step,
            ended=ended,
            saved=saved,
            steps=steps,
        )

    def _save(self, checkpoints: Checkpoints) -> Iterator[Progress]:
        if not self._steps.sound:
            return  # better an older one
        self._steps.require_same()
        state = {
            "identity": self.identity,
            "done": self._steps.step / self._steps.steps,
            "of_epochs": self._steps.epochs,
            "steps": self._steps.state(),
            "epochs": [epoch.model_dump() for epoch in self._epochs],
            "losses": self._losses,
            "ledger": self._ledger.state(),
        }
        if self._ranks.first:
            checkpoints.save(state)
        yield self._progress(saved=True)

    def _restore(self, state: State) -> None:
        self._steps.restore(state["steps"])
        if state["of_epochs"] != self._steps.epochs:
            raise ValueError(f"it is of {state['of_epochs']} epochs")
        self._epochs = [Epoch(**epoch) for epoch in state["epochs"]]
        self._losses = list(state["losses"])
        self._ledger.restore(state["ledger"])


def _recipe_of(recipe: Recipe | None, epochs: int | None, seconds: float | None) -> Recipe:
    recipe = Recipe() if recipe is None else recipe
    if not isinstance(recipe, Recipe):
        raise SettingsError(
            f"recipe is a {type(recipe).__name__}; give a Recipe, such as Recipe(epochs=3)"
        )
    if epochs is not None and seconds is not None:
        raise SettingsError(
            f"epochs is {epochs} and seconds {seconds}; give one of them, to say when it ends"
        )
    if seconds is not None:
        return replace(recipe, seconds=seconds)
    return recipe if epochs is None else replace(recipe, epochs=epochs, seconds=None)


def _as_supernet(net: Supernet | nn.Module) -> Supernet:
    if isinstance(net, Supernet):
        return net
    if not isinstance(net, nn.Module):
        raise SettingsError(
            f"the network is a {type(net).__name__}; give a Supernet, or a torch module"
        )
    return Supernet(net)


def _device(device: str | torch.device) -> torch.device:
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise SettingsError(
            f"device is {str(device)!r}, which can't be used here: {str(error).splitlines()[0]}"
        ) from None
    return found


def _check_batches(supernet: Supernet, samples: Samples, recipe: Recipe) -> None:
    """Raise if a batch norm would get a batch of a single sample, which has no variance."""
    if not has_batch_norms(supernet):
        return
    if not isinstance(samples, LoaderSamples):
        if recipe.batch_size == 1:
            raise SettingsError(
                "batch_size is 1, and the network has batch norms: a single sample has no "
                "variance; choose a larger batch_size, and accumulate batches if memory is short"
            )
        return
    loader: DataLoader[Any] = samples.loader
    size = loader.batch_size
    if size is not None and (size == 1 or (len(samples) % size == 1 and not loader.drop_last)):
        raise DataError(
            f"the training loader gives batches of {size}, the last of a single sample, and the "
            "network has batch norms: a single sample has no variance; set drop_last=True, or "
            "choose another batch_size"
        )


def _look_ahead(supernet: Supernet, task: Task, data: SplitData, *, warns: bool) -> None:
    """Score two samples of each split of somebody's own, so that mistakes show before training.

    Args:
        supernet: The network.
        task: What it is for.
        data: Of which kind ever.
        warns: Whether to warn of what is no error; whoever planned a run did so.

    Raises:
        DataError: If the network can't take them, or they don't fit the task.
    """
    for name in ("train", "validation", "test"):
        samples = getattr(data, name)
        theirs = isinstance(samples, DatasetSamples | LoaderSamples)
        if samples is None or not (theirs or (warns and name == "train")) or len(samples) < 2:
            continue
        x, y = next(iter(samples.first(2).batches(2)))
        device = device_of(supernet)
        first, others = split_inputs(supernet.net, moved(x, device))
        try:
            # Whoever trains draws what they would have drawn without this.
            with torch.no_grad(), evaluating(supernet), torch.random.fork_rng(_gpus(device)):
                outputs = supernet(first, supernet.space.smallest, **others)
        except (IndexError, RuntimeError, TypeError, ValueError) as error:
            raise DataError(
                f"the network can't take the {name} inputs, which are {describe(x)} for two "
                f"samples: {error}"
            ) from error
        if all(bool(torch.isfinite(tensor).all()) for tensor in tensors_in(outputs)):
            check_batch(task, outputs, moved(y, device))
            if warns and name == "train":
                warn_of_probabilities(task, outputs)


def _gpus(device: torch.device | None) -> list[torch.device]:
    return [device] if device is not None and device.type == "cuda" else []


def _of_this_training(checkpoints: Checkpoints) -> AbstractContextManager[None]:
    return foreign_refused(
        f"what the checkpoints in {checkpoints.folder} hold is not of this training",
        "choose another folder, or remove that one",
    )


def _check_same(checkpoints: Checkpoints, state: State, identity: Mapping[str, Any]) -> None:
    """Raise `CheckpointError` unless a state is of the training with this identity."""
    saved = state.get("identity") if isinstance(state, dict) else None
    saved = saved if isinstance(saved, dict) else {}
    if differences := [
        f"{name} {saved.get(name)} there, {own} here"
        for name, own in identity.items()
        if saved.get(name) != own
    ]:
        raise CheckpointError(
            f"the checkpoints in {checkpoints.folder} are of another training: "
            f"{'; '.join(differences)}; choose another folder, or remove that one"
        )


def _description_of(net: nn.Module) -> str:
    """Return what a network is made of, without its numbers: alike in every process."""
    tensors = [
        (name, tuple(tensor.shape), str(tensor.dtype)) for name, tensor in net.state_dict().items()
    ]
    return re.sub(r"\b0x[0-9a-fA-F]+", "", f"{net!r}{tensors}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def _heeding(batches: Iterable[_T], stop: Callable[[], bool]) -> Iterator[_T]:
    for batch in batches:
        if stop():
            raise Stopped("stopped between two batches, as asked")
        yield batch


def _never() -> bool:
    return False


def _losses_of(found: Sequence[Scores]) -> Any:
    losses = [each.losses for each in found]
    return stack(losses).numpy() if any(each is not None for each in losses) else None


def _mean(losses: Iterable[float]) -> float:
    sound = list(losses)
    return sum(sound) / len(sound) if sound else math.nan
