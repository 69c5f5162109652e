"""Statistics and scores of several ranks, who take turns with the batches, are those of one."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import supernet as sn
from supernet.errors import DataError, DivergedError
from supernet.evaluation.accuracy import Scores, score_samples
from supernet.evaluation.batchnorm import calibrate
from supernet.nn.choices import Depth
from supernet.nn.supernet import Supernet
from supernet.runs.ranks import ALONE, Ranks
from supernet.space import Architecture
from tests.conftest import nine, noise
from tests.ranks import outcomes, together

NINE = nine(seed=1)
BATCHES = [(noise(n, 1, 8, 8, seed=n).double(), torch.arange(n) % 3) for n in (7, 6, 6, 5, 4)]


def scored(ranks: Ranks, task: sn.Task | None = None, count: int = 5) -> dict[Architecture, Scores]:
    supernet = copy.deepcopy(NINE).double()
    few = BATCHES[:count]
    batches = few if task is None else [(x, y[:, None].double().expand(-1, 3)) for x, y in few]
    statistics = calibrate(supernet, supernet.space, [x for x, _ in few], ranks=ranks)
    return score_samples(statistics, batches, task, ranks=ranks)


@pytest.mark.parametrize("task", [None, sn.Regression()])
@pytest.mark.parametrize(("size", "count"), [(2, 5), (3, 2)])  # one has no batch at all
def test_statistics_and_scores_are_those_of_one(
    task: sn.Task | None, size: int, count: int
) -> None:
    wanted = scored(ALONE, task, count)
    for found in together(size, lambda ranks: scored(ranks, task, count)):
        assert found.keys() == wanted.keys()
        for arch, scores in wanted.items():
            _assert_close(found[arch].scores, scores.scores)
            _assert_close(found[arch].losses, scores.losses)


def _assert_close(found: Tensor | None, wanted: Tensor | None) -> None:
    assert found is not None
    assert wanted is not None
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11)


class Overflow(nn.Module):
    """Puts out infinity for whatever is above its limit."""

    def forward(self, x: Tensor) -> Tensor:
        return x.where(x < 50, torch.inf)


def overflowing() -> Supernet:
    return Supernet(nn.Sequential(nn.Flatten(), Depth("d", [nn.Identity(), Overflow()])))


def _of_overflow(ranks: Ranks, batches: Any) -> dict[Architecture, Scores]:
    supernet = overflowing()
    statistics = calibrate(supernet, supernet.space, [torch.ones(2, 3)], ranks=ranks)
    return score_samples(statistics, batches, ranks=ranks)


def test_what_fails_on_one_rank_failed() -> None:
    y = torch.tensor([1, 2])
    batches = [(torch.eye(3)[:2], y), (100 * torch.eye(3)[:2], y), (torch.eye(3)[1:], y)]
    for found in together(2, lambda ranks: _of_overflow(ranks, batches)):
        shallow, deep = found.values()
        assert shallow.scores is not None
        assert shallow.scores.tolist() == [False, False, False, False, True, True]
        assert deep.scores is None


def test_inputs_that_are_no_numbers_are_named_by_all() -> None:
    y = torch.tensor([1, 2])
    batches = [(torch.eye(3)[:2], y), (torch.full((2, 3), torch.nan), y)]
    for error in outcomes(2, lambda ranks: _of_overflow(ranks, batches)):
        assert isinstance(error, DataError)
        assert "the inputs of batch 1 hold numbers that aren't finite (6 NaN" in str(error)


def test_that_all_diverged_is_said_by_all() -> None:
    supernet = Supernet(nn.Sequential(nn.Linear(3, 3)))
    nn.init.constant_(supernet.net.get_parameter("0.weight"), torch.inf)
    y = torch.tensor([1, 2])

    def run(ranks: Ranks) -> object:
        own = copy.deepcopy(supernet)
        statistics = calibrate(own, own.space, [torch.ones(2, 3)], ranks=ranks)
        return score_samples(statistics, [(torch.ones(2, 3), y)] * 3, ranks=ranks)

    for error in outcomes(2, run):
        assert isinstance(error, DivergedError)
