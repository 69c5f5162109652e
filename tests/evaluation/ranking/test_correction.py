import itertools
import math
from typing import Any

import numpy as np
import pytest

from supernet.errors import DataError
from supernet.evaluation.ranking.correction import Correction, correct
from supernet.evaluation.ranking.features import Odds, Reader, one_hot
from supernet.evaluation.ranking.metrics import kendall
from supernet.records import Corrected
from tests.sampling import examples

OPTIONS: list[dict[str, int | str]] = [
    {"a": a, "b": b, "c": c} for a, b, c in itertools.product(range(4), range(4), ("x", "y"))
]
LABELS = [str(i) for i in range(len(OPTIONS))]


def truth_and_one_shot() -> tuple[np.ndarray, np.ndarray]:
    """One-shot is right but for a liking of option y, which training alone doesn't share."""
    rng = np.random.default_rng(0)
    truth = np.array([0.9 + 0.01 * o["a"] + 0.005 * o["b"] for o in OPTIONS])  # type: ignore[operator]
    bias = np.array([0.03 if o["c"] == "y" else 0.0 for o in OPTIONS])
    return truth, truth + bias + 0.002 * rng.standard_normal(len(truth))


def corrected(trained: Any, **more: Any) -> Corrected:
    truth, one_shot = truth_and_one_shot()
    features = {"one_shot": one_shot.tolist(), "layers": [1] * len(OPTIONS)}
    parts: dict[str, Any] = {
        "features": features,
        "scores": truth[list(trained)],
        "labels": LABELS,
        "macs": range(len(OPTIONS)),
    }
    return correct(OPTIONS, trained=trained, **parts | more)


def test_a_bias_that_goes_with_a_choice_is_taken_out() -> None:
    truth, one_shot = truth_and_one_shot()
    trained = np.random.default_rng(1).permutation(len(OPTIONS))[:12].tolist()
    found = corrected(trained)
    predicted = np.array([p.value for p in found.predicted])
    left = [i for i in range(len(OPTIONS)) if i not in trained]
    assert kendall(predicted[left], truth[left])[0] > kendall(one_shot[left], truth[left])[0] + 0.1
    assert found.taus["corrected"] > found.taus["one_shot"]
    assert found.trained == 12
    assert found.error < 0.02
    assert found.picked == LABELS[int(np.argmax(predicted))]
    inside = [e.low <= t <= e.high for e, t in zip(found.predicted, truth, strict=True)]
    assert np.mean(inside) > 0.8


def test_leaving_one_out_is_what_fitting_without_it_gives() -> None:
    """The closed form, against inverting the smaller matrix, for every part of the mixture."""
    from supernet.evaluation.ranking import correction

    trained = list(range(0, 32, 3))
    truth, one_shot = truth_and_one_shot()
    given = {"one_shot": one_shot.tolist(), "a": list(range(32))}
    reader = Reader(OPTIONS, given, range(32), Odds())
    known = reader.read(OPTIONS, given, range(32)).at(trained)
    process = correction._Process(known, truth[trained])
    by_hand = np.zeros(len(trained))
    for weight, part in zip(process.weights, process.parts, strict=True):
        gram = np.linalg.inv(part.inverse)
        for i in range(len(trained)):
            rest = [j for j in range(len(trained)) if j != i]
            solved = np.linalg.solve(gram[np.ix_(rest, rest)], process.targets[rest])
            by_hand[i] += weight * (process.center + process.scale * gram[i, rest] @ solved)
    assert len(process.parts) > 1
    assert process.leave_one_out() == pytest.approx(by_hand, abs=1e-6)


def test_others_are_predicted_as_if_they_had_been_there() -> None:
    """From what is known of 20, trained or not, the rest is predicted, and each the same alone."""
    truth, one_shot = truth_and_one_shot()
    order = np.random.default_rng(1).permutation(len(OPTIONS)).tolist()
    known, new = order[:20], order[20:]

    def parts(rows: list[int]) -> tuple[list[dict[str, int | str]], dict[str, list[float]]]:
        return [OPTIONS[i] for i in rows], {"one_shot": one_shot[rows].tolist()}

    fitted = Correction(*parts(known), range(14), truth[known[:14]], macs=known)
    value, low, high = fitted.predict(*parts(new), macs=new)
    assert kendall(value, truth[new])[0] > kendall(one_shot[new], truth[new])[0]
    assert np.mean((low <= truth[new]) & (truth[new] <= high)) > 0.7
    for i, row in enumerate(new):
        assert fitted.predict(*parts([row]), macs=[row])[0] == pytest.approx(value[i])


def test_an_option_that_none_of_the_known_has_agrees_with_none() -> None:
    truth, one_shot = truth_and_one_shot()
    fitted = Correction(
        OPTIONS, {"one_shot": one_shot.tolist()}, range(20), truth[:20], macs=range(32)
    )
    odd: list[dict[str, int | str]] = [{"a": 99, "b": "new", "other": 1}, OPTIONS[0]]
    features = {"one_shot": [one_shot[0], one_shot[0]]}
    value, low, high = fitted.predict(odd, features, macs=[1, 1])
    assert np.isfinite(value).all()
    assert high[0] - low[0] > high[1] - low[1]


