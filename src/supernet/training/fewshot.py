"""Few-shot training: several supernets, each of a part of the space, begun from a common one."""

from __future__ import annotations

import copy
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from supernet.errors import SettingsError, SpaceError
from supernet.evaluation.accuracy import Scores, evaluate
from supernet.evaluation.batches import Batches, Inputs, device_of, moved, split_inputs
from supernet.nn.strided import strided_convolutions
from supernet.nn.supernet import Supernet
from supernet.records import Epoch, Phase, Training
from supernet.runs.checkpoints import Checkpoints
from supernet.space import Architecture, Choice, Option
from supernet.tasks import Task
from supernet.training.data import SplitData, TrainingData
from supernet.training.losses import task_of
from supernet.training.recipe import Recipe
from supernet.training.result import TrainingResult
from supernet.training.samplers import AnySampler
from supernet.training.scored import Scored, choose_scored
from supernet.training.session import train
from supernet.training.sources import as_data

#: Random surroundings in which the gradients of a choice's options are compared.
SURROUNDINGS = 4

#: How often surroundings in which a choice counts are looked for, before it is left out.
_TRIES = 50


@final
@dataclass(frozen=True)
class Division:
    """A space divided by the options of one choice.

    Attributes:
        choice: Its name.
        groups: Its options, by the part they belong to.
        agreement: Of each choice that was looked at, the mean cosine of the gradients of options
            that would be in different parts: the lowest is divided.
    """

    choice: str
    groups: tuple[tuple[Option, ...], ...]
    agreement: Mapping[str, float] = field(default_factory=dict)


@final
@dataclass(frozen=True, repr=False)
class FewShot:
    """Several supernets, each of a part of the space.

    Attributes:
        division: By what the space is divided.
        supernets: One for each group of options.
        result: What the trainings leave together, as `train` has it: every architecture is scored
            by the supernet of its part. `compare` takes it as that of one supernet.
    """

    division: Division
    supernets: tuple[Supernet, ...]
    result: TrainingResult

    def supernet_of(self, arch: Architecture) -> Supernet:
        """Return the supernet in which an architecture was trained, to extract it from.

        Raises:
            SpaceError: If it is in none.
        """
        for group, supernet in zip(self.division.groups, self.supernets, strict=True):
            if arch.get(self.division.choice) in group:
                supernet.space.validate(arch)
                return supernet
        raise SpaceError(
            f"{arch.label} has {arch.get(self.division.choice)!r} for {self.division.choice!r}; "
            f"the parts have {self.division.groups}"
        )

    def evaluate(
        self,
        archs: Sequence[Architecture],
        *,
        calibration: Inputs,
        batches: Batches,
        task: Task | None = None,
    ) -> dict[Architecture, Scores]:
        """Return scores and losses per sample, each architecture scored by its own supernet.

        Arguments and errors are those of `supernet.evaluate`.
        """
        found: dict[Architecture, Scores] = {}
        for supernet in self.supernets:
            own = [arch for arch in archs if self.supernet_of(arch) is supernet]
            if own:
                found |= evaluate(
                    supernet,
                    own,
                    calibration=calibration,
                    batches=batches,
                    task=task,
                    per_sample=True,
                )
        return {arch: found[arch] for arch in archs}

    def __repr__(self) -> str:
        groups = " / ".join(", ".join(map(str, group)) for group in self.division.groups)
        return f"FewShot({self.division.choice}: {groups}; {self.result!r})"


