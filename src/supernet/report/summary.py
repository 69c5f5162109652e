"""Summary of a run's records: rows, curves and costs.

The table, the page, the figures, the CSV file and the terminal all read from here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from supernet.records import Estimate, Phase, Results, Training
from supernet.report.wording import LEANING

KINDS = ("data", "training", "recalibration", "scoring")
SUBJECTS = ("supernet", "standalone", "longer", "all")


@dataclass(frozen=True, slots=True)
class Row:
    """One architecture, with means over the seeds.

    `loss` is that of validation samples in the supernet. `tested` says whether there were test
    samples; without, scores on them are NaN.

    `one_shot`, `standalone` and `gap` have the intervals of the verdict; without a verdict their
    bounds are NaN; so has `validation` those of the ranking. `None` means that the run did not
    measure it, an accuracy that is NaN that its evaluation failed. Ranks start at 1, ties share
    one, and what failed has none: `one_shot_rank` is by validation accuracy, `standalone_rank` by
    test accuracy.
    """

    label: str
    options: dict[str, int | str]
    params: int
    macs: int
    one_shot_validation: float
    validation: Estimate
    one_shot: Estimate
    standalone: Estimate | None
    gap: Estimate | None
    longer: float | None
    one_shot_rank: int | None
    standalone_rank: int | None
    standalone_cpu_s: float | None
    corrected: Estimate | None = None
    loss: Estimate | None = None
    tested: bool = True

    @property
    def failed(self) -> list[str]:
        """The names of the evaluations that failed."""
        evaluations = {
            "one_shot_validation": self.one_shot_validation,
            "one_shot_test": self.one_shot.value if self.tested else None,
            "standalone_test": self.standalone.value if self.standalone and self.tested else None,
            "longer_test": self.longer,
        }
        return [name for name, value in evaluations.items() if value is not None and value != value]


@dataclass(frozen=True, slots=True)
class Curve:
    """Validation accuracy of one architecture over the epochs: mean, lowest and highest seed.

    All three are NaN in an epoch in which the evaluation failed under any seed.
    """

    index: int
    label: str
    epochs: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]

    @property
    def final(self) -> float:
        """The mean after the last epoch; NaN if there is no epoch."""
        return self.mean[-1] if self.mean else math.nan


@dataclass(frozen=True, slots=True)
class Total:
    """The time account of one kind of work on one subject."""

    kind: str
    subject: str
    phases: int
    wall_s: float
    cpu_s: float
    images: int
    macs: int


def rows(results: Results) -> list[Row]:
    """Return one row per architecture, in the order of the records."""
    n = range(len(results.architectures))
    supernets = [seed.supernet for seed in results.seeds]
    longer = [seed.longer for seed in results.seeds if seed.longer is not None]
    apart = [_standalone(results, i) for i in n]
    places = [_place_alone(results, i) for i in n]
    validation = [_mean(t.validation[i] for t in supernets) for i in n]
    tested = all(training.test for training in supernets)
    one_shot = [_mean(t.test[i] for t in supernets) if tested else math.nan for i in n]
    standalone = [_mean(t.test[0] for t in trainings if t.test) for trainings in apart]
    one_shot_ranks, standalone_ranks = ranks(what_ranked(results, validation)), ranks(standalone)
    verdict, ranking = results.verdict, results.ranking
    cpu_s = _training_cpu(results)
    return [
        Row(
            label=arch.label,
            options=arch.options,
            params=arch.params,
            macs=arch.macs,
            one_shot_validation=validation[i],
            validation=_judged(ranking.validation if ranking else None, i, validation[i]),
            one_shot=_one_shot(results, i, one_shot[i]),
            standalone=_judged(verdict.standalone if verdict else None, places[i], standalone[i])
            if apart[i]
            else None,
            gap=_judged(verdict.gaps if verdict else None, places[i], one_shot[i] - standalone[i])
            if apart[i]
            else None,
            longer=_mean(t.test[i] for t in longer) if longer and tested else None,
            loss=ranking.losses[i] if ranking and ranking.losses else None,
            tested=tested,
            one_shot_rank=one_shot_ranks[i],
            standalone_rank=standalone_ranks[i],
            standalone_cpu_s=cpu_s.get(arch.label),
            corrected=results.corrected.predicted[i] if results.corrected else None,
        )
        for i, arch in enumerate(results.architectures)
    ]


def what_ranked(results: Results, validation: list[float]) -> list[float]:
    """Return what the networks were ranked by, higher is better.

    Args:
        results: Of a run.
        validation: One-shot scores, which rank unless losses do.
    """
    ranking, plain = results.ranking, validation
    if ranking is None:
        return plain
    if ranking.ranked_by == "loss" and ranking.losses is not None:
        plain = [-loss.value for loss in ranking.losses]
    return [a + b for a, b in zip(plain, ranking.leaning or [0.0] * len(plain), strict=True)]


def _one_shot(results: Results, i: int, mean: float) -> Estimate:
    """Return the one-shot score on test samples, with the verdict's interval or the ranking's."""
    verdict, place = results.verdict, _place_alone(results, i)
    if verdict and place is not None:
        return verdict.one_shot[place]
    return _judged(results.ranking.test if results.ranking else None, i, mean)


def by_rank(results: Results) -> list[Row]:
    """Return the rows in the order of the one-shot ranking; of equals the cheapest first."""
    return sorted(rows(results), key=lambda row: (row.one_shot_rank or math.inf, row.macs))


def ranks(scores: Sequence[float]) -> list[int | None]:
    """Return the rank of each score, 1 for the highest; ties share a rank, NaN has none.

    >>> ranks([0.9, 0.8, 0.9, math.nan])
    [1, 3, 1, None]
    """
    ordered = sorted((score for score in scores if not math.isnan(score)), reverse=True)
    first: dict[float, int] = {}
    for rank, score in enumerate(ordered, start=1):
        first.setdefault(score, rank)
    return [first.get(score) for score in scores]


def bare(value: float) -> Estimate:
    """Return an estimate without an interval."""
    return Estimate(value=value, low=math.nan, high=math.nan)


def sentences(results: Results) -> list[str]:
    """Return what the run says: the verdict, what corrects it, and how steady the ranking is."""
    judged = (results.verdict, results.corrected, results.ranking)
    return [sentence for record in judged if record for sentence in record.sentences]


def ranked_by(results: Results) -> str:
    """Say by what networks were ranked."""
    judged = results.ranking or results.verdict
    by_loss = judged is not None and judged.ranked_by == "loss"
    leans = results.ranking is not None and results.ranking.leaning is not None
    by = "loss" if by_loss else results.measure.name
    return f"validation {by}{LEANING if leans else ''}"


def any_failed(table: Sequence[Row]) -> bool:
    """Say whether any evaluation failed."""
    return any(row.failed for row in table)


def compared(results: Results) -> bool:
    """Say whether there is anything to compare: at least one standalone training."""
    return any(seed.standalone for seed in results.seeds)


def one_shot_curves(results: Results) -> list[Curve]:
    """Return the supernet's curves, one per architecture."""
    trainings = [seed.supernet for seed in results.seeds]
    return [_curve(i, arch.label, trainings, i) for i, arch in enumerate(results.architectures)]