def test_a_feature_that_says_nothing_does_little_harm() -> None:
    truth, _ = truth_and_one_shot()
    trained = np.random.default_rng(2).permutation(len(OPTIONS))[:8].tolist()
    noise = np.random.default_rng(3).normal(size=(6, len(OPTIONS)))
    features = {"one_shot": truth.tolist()} | {
        f"noise{i}": row.tolist() for i, row in enumerate(noise)
    }
    found = corrected(trained, features=features)
    assert kendall(np.array([p.value for p in found.predicted]), truth)[0] > 0.95


@pytest.mark.parametrize("underrated", [True, False])
def test_large_networks_may_be_underrated_by_the_supernet(
    underrated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If they are, the belief that they are helps; if they aren't, it does little harm."""
    taus: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(examples(12)):
        rng = np.random.default_rng(seed)
        sizes, quality = rng.normal(size=(2, len(OPTIONS)))
        truth = quality + 0.5 * sizes * underrated
        trained = rng.permutation(len(OPTIONS))[:8].tolist()
        left = [i for i in range(len(OPTIONS)) if i not in trained]
        one_shot = quality + 0.3 * rng.normal(size=len(OPTIONS))
        for leaning in taus:
            with monkeypatch.context() as patched:
                if not leaning:
                    patched.setattr("supernet.evaluation.ranking.features.LEANS", (0.0,))
                found = corrected(
                    trained,
                    features={"one_shot": one_shot.tolist()},
                    scores=truth[trained],
                    macs=np.exp(sizes).tolist(),
                )
            predicted = np.array([p.value for p in found.predicted])
            taus[leaning].append(kendall(predicted[left], truth[left])[0])
    gain = np.mean(taus[True]) - np.mean(taus[False])
    assert gain > 0.08 if underrated else gain > -0.06


def test_losses_are_another_way_to_say_how_good_it_is() -> None:
    truth, _ = truth_and_one_shot()
    trained = np.random.default_rng(2).permutation(len(OPTIONS))[:10].tolist()
    useless = np.random.default_rng(3).random(len(OPTIONS)).tolist()
    without = corrected(trained, features={"one_shot": useless})
    features = {"one_shot": useless, "one_shot_loss": (-np.log(truth)).tolist()}
    found = corrected(trained, features=features)
    assert found.error < without.error
    signless = features | {"one_shot_loss": (-truth).tolist()}
    assert corrected(trained, features=signless).error < without.error


def test_shares_are_predicted_as_shares() -> None:
    found = corrected(range(8), scores=np.array([1.0, 1.0, 1.0, 1.0, 0.99, 1.0, 0.0, 0.5]))
    assert all(0 <= p.low <= p.value <= p.high <= 1 for p in found.predicted)


def test_it_says_when_it_does_not_help() -> None:
    rng = np.random.default_rng(5)
    found = corrected(range(10), scores=rng.random(10))
    best = max(found.taus["one_shot"], found.taus["choices"])
    starts = "The corrected" if found.taus["corrected"] > best else "The correction doesn't help"
    assert found.sentences[0].startswith(starts)
    assert "nan" not in found.sentences[0]


def test_products_of_rows_count_the_choices_that_agree() -> None:
    some: list[dict[str, int | str]] = [{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 2}]
    rows = one_hot(some)
    assert (rows @ rows.T).tolist() == [[2, 1, 0], [1, 2, 0], [0, 0, 2]]
    assert one_hot([{}, {}]).shape == (2, 0)


def test_scores_that_are_all_equal_are_survived() -> None:
    found = corrected(range(8), scores=np.full(8, 0.5))
    assert all(p.value == pytest.approx(0.5) for p in found.predicted)
    assert math.isnan(found.taus["corrected"])
    assert found.sentences == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"trained": range(5)}, "5 trained networks can't correct a ranking"),
        ({"trained": [0] * 6}, "each once"),
        ({"trained": [*range(5), 99]}, "numbers from 0 to 31"),
        ({"features": {"layers": [1] * 32}}, "there must be a feature 'one_shot'"),
        ({"features": {"one_shot": [1] * 31}}, r"there are 32 architectures, but \{'one_shot': 31"),
        ({"features": {"one_shot": [math.nan] * 32}}, "feature 'one_shot' has values that are not"),
        ({"scores": np.full(6, math.nan)}, "one finite score for each of the 6"),
        ({"scores": np.zeros(7)}, "one finite score for each of the 6"),
    ],
)
def test_bad_input(more: dict[str, Any], message: str) -> None:
    trained = more.pop("trained", range(6))
    scores = more.pop("scores", np.zeros(len(trained)))
    with pytest.raises(DataError, match=message):
        correct(
            OPTIONS,
            more.get("features", {"one_shot": list(range(32))}),
            list(trained),
            scores,
            labels=LABELS,
            macs=range(32),
        )
