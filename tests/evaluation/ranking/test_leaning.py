import math

import numpy as np
import pytest

from supernet.errors import SettingsError
from supernet.evaluation.ranking.bootstrap import Scores
from supernet.evaluation.ranking.leaning import lean_to_larger
from supernet.evaluation.ranking.metrics import kendall, pick
from supernet.evaluation.ranking.stability import describe_ranking
from supernet.evaluation.ranking.verdict import judge
from tests.evaluation.ranking.samples import at_random, costs_of, same, some_hits

MACS = [100, 10, 1000, 30, 300]
HITS = some_hits(seeds=2, networks=5)
RANKED = HITS.one_shot_validation
LEANING = lean_to_larger(RANKED, MACS, 0.5)


def standard(values: np.ndarray) -> np.ndarray:
    return np.asarray((values - values.mean()) / values.std())


def test_scores_and_sizes_count_in_standard_deviations() -> None:
    means = RANKED.mean(axis=(0, 2))
    together = standard(means) + 0.5 * standard(np.log(MACS))
    assert standard(means + LEANING) == pytest.approx(standard(together))
    assert lean_to_larger(7 * RANKED - 30.0, MACS, 0.5) == pytest.approx(7 * LEANING)


def test_none_leaves_the_ranking_and_very_much_is_the_ranking_by_size() -> None:
    assert lean_to_larger(RANKED, MACS, 0.0).tolist() == [0.0] * 5
    means = RANKED.mean(axis=(0, 2)) + lean_to_larger(RANKED, MACS, 1e6)
    assert kendall(means, np.array(MACS, float))[0] == 1


def test_networks_of_one_size_are_left_alone() -> None:
    assert lean_to_larger(RANKED, [7] * 5, 0.5).tolist() == [0.0] * 5


def test_failed_evaluations_have_no_part_in_the_spread() -> None:
    ruined = RANKED.astype(np.float64)
    ruined[:, 2] = -1e9
    failed = np.zeros((2, 5), np.bool_)
    failed[1, 2] = True
    rest = np.delete(RANKED, 2, axis=1).mean(axis=(0, 2)).std()
    expected = 0.5 * rest * standard(np.log(MACS))
    assert lean_to_larger(ruined, MACS, 0.5, failed) == pytest.approx(expected)


def test_a_lean_makes_a_useless_supernet_no_better_than_its_size() -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        sizes = rng.permutation(2 ** np.arange(1.0, 17.0))
        useless, rest = rng.permuted(np.tile(np.arange(16.0), (2, 1)), axis=1)
        truth = 0.5 + 0.01 * np.log2(sizes) + 0.01 * rest
        said = []
        for mean in (0.5 + 0.02 * useless, truth):
            inside = at_random(rng, mean[None], 2000)
            hits = Scores(inside, inside, at_random(rng, truth[None], 2000))
            verdict = judge(
                hits,
                costs_of(hits),
                labels=[str(i) for i in range(16)],
                macs=sizes.astype(int).tolist(),
                rng=rng,
                resamples=200,
                leaning=lean_to_larger(inside, sizes.astype(int).tolist(), 0.4),
            )
            first = verdict.sentences[0]
            said.append("adds nothing to" in first or "is worse than" in first)
        assert said == [True, False]


@pytest.mark.parametrize("share", [-0.1, math.nan, math.inf])
def test_impossible_shares(share: float) -> None:
    with pytest.raises(SettingsError, match=r"lean is .*; give a finite number from 0 on"):
        lean_to_larger(RANKED, MACS, share)


@pytest.mark.parametrize("by_loss", [False, True])
def test_verdict_and_ranking_lean_and_say_so(by_loss: bool) -> None:
    losses = 1 - RANKED.astype(np.float64)
    more = lean_to_larger(RANKED, MACS, 1e6)
    labels = [str(macs) for macs in MACS]
    found = [
        judge(
            HITS,
            costs_of(HITS),
            labels=labels,
            macs=MACS,
            rng=np.random.default_rng(0),
            resamples=50,
            losses=losses if by_loss else None,
            rank_by="loss" if by_loss else "score",
            leaning=leaning,
        )
        for leaning in (None, more)
    ]
    plain, leant = found
    assert (plain.leans, leant.leans) == (False, True)
    assert leant.picked == "1000"
    assert leant.tau.value == pytest.approx(plain.macs_tau.value)
    assert leant.tau_by[leant.ranked_by].value == pytest.approx(plain.tau.value)
    told = " ".join(leant.sentences)
    assert "Without leaning to larger networks, Kendall tau is " in told
    by = "one-shot loss, leaning" if by_loss else "one-shot, leaning"
    assert f"Picking by {by} to larger networks, costs " in told
    assert "leaning" not in " ".join(plain.sentences)
    assert all(same(a, b) for a, b in zip(plain.one_shot, leant.one_shot, strict=True))
    rankings = [
        describe_ranking(
            RANKED,
            labels=labels,
            macs=MACS,
            rng=np.random.default_rng(0),
            losses=losses if by_loss else None,
            rank_by="loss" if by_loss else "score",
            leaning=leaning,
        )
        for leaning in (None, more)
    ]
    by = "loss" if by_loss else "accuracy"
    assert rankings[0].picked == labels[int(pick(RANKED.mean(axis=(0, 2)), np.array(MACS)))]
    assert (
        rankings[1]
        .sentences[0]
        .startswith(f"The best by one-shot {by}, leaning to larger networks, is 1000")
    )
    assert rankings[1].leaning == more.tolist()
    assert (rankings[1].validation, rankings[1].losses) == (
        rankings[0].validation,
        rankings[0].losses,
    )
