import dataclasses

import pytest
import torch
from torch import Tensor, nn

from supernet.networks.conversion import make_elastic
from tests.conftest import noise
from tests.networks.conversion.networks import NETWORKS, X


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_has_a_line_with_a_choice_or_a_reason(name: str) -> None:
    model = NETWORKS[name][0]()
    supernet, report = make_elastic(model, example=X)
    lines = {line.module: line for line in report.lines}
    assert len(lines) == len(report.lines)
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d | nn.LayerNorm):
            assert lines[path].choices or lines[path].reasons
    assert "with less" not in str(report)  # nothing had to be given up
    assert {c.name: c for c in report.choices} == {c.name: c for c in supernet.space.choices}


def test_what_has_weights_and_no_counterpart_is_said() -> None:
    model = nn.Sequential(
        nn.Linear(3, 8), nn.LSTM(8, 8), Unpacked(), nn.Linear(8, 8), nn.Linear(8, 2)
    )
    _, report = make_elastic(model, example=noise(2, 4, 3))
    kinds = {line.module: line for line in report.lines}
    assert kinds["1"].reasons == ("modules of this kind have no elastic counterpart",)
    assert "LSTM '1' needs it as it is" in kinds["0"].reasons[0]


class Unpacked(nn.Module):
    def forward(self, x: tuple[Tensor, Tensor]) -> Tensor:
        return x[0]


class Table(nn.Module):
    """Has a parameter that no width goes along."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table


def test_of_a_parameter_that_stays_it_is_said_why() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), Table(), nn.Conv2d(4, 2, 1))
    _, report = make_elastic(model, example=X)
    assert report.lines[1].reasons == ("table: it is combined with '0', whose width is fixed",)


def test_printed_it_is_a_table_of_one_row_per_module() -> None:
    _, report = make_elastic(NETWORKS["resnet"][0](), example=X, width=(0.5,))
    header, *rows = str(report).splitlines()
    assert header.split("  ")[0] == "module"
    assert [row.split()[0] for row in rows] == [line.module for line in report.lines]
    where = header.index("what it is")
    assert all(row[where - 2 : where] == "  " for row in rows)
    assert "stem.0.width (2 4)" in rows[0]
    assert dataclasses.is_dataclass(report)
    assert report.lines[-1].reasons == ("output width: the model returns it",)
