"""The experiment computes the same wherever its trainings run, and whatever happens to workers."""

import hashlib
import io
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from supernet.datasets.augmentations import Augmentation
from supernet.errors import CheckpointError, DataError, DivergedError, SettingsError
from supernet.evaluation.cost import count_macs, count_params
from supernet.experiments import worker
from supernet.experiments.components import build_named, initial_seed, load_data
from supernet.experiments.execution import (
    Completed,
    Outcome,
    Progressed,
    Trained,
    execute,
    files_of,
    judge,
    run,
)
from supernet.experiments.planning import measure_speed, plan
from supernet.experiments.settings import COUNTS, Settings, resolve_settings
from supernet.networks.named import NamedNetwork
from supernet.networks.zoo import build_mnist_net
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.records import Progress, Results
from supernet.sharing import Planner
from supernet.training.recipe import Recipe
from supernet.training.samplers import (
    Draw,
    Fair,
    Sandwich,
    Shrinking,
    WithLargest,
    training_macs,
    warm_up,
)
from supernet.training.session import TrainingSession
from tests.datasets.idxfiles import random_arrays, write_folder
from tests.experiments.tinyruns import small, stay_here, write_data
from tests.runs.processes import workers


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


def facts(results: Results) -> dict[str, Any]:
    """What does not depend on the clock."""
    found = results.model_dump(exclude={"conditions", "ledger", "verdict", "settings"})
    found["ledger"] = [p.model_dump(exclude={"wall_s", "cpu_s"}) for p in results.ledger]
    if results.verdict:
        timed = {"cost_ratio", "cost_ratio_range", "breakeven", "sentences"}
        found["verdict"] = repr(results.verdict.model_dump(exclude=timed))
    found["ranking"] = repr(found["ranking"])  # NaN equals nothing
    return found


def same_weights(one: Outcome, other: Outcome) -> bool:
    return one.weights.keys() == other.weights.keys() and all(
        np.array_equal(weights[name], other.weights[seed][name])
        for seed, weights in one.weights.items()
        for name in weights
    )


