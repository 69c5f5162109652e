"""Trainings on other machines: the same bytes, and a folder that only this process writes."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from supernet.errors import DataError
from supernet.experiments.elsewhere import Sending
from supernet.experiments.execution import Completed, Noted, Trained, execute, files_of, judge, run
from supernet.experiments.planning import RunPlan, plan
from supernet.records import Progress
from supernet.runs.checkpoints import Checkpoints
from supernet.runs.remote import Kept
from tests.experiments.tinyruns import Notepad, small, stay_here, write_data
from tests.runs.standin import StandIn


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def tiny(data: Path, monkeypatch: pytest.MonkeyPatch) -> RunPlan:
    stay_here(monkeypatch)
    return plan(small(data, longest=2, epochs=2))


def kept_files(planned: RunPlan, outcome: Any) -> dict[str, bytes]:
    """The files of a run, but for the one that times are in."""
    results = judge(planned, outcome, command="c")
    return {n: c for n, c in files_of(outcome, results).items() if n != "results.json"}


def test_results_are_those_of_local_workers_whatever_dies(tiny: RunPlan, tmp_path: Path) -> None:
    here = run(tiny, tmp_path / "here")
    cluster = StandIn({job.name: [2] for job in tiny.jobs})
    *events, last = execute(tiny, tmp_path / "there", every_s=0.0, cluster=cluster)
    assert isinstance(last, Completed)
    assert kept_files(tiny, last.outcome) == kept_files(tiny, here)
    assert sum(isinstance(event, Noted) for event in events) == len(tiny.jobs)
    assert set(cluster.begun.values()) == {2}
    again = [states[1] for states in cluster.states.values()]
    assert all(isinstance(state, bytes) for state in again)  # it went on from a checkpoint


def test_what_has_ended_is_not_done_again_when_the_driver_died(
    tiny: RunPlan, tmp_path: Path
) -> None:
    here = run(tiny, tmp_path / "here")
    events = execute(tiny, tmp_path / "there", cluster=StandIn())
    ended = next(event.job for event in events if isinstance(event, Trained))
    events.close()
    cluster = StandIn()
    *_, last = execute(tiny, tmp_path / "there", cluster=cluster)
    assert isinstance(last, Completed)
    assert set(cluster.begun) == {job.name for job in tiny.jobs} - {ended}
    assert kept_files(tiny, last.outcome) == kept_files(tiny, here)


def test_nothing_is_left_on_the_other_machine(
    tiny: RunPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere").mkdir()
    list(execute(tiny, tmp_path / "there", cluster=StandIn()))
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_cpu_seconds_of_the_cluster_are_counted(tiny: RunPlan, tmp_path: Path) -> None:
    *_, last = execute(tiny, tmp_path, cluster=StandIn())
    assert isinstance(last, Completed)
    phases = [p.cpu_s for seed in last.outcome.seeds for t in _results(seed) for p in t.phases]
    assert last.outcome.cpu_s == pytest.approx(sum(phases))


def _results(seed: Any) -> list[Any]:
    return [seed.supernet, *seed.standalone]


def test_a_machine_with_other_data_is_refused(tiny: RunPlan, tmp_path: Path) -> None:
    name = next(iter(tiny.data.sha256))
    other = replace(tiny, data=replace(tiny.data, sha256={**tiny.data.sha256, name: "0" * 64}))
    with pytest.raises(DataError, match=rf"on the node .*, the data {name} is not what"):
        list(execute(other, tmp_path, cluster=StandIn()))


def test_a_checkpoint_is_sent_seldom_if_that_is_slow_but_always_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save({"step": 1})
    saved = Progress(done=0.1, epoch=1, epochs=2, saved=True)
    clock = iter([0.0, 2.0, 3.0, 199.0, 203.0, 204.0, 205.0, 206.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    notepad = Notepad()
    sending = Sending(notepad, checkpoints)
    for _ in range(4):
        sending.report(saved)
    monkeypatch.setattr(notepad, "asked_to_stop", lambda: True)
    sending.report(saved)
    assert [isinstance(each, Kept) for each in notepad.said] == [True, False, False, True, True]
    assert not any(each.saved for each in notepad.said if isinstance(each, Progress))
