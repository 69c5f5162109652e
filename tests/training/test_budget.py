"""A budget of seconds becomes a number of steps once; from then on it is any other training."""

import copy
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from supernet.errors import CheckpointError, SettingsError, Stopped
from supernet.nn.supernet import Supernet
from supernet.records import Progress
from supernet.runs.checkpoints import Checkpoints, pack, unpack
from supernet.space import SearchSpace
from supernet.training import budget, steps as steps_module
from supernet.training.budget import fit_steps
from supernet.training.recipe import Recipe
from supernet.training.samplers import Draw, Phases, Sampler, largest, uniform
from supernet.training.session import train
from supernet.training.steps import Steps, train_steps
from tests.conftest import nine, noise, plain_net, tiny_data
from tests.sampling import some

RECIPE = Recipe(batch_size=8, learning_rate=0.1, seconds=20.0)


def ticking(step: float = 1.0) -> Callable[[], float]:
    """Return a clock that is further by so much whenever somebody looks."""
    ticks = count()
    return lambda: step * next(ticks)


@pytest.fixture
def second_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes a second, whatever it takes."""
    monkeypatch.setattr(steps_module, "clock_of", lambda *_: ticking())


def weights(net: nn.Module) -> list[Any]:
    return [value.tolist() for value in net.state_dict().values()]


def test_what_measuring_takes_and_the_steps_are_the_budget() -> None:
    places: list[float] = []
    # 1 that isn't timed and 9 that are: a tenth of the budget.
    assert fit_steps(100, places.append, ticking()) == 90
    assert len(places) == 10
    places.clear()
    # Then 3 % are 30 seconds, of which one isn't timed.
    assert fit_steps(1000, places.append, ticking()) == 970
    assert len(places) == 30


def test_the_steps_measured_lie_evenly_over_the_training() -> None:
    places: list[float] = []
    fit_steps(1000, places.append, ticking())
    assert places[:8] == [0, 1 / 2, 1 / 4, 3 / 4, 1 / 8, 5 / 8, 3 / 8, 7 / 8]
    assert all(0 <= place < 1 for place in places)


def test_steps_that_take_longer_at_the_end_are_counted_as_such() -> None:
    now = 0.0

    def take(done: float) -> None:
        nonlocal now
        now += 1 + 2 * done  # 2 on average

    assert fit_steps(10_000, take, lambda: now) == pytest.approx(4850, rel=0.02)


def test_a_budget_below_a_step_is_refused_with_one_that_is_not() -> None:
    with pytest.raises(SettingsError, match=r"seconds is 2, .* give 30 or more"):
        fit_steps(2, lambda _: None, ticking())
    assert fit_steps(30, lambda _: None, ticking()) > 10


def test_on_another_device_it_is_wall_time() -> None:
    assert budget.clock_of(torch.device("cpu")) is time.process_time
    assert budget.clock_of(torch.device("cuda")) is time.perf_counter


@pytest.mark.usefixtures("second_steps")
@pytest.mark.parametrize(
    "build", [nine, lambda: Supernet(nn.Sequential(plain_net(), nn.Dropout()))]
)
@pytest.mark.parametrize("kind", ["images", "loader"])
def test_from_then_on_it_is_a_training_of_so_many_steps(
    build: Callable[[], Supernet], kind: str
) -> None:
    """As one that was told the number: measuring leaves no trace in weights and generators."""

    def data() -> Any:
        if kind == "images":
            return tiny_data().train
        from supernet.training.sources import LoaderSamples

        pairs = TensorDataset(noise(40, 1, 8, 8), torch.arange(40) % 3)
        own = torch.Generator().manual_seed(5)
        loader: DataLoader[Any] = DataLoader(
            pairs, batch_size=8, shuffle=True, drop_last=True, generator=own
        )
        return LoaderSamples("train", loader, 40)

    ends = []
    for told in (False, True):
        supernet = build()
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(1)
            training = train_steps(supernet, data(), RECIPE, sampler=uniform)
            if told:
                training._fix(18)
            losses = [step.loss for step in training]
            ends.append(
                (len(losses), losses, weights(supernet.net), torch.get_rng_state().tolist())
            )
    assert ends[0][0] == 18  # 20 less the two that were tried
    assert ends[0] == ends[1]


@pytest.mark.usefixtures("second_steps")
def test_schedule_and_sampler_follow_the_share_of_the_budget() -> None:
    at: list[float] = []

    class Noting:
        def at(self, done: float) -> Sampler:
            def draw(space: SearchSpace, rng: random.Random) -> Draw:
                at.append(done)
                return Draw((space.largest,))

            return draw

    training = train_steps(nine(), tiny_data().train, RECIPE, sampler=Noting())
    rates = [training._optimizer.param_groups[0]["lr"] for _ in training]
    assert at[-18:] == [step / 18 for step in range(18)]
    assert max(rates) == pytest.approx(0.1, rel=0.25)
    assert rates[-1] < 1e-3


@pytest.mark.usefixtures("second_steps")
@pytest.mark.parametrize(
    ("seconds", "ends"),
    [
        (5.0, [3]),  # less than an epoch, which is of 5 steps
        (9.0, [7]),  # what is less than half an epoch more is part of the last
        (10.0, [5, 8]),
        (19.0, [5, 10, 17]),
    ],
)
def test_the_last_epoch_is_of_half_to_one_and_a_half(seconds: float, ends: list[int]) -> None:
    recipe = replace(RECIPE, seconds=seconds)
    training = train_steps(nine(), tiny_data().train, recipe)
    done = list(training)
    assert [step.step for step in done if step.ends_epoch] == ends
    assert [step.epoch for step in done][-1] == training.epochs == len(ends)
    trial = train(nine(), tiny_data(), recipe, calibration_images=10)
    assert [epoch.epoch for epoch in trial.training.epochs] == list(range(1, len(ends) + 1))
    assert trial.training.steps == ends[-1]
    losses = [step.loss for step in done]
    starts = [0, *ends[:-1]]
    assert [epoch.loss for epoch in trial.training.epochs] == [
        sum(losses[a:b]) / (b - a) for a, b in zip(starts, ends, strict=True)
    ]


class Killed(BaseException):
    pass


def end(folder: Path, *, seed: int = 0, watch: Any = None, clock: float = 1.0) -> Any:
    supernet = nine(seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps_module, "clock_of", lambda *_: ticking(clock))
        trial = train(
            supernet,
            tiny_data(),
            replace(RECIPE, seconds=6.0, batch_size=20, on_nan="rollback"),
            sampler=uniform,
            calibration_images=10,
            checkpoints=Checkpoints(folder, every_s=0.0),
            watch=watch or (lambda _: None),
        )
    return trial.training, trial.test.tolist(), weights(supernet.net)


def test_killed_at_any_time_it_goes_on_with_the_number_measured_at_first(tmp_path: Path) -> None:
    heard: list[Progress] = []
    undisturbed = end(tmp_path / "whole", watch=heard.append)
    assert [progress.steps for progress in heard if progress.steps] == [4]
    assert heard[1].saved  # at once
    for moment in some(range(1, len(heard))):
        folder, left = tmp_path / str(moment), iter(range(moment))

        def watch(_: Progress, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise Killed

        with pytest.raises(Killed):
            end(folder, watch=watch)
        # The machine is twice as fast now.
        assert end(folder, seed=9, clock=0.5) == undisturbed


@pytest.mark.usefixtures("second_steps")
def test_a_state_brings_its_number_of_steps() -> None:
    first = train_steps(nine(), tiny_data().train, RECIPE)
    next(first)
    state = unpack(pack(first.state()))
    again = train_steps(nine(), tiny_data().train, RECIPE)
    again.restore(state)
    assert (again.step, again.steps) == (1, 18)
    for wrong in (2.5, "17", None, -3, True):
        with pytest.raises(CheckpointError):
            train_steps(nine(), tiny_data().train, RECIPE).restore({**state, "steps": wrong})
    with pytest.raises(CheckpointError):
        train_steps(nine(), tiny_data().train, replace(RECIPE, seconds=9.0)).restore(state)


@pytest.mark.usefixtures("second_steps")
def test_before_it_is_measured_a_training_can_be_saved_too() -> None:
    state = copy.deepcopy(train_steps(nine(), tiny_data().train, RECIPE).state())
    again = train_steps(nine(), tiny_data().train, RECIPE)
    again.restore(state)
    assert len(list(again)) == 18


def test_what_is_no_budget_is_not_measured() -> None:
    training = train_steps(nine(), tiny_data().train, replace(RECIPE, seconds=None))
    with pytest.raises(SettingsError, match="the number of steps is known"):
        training.measure()


@pytest.mark.usefixtures("second_steps")
def test_seconds_and_epochs_given_to_train() -> None:
    def steps(**settings: Any) -> int:
        recipe = settings.pop("recipe", replace(RECIPE, seconds=None, epochs=1))
        return train(nine(), tiny_data(), recipe, calibration_images=10, **settings).training.steps

    assert steps(seconds=20.0) == 18
    assert steps() == 5
    assert steps(recipe=RECIPE, epochs=2) == 10
    with pytest.raises(SettingsError, match=r"epochs is 2 and seconds 20\.0; give one of them"):
        steps(epochs=2, seconds=20.0)


@pytest.mark.usefixtures("second_steps")
def test_measuring_is_on_the_bill_and_stops_leave_its_number(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, every_s=1e9)
    settings: dict[str, Any] = {"calibration_images": 10, "checkpoints": kept}
    with pytest.raises(Stopped):
        train(nine(), tiny_data(), RECIPE, stop=lambda: True, **settings)
    state = kept.load()
    assert state is not None
    assert state["steps"]["steps"] == 18
    assert state["ledger"]["training"]["cpu_s"] > 0
    assert state["ledger"]["training"]["images"] == 0


@pytest.mark.usefixtures("second_steps")
def test_a_sampler_in_phases_is_measured_in_all_of_them() -> None:
    drawn: list[Draw] = []

    def noting(space: SearchSpace, rng: random.Random) -> Draw:
        drawn.append(uniform(space, rng))
        return drawn[-1]

    training = train_steps(
        nine(),
        tiny_data().train,
        replace(RECIPE, seconds=100.0),
        sampler=Phases(((0.5, largest), (1.0, noting))),
    )
    assert isinstance(training, Steps)
    training.measure()
    assert len(drawn) == 5  # at 1/2, 3/4, 5/8, 7/8 and 9/16, of nine places
