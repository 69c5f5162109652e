"""What the README shows is what there is."""

import json
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import supernet as sn
from supernet.records import Estimate
from supernet.runs.folder import read_results
from tests.docs.blocks import blocks_of
from tests.limits import HANG_S

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
WORDS = " ".join(README.split())
OWN: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / "own_network.json").read_text())


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_the_network_of_ones_own_takes_twenty_lines() -> None:
    (block,) = blocks_of(ROOT / "README.md")
    assert "20 lines" in README
    assert len([line for line in block.code.splitlines() if line.strip()]) <= 20


def points(found: Estimate, *, signed: bool = False) -> str:
    value, low, high = (
        f"{100 * part:{'+' * signed}.2f}" for part in (found.value, found.low, found.high)
    )
    return f"{value} points ({low} to {high})"


def plain(found: Estimate) -> str:
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


def test_the_numbers_of_the_standard_comparison_are_those_of_its_record() -> None:
    verdict = read_results(ROOT / "benchmarks" / "results" / "standard").verdict
    assert verdict
    assert verdict.ceiling_tau
    assert verdict.longer_gap
    low, high = verdict.cost_ratio_range
    ranked = f"{plain(verdict.tau)}, p = {verdict.tau_p:.3f}"
    longer = "the same, with a supernet trained for as much compute as the nine"
    assert dict(re.findall(r"^\| ([^|]+) \| ([-+]?\d[^|]+) \|$", README, re.MULTILINE)) == {
        "CPU time of nine trainings over one supernet's": f"{verdict.cost_ratio:.1f} "
        f"({low:.1f} to {high:.1f} over seeds)",
        "one-shot minus standalone accuracy, mean of nine": points(verdict.mean_gap),
        longer: points(verdict.longer_gap, signed=True),
        "Kendall tau of the one-shot ranking, by loss": ranked,
        "the same, by accuracy": plain(verdict.tau_by["score"]),
        "ceiling: tau between two seeds of standalone training": plain(verdict.ceiling_tau),
        "ranking by number of layers, without training": plain(verdict.baselines["layers"]),
        "ranking by multiply-adds, without training": plain(verdict.macs_tau),
        "what the network picked by one-shot lacks against the best": points(verdict.regret),
    }


def test_what_is_said_of_the_standard_comparison_is_in_its_records() -> None:
    folder = ROOT / "benchmarks" / "results"
    found = read_results(folder / "standard")
    assert found.verdict
    assert found.verdict.ranked_by == "loss"
    assert "adds nothing to counting layers" in found.verdict.sentences[0]
    assert f"{found.conditions.wall_s:.0f} seconds on one NVIDIA" in WORDS
    before = read_results(folder / "standard-cpu").verdict
    assert before
    assert before.longer_gap
    shown = [f"{before.cost_ratio:.1f}", f"{100 * before.mean_gap.value:.2f}"]
    shown.append(f"{100 * before.longer_gap.value:+.2f}")
    assert "the first three were {}, {} and {} (".format(*shown) in WORDS


def test_what_is_said_of_sixty_networks_is_in_the_log_of_experiments() -> None:
    page = (ROOT / "docs" / "experiments.md").read_text()

    def taus(row: str, columns: tuple[int, ...]) -> list[str]:
        (line,) = re.findall(rf"^\| {re.escape(row)} \|.*$", page, re.MULTILINE)
        cells = [cell.strip() for cell in line.strip("| ").split("|")]
        return [f"{float(cells[column].split()[0]) + 1e-9:.2f}" for column in columns]

    depth, widths, operations = taus("0", (1, 2, 5))
    assert f"depth (tau {depth};" in WORDS
    assert f"widths ({widths};" in WORDS
    assert f"operations ({operations};" in WORDS
    assert "they have {}, {} and {} there".format(*taus("**0.4**", (1, 2, 5))) in WORDS


def shown_estimate(found: dict[str, float]) -> str:
    return "{:.1f} % ({:.1f} to {:.1f})".format(
        *(100 * found[part] for part in ("value", "low", "high"))
    )


def test_the_numbers_of_the_network_of_ones_own_are_those_of_its_record() -> None:
    assert f"{OWN['best']}" in WORDS
    assert f"{OWN['macs'] / 1e6:.2f} million" in WORDS
    assert f"{OWN['macs_of_largest'] / 1e6:.1f} million" in WORDS
    assert f"{shown_estimate(OWN['inherited'])} with the shared weights" in WORDS
    assert f"{shown_estimate(OWN['tuned'])} after" in WORDS
    assert f"{OWN['cpu_s']:.0f} CPU seconds" in WORDS
    assert OWN["date"] in WORDS


@pytest.mark.slow
def test_the_network_of_ones_own_is_saved_within_five_cpu_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from own_network import measure

    found = measure(tmp_path, since=time.process_time())
    assert found["cpu_s"] < 300
    assert abs(found["tuned"]["value"] - OWN["tuned"]["value"]) < 0.02
    assert found["macs"] <= 1e6
    saved = sn.load(tmp_path / "my-model")
    assert saved(torch.zeros(1, 1, 28, 28)).shape == (1, 10)
    assert all(type(module).__module__.startswith("torch.") for module in saved.modules())


def test_the_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert cited["version"] == project["version"]
    assert cited["license"] == project["license"]
    assert [author["name"] for author in cited["authors"]] == [
        author["name"] for author in project["authors"]
    ]


def test_other_libraries_are_dated_as_on_their_page() -> None:
    page = (ROOT / "docs" / "other-libraries.md").read_text()
    dated = dict(
        re.findall(r"^\| `([\w-]+)`[^|]*\|[^|]*\| (\d{4}-\d\d)-\d\d \|", page, re.MULTILINE)
    )
    names = {"OFA": "ofa", "NNI": "nni", "MMRazor": "mmrazor", "ModelOpt": "nvidia-modelopt"}
    names["whittle"] = "whittle"
    rows = re.findall(r"^\| \[(\w+)\]\(https:[^|]*\| (\d{4}-\d\d) \|", README, re.MULTILINE)
    assert {names[name]: month for name, month in rows} == dated


def test_the_tree_names_every_file() -> None:
    package = ROOT / "src" / "supernet"
    command = [sys.executable, str(ROOT / "tools" / "show_tree.py")]
    shown = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=HANG_S
    ).stdout
    assert f"```\n{shown}```" in (ROOT / "CONTRIBUTING.md").read_text()
    assert all(path.name in shown for path in package.rglob("*.py") if path.stem != "__init__")


def test_every_link_leads_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    pages.append(ROOT / "benchmarks" / "README.md")
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
