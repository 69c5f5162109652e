"""The yardstick's programs, at a size that says nothing about anything."""

import functools
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
    monkeypatch.setattr("yardstick.supernets.TRIED", 4)  # how long a step takes tells nothing here
    monkeypatch.setattr("yardstick.supernets.TURNS", 1)


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


@pytest.mark.parametrize(
    ("rule", "supernets", "steps"),
    [("few-shot 2, 0.5, rate 1.0", 2, 156), ("2 members", 2, 160), ("late", 5, 160)],
)
def test_several_supernets_share_the_steps_of_one(rule: str, supernets: int, steps: int) -> None:
    """Some go into whole epochs, of a common supernet and each of the parts."""
    from yardstick.data import load
    from yardstick.rules import RULES
    from yardstick.spaces import SPACES, sample
    from yardstick.supernets import score_all, train_supernets

    data, archs = load(3000, 50), sample(SPACES["depth"](0), 4)
    found, told = train_supernets("depth", RULES[rule], 0, data, 160)
    assert len(found) == supernets
    assert told["steps"] + told.get("dividing", 0) == pytest.approx(steps, abs=4)
    each = [score_all([one], own, data, 50) for one in found if (own := _own(one, archs))]
    together = score_all(found, archs, data, 50)
    if rule == "few-shot 2, 0.5, rate 1.0":
        assert sorted(loss for one in each for loss in one["loss"]) == sorted(together["loss"])
    else:
        mean = np.mean([one["loss"] for one in each], axis=0)
        assert together["loss"] == pytest.approx(mean.tolist(), abs=1e-4)


def _own(supernet: Any, archs: Any) -> list[Any]:
    return [arch for arch in archs if arch in supernet.space]


def test_picks_are_judged_by_seeds_that_gave_no_label(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from picks import main as picks
    from rankings import main as rankings
    from yardstick.__main__ import main as table
    from yardstick.data import load
    from yardstick.lines import read

    monkeypatch.setattr("picks.DRAWS", 2)
    cached = functools.cache(load)
    for program in ("picks", "rankings", "yardstick.__main__"):
        monkeypatch.setattr(f"{program}.load", cached)
    few = [*TINY[:2], "--networks", "8", "--train", "512", "--scored", "50"]
    files = {name: tmp_path / name for name in ("table", "hits", "rankings", "out")}
    tiny = [*few, "--train", "64"]
    table([*tiny, "--seeds", "0", "1", "--epochs", "1", "--out", str(files["table"])])
    table([*tiny, "--seeds", "2", "--epochs", "1", "--hits", "--out", str(files["hits"])])
    rankings([*few, "--seeds", "0", "--seconds", "0.1", "--out", str(files["rankings"])])
    rankings([*few, "--seeds", "0", "--naswot", "--out", str(files["rankings"])])
    parts = [f"--{name}={files[name]}" for name in files]
    picks([*few, "--seconds", "0.1", "--seeds", "0", *parts])
    picks([*few, "--report", *parts])
    (line,) = read(files["out"])
    assert len(line["tuned"]) == 8
    assert line["tuned"][0] == int(np.argmin(line["loss"]))
    assert line["verdicts"]["loss"]["advantage"]
    assert "best of 5 by loss, trained on" in capsys.readouterr().out


def test_the_best_of_all_is_picked_without_a_loss_only_if_seeds_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from picks import what_picks_cost
    from yardstick.table import table_of

    monkeypatch.setattr("picks.DRAWS", 2)
    made_up(tmp_path / "table.jsonl", noise=0.0)
    table = table_of(tmp_path / "table.jsonl", "depth")
    useless = np.random.default_rng(1).permutation(30.0 + np.arange(30))
    run = {"accuracy": useless.tolist(), "loss": (1 / useless).tolist()}
    run |= {"tuned": [3, 4], "tuned_accuracy": [50.0, 60.0], "tuned_cpu_s": 6.0}
    seeds = np.vstack([table.accuracies, table.accuracies[:1]])
    found = what_picks_cost(table, seeds, run, alone=2.0)
    assert found["best of all, trained alone"] == pytest.approx((0, 0, 60))
    assert found["first by the best trivial ranking"][2] == 0
    lacks = float(table.truth.max() - table.truth[int(np.argmax(useless))])
    assert found["first by loss"] == pytest.approx((lacks, lacks, 0))
    lacks = float(table.truth.max() - table.truth[4])
    assert found["best of 5 by loss, trained on"] == pytest.approx((lacks, lacks, 6))
    assert found["best of 20 at random, trained alone"][2] == 40
    noise = np.random.default_rng(2).normal(0, 30, (3, 30))
    noisy = what_picks_cost(table, table.truth + noise, run, alone=2.0)
    assert noisy["best of all, trained alone"][0] > 5
