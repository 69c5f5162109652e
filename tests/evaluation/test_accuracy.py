import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from supernet.errors import CalibrationError, DataError, DivergedError, SpaceError
from supernet.evaluation.accuracy import (
    Scores,
    accuracy,
    evaluate,
    find_best,
    score,
    score_network,
    score_samples,
    stack,
)
from supernet.evaluation.batchnorm import calibrate, recalibrate
from supernet.nn.choices import Depth, OneOf
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.space import Architecture
from supernet.tasks import Classification, Dense, MultiLabel, Regression, Task
from tests.conftest import nested, nine, noise, plain_net, tiny_data
from tests.space.spaces import spellings

CALIBRATION = [noise(8, 1, 8, 8, seed=1), noise(5, 1, 8, 8, seed=2)]


def labeled(*sizes: int) -> list[tuple[Tensor, Tensor]]:
    """The same images, cut into batches of these sizes."""
    x, y = noise(sum(sizes), 1, 8, 8, seed=3), torch.arange(sum(sizes)) % 3
    return list(zip(x.split(sizes), y.split(sizes), strict=True))


def test_evaluating_many_is_extracting_recalibrating_and_scoring_each() -> None:
    supernet = nine().train()
    archs = list(supernet.space)
    for sizes in ((12, 12), (20, 4), (24,)):
        together = evaluate(supernet, archs, calibration=CALIBRATION, batches=labeled(*sizes))
        hits = score(calibrate(supernet, archs, CALIBRATION), labeled(*sizes))
        assert list(together) == archs
        for arch in archs:
            net = extract(supernet, arch)
            recalibrate(net, CALIBRATION)
            alone = score_network(net, labeled(*sizes))
            assert alone.dtype == torch.bool
            right = hits[arch]
            assert right is not None
            assert torch.equal(right, alone)
            assert together[arch] == alone.sum().item() / 24 == accuracy(alone)
    assert len(set(together.values())) > 1


def test_every_spelling_of_an_architecture_has_its_score() -> None:
    """Not merely a similar one: what doesn't count has no statistics of its own either."""
    supernet = nested()
    archs = spellings(supernet.space)
    x, y = noise(40, 4, seed=3), torch.arange(40) % 3
    together = score(calibrate(supernet, archs, [noise(9, 4, seed=1)]), [(x, y)])
    assert list(together) == archs
    for arch in archs:
        net = extract(supernet, arch)
        recalibrate(net, [noise(9, 4, seed=1)])
        own, canonical = together[arch], together[supernet.space.canonical(arch)]
        assert own is not None
        assert canonical is not None
        assert torch.equal(own, score_network(net, [(x, y)]))
        assert torch.equal(own, canonical)


def test_hits_are_in_the_order_of_the_images() -> None:
    net = nn.Identity()
    x = torch.eye(4).repeat(2, 1)
    y = torch.tensor([0, 1, 2, 0, 1, 1, 2, 3])
    batches = list(zip(x.split(3), y.split(3), strict=True))
    expected = [True, True, True, False, False, True, True, True]
    assert score_network(net, batches).tolist() == expected
    supernet = Supernet(nn.Sequential(Depth("d", [nn.Identity()], shortest=0)))
    hits = score(calibrate(supernet, list(supernet.space), []), batches)
    assert stack(list(hits.values())).tolist() == [expected, expected]


def test_scoring_a_fresh_extract_is_refused() -> None:
    supernet = nine()
    net = extract(supernet, supernet.space.largest)
    with pytest.raises(CalibrationError, match="no statistics yet"):
        score_network(net, labeled(4))


def test_modes_come_back_also_after_an_exception() -> None:
    supernet = nine().train()
    supernet.get_submodule("net.0").eval()
    archs, modes = list(supernet.space), [m.training for m in supernet.modules()]
    statistics = calibrate(supernet, archs, CALIBRATION)
    score(statistics, labeled(4))
    assert [m.training for m in supernet.modules()] == modes
    with pytest.raises(RuntimeError, match="channels"):
        score(statistics, [(noise(2, 5, 8, 8), torch.zeros(2))])
    assert [m.training for m in supernet.modules()] == modes

    plain = plain_net().train()
    plain[0].eval()
    recalibrate(plain, CALIBRATION)
    score_network(plain, labeled(4))
    with pytest.raises(RuntimeError, match="channels"):
        score_network(plain, [(noise(2, 5, 8, 8), torch.zeros(2))])
    assert [m.training for m in plain] == [False, True, True, True, True, True]


