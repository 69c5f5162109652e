"""Runs of the whole experiment that take a second, for tests."""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from supernet.experiments import execution, worker
from supernet.experiments.settings import Settings, make_settings
from supernet.runs import process
from supernet.runs.workers import Task, WorkerMessage
from tests.datasets.idxfiles import random_arrays, write_folder

#: Everything that is not a default, as settings; the data folder comes on top.
SMALL: dict[str, Any] = {
    "train_images": 96,
    "validation_images": 60,
    "calibration_images": 40,
    "epochs": 2,
    "batch_size": 32,
    "learning_rate": 0.2,
    "net_arg": ["widths=4,3"],
}


def write_data(folder: Path) -> Path:
    """Write noise in three classes: 5,000 images to set aside, 100 to train on."""
    arrays = random_arrays(train=5100, test=80, height=8, width=8, classes=3)
    return write_folder(folder, arrays)


def wanted(data: Path, **changes: Any) -> dict[str, Any]:
    """Return the settings of a small run, by the names of their options."""
    return {**SMALL, "data": str(data), **_with_longest(changes)}


def small(data: Path, **changes: Any) -> Settings:
    return make_settings(wanted(data, **changes))


def options(data: Path, **changes: Any) -> list[str]:
    """The same for the command line."""
    return [
        f"--{name.replace('_', '-')}={each}"
        for name, value in wanted(data, **changes).items()
        for each in (value if isinstance(value, list) else [value])
    ]


def _with_longest(changes: dict[str, Any]) -> dict[str, Any]:
    """Let `longest` be said in short: the most convolutions of a block of the network."""
    if "longest" not in changes:
        return changes
    rest = {name: value for name, value in changes.items() if name != "longest"}
    return {**rest, "net_arg": [*SMALL["net_arg"], f"longest={changes['longest']}"]}


class Notepad:
    """The context of a task that is done in this process."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    def report(self, content: Any) -> None:
        self.said.append(content)

    def asked_to_stop(self) -> bool:
        return False


def here(tasks: Sequence[Task], *, workers: int, **_: Any) -> Generator[WorkerMessage, None, None]:
    """Do what workers do, but in this process and one task after the other."""
    for task in tasks:
        context = Notepad()
        result = task.function(*task.args, context)
        for content in context.said:
            yield WorkerMessage(task.name, content)
        yield WorkerMessage(task.name, result, "done")


def stay_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs use no other processes, and leave this one as it is."""
    monkeypatch.setattr(execution, "run_tasks", here)
    monkeypatch.setattr(worker, "set_up_process", lambda *, threads: None)
    monkeypatch.setattr(worker, "seed_process", lambda seed: None)
    monkeypatch.setattr(process, "set_up_process", lambda *, threads: None)
