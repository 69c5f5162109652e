"""`--on`: what can't be had is said before PyTorch is loaded; what can be gives the same run."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from supernet.cli.app import app, main
from supernet.experiments import clusters
from supernet.runs.folder import read_events, read_results
from supernet.runs.ray import Place
from tests.experiments.tinyruns import options, stay_here, write_data
from tests.limits import HANG_S
from tests.runs.standin import StandIn


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["supernet", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--on=nonsense"], 2, "--on is 'nonsense'; --on takes ray"),
        (["--on=ray", "--device=cuda:1"], 2, "Ray chooses which cuda device"),
        (["--on=ray://127.0.0.1:1"], 6, "there is no Ray cluster at ray://127.0.0.1:1"),
        (["--on=ray"], 2, "pip install 'supernet[ray]'"),
    ],
)
@pytest.mark.parametrize("command", ["compare", "train"])
def test_what_is_wrong_is_said_before_pytorch_is_loaded(
    command: str, arguments: list[str], code: int, words: str
) -> None:
    """In a Python where Ray is missing if the message is about that, and else seems to be there."""
    script = f"""
import importlib.util, sys
find, NEEDED = importlib.util.find_spec, ("ray", "grpc")
missing = {words!r}.startswith("pip")
importlib.util.find_spec = lambda name: (None if missing else sys) if name in NEEDED else find(name)
from supernet.cli.app import main
try:
    main()
finally:
    print(sorted({{"torch", "ray"}} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, command, *arguments],
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )
    assert (done.returncode, done.stdout) == (code, "[]\n"), done.stderr
    assert words in " ".join(done.stderr.split())


class _Told(StandIn):
    """One that can say what it is."""

    def describe(self) -> str:
        return "Ray 0: 2 node(s), 8 CPU(s)"

    def slots(self) -> int:
        return 8


def test_a_run_on_a_cluster_is_the_same_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[Place, dict[str, Any]]] = []

    @contextmanager
    def connected(place: Place, **needs: Any) -> Iterator[_Told]:
        asked.append((place, needs))
        yield _Told({"standalone (1, 1)": [1]})

    stay_here(monkeypatch)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("supernet.runs.ray.find_spec", lambda name: name)
    monkeypatch.setattr(clusters, "connected", connected)
    monkeypatch.chdir(tmp_path)
    wanted = options(data, longest=2, epochs=1)
    app(["compare", *wanted, "--out=here"], standalone_mode=False)
    capsys.readouterr()
    app(["compare", *wanted, "--out=there", "--on=ray", "--json"], standalone_mode=False)
    output = capsys.readouterr()
    assert asked == [(Place("local"), {"cpus": 1, "gpus": 0, "at_once": None})]
    assert "8 CPU(s); up to 5 task(s) at a time" in output.err
    assert "died on the cluster" in output.err
    for name in ("hits.npz", "supernet-seed0.safetensors"):
        assert Path("here", name).read_bytes() == Path("there", name).read_bytes()
    conditions = json.loads(output.out)["conditions"]
    assert (conditions["cluster"], conditions["workers"]) == ("Ray 0: 2 node(s), 8 CPU(s)", 5)
    assert "8 CPU(s)" in Path("there/report.html").read_text()
    assert read_results(Path("here")).conditions.cluster == ""
    assert [event.event for event in read_events(Path("there"))].count("trained") == 5


def test_a_run_that_stops_says_how_to_resume_on_the_cluster(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def connected(place: Place, **needs: Any) -> Iterator[_Told]:
        yield _Told({"supernet": [0, 0, 0]})

    stay_here(monkeypatch)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("supernet.runs.ray.find_spec", lambda name: name)
    monkeypatch.setattr(clusters, "connected", connected)
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, "train", *options(data), "--out=run", "--on=ray") == 6
    said = " ".join(capsys.readouterr().err.split())
    assert "'supernet' died 3 times on the cluster" in said
    assert "resume run --on=ray`" in said
