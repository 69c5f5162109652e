"""Several processes that torchrun starts make the run of one, also if one of them is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from supernet.runs.folder import read_results
from tests.experiments.tinyruns import options
from tests.faults.runs import arguments, call, essence, events
from tests.limits import HANG_S

#: On this machine, at whatever port is free.
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]

#: Of a training that is to be stopped or killed on its way.
EPOCHS = 150


def torchrun(given: Sequence[str | Path], *options: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*TORCHRUN, *options, "-m", "supernet", *map(str, given)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "80", "OMP_NUM_THREADS": "1"},
        start_new_session=True,
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


def training(data: Path, folder: str) -> list[str]:
    """Ask for one training, of some seconds."""
    longer = ["train", *arguments(data, epochs=EPOCHS, sampler="uniform")[1:]]
    return [*longer, "--out", folder]


@pytest.mark.slow
def test_what_befalls_ranks_changes_no_byte(data: Path) -> None:
    assert finished(torchrun(training(data, "whole")))[0] == 0
    run = torchrun([*training(data, "ran"), "--checkpoint-every=0.1"], "--max-restarts=2")
    for times, victim in enumerate([1, 0]):
        wait_for_save(Path("ran"), run, begun=times + 1)
        os.kill(process_of(run.pid, victim), signal.SIGKILL)
    wait_for_save(Path("ran"), run, begun=3)
    run.send_signal(signal.SIGTERM)  # which torchrun passes on
    _, _, told = finished(run)
    assert told.count("because another rank is gone; see what that one said, and start all") == 2
    assert told.count("resuming the run in ran") == 2
    assert "supernet (rank 0): terminated; the same command resumes it" in told
    assert "supernet (rank 1): terminated\n" in told
    assert events(Path("ran"))[-1]["event"] == "stopped"

    run = torchrun(training(data, "ran"))
    code, _, told = finished(run)
    assert code == 0, told
    assert "resuming the run in ran" in told
    assert essence(Path("ran")) == essence(Path("whole"))


@pytest.mark.slow
@pytest.mark.parametrize("everybody", [True, False])
def test_ranks_stop_together(data: Path, everybody: bool) -> None:
    run = torchrun([*training(data, "stopped"), "--checkpoint-every=0.1"])
    wait_for_save(Path("stopped"), run, begun=1)
    if everybody:  # as a terminal does at Ctrl-C
        os.killpg(run.pid, signal.SIGINT)
    else:
        os.kill(process_of(run.pid, 1), signal.SIGTERM)
    code, _, told = finished(run)
    assert code == 1  # torchrun's own, whatever those of the ranks are
    first = "stopped by Ctrl-C" if everybody else "stopped, because another rank was"
    assert f"supernet (rank 0): {first}; the same command resumes it\n" in told
    second = "stopped by Ctrl-C" if everybody else "terminated"
    assert f"supernet (rank 1): {second}\n" in told
    assert events(Path("stopped"))[-1]["event"] == "stopped"


@pytest.mark.slow
def test_two_ranks_tune_as_one_process_does(data: Path) -> None:
    assert call("train", *options(data, epochs=1), "--out", "run")[0] == 0
    given = ["finetune", "run", "--best", "--json", "--epochs=1"]
    code, out, told = finished(torchrun([*given, "--out", "two"]))
    assert code == 0, told
    together = json.loads(out)  # which one rank wrote
    assert not Path(".two.tuning").exists()
    code, out, told = call(*given, "--out", "one")
    assert code == 0, told
    alone = json.loads(out)
    assert together["architecture"] == alone["architecture"]
    assert together["inherited"] == alone["inherited"]
    assert together["tuned"]["value"] == pytest.approx(alone["tuned"]["value"], abs=0.05)
    one, two = (load_file(f"{name}/model.safetensors") for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-4)

    code, _, told = finished(torchrun([*given, "--out", "two"]))
    assert code == 1
    assert "supernet (rank 0): two exists already" in told


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


def wait_for_save(folder: Path, run: "subprocess.Popen[str]", *, begun: int) -> None:
    """Wait until a run that was begun so often has saved."""
    end = time.monotonic() + HANG_S
    while run.poll() is None and time.monotonic() < end:
        with suppress(FileNotFoundError, json.JSONDecodeError):
            names = [event["event"] for event in events(folder)]
            starts = [at for at, name in enumerate(names) if name in ("started", "resumed")]
            if len(starts) == begun and "saved" in names[starts[-1] :]:
                return
        time.sleep(0.05)
    raise AssertionError(finished(run))


def process_of(parent: int, rank: int) -> int:
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
