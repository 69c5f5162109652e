"""`--on`: what can't be had is said before PyTorch is loaded; what can be gives the same run."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from supernet.cli.app import app, main
from supernet.experiments import clusters, running
from supernet.runs.folder import read_events, read_results
from supernet.runs.ray import Place
from tests.cli.fresh import give_all
from tests.experiments.tinyruns import options, stay_here, write_data
from tests.runs.standin import StandIn


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["supernet", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


#: Commands, exit codes and words; where Ray is missing if that is what the words are about.
MISTAKES = [
    ("--on=nonsense", 2, "--on is 'nonsense'; --on takes ray"),
    ("--on=ray --device=cuda:1", 2, "Ray chooses which cuda device"),
    ("--on=ray://127.0.0.1:1", 6, "there is no Ray cluster at ray://127.0.0.1:1"),
    ("--on=ray", 2, "pip install 'supernet[ray]'"),
]


def test_what_is_wrong_is_said_before_pytorch_is_loaded() -> None:
    cases = [(command, *case) for command in ("compare", "train") for case in MISTAKES]
    found = give_all(
        [[command, *options.split()] for command, options, *_ in cases],
        absent=[words.startswith("pip") for *_, words in cases],
    )
    for said, case in zip(found, cases, strict=True):
        *_, code, words = case
        assert (said.code, said.imported) == (code, []), (case, said.told)
        assert words in " ".join(said.told.split())


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
    with monkeypatch.context() as patch:
        patch.setattr(running, "write_report", lambda results, folder: [])  # which takes seconds
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