def test_plain_networks_are_scored_in_evaluation_mode() -> None:
    net = nn.Sequential(nn.Dropout(0.9), nn.Identity()).train()
    x, y = torch.eye(50), torch.arange(50)
    assert score_network(net, [(x, y)]).all()
    supernet = Supernet(nn.Sequential(net, Depth("d", [nn.Identity()], shortest=0))).train()
    hits = score(calibrate(supernet, list(supernet.space), []), [(x, y)])
    assert stack(list(hits.values())).all()


def test_scoring_needs_a_batch() -> None:
    supernet = nine()
    archs = list(supernet.space)
    with pytest.raises(DataError, match="at least one batch"):
        evaluate(supernet, archs, calibration=CALIBRATION, batches=[])
    with pytest.raises(CalibrationError, match="at least one batch"):
        evaluate(supernet, archs, calibration=[], batches=labeled(4))
    with pytest.raises(DataError, match="at least one batch"):
        score_network(nn.Identity(), [])


BAD = pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])


@BAD
def test_what_puts_out_no_finite_numbers_has_no_score_and_stops_no_other(bad: float) -> None:
    supernet = nine()
    archs = list(supernet.space)
    statistics = calibrate(supernet, archs, CALIBRATION)
    before = score(statistics, labeled(4, 4))
    with torch.no_grad():
        supernet.get_parameter("net.3.blocks.2.0.weight").fill_(bad)
    after = score(statistics, labeled(4, 4))
    assert list(after) == archs
    for arch in archs:
        was, now = before[arch], after[arch]
        assert was is not None
        assert (now is None) == (arch["block2.depth"] == 3)
        assert now is None or torch.equal(now, was)
    together = evaluate(supernet, archs, calibration=CALIBRATION, batches=labeled(4))
    assert [math.isnan(together[arch]) for arch in archs] == [a["block2.depth"] == 3 for a in archs]
    assert find_best(together)["block2.depth"] != 3


def overflowing() -> Supernet:
    """One of two operations, of which `wild` leaves the range of float32 where inputs are large."""
    wild = nn.Sequential(Scale(1e38), Scale(1e38))
    return Supernet(nn.Sequential(OneOf("a", {"wild": wild, "tame": Scale(1.0)}), nn.Flatten()))


