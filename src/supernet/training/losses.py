"""The loss of the architectures that a step trains, on one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from supernet import sharing
from supernet.errors import SettingsError
from supernet.nn.supernet import Supernet
from supernet.sharing import Group
from supernet.space import Architecture
from supernet.training.recipe import Recipe
from supernet.training.samplers import Draw, parts_of


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
        self._teacher = supernet.space.largest if recipe.distill else None
        self._planners: dict[object, sharing.Planner] = {}

    def of(self, x: Tensor, y: Tensor, draw: Draw) -> Iterator[Tensor]:
        """Yield losses whose sum is the mean cross-entropy of the draw on a batch.

        It is the mean over images and architectures, weighted as the draw has it; each architecture
        sees all images, or its own part of them if the draw is divided. With the recipe's
        `distill`, targets are what the largest puts out, but for the largest itself, and for what
        comes to the same. No gradient flows through targets.

        Raises:
            SettingsError: If the recipe asks for what this draw can't do.
            SharingError: If one architecture alone needs more than `max_bytes`.
        """
        self._check(draw)
        soft: Tensor | None = None
        for archs in self._parts(x, draw):
            with torch.autocast(
                self._device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"
            ):
                if draw.divided and len(archs) > 1:
                    loss = self._divided(x, y, archs)
                else:
                    groups = self._run(x, archs)
                    if self._teacher in archs:
                        soft = _soft_targets(groups, self._teacher)
                    loss = self._mean(groups, y, draw, soft)
            whole = archs is draw.archs
            yield loss if whole else loss * (draw.weight(archs) / draw.weight(draw.archs))

    def _check(self, draw: Draw) -> None:
        if draw.divided and self._compiled is not None:
            raise SettingsError(
                "a divided batch can't be compiled; use the sampler `every`, or don't compile"
            )
        if self._teacher is None:
            return
        if draw.divided and len(draw.archs) > 1:
            raise SettingsError(
                "with a divided batch nothing can be distilled: the largest architecture sees its "
                "own part of the images only; use another sampler, or don't distill"
            )
        if self._teacher not in draw.archs:
            raise SettingsError(
                "distill takes the largest architecture in every step, and it was not drawn; use "
                "the sampler `sandwich` or `every`, or add it: WithLargest(sampler)"
            )

    def _parts(self, x: Tensor, draw: Draw) -> Sequence[tuple[Architecture, ...]]:
        def planner() -> sharing.Planner:
            if x.shape not in self._planners:
                self._planners[x.shape] = sharing.Planner(self.supernet, x)
            return self._planners[x.shape]

        parts = parts_of(draw, self.recipe.max_bytes, planner)
        if self._teacher is not None:  # it goes first: the others learn from it
            parts = sorted(parts, key=lambda archs: self._teacher not in archs)
        return parts

    def _run(self, x: Tensor, archs: Sequence[Architecture]) -> list[Group]:
        if self._compiled is not None:
            return self._compiled.run(x, archs)
        if len(archs) == 1:
            return [Group(self.supernet(x, archs[0]), tuple(archs))]
        return sharing.run(self.supernet, x, archs)

    def _mean(self, groups: Sequence[Group], y: Tensor, draw: Draw, soft: Tensor | None) -> Tensor:
        weights = [draw.weight(group.archs) for group in groups]
        total = sum(weights)
        losses = [
            self._loss(group, y, soft) * (weight / total)
            for group, weight in zip(groups, weights, strict=True)
        ]
        return torch.stack(losses).sum()

    def _loss(self, group: Group, y: Tensor, soft: Tensor | None) -> Tensor:
        if soft is None or self._teacher in group.archs:
            return F.cross_entropy(group.value, y, label_smoothing=self.recipe.label_smoothing)
        return F.cross_entropy(group.value, soft)

    def _divided(self, x: Tensor, y: Tensor, archs: Sequence[Architecture]) -> Tensor:
        smoothing = self.recipe.label_smoothing
        losses = [
            F.cross_entropy(part.value, y[part.rows], reduction="sum", label_smoothing=smoothing)
            for part in sharing.divide(self.supernet, x, archs)
        ]
        return torch.stack(losses).sum() / len(y)


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
    (loss,) = Losses(supernet, Recipe()).of(x, y, Draw(tuple(archs), divided))
    return loss


def _soft_targets(groups: Sequence[Group], teacher: Architecture) -> Tensor:
    (value,) = [group.value for group in groups if teacher in group.archs]
    # In at least float32, in which probabilities can be told apart.
    return F.softmax(value.detach(), dim=1, dtype=torch.promote_types(value.dtype, torch.float32))


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return True  # autocast itself knows about others
