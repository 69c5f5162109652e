"""Training steps, the same for supernets and plain networks."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any, final

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from supernet.errors import DataError, DivergedError, SettingsError
from supernet.evaluation.batches import device_of, moved, not_finite, samples_in, split_inputs
from supernet.evaluation.batchnorm import has_batch_norms
from supernet.nn.strided import strided_convolutions
from supernet.nn.supernet import Supernet
from supernet.runs.checkpoints import foreign_refused
from supernet.runs.ranks import ALONE, Ranks
from supernet.tasks import Task
from supernet.training.budget import clock_of, fit_steps
from supernet.training.data import TrainingData, count_batches, draw_example
from supernet.training.distributed import Together
from supernet.training.ema import Average
from supernet.training.losses import Losses
from supernet.training.optimizers import (
    OptimizerMaker,
    make_optimizer,
    make_schedule,
    scale_rates,
)
from supernet.training.recipe import Recipe
from supernet.training.samplers import AnySampler, Draw, every, make_sampler, sampler_at
from supernet.training.synchronized import pull_back, synchronized

#: In a row, of the steps that `on_nan="skip"` skips.
MOST_SKIPPED = 10

#: Inputs and targets.
Batch = tuple[Any, Any]

#: In a training, of the returns that `on_nan="rollback"` makes.
MOST_ROLLBACKS = 3


@dataclass(frozen=True, slots=True)
class Step:
    """What one step of training did.

    `step` counts from 1, and goes back where training was rolled back. `loss` is the mean over the
    architectures it trained, and NaN if the step was `skipped`, which leaves the weights alone.
    `samples` is how many it went through.
    """

    epoch: int
    step: int
    steps: int
    ends_epoch: bool
    loss: float
    draw: Draw
    skipped: bool = False
    samples: int = 0


def train_steps(
    supernet: Supernet,
    data: TrainingData,
    recipe: Recipe,
    *,
    sampler: AnySampler | str = every,
    seed: int = 0,
    task: Task | None = None,
    optimizer: OptimizerMaker | None = None,
    distributed: Ranks = ALONE,
) -> Steps:
    """Train, and yield after every step; the caller may evaluate, log, save or stop in between.

    A step draws architectures, runs them in one shared pass, and follows the gradient of their
    *mean* loss, so one learning rate serves any number of them.

    Batches go to the device that the network is on. With the recipe's `seconds`, the number of
    steps is measured before the first; see `Steps.measure`.

    Args:
        supernet: What to train, in place; `Supernet(net)` for a plain network.
        data: Training samples: inputs and targets.
        recipe: How to train.
        sampler: Which architectures a step draws, or the name of a sampler; one that changes is
            asked for every step.
        seed: Of the data order and of the sampler. The initial weights are the caller's.
        task: What the network is for; classification by default.
        optimizer: A function that makes the optimizer of the network, parameter groups and all,
            instead of the recipe's.
        distributed: The processes that train it together, as `join_ranks` gives them; each takes
            its part of every batch. All go on from the first one's weights.

    Raises:
        DataError: If there are fewer samples than one step has, or they don't fit the task.
        DivergedError: If a loss is not a finite number, unless the recipe's `on_nan` gets round it;
            names step, architecture, learning rate.
        RankError: If ranks disagree, or one is gone.
        SettingsError: If the recipe asks for what this machine or the sampler can't do.
        SharingError: If one architecture alone needs more than `max_bytes`.
    """
    if isinstance(sampler, str):
        sampler = make_sampler(sampler, supernet, draw_example(data, recipe.batch_size, seed))
    return Steps(supernet, data, recipe, sampler, seed, task, optimizer, distributed)


@final
class Steps(Iterator[Step]):
    """A training, step by step, made by `train_steps`.

    Between two steps, `state` is all of it as data, and `restore` goes on from there: with the same
    arguments, on the same kind of machine, to the same weights bit for bit.

    Attributes:
        step: How many steps were done.
        steps: How many there are in all; 0 while a budget of seconds was not measured.
        per_epoch: How many make an epoch.
        epochs: How many epochs they are. With a budget of seconds, the last may be one of half to
            one and a half.
        skipped: How many were skipped, as the recipe's `on_nan` has it.
        rollbacks: How often training went back to the beginning of an epoch.
    """

    def __init__(
        self,
        supernet: Supernet,
        data: TrainingData,
        recipe: Recipe,
        sampler: AnySampler,
        seed: int,
        task: Task | None = None,
        optimizer: OptimizerMaker | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.per_epoch = count_batches(data, recipe.batch_size) // recipe.accumulate
        if self.per_epoch == 0:
            raise DataError(
                f"a batch of {recipe.batch_size} is larger than the training data "
                f"({len(data)} images); choose a smaller batch_size or more images"
                if recipe.accumulate == 1
                else f"a step of {recipe.accumulate} batches is larger than the training data "
                f"({count_batches(data, recipe.batch_size)} batches); choose a smaller batch_size "
                "or accumulate"
            )
        self.step = self.skipped = self.rollbacks = 0
        self._supernet, self._data, self._recipe = supernet, data, recipe
        self._sampler, self._seed, self._maker = sampler, seed, optimizer
        self._rng = random.Random(seed)
        self._ranks, self._together = ranks, Together(supernet.net, recipe, ranks)
        self._optimizer = make_optimizer(supernet, recipe, optimizer)
        self._fix(self.per_epoch * recipe.epochs if recipe.seconds is None else 0)
        self._losses = Losses(supernet, recipe, task, ranks)
        self._average = Average(supernet.net, recipe.ema)
        self._batches: Iterator[Batch] = iter(())
        self._device = device_of(supernet) or torch.device("cpu")
        self._needs_two = hasattr(data, "count_batches") and has_batch_norms(supernet)
        self._in_a_row = 0  # steps skipped
        self._anchor: Mapping[str, Any] | None = None  # what a rollback goes back to
        self._returns = 0  # and how often it did

    def end_of(self, epoch: int) -> int:
        """Return which step ends an epoch, both counted from 1."""
        return self.steps if epoch >= self.epochs else epoch * self.per_epoch

    def measure(self) -> int:
        """Measure how many steps the recipe's `seconds` are, and return their number.

        Some steps are tried at a learning rate of 0, spread over the training, and what they
        changed is put back. What that takes is part of the budget. The number is part of `state`,
        so whoever goes on from one has the same number. Done by itself before the first step.

        Raises:
            SettingsError: If not a single step fits, or there is nothing to measure.
        """
        if self.steps or self._recipe.seconds is None:
            raise SettingsError("the number of steps is known; only seconds have to be measured")
        net = self._supernet.net
        weights, generators = copy.deepcopy(net.state_dict()), _generators(self._device)
        recipe = replace(self._recipe, seconds=None, on_nan="skip", schedule="constant")
        trial = Steps(
            *(self._supernet, self._data, recipe, self._sampler, self._seed),
            *(self._losses.task, self._maker, self._ranks),
        )
        trial._losses = self._losses  # what is prepared or compiled there is so for good
        scale_rates(trial._optimizer, trial._schedule, 0.0)
        try:
            clock = clock_of(self._device, self._ranks)
            self._fix(fit_steps(self._recipe.seconds, trial._try, clock))
        finally:
            trial._batches = iter(())  # ends its pass through a loader before the next begins
            self._supernet.zero_grad(set_to_none=True)
            net.load_state_dict(weights)
            _set_generators(self._device, generators)
        return self.steps

    def _try(self, done: float) -> None:
        """Do the work of a step as it is at a point of the training."""
        if self.step % self.per_epoch == 0:
            self._begin_epoch()
        self._descend(*self._draw_at(done))
        self.step += 1

    def _fix(self, steps: int) -> None:
        """Take so many steps in all; 0 if that is not known yet."""
        self.steps, self.epochs = steps, max(1, round(steps / self.per_epoch))
        self._schedule = make_schedule(self._optimizer, self._recipe, steps)

    def _draw_at(self, done: float) -> tuple[list[Batch], Draw]:
        """Return what the next step trains, and on what."""
        batches = [self._next_batch() for _ in range(self._recipe.accumulate)]
        draw = sampler_at(self._sampler, done)(self._supernet.space, self._rng)
        self._together.agree(self.step, draw, () if self.step % self.per_epoch else batches)
        return batches, draw

    def __next__(self) -> Step:
        if not self.steps:
            self.measure()
        while self.step < self.steps:
            if self.step % self.per_epoch == 0:
                self._begin_epoch()
            batches, draw = self._draw_at(self.step / self.steps)
            loss = self._descend(batches, draw)
            if loss is None and self._recipe.on_nan == "rollback":
                self._roll_back(batches, draw)
                continue
            self._in_a_row = 0 if loss is not None else self._in_a_row + 1
            if self._in_a_row > MOST_SKIPPED:
                raise self._diverged(batches, draw, f"after {MOST_SKIPPED} skipped steps in a row")
            self._schedule.step()
            self.step += 1
            self.skipped += loss is None
            epoch = min(1 + (self.step - 1) // self.per_epoch, self.epochs)
            return Step(
                epoch=epoch,
                step=self.step,
                steps=self.steps,
                ends_epoch=self.step == self.end_of(epoch),
                loss=math.nan if loss is None else loss,
                draw=draw,
                skipped=loss is None,
                samples=sum(samples_in(x) for x, _ in batches),
            )
        raise StopIteration

    def state(self) -> dict[str, Any]:
        """Return everything that the rest of the training depends on.

        Its tensors are the training's own, which the next step changes: save or copy them first.
        PyTorch's default generators, from which dropout draws, are part of it: those of all ranks,
        which call this together.
        """
        anchor = self._anchor
        if anchor is not None:
            anchor = {**anchor, "generators": self._of_all_ranks(anchor["generators"])}
        position = self._position()
        return {
            **position,
            "generators": self._of_all_ranks(position["generators"]),
            "recipe": asdict(self._recipe),
            "steps": self.steps,
            "skipped": self.skipped,
            "rollbacks": self.rollbacks,
            "anchor": anchor,
            "returns": self._returns,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, instead of from the beginning.

        PyTorch's default generators are set to what they were then.

        Raises:
            CheckpointError: If the state is not one of this network and this recipe.
        """
        with foreign_refused(
            "the saved state is not one of this network and recipe",
            "use it with what it was saved from, or start again elsewhere",
        ):
            if self._recipe.seconds is not None and not self.steps and type(state["steps"]) is int:
                self._fix(state["steps"])  # as it was measured there
            if (state["recipe"], state["steps"]) != (asdict(self._recipe), self.steps):
                raise ValueError(f"it is of {state['steps']} steps with {state['recipe']}")
            self.skipped, self.rollbacks = state["skipped"], state["rollbacks"]
            self._anchor, self._returns = self._own(state["anchor"]), state["returns"]
            self._go_to(self._own(state))
            self._together.forget()

    def _of_all_ranks(self, generators: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the states of generators with an axis for ranks, if there are several."""
        if not self._ranks.several:
            return generators
        return {name: self._ranks.gather(state) for name, state in generators.items()}

    def _own(self, position: Mapping[str, Any] | None) -> Any:
        """Return a position with the generators of this rank, out of those of all."""
        if position is None or not self._ranks.several:
            return position
        own = {
            name: states[self._ranks.rank].clone()
            for name, states in position["generators"].items()
        }
        return {**position, "generators": own}

    def averaged(self) -> AbstractContextManager[None]:
        """Let the network have, inside a `with` block, the weights to score or to keep.

        With the recipe's `ema` these are their averages, otherwise the weights as they are.
        """
        return self._average.in_place()

    def settle(self) -> None:
        """Give the network those weights for good, once the training has ended."""
        self._average.settle()

    @property
    def sound(self) -> bool:
        """Whether all weights are finite numbers."""
        return all(bool(torch.isfinite(p).all()) for p in self._supernet.parameters())

    def _begin_epoch(self) -> None:
        self._supernet.train()
        if self._recipe.on_nan == "rollback" and (
            self._anchor is None or self._anchor["step"] != self.step
        ):
            self._anchor, self._returns = copy.deepcopy(self._position()), 0
        self._batches = self._batches_from(self.step)

    def _batches_from(self, step: int) -> Iterator[Batch]:
        epochs, done = divmod(step, self.per_epoch)
        order = self._data.shuffled(self._recipe.batch_size, seed=self._seed, epoch=epochs + 1)
        return islice(order, done * self._recipe.accumulate, None)

    def _next_batch(self) -> Batch:
        batch = next(self._batches, None)
        if batch is None:
            raise DataError(
                f"the training data gave fewer than the {self.per_epoch * self._recipe.accumulate} "
                "batches of an epoch that their length promised"
            )
        x, y = batch
        if self._needs_two and samples_in(x) == 1:
            raise DataError(
                f"a batch of epoch {1 + self.step // self.per_epoch} holds a single sample, and "
                "the network has batch norms: a single sample has no variance; leave such batches "
                "out, or make them larger"
            )
        return x, y

    def _descend(self, batches: Sequence[Batch], draw: Draw) -> float | None:
        """Follow the gradient; return the loss, or None if there is none to follow."""
        if not (self._supernet.training and self._supernet.net.training):
            self._supernet.train()  # which goes through all modules, so not without need
        self._optimizer.zero_grad(set_to_none=True)
        forgiving = self._recipe.on_nan != "stop"
        buffers = [b.clone() for b in self._supernet.buffers()] if forgiving else []
        total = self._backward(batches, draw)
        if math.isfinite(total) and (not forgiving or self._has_sound_gradient()):
            if self._recipe.clip_norm is not None:
                clip_grad_norm_(self._supernet.parameters(), self._recipe.clip_norm)
            with _at_rate(self._optimizer, draw.rate):
                self._optimizer.step()
            self._average.update(self.step)
            return total
        if not forgiving:
            raise self._diverged(batches, draw)
        for buffer, before in zip(self._supernet.buffers(), buffers, strict=True):
            buffer.copy_(before)
        # Without gradients this changes nothing; but schedules warn of a first step without it.
        self._optimizer.zero_grad(set_to_none=True)
        self._optimizer.step()
        return None

    def require_same(self) -> None:
        """See that all ranks have come to the same weights; see `Together.require_same`."""
        self._together.require_same(self.step)

    def _backward(self, batches: Sequence[Batch], draw: Draw) -> float:
        """Add up gradients, over all ranks too; return the loss, and stop where it is not finite.

        One of several ranks goes on to the end, where the others wait for it, and learn of it.
        """
        total = 0.0
        with strided_convolutions(self._device), synchronized(self._ranks):
            for loss in self._losses_of(batches, draw):
                total += loss.item()
                if not (self._ranks.several or math.isfinite(total)):
                    return total
                pull_back(loss)
        return self._together.reduce(draw, total)

    def _losses_of(self, batches: Sequence[Batch], draw: Draw) -> Iterator[Tensor]:
        for x, y in batches:
            for loss in self._losses.of(x, y, draw):
                yield loss if len(batches) == 1 else loss / len(batches)

    def _has_sound_gradient(self) -> bool:
        gradients = [p.grad for p in self._supernet.parameters() if p.grad is not None]
        return all(bool(torch.isfinite(gradient).all()) for gradient in gradients)

    def _roll_back(self, batches: Sequence[Batch], draw: Draw) -> None:
        if self.rollbacks == MOST_ROLLBACKS:
            raise self._diverged(batches, draw, f"after {MOST_ROLLBACKS} rollbacks")
        self.rollbacks += 1
        self._returns += 1
        assert self._anchor is not None
        self._go_to(self._anchor)
        scale_rates(self._optimizer, self._schedule, 0.5**self._returns)

    def _position(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "skipped in a row": self._in_a_row,
            "net": self._supernet.net.state_dict(),
            "average": self._average.state(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "sampler": self._rng.getstate(),
            "generators": _generators(self._device),
        }

    def _go_to(self, position: Mapping[str, Any]) -> None:
        self._supernet.net.load_state_dict(position["net"])
        self._average.restore(position["average"])
        self._optimizer.load_state_dict(position["optimizer"])
        _lay_out_alike(self._optimizer)
        self._schedule.load_state_dict(position["schedule"])
        self._rng.setstate(position["sampler"])
        _set_generators(self._device, position["generators"])
        self.step, self._in_a_row = position["step"], position["skipped in a row"]
        self._batches = self._batches_from(self.step)
        self._supernet.train()

    @torch.no_grad()
    def _diverged(self, batches: Sequence[Batch], draw: Draw, after: str = "") -> DivergedError:
        remedy = "lower the learning rate or lengthen the warmup"
        for x, y in batches:
            remedy = not_finite(x, "the inputs") or not_finite(y, "the targets") or remedy
        losses = dict.fromkeys(draw.archs, torch.tensor(0.0))
        for x, y in batches:
            y = moved(y, self._device)
            first, others = split_inputs(self._supernet.net, moved(x, self._device))
            for arch in draw.archs:
                outputs = self._supernet(first, arch, **others)
                losses[arch] = losses[arch] + self._losses.task.loss(outputs, y).cpu()
        culprit = next((a for a, loss in losses.items() if not torch.isfinite(loss)), None)
        arch = culprit or draw.archs[0]
        who = f"architecture {arch.label}" if arch else "the network"
        what = f"loss of {who} is {losses[arch].item()}"
        if culprit is None:  # a gradient overflowed, or gradients were skipped for one that did
            what = f"gradient of the loss of {who} is not finite"
        rate = float(self._optimizer.param_groups[0]["lr"])
        return DivergedError(
            f"the {what} at step {self.step + 1}{', ' if after else ''}{after}, "
            f"with a learning rate of {rate:.4g}; {remedy}"
        )


@contextmanager
def _at_rate(optimizer: Optimizer, factor: float) -> Iterator[None]:
    """Multiply the learning rate inside the block by a factor."""
    if factor == 1:
        yield
        return
    before = [group["lr"] for group in optimizer.param_groups]
    for group, rate in zip(optimizer.param_groups, before, strict=True):
        group["lr"] = rate * factor
    try:
        yield
    finally:
        for group, rate in zip(optimizer.param_groups, before, strict=True):
            group["lr"] = rate


def _generators(device: torch.device) -> dict[str, Tensor]:
    """Return the states of the generators that a forward on a device may draw from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_generators(device: torch.device, states: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def _lay_out_alike(optimizer: Optimizer) -> None:
    """Give what an optimizer keeps for a parameter the parameter's memory layout.

    The same numbers in another layout may be rounded otherwise: other instructions handle them.
    """
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                kept[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