def train_few_shot(
    supernet: Supernet,
    data: SplitData | Sequence[Any],
    recipe: Recipe | None = None,
    *,
    parts: int = 2,
    common: float = 0.5,
    division: Division | None = None,
    rate: float = 1.0,
    task: Task | None = None,
    sampler: AnySampler | str | None = None,
    score: Scored | None = None,
    seed: int = 0,
    calibration_images: int | None = None,
    checkpoints: Path | None = None,
    progress: bool | None = None,
) -> FewShot:
    """Train a common supernet, divide the space where its gradients disagree, and train each part.

    All of it together takes what one training by the recipe would, but for the gradients by which
    the division is found, which are on the bill. The parts begin with the common weights and train
    with the recipe's schedule from its beginning.

    Args:
        supernet: The common one, trained in place; the parts are copies.
        data: As `train` takes them.
        recipe: For all of it: its seconds, or its epochs, are those of common and parts together.
        parts: How many, from 2.
        common: The share of the budget that the common supernet gets.
        division: By what to divide; by default what `find_division` finds, the common one trained.
        rate: By what the learning rate of the parts is multiplied.
        task: As `train` has it.
        sampler: For common and parts; of a sampler's name each makes its own.
        score: Which architectures are scored, as `train` has it.
        seed: Of everything.
        calibration_images: As `train` has it.
        checkpoints: A folder for those of all trainings.
        progress: As `train` has it.

    Raises:
        SettingsError: If no choice has that many options, or the budget can't be shared out.
        Exception: What `train` raises.

    References:
        Zhao et al., "Few-shot Neural Architecture Search", ICML 2021, arXiv:2006.06863. Hu et al.,
        "Generalizing Few-Shot NAS with Gradient Matching", ICLR 2022, arXiv:2203.15207.

    Example:
        >>> few = train_few_shot(supernet, data, Recipe(seconds=400), parts=2)  # doctest: +SKIP
        >>> model = extract(few.supernet_of(arch), arch)  # doctest: +SKIP
    """
    recipe, data = Recipe() if recipe is None else recipe, as_data(data)
    first, each = share_out(recipe, parts, common)
    _require_options(supernet, parts)
    archs = choose_scored(supernet.space, score, seed)
    settings: dict[str, Any] = {
        "task": task,
        "sampler": sampler,
        "seed": seed,
        "calibration_images": calibration_images,
        "progress": progress,
    }
    begun = train(
        supernet,
        data,
        first,
        score=[archs[0], archs[-1]],
        job={"few-shot": "common", "parts": parts},
        checkpoints=None if checkpoints is None else Checkpoints(checkpoints / "common"),
        **settings,
    )
    wall, cpu = time.perf_counter(), time.process_time()
    if division is None:
        division = find_division(supernet, data.train, recipe, parts=parts, task=task, seed=seed)
    took = time.perf_counter() - wall, time.process_time() - cpu
    supernets, results = [], []
    for number, group in enumerate(division.groups, start=1):
        part = copy.deepcopy(supernet)
        part.space = supernet.space.keep({division.choice: group})
        own = [arch for arch in archs if arch[division.choice] in group]
        results.append(
            train(
                part,
                data,
                replace(each, learning_rate=each.learning_rate * rate),
                score=own or [part.space.smallest],
                subject="supernet",
                job={"few-shot": [division.choice, *map(str, group)], "parts": parts},
                checkpoints=None
                if checkpoints is None
                else Checkpoints(checkpoints / f"part{number}"),
                **settings,
            )
        )
        supernets.append(part)
    result = _together(recipe, archs, begun, results, took)
    return FewShot(division, tuple(supernets), result)


def share_out(recipe: Recipe, parts: int, common: float) -> tuple[Recipe, Recipe]:
    """Return the recipe of the common supernet, and that of each part.

    Raises:
        SettingsError: If there is nothing to share out, or it can't be shared like that.
    """
    if parts < 2:
        raise SettingsError(f"parts is {parts}; it must be at least 2")
    if not 0 < common < 1:
        raise SettingsError(f"common is {common}; it must be between 0 and 1")
    if recipe.seconds is not None:
        rest = recipe.seconds * (1 - common) / parts
        return replace(recipe, seconds=recipe.seconds * common), replace(recipe, seconds=rest)
    each = int(recipe.epochs * (1 - common) / parts)
    if each < 1:
        raise SettingsError(
            f"{recipe.epochs} epochs are too few for a common supernet and {parts} parts; give "
            f"{math.ceil(parts / (1 - common))} or more, or seconds instead"
        )
    return replace(recipe, epochs=recipe.epochs - parts * each), replace(recipe, epochs=each)


