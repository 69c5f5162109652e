"""What docs/data-and-devices.md shows is what there is."""

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Self

import pytest
import torch
from torch import nn

import supernet as sn
from tests.conftest import nine, tiny_data
from tests.docs.blocks import blocks_of

PATH = Path(__file__).resolve().parents[2] / "docs" / "data-and-devices.md"
PAGE = PATH.read_text()


class Board:
    """A stand-in for `SummaryWriter`."""

    def __init__(self) -> None:
        self.points: list[tuple[str, float, int]] = []

    def open(self, folder: str) -> Self:
        assert folder == "logs"
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.points.append((tag, value, step))


def shown(start: str) -> str:
    """Return the block of the page that begins so."""
    (found,) = [block.code for block in blocks_of(PATH) if block.code.startswith(start)]
    return found


def test_three_lines_send_events_to_tensorboard_as_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    board, module = Board(), ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = board.open  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    session = sn.TrainingSession(nine(), tiny_data(), sn.Recipe(epochs=2, batch_size=20))
    code = shown("from torch.utils.tensorboard")
    exec(compile(code, "data-and-devices.md", "exec"), {"session": session})
    steps = [step for _, _, step in board.points]
    assert sorted(set(steps)) == list(range(1, steps[-1] + 1))
    assert {tag for tag, _, _ in board.points} == {"loss"}
    assert steps[-1] == 2 * (len(tiny_data().train) // 20)


def test_the_loop_over_events_runs_as_shown() -> None:
    code = shown("session = ")
    data = tiny_data(train=256)
    found = {"sn": sn, "supernet": nine(), "data": data, "print": lambda *_: None}
    exec(compile(code, "data-and-devices.md", "exec"), found)
    assert len(found["result"].training.epochs) == 3  # type: ignore[attr-defined]


def test_optimizers_are_named_as_recipes_take_them() -> None:
    (names,) = re.findall(r'Recipe\(optimizer=((?:"\w+"(?: \| )?)+)\)', PAGE)
    for name in re.findall(r"\w+", names):
        sn.Recipe(optimizer=name)

    def make(net: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.RMSprop(net.parameters(), lr=0.01)

    sn.train(nine(), tiny_data(), sn.Recipe(epochs=1, batch_size=20, accumulate=2), optimizer=make)
