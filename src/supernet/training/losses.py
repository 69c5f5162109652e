"""Loss of a step's architectures on one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, final

import torch
from torch import Tensor

from supernet import sharing
from supernet.errors import SettingsError
from supernet.evaluation.batches import (
    device_of,
    moved,
    planner_for,
    samples_in,
    split_inputs,
)
from supernet.evaluation.cost import empty_batch
from supernet.nn.strided import StridedConvolutions
from supernet.nn.supernet import Supernet
from supernet.runs.ranks import ALONE, Ranks
from supernet.sharing import Group
from supernet.sharing.structure import replace as replace_in
from supernet.space import Architecture
from supernet.tasks import Classification, Task, check_batch, check_weight, form_of
from supernet.training.distributed import (
    Portion,
    largest_part,
    require_divisible,
    share_of,
    take_portion,
    take_rows,
    weigh,
)
from supernet.training.recipe import Recipe
from supernet.training.samplers import Draw, parts_of


def task_of(task: Task | None, recipe: Recipe) -> Task:
    """Return the task to train for: classification by default, smoothed as the recipe has it.

    Raises:
        SettingsError: If the recipe smooths labels, and the task has none, or smooths otherwise.
    """
    task = Classification() if task is None else task
    if not isinstance(task, Task):
        raise SettingsError(
            f"task is a {type(task).__name__}; it must be a Task, such as sn.Classification()"
        )
    if not recipe.label_smoothing:
        return task
    if isinstance(task, Classification) and task.label_smoothing in (0, recipe.label_smoothing):
        return replace(task, label_smoothing=recipe.label_smoothing)
    raise SettingsError(
        f"the recipe's label_smoothing is {recipe.label_smoothing}, which {task} can't take; leave "
        "it out of the recipe"
    )


@final
class Losses:
    """The loss of a draw on a batch, in one part or, to save memory, several.

    Args:
        supernet: The network.
        recipe: How it is trained.
        task: What it is for; see `task_of`.
        ranks: Who trains it. Each has its part of a batch, and of the loss.

    Raises:
        SettingsError: If the recipe asks for bfloat16 and this machine has none.
    """

    def __init__(
        self, supernet: Supernet, recipe: Recipe, task: Task | None = None, ranks: Ranks = ALONE
    ) -> None:
        self.supernet = supernet
        self._ranks = ranks
        self.recipe = recipe
        self.task = task_of(task, recipe)
        self._device = device_of(supernet) or torch.device("cpu")
        if recipe.precision == "bfloat16" and not _has_bfloat16(self._device):
            raise SettingsError(
                f"precision is bfloat16, which {self._device.type} has no instructions for on this "
                "machine: it would be many times slower; use float32"
            )
        self._autocasts = recipe.precision == "bfloat16"
        self._compiled = sharing.Compiled(supernet) if recipe.compile else None
        self._teacher = supernet.space.largest if recipe.distill else None
        self._planners: dict[object, sharing.Planner] = {}
        self._known: set[object] = set()  # forms of outputs and targets that were checked

    def of(self, x: Any, y: Any, draw: Draw) -> Iterator[Tensor]:
        """Yield losses whose sum, over all ranks, is the mean loss of the draw on a batch.

        It is the mean over samples and architectures, weighted as the draw has it; each
        architecture sees all samples, or its own part of them if the draw is divided. With the
        recipe's `distill`, targets are what the largest puts out, but for the largest itself, and
        for what comes to the same. No gradient flows through targets. With a `prior`, what its
        pairs lack comes on top; where the draw is done in parts, of pairs within a part.

        Raises:
            DataError: If outputs and targets don't fit the task.
            SettingsError: If the recipe asks for what this draw can't do.
            SharingError: If one architecture alone needs more than `max_bytes`.
        """
        self._check(draw)
        divided = draw.divided and len(draw.archs) > 1
        portion = Portion(x, y) if divided else take_portion(x, y, self.task, self._ranks)
        portion = replace(
            portion,
            inputs=moved(portion.inputs, self._device),
            targets=moved(portion.targets, self._device),
        )
        taught: Any = None  # what the teacher puts out
        for archs in self._parts(x, draw):
            lacking: Tensor | None = None
            with self._precision():
                if divided:
                    loss = self._divided(portion.inputs, portion.targets, archs)
                else:
                    groups = self._run(portion.inputs, archs)
                    if self._teacher in archs:
                        taught = _outputs_of(groups, self._teacher)
                    losses = [self._loss(group, portion, taught) for group in groups]
                    loss = _mean(groups, losses, draw)
                    lacking = _lacking(groups, losses, draw, self._ranks) if draw.prior else None
            if archs is not draw.archs:
                loss = loss * (draw.weight(archs) / draw.weight(draw.archs))
            yield loss if lacking is None else loss + lacking

    def _precision(self) -> AbstractContextManager[object]:
        kind = self._device.type
        if not self._autocasts and not torch.is_autocast_enabled(kind):
            return nullcontext()  # what to enter would change nothing, and take its time
        return torch.autocast(kind, torch.bfloat16, enabled=self._autocasts)

    def _check(self, draw: Draw) -> None:
        if draw.divided and self._compiled is not None:
            raise SettingsError(
                "a divided batch can't be compiled; use the sampler `every`, or don't compile"
            )
        if draw.prior is not None and (draw.divided or self._teacher is not None):
            what = "each sees other images" if draw.divided else "most are distilled"
            raise SettingsError(
                f"a ranking is trained by losses of the same images and labels, and {what}; use "
                f"{'another sampler' if draw.divided else 'the sampler without it'}, or don't rank"
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

    def _parts(self, x: Any, draw: Draw) -> Sequence[tuple[Architecture, ...]]:
        def planner() -> sharing.Planner:
            form = form_of(x)
            if form not in self._planners:
                planned = x
                if self._ranks.several:  # for the largest part of a batch: all do the same
                    planned = empty_batch(x, largest_part(samples_in(x), self._ranks))
                self._planners[form] = planner_for(self.supernet, planned)
            return self._planners[form]

        parts = parts_of(draw, self.recipe.max_bytes, planner)
        if self._teacher is not None:  # it goes first: the others learn from it
            parts = sorted(parts, key=lambda archs: self._teacher not in archs)
        return parts

    def _run(self, x: Any, archs: Sequence[Architecture]) -> list[Group]:
        first, others = split_inputs(self.supernet.net, x)
        if self._compiled is not None:
            if others:
                raise SettingsError(
                    "a network with several inputs can't be compiled here; don't compile"
                )
            return self._compiled.run(first, archs)
        if len(archs) == 1:
            return [Group(self.supernet(first, archs[0], **others), tuple(archs))]
        return sharing.run(self.supernet, first, archs, **others)

    def _loss(self, group: Group, portion: Portion, taught: Any) -> Tensor:
        outputs, targets = group.value, portion.targets
        self._see(outputs, targets)
        if taught is None or self._teacher in group.archs:
            return weigh(partial(self.task.loss, outputs, targets), outputs, portion.of_loss)
        return weigh(partial(self.task.distill, outputs, taught), outputs, portion.of_samples)

    def _divided(self, x: Any, y: Any, archs: Sequence[Architecture]) -> Tensor:
        ranks, task = self._ranks, self.task
        require_divisible(samples_in(x), len(set(archs)), ranks)
        first, others = split_inputs(self.supernet.net, x)
        losses, samples = [], 0
        own = ranks.part if ranks.several else None
        for part in sharing.divide(self.supernet, first, archs, own, **others):
            targets, count = take_rows(y, part.rows), len(part.block)
            self._see(part.value, targets)
            share = None
            if ranks.several:
                of_all = task.weight(take_rows(y, part.block), count)
                share = share_of(task.weight(targets, len(part.rows)), of_all)
            loss = weigh(partial(task.loss, part.value, targets), part.value, share)
            losses.append(loss * count)
            samples += count
        return torch.stack(losses).sum() / samples

    def _see(self, outputs: Any, targets: Any) -> None:
        """Check outputs and targets that have this form for the first time."""
        form = form_of(outputs), form_of(targets)
        if form not in self._known:
            check_batch(self.task, outputs, targets)
            if self._ranks.several:
                check_weight(self.task, outputs, targets)
            self._known.add(form)


def _mean(groups: Sequence[Group], losses: Sequence[Tensor], draw: Draw) -> Tensor:
    """Return the mean of the losses of groups, weighted as the draw has it."""
    if len(groups) == 1:  # what follows would change no bit of it
        return losses[0]
    weights = [draw.weight(group.archs) for group in groups]
    total = sum(weights)
    parts = [loss * (weight / total) for loss, weight in zip(losses, weights, strict=True)]
    return torch.stack(parts).sum()


def _lacking(
    groups: Sequence[Group], losses: Sequence[Tensor], draw: Draw, ranks: Ranks
) -> Tensor | None:
    """Return by how much pairs of the prior are the wrong way round, as a mean over all of its.

    Pairs that compute the same are no pairs: nothing could order them.
    """
    assert draw.prior is not None
    of = {arch: number for number, group in enumerate(groups) for arch in group.archs}
    places = [of.get(arch, -1) for arch in draw.archs]
    pairs = [(places[i], places[j]) for i, j in draw.prior.pairs]
    pairs = [(i, j) for i, j in pairs if min(i, j) >= 0 and i != j]
    if not pairs:
        return None
    better, worse = (
        torch.tensor(side, device=losses[0].device) for side in zip(*pairs, strict=True)
    )
    each = torch.stack(list(losses))
    excess = each[better] - each[worse] + draw.prior.margin / ranks.size
    # What counts is how the losses lie over the samples of all ranks.
    above = ranks.add(excess.detach().clone()) > 0 if ranks.several else None
    excess = excess.relu() if above is None else excess * above
    return excess.sum() * (draw.prior.weight / len(draw.prior.pairs))


def mean_loss(
    supernet: Supernet,
    x: Any,
    y: Any,
    archs: Sequence[Architecture],
    *,
    divided: bool = False,
    task: Task | None = None,
) -> Tensor:
    """Return the loss of `archs` on one batch, averaged over samples and architectures.

    With `divided`, each architecture gets a part of the batch only; see `sharing.divide`. The task
    is classification by default.
    """
    with StridedConvolutions():
        (loss,) = Losses(supernet, Recipe(), task).of(x, y, Draw(tuple(archs), divided))
    return loss


def _outputs_of(groups: Sequence[Group], arch: Architecture) -> Any:
    (value,) = [group.value for group in groups if arch in group.archs]
    return replace_in(value, Tensor, Tensor.detach)


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return True  # autocast itself knows about others
