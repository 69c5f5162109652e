import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from supernet.batchnorm import calibrate, recalibrate
from supernet.cost import count_shared_macs
from supernet.datasets import ImageData, Split
from supernet.errors import DataError, DivergedError
from supernet.evaluation import accuracy, score, score_network
from supernet.records import Progress
from supernet.samplers import uniform
from supernet.space import Architecture
from supernet.subnet import extract
from supernet.supernet import Supernet
from supernet.training import Recipe, train_steps
from supernet.trials import Images, Trial, train
from tests.conftest import nine, plain_net, tiny_data

RECIPE = Recipe(epochs=3, batch_size=8, learning_rate=0.1)
STEM, WIDE, DOWN, NARROW, HEAD = 9 * 4 * 64, 9 * 16 * 64, 9 * 12 * 16, 9 * 9 * 16, 9
ALL_NINE = STEM + 3 * WIDE + 3 * DOWN + 9 * NARROW + 9 * HEAD


class Spy:
    """A split that notes every image that is taken from it."""

    def __init__(self, name: str, split: Split, log: list[str]) -> None:
        self.name, self.split, self.log = name, split, log

    def __len__(self) -> int:
        return len(self.split)

    def first(self, count: int) -> Images:
        return Spy(f"{self.name}[:{count}]", self.split.first(count), self.log)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        for x, y in self.split.batches(size):
            self.log.append(f"{self.name} {len(x)}")
            yield x, y

    def inputs(self, size: int) -> Iterator[Tensor]:
        return (x for x, _ in self.batches(size))

    def shuffled(
        self, batch_size: int, *, seed: int, epoch: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        self.log.append(f"{self.name} epoch {epoch}")
        yield from self.split.shuffled(batch_size, seed=seed, epoch=epoch)


class SpyData:
    def __init__(self, data: ImageData) -> None:
        self.log: list[str] = []
        self.shape = data.shape
        self.train: Images = Spy("train", data.train, self.log)
        self.validation: Images = Spy("validation", data.validation, self.log)
        self.test: Images = Spy("test", data.test, self.log)


def make(
    supernet: Supernet | None = None,
    *,
    watch: Callable[[Progress], None] = lambda _: None,
    **settings: Any,
) -> Trial:
    return train(
        supernet or nine(),
        tiny_data(),
        RECIPE,
        calibration_images=settings.pop("calibration_images", 10),
        watch=watch,
        **settings,
    )


@pytest.fixture(scope="module")
def trial() -> Trial:
    return make()


@pytest.mark.parametrize("build", [nine, lambda: Supernet(plain_net())])
def test_test_images_are_gone_through_once_after_the_last_epoch(
    build: Callable[[], Supernet],
) -> None:
    data = SpyData(tiny_data())
    train(build(), data, RECIPE, calibration_images=10)
    epoch = ["train[:10] 10", "validation 12"]
    expected = [part for n in (1, 2, 3) for part in (f"train epoch {n}", *epoch)]
    assert data.log == [*expected, "test 15"]


def test_it_leaves_what_training_and_scoring_by_hand_leave(trial: Trial) -> None:
    supernet, data = nine(), tiny_data()
    archs = list(supernet.space)
    losses = [step.loss for step in train_steps(supernet, data.train, RECIPE)]
    statistics = calibrate(supernet, archs, data.train.first(10).inputs(10))
    validation, test = (
        score(statistics, split.batches(7)) for split in (data.validation, data.test)
    )
    assert trial.archs == tuple(archs)
    assert trial.recipe == RECIPE
    assert trial.calibration_images == 10
    assert trial.validation.shape == (9, 12)
    assert trial.test.shape == (9, 15)
    for row, arch in enumerate(archs):
        assert trial.validation[row].tolist() == validation[arch].tolist()
        assert trial.test[row].tolist() == test[arch].tolist()
        assert trial.training.test[row] == accuracy(test[arch])
    means = [sum(losses[i : i + 5]) / 5 for i in (0, 5, 10)]
    assert [epoch.loss for epoch in trial.training.epochs] == pytest.approx(means, rel=1e-12)


def test_scores_repeat_the_last_epoch(trial: Trial) -> None:
    epochs = trial.training.epochs
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3]
    assert trial.training.validation == epochs[-1].validation
    assert trial.training.validation == trial.validation.mean(axis=1).tolist()
    assert trial.training.test == trial.test.mean(axis=1).tolist()
    assert len({tuple(epoch.validation) for epoch in epochs}) > 1


