"""The script at the root, at toy size."""

import runpy
from pathlib import Path

import pytest

import supernet as sn
from tests.experiments.tinyruns import write_data

SCRIPT = Path(__file__).resolve().parents[1] / "main.py"


def test_the_script_is_short() -> None:
    lines = SCRIPT.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100


def test_the_script_leaves_figures_table_and_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = runpy.run_path(str(SCRIPT), run_name="not main")
    data = sn.load_idx(write_data(tmp_path / "data"), validation=60).limit(train=320)

    def new_net(seed: int) -> sn.Supernet:
        net = sn.build_mnist_net(seed=seed, classes=3, shape=(1, 8, 8), widths=(4, 3), longest=2)
        return sn.Supernet(net)

    out = tmp_path / "out"
    recipe = sn.Recipe(epochs=1, batch_size=32)
    script["main"](new_net, data, recipe, out)
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert {"report.html", "results.csv", "figures/agreement.svg", "figures/agreement.png"} <= names
    said = capsys.readouterr().out
    assert "trained (2, 2) alone: " in said
    assert "Kendall tau" in said


def test_the_script_builds_the_network_of_the_experiment() -> None:
    script = runpy.run_path(str(SCRIPT), run_name="not main")
    one, other = script["mnist_supernet"](0), script["mnist_supernet"](1)
    assert one.space.size == 9
    assert one.space == other.space
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    assert any(not (a == b).all() for a, b in pairs)
