"""Training, the same for a supernet and for a plain network (a supernet of one architecture)."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Protocol, final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from supernet.errors import DataError, DivergedError
from supernet.nn.supernet import Supernet
from supernet.runs.checkpoints import foreign_refused
from supernet.training.ema import Average
from supernet.training.losses import Losses
from supernet.training.optimizers import make_optimizer, make_schedule, scale_rates
from supernet.training.recipe import Recipe
from supernet.training.samplers import AnySampler, Draw, every, sampler_at

#: In a row, of the steps that `on_nan="skip"` skips.
MOST_SKIPPED = 10

#: In a training, of the returns that `on_nan="rollback"` makes.
MOST_ROLLBACKS = 3


class TrainingData(Protocol):
    """Images and labels that can be gone through in an order that depends on seed and epoch."""

    def __len__(self) -> int:
        """How many images there are."""

    def shuffled(
        self, batch_size: int, *, seed: int, epoch: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield full batches of inputs and labels; what is left over is left out."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one step of training did.

    `step` counts from 1, and goes back where training was rolled back. `loss` is the mean over the
    architectures it trained, and NaN if the step was `skipped`, which leaves the weights alone.
    """

    epoch: int
    step: int
    steps: int
    ends_epoch: bool
    loss: float
    draw: Draw
    skipped: bool = False


def train_steps(
    supernet: Supernet,
    data: TrainingData,
    recipe: Recipe,
    *,
    sampler: AnySampler = every,
    seed: int = 0,
) -> Steps:
    """Train, and yield after every step; the caller may evaluate, log, save or stop in between.

    A step draws architectures, runs them in one shared pass, and follows the gradient of their
    *mean* loss, so one learning rate serves any number of them.

    Args:
        supernet: What to train, in place; `Supernet(net)` for a plain network.
        data: Training images and labels.
        recipe: How to train.
        sampler: Which architectures a step draws; one that changes is asked for every step.
        seed: Of the data order and of the sampler. The initial weights are the caller's.

    Raises:
        DataError: If there are fewer images than one batch has.
        DivergedError: If a loss is not a finite number, unless the recipe's `on_nan` gets round it;
            names step, architecture, learning rate.
        SettingsError: If the recipe asks for what this machine or the sampler can't do.
        SharingError: If one architecture alone needs more than `max_bytes`.
    """
    return Steps(supernet, data, recipe, sampler, seed)


