"""The optimizer and the schedule that a recipe stands for."""

from __future__ import annotations

from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from supernet.training.recipe import Recipe


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