def standalone_curves(results: Results) -> list[Curve]:
    """Return the curves of the standalone trainings, one per architecture trained."""
    curves = [
        _curve(i, arch.label, _standalone(results, i), 0)
        for i, arch in enumerate(results.architectures)
    ]
    return [curve for curve in curves if curve.epochs]


def account(phases: Sequence[Phase]) -> list[Total]:
    """Return the time account, summed over each kind of work on each subject."""
    groups = [
        (kind, subject, [p for p in phases if (p.kind, p.subject) == (kind, subject)])
        for subject in SUBJECTS
        for kind in KINDS
    ]
    return [total(group, kind, subject) for kind, subject, group in groups if group]


def total(phases: Sequence[Phase], kind: str = "all", subject: str = "all") -> Total:
    """Return the sum over some phases."""
    return Total(
        kind=kind,
        subject=subject,
        phases=len(phases),
        wall_s=sum(phase.wall_s for phase in phases),
        cpu_s=sum(phase.cpu_s for phase in phases),
        images=sum(phase.images for phase in phases),
        macs=sum(phase.macs for phase in phases),
    )


def cpu_per_seed(results: Results, wanted: Callable[[Phase], bool]) -> dict[str, float]:
    """Return CPU seconds by kind of work, mean over the seeds, of the phases that are wanted."""
    chosen = [phase for phase in results.ledger if wanted(phase)]
    n = max(len({phase.seed for phase in chosen}), 1)
    return {
        kind: sum(phase.cpu_s for phase in chosen if phase.kind == kind) / n
        for kind in KINDS
        if any(phase.kind == kind for phase in chosen)
    }


def _judged(estimates: list[Estimate] | None, i: int | None, mean: float) -> Estimate:
    return bare(mean) if estimates is None or i is None else estimates[i]


def _standalone(results: Results, i: int) -> list[Training]:
    place = _place_alone(results, i)
    return [
        seed.standalone[place]
        for seed in results.seeds
        if place is not None and place < len(seed.standalone)
    ]


def _place_alone(results: Results, i: int) -> int | None:
    """Return the place of an architecture among those trained alone, if it is one of them."""
    if results.alone is None:
        return i
    return results.alone.index(i) if i in results.alone else None


def _training_cpu(results: Results) -> dict[str, float]:
    """Return the CPU seconds of training each network alone, mean over seeds, by label."""
    seconds: dict[str, list[float]] = {}
    for phase in results.ledger:
        if (phase.kind, phase.subject) == ("training", "standalone") and phase.arch is not None:
            seconds.setdefault(phase.arch, []).append(phase.cpu_s)
    seeds = len({phase.seed for phase in results.ledger if phase.subject == "standalone"}) or 1
    return {label: math.fsum(parts) / seeds for label, parts in seconds.items()}


def _curve(index: int, label: str, trainings: Sequence[Training], column: int) -> Curve:
    points: dict[int, list[float]] = {}
    for training in trainings:
        for epoch in training.epochs:
            points.setdefault(epoch.epoch, []).append(epoch.validation[column])
    epochs = sorted(points)
    return Curve(
        index=index,
        label=label,
        epochs=epochs,
        mean=[_mean(points[epoch]) for epoch in epochs],
        low=[_extreme(min, points[epoch]) for epoch in epochs],
        high=[_extreme(max, points[epoch]) for epoch in epochs],
    )


def _extreme(of: Callable[[list[float]], float], values: list[float]) -> float:
    """Return the lowest or highest; NaN, which has no place in any order, if there is one."""
    return math.nan if any(map(math.isnan, values)) else of(values)


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return math.fsum(numbers) / len(numbers) if numbers else math.nan
