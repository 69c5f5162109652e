"""Curves for TensorBoard say what the records say. A stand-in for its writer keeps them."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from supernet.experiments.tensorboard import FOLDER, curves_of
from supernet.records import Epoch, Measure
from supernet.runs.folder import read_results
from tests.experiments.tinyruns import write_data
from tests.faults.runs import Interrupted, arguments, call
from tests.limits import HANG_S


class Board:
    """What is written, in memory; `open` stands in for `SummaryWriter`."""

    def __init__(self) -> None:
        self.curves: dict[str, dict[str, list[tuple[int, float]]]] = {}
        self.purged: list[int] = []
        self.still_open = 0

    def open(self, folder: str, *, purge_step: int) -> "Writer":
        self.purged.append(purge_step)
        self.still_open += 1
        return Writer(self, self.curves.setdefault(Path(folder).name, {}))


class Writer:
    def __init__(self, board: Board, tags: dict[str, list[tuple[int, float]]]) -> None:
        self.board, self.tags = board, tags

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.tags.setdefault(tag, []).append((step, value))

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.board.still_open -= 1


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Board:
    found, module = Board(), ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = found.open  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: n == "tensorboard" or real(n))
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


def test_curves_are_those_of_the_records(data: Path, tmp_path: Path, board: Board) -> None:
    code, _, told = call(*arguments(data), "--tensorboard", "--out", tmp_path / "r")
    assert code == 0, told
    assert f"curves: tensorboard --logdir {tmp_path / 'r' / FOLDER}" in told
    (seed,) = read_results(tmp_path / "r").seeds
    kept = {"seed0-supernet": seed.supernet, "seed0-standalone-1": seed.standalone[0]}
    assert board.curves.keys() == kept.keys()
    for name, training in kept.items():
        curves = board.curves[name]
        assert curves["loss/epoch"] == [(3 * e.epoch, e.loss) for e in training.epochs]
        means = [100 * sum(e.validation) / len(e.validation) for e in training.epochs]
        found = [value for _, value in curves["validation accuracy (%)/mean"]]
        assert found == pytest.approx(means)
        steps = [step for step, _ in curves["loss/step"]]
        assert steps == sorted(set(steps))
    assert board.still_open == 0


def test_a_resumed_run_takes_back_what_lies_behind_its_step(
    data: Path, tmp_path: Path, board: Board
) -> None:
    given: list[str | Path] = [*arguments(data), "--tensorboard", "--out", tmp_path / "r"]
    code, _, told = call(*given, tasks=Interrupted(0, 4))
    assert code == 130, told
    assert board.still_open == 0
    code, _, told = call("resume", tmp_path / "r", "--tensorboard")
    assert code == 0, told
    before, fresh = board.purged
    assert (before > 1, fresh) == (True, 1)
    assert [step for step, _ in board.curves["seed0-standalone-1"]["loss/epoch"]] == [3, 6]


def test_a_link_in_the_folder_is_not_followed(data: Path, tmp_path: Path, board: Board) -> None:
    given: list[str | Path] = [*arguments(data), "--out", tmp_path / "r"]
    assert call(*given, tasks=Interrupted(0, 1))[0] == 130
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "r" / FOLDER).symlink_to(tmp_path / "elsewhere")
    code, _, told = call("resume", tmp_path / "r", "--tensorboard")
    assert (code, "a link, not a folder" in told) == (4, True), told
    assert not any((tmp_path / "elsewhere").iterdir())


def test_scores_read_as_in_tables_and_failed_ones_are_left_out() -> None:
    measure = Measure(name="squared error", higher_is_better=False)
    epoch = Epoch(epoch=1, loss=2.0, validation=[-0.5, float("nan"), -0.25])
    found = dict(curves_of(epoch, measure, ["(1)", "(2)", "(3)"]))
    assert found.pop("each validation squared error/(2)") != 0  # NaN
    heading = "validation squared error"
    assert found == {
        "loss/epoch": 2.0,
        f"{heading}/mean": 0.375,
        f"{heading}/lowest": 0.25,
        f"{heading}/highest": 0.5,
        f"each {heading}/(1)": 0.5,
        f"each {heading}/(3)": 0.25,
    }
    many = Epoch(epoch=1, loss=2.0, validation=[0.5] * 17)
    assert len(dict(curves_of(many, measure, ["()"] * 17))) == 4


def test_a_missing_extra_is_said_before_torch_is_loaded() -> None:
    code = """
import importlib.util, json, sys
real = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == "tensorboard" else real(name)
from supernet.cli.app import main
sys.argv[1:] = ["train", "--tensorboard"]
try:
    main()
except SystemExit as end:
    print(json.dumps([end.code, "torch" in sys.modules]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG_S
    )
    assert json.loads(done.stdout) == [2, False], done.stderr
    assert "pip install supernet[tensorboard]" in done.stderr


@pytest.mark.slow
def test_tensorboard_itself_reads_them(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    code, _, told = call(*arguments(data), "--tensorboard", "--out", tmp_path / "r")
    assert code == 0, told
    found = EventMultiplexer().AddRunsFromDirectory(str(tmp_path / "r" / FOLDER))
    found.Reload()
    (seed,) = read_results(tmp_path / "r").seeds
    read = [event.value for event in found.Scalars("seed0-supernet", "loss/epoch")]
    assert read == pytest.approx([epoch.loss for epoch in seed.supernet.epochs])
