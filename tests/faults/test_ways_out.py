"""Law 14: a run writes nowhere but into its own folder, whatever lies there in place of its files.

Every name that a run leaves behind, whichever files there come to be, is tried with everything that
can be in the place of a file or a folder.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from supernet.errors import RunFolderError
from supernet.runs.folder import RunFolder
from supernet.runs.manifest import make_manifest
from tests.faults.runs import arguments, call, stopped
from tests.runs.test_files import TRAPS

#: What a run writes, by the state in which it is: all of it is in the list, as a test sees to.
NAMES = {
    "stopped": [
        *("manifest.json", "config.yaml", "events.jsonl", "lock", "checkpoints"),
        *("checkpoints/seed0-supernet", "checkpoints/seed0-standalone-1"),
        *(
            f"checkpoints/seed0-{job}/00000{n}.{k}"
            for job, n in (("supernet", 1), ("supernet", 2), ("standalone-1", 1))
            for k in ("safetensors", "sha256")
        ),
    ],
    "finished": [
        *("manifest.json", "config.yaml", "events.jsonl", "lock", "results.json", "hits.npz"),
        *("supernet-seed0.safetensors", "report.html", "results.csv", "figures"),
        *(f"figures/cost.{suffix}" for suffix in ("svg", "png")),
    ],
}
CASES = [(state, name, trap) for state, names in NAMES.items() for name in names for trap in TRAPS]


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run that was stopped, and one that has ended."""
    place = tmp_path_factory.mktemp("runs")
    stopped(data, place / "stopped")
    code, _, told = call(*arguments(data), "--out", place / "finished", figures=True)
    assert code == 0, told
    return {state: place / state for state in NAMES}


@pytest.fixture(autouse=True)
def nothing_elsewhere_changes(tmp_path: Path) -> Iterator[None]:
    """Neither what is there, nor what a link may be made to make."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_bytes(b"{}\n")
    yield
    assert os.listdir(elsewhere) == ["file"]
    assert (elsewhere / "file").read_bytes() == b"{}\n"


@pytest.mark.parametrize("state", NAMES)
def test_these_are_the_names_that_a_run_writes(state: str, runs: dict[str, Path]) -> None:
    """A new one is to be tried too; of the figures, one stands for all."""
    there = {path.relative_to(runs[state]).as_posix() for path in runs[state].rglob("*")}
    drawn = {name for name in there if name.startswith("figures/")}
    kept = {name for name in there - drawn if "checkpoints/" not in name}
    assert kept <= set(NAMES[state])
    assert drawn.isdisjoint(NAMES[state]) == (state == "stopped")


@pytest.mark.sampled(20)
@pytest.mark.parametrize(("state", "name", "trap"), CASES)
def test_no_name_leads_out_of_a_run(
    state: str, name: str, trap: str, runs: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    shutil.copytree(runs[state], "run")
    place = Path("run", name)
    if place.is_dir():
        shutil.rmtree(place)
    place.parent.mkdir(exist_ok=True)
    place.unlink(missing_ok=True)
    TRAPS[trap](place, tmp_path / "elsewhere")
    for command in ("status", "report", "resume", "compare"):
        given = [*arguments(data), "--out", "run"] if command == "compare" else [command, "run"]
        code, _, told = call(*given)
        assert code in (0, 2, 4), told
        if code:
            assert told.splitlines()[-1].startswith("supernet: "), told


@pytest.mark.parametrize("trap", TRAPS)
def test_figures_are_drawn_nowhere_else(
    trap: str, runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "supernet.report.figures.collection.render_all",
        lambda results: {"cost": {"svg": b"<svg/>", "png": b""}},
    )
    shutil.copytree(runs["finished"], "run")
    shutil.rmtree("run/figures")
    TRAPS[trap](Path("run/figures"), tmp_path / "elsewhere")
    code, _, told = call("report", "run", figures=True)
    assert code == (0 if trap == "folder" else 4), told
    if code:
        assert "not a folder; remove what is in the way, or choose another folder" in told


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("name", ["lock", "config.yaml"])
def test_a_run_begins_nowhere_else(name: str, trap: str, tmp_path: Path) -> None:
    manifest = make_manifest("train", arguments="", preset="quick", settings={}, data_sha256={})
    Path("new").mkdir()
    TRAPS[trap](Path("new", name), tmp_path / "elsewhere")
    with contextlib.suppress(RunFolderError):
        RunFolder.create(Path("new"), manifest, b"").close()


def test_the_folder_of_a_run_may_be_a_link_of_the_users(data: Path) -> None:
    Path("disk").mkdir()
    Path("run").symlink_to("disk")
    assert call("train", *arguments(data)[1:], "--out", "run")[0] == 0
    assert Path("disk", "results.json").exists()
    assert call("status", "run")[0] == 0
