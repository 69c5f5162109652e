"""The latency table of a run: measured once on this device, and written nowhere else."""

import json
from pathlib import Path

import pytest

from supernet.experiments.devicelatency import LATENCY, latency_here
from supernet.experiments.loading import LoadedRun, load_run
from tests.faults.runs import train_supernet


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> LoadedRun:
    return load_run(train_supernet(tmp_path_factory.mktemp("timed")))


def measured(run: LoadedRun) -> bool:
    """Return whether the table was measured now."""
    told: list[str] = []
    path, table = latency_here(run, rounds=3, progress=lambda what, done: told.append(what))
    assert path == run.folder / LATENCY
    cost = table.cost_of(run.supernet)
    assert 0 < cost(run.supernet.space.smallest) < cost(run.supernet.space.largest)
    return bool(told)


def test_a_table_is_measured_once_and_anew_for_another_device(run: LoadedRun) -> None:
    path = run.folder / LATENCY
    assert measured(run)
    assert not measured(run)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"threads": content["threads"] + 1}))
    assert measured(run)
    path.write_text(json.dumps(content | {"device": content["device"] | {"processor": "abacus"}}))
    assert measured(run)
    path.write_text("{")
    assert measured(run)


def test_a_link_in_a_run_from_elsewhere_is_not_written_through(
    run: LoadedRun, tmp_path: Path
) -> None:
    (tmp_path / "mine").write_text("kept")
    path = run.folder / LATENCY
    path.unlink(missing_ok=True)
    path.symlink_to(tmp_path / "mine")
    assert measured(run)
    assert (tmp_path / "mine").read_text() == "kept"
    assert not path.is_symlink()
