"""Rankings that need no training, such as by size: what a supernet must add something to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from supernet.errors import DataError
from supernet.evaluation.ranking.metrics import CELLS, Floats, cosine, pair_signs


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """The best trivial ranking of some networks.

    `name` is the one that agrees best with all of them. `signs` says for each pair of networks
    which is better by the one that agrees best with *the rest*: what someone would have said of
    these two who chose without knowing them. (1, pairs), in the order of `pair_signs`.
    """

    name: str
    signs: Floats

    def tau_rows(self, truths: Floats) -> Floats:
        """Return the tau-b of the signs with each row of truths, (B, A) to (B,)."""
        step = max(1, CELLS // self.signs.shape[1])
        return np.concatenate(
            [
                cosine(self.signs, pair_signs(truths[start : start + step]))
                for start in range(0, len(truths), step)
            ]
        )


def choose(rankings: Mapping[str, Sequence[float]], truth: Floats) -> Chosen | None:
    """Return the trivial ranking that agrees best with the truth, chosen by cross-validation.

    Of each ranking it is known how far all pairs agree with the truth; leaving out two networks
    takes away the pairs they are in. Choosing on the rest, for every two, gives the luck of the
    choice no part in the result. The first of equals is chosen.

    Args:
        rankings: A number per network, higher is better, by the name of what it counts.
        truth: (A,).

    Returns:
        None if there are fewer than four networks, or nothing ranks them.

    Raises:
        DataError: If a ranking has another number of networks.
    """
    for name, ranking in rankings.items():
        if len(ranking) != len(truth):
            raise DataError(
                f"{name} is given for {len(ranking)} architecture(s), but there are {len(truth)}"
            )
    able = {name: np.asarray(r, np.float64) for name, r in rankings.items() if len(set(r)) > 1}
    if len(truth) < 4 or not able or len(np.unique(truth)) < 2:
        return None
    signs = np.concatenate([pair_signs(ranking[None]) for ranking in able.values()])
    agreement = signs * pair_signs(truth[None])
    first, second = np.triu_indices(len(truth), 1)
    with_each = np.stack(
        [
            np.bincount(first, row, len(truth)) + np.bincount(second, row, len(truth))
            for row in agreement
        ]
    )
    total = agreement.sum(axis=1, keepdims=True)
    untied = np.sqrt((signs != 0).sum(axis=1, keepdims=True))
    rest = (total - with_each[:, first] - with_each[:, second] + agreement) / untied
    chosen = np.argmax(rest.round(9), axis=0)
    best = int(np.argmax((total / untied).round(9)))
    return Chosen(list(able)[best], np.take_along_axis(signs, chosen[None], axis=0))
