"""Scores of architectures: one, or many at once, never without batch-norm statistics of their own.

A task says what the score of a sample is, higher is better; for classification, whether it is a
hit. What puts out anything that is not a finite number, on whatever sample, has a failed
evaluation: no scores, and NaN for their mean. So one bad architecture of thousands doesn't end the
scoring of the others, nor is it taken for one that gets nothing right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, final, overload

import torch
from torch import Tensor, nn

from supernet.errors import DataError, DivergedError
from supernet.evaluation.batches import (
    Batches,
    Inputs,
    call,
    device_of,
    moved,
    not_finite,
    pairs_of,
)
from supernet.evaluation.batchnorm import Statistics, calibrate, evaluating, require_statistics
from supernet.nn.supernet import Supernet
from supernet.runs.ranks import ALONE, Ranks
from supernet.space import Architecture
from supernet.tasks import (
    Classification,
    Task,
    check_batch,
    check_scores,
    count_samples,
    form_of,
    tensors_in,
)

_Candidate = TypeVar("_Candidate")

#: The types that scores and losses may have.
_KINDS = (torch.bool, torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True, slots=True, repr=False)
class Scores:
    """What scoring found out about an architecture, sample by sample.

    Attributes:
        scores: The score of each sample, (N,), in the order of the batches: booleans for hits and
            misses, floating-point numbers otherwise. None for a failed evaluation.
        losses: The loss of each, likewise; None also where nobody asked for it.
    """

    scores: Tensor | None
    losses: Tensor | None = None

    @property
    def score(self) -> float:
        """The mean score; NaN for a failed evaluation."""
        return accuracy(self.scores)

    @property
    def loss(self) -> float:
        """The mean loss; NaN for a failed evaluation, or where nobody asked for it."""
        return accuracy(self.losses)

    def __repr__(self) -> str:
        if self.scores is None:
            return "Scores(failed)"
        loss = "" if self.losses is None else f", loss {self.loss:.4g}"
        return f"Scores({len(self.scores):,} samples, score {self.score:.4g}{loss})"


def score(
    statistics: Statistics, batches: Batches, task: Task | None = None
) -> dict[Architecture, Tensor | None]:
    """Return the score of each sample by each calibrated architecture, from one shared pass.

    Args:
        statistics: What `calibrate` returned, for the weights as they are now.
        batches: Inputs and targets; or a split of the data, or a loader.
        task: What the network is for; classification by default, with hits as scores.

    Returns:
        For each architecture a tensor, one entry per sample, in the order of `batches`; None for
        one whose evaluation failed, as an output was not a finite number.

    Raises:
        DataError: If `batches` is empty, or doesn't fit the task.
        DivergedError: If the evaluation of every architecture failed.
    """
    return {
        arch: found.scores
        for arch, found in score_samples(statistics, batches, task, losses=False).items()
    }


@torch.no_grad()
def score_samples(
    statistics: Statistics,
    batches: Batches,
    task: Task | None = None,
    *,
    losses: bool = True,
    ranks: Ranks = ALONE,
) -> dict[Architecture, Scores]:
    """Return score and loss of each sample by each calibrated architecture, from one pass.

    Arguments and errors are those of `score`.

    Args:
        statistics: See `score`.
        batches: See `score`.
        task: See `score`.
        losses: Whether losses are wanted too.
        ranks: Who does it together, with the same batches: they take turns, and all get the scores
            of all.
    """
    judge = _Judge(task or Classification(), losses=losses)
    device = device_of(statistics.supernet)
    parts: dict[Architecture, list[Scores | None]] = {arch: [] for arch in statistics.archs}
    fault, sizes = None, []
    with evaluating(statistics.supernet):
        for number, (x, y) in enumerate(pairs_of(batches)):
            sizes.append(count_samples(y, x))
            if not ranks.takes(number):
                continue
            x, y = moved(x, device), moved(y, device)
            for group in statistics.run(x):
                found = judge.score(group.value, y, number)
                for arch in group.archs:
                    parts[arch].append(found)
                if found is None and fault is None:
                    fault = not_finite(x, f"the inputs of batch {number}")
    if ranks.several and sizes:
        joined = _gathered(parts, sizes, ranks)
        fault = next(filter(None, ranks.texts(fault or "")), None)
    else:
        joined = {arch: _joined(those) for arch, those in parts.items()}
    if joined and all(found.scores is None for found in joined.values()):
        if fault is not None:
            raise DataError(fault)
        raise DivergedError(_nothing_finite([arch.label for arch in joined]))
    return joined


def _gathered(
    parts: Mapping[Architecture, Sequence[Scores | None]], sizes: Sequence[int], ranks: Ranks
) -> dict[Architecture, Scores]:
    """Return the scores of all ranks, whose batches took turns.

    Args:
        parts: What each architecture scores on the batches of this one.
        sizes: How many samples there are in every batch.
        ranks: Who they are.
    """
    failed = torch.tensor([any(part is None for part in those) for those in parts.values()])
    failed = ranks.add(failed.byte()).bool()
    sound = [arch for arch, fails in zip(parts, failed.tolist(), strict=True) if not fails]
    scores, losses = (
        _columns([[getattr(part, name) for part in parts[arch]] for arch in sound], sizes, ranks)
        for name in ("scores", "losses")
    )
    found = {
        arch: Scores(scores[row], None if losses is None else losses[row])
        for row, arch in enumerate(sound)
        if scores is not None
    }
    return {arch: found.get(arch, Scores(None)) for arch in parts}


def _columns(
    rows: Sequence[Sequence[Tensor | None]], sizes: Sequence[int], ranks: Ranks
) -> Tensor | None:
    """Return rows of numbers, (rows, samples), of whose batches each rank has its own.

    None if no rank has any. They go as bytes if they are booleans, else in float64, which holds
    numbers of all other types.
    """
    there = [number for number in range(len(sizes)) if ranks.takes(number)]
    first = next((part for row in rows for part in row if part is not None), None)
    kinds = ranks.gather(torch.tensor(0 if first is None else 1 + _KINDS.index(first.dtype)))
    if not rows or not kinds.any():
        return None
    kind = _KINDS[int(kinds.max()) - 1]
    found = torch.zeros(
        len(rows), sum(sizes), dtype=torch.uint8 if kind == torch.bool else torch.float64
    )
    columns = found.split(list(sizes), dim=1)
    for at, row in enumerate(rows):
        for number, part in zip(there, row, strict=True):
            if part is not None:
                columns[number][at] = part
    return ranks.add(found).to(kind)


@torch.no_grad()
def score_network(net: nn.Module, batches: Batches, task: Task | None = None) -> Tensor:
    """Return the score of each sample by a plain network; see `score`.

    Raises:
        CalibrationError: If a batch norm has no statistics yet.
        DataError: If `batches` is empty, or doesn't fit the task.
        DivergedError: If an output is not a finite number.
    """
    require_statistics(net)
    judge, device = _Judge(task or Classification(), losses=False), device_of(net)
    parts: list[Scores | None] = []
    with evaluating(net):
        for number, (x, y) in enumerate(pairs_of(batches)):
            parts.append(judge.score(call(net, moved(x, device)), moved(y, device), number))
            if parts[-1] is None and (fault := not_finite(x, f"the inputs of batch {number}")):
                raise DataError(fault)
    found = _joined(parts)
    if found.scores is None:
        raise DivergedError(_nothing_finite(["()"]))
    return found.scores


@overload
def evaluate(
    supernet: Supernet,
    archs: Iterable[Architecture] | Architecture,
    *,
    calibration: Inputs,
    batches: Batches,
    task: Task | None = None,
    per_sample: Literal[False] = False,
) -> dict[Architecture, float]: ...
@overload
def evaluate(
    supernet: Supernet,
    archs: Iterable[Architecture] | Architecture,
    *,
    calibration: Inputs,
    batches: Batches,
    task: Task | None = None,
    per_sample: Literal[True],
) -> dict[Architecture, Scores]: ...
def evaluate(
    supernet: Supernet,
    archs: Iterable[Architecture] | Architecture,
    *,
    calibration: Inputs,
    batches: Batches,
    task: Task | None = None,
    per_sample: bool = False,
) -> dict[Architecture, float] | dict[Architecture, Scores]:
    """Return the mean score of each of `archs`, from two shared passes; by default, its accuracy.

    The first pass, over `calibration`, gives each its batch-norm statistics; the second scores. The
    numbers are those that extracting, recalibrating and scoring one by one would give. One whose
    outputs are not all finite numbers has NaN: find the best with `find_best(scores)`, for what
    `max` makes of NaN depends on where in the order it stands.

    Args:
        supernet: The network that holds them.
        archs: Architectures, or one.
        calibration: Samples of the training set, as `recalibrate` takes them.
        batches: Inputs and targets to score on; or a split of the data, or a loader.
        task: What the network is for; classification by default.
        per_sample: Whether to return all scores and losses, from the same pass, instead of means.

    Raises:
        CalibrationError: If `calibration` is empty; see also `calibrate`.
        DataError: If `batches` is empty, or doesn't fit the task.
        DivergedError: If the evaluation of every architecture failed.

    Example:
        >>> from supernet import Depth
        >>> net = nn.Sequential(Depth("block", [nn.Identity(), nn.Softmax(dim=1)]))
        >>> supernet = Supernet(net)
        >>> x, y = torch.eye(3), torch.tensor([0, 1, 1])
        >>> found = evaluate(supernet, supernet.space, calibration=[x], batches=[(x, y)])
        >>> {arch["block.depth"]: round(score, 3) for arch, score in found.items()}
        {1: 0.667, 2: 0.667}
        >>> found = evaluate(
        ...     supernet, supernet.space, calibration=[x], batches=[(x, y)], per_sample=True
        ... )
        >>> {arch["block.depth"]: round(scores.loss, 3) for arch, scores in found.items()}
        {1: 0.885, 2: 0.992}
    """
    archs = [archs] if isinstance(archs, Architecture) else list(archs)
    statistics = calibrate(supernet, archs, calibration)
    found = score_samples(statistics, batches, task, losses=per_sample)
    if per_sample:
        return {arch: found[arch] for arch in archs}
    return {arch: found[arch].score for arch in archs}


def accuracy(hits: Tensor | None) -> float:
    """Return the mean of scores, the fraction that is true if they are hits.

    NaN for a failed evaluation.
    """
    return math.nan if hits is None else hits.double().mean().item()


def stack(hits: Sequence[Tensor | None]) -> Tensor:
    """Return scores as one tensor, architectures x samples.

    The row of a failed evaluation is False, or 0, throughout. Only its mean, which is NaN, tells it
    from one that gets nothing right, so the two have to be kept together.

    Raises:
        DivergedError: If there are no scores at all, so that nobody knows how many samples there
            were.
    """
    sound = next((right for right in hits if right is not None), None)
    if sound is None:
        raise DivergedError("there are no hits to stack: every evaluation failed, or none was made")
    return torch.stack([torch.zeros_like(sound) if right is None else right for right in hits])


def find_best(scores: Mapping[_Candidate, float | Scores]) -> _Candidate:
    """Return the candidate with the highest score; of equals, the first. NaN is never chosen.

    >>> find_best({"failed": math.nan, "bad": 0.0, "good": 0.9})
    'good'

    Args:
        scores: What `evaluate` returns: mean scores, or `Scores`.

    Raises:
        DataError: If there are no candidates.
        DivergedError: If all scores are NaN: none of the evaluations succeeded.
    """
    if not scores:
        raise DataError("there are no scores to find the best of; give at least one")
    means = {
        candidate: found.score if isinstance(found, Scores) else found
        for candidate, found in scores.items()
    }
    scored = {candidate: mean for candidate, mean in means.items() if not math.isnan(mean)}
    if not scored:
        raise DivergedError(_nothing_finite([str(candidate) for candidate in scores]))
    return max(scored, key=scored.__getitem__)


@final
class _Judge:
    """Scores batches by a task, and checks each new form of batch first."""

    def __init__(self, task: Task, *, losses: bool) -> None:
        self.task, self.losses = task, losses
        self._known: set[object] = set()

    def score(self, outputs: Any, targets: Any, number: int) -> Scores | None:
        """Return what a batch scores, kept on the processor; None if an output is not finite."""
        if not all(map(_is_finite, tensors_in(outputs))):
            return None
        form = form_of((outputs, targets))
        if form not in self._known:
            check_batch(self.task, outputs, targets)
            self._known.add(form)
        scores = self._of(self.task.score, outputs, targets, number)
        losses = self._of(self.task.losses, outputs, targets, number) if self.losses else None
        return Scores(scores, losses)

    def _of(
        self, method: Callable[[Any, Any], Tensor], outputs: Any, targets: Any, number: int
    ) -> Tensor:
        found = method(outputs, targets)
        name = method.__name__
        check_scores(self.task, found, outputs, targets, method=name)
        if not _is_finite(found):
            row = int((~torch.isfinite(found)).int().argmax())
            raise DataError(
                f"{type(self.task).__name__}.{name} is {found[row].item()} for sample {row} of "
                f"batch {number}, where all outputs are finite numbers; look at its targets"
            )
        return found.cpu()


def _is_finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all())


def _joined(parts: Sequence[Scores | None]) -> Scores:
    if not parts:
        raise DataError("scoring needs at least one batch, and was given none")
    sound = [part for part in parts if part is not None]
    if len(sound) < len(parts):
        return Scores(None)
    return Scores(
        _catenated(part.scores for part in sound), _catenated(part.losses for part in sound)
    )


def _catenated(parts: Iterable[Tensor | None]) -> Tensor | None:
    there = [part for part in parts if part is not None]
    return torch.cat(there) if there else None


def _nothing_finite(who: Sequence[str]) -> str:
    if len(who) > 1:
        return (
            f"all {len(who):,} architectures put out values that are not finite numbers; none has "
            "a score, so train again with a lower learning rate"
        )
    name = "the network" if who[0] == "()" else who[0]  # the label of a network without choices
    return f"{name} puts out values that are not finite numbers; it has no score"
