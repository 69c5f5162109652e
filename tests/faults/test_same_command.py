"""The same command again: it goes on with what it began, and with nothing else."""

import os
from pathlib import Path
from typing import Any

import pytest

from supernet.experiments import execution, running
from supernet.runs.folder import RunFolder
from supernet.runs.lock import hold
from tests.experiments.tinyruns import here
from tests.faults.runs import (
    Interrupted,
    arguments,
    call,
    essence,
    events,
    interrupted,
    sentence,
    stopped,
    untouched,
)

#: The trainings are stopped before the first step, between two, and while they score.
TRAINING = [(0, 0), (0, 2), (0, 4), (0, 9), (1, 5), (1, 11)]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("ended", "asks"), TRAINING)
def test_it_goes_on_after_a_stop_in_a_training(
    ended: int, asks: int, data: Path, whole: dict[str, bytes]
) -> None:
    command = [*arguments(data), "--out", "run"]
    assert call(*command, tasks=Interrupted(ended, asks))[0] == 130
    done: list[str] = []

    def noted(tasks: Any, **how: Any) -> Any:
        done.extend(task.name for task in tasks)
        return here(tasks, **how)

    code, _, told = call(*command, tasks=noted)
    assert code == 0, told
    assert "resuming the run in run\n" in told
    assert len(done) == 2 - ended
    assert essence(Path("run")) == whole


def writing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write = RunFolder.write

    def written(self: RunFolder, to: str, content: bytes) -> Path:
        path = write(self, to, content)
        return interrupted() if to == name else path

    monkeypatch.setattr(RunFolder, "write", written)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "phase", ["judging", "hits.npz", "results.json", "drawing", "removing checkpoints"]
)
def test_it_goes_on_after_a_stop_in_any_other_phase(
    phase: str, data: Path, whole: dict[str, bytes]
) -> None:
    command = [*arguments(data), "--out", "run"]
    with pytest.MonkeyPatch.context() as patch:
        if phase == "judging":
            patch.setattr(execution, "judge", interrupted)
        elif phase == "drawing":
            patch.setattr("tests.faults.runs.write_page", interrupted)
        elif phase == "removing checkpoints":
            patch.setattr(RunFolder, "drop_checkpoints", interrupted)
        else:
            writing(phase, patch)
        code, _, told = call(*command)
        assert code == 130
        assert sentence(told).startswith("stopped by Ctrl-C; resume with `")
    code, _, told = call(*command, tasks=untouched if phase != "judging" else here)
    assert code == 0, told
    assert ": epoch" not in told  # all was trained, and nothing is again
    assert essence(Path("run")) == whole


def test_without_a_name_it_finds_the_newest_of_its_own_that_is_free_and_unfinished(
    data: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of six runs, four are not to be touched, and of the others the newest is the one."""
    command = arguments(data)
    runs = Path("runs")
    stopped(data, runs / "1-older")
    stopped(data, runs / "2-mine")
    stopped(data, runs / "3-others", momentum=0.8)
    assert call(*command, "--out", runs / "4-finished")[0] == 0
    stopped(data, runs / "5-held")
    lock = hold(runs / "5-held")
    stopped(data, runs / "6-damaged")
    (runs / "6-damaged" / "manifest.json").write_text("{")
    before = {path: len(events(path)) for path in runs.iterdir()}
    code, _, told = call(*command)
    assert code == 0, told
    assert "resuming the run in runs/2-mine (--no-resume starts a new one)\n" in told
    assert essence(runs / "2-mine") == whole
    code, _, told = call(*command)
    assert code == 0, told
    assert "resuming the run in runs/1-older" in told
    after = {path: len(events(path)) for path in runs.iterdir()}
    assert {p.name for p in runs.iterdir() if after[p] != before[p]} == {"1-older", "2-mine"}
    code, _, told = call(*command)  # nothing is left to resume
    assert "run folder: runs/2" in told
    assert len(list(runs.iterdir())) == 7
    os.close(lock)


def test_a_run_of_another_command_is_not_gone_on_with(data: Path) -> None:
    stopped(data, Path("runs", "1"))
    code, _, told = call("train", *arguments(data)[1:])
    assert code == 0, told
    assert "resuming" not in told


def test_no_resume_begins_again(data: Path) -> None:
    stopped(data, Path("runs", "1"))
    before = events(Path("runs", "1"))
    code, _, told = call(*arguments(data), "--no-resume")
    assert code == 0, told
    assert "resuming" not in told
    assert events(Path("runs", "1")) == before
    assert len(list(Path("runs").iterdir())) == 2


def test_no_resume_refuses_a_folder_with_a_run(data: Path) -> None:
    stopped(data, Path("run"))
    before = events(Path("run"))
    code, out, told = call(*arguments(data), "--out", "run", "--no-resume", tasks=untouched)
    assert (code, out) == (4, "")
    assert sentence(told) == "the folder run holds another run; name another one"
    assert events(Path("run")) == before


def test_a_finished_run_shows_its_results_and_trains_nothing(data: Path) -> None:
    command = [*arguments(data), "--out", "run"]
    _, first, _ = call(*command)
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.name != "lock"}
    for again in (command, ["resume", "run"]):
        code, out, told = call(*again, tasks=untouched)
        assert (code, out) == (0, first)
        assert "this run had finished; these are its results" in told
        assert {p: p.read_bytes() for p in Path("run").rglob("*") if p.name != "lock"} == before


@pytest.mark.parametrize("command", ["compare", "resume", "status"])
def test_a_folder_from_before_there_were_manifests_is_refused(command: str, data: Path) -> None:
    old = Path("old")
    assert call(*arguments(data), "--out", old)[0] == 0
    for name in ("manifest.json", "lock"):
        (old / name).unlink()
    before = {path: path.read_bytes() for path in old.rglob("*")}
    given: list[str | Path] = (
        [*arguments(data), "--out", old] if command == "compare" else [command, old]
    )
    code, out, told = call(*given, tasks=untouched)
    assert (code, out) == (4, "")
    assert (
        sentence(told)
        == {
            "compare": "the folder old is not empty; name another one",
            "resume": "old has no manifest.json: no run was begun in it, or with a version before "
            "there were manifests; give the folder of a run",
            "status": "old has no manifest.json: no run was begun in it, or with a version before "
            "there were manifests; give the folder of a run",
        }[command]
    )
    assert {path: path.read_bytes() for path in old.rglob("*")} == before
    assert call("report", old)[0] == 0  # for that, the results are enough


def test_two_runs_of_the_same_second_get_two_folders(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = running.datetime.now(running.UTC)  # type: ignore[attr-defined]

    class Still(type(moment)):  # type: ignore[misc]
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return moment

    monkeypatch.setattr(running, "datetime", Still)
    for _ in range(2):
        assert call(*arguments(data), "--no-resume")[0] == 0
    assert len(list(Path("runs").iterdir())) == 2
