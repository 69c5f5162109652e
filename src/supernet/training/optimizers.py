"""Optimizer and schedule of a recipe."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from supernet.errors import SettingsError
from supernet.training.recipe import Recipe

#: A user's own: given the network, it returns an optimizer of its parameters, in groups if wanted.
OptimizerMaker = Callable[[nn.Module], Optimizer]


def make_optimizer(
    net: nn.Module, recipe: Recipe, maker: OptimizerMaker | None = None
) -> Optimizer:
    """Return the recipe's optimizer, with weight decay on weights (two axes or more) only.

    Args:
        net: Whose parameters.
        recipe: Which optimizer, and its numbers.
        maker: Makes another one instead; the recipe's numbers are then not used. Each group keeps
            its learning rate, as the peak of the recipe's schedule.

    Raises:
        SettingsError: If what `maker` returns is no optimizer.
    """
    if maker is not None:
        made: object = maker(net)
        if not isinstance(made, Optimizer):
            raise SettingsError(
                f"the function for the optimizer returned a {type(made).__name__}; it must return "
                "a torch.optim.Optimizer of the network it is given"
            )
        return made
    weights = [p for p in net.parameters() if p.ndim >= 2]
    others = [p for p in net.parameters() if p.ndim < 2]
    groups = [
        {"params": weights, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "sgd":
        return SGD(
            groups,
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
        )
    kind = Adam if recipe.optimizer == "adam" else AdamW
    return kind(groups, lr=recipe.learning_rate, betas=(recipe.momentum, 0.999))


def make_schedule(optimizer: Optimizer, recipe: Recipe, steps: int) -> LRScheduler:
    """Return the recipe's schedule over `steps` steps; each group's learning rate is its peak."""
    if recipe.schedule == "constant" or steps < 2:
        return LambdaLR(optimizer, lambda _: 1.0)
    # OneCycleLR divides by this product less one.
    warmup = recipe.warmup if recipe.warmup * steps != 1 else 0.999 * recipe.warmup
    return OneCycleLR(
        optimizer,
        [group["lr"] for group in optimizer.param_groups],
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
