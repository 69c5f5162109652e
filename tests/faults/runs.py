"""Giving commands in this process and in others, stopping runs, and comparing what they leave."""

import contextlib
import io
import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from supernet import report
from supernet.cli import app
from supernet.errors import Stopped
from supernet.experiments import components, execution, running, search
from supernet.records import Results
from supernet.runs import files
from supernet.runs.folder import read_results
from supernet.runs.workers import Task, WorkerMessage
from tests.experiments.tinyruns import Notepad, here, options, stay_here, write_data
from tests.limits import HANG_S

ROOT = Path(__file__).resolve().parents[2]
SUPERNET = Path(sys.executable).with_name("supernet")
KILL = ROOT / "benchmarks" / "faults" / "kill.py"

#: What sets the times in results to the same; the benchmark's, so that both compare alike.
timeless: Callable[[Results], Results] = runpy.run_path(str(KILL))["timeless"]

#: What takes the place of `run_tasks`.
Tasks = Callable[..., Generator[WorkerMessage, None, None]]


def arguments(data: Path, **changes: Any) -> list[str]:
    """Ask for two architectures, and so for three trainings."""
    return ["compare", *options(data, **{"longest": 1, **changes})]


def call(*given: str | Path, tasks: Tasks = here, figures: bool = False) -> tuple[int, str, str]:
    """Give a command in this process; return exit code, standard output and standard error.

    Signals, process and folder stay as they were. Without figures, which take seconds, a page with
    nothing on it stands for all that is drawn.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    out, told = io.StringIO(), io.StringIO()
    try:
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(told),
        ):
            stay_here(patch)
            components.load_data.cache_clear()  # as a new process would begin
            patch.setattr(execution, "run_tasks", tasks)
            patch.setenv("COLUMNS", "80")
            patch.setattr(sys, "argv", [str(SUPERNET), *map(str, given)])
            if not figures:
                patch.setattr(report, "write_report", write_page)
                patch.setattr(running, "write_report", write_page)
                patch.setattr(search, "render_figures", draw_none)
            with pytest.raises(SystemExit) as end:
                app.main()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    code = end.value.code
    assert code is None or isinstance(code, int)
    assert "Traceback" not in told.getvalue()
    return code or 0, out.getvalue(), told.getvalue()


def write_page(results: Results, folder: Path) -> list[Path]:
    return [files.write(folder / "report.html", b"a page")]


def draw_none(report: object) -> dict[str, dict[str, bytes]]:
    """Take the place of `render_figures` of a search."""
    return {}


def interrupted(*_: Any, **__: Any) -> Any:
    """Be hit by Ctrl-C, in the middle of what this stands for."""
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)


def untouched(tasks: Sequence[Task], **_: Any) -> Generator[WorkerMessage, None, None]:
    """Take the place of `run_tasks` where nothing is to be trained."""
    assert not tasks
    yield from ()


class Interrupted:
    """What takes the place of `run_tasks`, and is hit by Ctrl-C.

    Args:
        ended: How many trainings end before.
        asks: How often the next one asks whether to stop before the answer is yes; it asks between
            two steps, and between two batches when it scores.
    """

    def __init__(self, ended: int, asks: int) -> None:
        self.ended, self.asks = ended, asks

    def __call__(self, tasks: Sequence[Task], **how: Any) -> Generator[WorkerMessage, None, None]:
        yield from here(tasks[: self.ended], **how)
        task, context = tasks[self.ended], _Impatient(self.asks)
        with contextlib.suppress(Stopped):
            task.function(*task.args, context)
            raise AssertionError("the training had ended before it was to stop")
        interrupted()


class _Impatient(Notepad):
    def __init__(self, asks: int) -> None:
        super().__init__()
        self.left = asks

    def asked_to_stop(self) -> bool:
        self.left -= 1
        return self.left < 0


def essence(folder: Path) -> dict[str, bytes]:
    """Return what must be the same in every run, and which files there are.

    That is all but times, where the data lie, the number of workers, and what a run admits to have
    changed. The images and multiply-adds of the ledger are in it.
    """
    results = timeless(read_results(folder))
    settings = {**results.settings, "workers": None, "data": None}
    results = results.model_copy(
        update={
            "settings": settings,
            "data": results.data.model_copy(update={"name": ""}),
            "conditions": results.conditions.model_copy(update={"workers": 0, "mismatches": []}),
        }
    )
    drawn = {"figures", "results.csv"}
    there = sorted(path.name for path in folder.iterdir() if path.name not in drawn)
    return {
        "results": results.model_dump_json(indent=1).encode(),
        "hits": (folder / "hits.npz").read_bytes(),
        "weights": (folder / "supernet-seed0.safetensors").read_bytes(),
        "files": "\n".join(there).encode(),
    }


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_bytes().splitlines()]


def stopped(data: Path, folder: Path, **changes: Any) -> Path:
    """Begin a run, and stop it by Ctrl-C in the middle of its second training."""
    code, _, told = call(*arguments(data, **changes), "--out", folder, tasks=Interrupted(1, 4))
    assert code == 130, told
    return folder


def sentence(told: str, *, before: str = "") -> str:
    """Return the last line of standard error, after which nothing comes that is no progress."""
    *lines, last = told.splitlines()
    usual = (
        r"(loading PyTorch|judging|drawing|run folder: |resuming |changed since then: |.*: epoch )"
    )
    for line in lines:
        assert re.match(usual, line), told
    assert last.startswith("supernet: "), told
    assert len(last) < 1500
    return last.removeprefix("supernet: ")


def command_in(told: str) -> str:
    """Return the command with which to go on, as the last line of standard error gives it."""
    found = re.search(r"; resume with `(.*)`$", told, re.DOTALL)
    assert found, told
    return found[1]


def start(
    *given: str | Path, cwd: Path, environment: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    """Give a command in a process group of its own, which is what a terminal makes."""
    return subprocess.Popen(
        [SUPERNET, *given],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "80"} if environment is None else environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def shell(command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Type a command."""
    return subprocess.run(
        ["bash", "-c", command],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "80"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )


def given_back(command: str) -> list[str]:
    """Return the arguments of a command that was shown, as bash takes them."""
    done = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True, timeout=HANG_S
    )
    program, *rest = map(os.fsdecode, done.stdout.removesuffix(b"\0").split(b"\0"))
    assert program.endswith("supernet")
    return rest


def train_supernet(folder: Path) -> Path:
    """Train a supernet by the command, and return the run's folder."""
    data = write_data(folder / "data")
    code, _, told = call("train", *options(data, epochs=1), "--out", folder / "run")
    assert code == 0, told
    return folder / "run"
