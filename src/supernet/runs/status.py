"""The state of a run, read from its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from supernet.records import ACCURACY, Event, Manifest, Measure, Record
from supernet.runs.folder import read_events, read_manifest
from supernet.runs.lock import holder_of

#: What begins a stretch of work on a run.
_BEGINNINGS = ("started", "resumed")

#: What ends one.
_ENDINGS: dict[str, Literal["finished", "stopped"]] = {
    "stopped": "stopped",
    "finished": "finished",
}


class JobStatus(Record):
    """How far one training is. `done` runs from 0 to 1; `validation` is of the last epoch scored.

    What was done since the last checkpoint or epoch does not show.
    """

    name: str
    state: Literal["waiting", "begun", "trained"]
    done: float
    epochs: int
    validation: list[float]


class Status(Record):
    """How far a run is.

    `stopped` is one that ended before its time and said why, `killed` one that couldn't. `holder`
    is who is at work on it; `sessions` counts who was. `measure` is what validation scores are.
    """

    folder: str
    state: Literal["running", "finished", "stopped", "killed", "new"]
    holder: str | None
    reason: str | None
    command: str
    created: str
    last_event: str | None
    sessions: int
    jobs: list[JobStatus]
    measure: Measure = ACCURACY

    @property
    def done(self) -> float:
        """The share of trainings done, each counting the same."""
        return sum(job.done for job in self.jobs) / len(self.jobs) if self.jobs else 0.0


def read_status(path: Path) -> Status:
    """Return how far the run in a folder is.

    Raises:
        RunFolderError: If it is no run's folder, or can't be read.
    """
    manifest = read_manifest(path)
    holder = holder_of(path)
    return _status(path, manifest, holder, read_events(path))


def _status(path: Path, manifest: Manifest, holder: str | None, events: Sequence[Event]) -> Status:
    marks = [event for event in events if event.event in (*_BEGINNINGS, *_ENDINGS)]
    mark = marks[-1] if marks else None
    state: Literal["running", "finished", "stopped", "killed", "new"] = "new"
    if holder:
        state = "running"
    elif mark is not None:
        state = _ENDINGS.get(mark.event, "killed")
    started = next((event for event in events if event.event == "started"), None)
    names = started.jobs if started else []
    return Status(
        folder=str(path),
        state=state,
        holder=holder,
        reason=mark.reason if mark and state == "stopped" else None,
        command=manifest.arguments,
        created=manifest.created,
        last_event=events[-1].time.isoformat(timespec="seconds") if events else None,
        sessions=sum(event.event in _BEGINNINGS for event in events),
        jobs=[_job(name, [event for event in events if event.job == name]) for name in names],
        measure=started.measure if started else ACCURACY,
    )


def _job(name: str, events: Sequence[Event]) -> JobStatus:
    scored = [event for event in events if event.event == "epoch"]
    trained = any(event.event == "trained" for event in events)
    return JobStatus(
        name=name,
        state="trained" if trained else "begun" if events else "waiting",
        done=1.0 if trained else max((event.done for event in events), default=0.0),
        epochs=max((event.epoch for event in scored), default=0),
        validation=scored[-1].validation if scored else [],
    )


def seconds_worked(events: Sequence[Event]) -> float:
    """Return how long a run has been worked on, so far as its events tell."""
    total, begun, last = 0.0, None, None
    for event in events:
        if event.event in _BEGINNINGS or begun is None:
            begun = event.time
        elif last is not None:
            total += (event.time - last).total_seconds()
        last = event.time
    return total
