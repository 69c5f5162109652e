"""What docs/data-and-devices.md shows is what there is."""

import re
from pathlib import Path

import torch
from torch import nn

import supernet as sn
from tests.conftest import nine, tiny_data

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "data-and-devices.md").read_text()


def test_the_loop_over_events_runs_as_shown() -> None:
    (shown,) = re.findall(r"( {4}session = .*?\n)\n", PAGE, re.DOTALL)
    code = "\n".join(line[4:] for line in shown.splitlines())
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
