"""Scores of a supernet corrected, in a search, by some networks that were trained alone.

The networks trained alone are scored with the weights that are searched, once, before the first
generation; what they reached alone then says how scores, sizes and choices tell what any other
would reach (`supernet.evaluation.ranking.correction`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, final

import numpy as np

from supernet.errors import SettingsError
from supernet.evaluation.cost import plan_layers
from supernet.evaluation.ranking.correction import FEWEST, Correction
from supernet.evaluation.ranking.features import features_of
from supernet.nn.supernet import Supernet
from supernet.space import Architecture
from supernet.strategies.loop import Evaluate, Measured
from supernet.strategies.problem import Failed

#: What is predicted: the score of an architecture when trained alone.
CORRECTED: Final = "corrected"

_ENOUGH: Final = 20


def require_enough(alone: Mapping[Architecture, float]) -> None:
    """See that there are enough networks trained alone to correct by.

    Raises:
        SettingsError: If not.
    """
    sound = sum(math.isfinite(score) for score in alone.values())
    if sound < FEWEST:
        raise SettingsError(
            f"corrected scores need networks that were trained alone, {FEWEST} at least, and there "
            f"are {sound}: make the run with `supernet compare --alone {_ENOUGH}`, or give alone="
        )


@final
class CorrectedScorer:
    """Scores architectures, and adds what each would score trained alone, as `corrected`.

    Args:
        supernet: The network.
        scorer: Measures `score`, and `loss` if there is one.
        alone: What some reached alone; not-finite numbers are left out.
        sizes: Multiply-adds and parameters, as functions of an architecture, as far as known.

    Raises:
        SettingsError: When called first, if fewer than `FEWEST` of those trained alone can be
            scored.
    """

    def __init__(
        self,
        supernet: Supernet,
        scorer: Evaluate,
        alone: Mapping[Architecture, float],
        sizes: Mapping[str, Callable[[Architecture], float]],
    ) -> None:
        canonical = supernet.space.canonical
        self._alone = {canonical(arch): s for arch, s in alone.items() if math.isfinite(s)}
        self._scorer, self._sizes = scorer, sizes
        self._layers = plan_layers(supernet)
        self._correction: Correction | None = None

    def __call__(self, archs: Sequence[Architecture]) -> dict[Architecture, Measured]:
        """Return what the scorer measures, and `corrected` where nothing failed."""
        if self._correction is None:
            self._correction = self._fit()
        found = dict(self._scorer(archs))
        sound = _sound(found)
        if sound:
            values, _, _ = self._correction.predict(
                [dict(arch) for arch in sound], self._features(sound), macs=self._macs(sound)
            )
            for (arch, measured), value in zip(sound.items(), values.tolist(), strict=True):
                found[arch] = {**measured, CORRECTED: value}
        return found

    def _fit(self) -> Correction:
        sound = _sound(self._scorer(list(self._alone)))
        require_enough({arch: self._alone[arch] for arch in sound})
        return Correction(
            [dict(arch) for arch in sound],
            self._features(sound),
            range(len(sound)),
            np.array([self._alone[arch] for arch in sound]),
            macs=self._macs(sound),
        )

    def _features(
        self, found: Mapping[Architecture, Mapping[str, float]]
    ) -> dict[str, Sequence[float]]:
        losses = [values.get("loss", math.nan) for values in found.values()]
        return features_of(
            [values["score"] for values in found.values()],
            losses if all(map(math.isfinite, losses)) else None,
            layers=[self._layers(arch) for arch in found],
            **{name: [size(arch) for arch in found] for name, size in self._sizes.items()},
        )

    def _macs(self, archs: Mapping[Architecture, object]) -> list[int]:
        macs = self._sizes.get("macs")
        return [int(macs(arch)) if macs else 1 for arch in archs]


def _sound(
    found: Mapping[Architecture, Measured],
) -> dict[Architecture, Mapping[str, float]]:
    """Return what was measured of architectures that have a finite score."""
    return {
        arch: values
        for arch, values in found.items()
        if not isinstance(values, Failed | float) and math.isfinite(values["score"])
    }
