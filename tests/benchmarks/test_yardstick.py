"""The yardstick's programs, at a size that says nothing about anything."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TINY = ["--spaces", "widths", "--networks", "2", "--train", "64", "--scored", "50"]


@pytest.fixture(autouse=True)
def _programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def made_up(path: Path, noise: float) -> list[dict[str, Any]]:
    """Write a table of 30 networks whose accuracy follows from their layers and one choice."""
    rng = np.random.default_rng(0)
    lines = []
    for number in range(30):
        arch = {"op": number % 3, "depth": number // 3}
        for seed in range(2):
            accuracy = 0.5 + 0.03 * (number // 3) + 0.02 * (number % 3) + noise * rng.normal()
            lines.append(
                {"space": "depth", "arch": arch, "seed": seed, "layers": 1 + number // 3}
                | {"macs": 100 + number // 3, "params": 10, "accuracy": accuracy}
                | {"loss": -accuracy, "cpu_s": 1.0}
            )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return lines


def test_what_is_there_is_not_trained_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from yardstick.__main__ import main

    out = tmp_path / "table.jsonl"
    main([*TINY, "--seeds", "0", "--epochs", "1", "--out", str(out)])
    first = out.read_text()
    main([*TINY, "--seeds", "0", "--epochs", "1", "--out", str(out)])
    assert out.read_text() == first
    assert len(first.splitlines()) == 2
    assert "widths: 2 networks" in capsys.readouterr().out


def test_a_rule_trains_with_the_same_steps_under_every_seed(tmp_path: Path) -> None:
    from rankings import main
    from yardstick.lines import read

    out = tmp_path / "rankings.jsonl"
    main([*TINY, "--train", "1280", "--seconds", "0.1", "--seeds", "0", "1", "--out", str(out)])
    first, second = read(out)
    assert first["steps"] == second["steps"]
    assert len(first["accuracy"]) == len(first["loss"]) == 2


def test_corrections_find_what_labels_tell(tmp_path: Path) -> None:
    from yardstick.judging import best_trivial, judge_corrections, judge_ranking
    from yardstick.table import table_of

    made_up(tmp_path / "table.jsonl", noise=0.001)
    table = table_of(tmp_path / "table.jsonl", "depth")
    assert best_trivial(table) == "macs"
    assert judge_ranking(table, table.truth).tau == pytest.approx(1)
    assert judge_ranking(table, table.truth).regret == 0
    useless = np.random.default_rng(1).normal(size=30)
    found = judge_corrections(table, {"accuracy": useless, "loss": useless}, draws=3)
    taus = {(row["labels"], row["by"]): float(str(row["tau"])) for row in found}
    assert taus[20, "corrected"] > 0.9 > taus[20, "uncorrected loss"]


def test_a_ridge_predicts_a_linear_function() -> None:
    from yardstick.judging import ridge

    x = np.random.default_rng(0).normal(size=(50, 3))
    y = x @ np.array([1.0, 2.0, 3.0])
    assert np.abs(ridge(x, np.arange(20), y[:20]) - y).max() < 0.05
