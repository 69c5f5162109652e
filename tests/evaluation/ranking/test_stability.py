import math
from typing import Any

import numpy as np
import pytest

from supernet.errors import DataError
from supernet.evaluation.ranking.metrics import kendall
from supernet.evaluation.ranking.sentences import ranking_sentences
from supernet.evaluation.ranking.stability import (
    describe_ranking,
    enough_samples,
    full_tau,
    halves_tau,
)
from supernet.records import Ranking
from tests.evaluation.ranking.samples import at_random, exactly

LABELS = list("abcde")


def described(samples: Any, **more: Any) -> Ranking:
    n = samples.shape[1]
    more = {"rng": np.random.default_rng(0)} | more
    return describe_ranking(samples, labels=LABELS[:n], macs=range(n, 0, -1), **more)


def test_intervals_are_those_of_means_over_samples() -> None:
    hits = at_random(np.random.default_rng(0), np.array([[0.3, 0.9]]), 400)
    ranking = described(hits)
    for estimate, row in zip(ranking.validation, hits[0], strict=True):
        half = 1.959964 * row.std(ddof=1) / math.sqrt(400)
        assert estimate.value == row.mean()
        assert estimate.high - estimate.low == pytest.approx(2 * half)


def test_hits_throughout_leave_some_doubt_and_other_scores_do_not() -> None:
    ranking = described(exactly([[21, 12]], 21))
    always = ranking.validation[0]
    assert (always.value, always.high) == (1, 1)
    assert always.low == pytest.approx(0.025 ** (1 / 21))
    assert described(np.ones((1, 2, 21))).validation[0].low == 1


def test_what_cannot_be_told_from_the_pick_is_named() -> None:
    hits = exactly([[500, 899, 900]], 1000)
    ranking = described(hits)
    assert (ranking.picked, ranking.equals) == ("c", ["b"])
    assert "one other (b) can't be told from it on 1,000 validation samples" in ranking.sentences[0]


def test_of_equals_the_cheapest_is_picked_and_the_others_are_named() -> None:
    ranking = described(exactly([[9, 9, 3]], 10))
    assert (ranking.picked, ranking.equals[0]) == ("b", "a")


def test_long_names_that_cannot_be_told_from_the_pick_are_counted() -> None:
    ranking = described(exactly([[9, 9, 3]], 10))
    many = ranking.model_copy(update={"equals": ["1, " * 20] * 59})
    assert "; 59 others can't be told from it on 10 validation" in ranking_sentences(many)[0]


def test_halves_of_many_samples_agree_and_those_of_few_hardly() -> None:
    rng = np.random.default_rng(0)
    accuracy = np.array([[0.5, 0.52, 0.54, 0.56, 0.58]])
    few, many = (described(at_random(rng, accuracy, n)) for n in (50, 20_000))
    assert few.halves_tau < 0.6 < 0.9 < many.halves_tau <= many.scoring_tau
    assert few.scoring_tau >= few.halves_tau


def test_enough_samples_make_rankings_agree_as_said() -> None:
    rng = np.random.default_rng(0)
    accuracies = np.clip(rng.normal(0.7, 0.03, (1, 80)), 0, 1)
    pilot = at_random(rng, accuracies, 400)
    half = float(np.mean([halves_tau(pilot, rng) for _ in range(20)]))
    for wanted in (0.6, 0.8):
        count = enough_samples(half, 400, wanted)
        assert count is not None
        taus = []
        for _ in range(5):
            one, other = (at_random(rng, accuracies, count).mean(axis=(0, 2)) for _ in range(2))
            taus.append(kendall(one, other)[0])
        assert np.mean(taus) == pytest.approx(wanted, abs=0.06)
    assert enough_samples(half, 400, full_tau(half)) in range(360, 441)
    assert enough_samples(half, 400, 1.0) is enough_samples(half, 400, -0.2) is None
    assert enough_samples(math.nan, 400, 0.5) is enough_samples(half, 400, math.nan) is None
    assert enough_samples(1.0, 400, 0.5) == 1


def test_how_many_samples_are_enough_is_said_where_it_is_worth_it() -> None:
    rng = np.random.default_rng(0)
    ranking = described(at_random(rng, np.array([[0.1, 0.5, 0.9]]), 500)).model_copy(
        update={"scoring_tau": 0.8}
    )
    for drift, enough, words in (
        (0.7, 300, "more training would steady it more than more samples; for this training about"),
        (0.7, 300, "about 300 would do."),
        (0.7, 3, "more than more samples."),
        (0.9, 2100, "more samples (about 2,100) would steady it more than more training."),
        (0.9, None, "more samples would steady it more than more training."),
    ):
        changed = ranking.model_copy(update={"drift_tau": drift, "enough_samples": enough})
        assert words in ranking_sentences(changed)[-1]


def test_what_to_buy_next_is_what_is_less_steady() -> None:
    rng = np.random.default_rng(0)
    hits = at_random(rng, np.array([[0.1, 0.3, 0.5, 0.7, 0.9]]), 500)
    before = np.array([[0.9, 0.7, 0.5, 0.3, 0.1]])
    drifting, settled = (described(hits, before=b) for b in (before, before[:, ::-1]))
    assert (drifting.drift_tau, settled.drift_tau) == (-1, 1)
    assert drifting.sentences[-1].endswith("more training would steady it more than more samples.")
    noisy = at_random(rng, np.full((1, 5), 0.5), 50)
    order = noisy.mean(axis=2)
    assert (
        described(noisy, before=order)
        .sentences[-1]
        .endswith("would steady it more than more training.")
    )


def test_ranked_by_loss() -> None:
    hits = exactly([[10, 20, 30]], 40)
    losses = np.broadcast_to(np.array([1.0, 2.0, 3.0])[None, :, None], (1, 3, 40)).copy()
    assert described(hits, losses=losses).picked == "c"
    by_loss = described(hits, losses=losses, rank_by="loss")
    assert (by_loss.picked, by_loss.ranked_by) == ("a", "loss")
    assert by_loss.losses
    assert [loss.value for loss in by_loss.losses] == [1, 2, 3]
    with pytest.raises(DataError, match="no losses to rank by"):
        described(hits, rank_by="loss")
    with pytest.raises(DataError, match="losses are"):
        described(hits, losses=losses[:, :2])


def test_what_failed_has_no_number_and_is_not_picked() -> None:
    failed = np.array([[False, False, True]])
    ranking = described(exactly([[10, 20, 40]], 40), failed=failed)
    assert (ranking.picked, ranking.equals) == ("b", [])
    assert math.isnan(ranking.validation[2].value)


@pytest.mark.parametrize("samples", [exactly([[3]], 5), exactly([[0, 1]], 1)])
def test_too_little_to_split_is_not_spoken_of(samples: Any) -> None:
    ranking = described(samples)
    assert math.isnan(ranking.scoring_tau)
    assert not any("nan" in s for s in ranking.sentences)


def test_a_whole_agrees_more_than_its_halves() -> None:
    for half in np.linspace(0.05, 0.95, 10):
        assert half < full_tau(half) < 1
    assert full_tau(-0.3) == 0
