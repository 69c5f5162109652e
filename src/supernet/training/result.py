"""The result of a training, as a value and as data on disk."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from supernet.errors import DataError, SettingsError
from supernet.evaluation.accuracy import find_best
from supernet.records import ACCURACY, Measure, Phase, Training
from supernet.runs.checkpoints import State
from supernet.space import Architecture
from supernet.training.recipe import Recipe

#: Booleans or floating-point numbers, architectures x samples.
Scores = NDArray[Any]

#: Rows of the table that a notebook shows.
_ROWS = 20


@dataclass(frozen=True, repr=False)
class TrainingResult:
    """What a training leaves behind.

    Attributes:
        archs: The architectures scored, in the order of everything below.
        recipe: How it was trained.
        calibration_images: From how many samples the batch-norm statistics are.
        training: Losses and mean scores.
        validation: The score of each validation sample by each architecture, architectures x
            samples: for classification booleans, which it got right. A row of a failed evaluation
            is zero throughout, and its mean score NaN.
        test: The same for the test samples; no columns if there are none.
        phases: Time, samples and work.
        measure: What a mean score is called, and its unit.
        validation_losses: The loss of each validation sample, likewise; None if the task has no
            quick way to give them (`Task.losses`).
        test_losses: The same for the test samples.
    """

    archs: tuple[Architecture, ...]
    recipe: Recipe
    calibration_images: int
    training: Training
    validation: Scores
    test: Scores
    phases: tuple[Phase, ...]
    measure: Measure = ACCURACY
    validation_losses: NDArray[np.floating[Any]] | None = None
    test_losses: NDArray[np.floating[Any]] | None = None

    @property
    def scores(self) -> dict[Architecture, float]:
        """The mean validation score of each architecture; NaN for a failed evaluation."""
        return dict(zip(self.archs, self.training.validation, strict=True))

    @property
    def losses(self) -> dict[Architecture, float]:
        """The mean validation loss of each architecture; NaN for a failed evaluation.

        Raises:
            SettingsError: If the task gave none.
        """
        if self.validation_losses is None:
            raise SettingsError(
                "there are no losses per sample; give the task a method `losses`, see "
                "`supernet.Task`"
            )
        means = self.validation_losses.mean(axis=1, dtype=np.float64).tolist()
        return {
            arch: math.nan if math.isnan(score) else mean
            for mean, (arch, score) in zip(means, self.scores.items(), strict=True)
        }

    @property
    def best(self) -> Architecture:
        """The architecture with the highest validation score; of equals, the first.

        Raises:
            DivergedError: If all evaluations failed.
        """
        return self.best_by("score")

    def best_by(self, by: Literal["score", "loss"]) -> Architecture:
        """Return the best architecture by validation scores, or by losses, which tie less often.

        Raises:
            DivergedError: If all evaluations failed.
            SettingsError: If it is to be by losses, and there are none.
        """
        if by not in ("score", "loss"):
            raise SettingsError(f"best by {by!r}? Give 'score' or 'loss'")
        if by == "score":
            return find_best(self.scores)
        return find_best({arch: -loss for arch, loss in self.losses.items()})

    def __repr__(self) -> str:
        scores = [score for score in self.training.validation if not math.isnan(score)]
        epochs = len(self.training.epochs)
        many = len(self.archs)
        parts = [
            f"{many} architecture{'s' * (many != 1)}",
            f"{epochs} epoch{'s' * (epochs != 1)}",
        ]
        if scores:
            low, high = sorted((self._shown(min(scores)), self._shown(max(scores))))
            span = f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
            parts.append(f"validation {self.measure.name} {span} {self.measure.unit}".rstrip())
        if scores and many > 1:
            parts.append(f"best {self.best.label}")
        return f"TrainingResult({', '.join(parts)})"

    def _repr_html_(self) -> str:
        """Return a table of the architectures, the best first, for notebooks."""
        order = sorted(
            range(len(self.archs)),
            key=lambda at: (
                -math.inf if math.isnan(score := self.training.validation[at]) else score
            ),
            reverse=True,
        )
        unit = f", {self.measure.unit}" if self.measure.unit else ""
        names = ["architecture", f"validation {self.measure.name}{unit}"]
        names += [f"test {self.measure.name}{unit}"] if self.training.test else []
        rows = [self._cells(at) for at in order[:_ROWS]]
        head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
        body = "".join(
            f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows
        )
        more = len(order) - len(rows)
        rest = f"<p>and {more} more</p>" if more else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"

    def _cells(self, at: int) -> list[str]:
        numbers = [self.training.validation[at]]
        numbers += [self.training.test[at]] if self.training.test else []
        shown = ["failed" if math.isnan(n) else f"{self._shown(n):.4g}" for n in numbers]
        return [self.archs[at].label, *shown]

    def _shown(self, score: float) -> float:
        return self.measure.shown(score)


def to_state(result: TrainingResult) -> State:
    """Return a result as data."""
    arrays = ("validation", "test", "validation_losses", "test_losses")
    return {
        "archs": [dict(arch) for arch in result.archs],
        "recipe": asdict(result.recipe),
        "calibration_images": result.calibration_images,
        "training": result.training.model_dump(),
        "phases": [phase.model_dump() for phase in result.phases],
        "measure": result.measure.model_dump(),
        **{name: _as_tensor(getattr(result, name)) for name in arrays},
    }


def from_state(state: State) -> TrainingResult:
    """Return the result that `to_state` made data of.

    Raises:
        DataError: If its mean scores don't follow from its scores.
    """
    training = Training(**state["training"])
    validation, test = state["validation"].numpy(), state["test"].numpy()
    for name, means, scores in (
        ("validation", training.validation, validation),
        ("test", training.test, test),
    ):
        _check_means(name, means, scores)
    losses = {
        name: None if state[name] is None else state[name].numpy()
        for name in ("validation_losses", "test_losses")
    }
    return TrainingResult(
        archs=tuple(Architecture(options) for options in state["archs"]),
        recipe=Recipe(**state["recipe"]),
        calibration_images=state["calibration_images"],
        training=training,
        validation=validation,
        test=test,
        phases=tuple(Phase(**phase) for phase in state["phases"]),
        measure=Measure(**state["measure"]),
        **losses,
    )


def _check_means(name: str, means: Sequence[float], scores: Scores) -> None:
    """Raise `DataError` unless mean scores are the means of the scores, to the bit.

    Those of failed evaluations are NaN, and their scores zero.
    """
    if not means and scores.shape[1] == 0:
        return  # there were no samples
    for at, mean in enumerate(means):
        row = torch.from_numpy(scores[at])
        found = row.double().mean().item()
        if not (mean == found or (math.isnan(mean) and not row.any())):
            raise DataError(
                f"the {name} score of architecture {at} is {mean}, but its samples make {found}"
            )
    if len(means) != len(scores):
        raise DataError(f"there are {len(means)} {name} scores for {len(scores)} architectures")


def _as_tensor(values: NDArray[Any] | None) -> torch.Tensor | None:
    return None if values is None else torch.from_numpy(values)
