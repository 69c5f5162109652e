"""What a correction goes by: scores in the supernet, sizes and choices, on one scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, final

import numpy as np
import scipy

from supernet.evaluation.ranking.metrics import Floats

#: What an architecture chose.
Options = Mapping[str, int | str]

#: A number for each of some architectures, by name.
Features = Mapping[str, Sequence[float]]

#: How much log MACs may count in what is of the supernet, against 1 for the score.
LEANS: Final = (0.0, 0.4)

_OF_SUPERNET: Final = ("one_shot", "one_shot_loss")
_LEAST_LOSS: Final = 1e-12
_NEAREST: Final = 1e-4
"""How near to 0 and 1 a share may come before its log-odds are taken."""
_ROUNDING: Final = 1e-9
"""What differs by less, relative to itself, is the same everywhere."""


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What is known of architectures.

    Attributes:
        own: The features that are the supernet's, by how much they lean to size.
        others: Other features.
        hot: Choices, see `one_hot`.
    """

    own: Mapping[float, Floats]
    others: Floats
    hot: Floats

    def at(self, rows: Sequence[int]) -> Known:
        """Return what is known of some of them."""
        own = {lean: columns[rows] for lean, columns in self.own.items()}
        return Known(own, self.others[rows], self.hot[rows])

    def without_supernet(self) -> Known:
        """Return what is known without scores of a supernet."""
        return replace(self, own={0.0: np.zeros((len(self.others), 0))})


class Plain:
    """Scores as they are."""

    def to(self, scores: Floats) -> Floats:
        """Return what is modeled."""
        return scores

    def back(self, scores: Floats) -> Floats:
        """Return scores."""
        return scores


class Odds(Plain):
    """Shares as log-odds."""

    def to(self, scores: Floats) -> Floats:
        return np.asarray(scipy.special.logit(scores.clip(_NEAREST, 1 - _NEAREST)))

    def back(self, scores: Floats) -> Floats:
        return np.asarray(scipy.special.expit(scores))


def are_shares(scores: Floats) -> bool:
    """Return whether all are from 0 to 1."""
    return bool(((scores >= 0) & (scores <= 1)).all())


def features_of(
    scores: Sequence[float],
    losses: Sequence[float] | None,
    *,
    layers: Sequence[float],
    **sizes: Sequence[float],
) -> dict[str, Sequence[float]]:
    """Return what a correction goes by, by name.

    Args:
        scores: One-shot scores, higher is better.
        losses: One-shot losses, if there are any.
        layers: How many layers run.
        sizes: Multiply-adds, parameters, as far as known; their logarithms count.
    """
    found: dict[str, Sequence[float]] = {"one_shot": scores}
    if losses is not None:
        found["one_shot_loss"] = losses
    for name, values in sizes.items():
        found[f"log {name}"] = [math.log(max(value, 1)) for value in values]
    return found | {"layers": layers}


def one_hot(options: Sequence[Options]) -> Floats:
    """Return rows of which the product of two is the number of choices on which they agree.

    A choice that an architecture doesn't have counts as one more option of it.
    """
    return _hot(options, _columns_of(options))


def _columns_of(options: Sequence[Options]) -> list[tuple[str, int | str | None]]:
    """Return every option of every choice, None for not having it."""
    names = sorted({name for each in options for name in each})
    return [
        (name, value)
        for name in names
        for value in dict.fromkeys(each.get(name) for each in options)
    ]


def _hot(options: Sequence[Options], columns: Sequence[tuple[str, int | str | None]]) -> Floats:
    rows = [[each.get(name) == value for name, value in columns] for each in options]
    return np.array(rows, float).reshape(len(options), len(columns))


@final
class Reader:
    """Makes what is known of architectures out of options and features, always to one scale."""

    def __init__(
        self, options: Sequence[Options], features: Features, macs: Sequence[int], scale: Plain
    ) -> None:
        self._columns, self._scale = _columns_of(options), scale
        self._losses_have_logs = all(loss > 0 for loss in features.get("one_shot_loss", []))
        self._others = [name for name in features if name not in _OF_SUPERNET]
        own, others, size = self._raw(features, macs)
        self._to_own, self._to_others, self._to_size = map(Standard, (own, others, size))
        leans = LEANS if self._to_size.differs.any() and self._to_own.differs.any() else LEANS[:1]
        self._to_leaning = {lean: Standard(self._leaning(own, size, lean)) for lean in leans}

    def read(self, options: Sequence[Options], features: Features, macs: Sequence[int]) -> Known:
        """Return what is known of architectures."""
        own, others, size = self._raw(features, macs)
        leaning = {
            lean: standard(self._leaning(own, size, lean))
            for lean, standard in self._to_leaning.items()
        }
        return Known(leaning, self._to_others(others), _hot(options, self._columns))

    def _leaning(self, own: Floats, size: Floats, lean: float) -> Floats:
        logs = self._to_size(size) * self._to_own.differs  # what says nothing can't lean
        return np.asarray(self._to_own(own) + lean * logs)

    def _raw(self, features: Features, macs: Sequence[int]) -> tuple[Floats, Floats, Floats]:
        own = [self._scale.to(np.asarray(features["one_shot"], np.float64))]
        if (said := features.get("one_shot_loss")) is not None:
            losses = np.asarray(said, np.float64)
            logs = self._losses_have_logs
            own.append(-np.log(np.maximum(losses, _LEAST_LOSS)) if logs else -losses)
        others = [np.asarray(features[name], np.float64) for name in self._others]
        size = np.log(np.maximum(np.asarray(macs, np.float64), 1))
        return (
            np.array(own).T,
            np.array(others).reshape(len(others), len(size)).T,
            size[:, None],
        )


@final
class Standard:
    """Scales features to mean 0 and variance 1; one that is the same everywhere becomes 0."""

    def __init__(self, columns: Floats) -> None:
        spread = columns.std(axis=0)
        self.differs = spread > _ROUNDING * np.abs(columns).max(axis=0)
        self._mean, self._spread = columns.mean(axis=0), np.where(self.differs, spread, 1.0)

    def __call__(self, columns: Floats) -> Floats:
        return np.asarray((columns - self._mean) / self._spread * self.differs)
