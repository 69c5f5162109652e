"""A search spread over a cluster ends in the bytes of one that is not."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from supernet.errors import DataError
from supernet.experiments import search, spreading
from supernet.experiments.loading import LoadedRun, load_run
from supernet.experiments.search import SearchSettings, execute
from supernet.experiments.spreading import Spread
from supernet.report.searching import SearchReport
from tests.faults.runs import draw_none, train_supernet
from tests.runs.standin import StandIn

WANTED = SearchSettings(budget=6, generation=3, strategy="random", alone=2, baseline=True)

pytestmark = pytest.mark.filterwarnings("ignore::supernet.errors.UntrainedWarning")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> LoadedRun:
    return load_run(train_supernet(tmp_path_factory.mktemp("searched")))


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "render_figures", draw_none)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spreading, "set_up_process", lambda *, threads: None)
    monkeypatch.setattr(spreading._Loaded, "last", None)


def contents(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_a_search_on_a_cluster_ends_in_the_same_bytes_whatever_dies(
    run: LoadedRun, tmp_path: Path
) -> None:
    *_, report = execute(run, WANTED, tmp_path / "here")
    assert isinstance(report, SearchReport)
    chosen = [one.label for one in report.front if one.confirmed is not None]
    cluster = StandIn({"generation, part 2": [0], **{label: [1] for label in chosen}})
    spread = Spread(cluster, lambda: 2, threads=1)
    list(execute(run, WANTED, tmp_path / "there", every_s=0.0, spread=spread))
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    # Two generations of either search, and each in two parts.
    parts = {"generation, part 1": 4, "generation, part 2": 5}
    assert cluster.begun == {**parts, **dict.fromkeys(chosen, 2)}
    assert all(isinstance(cluster.states[label][-1], bytes) for label in chosen)


def test_a_search_on_a_cluster_goes_on_where_it_was(run: LoadedRun, tmp_path: Path) -> None:
    *_, _ = execute(run, WANTED, tmp_path / "here")
    lines = (tmp_path / "here/alone.jsonl").read_text().splitlines(keepends=True)
    folder = tmp_path / "there"
    folder.mkdir()
    for name in ("search.json", "evaluations.jsonl", "baseline.jsonl"):
        (folder / name).write_bytes((tmp_path / "here" / name).read_bytes())
    (folder / "alone.jsonl").write_text(lines[1])  # the second network ended first
    cluster = StandIn()
    list(execute(run, WANTED, folder, spread=Spread(cluster, lambda: 2, threads=1)))
    assert list(cluster.begun.values()) == [1]
    assert contents(folder) == contents(tmp_path / "here")


def test_a_machine_with_other_data_is_refused(run: LoadedRun, tmp_path: Path) -> None:
    manifest = json.loads((run.folder / "manifest.json").read_text())
    other = tmp_path / "run"
    other.mkdir()
    for path in run.folder.iterdir():
        if path.is_file():
            (other / path.name).write_bytes(path.read_bytes())
    manifest["data_sha256"] = dict.fromkeys(manifest["data_sha256"], "0" * 64)
    (other / "manifest.json").write_text(json.dumps(manifest))
    spread = Spread(StandIn(), lambda: 2, threads=1)
    with pytest.raises(DataError, match=r"on the node .* is not what the run was begun with"):
        list(execute(replace(run, folder=other), WANTED, tmp_path / "search", spread=spread))


def test_a_generation_is_cut_into_parts_of_about_the_same_length(run: LoadedRun) -> None:
    archs = list(run.supernet.space)
    assert [len(part) for part in spreading._cut(archs, 4)] == [2, 2, 2, 3]
    assert list(spreading._cut(archs, 99)) == [(arch,) for arch in archs]