def find_division(
    supernet: Supernet,
    data: TrainingData,
    recipe: Recipe | None = None,
    *,
    parts: int = 2,
    task: Task | None = None,
    seed: int = 0,
) -> Division:
    """Return the choice whose options' gradients disagree most, and which options go together.

    For every choice with enough options, architectures that differ in it alone are run on the same
    batch, in some random surroundings, and the gradients of the weights that two of them share are
    compared: the cosine between them, averaged over surroundings. Options whose gradients agree are
    put together until as many groups are left as there are to be parts; the choice is divided whose
    groups agree least with one another. The weights are not changed.

    Args:
        supernet: With weights that have learned something; before, gradients say little.
        data: Where the batches come from.
        recipe: For the size of a batch, and the loss.
        parts: How many groups.
        task: What the network is for; classification by default.
        seed: Of the surroundings and the batches.

    Raises:
        SettingsError: If no choice has that many options.
    """
    recipe = Recipe() if recipe is None else recipe
    _require_options(supernet, parts)
    found: dict[str, tuple[float, tuple[tuple[Option, ...], ...]]] = {}
    buffers = copy.deepcopy(dict(supernet.named_buffers()))
    was_training = supernet.training
    generators = torch.get_rng_state()
    supernet.train()
    try:
        for choice in supernet.space.choices:
            if len(choice.options) >= parts:
                cosines = _cosines(supernet, choice, data, recipe, task_of(task, recipe), seed)
                if cosines is not None:
                    groups = _group(cosines, parts)
                    options = tuple(tuple(choice.options[i] for i in group) for group in groups)
                    found[choice.name] = _between(cosines, groups), options
    finally:
        supernet.zero_grad(set_to_none=True)
        supernet.train(was_training)
        torch.set_rng_state(generators)
        for name, buffer in supernet.named_buffers():
            buffer.copy_(buffers[name])
    if not found:
        raise SettingsError(
            f"no choice of {parts} options or more counts in random architectures; name one with "
            "division=Division(choice, groups)"
        )
    chosen = min(found, key=lambda name: found[name][0])
    return Division(chosen, found[chosen][1], {name: cos for name, (cos, _) in found.items()})


def _require_options(supernet: Supernet, parts: int) -> None:
    most = max((len(choice.options) for choice in supernet.space.choices), default=0)
    if most < parts:
        raise SettingsError(
            f"no choice has {parts} options to divide among {parts} parts; the most there are is "
            f"{most}"
        )


def _cosines(
    supernet: Supernet,
    choice: Choice,
    data: TrainingData,
    recipe: Recipe,
    task: Task,
    seed: int,
) -> NDArray[np.float64] | None:
    """Return the mean cosine of the gradients of every two options, (options, options)."""
    rng = random.Random(f"division {seed} {choice.name}")
    batches = data.shuffled(recipe.batch_size, seed=seed, epoch=1)
    total = np.zeros((len(choice.options), len(choice.options)))
    times = 0
    for archs in _surroundings(supernet, choice, rng):
        batch = next(batches, None)
        if batch is None:
            batches = data.shuffled(recipe.batch_size, seed=seed, epoch=2)
            batch = next(batches)
        total += _compare([_gradient(supernet, arch, batch, task) for arch in archs])
        times += 1
    return total / times if times else None


def _surroundings(
    supernet: Supernet, choice: Choice, rng: random.Random
) -> Iterator[list[Architecture]]:
    """Yield architectures that differ in one choice alone, several times."""
    left = SURROUNDINGS
    for _ in range(_TRIES):
        arch = supernet.space.sample(rng, by="options")
        if choice.name not in supernet.space.active(arch):
            continue
        yield [
            supernet.space.canonical(arch.but(**{choice.name: option})) for option in choice.options
        ]
        left -= 1
        if not left:
            return


def _gradient(
    supernet: Supernet, arch: Architecture, batch: tuple[Any, Any], task: Task
) -> list[Tensor | None]:
    device = device_of(supernet) or torch.device("cpu")
    first, others = split_inputs(supernet.net, moved(batch[0], device))
    supernet.zero_grad(set_to_none=True)
    with strided_convolutions(device):
        loss = task.loss(supernet(first, arch, **others), moved(batch[1], device))
    loss.backward()
    return [None if p.grad is None else p.grad.clone() for p in supernet.parameters()]