class Scale(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def test_one_image_of_one_batch_is_enough_to_fail() -> None:
    supernet = overflowing()
    archs = list(supernet.space)
    fine, large = 1e-39 * torch.eye(3), torch.tensor([[0.0, 1.0, 0.0]])
    y = torch.arange(3)
    statistics = calibrate(supernet, archs, [])
    assert None not in score(statistics, [(1e-38 * fine, y)] * 3).values()
    batches = [(1e-38 * fine, y), (torch.cat([1e-38 * fine[:2], large]), y), (1e-38 * fine, y)]
    assert [right is None for right in score(statistics, batches).values()] == [True, False]


@BAD
def test_where_everything_failed_there_is_nothing_to_go_on_with(bad: float) -> None:
    supernet = nine()
    archs = list(supernet.space)
    statistics = calibrate(supernet, archs, CALIBRATION)
    with torch.no_grad():
        supernet.get_parameter("net.6.bias").fill_(bad)
    with pytest.raises(DivergedError, match=r"all 9 architectures put out values .* learning rate"):
        score(statistics, labeled(4))
    with pytest.raises(DivergedError, match=r"^\(1, 2\) puts out values .* it has no score"):
        score(calibrate(supernet, archs[1:2], CALIBRATION), labeled(4))
    plain = nn.Linear(3, 3)
    with torch.no_grad():
        plain.bias.fill_(bad)
    batch = torch.zeros(2, 3), torch.zeros(2)
    with pytest.raises(DivergedError, match=r"^the network puts out values .* no score"):
        score_network(plain, [batch])
    statistics = calibrate(Supernet(plain), [Architecture()], [])
    with pytest.raises(DivergedError, match=r"^the network puts out values .* no score"):
        score(statistics, [batch])


@given(st.lists(st.sampled_from([math.nan, 0.0, 0.25, 1.0]), min_size=1, max_size=6))
def test_the_best_is_the_first_of_the_highest_and_never_one_that_failed(
    scores: list[float],
) -> None:
    numbers = [score for score in scores if score == score]
    if not numbers:
        with pytest.raises(DivergedError, match="not finite numbers"):
            find_best(dict(enumerate(scores)))
        return
    assert find_best(dict(enumerate(scores))) == scores.index(max(numbers))


def test_the_best_of_nothing() -> None:
    with pytest.raises(DataError, match="no scores to find the best of"):
        find_best({})


def test_a_failed_evaluation_has_a_row_and_no_accuracy() -> None:
    right = torch.tensor([True, False, True])
    assert stack([None, right]).tolist() == [[False] * 3, right.tolist()]
    assert math.isnan(accuracy(None))
    assert accuracy(torch.zeros(3, dtype=torch.bool)) == 0
    for nothing in ([], [None]):
        with pytest.raises(DivergedError, match="no hits to stack"):
            stack(nothing)


def test_scoring_keeps_no_gradients() -> None:
    supernet = nine()
    x = noise(4, 1, 8, 8).requires_grad_()
    score(calibrate(supernet, [supernet.space.smallest], [x]), [(x, torch.zeros(4).long())])
    assert x.grad is None
    assert not any(p.grad is not None for p in supernet.parameters())


# -- any task -----------------------------------------------------------------------------------


class Half(Task):
    """A user's own, of which `losses` is the slow default, and the network puts out a dict."""

    def loss(self, outputs: dict[str, Tensor], targets: list[Tensor]) -> Tensor:
        return (outputs["all"].mean(dim=1) - targets[0]).square().mean()

    def score(self, outputs: dict[str, Tensor], targets: list[Tensor]) -> Tensor:
        return 1 / (1 + (outputs["all"].mean(dim=1) - targets[0]).abs())


class AsDict(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"all": x}


TASKS: list[tuple[Task, Callable[[int], Any], type[nn.Module]]] = [
    (Classification(), lambda n: torch.arange(n) % 3, nn.Identity),
    (Classification(), lambda n: torch.eye(3)[torch.arange(n) % 3], nn.Identity),
    (MultiLabel(), lambda n: torch.eye(3).long()[torch.arange(n) % 3], nn.Identity),
    (Regression(), lambda n: noise(n, 3, seed=4), nn.Identity),
    (Half(), lambda n: [torch.arange(float(n))], AsDict),
]


@pytest.mark.parametrize(("task", "targets", "head"), TASKS)
def test_any_task_scores_many_as_each_alone_and_losses_come_from_the_same_pass(
    task: Task, targets: Callable[[int], Any], head: type[nn.Module]
) -> None:
    supernet = Supernet(nn.Sequential(*nine().net, head()))  # type: ignore[misc]
    archs = list(supernet.space)
    batches = [(noise(n, 1, 8, 8, seed=n), targets(n)) for n in (7, 5)]
    found = evaluate(
        supernet, archs, calibration=CALIBRATION, batches=batches, task=task, per_sample=True
    )
    means = evaluate(supernet, archs, calibration=CALIBRATION, batches=batches, task=task)
    for arch in archs:
        net = extract(supernet, arch)
        recalibrate(net, CALIBRATION)
        alone = score_network(net, batches, task)
        assert alone.shape == (12,)
        ours = found[arch]
        assert ours.scores is not None
        assert torch.equal(ours.scores, alone)
        assert ours.score == means[arch] == alone.double().mean().item()
        assert ours.losses is not None
        with torch.no_grad():
            expected = torch.cat([task.losses(net.eval()(x), y) for x, y in batches])
        assert torch.equal(ours.losses, expected)
        assert ours.loss == expected.double().mean().item()
    assert find_best(found) == find_best(means)


def test_where_nobody_asked_there_are_no_losses() -> None:
    supernet = nine()
    statistics = calibrate(supernet, supernet.space, CALIBRATION)
    (first, *_) = score_samples(statistics, labeled(4), losses=False).values()
    assert first.losses is None
    assert repr(first) == f"Scores(4 samples, score {first.score:.4g})"
    assert repr(Scores(None)) == "Scores(failed)"
    assert math.isnan(first.loss)


def test_targets_of_the_wrong_form_are_refused_in_scoring_too() -> None:
    """`argmax == y[:, None]` compares everyone with everyone: .50 where the accuracy is 1."""
    net, x, y = nn.Identity(), torch.eye(2).repeat(4, 1), torch.arange(2).repeat(4)
    assert score_network(net, [(x, y)]).all()
    with pytest.raises(DataError, match=r"\(8, 2\) float32 and targets are \(8, 1\) int64"):
        score_network(net, [(x, y[:, None])])


def test_a_score_that_is_no_number_where_outputs_are_is_the_targets_fault() -> None:
    y = torch.zeros(4, 2)
    later = y.clone()
    later[2, 1] = math.nan
    with pytest.raises(DataError, match=r"Regression\.score is nan for sample 2 of batch 1"):
        score_network(
            nn.Identity(), [(torch.zeros(4, 2), y), (torch.zeros(4, 2), later)], Regression()
        )
    nothing = torch.full((1, 3), 255)
    with pytest.raises(DataError, match=r"Dense\.score is nan for sample 0 of batch 0"):
        score_network(nn.Identity(), [(torch.zeros(1, 2, 3), nothing)], Dense())


def test_loaders_splits_and_single_architectures_are_taken() -> None:
    supernet, data = nine(), tiny_data()
    archs = list(supernet.space)
    usual = evaluate(
        supernet,
        archs,
        calibration=data.train.inputs(20),
        batches=data.validation.batches(12),
    )
    images = torch.cat(list(data.train.inputs(40)))
    labels = data.train.labels
    loader: Any = DataLoader(TensorDataset(images, labels), batch_size=20)
    dicts = ({"x": images[i : i + 20]} for i in (0, 20))
    for calibration in (loader, [[x, y] for x, y in loader], images.split(20)):
        assert usual == evaluate(supernet, archs, calibration=calibration, batches=data.validation)
    assert usual[archs[3]] == evaluate(
        supernet, archs[3], calibration=loader, batches=data.validation
    )[archs[3]]  # fmt: skip
    whole = evaluate(supernet, archs, calibration=data, batches=data.validation)
    assert whole == evaluate(supernet, archs, calibration=images, batches=data.validation)

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = extract(supernet, archs[0])

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.net(x)
            return y

    net, same = Named(), Named()
    recalibrate(net, dicts)
    recalibrate(same, loader)
    assert all(
        torch.equal(ours, theirs)
        for ours, theirs in zip(net.buffers(), same.buffers(), strict=True)
    )


@pytest.mark.parametrize(
    ("calibration", "sentence"),
    [
        (7, "batches are a int; give a list, a generator or a DataLoader"),
        ("images", "batches are a str"),
        (nn.Linear(1, 1), "batches are a Linear"),
        ([3], "batch 0 is a int; it must be a tensor of inputs"),
        ([[]], r"batch 0 is \[\]"),
        (TensorDataset(torch.zeros(4, 1, 8, 8)), r"one sample at a time; give\s+DataLoader"),
    ],
)
def test_what_is_no_batch_is_refused_in_a_sentence(calibration: Any, sentence: str) -> None:
    supernet = nine()
    with pytest.raises(DataError, match=sentence):
        calibrate(supernet, supernet.space.largest, calibration)
    with pytest.raises(DataError, match=sentence.replace("tensor of inputs", "pair of inputs")):
        score_network(nn.Identity(), calibration)


def test_what_has_no_targets_or_no_split_is_refused() -> None:
    with pytest.raises(DataError, match=r"batch 0 is \(4, 3\) float32; it must be a pair"):
        score_network(nn.Identity(), [torch.zeros(4, 3)])
    with pytest.raises(DataError, match=r"all of the data \(ImageData\); say which split"):
        score_network(nn.Identity(), tiny_data())  # type: ignore[arg-type]
    with pytest.raises(SpaceError, match=r"was given a Linear; wrap a network, Supernet\(net\)"):
        calibrate(nn.Linear(3, 3), Architecture(), [torch.zeros(4, 3)])  # type: ignore[arg-type]


def test_inputs_that_are_no_numbers_are_called_that_and_no_learning_rate_is_blamed() -> None:
    supernet, given = nine(), labeled(4, 5)
    given[1][0][2, 0, 1, 1] = math.nan
    statistics = calibrate(supernet, supernet.space, [noise(8, 1, 8, 8)])
    with pytest.raises(DataError, match=r"inputs of batch 1 hold .*1 NaN.* first in sample 2;"):
        score(statistics, given)
    net = extract(supernet, supernet.space.smallest)
    recalibrate(net, [noise(8, 1, 8, 8)])
    with pytest.raises(DataError, match=r"inputs of batch 1 hold .*1 NaN.* first in sample 2;"):
        score_network(net, given)
