import copy
import gc
import math
import os
import resource
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from supernet.datasets import DataSplit, ImageData
from supernet.errors import CheckpointError, DataError, DivergedError, SettingsError, Stopped
from supernet.evaluation.accuracy import accuracy, score, score_network, score_samples
from supernet.evaluation.batchnorm import calibrate, recalibrate
from supernet.evaluation.cost import count_shared_macs
from supernet.nn.choices import Depth, OneOf
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.records import Progress
from supernet.runs import checkpoints
from supernet.runs.checkpoints import Checkpoints, State
from supernet.sharing import Planner
from supernet.space import Architecture
from supernet.tasks import Regression
from supernet.training import session, train_steps
from supernet.training.data import Data, Samples
from supernet.training.recipe import Recipe
from supernet.training.result import TrainingResult
from supernet.training.samplers import Split as CutInParts, uniform
from supernet.training.session import TrainingSession, read_saved, train
from tests.conftest import block, nine, noise, plain_net, stir, tiny_data
from tests.sampling import some

RECIPE = Recipe(epochs=3, batch_size=8, learning_rate=0.1)
STEM, WIDE, DOWN, NARROW, HEAD = 9 * 4 * 64, 9 * 16 * 64, 9 * 12 * 16, 9 * 9 * 16, 9
ALL_NINE = STEM + 3 * WIDE + 3 * DOWN + 9 * NARROW + 9 * HEAD


class Spy:
    """A split that notes every image that is taken from it."""

    def __init__(self, name: str, split: DataSplit, log: list[str]) -> None:
        self.name, self.split, self.log = name, split, log

    def __len__(self) -> int:
        return len(self.split)

    def first(self, count: int) -> Samples:
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
        self.train: Samples = Spy("train", data.train, self.log)
        self.validation: Samples = Spy("validation", data.validation, self.log)
        self.test: Samples = Spy("test", data.test, self.log)


def make(
    supernet: Supernet | None = None,
    *,
    watch: Callable[[Progress], None] = lambda _: None,
    **settings: Any,
) -> TrainingResult:
    return train(
        supernet or nine(),
        tiny_data(),
        RECIPE,
        calibration_images=settings.pop("calibration_images", 10),
        watch=watch,
        **settings,
    )


@pytest.fixture(scope="module")
def trial() -> TrainingResult:
    return make()


@pytest.mark.parametrize("build", [nine, lambda: Supernet(plain_net())])
def test_test_images_are_gone_through_once_after_the_last_epoch(
    build: Callable[[], Supernet],
) -> None:
    data = SpyData(tiny_data())
    train(build(), data, RECIPE, calibration_images=10)
    epoch = ["train[:10] 10", "validation 12"]
    expected = [part for n in (1, 2, 3) for part in (f"train epoch {n}", *epoch)]
    first_look = "train[:2] 2"  # at what the network puts out
    assert data.log == [first_look, *expected, "test 15"]


def test_it_leaves_what_training_and_scoring_by_hand_leave(trial: TrainingResult) -> None:
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
        found = validation[arch], test[arch]
        assert found[0] is not None
        assert found[1] is not None
        assert trial.validation[row].tolist() == found[0].tolist()
        assert trial.test[row].tolist() == found[1].tolist()
        assert trial.training.test[row] == accuracy(test[arch])
    means = [sum(losses[i : i + 5]) / 5 for i in (0, 5, 10)]
    assert [epoch.loss for epoch in trial.training.epochs] == pytest.approx(means, rel=1e-12)


def test_scores_repeat_the_last_epoch(trial: TrainingResult) -> None:
    epochs = trial.training.epochs
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3]
    assert trial.training.validation == epochs[-1].validation
    assert trial.training.validation == trial.validation.mean(axis=1).tolist()
    assert trial.training.test == trial.test.mean(axis=1).tolist()
    assert len({tuple(epoch.validation) for epoch in epochs}) > 1


def test_following_the_training_does_not_disturb_it(trial: TrainingResult) -> None:
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


def test_the_bill_counts_images_and_work(trial: TrainingResult) -> None:
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


# -- checkpoints --------------------------------------------------------------------------------

SHORT = Recipe(epochs=2, batch_size=20, learning_rate=0.1)


def small(seed: int = 0, width: int = 4) -> Supernet:
    """Three architectures, with batch norms."""
    choice = Depth("d", [block(width), block(width)], shortest=0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, width), choice, nn.Linear(width, 3))
    return Supernet(stir(net, seed))


