import json
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from supernet.errors import LatencyError
from supernet.evaluation import latency
from supernet.evaluation.latency import LatencyTable, load_latency, measure_latency
from supernet.nn.choices import Depth
from supernet.nn.supernet import Supernet
from tests.conftest import nine

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def table() -> LatencyTable:
    return measure_latency(nine(), SHAPE, rounds=3)


def test_every_piece_is_measured_and_every_architecture_predicted(table: LatencyTable) -> None:
    supernet = nine()
    cost = table.cost_of(supernet)
    assert len(table.works) == 7  # stem, one and one block, one in between, and three of the head
    assert all(value > 0 for value in table.works.values())
    assert all(cost(arch) > 0 for arch in supernet.space)
    assert cost(supernet.space.largest) > cost(supernet.space.smallest)
    assert table.threads == 1
    assert not table.check.held_out  # nine networks are too few to leave some out
    assert table.check.networks == 9


def test_a_table_is_what_was_saved(table: LatencyTable, tmp_path: Path) -> None:
    assert load_latency(table.save(tmp_path / "latency.json")) == table


def test_a_table_of_something_else_is_refused(table: LatencyTable) -> None:
    other = Supernet(nn.Sequential(Depth("block", [nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)])))
    with pytest.raises(LatencyError, match="it is of another search space; measure again"):
        table.cost_of(other)
    with pytest.raises(LatencyError, match=r"it lacks \d+ pieces of work of this network"):
        table.cost_of(nine(widths=(5, 3)))
    elsewhere = replace(table, device={**table.device, "processor": "abacus"})
    with pytest.raises(LatencyError, match="processor was abacus, and is"):
        elsewhere.cost_of(nine())
    assert elsewhere.cost_of(nine(), any_device=True)(nine().space.smallest) > 0
    older = replace(table, versions={"torch": "1.0"})
    with pytest.raises(LatencyError, match=r"torch was 1\.0, and is"):
        older.cost_of(nine())


def _drop(content: dict[str, object]) -> None:
    del content["works"]


def _rename(content: dict[str, object]) -> None:
    content["format"] = 99


def _infinite(content: dict[str, object]) -> None:
    content["factor"] = "fast"


@pytest.mark.parametrize("change", [_drop, _rename, _infinite])
def test_a_damaged_table_is_refused(
    table: LatencyTable, tmp_path: Path, change: Callable[[dict[str, object]], None]
) -> None:
    path = table.save(tmp_path / "latency.json")
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(LatencyError, match="is no latency table, or is damaged"):
        load_latency(path)


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("[]")
    for name in ("list", "missing", "."):
        with pytest.raises(LatencyError):
            load_latency(tmp_path / name)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"runtime": "abacus"}, "unknown runtime 'abacus'; known are torch and onnxruntime"),
        ({"batch": 0}, "batch is 0"),
        ({"fitted": 7}, "fitted is 7; it must be at least 8"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(LatencyError, match=message):
        measure_latency(nine(), SHAPE, **settings)  # type: ignore[arg-type]


def test_the_two_coefficients_mend_a_bias() -> None:
    rng = np.random.default_rng(0)
    sums = rng.uniform(1, 3, 24)
    measured = 1.2 * sums + 0.3
    factor, constant = latency._fit(sums[:8], measured[:8])
    assert factor == pytest.approx(1.2)
    assert constant == pytest.approx(0.3)
    check = latency._check(sums[8:], factor, constant, measured[8:], measured[8:], True)
    assert check.median_error == pytest.approx(0)
    assert check.tau == 1.0
    assert check.networks == 16
    assert latency._fit(sums, sums - 0.5)[1] == 0.0  # a negative constant makes no sense


def test_slow_moments_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, moments = [0.0], iter(range(10**6))
    monkeypatch.setattr(time, "thread_time", lambda: clock[0])

    def one_second_mostly() -> None:
        clock[0] += 9.0 if next(moments) % 5 == 0 else 1.0

    (found,) = latency._measure([one_second_mostly], 20, random.Random(0), lambda done: None)
    assert found == 1_000.0  # milliseconds


@pytest.mark.slow
def test_onnxruntime_is_measured_too() -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    found = measure_latency(nine(), SHAPE, runtime="onnxruntime", rounds=3)
    assert found.versions["onnxruntime"]
    assert all(found.cost_of(nine())(arch) > 0 for arch in nine().space)


def test_pieces_are_measured_cold_and_whole_networks_warm() -> None:
    calls: list[str] = []
    runs = [lambda name=name: calls.append(name) for name in "abc"]
    latency._measure(runs, 3, random.Random(0), lambda done: None, cold=True)
    # Twice beforehand, then once in each of three times as many rounds: never after itself, but
    # where a round begins with what the one before ended with.
    assert [calls.count(name) for name in "abc"] == [2 + 9] * 3
    rounds = [calls[at : at + 3] for at in range(6, len(calls), 3)]
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    calls.clear()
    latency._measure(runs, 3, random.Random(0), lambda done: None)
    assert all(calls.count(name) >= 2 + 3 * 2 for name in "abc")
