"""How to train: the numbers, and the optimiser and the schedule that they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from supernet.errors import SettingsError


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
        on_nan: What to do about a loss or a gradient that is not a finite number: `stop`; `skip`
            the step, ten in a row at most; or `rollback` to the beginning of the epoch and go on
            from there at half the learning rate, three times at most.
        distill: Whether all architectures but the largest learn from what the largest puts out for
            the batch, instead of from the labels (in-place distillation with soft targets, as in
            BigNAS, arXiv:2003.11142). Takes a sampler that draws the largest in every step.
        label_smoothing: The share of a label that is spread over all classes (arXiv:1512.00567).
        clip_norm: If set, what the norm of all gradients together is cut down to where it is above
            (arXiv:1211.5063).
        ema: The decay, per step, of an exponential moving average of the weights, which is then
            what is scored and kept (as the teacher's in arXiv:1703.01780); 0 keeps none.

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
    on_nan: Literal["stop", "rollback", "skip"] = "stop"
    distill: bool = False
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    ema: float = 0.0

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
            ("on_nan", self.on_nan in ("stop", "rollback", "skip"), "stop, rollback or skip"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "from 0 to below 1"),
            ("clip_norm", self.clip_norm is None or self.clip_norm > 0, "above 0, or None"),
            ("ema", 0 <= self.ema < 1, "from 0 to below 1"),
        ):
            if not fine:
                raise SettingsError(f"{name} is {getattr(self, name)!r}; it must be {rule}")


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


def scale_rates(optimizer: Optimizer, schedule: LRScheduler, factor: float) -> None:
    """Multiply the learning rate, now and over all that is left of the schedule, by `factor`."""
    for group in optimizer.param_groups:
        for name in {"lr", "initial_lr", "max_lr", "min_lr"} & group.keys():
            group[name] *= factor
    schedule.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