def plain(seed: int = 0) -> Supernet:
    return Supernet(plain_net(seed))


def with_dropout(seed: int = 0) -> Supernet:
    net = plain_net(seed)
    return Supernet(nn.Sequential(*list(net)[:5], nn.Dropout(0.5), *list(net)[5:]))


def take_up(
    folder: Path,
    net_seed: int = 0,
    *,
    build: Callable[[int], Supernet] = small,
    recipe: Recipe = SHORT,
    data: Data | None = None,
    **settings: Any,
) -> tuple[Supernet, TrainingResult]:
    """Begin or go on with a short training that saves whenever it can."""
    supernet = build(net_seed)
    kept = Checkpoints(folder, every_s=settings.pop("every_s", 0.0))
    data = data or tiny_data()
    trial = train(supernet, data, recipe, calibration_images=10, checkpoints=kept, **settings)
    return supernet, trial


def equal(a: TrainingResult, b: TrainingResult) -> bool:
    """Whether two trials are the same, times excepted."""
    return bool(
        repr((a.archs, a.recipe, a.calibration_images, a.training))
        == repr((b.archs, b.recipe, b.calibration_images, b.training))
        and np.array_equal(a.validation, b.validation)
        and np.array_equal(a.test, b.test)
        and [phase.model_copy(update={"wall_s": 0.0, "cpu_s": 0.0}) for phase in a.phases]
        == [phase.model_copy(update={"wall_s": 0.0, "cpu_s": 0.0}) for phase in b.phases]
    )


def same_weights(a: Supernet, b: Supernet) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def load(folder: Path) -> Any:
    return Checkpoints(folder).load()


class Asked:
    """Says yes the n-th time it is asked, and from then on."""

    def __init__(self, allowed: float = math.inf) -> None:
        self.allowed = allowed
        self.times = 0

    def __call__(self) -> bool:
        self.times += 1
        return self.times > self.allowed


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncing takes long where others write, and shows only in a power failure; see test_files."""
    monkeypatch.setattr(os, "fsync", os.fstat)


@pytest.fixture(autouse=True)
def always_time_to_save(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes, which here is longer than the training."""
    monkeypatch.setattr(checkpoints, "_SHARE", math.inf)


@pytest.fixture
def in_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "SCORING_BATCH", 6)


@pytest.mark.usefixtures("in_small_batches")
@pytest.mark.parametrize("build", [small, with_dropout])
def test_a_trial_may_be_stopped_at_any_time(
    build: Callable[[int], Supernet], tmp_path: Path
) -> None:
    """Between steps, and between batches of calibration, of validation, of the test."""
    questions = Asked()
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(3)
        supernet, undisturbed = take_up(tmp_path / "whole", build=build, stop=questions)
        # Before 4 steps and at the end; then 2 x (2 + 2) batches in two epochs, and 3 of the test.
        assert questions.times == 5 + 2 * (2 + 2) + 3
        for allowed in some(range(questions.times)):
            torch.manual_seed(3)
            folder = tmp_path / str(allowed)
            with pytest.raises(Stopped, match=r"stopped between two (steps|batches), as asked"):
                take_up(folder, build=build, stop=Asked(allowed))
            assert Checkpoints(folder).newest
            torch.manual_seed(4)
            other, trial = take_up(folder, 9, build=build)
            assert equal(trial, undisturbed)
            assert same_weights(other, supernet)


@pytest.mark.usefixtures("in_small_batches")
@pytest.mark.parametrize("every_s", [0.0, 1e9])
def test_a_trial_may_be_stopped_again_and_again(tmp_path: Path, every_s: float) -> None:
    supernet, undisturbed = take_up(tmp_path / "whole", sampler=uniform)
    stops = 0
    while True:
        try:
            other, trial = take_up(
                tmp_path / "stopped", stops, sampler=uniform, stop=Asked(stops), every_s=every_s
            )
            break
        except Stopped:
            stops += 1
    assert stops > 4
    assert equal(trial, undisturbed)
    assert same_weights(other, supernet)


@pytest.mark.parametrize("lost", [False, True])
def test_a_trial_may_be_killed_at_any_time(tmp_path: Path, lost: bool) -> None:
    """Without a moment to save; and the newest checkpoint may get lost, too."""

    class Killed(BaseException):
        pass

    heard: list[Progress] = []
    supernet, undisturbed = take_up(tmp_path / "whole", watch=heard.append)
    for moment in some(range(len(heard))):
        folder = tmp_path / str(moment)
        left = moment

        def watch(_: Progress) -> None:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1

        with pytest.raises(Killed):
            take_up(folder, watch=watch)
        newest = Checkpoints(folder).newest
        if lost and newest:
            newest.unlink()
        other, trial = take_up(folder, 9 if Checkpoints(folder).newest else 0)
        assert equal(trial, undisturbed)
        assert same_weights(other, supernet)