def _compare(gradients: Sequence[Sequence[Tensor | None]]) -> NDArray[np.float64]:
    """Return the cosines between gradients, each over the weights that both have; 0 if none."""
    count = len(gradients)
    cosines = np.eye(count)
    for i, j in combinations(range(count), 2):
        pairs = [
            (a.double().flatten(), b.double().flatten())
            for a, b in zip(gradients[i], gradients[j], strict=True)
            if a is not None and b is not None
        ]
        product = sum(float(a @ b) for a, b in pairs)
        squares = [sum(float(one @ one) for one in side) for side in zip(*pairs, strict=True)]
        length = math.sqrt(math.prod(squares)) if pairs else 0.0
        cosines[i, j] = cosines[j, i] = product / length if length else 0.0
    return cosines


def _group(cosines: NDArray[np.float64], parts: int) -> list[list[int]]:
    """Put together, again and again, the two groups that agree most, until so many are left."""
    groups = [[i] for i in range(len(cosines))]
    while len(groups) > parts:
        i, j = max(
            combinations(range(len(groups)), 2),
            key=lambda pair: cosines[np.ix_(groups[pair[0]], groups[pair[1]])].mean(),
        )
        groups[i] = sorted(groups[i] + groups.pop(j))
    return groups


def _between(cosines: NDArray[np.float64], groups: Sequence[Sequence[int]]) -> float:
    """Return the mean cosine over pairs of options in different groups."""
    pairs = [cosines[np.ix_(a, b)].ravel() for a, b in combinations(groups, 2)]
    return float(np.concatenate(pairs).mean())


def _together(
    recipe: Recipe,
    archs: Sequence[Architecture],
    common: TrainingResult,
    parts: Sequence[TrainingResult],
    dividing: tuple[float, float],
) -> TrainingResult:
    """Return the results of the parts as one, in the order of the architectures."""
    at = {arch: (n, i) for n, part in enumerate(parts) for i, arch in enumerate(part.archs)}
    places = [at[arch] for arch in archs]

    def rows(name: str) -> Any:
        each = [getattr(part, name) for part in parts]
        if any(one is None for one in each):
            return None
        return np.stack([each[n][i] for n, i in places])

    def scores(name: str) -> list[float]:
        each = [getattr(part.training, name) for part in parts]
        return [each[n][i] for n, i in places] if all(each) else []

    rounds = min(len(part.training.epochs) for part in parts)
    epochs = [
        Epoch(
            epoch=number,
            loss=float(np.mean([epoch.loss for epoch in last])),
            validation=[last[n].validation[i] for n, i in places],
        )
        for number, last in enumerate(
            zip(*(part.training.epochs[-rounds:] for part in parts), strict=True), start=1
        )
    ]
    trainings = [common.training, *(part.training for part in parts)]
    return replace(
        parts[0],
        archs=tuple(archs),
        recipe=recipe,
        training=Training(
            epochs=epochs,
            validation=scores("validation"),
            test=scores("test"),
            skipped=sum(training.skipped for training in trainings),
            rollbacks=sum(training.rollbacks for training in trainings),
            steps=sum(training.steps for training in trainings),
        ),
        validation=rows("validation"),
        test=rows("test"),
        validation_losses=rows("validation_losses"),
        test_losses=rows("test_losses"),
        phases=_added([phase for one in (common, *parts) for phase in one.phases], dividing),
    )


def _added(phases: Sequence[Phase], dividing: tuple[float, float]) -> tuple[Phase, ...]:
    """Return the bill of all trainings, a line per kind of work; dividing is training."""
    found: dict[str, Phase] = {}
    for phase in phases:
        before = found.get(phase.kind)
        names = ("wall_s", "cpu_s", "images", "macs")
        if before is None:
            extra = dict(zip(names, dividing, strict=False)) if phase.kind == "training" else {}
            sums = {name: getattr(phase, name) + extra.get(name, 0) for name in names}
            found[phase.kind] = phase.model_copy(
                update={**sums, "name": f"supernet {phase.kind}", "subject": "supernet"}
            )
        else:
            sums = {name: getattr(before, name) + getattr(phase, name) for name in names}
            found[phase.kind] = before.model_copy(update=sums)
    return tuple(found.values())
