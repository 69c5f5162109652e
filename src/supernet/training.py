"""Training, the same for a supernet and for a plain network (a supernet of one architecture)."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from supernet import sharing
from supernet.errors import DataError, DivergedError, SettingsError
from supernet.samplers import Draw, Sampler, every
from supernet.sharing import Group
from supernet.space import Architecture
from supernet.supernet import Supernet


class TrainingData(Protocol):
    """Images and labels that can be gone through in an order that depends on seed and epoch."""

    def __len__(self) -> int:
        """How many images there are."""

    def shuffled(
        self, batch_size: int, *, seed: int, epoch: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield full batches of inputs and labels; what is left over is left out."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train. The defaults are the experiment's.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images per step.
        learning_rate: The peak, with `one-cycle`; the only one, with `constant`.
        momentum: Of SGD.
        nesterov: Whether the momentum looks ahead.
        weight_decay: On weights only: biases and the vectors of norms are spared.
        schedule: `one-cycle` (linear up, linear down to zero; arXiv:1708.07120) or `constant`.
        warmup: The share of all steps in which a `one-cycle` rises.
        precision: Of convolutions and matrix products: `float32`, or `bfloat16` by autocast, on
            processors that have it.
        compile: Whether to compile the network, once for all its architectures. Takes a while
            first, and a sampler that draws the same architectures in every step.
        max_bytes: If set, the most memory that a step may fill with activations. Where its
            architectures would take more together, they are trained in parts whose gradients are
            added up: the same gradient, with less shared.

    Raises:
        SettingsError: If a value makes no sense.
    """

    epochs: int = 3
    batch_size: int = 128
    learning_rate: float = 0.3
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    schedule: Literal["one-cycle", "constant"] = "one-cycle"
    warmup: float = 0.3
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        for name, fine, rule in (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("learning_rate", self.learning_rate > 0, "above 0"),
            ("momentum", 0 <= self.momentum < 1, "from 0 to below 1"),
            ("nesterov", not self.nesterov or self.momentum > 0, "false where momentum is 0"),
            ("weight_decay", self.weight_decay >= 0, "at least 0"),
            ("schedule", self.schedule in ("one-cycle", "constant"), "one-cycle or constant"),
            ("warmup", 0 < self.warmup < 1, "between 0 and 1"),
            ("precision", self.precision in ("float32", "bfloat16"), "float32 or bfloat16"),
            ("max_bytes", self.max_bytes is None or self.max_bytes > 0, "above 0, or None"),
        ):
            if not fine:
                raise SettingsError(f"{name} is {getattr(self, name)!r}; it must be {rule}")


@dataclass(frozen=True, slots=True)
class Step:
    """What one step of training did. `loss` is the mean over the architectures it trained."""

    epoch: int
    step: int
    steps: int
    ends_epoch: bool
    loss: float
    draw: Draw