@final
class Steps(Iterator[Step]):
    """A training, step by step, made by `train_steps`.

    Between two steps, `state` is all of it as data, and `restore` goes on from there: with the same
    arguments, on the same kind of machine, to the same weights bit for bit.

    Attributes:
        step: How many steps were done.
        steps: How many there are in all.
        per_epoch: How many make an epoch.
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
    ) -> None:
        self.per_epoch = len(data) // recipe.batch_size
        if self.per_epoch == 0:
            raise DataError(
                f"a batch of {recipe.batch_size} is larger than the training data "
                f"({len(data)} images); choose a smaller batch_size or more images"
            )
        self.steps = self.per_epoch * recipe.epochs
        self.step = self.skipped = self.rollbacks = 0
        self._supernet, self._data, self._recipe = supernet, data, recipe
        self._sampler, self._seed = sampler, seed
        self._rng = random.Random(seed)
        self._optimizer = make_optimizer(supernet, recipe)
        self._schedule = make_schedule(self._optimizer, recipe, self.steps)
        self._losses = Losses(supernet, recipe)
        self._average = Average(supernet.net, recipe.ema)
        self._batches: Iterator[tuple[Tensor, Tensor]] = iter(())
        self._in_a_row = 0  # steps skipped
        self._anchor: Mapping[str, Any] | None = None  # what a rollback goes back to
        self._returns = 0  # and how often it did

    def __next__(self) -> Step:
        while self.step < self.steps:
            if self.step % self.per_epoch == 0:
                self._begin_epoch()
            x, y = next(self._batches)
            sampler = sampler_at(self._sampler, self.step / self.steps)
            draw = sampler(self._supernet.space, self._rng)
            loss = self._descend(x, y, draw)
            if loss is None and self._recipe.on_nan == "rollback":
                self._roll_back(x, y, draw)
                continue
            self._in_a_row = 0 if loss is not None else self._in_a_row + 1
            if self._in_a_row > MOST_SKIPPED:
                raise self._diverged(x, y, draw, f"after {MOST_SKIPPED} skipped steps in a row")
            self._schedule.step()
            self.step += 1
            self.skipped += loss is None
            return Step(
                epoch=1 + (self.step - 1) // self.per_epoch,
                step=self.step,
                steps=self.steps,
                ends_epoch=self.step % self.per_epoch == 0,
                loss=math.nan if loss is None else loss,
                draw=draw,
                skipped=loss is None,
            )
        raise StopIteration

    def state(self) -> dict[str, Any]:
        """Return everything that the rest of the training depends on.

        Its tensors are the training's own, which the next step changes: save or copy them first.
        PyTorch's default generators, from which dropout draws, are part of it.
        """
        return {
            **self._position(),
            "recipe": asdict(self._recipe),
            "steps": self.steps,
            "skipped": self.skipped,
            "rollbacks": self.rollbacks,
            "anchor": self._anchor,
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
            "use it with what it was saved from, or begin anew elsewhere",
        ):
            if (state["recipe"], state["steps"]) != (asdict(self._recipe), self.steps):
                raise ValueError(f"it is of {state['steps']} steps with {state['recipe']}")
            self.skipped, self.rollbacks = state["skipped"], state["rollbacks"]
            self._anchor, self._returns = state["anchor"], state["returns"]
            self._go_to(state)

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
        if self._recipe.on_nan == "rollback" and (
            self._anchor is None or self._anchor["step"] != self.step
        ):
            self._anchor, self._returns = copy.deepcopy(self._position()), 0
        self._batches = self._batches_from(self.step)

    def _batches_from(self, step: int) -> Iterator[tuple[Tensor, Tensor]]:
        epochs, done = divmod(step, self.per_epoch)
        order = self._data.shuffled(self._recipe.batch_size, seed=self._seed, epoch=epochs + 1)
        return islice(order, done, None)

    def _descend(self, x: Tensor, y: Tensor, draw: Draw) -> float | None:
        """Follow the gradient; return the loss, or None if there is none to follow."""
        self._supernet.train()
        self._optimizer.zero_grad(set_to_none=True)
        forgiving = self._recipe.on_nan != "stop"
        buffers = [b.clone() for b in self._supernet.buffers()] if forgiving else []
        total = 0.0
        for loss in self._losses.of(x, y, draw):
            if not torch.isfinite(loss):
                break
            loss.backward()
            total += loss.item()
        else:
            if not forgiving or self._has_sound_gradient():
                if self._recipe.clip_norm is not None:
                    clip_grad_norm_(self._supernet.parameters(), self._recipe.clip_norm)
                self._optimizer.step()
                self._average.update(self.step)
                return total
        if not forgiving:
            raise self._diverged(x, y, draw)
        for buffer, before in zip(self._supernet.buffers(), buffers, strict=True):
            buffer.copy_(before)
        # Without gradients this changes nothing; but schedules warn of a first step without it.
        self._optimizer.zero_grad(set_to_none=True)
        self._optimizer.step()
        return None

    def _has_sound_gradient(self) -> bool:
        gradients = [p.grad for p in self._supernet.parameters() if p.grad is not None]
        return all(bool(torch.isfinite(gradient).all()) for gradient in gradients)

    def _roll_back(self, x: Tensor, y: Tensor, draw: Draw) -> None:
        if self.rollbacks == MOST_ROLLBACKS:
            raise self._diverged(x, y, draw, f"after {MOST_ROLLBACKS} rollbacks")
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

    @property
    def _device(self) -> torch.device:
        return next((p.device for p in self._supernet.parameters()), torch.device("cpu"))

    @torch.no_grad()
    def _diverged(self, x: Tensor, y: Tensor, draw: Draw, after: str = "") -> DivergedError:
        losses = {arch: F.cross_entropy(self._supernet(x, arch), y) for arch in draw.archs}
        culprit = next((a for a, loss in losses.items() if not torch.isfinite(loss)), None)
        arch = culprit or draw.archs[0]
        who = f"architecture {arch.label}" if arch else "the network"
        what = f"loss of {who} is {losses[arch].item()}"
        if culprit is None:  # a gradient overflowed, or gradients were skipped for one that did
            what = f"gradient of the loss of {who} is not finite"
        rate = float(self._optimizer.param_groups[0]["lr"])
        return DivergedError(
            f"the {what} at step {self.step + 1}{', ' if after else ''}{after}, "
            f"with a learning rate of {rate:.4g}; lower the learning rate or lengthen the warmup"
        )


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
    """Give what an optimiser keeps for a parameter the parameter's memory layout.

    The same numbers in another layout may be rounded otherwise: other instructions handle them.
    """
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                kept[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