def test_following_the_training_does_not_disturb_it(trial: Trial) -> None:
    supernet = nine()
    for _ in train_steps(supernet, tiny_data().train, RECIPE):
        pass
    watched = nine()
    again = make(watched)
    for key, value in supernet.state_dict().items():
        assert torch.equal(watched.state_dict()[key], value)
    assert again.training == trial.training
    assert np.array_equal(again.test, trial.test)


def test_a_plain_network_is_scored_with_recalibrated_statistics() -> None:
    net = plain_net()
    trial = make(Supernet(net))
    assert trial.archs == (Architecture(),)
    recalibrated = extract(Supernet(copy.deepcopy(net)), Architecture())
    data = tiny_data()
    recalibrate(recalibrated, data.train.first(10).inputs(10))
    assert trial.test.tolist() == [score_network(recalibrated, data.test.batches(15)).tolist()]


def test_watch_hears_of_every_step_and_every_epoch() -> None:
    heard: list[Progress] = []
    trial = make(watch=heard.append)
    ended = [progress.ended for progress in heard if progress.ended]
    assert ended == trial.training.epochs
    steps = [progress for progress in heard if not progress.ended]
    assert [round(progress.done * 15) for progress in steps] == list(range(1, 16))
    assert [progress.epoch for progress in steps] == [1] * 5 + [2] * 5 + [3] * 5
    assert heard[-1].ended == trial.training.epochs[-1]
    assert heard[-1].done == 1
    assert {progress.epochs for progress in heard} == {3}


def test_the_bill_counts_images_and_work(trial: Trial) -> None:
    bill = {phase.kind: phase for phase in trial.phases}
    assert list(bill) == ["training", "recalibration", "scoring"]
    images = {"training": 3 * 5 * 8, "recalibration": 3 * 10, "scoring": 3 * 12 + 15}
    assert {kind: phase.images for kind, phase in bill.items()} == images
    assert bill["recalibration"].macs == 30 * ALL_NINE
    assert bill["scoring"].macs == (3 * 12 + 15) * ALL_NINE
    assert bill["training"].macs == 120 * (3 * ALL_NINE - STEM)
    for phase in trial.phases:
        assert phase.wall_s > 0
        assert phase.cpu_s > 0
        assert (phase.subject, phase.arch, phase.seed) == ("supernet", None, 0)
        assert phase.name == f"supernet {phase.kind}"


def test_the_bill_of_a_sampler_counts_what_it_drew() -> None:
    supernet, data = nine(), tiny_data()
    trial = make(sampler=uniform, seed=4)
    drawn = [s.draw.archs for s in train_steps(nine(), data.train, RECIPE, sampler=uniform, seed=4)]
    macs = [count_shared_macs(supernet, archs, data.shape, backward=True) for archs in drawn]
    assert len(set(macs)) > 3
    (training,) = [phase for phase in trial.phases if phase.kind == "training"]
    assert training.macs == 8 * sum(macs)
    assert {phase.seed for phase in trial.phases} == {4}


def test_the_heading_of_the_bill() -> None:
    assert {p.subject for p in make(Supernet(plain_net())).phases} == {"standalone"}
    assert {p.subject for p in make(subject="longer").phases} == {"longer"}


def test_too_few_images_are_an_error_before_anything_is_trained() -> None:
    supernet = nine()
    with pytest.raises(DataError, match=r"41 images were asked for; there are 1 to 40"):
        make(supernet, calibration_images=41)
    with pytest.raises(DataError, match="a batch of 99 is larger"):
        train(supernet, tiny_data(), Recipe(batch_size=99), calibration_images=10)
    fresh = nine().state_dict()
    assert all(torch.equal(fresh[key], value) for key, value in supernet.state_dict().items())


def test_weights_that_diverged_in_the_last_step_have_no_score() -> None:
    recipe = Recipe(epochs=1, batch_size=40, learning_rate=1e30, schedule="constant")
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Linear(8, 3))
    with pytest.raises(DivergedError, match="it has no score"):
        train(Supernet(net), tiny_data(), recipe, calibration_images=10)


def test_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    make()
    assert torch.equal(torch.get_rng_state(), before)
