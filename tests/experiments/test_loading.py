"""A finished run comes back with weights, scores and best, or in a sentence that says why not."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import supernet as sn
from supernet.errors import NetworkError, RunFolderError
from supernet.experiments.extraction import choose
from supernet.experiments.loading import load_run
from supernet.runs.folder import read_results
from tests.experiments.tinyruns import options, write_data
from tests.faults.runs import call

NET = """
from torch import nn

import supernet as sn


def build(shape, classes, width=3):
    block = lambda: nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width))
    return nn.Sequential(
        nn.Conv2d(shape[0], width, 3, padding=1),
        sn.Depth("block", [block(), block()]),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, classes),
    )
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two architectures of somebody's own network."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "my_net.py").write_text(NET)
    net = f"{folder / 'my_net.py'}:build"
    own = options(data, net=net, net_arg=["width=2"], epochs=1)
    code, _, told = call("compare", *own, "--out", folder / "run")
    assert code == 0, told
    return folder / "run"


def test_the_best_is_so_by_what_the_run_ranks_by(run: Path) -> None:
    found = sn.load_run(run)
    ranking = found.results.ranking
    assert ranking is not None
    assert ranking.losses is not None
    assert found.ranked == {
        arch: -loss.value for arch, loss in zip(found.archs, ranking.losses, strict=True)
    }
    for order in (1, -1):
        losses = [
            loss.model_copy(update={"value": order * i}) for i, loss in enumerate(ranking.losses)
        ]
        by_loss = ranking.model_copy(update={"ranked_by": "loss", "losses": losses})
        changed = replace(found, results=found.results.model_copy(update={"ranking": by_loss}))
        best = found.archs[0 if order == 1 else -1]
        assert changed.best == best
        assert choose(changed, best=True) == [best]
        for by in ("score", "loss"):
            leaning = {"ranked_by": by, "leaning": [order * 99.0 * i for i in range(2)]}
            record = by_loss.model_copy(update=leaning)
            leant = replace(found, results=found.results.model_copy(update={"ranking": record}))
            assert leant.best == found.archs[1 if order == 1 else 0]


def test_weights_scores_and_best_are_those_of_the_run(run: Path) -> None:
    found = sn.load_run(run)
    results = read_results(run)
    assert list(found.scores.values()) == results.seeds[0].supernet.validation
    assert list(found.standalone.values()) == [t.test[0] for t in results.seeds[0].standalone]
    assert found.ranked[found.best] == max(found.ranked.values())
    assert found.settings.network.arguments == ("width=2",)
    assert "2 architectures, 2 scored; best (" in repr(found)
    count = found.settings.data.calibration_images
    assert count is not None
    few = found.data.train.first(count)
    again = sn.evaluate(
        found.supernet,
        found.archs,
        calibration=few.inputs(250),
        batches=found.data.validation.batches(250),
    )
    assert again == found.scores


def test_a_changed_network_is_refused_unless_that_is_allowed(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    source = run.parent / "my_net.py"
    source.write_text(NET + "\n# a comment more\n")
    try:
        with pytest.raises(RunFolderError, match=r"my_net\.py is not the file it was"):
            load_run(copy)
        assert (
            load_run(copy, allow_mismatch=True).archs == load_run(copy, allow_mismatch=True).archs
        )
        source.write_text(NET.replace("[block(), block()]", "[block(), block(), block()]"))
        with pytest.raises(RunFolderError, match="the search space is not what it was"):
            load_run(copy)
        with pytest.raises(RunFolderError, match="holds the weights of another network"):
            load_run(copy, allow_mismatch=True)
        source.unlink()
        with pytest.raises(NetworkError, match="there is no file"):
            load_run(copy)
    finally:
        source.write_text(NET)


def test_what_is_missing_or_damaged_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="there is no run folder"):
        load_run(tmp_path / "nowhere")
    with pytest.raises(RunFolderError, match=r"has no seed 7; it has \[0\]"):
        load_run(run, seed=7)
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    weights = copy / "supernet-seed0.safetensors"
    whole = weights.read_bytes()
    for place in (len(whole) - 1, len(whole) // 2, 9):
        weights.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(RunFolderError, match="not what the run wrote"):
            load_run(copy)
    weights.write_bytes(whole[:-100])
    with pytest.raises(RunFolderError, match="SHA-256 differs"):
        load_run(copy)
    results = read_results(copy).model_copy(update={"weights_sha256": {}})  # of an earlier version
    (copy / "results.json").write_text(results.model_dump_json())
    with pytest.raises(RunFolderError, match="can't be read"):
        load_run(copy)
    weights.unlink()
    os.mkfifo(weights)
    with pytest.raises(RunFolderError, match="pipe"):
        load_run(copy)
    weights.unlink()
    with pytest.raises(RunFolderError, match="there are no weights"):
        load_run(copy)


def test_no_generator_is_touched(run: Path) -> None:
    before = torch.get_rng_state()
    load_run(run)
    assert torch.equal(torch.get_rng_state(), before)
