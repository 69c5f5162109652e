import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from supernet.errors import RunFolderError
from supernet.records import Event
from supernet.runs.folder import EVENTS, RunFolder, read_events
from supernet.runs.lock import hold
from supernet.runs.manifest import make_manifest
from supernet.runs.status import JobStatus, Status, read_status, seconds_worked

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run that was begun, and that nobody holds."""
    manifest = make_manifest(
        "train", arguments="supernet train x", preset="quick", settings={}, data_sha256={}
    )
    with RunFolder.create(tmp_path / "run", manifest, b"") as folder:
        return folder.path


def event(name: str, at: float = 0.0, **content: Any) -> dict[str, Any]:
    time = (START + timedelta(seconds=at)).isoformat()
    return {"event": name, "time": time, **content}


def status(run: Path, *events: dict[str, Any]) -> Status:
    (run / EVENTS).write_text("".join(json.dumps(event) + "\n" for event in events))
    return read_status(run)


STARTED = event("started", jobs=["a", "b"])


def test_a_run_without_events_is_new(run: Path) -> None:
    found = read_status(run)
    assert (found.state, found.done, found.jobs, found.sessions) == ("new", 0, [], 0)
    assert (found.holder, found.reason, found.last_event) == (None, None, None)
    assert (found.command, found.folder) == ("supernet train x", str(run))
    assert status(run) == found


@pytest.mark.parametrize(
    ("names", "state", "sessions"),
    [
        (["started"], "killed", 1),
        (["started", "epoch", "saved"], "killed", 1),
        (["started", "stopped"], "stopped", 1),
        (["started", "stopped", "resumed"], "killed", 2),
        (["started", "resumed", "saved"], "killed", 2),
        (["started", "resumed", "resumed", "stopped"], "stopped", 3),
        (["started", "stopped", "resumed", "finished"], "finished", 2),
        (["started", "finished"], "finished", 1),
        (["note"], "new", 0),
    ],
)
def test_how_it_ended_is_what_was_said_last(
    names: list[str], state: str, sessions: int, run: Path
) -> None:
    events = [event(name, at, reason=f"because {at}") for at, name in enumerate(names)]
    found = status(run, *events)
    assert (found.state, found.sessions) == (state, sessions)
    assert found.reason == (f"because {len(names) - 1}" if state == "stopped" else None)
    assert found.last_event == events[-1]["time"]
    lock = hold(run)
    held = status(run, *events)
    os.close(lock)
    assert held.state == "running"
    assert held.holder
    assert f"process {os.getpid()} on " in held.holder
    assert held.reason is None
    assert status(run, *events) == found


def test_jobs_are_waiting_begun_or_trained(run: Path) -> None:
    names = ["waiting", "begun", "saved", "scored", "trained"]
    found = status(
        run,
        event("started", jobs=names),
        event("note", job="begun", reason="damaged"),
        event("saved", job="saved", done=0.25),
        event("saved", job="scored", done=0.1),
        event("epoch", job="scored", done=0.5, epoch=1, validation=[0.1, 0.2]),
        event("epoch", job="trained", done=0.5, epoch=1, validation=[0.1]),
        event("epoch", job="trained", done=1.0, epoch=2, validation=[0.3]),
        event("trained", job="trained"),
        event("epoch", job="nobody's", done=1.0, epoch=9),
    )
    assert found.jobs == [
        JobStatus(name="waiting", state="waiting", done=0, epochs=0, validation=[]),
        JobStatus(name="begun", state="begun", done=0, epochs=0, validation=[]),
        JobStatus(name="saved", state="begun", done=0.25, epochs=0, validation=[]),
        JobStatus(name="scored", state="begun", done=0.5, epochs=1, validation=[0.1, 0.2]),
        JobStatus(name="trained", state="trained", done=1, epochs=2, validation=[0.3]),
    ]
    assert found.done == pytest.approx(1.75 / 5)


def test_the_jobs_are_those_it_was_started_with(run: Path) -> None:
    found = status(run, STARTED, event("resumed", jobs=["c"]))
    assert [job.name for job in found.jobs] == ["a", "b"]


def test_damaged_lines_are_left_out(run: Path) -> None:
    lines = [
        json.dumps(STARTED),
        *("", "{", "null", "[]", "3", "[" * 100_000, "\x00", '{"event": "finished"}'),
        '{"event": "finished", "time": "yesterday"}',
        '{"event": "finished", "time": "2026-01-01T00:00:00"}',  # whose?
        '{"event": 3, "time": "2026-01-01T00:00:00Z"}',
        json.dumps(event("epoch", job="a", done="all", validation="good")),
        json.dumps(event("epoch", job="a", done=0.5, epoch=1, validation=[0.5])),
        json.dumps(event("finished"))[:-1],
    ]
    content = "\n".join(lines).encode() + b"\n\xff\xfe\n" + json.dumps(event("stop")).encode()[:30]
    (run / EVENTS).write_bytes(content)
    found = read_status(run)
    assert (found.state, found.done) == ("killed", 0.25)
    assert [event.event for event in read_events(run)] == ["started", "epoch"]


def test_what_is_no_run_has_no_status(tmp_path: Path, run: Path) -> None:
    with pytest.raises(RunFolderError, match="there is no run folder"):
        read_status(tmp_path / "none")
    with pytest.raises(RunFolderError, match=r"has no manifest\.json: no run was begun in it"):
        read_status(tmp_path)
    (run / EVENTS).mkdir()
    with pytest.raises(RunFolderError, match=r"can't read .*events\.jsonl"):
        read_status(run)


def test_status_writes_nothing(run: Path) -> None:
    status(run, STARTED)
    before = {path: path.stat().st_mtime_ns for path in (run, *run.iterdir())}
    read_status(run)
    assert {path: path.stat().st_mtime_ns for path in (run, *run.iterdir())} == before


def worked(*events: tuple[str, float]) -> float:
    return seconds_worked([Event.model_validate(event(name, at)) for name, at in events])


def test_time_worked_is_that_of_all_sessions_without_the_time_between() -> None:
    assert worked() == 0
    assert worked(("started", 5)) == 0
    assert worked(("started", 5), ("epoch", 7), ("saved", 8)) == 3
    assert worked(("started", 0), ("stopped", 10), ("resumed", 1000), ("saved", 1005)) == 15
    assert worked(("started", 0), ("resumed", 50), ("resumed", 60), ("finished", 61)) == 1
    assert worked(("note", 1), ("saved", 3)) == 2  # the line that began it is damaged
