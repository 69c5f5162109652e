"""What docs/searching.md shows is what there is."""

import json
import re
from pathlib import Path

import pytest

import supernet as sn
from supernet.strategies import STRATEGIES
from tests.docs.blocks import make_small

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "searching.md").read_text()
SEARCH, STRATEGY = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_table_of_strategies_names_all_of_them() -> None:
    table = PAGE.partition("## Strategies")[2].partition("\n\nNo architecture")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == set(STRATEGIES)


def test_the_limits_shown_can_be_read() -> None:
    (line,) = re.findall(r"^    (macs <= 5e6 and params.*)$", PAGE, re.MULTILINE)
    assert len(sn.parse_limits(line)) == 5


def test_the_numbers_are_those_of_the_benchmark() -> None:
    found = json.loads((ROOT / "benchmarks" / "results" / "search.json").read_text())
    rows = re.findall(r"^\| \**([\w\' ,-]+?)\** \| \**(\d+)\** \|", PAGE, re.MULTILINE)
    assert len(rows) == 6
    for name, shown in rows:
        key = name.replace("1,024", "1024").replace("pymoo's NSGA", "pymoo NSGA")
        assert round(found["strategies"][key]["mean"]) == int(shown)
    pymoo = found["strategies"]["guided, 256"]["above pymoo NSGA-II, 1024"]
    assert pymoo["better"] == 9
    assert round(pymoo["p"], 3) == 0.003
    assert found["one in a million"]["cpu_s"] <= 0.144


def test_latency_and_sharing_are_those_of_their_benchmarks() -> None:
    results = ROOT / "benchmarks" / "results"
    latency = json.loads((results / "latency.json").read_text())
    check, pieces = latency["check"], latency["pieces"]
    assert f", {pieces} pieces;" in PAGE
    assert f"is {100 * check['median_error']:.1f} %" in PAGE
    assert f"differs by {100 * check['repeat_error']:.1f} %" in PAGE
    assert f"tau {check['tau']:.2f}" in PAGE
    sharing = json.loads((results / "generation.json").read_text())
    assert f"random ones cost {sharing['random']['times']:.1f}" in PAGE
    assert f"{sharing['near one another']['times']:.1f} times less" in PAGE


@pytest.mark.filterwarnings("ignore::supernet.errors.UntrainedWarning")  # few images, few steps
def test_the_code_keeps_the_limit_and_finds_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = make_small(monkeypatch, tmp_path)
    exec(compile(SEARCH, "searching.md", "exec"), found)
    assert len(found["evaluations"]) > 5
    assert all(one.values["macs"] <= 1e6 for one in found["evaluations"])
    assert found["best"].values["score"] == max(o.values["score"] for o in found["evaluations"])
    saved = sn.load(tmp_path / "my-model")
    assert all(type(module).__module__.startswith("torch.") for module in saved.modules())
    exec(compile(STRATEGY, "searching.md", "exec"), found)
    assert len(found["found"]) == 5