def test_the_bill_goes_on(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        take_up(tmp_path, stop=Asked(3))
    before = read_saved(Checkpoints(tmp_path))
    assert before.result is None
    assert before.net == {}
    assert before.done == 0.5
    assert before.cpu_s > 0
    supernet, trial = take_up(tmp_path)
    after = read_saved(Checkpoints(tmp_path))
    assert after.result
    assert equal(after.result, trial)
    assert after.result.phases == trial.phases  # times too
    assert after.done == 1
    assert after.cpu_s == sum(phase.cpu_s for phase in trial.phases) > before.cpu_s
    assert all(torch.equal(v, after.net[k]) for k, v in supernet.net.state_dict().items())
    nothing = read_saved(Checkpoints(tmp_path / "none"))
    assert (nothing.result, nothing.net, nothing.done, nothing.cpu_s) == (None, {}, 0, 0)


def test_a_finished_trial_comes_back_at_once(tmp_path: Path) -> None:
    supernet, trial = take_up(tmp_path)
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    heard: list[Progress] = []
    asked = Asked(0)
    other, again = take_up(tmp_path, 9, watch=heard.append, stop=asked)
    assert again.phases == trial.phases
    assert equal(again, trial)
    assert same_weights(other, supernet)
    assert (heard, asked.times) == ([], 0)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_saving_changes_nothing(tmp_path: Path) -> None:
    heard: list[Progress] = []
    supernet, often = take_up(tmp_path / "often", watch=heard.append)
    other, never = take_up(tmp_path / "never", every_s=1e9)
    bare = small()
    assert equal(often, never)
    assert equal(often, train(bare, tiny_data(), SHORT, calibration_images=10))
    assert same_weights(supernet, other)
    assert same_weights(supernet, bare)
    saved = [progress for progress in heard if progress.saved]
    assert [progress.done for progress in saved] == [0, 0.25, 0.5, 0.75, 1]
    assert [path.name for path in sorted((tmp_path / "never").iterdir())] == [
        "000001.safetensors",
        "000001.sha256",
    ]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"seed": 5}, "seed 0 there, 5 here"),
        ({"recipe": replace(SHORT, learning_rate=0.2)}, "recipe {.*0.1,.* there, {.*0.2,.* here"),
        ({"subject": "longer"}, "subject supernet there, longer here"),
        ({"sampler": uniform}, "sampler every there, uniform here"),
        ({"sampler": CutInParts(2)}, r"sampler every there, Split\(paths=2\) here"),
        (
            {"data": tiny_data(train=41)},
            r"images \[40, 12, .* there, \[41, 12, .* here",
        ),
        ({"build": plain}, "subject supernet there, standalone here; choices .* there, .* here"),
        ({"build": lambda seed: small(seed, width=5)}, "network .* there, .* here"),
    ],
)
@pytest.mark.sampled(3)
@pytest.mark.parametrize("finished", [True, False])
def test_checkpoints_of_another_training_are_refused(
    changes: dict[str, Any], what: str, finished: bool, tmp_path: Path
) -> None:
    if finished:
        take_up(tmp_path)
    else:
        with pytest.raises(Stopped):
            take_up(tmp_path, stop=Asked(3))
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(CheckpointError, match=f"{what}.*; (choose|use|begin)"):
        take_up(tmp_path, **changes)
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("state", [3, [], {}, {"identity": 3}, {"result": {}}, {"step": 1}])
def test_a_state_that_is_no_trials_is_refused(state: State, tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    kept.save(state)
    with pytest.raises(CheckpointError, match=r"are of another training: recipe None there, "):
        take_up(tmp_path)
    with pytest.raises(CheckpointError, match=r"not of this training: .*; choose another folder"):
        read_saved(kept)


def test_a_trial_with_parts_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        take_up(tmp_path / "half", stop=Asked(3))
    take_up(tmp_path / "done")
    for name in ("half", "done"):
        whole = load(tmp_path / name)
        for key in whole:
            if key not in ("identity", "done"):
                folder = tmp_path / name / key
                Checkpoints(folder).save({**whole, key: None})
                with pytest.raises(CheckpointError, match=r"; (choose|use)"):
                    take_up(folder)


class LateNaN(nn.Linear):
    """Puts out NaN as soon as a weight is large."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y * math.nan if self.weight.abs().max() > 0.5 and self.training else y


def late(seed: int = 0) -> Supernet:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return Supernet(nn.Sequential(nn.Flatten(), LateNaN(64, 3)))


def test_the_last_good_checkpoint_is_named(tmp_path: Path) -> None:
    recipe = Recipe(epochs=9, batch_size=20, learning_rate=0.3, schedule="constant")
    with pytest.raises(DivergedError) as caught:
        take_up(tmp_path, build=late, recipe=recipe)
    newest = Checkpoints(tmp_path).newest
    assert newest
    assert str(caught.value).endswith(f"; the last good checkpoint is {newest}")
    assert " is nan at step " in str(caught.value)
    with pytest.raises(DivergedError) as without:
        train(late(), tiny_data(), recipe, calibration_images=10)
    assert "checkpoint" not in str(without.value)
    assert str(caught.value).startswith(str(without.value))
    assert load(tmp_path)["steps"]["step"] > 1


class Spoiled(nn.Linear):
    """Spoils its third gradient in training, though not the loss."""

    def __init__(self) -> None:
        super().__init__(64, 3)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        self.calls += self.training
        if self.calls == 3 and y.requires_grad:
            y.register_hook(lambda gradient: gradient * math.nan)
        return y


def test_no_checkpoint_is_written_of_weights_that_are_not_finite(tmp_path: Path) -> None:
    """The step before a loss is NaN leaves weights that are: they are not saved."""
    supernet = Supernet(nn.Sequential(nn.Flatten(), Spoiled()))
    saved = []

    def watch(progress: Progress) -> None:
        if progress.saved:
            saved.append(load(tmp_path)["steps"])

    with pytest.raises(
        DivergedError, match=r"is nan at step 4, .*; the last good checkpoint is .*\.safetensors$"
    ):
        take_up(
            tmp_path,
            build=lambda seed: supernet,
            recipe=replace(SHORT, batch_size=10),
            watch=watch,
        )
    assert not any(p.isfinite().all() for p in supernet.parameters())
    assert [state["step"] for state in saved] == [0, 1, 2]
    assert all(weight.isfinite().all() for state in saved for weight in state["net"].values())


def test_a_stop_saves_no_weights_that_are_not_finite(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    supernet = Supernet(net)
    asked = Asked()

    def stop() -> bool:
        asked()
        if asked.times == 2:
            next(net.parameters()).data[0, 0] = math.nan
        return asked.times == 2

    with pytest.raises(Stopped):
        take_up(tmp_path, build=lambda seed: supernet, stop=stop)
    assert load(tmp_path)["steps"]["step"] in (0, 1)
    assert all(w.isfinite().all() for w in load(tmp_path)["steps"]["net"].values())


class Allergic(nn.Linear):
    """Puts out NaN in training if one of the images is a plain surface."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        plain_surface = bool((x.amax(1) == x.amin(1)).any())
        return y * math.nan if plain_surface and self.training else y


def allergic(seed: int = 0) -> Supernet:
    return Supernet(nn.Sequential(nn.Flatten(), Allergic(64, 3)))


def with_a_plain_surface() -> ImageData:
    data = tiny_data()
    data.train.images[7] = 0
    return data


@pytest.mark.parametrize(
    ("build", "on_nan", "skipped", "rollbacks"),
    [(allergic, "skip", 2, 0), (late, "rollback", 0, 3)],
)
def test_what_was_got_round_is_counted_however_often_it_was_stopped(
    build: Callable[[int], Supernet], on_nan: Any, skipped: int, rollbacks: int, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "build": build,
        "data": with_a_plain_surface(),
        "recipe": Recipe(
            epochs=2, batch_size=10, learning_rate=0.3, schedule="constant", on_nan=on_nan
        ),
    }
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        supernet, undisturbed = take_up(tmp_path / "whole", **settings)
        training = undisturbed.training
        assert (training.skipped, training.rollbacks) == (skipped, rollbacks)
        assert all(math.isfinite(epoch.loss) for epoch in training.epochs)
        torch.manual_seed(0)
        stops = 0
        while True:
            try:
                stop = Asked(stops % 3 + 2)
                other, trial = take_up(tmp_path / "stopped", stops, stop=stop, **settings)
                break
            except Stopped:
                stops += 1
                assert stops < 99
    assert stops > 2
    assert equal(trial, undisturbed)
    assert same_weights(other, supernet)


def test_many_trainings_leave_nothing_behind(tmp_path: Path) -> None:
    """Neither memory nor open files: as much after 120 as after 40."""

    def used() -> tuple[int, int]:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize(), len(os.listdir("/proc/self/fd"))

    data, recipe = tiny_data(), Recipe(epochs=1, batch_size=20)
    for number in range(120):
        if number == 40:
            memory, opened = used()
        folder = tmp_path / str(number)
        if number % 4 == 0:
            with pytest.raises(Stopped):
                take_up(folder, build=late, recipe=recipe, data=data, stop=Asked(1), every_s=9.0)
        take_up(folder, 9, build=late, recipe=recipe, data=data, every_s=9.0)
    later, still = used()
    assert still == opened
    assert later - memory < 4e6


# -- averaged weights, and work done in parts ---------------------------------------------------

AVERAGED = replace(SHORT, ema=0.8)


def test_with_ema_it_scores_and_leaves_averaged_weights(tmp_path: Path) -> None:
    by_hand, data = small(), tiny_data(validation=300)
    scored: list[list[float]] = []
    unscored: list[list[float]] = []

    def validate() -> list[float]:
        statistics = calibrate(by_hand, [*by_hand.space], data.train.first(10).inputs(10))
        return [
            accuracy(right) for right in score(statistics, data.validation.batches(50)).values()
        ]

    steps = train_steps(by_hand, data.train, AVERAGED)
    for step in steps:
        if step.ends_epoch:
            with steps.averaged():
                scored.append(validate())
            unscored.append(validate())
    raw = copy.deepcopy(by_hand)
    steps.settle()
    assert not same_weights(raw, by_hand)
    assert scored != unscored
    supernet, trial = take_up(tmp_path, recipe=AVERAGED, data=data)
    assert [epoch.validation for epoch in trial.training.epochs] == scored
    assert same_weights(supernet, by_hand)
    again, taken = take_up(
        tmp_path, 9, recipe=AVERAGED, data=data
    )  # it has ended: nothing is left to do
    assert equal(taken, trial)
    assert same_weights(again, by_hand)


@pytest.mark.usefixtures("in_small_batches")
def test_with_ema_it_may_be_stopped_at_any_time(tmp_path: Path) -> None:
    """In the middle of scoring too, while the network has other weights than it trains with."""
    questions = Asked()
    supernet, undisturbed = take_up(tmp_path / "whole", recipe=AVERAGED, stop=questions)
    for allowed in some(range(questions.times)):
        folder = tmp_path / str(allowed)
        with pytest.raises(Stopped):
            take_up(folder, recipe=AVERAGED, stop=Asked(allowed))
        other, trial = take_up(folder, 9, recipe=AVERAGED)
        assert equal(trial, undisturbed)
        assert same_weights(other, supernet)


def test_what_parts_do_twice_is_billed_twice() -> None:
    bills = []
    for max_bytes in (None, 95_000):
        recipe = replace(RECIPE, max_bytes=max_bytes)
        trial = train(nine(), tiny_data(), recipe, calibration_images=10)
        bills.append({phase.kind: phase.macs for phase in trial.phases})
    planner = Planner(nine(), torch.empty(8, 1, 8, 8, device="meta"))
    parts = planner.plan(nine().space).split(max_bytes=95_000)
    assert len(parts) > 1
    assert bills[1]["training"] == 15 * sum(planner.plan(part).training_macs for part in parts)
    assert bills[1]["training"] > bills[0]["training"]
    assert bills[1]["scoring"] == bills[0]["scoring"]


# -- whose it is --------------------------------------------------------------------------------


def test_a_job_is_checked_by_whoever_reads(tmp_path: Path) -> None:
    _, result = take_up(tmp_path, job={"arch": 1})
    found = read_saved(Checkpoints(tmp_path), {"arch": 1})
    assert found.result
    assert equal(found.result, result)
    with pytest.raises(CheckpointError, match=r"job {'arch': 1} there, {'arch': 2} here"):
        read_saved(Checkpoints(tmp_path), {"arch": 2})
    with pytest.raises(CheckpointError, match="another training: job"):
        take_up(tmp_path, job={"arch": 2})


def test_networks_of_the_same_shapes_are_told_apart(tmp_path: Path) -> None:
    """Two operations without weights, say: every tensor of the state would fit."""

    def build(kind: type[nn.Module]) -> Callable[[int], Supernet]:
        return lambda seed: Supernet(nn.Sequential(nn.Flatten(), kind(), nn.Linear(64, 3)))

    take_up(tmp_path, build=build(nn.ReLU))
    take_up(tmp_path, build=build(nn.ReLU))
    with pytest.raises(CheckpointError, match=r"another training: network .* there, .* here"):
        take_up(tmp_path, build=build(nn.Tanh))


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("forged", ["mean", "hit"])
def test_scores_that_do_not_make_their_means_are_refused(
    split: str, forged: str, tmp_path: Path
) -> None:
    take_up(tmp_path / "real")
    state = load(tmp_path / "real")
    if forged == "mean":
        state["result"]["training"][split][1] += 0.25
    else:
        state["result"][split][1, 0] ^= True
    Checkpoints(tmp_path / "forged").save(state)
    what = f"the {split} score of architecture 1 is"
    with pytest.raises(CheckpointError, match=what):
        read_saved(Checkpoints(tmp_path / "forged"))
    with pytest.raises(CheckpointError, match=what):
        take_up(tmp_path / "forged")


# -- any space, any task, any data --------------------------------------------------------------


def large(blocks: int = 9) -> Supernet:
    """Ten operations at every place: a billion architectures for 9."""
    places = [
        OneOf(f"at{place}", {f"op{n}": nn.Linear(4, 4) for n in range(10)})
        for place in range(blocks)
    ]
    return Supernet(stir(nn.Sequential(nn.Flatten(), nn.Linear(64, 4), *places, nn.Linear(4, 3))))


def test_a_large_space_is_trained_and_a_sample_scored() -> None:
    supernet = large()
    assert supernet.space.size == 10**9
    result = train(supernet, tiny_data(), SHORT, score=5)
    assert len(result.archs) == 5
    assert {supernet.space.smallest, supernet.space.largest} <= set(result.archs)
    assert result.validation.shape == (5, 12)
    assert set(result.scores) == set(result.archs)
    assert result.best in result.archs
    again = train(large(), tiny_data(), SHORT, score=5)
    assert again.archs == result.archs
    assert np.array_equal(again.validation, result.validation)


def test_the_default_sampler_fits_the_space() -> None:
    bills = {}
    builds: list[Callable[[], Supernet]] = [nine, lambda: large(3)]
    for build in builds:
        supernet = build()
        for sampler in (None, "every" if supernet.space.size == 9 else "uniform"):
            result = train(build(), tiny_data(), SHORT, score=3, sampler=sampler)
            bills[sampler or "default"] = [phase.macs for phase in result.phases]
    assert bills["default"] == bills["uniform"]  # of the last
    assert bills["every"] != bills["uniform"]


def test_samplers_are_taken_by_name() -> None:
    named, given = (make(sampler=sampler, seed=4) for sampler in ("uniform", uniform))
    assert equal(named, given)
    steps = [s.draw for s in train_steps(nine(), tiny_data().train, SHORT, sampler="sandwich")]
    assert all(nine().space.largest in draw.archs for draw in steps)
    with pytest.raises(SettingsError, match="no sampler 'evry'"):
        train(nine(), tiny_data(), SHORT, sampler="evry")


class Sum(nn.Module):
    """Two inputs: a choice on one, added to the other."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Depth("body", [block(), block()], shortest=1)
        self.head = nn.Linear(4, 1)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        y: Tensor = self.head(self.body(left) + right)
        return y


@pytest.mark.sampled(2)
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("loaders", [False, True])
def test_a_regression_with_two_inputs_learns(named: bool, loaders: bool) -> None:
    left, right = noise(64, 4, seed=1), noise(64, 4, seed=2)
    y = left.sum(dim=1, keepdim=True).tanh() + right[:, :1]

    class Two(Dataset[Any]):
        def __len__(self) -> int:
            return 64

        def __getitem__(self, at: int) -> Any:
            x: Any = (left[at], right[at])
            return dict(zip(("left", "right"), x, strict=True)) if named else x, y[at]

    source: Any = DataLoader(Two(), batch_size=24, shuffle=True) if loaders else Two()
    supernet = Supernet(stir(Sum()))
    result = train(
        supernet,
        (source, source),
        Recipe(epochs=25, batch_size=16, learning_rate=0.02, optimizer="adamw"),
        task=Regression(),
    )
    errors = [-epoch.validation[0] for epoch in result.training.epochs]
    assert errors[-1] < errors[0] / 4
    assert result.measure.name == "squared error"
    assert result.validation.dtype == np.float32
    assert np.allclose(result.validation, -result.validation_losses)  # type: ignore[operator]
    assert result.test.shape == (2, 0)
    assert result.training.test == []
    assert "squared error" in repr(result)
    (training, *_) = result.phases
    assert training.images == 25 * 64  # loaders give an incomplete last batch too


def test_the_best_may_be_so_by_loss(trial: TrainingResult) -> None:
    assert trial.validation_losses is not None
    losses = dict(zip(trial.archs, trial.validation_losses.mean(axis=1), strict=True))
    assert trial.losses == pytest.approx(losses)
    assert trial.best_by("loss") == min(trial.archs, key=losses.__getitem__)
    assert trial.best_by("score") == trial.best
    with pytest.raises(SettingsError, match="best by 'rank'"):
        trial.best_by("rank")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="there are no losses per sample"):
        replace(trial, validation_losses=None).best_by("loss")


def test_losses_come_with_the_scores() -> None:
    supernet, data = nine(), tiny_data()
    result = train(supernet, data, RECIPE, calibration_images=10)
    statistics = calibrate(supernet, result.archs, data.train.first(10).inputs(10))
    found = score_samples(statistics, data.validation)
    assert result.validation_losses is not None
    for row, arch in enumerate(result.archs):
        losses = found[arch].losses
        assert losses is not None
        assert np.array_equal(result.validation_losses[row], losses.numpy())
    assert result.test_losses is not None
    assert result.test_losses.shape == (9, 15)


def test_an_optimizer_of_ones_own_with_groups(tmp_path: Path) -> None:
    made: list[torch.optim.Optimizer] = []

    def two_groups(net: nn.Module) -> torch.optim.Optimizer:
        *body, weight, bias = net.parameters()
        groups = [{"params": body, "lr": 0.05}, {"params": [weight, bias], "lr": 0.01}]
        made.append(torch.optim.RMSprop(groups))
        return made[-1]

    recipe = replace(SHORT, schedule="constant")
    supernet, result = take_up(tmp_path / "whole", recipe=recipe, optimizer=two_groups)
    assert [group["lr"] for group in made[0].param_groups] == [0.05, 0.01]
    with pytest.raises(Stopped):
        take_up(tmp_path / "cut", recipe=recipe, optimizer=two_groups, stop=Asked(2))
    other, again = take_up(tmp_path / "cut", 9, recipe=recipe, optimizer=two_groups)
    assert equal(result, again)
    assert same_weights(supernet, other)
    with pytest.raises(CheckpointError, match=r"optimizer .*two_groups there, None here"):
        take_up(tmp_path / "cut", recipe=recipe)
    with pytest.raises(SettingsError, match=r"returned a list; it must return a torch\.optim"):
        train(small(), tiny_data(), SHORT, optimizer=lambda net: [])  # type: ignore[arg-type,return-value]


def test_accumulated_batches_are_one_step() -> None:
    """Without batch norms, two batches of 10 are one of 20."""
    nets = []
    for size, accumulate in ((20, 1), (10, 2)):
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 3))
        nets.append(Supernet(stir(net)).double())
        recipe = Recipe(epochs=3, batch_size=size, accumulate=accumulate, learning_rate=0.1)
        data = tiny_data()
        steps = train_steps(nets[-1], Doubled(data.train), recipe)
        assert [step.samples for step in steps] == [20] * 6
    for ours, theirs in zip(*(net.parameters() for net in nets), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    with pytest.raises(DataError, match=r"a step of 5 batches is larger .* \(4 batches\)"):
        train_steps(small(), tiny_data().train, Recipe(batch_size=10, accumulate=5))


class Doubled:
    """The same images in float64."""

    def __init__(self, split: DataSplit) -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def shuffled(self, batch_size: int, *, seed: int, epoch: int) -> Iterator[tuple[Any, Any]]:
        for x, y in self.split.shuffled(batch_size, seed=seed, epoch=epoch):
            yield x.double(), y


def test_no_training_batch_of_one_reaches_a_batch_norm() -> None:
    images = torch.cat(list(tiny_data().train.inputs(40)))
    pairs = TensorDataset(images, torch.arange(40) % 3)
    odd: Any = DataLoader(pairs, batch_size=13)
    with pytest.raises(DataError, match=r"the last of a single sample.* set drop_last=True"):
        train(small(), (odd, pairs), SHORT)
    cut: Any = DataLoader(pairs, batch_sampler=[[0, 1, 2], [3]])
    with pytest.raises(DataError, match="a batch of epoch 1 holds a single sample"):
        train(small(), (cut, pairs), SHORT)
    with pytest.raises(SettingsError, match="calibration_images is 1, and the network has"):
        train(nine(), tiny_data(), calibration_images=1)
    with pytest.raises(SettingsError, match="batch_size is 1, and the network has batch norms"):
        train(small(), tiny_data(), Recipe(batch_size=1))
    bare = Supernet(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)))
    train(bare, (odd, pairs), SHORT)


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"device": "cuda:77"}, SettingsError, "device is 'cuda:77', which can't be used here"),
        ({"device": "tpux"}, SettingsError, "device is 'tpux'"),
        ({"task": "regression"}, SettingsError, "task is a str; it must be a Task"),
        ({"recipe": {"epochs": 3}}, SettingsError, "recipe is a dict; give a Recipe"),
        ({"score": 1}, SettingsError, "score is 1"),
        ({"task": Regression()}, DataError, r"outputs are \(2, 3\) float32 and targets are"),
        (
            {"task": Regression(), "recipe": replace(SHORT, label_smoothing=0.1)},
            SettingsError,
            "label_smoothing is 0.1, which Regression",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_trained(
    changes: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    supernet = small()
    with pytest.raises(error, match=sentence):
        train(supernet, tiny_data(), **{"recipe": SHORT, **changes})
    assert same_weights(supernet, small())


def test_data_that_do_not_fit_are_refused_before_anything_is_trained() -> None:
    images, y = torch.cat(list(tiny_data().train.inputs(40))), torch.arange(40) % 3
    good: Any = (images, y)
    for bad, sentence in (
        ((images, y[:, None]), r"targets are \(2, 1\) int64, .*targets\[:, 0\]"),
        ((images[:, :, :7], y), r"can't take the {} inputs, which are \(2, 1, 7, 8\) float32"),
    ):
        for place, name in enumerate(("train", "validation", "test")):
            data = [good, good, good]
            data[place] = bad
            supernet = small()
            with pytest.raises(
                DataError, match=sentence.format(name) if "{}" in sentence else sentence
            ):
                train(supernet, data, SHORT)
            assert same_weights(supernet, small())


def test_a_plain_module_is_a_network_of_one_architecture() -> None:
    net, wrapped = plain_net(), plain_net()
    result = train(net, tiny_data(), SHORT)
    same = train(Supernet(wrapped), tiny_data(), SHORT)
    assert equal(result, same)
    with pytest.raises(SettingsError, match="the network is a str"):
        train("resnet18", tiny_data(), SHORT)  # type: ignore[arg-type]


# -- following and showing it -------------------------------------------------------------------


def test_a_training_is_an_iterator_of_what_happens() -> None:
    heard: list[Progress] = []
    watched = make(watch=heard.append)
    by_hand = TrainingSession(nine(), tiny_data(), RECIPE, calibration_images=10)
    with pytest.raises(SettingsError, match="has not ended"):
        _ = by_hand.result
    assert list(by_hand.events()) == heard
    assert equal(by_hand.result, watched)


def test_progress_is_lines_where_nobody_sees_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    train(small(), tiny_data(), SHORT, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("supernet: epoch 1/2, loss ")
    train(small(), tiny_data(), SHORT)
    train(small(), tiny_data(), SHORT, progress=False)
    assert capsys.readouterr() == ("", "")


def test_a_result_says_in_a_line_what_it_is(trial: TrainingResult) -> None:
    line = repr(trial)
    assert "\n" not in line
    assert len(line) < 120
    assert line.startswith("TrainingResult(9 architectures, 3 epochs, validation accuracy ")
    assert f"best {trial.best.label}" in line
    assert trial.scores[trial.best] == max(trial.training.validation)
    table = trial._repr_html_()
    assert table.count("<tr>") == 10
    assert "validation accuracy, %" in table
    assert table.index(trial.best.label) == table.index("<td>") + 4
    one = make(Supernet(plain_net()))
    assert repr(one).startswith("TrainingResult(1 architecture, 3 epochs, validation accuracy ")


def test_epochs_may_be_said_without_a_recipe() -> None:
    result = train(small(), tiny_data(train=256), epochs=1)
    assert result.recipe == Recipe(epochs=1)
