"""The loss of the architectures that a step trains, on one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from supernet import sharing
from supernet.errors import SettingsError
from supernet.recipe import Recipe
from supernet.samplers import Draw
from supernet.sharing import Group
from supernet.space import Architecture
from supernet.supernet import Supernet


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
