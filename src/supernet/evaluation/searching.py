"""Search of a supernet: every generation is scored in one shared pass, by its trained weights."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, final

import torch

from supernet.errors import SettingsError, UntrainedWarning
from supernet.evaluation.accuracy import Scores, evaluate
from supernet.evaluation.batches import Batches, Inputs
from supernet.evaluation.corrected import CORRECTED, CorrectedScorer, require_enough
from supernet.evaluation.cost import plan_costs
from supernet.nn.supernet import Supernet
from supernet.space import Architecture
from supernet.strategies.constraints import Limit, as_limits
from supernet.strategies.costs import Cost
from supernet.strategies.loop import (
    GENERATION,
    Evaluate,
    MakeStrategy,
    Measured,
    search_space,
)
from supernet.strategies.problem import Evaluation, Failed, Objective, as_objectives
from supernet.tasks import Task

#: What scoring on data measures.
_MEASURED = ("score", "loss")

#: What is known of an architecture where samples have a shape.
_SIZES = ("params", "macs")

#: Returns the score of each sample by each architecture.
ScoreMany = Callable[[Sequence[Architecture]], Mapping[Architecture, Scores]]

#: Training samples that batch norms are recalibrated on, unless somebody says otherwise.
_CALIBRATION = 500


def search(
    supernet: Supernet,
    data: Any,
    *,
    budget: int,
    objectives: Iterable[str | Objective] = ("score", "macs"),
    limits: str | Limit | Iterable[str | Limit] = (),
    costs: Mapping[str, Cost] = {},
    functions: Mapping[str, Callable[[Architecture], float]] = {},
    strategy: str | MakeStrategy | None = None,
    generation: int = GENERATION,
    seed: int = 0,
    task: Task | None = None,
    calibration: Inputs | None = None,
    batches: Batches | None = None,
    earlier: Iterable[Evaluation] = (),
    score: ScoreMany | None = None,
    alone: Mapping[Architecture, float] = {},
) -> Iterator[Evaluation]:
    """Search a trained supernet for the best architectures under limits; a generator.

    Example:
        >>> from supernet import Depth, Supernet
        >>> net = torch.nn.Sequential(Depth("block", [torch.nn.Linear(3, 3) for _ in range(4)]))
        >>> found = list(
        ...     search(
        ...         Supernet(net),
        ...         lambda archs: {arch: 1 - 1 / arch["block.depth"] for arch in archs},
        ...         objectives=("score", "steps"),
        ...         costs={"steps": lambda arch: arch["block.depth"]},
        ...         limits="steps <= 3",
        ...         budget=10,
        ...     )
        ... )
        >>> [(one.arch["block.depth"], round(one.values["score"], 2)) for one in found]
        [(1, 0.0), (2, 0.5), (3, 0.67)]

    Args:
        supernet: The network, with trained weights.
        data: Data with the splits `train` and `validation`, such as `load_mnist()`: "score" and
            "loss" are those of validation samples, after recalibration on training samples. Or a
            function that is given architectures, and returns the score of each, or several values.
        budget: How many architectures are evaluated at most.
        objectives: What is to be good: "score" large, all others small; "max:NAME" makes another
            large. "params" and "macs" are known where `data` has a `shape`; "corrected" is the
            score that a network would reach trained alone, as those in `alone` tell.
        limits: What must hold, such as "macs <= 5e6 and block1.depth == 2"; see `parse_limits`.
        costs: More that is known of every architecture without looking, such as
            `{"latency_ms": table.cost_of(supernet)}`; see `measure_latency`.
        functions: More to be measured of each architecture that is evaluated, by name.
        strategy: "exhaustive", "random", "evolution", "nsga2", "guided", or what makes a strategy.
            By default all architectures are evaluated where the budget suffices for that, and a
            guided search is made otherwise.
        generation: How many are scored in one shared pass.
        seed: Of all luck.
        task: What the network is for; classification by default.
        calibration: Samples for batch-norm statistics; by default, the first 500 of `data.train`.
        batches: Samples to score on; by default, `data.validation`.
        earlier: Evaluations of the same search that need not be made again.
        score: What scores a generation on data in place of this process, sample by sample.
        alone: What some architectures scored on validation samples after they were trained alone,
            six at least: twenty or more, drawn at random, to be of use; see
            `supernet.evaluation.ranking.correction`.

    Yields:
        Evaluations, in order. See `select_front` and `select_best` for what is best of them.

    Raises:
        SettingsError: If a setting is unknown or impossible.
        LimitError: If no architecture meets the limits.
    """
    wanted, bounds = as_objectives(objectives), as_limits(limits)
    known = dict(costs)
    shape = getattr(data, "example", None)
    if shape is None:
        shape = getattr(data, "shape", None)
    if shape is not None:
        known = {**plan_costs(supernet, shape), **known}
    _require_known({one.name for one in wanted} | {one.name for one in bounds}, known)
    scorer: Evaluate
    if hasattr(data, "train") and hasattr(data, "validation"):
        wants_corrected = any(one.name == CORRECTED for one in wanted)
        if wants_corrected or alone:
            require_enough(alone)
        _require_measured(wanted, [*_MEASURED, CORRECTED, *known, *functions])
        scorer = SupernetScorer(supernet, data, task, calibration, batches, score)
        if wants_corrected:
            sizes: dict[str, Cost] = {name: known[name] for name in _SIZES if name in known}
            scorer = CorrectedScorer(supernet, scorer, alone, sizes)
    elif callable(data):
        if alone:
            raise SettingsError(
                "alone corrects scores on data with splits; a function can correct its own"
            )
        scorer = data
    else:
        raise SettingsError(
            f"a search needs data with splits train and validation, or a function that scores "
            f"architectures; it was given a {type(data).__name__}"
        )
    return search_space(
        supernet.space,
        scorer,
        budget=budget,
        objectives=wanted,
        limits=bounds,
        costs=known,
        functions=functions,
        strategy=strategy,
        generation=generation,
        seed=seed,
        earlier=earlier,
    )


def _require_measured(wanted: Iterable[Objective], known: Sequence[str]) -> None:
    for objective in wanted:
        if objective.name not in known:
            raise SettingsError(
                f"unknown objective {objective.name!r}; known are {', '.join(known)}"
            )


def _require_known(names: set[str], costs: Mapping[str, Cost]) -> None:
    if "latency_ms" in names and "latency_ms" not in costs:
        raise SettingsError(
            "latency_ms needs a table of this device: table = measure_latency(supernet, shape), "
            'then costs={"latency_ms": table.cost_of(supernet)}'
        )
    for name in _SIZES:
        if name in names and name not in costs:
            raise SettingsError(
                f"{name} needs the shape of a sample, which the data don't say: give "
                "costs=plan_costs(supernet, shape)"
            )


@final
class SupernetScorer:
    """Scores architectures on validation samples, all of a generation in one shared pass.

    Args:
        supernet: The network.
        data: With the splits `train` and `validation`.
        task: What the network is for; classification by default.
        calibration: Samples for batch-norm statistics.
        batches: Samples to score on; by default, `data.validation`.
        score: What scores a generation on `batches` in place of this process.

    Attributes:
        samples: How many samples were scored on; 0 before the first time.
    """

    def __init__(
        self,
        supernet: Supernet,
        data: Any,
        task: Task | None = None,
        calibration: Inputs | None = None,
        batches: Batches | None = None,
        score: ScoreMany | None = None,
    ) -> None:
        self._score = score
        self._supernet, self._data, self._task = supernet, data, task
        if calibration is None:
            train = data.train
            first = getattr(train, "first", None)
            calibration = first(min(_CALIBRATION, len(train))) if first else train
        self._calibration = calibration
        self._batches = data.validation if batches is None else batches
        self.samples = 0

    def __call__(self, archs: Sequence[Architecture]) -> dict[Architecture, Measured]:
        """Return the mean score and loss of each, and the standard error of the score."""
        found = self.samples_of(archs) if self._score is None else self._score(archs)
        measured: dict[Architecture, Measured] = {}
        for arch, scores in found.items():
            if scores.scores is None:
                measured[arch] = Failed("its outputs are not all finite numbers")
                continue
            values = scores.scores.double()
            spread = values.std().item() if len(values) > 1 else math.nan
            measured[arch] = {
                "score": values.mean().item(),
                "loss": scores.loss,
                "score_error": spread / math.sqrt(len(values)),
            }
        if not self.samples:
            self._look_for_training(list(found.values()))
        return measured

    def samples_of(
        self, archs: Sequence[Architecture], batches: Batches | None = None
    ) -> dict[Architecture, Scores]:
        """Return the score of each sample by each architecture."""
        return evaluate(
            self._supernet,
            archs,
            calibration=self._calibration,
            batches=self._batches if batches is None else batches,
            task=self._task,
            per_sample=True,
        )

    def _look_for_training(self, found: Sequence[Scores]) -> None:
        """Warn if no architecture of the first generation is better than guessing."""
        hits = [one.scores for one in found if one.scores is not None]
        self.samples = len(hits[0]) if hits else 0
        classes = getattr(self._data, "classes", None)
        if not hits or not classes or any(one.dtype != torch.bool for one in hits):
            return
        guessing = 1 / classes
        error = math.sqrt(guessing * (1 - guessing) / self.samples)
        best = max(one.double().mean().item() for one in hits)
        if best < guessing + 2 * error:
            warnings.warn(
                f"the best of {len(hits)} architectures scores {best:.3f}, and guessing among "
                f"{classes} classes scores {guessing:.3f}: the supernet seems untrained, so the "
                "search will find nothing; train it first",
                UntrainedWarning,
                stacklevel=2,
            )
