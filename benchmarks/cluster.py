"""Runs on a Ray cluster whose nodes and driver are killed, against the same run in local workers.

Nine standalone trainings and a supernet: in local worker processes; on two Ray nodes of this
machine, one of which is removed ungracefully when three trainings have ended; and on one's own
cluster, with the driver killed (SIGKILL) when three have ended, and the same command given again.
All must end in the same bytes. Then the overhead of tasks that do nothing, and of the start.

    python benchmarks/cluster.py --out benchmarks/results/cluster.json
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from supernet.runs.environment import hardware, versions
from supernet.runs.ray import Place, connected
from supernet.runs.remote import RemoteTask, run_remotely
from supernet.runs.workers import Task, TaskContext, run_tasks

#: A few seconds of training for each network.
SETTINGS = (
    *("--train-images=1600", "--validation-images=300", "--test-images=600", "--epochs=2"),
    *("--calibration-images=200", "--net-arg=widths=16,8", "--workers=2", "--checkpoint-every=1"),
)
#: The files of a run in which no times are.
FILES = ("hits.npz", "supernet-seed0.safetensors")


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", type=int, default=40, help="tasks that do nothing")
    args = parser.parse_args()
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    os.environ |= {"RAY_worker_niceness": "0"}  # as that of local workers
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        found = {"pool": whole(folder / "pool"), "node removed": node_removed(folder / "nodes")}
        found["driver killed"] = driver_killed(folder / "driver")
    same = {each["digest"] for each in found.values()}
    result = {
        "runs": found,
        "all the same bytes": len(same) == 1,
        "overhead": overhead(args.tasks),
        "versions": versions(),
        "hardware": hardware(),
        "load": os.getloadavg()[0],
        "date": time.strftime("%Y-%m-%d"),
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def start(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start the run in a folder."""
    command = [sys.executable, "-m", "supernet", "compare", *SETTINGS, f"--out={folder}", *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def finish(folder: Path, run: subprocess.Popen[bytes], began: float) -> dict[str, Any]:
    """Wait for a run, and return what it ended with."""
    if code := run.wait():
        raise SystemExit(f"the run in {folder} ended with exit code {code}")
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    digest = hashlib.sha256(b"".join((folder / name).read_bytes() for name in FILES)).hexdigest()
    kinds = [event["event"] for event in events]
    return {
        "wall_s": round(time.perf_counter() - began, 1),
        "trained": kinds.count("trained"),
        "deaths": [event["reason"] for event in events if event["event"] == "note"],
        "digest": digest,
    }


def wait_for(folder: Path, trained: int) -> None:
    """Wait until so many trainings of a run have ended."""
    path = folder / "events.jsonl"
    for _ in range(3000):
        if path.exists() and path.read_text().count('"trained"') >= trained:
            return
        time.sleep(0.2)
    raise SystemExit(f"the run in {folder} doesn't get on")


def whole(folder: Path) -> dict[str, Any]:
    """Do the run in local workers."""
    began = time.perf_counter()
    return finish(folder, start(folder), began)


def node_removed(folder: Path) -> dict[str, Any]:
    """Do the run on two nodes, and remove one on the way."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        node = cluster.add_node(num_cpus=1)
        began = time.perf_counter()
        run = start(folder, f"--on=ray:{cluster.address}")
        wait_for(folder, 3)
        cluster.remove_node(node, allow_graceful=False)
        return finish(folder, run, began)
    finally:
        cluster.shutdown()


def driver_killed(folder: Path) -> dict[str, Any]:
    """Do the run on its own cluster, kill the driver on the way, and do it again."""
    began = time.perf_counter()
    run = start(folder, "--on=ray")
    wait_for(folder, 3)
    run.send_signal(signal.SIGKILL)
    run.wait()
    return finish(folder, start(folder, "--on=ray"), began)


def do_nothing(context: TaskContext) -> None:
    """A task for local workers."""


def do_nothing_there(state: None, context: TaskContext) -> None:
    """A task for a cluster."""


def overhead(count: int) -> dict[str, float]:
    """Return seconds: to start, of the first task, and of each further one; two at a time."""
    found: dict[str, float] = {}
    clock = time.perf_counter
    start = clock()
    with connected(Place("local"), cpus=1, at_once=2) as cluster:
        found["Ray: start"] = clock() - start
        for name, number in (("first", 1), ("next", count)):
            start = clock()
            tasks = [RemoteTask(str(n), do_nothing_there) for n in range(number)]
            list(run_remotely(tasks, cluster))
            found[f"Ray: {name} task"] = (clock() - start) / number
    for name, number in (("first", 1), ("next", count)):
        start = clock()
        list(run_tasks([Task(str(n), do_nothing) for n in range(number)], workers=2))
        found[f"pool: {name} task"] = (clock() - start) / number
    return {name: round(seconds, 4) for name, seconds in found.items()}


@contextlib.contextmanager
def importable() -> Iterator[None]:
    """Let workers import this module by its name."""
    here = str(Path(__file__).parent)
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [here, before]))
    sys.path.insert(0, here)
    yield


if __name__ == "__main__":
    with importable():
        import cluster as itself  # so that its functions have a module that workers can import

        itself.main()
