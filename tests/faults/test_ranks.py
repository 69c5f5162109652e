"""Several processes that torchrun starts make the run of one, also if one of them is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from supernet.runs.folder import read_results
from tests.faults.runs import arguments, call, essence, events
from tests.limits import HANG_S

#: On this machine, at whatever port is free.
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def torchrun(given: Sequence[str | Path], *options: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*TORCHRUN, *options, "-m", "supernet", *map(str, given)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "80", "OMP_NUM_THREADS": "1"},
    )


def finished(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    try:
        out, told = process.communicate(timeout=HANG_S)
    finally:
        process.kill()
    return process.returncode, out, told


def test_two_ranks_make_the_run_of_one(data: Path) -> None:
    given = arguments(data)
    code, out, told = finished(torchrun([*given, "--out", "two"]))
    assert code == 0, told
    assert out.count("Page: two/report.html") == 1
    assert told.count("run folder: two") == 1

    assert call(*given, "--out", "one")[0] == 0
    one, two = read_results(Path("one")), read_results(Path("two"))
    assert (one.conditions.ranks, two.conditions.ranks) == (1, 2)
    alone, together = (np.load(folder + "/hits.npz") for folder in ("one", "two"))
    assert (alone["standalone_test"] == together["standalone_test"]).all()
    for ours, theirs in zip(two.seeds, one.seeds, strict=True):
        assert ours.supernet.validation == pytest.approx(theirs.supernet.validation, abs=0.02)
        losses = [[epoch.loss for epoch in each.supernet.epochs] for each in (ours, theirs)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    images = [[phase.images for phase in each.ledger] for each in (one, two)]
    assert images[0] == images[1]

    code, _, told = call(*given, "--out", "two")  # by one process
    assert code == 4
    assert "ranks: 2 then, 1 now" in told


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_rank_changes_no_byte(data: Path, victim: int) -> None:
    given = arguments(data, epochs=150, sampler="uniform")
    whole = torchrun([*given, "--out", "whole"])
    assert finished(whole)[0] == 0
    run = torchrun([*given, "--out", "killed", "--checkpoint-every=0.2"], "--max-restarts=1")
    _wait_for_save(Path("killed"), run)
    os.kill(_process_of(run.pid, victim), signal.SIGKILL)
    code, _, told = finished(run)
    assert code == 0, told
    assert "resuming the run in killed" in told
    assert essence(Path("killed")) == essence(Path("whole"))


@pytest.mark.slow
def test_ranks_stop_together_and_the_same_command_resumes(data: Path) -> None:
    given = [*arguments(data, epochs=150), "--out", "stopped"]
    run = torchrun([*given, "--checkpoint-every=0.2"])
    _wait_for_save(Path("stopped"), run)
    run.send_signal(signal.SIGTERM)  # which torchrun passes on
    _, _, told = finished(run)
    assert "supernet (rank 0): terminated; the same command resumes it" in told
    assert events(Path("stopped"))[-1]["event"] == "stopped"
    code, _, told = finished(torchrun(given))
    assert code == 0, told
    assert "resuming the run in stopped" in told


@pytest.mark.slow
def test_what_goes_wrong_is_said_by_the_rank_it_happens_to(data: Path) -> None:
    code, _, told = finished(torchrun(["search", "nowhere"]))
    assert code != 0
    assert "`supernet search` works in one process; call it without torchrun" in told
    Path("taken").mkdir()
    Path("taken/file").touch()
    code, _, told = finished(torchrun([*arguments(data), "--out", "taken"]))
    assert code != 0
    assert "supernet (rank 0): the folder taken is not empty" in told
    assert "/supernet/cli/" not in told  # torchrun shows a traceback, of its own code only


def _wait_for_save(folder: Path, run: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + HANG_S
    while run.poll() is None and time.monotonic() < end:
        written = folder / "events.jsonl"
        if written.exists() and written.read_text().count('"saved"') > 3:
            return
        time.sleep(0.05)
    raise AssertionError(finished(run))


def _process_of(parent: int, rank: int) -> int:
    """Return the process of a rank, among the children of torchrun."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text().rpartition(")")[2].split()
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if int(status[1]) == parent and f"RANK={rank}".encode() in environment:
            return int(folder.name)
    raise AssertionError(json.dumps({"no rank": rank, "of": parent}))
