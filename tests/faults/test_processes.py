"""Runs in processes of their own, as users have them: stopped, killed, and resumed."""

import os
import platform
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from supernet.runs.checkpoints import Checkpoints
from supernet.runs.folder import read_events
from supernet.training.session import read_saved
from tests.faults.runs import (
    arguments,
    call,
    command_in,
    essence,
    events,
    given_back,
    sentence,
    shell,
    start,
    untouched,
)
from tests.limits import HANG_S
from tests.runs.processes import is_gone, wait_until, workers

#: Long enough to be hit in the middle of, short enough to be waited for: seconds.
EPOCHS = 60

PAYLOADS = {"supernet": "seed0-supernet", "standalone (1, 1)": "seed0-standalone-1"}


@pytest.fixture(scope="module")
def long(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The essence of the run that was never disturbed."""
    folder = tmp_path_factory.mktemp("long") / "run"
    code, _, told = call(*arguments(data, epochs=EPOCHS), "--out", folder)
    assert code == 0, told
    return essence(folder)


class Going:
    """A run that is training in workers, of which one may be slow to start.

    Args:
        data: To train on.
        until: The event to wait for.
        workers: In how many it trains.
        every_s: Seconds between two checkpoints.
    """

    def __init__(
        self, data: Path, *, until: str = "epoch", workers: int = 1, every_s: float = 1000
    ) -> None:
        self.until = until
        given = [*arguments(data, epochs=EPOCHS, workers=workers), f"--checkpoint-every={every_s}"]
        self.folder = Path("a run")
        self.process = start(*given, "--out", self.folder, cwd=Path.cwd())
        self.workers: list[int] = []

    def __enter__(self) -> "Going":
        wait_until(
            lambda: self.process.poll() is not None or bool(self.jobs(self.until)), seconds=HANG_S
        )
        assert self.process.poll() is None, self.process.communicate()
        self.workers = workers(self.process.pid)
        assert self.workers
        return self

    def __exit__(self, *_: object) -> None:
        for pid in [self.process.pid, *self.workers]:
            if not is_gone(pid):
                os.kill(pid, signal.SIGKILL)
        self.process.communicate(timeout=HANG_S)

    def jobs(self, event: str) -> set[str]:
        """The trainings of which something was heard."""
        if not self.folder.exists():
            return set()
        return {e.job for e in read_events(self.folder) if e.event == event and e.job}

    def signal(self, number: int, *, group: bool) -> None:
        (os.killpg if group else os.kill)(self.process.pid, number)

    def end(self) -> tuple[int, str]:
        """Wait for its end, and return exit code and standard error."""
        out, told = self.process.communicate(timeout=HANG_S)
        assert "Traceback" not in told
        assert out == "" or self.process.returncode == 0
        return self.process.returncode, told


@pytest.mark.parametrize(
    ("number", "group", "code", "words"),
    [
        (signal.SIGINT, True, 130, "stopped by Ctrl-C"),
        (signal.SIGTERM, False, 143, "terminated"),
        pytest.param(signal.SIGTERM, True, 143, "terminated", marks=pytest.mark.slow),
    ],
    ids=["Ctrl-C", "SIGTERM to the first", "SIGTERM to all"],
)
def test_a_signal_ends_the_step_and_saves_and_says_how_to_go_on(
    number: int, group: bool, code: int, words: str, data: Path, long: dict[str, bytes]
) -> None:
    with Going(data, workers=2 if group else 1) as run:
        run.signal(number, group=group)
        ended, told = run.end()
        assert ended == code
        assert all(is_gone(pid) for pid in run.workers)
    said = sentence(told)
    assert re.fullmatch(rf"{words}; resume with `\S*supernet resume 'a run'`", said)
    last = events(run.folder)[-1]
    assert (last["event"], last["reason"]) == ("stopped", words)
    for job in run.jobs("epoch"):  # no checkpoint was due for a quarter of an hour
        checkpoints = Checkpoints(run.folder / "checkpoints" / PAYLOADS[job], warn=pytest.fail)
        reported = max(event.done for event in read_events(run.folder) if event.job == job)
        assert 0 < reported <= read_saved(checkpoints).done
    if group and number == signal.SIGTERM:  # one for all: pasted into a shell, with new workers
        done = shell(command_in(told), Path.cwd())
        assert done.returncode == 0, done.stderr
        told = done.stderr
    else:
        code, _, told = call(*given_back(command_in(told)))
        assert code == 0, told
    assert re.search(r"^resuming the run in a run$", told, re.MULTILINE)
    assert essence(run.folder) == long


def test_a_second_ctrl_c_ends_at_once_even_if_a_worker_is_stuck(
    data: Path, long: dict[str, bytes]
) -> None:
    with Going(data, until="saved", every_s=0.1) as run:
        os.kill(run.workers[0], signal.SIGSTOP)
        run.signal(signal.SIGINT, group=True)
        time.sleep(0.6)
        assert run.process.poll() is None  # it waits for the worker
        begun = time.monotonic()
        run.signal(signal.SIGINT, group=True)
        assert run.end()[0] == 130
        assert time.monotonic() - begun < 10  # and not half a minute
        wait_until(lambda: all(is_gone(pid) for pid in run.workers), seconds=10)
    assert call("resume", run.folder)[0] == 0
    assert essence(run.folder) == long


def test_kill_9_leaves_no_orphans_and_nothing_is_lost(data: Path, long: dict[str, bytes]) -> None:
    with Going(data, until="saved", every_s=0.1) as run:
        os.kill(run.workers[0], signal.SIGSTOP)  # it won't notice by itself
        run.process.kill()
        assert run.end()[0] == -signal.SIGKILL
        wait_until(lambda: all(is_gone(pid) for pid in run.workers), seconds=5)
    code, out, told = call("status", run.folder)
    assert (code, told) == (0, "")
    assert "a run: killed\n" in out
    saved = {e["job"]: e["done"] for e in events(run.folder) if e["event"] == "saved"}
    code, _, told = call("resume", run.folder)
    assert code == 0, told
    first = next(e for e in events(run.folder)[::-1] if e["event"] == "resumed")
    again = events(run.folder)[events(run.folder).index(first) :]
    for job, done in saved.items():  # and was not done once more
        epochs = [e["done"] for e in again if e.get("job") == job and e["event"] == "epoch"]
        assert min(epochs) >= done
    assert essence(run.folder) == long


@pytest.mark.slow  # tests of locks, of status and of workers hold each part of it
def test_a_run_at_work_is_not_to_be_disturbed_and_outlives_a_worker(
    data: Path, long: dict[str, bytes]
) -> None:
    with Going(data, every_s=0.1) as run:
        same: list[str | Path] = [*arguments(data, epochs=EPOCHS), "--out", run.folder]
        for command in (["resume", run.folder], same):
            begun = time.monotonic()
            code, out, told = call(*command, tasks=untouched)
            assert time.monotonic() - begun < 5
            assert (code, out) == (4, "")
            holder = f"process {run.process.pid} on {platform.node()}, since "
            assert sentence(told).startswith(f"the run in a run is in use by {holder}")
            assert sentence(told).endswith("or stop it: what it did will not be lost")
        code, out, told = call("status", run.folder)
        assert (code, told) == (0, "")
        assert f"a run: at work ({holder}" in out
        os.kill(run.workers[0], signal.SIGKILL)
        ended, told = run.end()
        assert ended == 0, told
    (note,) = [event for event in events(run.folder) if event["event"] == "note"]
    assert note["reason"] == ("the worker process died (last exit code -9); it is done again")
    assert f"{note['job']}: {note['reason']}\n" in told
    assert essence(run.folder) == long


def test_status_needs_no_torch(tmp_path: Path) -> None:
    code = """
import sys
sys.argv = ["supernet", "status"]
from supernet.cli.app import main
try:
    main()
finally:
    assert "torch" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG_S, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "There are no runs in the folder runs.\n"
