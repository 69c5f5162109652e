"""Spaces of any size: what is scored, what is trained alone, and where."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau
from torch import nn

from supernet.errors import SettingsError
from supernet.evaluation.naswot import naswot
from supernet.experiments import comparison
from supernet.experiments.execution import judge, run
from supernet.experiments.planning import plan, spread
from supernet.networks.zoo import build_mnist_net
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.report import conditions
from supernet.space import Architecture
from supernet.training import steps
from tests.experiments.tinyruns import small, stay_here, write_data


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


def huge(data: Path, **changes: Any) -> Any:
    """A space of 16 million architectures, each of a few weights."""
    return small(data, net="operations", net_arg=["width=2", "positions=24"], **changes)


def test_architectures_trained_alone_are_spread_over_the_multiply_adds() -> None:
    archs = [Architecture({"a": number}) for number in range(100)]
    macs = [(7 * number) % 100 for number in range(100)]
    found = spread(archs, macs, 5)
    assert sorted(macs[archs.index(arch)] for arch in found) == [0, 25, 50, 74, 99]
    assert list(found) == sorted(found, key=archs.index)
    assert spread(archs, macs, 100) == spread(archs, macs, 1000) == tuple(archs)
    assert len(spread(archs, macs, 1)) == 1


def test_a_space_of_millions_is_planned_without_listing_it(data: Path) -> None:
    planned = plan(huge(data, score=8, alone=3))
    assert planned.named.supernet.space.size == 2**24
    assert len(planned.archs) == len(planned.architectures) == 8
    assert {planned.named.supernet.space.smallest, planned.named.supernet.space.largest} <= set(
        planned.archs
    )
    assert len(planned.alone) == 3
    assert [job.subject for job in planned.jobs].count("standalone") == 3
    again = plan(huge(data, score=8, alone=3))
    assert (again.archs, again.alone) == (planned.archs, planned.alone)
    assert plan(huge(data, score=8, seed=1), standalone=False).archs != planned.archs


def test_a_comparison_in_a_large_space_is_on_those_trained_alone(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stay_here(monkeypatch)
    settings = small(data, net="operations", net_arg=["width=2", "positions=9"], epochs=1)
    planned = plan(settings.but(score=5, alone=3, test_images=20))
    results = judge(planned, run(planned), command="c")
    assert len(results.architectures) == 5
    assert results.alone is not None
    assert len(results.alone) == len(results.seeds[0].standalone) == 3
    assert results.verdict is not None
    assert results.verdict.networks == 3
    assert results.data.test == 20
    assert [results.architectures[place].label for place in results.alone] == [
        arch.label for arch in planned.alone
    ]


def test_every_architecture_is_counted_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stay_here(monkeypatch)
    counted: list[object] = []

    def count(net: Supernet, arch: Architecture) -> nn.Module:
        counted.append(arch)
        return extract(net, arch)

    monkeypatch.setattr(comparison, "extract", count)
    planned = plan(small(data, epochs=1, longest=2))
    judge(planned, run(planned), command="c")
    assert counted == list(planned.archs)


def test_what_cannot_be_had_is_said_before_anything_is_trained(data: Path) -> None:
    with pytest.raises(SettingsError, match="device is 'warp'; here there is cpu"):
        plan(small(data, device="warp"))
    with pytest.raises(SettingsError, match="device is 'meta'; here there is cpu"):
        plan(small(data, device="meta"))
    with pytest.raises(SettingsError, match="images of 8x8 have no whole patches of 3x3"):
        plan(small(data, net="autoformer", net_arg=["patch=3"]))


def test_naswot_is_one_more_baseline_where_it_is_asked_for(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stay_here(monkeypatch)
    planned = plan(small(data, epochs=1, alone=5, naswot=True))
    results = judge(planned, run(planned), command="c")
    assert results.verdict
    assert list(results.verdict.baselines) == ["multiply-adds", "parameters", "layers", "naswot"]
    fresh = build_mnist_net(seed=0, classes=3, shape=(1, 8, 8), widths=(4, 3))
    found = naswot(Supernet(fresh), planned.alone, inputs=next(planned.data.train.inputs(96)))
    for arch, record in zip(planned.archs, results.architectures, strict=True):
        assert record.scores == ({"naswot": found[arch]} if arch in found else {})
    assert "naswot gives tau" in " ".join(results.verdict.sentences)


def test_the_ranking_leans_where_it_is_asked_to(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stay_here(monkeypatch)
    planned = plan(small(data, epochs=1, alone=6, score=7, lean=0.5))
    results = judge(planned, run(planned), command="c")
    assert results.ranking
    assert results.ranking.losses
    assert results.ranking.leaning
    losses = np.array([loss.value for loss in results.ranking.losses])
    logs = np.log([arch.macs for arch in results.architectures])
    expected = 0.5 * losses.std() * (logs - logs.mean()) / logs.std()
    assert results.ranking.leaning == pytest.approx(expected.tolist())
    # What corrects the ranking is held against it, lean and all.
    assert results.corrected
    assert results.alone
    ranked = (expected - losses)[results.alone]
    truth = [trial.test[0] for trial in results.seeds[0].standalone]
    assert results.corrected.taus["one_shot"] == pytest.approx(kendalltau(ranked, truth).statistic)


def test_a_budget_of_seconds_is_the_supernets(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is trained alone, and what has as much compute as that, is trained for epochs."""
    monkeypatch.setattr(steps, "clock_of", lambda *_: itertools.count().__next__)
    stay_here(monkeypatch)
    planned = plan(small(data, seconds=5, alone=2, longer=True, net_arg=["widths=2,2"]))
    by_epochs = plan(small(data, alone=2, longer=True, net_arg=["widths=2,2"]))
    assert [job.seconds for job in planned.jobs if job.subject == "supernet"] == [5]
    others, same = (
        [job for job in one.jobs if job.subject != "supernet"] for one in (planned, by_epochs)
    )
    assert others == same
    assert planned.seconds(1e12) >= 5 > by_epochs.seconds(1e12)
    assert planned.shares().keys() == by_epochs.shares().keys()
    results = judge(planned, run(planned), command="c")
    seed = results.seeds[0]
    assert seed.supernet.steps == 3  # of a second, after two that were tried; 3 make an epoch
    assert len(seed.supernet.epochs) == 1
    assert {training.steps for training in seed.standalone} == {6}
    assert results.settings["seconds"] == 5
    assert conditions.training(results) == (
        "96 training images, CPU seconds of the supernet 5.0, epochs 2, batch 32, learning rate 0.2"
    )
