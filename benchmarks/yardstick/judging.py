"""How good a ranking of the yardstick's networks is, uncorrected and corrected by a few labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from supernet.evaluation.ranking.baselines import choose
from supernet.evaluation.ranking.correction import correct
from supernet.evaluation.ranking.features import one_hot
from supernet.evaluation.ranking.leaning import lean_to_larger
from supernet.evaluation.ranking.metrics import kendall, pick, regret_rows
from yardstick.table import Floats, Table

#: Numbers of networks trained alone, and how often each number is drawn.
LABELS: Final = (10, 20, 40)
DRAWS: Final = 20
#: How much rankings lean to size: what gave the highest tau in all on `depth`.
LEAN: Final = 0.4


@dataclass(frozen=True)
class Judged:
    """A ranking held against the truth: Kendall's tau in all and in the better half, and regret."""

    tau: float
    better: float
    regret: float


def judge_ranking(table: Table, scores: Floats) -> Judged:
    """Return how well scores, (A,), higher is better, rank a space's networks."""
    truth, half, macs = table.truth, table.better, table.sizes["macs"]
    return Judged(
        tau=kendall(scores, truth)[0],
        better=kendall(scores[half], truth[half])[0],
        regret=float(regret_rows(scores[None], truth[None], macs)[0]),
    )


def lean(table: Table, scores: Floats) -> Floats:
    """Return scores, (A,), leaning to networks of more multiply-adds as the library has it."""
    macs = table.sizes["macs"].astype(int).tolist()
    return np.asarray(scores + lean_to_larger(scores[None, :, None], macs, LEAN))


def best_trivial(table: Table) -> str:
    """Return which of MACs, parameters and layers ranks a space best."""
    chosen = choose({name: size.tolist() for name, size in table.sizes.items()}, table.truth)
    assert chosen is not None
    return chosen.name


def judge_corrections(
    table: Table,
    scores: Mapping[str, Floats],
    *,
    draws: int = DRAWS,
    truth: Floats | None = None,
    others: Mapping[str, Floats] | None = None,
) -> list[dict[str, Any]]:
    """Return what rankings reach with labels, on the networks that gave none.

    Each number of labels is drawn several times; what is returned are means over the draws. A
    label is the accuracy of one seed, the truth on the rest the mean of all.

    Args:
        table: The networks trained alone.
        scores: One-shot accuracy and loss, the loss with its sign turned, (A,) each.
        draws: How often.
        truth: Instead of the table's.
        others: More that the correction may go by, besides sizes, (A,) each.
    """
    truth = table.truth if truth is None else truth
    found: list[dict[str, Any]] = []
    for labels in LABELS:
        if labels > len(table.archs) - 10:
            continue
        rows: dict[str, list[tuple[float, float, float]]] = {}
        for draw in range(draws):
            rng = np.random.default_rng(1000 * labels + draw)
            known = rng.permutation(len(table.archs))[:labels]
            for name, ranking in _rankings(table, scores, known, others or {}).items():
                rows.setdefault(name, []).append(
                    _judge_rest(truth, ranking, known, table.sizes["macs"])
                )
        found += [
            {"labels": labels, "by": name}
            | dict(
                zip(
                    ("tau", "better", "regret"),
                    (round(float(value), 4) for value in np.nanmean(judged, axis=0)),
                    strict=True,
                )
            )
            for name, judged in rows.items()
        ]
    return found


def _judge_rest(
    truth: Floats, ranking: Floats, known: NDArray[np.intp], macs: Floats
) -> tuple[float, float, float]:
    """Return tau in all and in the better half of the networks without labels, and the regret.

    The regret is of the best by the ranking of all, those with labels included.
    """
    rest = np.setdiff1d(np.arange(len(ranking)), known)
    half = rest[np.argsort(-truth[rest], kind="stable")[: len(rest) // 2]]
    return (
        kendall(ranking[rest], truth[rest])[0],
        kendall(ranking[half], truth[half])[0],
        float(truth.max() - truth[int(pick(ranking, macs))]),
    )


def _rankings(
    table: Table,
    scores: Mapping[str, Floats],
    known: NDArray[np.intp],
    others: Mapping[str, Floats],
) -> dict[str, Floats]:
    """Return the rankings of all networks that can be made of some labels, by name."""
    labels = table.accuracies[0][known]
    sizes = sizes_of(table)
    hot = one_hot([dict(arch) for arch in table.archs])
    return {
        **{f"uncorrected {name}": each for name, each in scores.items()},
        "trivial": table.sizes[best_trivial(table)],
        "ridge on choices": ridge(hot, known, labels),
        "ridge on choices and sizes": ridge(
            np.column_stack([hot, *map(_standard, sizes.values())]), known, labels
        ),
        "corrected": corrected(table, known, labels, scores, sizes),
        "labels without supernet": corrected(table, known, labels, {}, sizes),
        **(
            {"corrected by more": corrected(table, known, labels, scores, sizes | dict(others))}
            if others
            else {}
        ),
    }


def sizes_of(table: Table) -> dict[str, Floats]:
    """Return the sizes of a space's networks, as the correction takes them."""
    sizes = {"layers": table.sizes["layers"]}
    return sizes | {f"log {name}": np.log(table.sizes[name]) for name in ("macs", "params")}


def corrected(
    table: Table,
    known: NDArray[np.intp],
    found: Floats,
    scores: Mapping[str, Floats],
    sizes: Mapping[str, Floats],
) -> Floats:
    """Return what the library's correction predicts; of sizes and choices if no scores.

    Args:
        table: Of all networks.
        known: The numbers of those that were trained alone.
        found: The accuracies that they reached, in percent.
        scores: One-shot accuracy and loss of all, the loss with its sign turned.
        sizes: What else is known of all.
    """
    features = {"one_shot": np.full(len(table.archs), 0.5)}
    if scores:
        features = {"one_shot": scores["accuracy"] / 100, "one_shot_loss": -scores["loss"]}
    prediction = correct(
        [dict(arch) for arch in table.archs],
        {name: feature.tolist() for name, feature in (features | dict(sizes)).items()},
        known.tolist(),
        found / 100,
        labels=[arch.label for arch in table.archs],
        macs=table.sizes["macs"].astype(int).tolist(),
    )
    return np.array([each.value for each in prediction.predicted])


def ridge(features: Floats, known: Sequence[int] | NDArray[np.intp], labels: Floats) -> Floats:
    """Return the prediction of a ridge regression, its penalty chosen by leaving one out."""
    x = np.column_stack([features - features.mean(axis=0)])
    mean = labels.mean()
    gram = x[known] @ x[known].T
    best: tuple[float, Floats] | None = None
    for penalty in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0):
        inverse = np.linalg.inv(gram + penalty * np.eye(len(labels)) + 1 / len(labels))
        weights = inverse @ (labels - mean)
        error = float(np.mean((weights / np.diag(inverse)) ** 2))
        if best is None or error < best[0]:
            best = error, mean + (x @ x[known].T + 1 / len(labels)) @ weights
    assert best is not None
    return best[1]


def _standard(values: Floats) -> Floats:
    return np.asarray((values - values.mean()) / (values.std() or 1.0))
