"""What runs supernet on Slurm and Kubernetes says what it should, with stand-ins for both."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from supernet.cli.app import app
from tests.limits import HANG_S
from tests.runs.processes import wait_until

CLUSTER = Path(__file__).parents[2] / "examples" / "cluster"

#: Programs that a Slurm job finds, and what they are here. Each notes how it was called.
STAND_INS = {
    "scontrol": "printf '127.0.0.1\\nother-node\\n'",
    "srun": """
while [[ $1 == --* ]]; do shift; done
exec "$@"
""",
    "ray": """
if [[ $* == *--head* ]]; then
  for word in "$@"; do [[ $word == --port=* ]] && port=${word#--port=}; done
  exec "$PYTHON" -c "
import socket, sys
with socket.create_server(('127.0.0.1', int(sys.argv[1]))) as s:
    while True: s.accept()[0].close()
" "$port"
fi
exec sleep 600
""",
    "supernet": "exit 7",
    "torchrun": "exit 7",
}

START = subprocess.Popen[str]


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., START]:
    programs = tmp_path / "bin"
    programs.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        job = str((free.getsockname()[1] - 20000) % 10000)

    def start(*arguments: str, nodes: int = 2, tries: str = "60", **changes: str) -> START:
        for name, body in {**STAND_INS, **changes}.items():
            note = f'echo "{name} $*" >> "$NOTES"\n'
            (programs / name).write_text(f"#!/usr/bin/env bash\n{note}{body}\n")
            (programs / name).chmod(0o755)
        environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHON": sys.executable,
            "NOTES": str(tmp_path / "notes"),
            "SLURM_JOB_ID": job,
            "SLURM_JOB_NUM_NODES": str(nodes),
            "SLURM_JOB_NODELIST": "node[1-2]",
            "SLURM_CPUS_PER_TASK": "8",
            "HEAD_TRIES": tries,
        }
        return subprocess.Popen(
            ["bash", str(CLUSTER / "slurm.sh"), *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def noted(tmp_path: Path, program: str) -> list[str]:
    path = tmp_path / "notes"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.removeprefix(f"{program} ") for line in lines if line.startswith(f"{program} ")]


def test_a_slurm_job_starts_ray_on_all_nodes_and_the_run_on_the_first(
    start: Callable[..., START], tmp_path: Path
) -> None:
    job = start("ray", "compare", "--out=runs/my run", supernet="sleep 1; exit 7")
    _, errors = job.communicate(timeout=HANG_S)
    assert job.returncode == 7, errors  # the run's own
    head, other = sorted(noted(tmp_path, "ray"), key=lambda words: "--head" not in words)
    port = head.partition("--port=")[2].split()[0]
    assert head.startswith("start --head")
    assert "--include-dashboard=false" in head
    assert "--num-cpus=8" in head
    assert f"--address=127.0.0.1:{port}" in other
    assert noted(tmp_path, "supernet") == [f"compare --out=runs/my run --on=ray:127.0.0.1:{port}"]
    assert sum("--exclude=127.0.0.1" in words for words in noted(tmp_path, "srun")) == 1
    with pytest.raises(OSError, match="refused"):  # Ray was ended
        socket.create_connection(("127.0.0.1", int(port)))


def test_one_node_is_a_cluster_too(start: Callable[..., START], tmp_path: Path) -> None:
    job = start("ray", "train", "--out=x", nodes=1)
    job.communicate(timeout=HANG_S)
    assert job.returncode == 7
    assert len(noted(tmp_path, "ray")) == 1


def test_a_slurm_job_whose_time_is_up_lets_the_run_save(
    start: Callable[..., START], tmp_path: Path
) -> None:
    saving = (
        "trap 'sleep 0.5; echo saved; exit 143' TERM; echo ready >&2; while :; do sleep 0.1; done"
    )
    job = start("ray", "train", "--out=x", supernet=saving)
    wait_until(lambda: bool(noted(tmp_path, "supernet")))
    time.sleep(0.5)  # for its trap
    job.send_signal(signal.SIGTERM)
    output, _ = job.communicate(timeout=HANG_S)
    assert (job.returncode, output) == (143, "saved\n")


def test_a_slurm_job_starts_one_torchrun_per_node(
    start: Callable[..., START], tmp_path: Path
) -> None:
    job = start("torchrun", "train", "--out=runs/mine")
    job.communicate(timeout=HANG_S)
    assert job.returncode == 7
    (words,) = noted(tmp_path, "torchrun")
    assert "--nnodes=2 --nproc-per-node=1" in words
    assert "--rdzv-backend=c10d --rdzv-endpoint=127.0.0.1:" in words
    assert words.endswith("-m supernet train --out=runs/mine")
    assert any(words.startswith("--nodes=2 --ntasks=2") for words in noted(tmp_path, "srun"))


def test_a_head_that_does_not_start_is_an_error(start: Callable[..., START]) -> None:
    job = start("ray", "train", "--out=x", tries="2", ray="exit 1")
    _, errors = job.communicate(timeout=HANG_S)
    assert job.returncode == 1
    assert "Ray did not start on 127.0.0.1" in errors


@pytest.mark.parametrize("arguments", [(), ("ray",), ("dask", "compare")])
def test_a_slurm_job_that_is_called_wrongly_says_how(
    start: Callable[..., START], arguments: tuple[str, ...]
) -> None:
    job = start(*arguments)
    _, errors = job.communicate(timeout=HANG_S)
    assert job.returncode == 2
    assert "usage: sbatch slurm.sh ray|torchrun" in errors


def test_shellcheck_finds_nothing() -> None:
    beside = Path(sys.executable).with_name("shellcheck")
    program = str(beside) if beside.exists() else shutil.which("shellcheck")
    if program is None:
        pytest.skip("needs shellcheck")
    done = subprocess.run(
        [program, str(CLUSTER / "slurm.sh")], capture_output=True, text=True, timeout=HANG_S
    )
    assert done.stdout == ""


#: The fields of KubeRay's types, v1, that manifests here use; those that must be there end in `!`.
RAY_FIELDS: dict[str, dict[str, Any]] = {
    "job": {
        "entrypoint": str,
        "backoffLimit": int,
        "rayClusterSpec": "cluster",
        "shutdownAfterJobFinishes": bool,
        "ttlSecondsAfterFinished": int,
    },
    "cluster": {"rayVersion": str, "headGroupSpec!": "head", "workerGroupSpecs": ["workers"]},
    "head": {"rayStartParams!": {}, "template!": "pod"},
    "workers": {
        "groupName!": str,
        "replicas": int,
        "minReplicas!": int,
        "maxReplicas!": int,
        "rayStartParams!": {},
        "template!": "pod",
    },
    "pod": {"spec!": dict},
}


def check(found: Any, wanted: Any, where: str) -> None:
    """Compare a part of a manifest with the fields it may have."""
    if isinstance(wanted, str):
        fields = RAY_FIELDS[wanted]
        known = {name.rstrip("!"): kind for name, kind in fields.items()}
        assert set(found) <= set(known), where
        assert {name[:-1] for name in fields if name.endswith("!")} <= set(found), where
        for name, value in found.items():
            check(value, known[name], f"{where}.{name}")
    elif isinstance(wanted, list):
        for part in found:
            check(part, wanted[0], where)
    elif wanted == {}:
        assert all(isinstance(text, str) for pair in found.items() for text in pair), where
    else:
        assert type(found) is wanted, where


def test_the_manifest_for_kubernetes_has_the_fields_of_a_ray_job() -> None:
    job, claim = yaml.safe_load_all((CLUSTER / "rayjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    check(job["spec"], "job", "spec")
    cluster = job["spec"]["rayClusterSpec"]
    pods = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    images = {pod["template"]["spec"]["containers"][0]["image"] for pod in pods}
    assert len(images) == 1  # the same versions everywhere
    volume = cluster["headGroupSpec"]["template"]["spec"]["volumes"][0]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


def test_the_entrypoint_is_a_command_that_there_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job, _ = yaml.safe_load_all((CLUSTER / "rayjob.yaml").read_text())
    program, *words = job["spec"]["entrypoint"].split()
    assert program == "supernet"
    app([*words, "--help"], standalone_mode=False)
    assert "--on" in capsys.readouterr().out