def make_optimizer(net: nn.Module, recipe: Recipe) -> Optimizer:
    """Return SGD as the recipe has it, with weight decay on weights (two axes or more) only."""
    weights = [p for p in net.parameters() if p.ndim >= 2]
    others = [p for p in net.parameters() if p.ndim < 2]
    groups = [
        {"params": weights, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return SGD(
        [group for group in groups if group["params"]],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
    )


def make_schedule(optimizer: Optimizer, recipe: Recipe, steps: int) -> LRScheduler:
    """Return the recipe's schedule over `steps` steps."""
    if recipe.schedule == "constant" or steps < 2:
        return LambdaLR(optimizer, lambda _: 1.0)
    # OneCycleLR divides by this product less one.
    warmup = recipe.warmup if recipe.warmup * steps != 1 else 0.999 * recipe.warmup
    return OneCycleLR(
        optimizer,
        recipe.learning_rate,
        total_steps=steps,
        pct_start=warmup,
        anneal_strategy="linear",
        cycle_momentum=False,
    )


def train_steps(
    supernet: Supernet,
    data: TrainingData,
    recipe: Recipe,
    *,
    sampler: Sampler = every,
    seed: int = 0,
) -> Iterator[Step]:
    """Train, and yield after every step; the caller may evaluate, log or stop in between.

    A step draws architectures, runs them in one shared pass, and follows the gradient of their
    *mean* loss, so one learning rate serves any number of them.

    Args:
        supernet: What to train, in place; `Supernet(net)` for a plain network.
        data: Training images and labels.
        recipe: How to train.
        sampler: Which architectures a step draws.
        seed: Of the data order and of the sampler. The initial weights are the caller's.

    Raises:
        DataError: If there are fewer images than one batch has.
        DivergedError: If a loss is not a finite number; names step, architecture, learning rate.
        SettingsError: If the recipe asks for what this machine or the sampler can't do.
        SharingError: If one architecture alone needs more than `max_bytes`.
    """
    per_epoch = len(data) // recipe.batch_size
    if per_epoch == 0:
        raise DataError(
            f"a batch of {recipe.batch_size} is larger than the training data "
            f"({len(data)} images); choose a smaller batch_size or more images"
        )
    steps = per_epoch * recipe.epochs
    optimizer = make_optimizer(supernet, recipe)
    schedule = make_schedule(optimizer, recipe, steps)
    losses = Losses(supernet, recipe)
    rng = random.Random(seed)
    step = 0
    for epoch in range(1, recipe.epochs + 1):
        for x, y in data.shuffled(recipe.batch_size, seed=seed, epoch=epoch):
            supernet.train()
            optimizer.zero_grad(set_to_none=True)
            draw = sampler(supernet.space, rng)
            step += 1
            total = 0.0
            for loss in losses.of(x, y, draw):
                if not torch.isfinite(loss):
                    rate = float(schedule.get_last_lr()[0])
                    raise _diverged(supernet, x, y, draw.archs, step, rate)
                loss.backward()
                total += loss.item()
            optimizer.step()
            schedule.step()
            yield Step(epoch, step, steps, step % per_epoch == 0, total, draw)


@final
class Losses:
    """The loss of a draw on a batch, in one part or, to save memory, several.

    Raises:
        SettingsError: If the recipe asks for bfloat16 and this machine has none.
    """

    def __init__(self, supernet: Supernet, recipe: Recipe) -> None:
        self.supernet = supernet
        self.recipe = recipe
        self._device = next((p.device for p in supernet.parameters()), torch.device("cpu"))
        if recipe.precision == "bfloat16" and not _has_bfloat16(self._device):
            raise SettingsError(
                f"precision is bfloat16, which {self._device.type} has no instructions for on this "
                "machine: it would be many times slower; use float32"
            )
        self._compiled = sharing.Compiled(supernet) if recipe.compile else None
        self._planners: dict[object, sharing.Planner] = {}

    def of(self, x: Tensor, y: Tensor, draw: Draw) -> Iterator[Tensor]:
        """Yield losses whose sum is the mean cross-entropy of the draw on a batch.

        It is the mean over images and architectures; each architecture sees all images, or its own
        part of them if the draw is divided.
        """
        for archs in self._parts(x, draw):
            with torch.autocast(
                self._device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"
            ):
                loss = self._loss(x, y, archs, divided=draw.divided)
            yield loss if archs is draw.archs else loss * (len(archs) / len(draw.archs))

    def _parts(self, x: Tensor, draw: Draw) -> Sequence[tuple[Architecture, ...]]:
        if self.recipe.max_bytes is None or draw.divided:
            return [draw.archs]
        planner = self._planners.get(x.shape)
        if planner is None:
            planner = self._planners[x.shape] = sharing.Planner(self.supernet, x)
        return planner.plan(draw.archs).split(max_bytes=self.recipe.max_bytes)

    def _loss(
        self, x: Tensor, y: Tensor, archs: Sequence[Architecture], *, divided: bool
    ) -> Tensor:
        if self._compiled is None:
            return mean_loss(self.supernet, x, y, archs, divided=divided)
        if divided:
            raise SettingsError(
                "a divided batch can't be compiled; use the sampler `every`, or don't compile"
            )
        return _mean(self._compiled.run(x, archs), y)


def mean_loss(
    supernet: Supernet,
    x: Tensor,
    y: Tensor,
    archs: Sequence[Architecture],
    *,
    divided: bool = False,
) -> Tensor:
    """Return the cross-entropy of `archs` on one batch, averaged over images and architectures.

    With `divided`, each architecture gets a part of the batch only; see `sharing.divide`.
    """
    if len(archs) == 1:
        return F.cross_entropy(supernet(x, archs[0]), y)
    if divided:
        parts = sharing.divide(supernet, x, archs)
        losses = [F.cross_entropy(part.value, y[part.rows], reduction="sum") for part in parts]
        return torch.stack(losses).sum() / len(y)
    return _mean(sharing.run(supernet, x, archs), y)


def _mean(groups: Sequence[Group], y: Tensor) -> Tensor:
    count = sum(len(group.archs) for group in groups)
    losses = [F.cross_entropy(group.value, y) * (len(group.archs) / count) for group in groups]
    return torch.stack(losses).sum()


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return True  # autocast itself knows about others


@torch.no_grad()
def _diverged(
    supernet: Supernet, x: Tensor, y: Tensor, archs: Sequence[Architecture], step: int, rate: float
) -> DivergedError:
    losses = {arch: F.cross_entropy(supernet(x, arch), y) for arch in archs}
    culprit = next((arch for arch, loss in losses.items() if not torch.isfinite(loss)), archs[0])
    who = f"architecture {culprit.label}" if culprit else "the network"
    return DivergedError(
        f"the loss of {who} is {losses[culprit].item()} at step {step}, "
        f"with a learning rate of {rate:.4g}; lower the learning rate or lengthen the warmup"
    )