def test_neither_the_number_of_workers_nor_their_death_changes_what_is_computed(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = plan(small(data, longest=1, workers=2))
    before = torch.get_rng_state()
    killed: list[int] = []
    outcome = None
    for event in execute(two):
        if isinstance(event, Progressed) and not killed:
            killed.append(workers()[0])
            os.kill(killed[0], signal.SIGKILL)
        elif isinstance(event, Completed):
            outcome = event.outcome
    assert killed
    assert outcome
    assert workers() == []

    stay_here(monkeypatch)
    one = plan(small(data, longest=1, workers=1))
    alone = run(one)
    assert torch.equal(torch.get_rng_state(), before)
    assert same_weights(outcome, alone)
    assert facts(judge(two, outcome, command="c")) == facts(judge(one, alone, command="c"))


def test_two_seeds_with_a_longer_supernet_are_put_in_order(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stay_here(monkeypatch)
    planned = plan(small(data, longest=2, seeds=2, seed=5, epochs=1, longer=True))
    names = [job.name for job in planned.jobs]
    assert len(set(names)) == len(names) == 2 * (1 + 1 + 4)
    *events, last = execute(planned)
    assert isinstance(last, Completed)
    outcome = last.outcome
    assert [event.job for event in events if isinstance(event, Trained)] == names
    watched: dict[str, list[Progress]] = {}
    for event in events:
        if isinstance(event, Progressed):
            watched.setdefault(event.job, []).append(event.progress)
    assert set(watched) == set(names)
    assert all(said[-1].ended and said[-1].done == 1 for said in watched.values())

    results = judge(planned, outcome, command="the command")
    assert [record.seed for record in results.seeds] == [5, 6]
    for record in results.seeds:
        assert record.longer is not None
        assert len(record.longer.epochs) > len(record.supernet.epochs)
        assert len(record.standalone) == 4
    own = [phase.arch for phase in results.ledger if phase.subject == "standalone"]
    assert set(own) == {arch.label for arch in results.architectures}
    assert results.conditions.command == "the command"
    assert results.settings == planned.settings.flat()


def test_networks_start_from_weights_of_their_own_and_seeds_differ(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stay_here(monkeypatch)
    seeds: list[int] = []

    def build(settings: Settings, *, seed: int, **rest: Any) -> NamedNetwork:
        seeds.append(seed)
        return build_named(settings, seed=seed, **rest)

    planned = plan(small(data, longest=2, seeds=2, epochs=1, longer=True))
    worker.warm_up(planned.settings)
    monkeypatch.setattr(worker, "build_named", build)
    run(planned)
    assert len(set(seeds)) == len(seeds) == len(planned.jobs)


def test_seeds_of_initial_weights_are_all_different() -> None:
    """Those of a thousand architectures too, which once ran into the next seed's."""
    found = [
        initial_seed(seed, kind, arch)
        for seed in (0, 1)
        for kind, archs in (("supernet", [None]), ("longer", [None]), ("standalone", range(1200)))
        for arch in archs
    ]
    assert len(set(found)) == len(found) == 2 * 1202
    assert all(0 <= seed < 2**63 for seed in found)
    assert initial_seed(0, "standalone", 10**30) != initial_seed(0, "standalone", 10**30 + 1)


def test_a_worker_warms_up_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stay_here(monkeypatch)
    trained: list[int] = []
    monkeypatch.setattr(
        worker, "train", lambda net, data, *_, **__: trained.append(len(data.train))
    )
    settings = small(data, batch_size=16, seed=77)
    for _ in range(2):
        worker.warm_up(settings)
    assert trained == [16]


def test_a_plan_says_what_will_be_done_and_what_it_costs(data: Path) -> None:
    planned = plan(small(data, workers=50))
    assert planned.workers == len(planned.jobs) == 10
    assert [job.macs for job in planned.jobs] == sorted(
        (j.macs for j in planned.jobs), reverse=True
    )
    net = Supernet(build_mnist_net(seed=1, classes=3, shape=(1, 8, 8), widths=(4, 3)))
    for record, arch in zip(planned.architectures, net.space, strict=True):
        assert record.params == count_params(extract(net, arch))
        assert record.macs == count_macs(net, arch, (1, 8, 8))
    assert measure_speed(planned, seconds=0) > 0


def test_training_the_supernet_only_is_one_job_and_has_no_verdict(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stay_here(monkeypatch)
    planned = plan(small(data, epochs=1, longer=True, sampler="uniform"), standalone=False)
    assert [job.name for job in planned.jobs] == ["supernet"]
    outcome = run(planned)
    results = judge(planned, outcome, command="c")
    assert results.verdict is None
    files = files_of(outcome, results)
    assert list(files) == ["supernet-seed0.safetensors", "hits.npz", "results.json"]
    kept = Results.model_validate_json(files["results.json"])
    assert list(kept.weights_sha256.values()) == [
        hashlib.sha256(files["supernet-seed0.safetensors"]).hexdigest()
    ]
    assert kept.model_copy(update={"weights_sha256": {}}) == results


def test_hits_can_be_unpacked_again(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stay_here(monkeypatch)
    planned = plan(small(data, epochs=1, longest=1))
    outcome = run(planned)
    files = files_of(outcome, judge(planned, outcome, command="c"))
    with np.load(io.BytesIO(files["hits.npz"]), allow_pickle=False) as saved:
        for name in ("one_shot_validation", "one_shot_test", "standalone_test"):
            count = int(saved[f"{name}_images"])
            hits = np.unpackbits(saved[name], axis=-1, count=count).astype(bool)
            assert hits.shape == (1, 1, 60 if name.endswith("validation") else 80)
            if name == "one_shot_test":
                assert np.array_equal(hits[0], outcome.seeds[0].supernet.test)


def test_a_preset_takes_as_many_images_as_there_are(tmp_path: Path) -> None:
    """A refusal is for what was asked for, and names the option."""
    few = write_folder(tmp_path / "few", random_arrays(train=60, test=9, height=8, width=8))
    given = {"data": str(few), "net_arg": ["widths=4,3"]}
    planned = plan(resolve_settings("quick", None, given))
    assert (len(planned.data.train), len(planned.data.validation)) == (55, 5)
    assert planned.settings.data.train_images == 55
    assert planned.settings.data.calibration_images == 55
    again = plan(planned.settings)  # as its config.yaml has them
    assert again.settings == planned.settings
    for asked, option in (
        ({"train_images": 56}, "--train-images"),
        ({"calibration_images": 56}, "--calibration-images"),
        ({"batch_size": 56}, "--batch-size"),
    ):
        with pytest.raises(DataError, match=option):
            plan(resolve_settings("quick", None, {**given, **asked}))
    everything = plan(resolve_settings("standard", None, {**given, **dict.fromkeys(COUNTS, "all")}))
    assert everything.settings.data.calibration_images == 55


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"train_images": None, "batch_size": 4676}, "is 4676, but there are only 4675"),
        ({"calibration_images": 97}, "calibration_images is 97, but there are only 96"),
        ({"train_images": 4676}, "4676 images were asked for"),
    ],
)
def test_too_few_images_are_an_error_before_anything_is_trained(
    data: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        plan(small(data, **changes))


@pytest.mark.parametrize(
    ("rate", "who"),
    [("learning_rate", r"architecture \(.*\)"), ("standalone_rate", "the network")],
)
def test_a_diverged_training_is_named(
    data: Path, rate: str, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stay_here(monkeypatch)
    planned = plan(small(data, longest=1, **{rate: 1e30}))
    with pytest.raises(DivergedError, match=rf"{who} is nan at step 2.*rate of \d"):
        run(planned)


# -- data and rules that are asked for ----------------------------------------------------------


def test_only_training_images_are_changed(data: Path) -> None:
    as_it_is = load_data(small(data).data)
    changed = load_data(small(data, crop=2, flip=True, cutout=3).data)
    for name in ("train", "validation", "test"):
        ours, theirs = getattr(changed, name), getattr(as_it_is, name)
        assert torch.equal(ours.images, theirs.images)
        assert theirs.augmentation is None
        assert (ours.augmentation is None) == (name != "train")
    assert changed.train.augmentation == Augmentation(crop=2, flip=True, cutout=3)
    with pytest.raises(SettingsError, match="crop is 8; for images of 8 x 8 pixels"):
        plan(small(data, crop=8))


def test_data_may_be_of_another_kind(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        f"{part}_{what}": array
        for part, count in (("train", 240), ("test", 60))
        for what, array in (
            ("images", rng.integers(0, 256, (count, 8, 8, 3), np.uint8)),
            ("labels", np.arange(count) % 3),
        )
    }
    np.savez(tmp_path / "colors.npz", allow_pickle=False, **arrays)
    settings = small(tmp_path / "colors.npz", validation_images=20)
    assert load_data(settings.data).shape == (3, 8, 8)
    assert len(plan(settings).architectures) == 9


@pytest.mark.parametrize(
    "rule",
    [
        {"sampler": "fair", "largest_first": 0.3},
        {"sampler": "sandwich", "distill": True, "paths": 3},
        {"sampler": "shrinking", "distill": True, "order": "block2*, *"},
    ],
)
def test_rules_reach_the_training(
    rule: dict[str, Any], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stay_here(monkeypatch)
    asked: list[dict[str, Any]] = []

    def note(net: Supernet, data: Any, recipe: Recipe, **rest: Any) -> TrainingSession:
        asked.append({"recipe": recipe, **rest})
        return TrainingSession(net, data, recipe, **rest)

    settings = small(data, epochs=1, longest=2, clip_norm=1.0, ema=0.9, label_smoothing=0.1, **rule)
    planned = plan(settings, standalone=False)
    worker.warm_up(settings)
    monkeypatch.setattr(worker, "TrainingSession", note)
    run(planned)
    (found,) = asked
    recipe = found["recipe"]
    assert (recipe.clip_norm, recipe.ema, recipe.label_smoothing) == (1.0, 0.9, 0.1)
    assert recipe.distill == rule.get("distill", False)
    sampler = {
        "fair": warm_up(Fair(), 0.3),
        "sandwich": WithLargest(Sandwich(3)),
        "shrinking": WithLargest(Shrinking(("block2*", "*"), 4)),
    }[rule["sampler"]]
    assert found["sampler"] == sampler


def test_the_plan_knows_that_a_rule_changes_as_training_proceeds(data: Path) -> None:
    whole, first = (
        plan(small(data, epochs=1, largest_first=share), standalone=False).jobs[0].macs
        for share in (0.0, 0.5)
    )
    net = Supernet(build_mnist_net(seed=0, classes=3, shape=(1, 8, 8), widths=(4, 3)))
    planner = Planner(net, torch.empty(32, 1, 8, 8, device="meta"))
    largest, all_nine = (
        training_macs(Draw(archs), planner) for archs in ((net.space.largest,), tuple(net.space))
    )
    assert whole - first == 96 * (all_nine - largest) // 2


def test_a_finished_training_in_anothers_place_is_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when folders are swapped after a kill: each network would get the other's accuracies."""
    stay_here(monkeypatch)
    whole = plan(small(data, longest=2, epochs=1))
    first = run(whole, tmp_path)
    one, other = sorted(tmp_path.glob("*standalone*"))[:2]
    one.rename(tmp_path / "aside")
    other.rename(one)
    (tmp_path / "aside").rename(other)
    with pytest.raises(CheckpointError, match=r"another training: job .*; choose another folder"):
        run(whole, tmp_path)
    *_, last = execute(whole, tmp_path, restart=True)
    assert isinstance(last, Completed)
    again = last.outcome
    assert facts(judge(whole, again, command="")) == facts(judge(whole, first, command=""))
