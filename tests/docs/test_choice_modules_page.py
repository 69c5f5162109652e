"""What docs/choice-modules.md shows is what there is."""

import re
from pathlib import Path
from typing import Any

import pytest

import supernet as sn
from supernet.testing import ChoiceModuleContract
from tests.conftest import noise

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "choice-modules.md").read_text()
SIZES, OWN, CONTRACT = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def run(code: str, found: dict[str, Any]) -> dict[str, Any]:
    exec(compile(code, "choice-modules.md", "exec"), found)
    return found


def test_the_network_of_elastic_layers_runs() -> None:
    supernet = run(SIZES, {})["supernet"]
    assert supernet.space.size == 51
    assert "= 51 architectures" in PAGE
    for arch in (supernet.space.smallest, supernet.space.largest):
        assert supernet(noise(2, 1, 12, 12), arch).shape == (2, 10)


def test_the_table_names_what_there_is() -> None:
    names = re.findall(r"^\| `(\w+).*?\|", PAGE, re.MULTILINE)
    assert len(names) == 11
    assert set(names) <= set(sn.__all__)


def test_a_choice_module_of_ones_own_takes_at_most_40_lines() -> None:
    assert len(OWN.splitlines()) <= 40


tests = [name for name in dir(ChoiceModuleContract) if name.startswith("test_")]


@pytest.mark.parametrize("name", tests)
def test_it_keeps_the_contract(name: str) -> None:
    found = run(OWN + CONTRACT, {"__name__": "page"})
    getattr(found["TestLowRank"](), name)()
