import dataclasses

import pytest
from torch import nn

from supernet.networks.conversion import make_elastic
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
    model = nn.Sequential(nn.Conv2d(3, 8, 5, padding=2), nn.GroupNorm(2, 8), nn.PReLU(8))
    _, report = make_elastic(model, example=X)
    kinds = {line.module: line for line in report.lines}
    for name in ("1", "2"):
        assert kinds[name].reasons == ("modules of this kind have no elastic counterpart",)
    assert "GroupNorm '1' needs it as it is" in kinds["0"].reasons[0]


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
