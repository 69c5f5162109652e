"""The examples run as their first lines say, from the command line and as scripts, small."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from supernet.runs.folder import read_results
from tests.faults.runs import call

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = ["--epochs=1", "--batch-size=8", "--train-images=24", "--validation-images=10"]
SMALL += ["--test-images=10", "--calibration-images=8"]
NAMES = ["tabular_regression", "segmentation", "image_folder", "text_transformer"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name in ("dark", "bright"):
        (folder / name).mkdir()
        for number in range(40):
            pixels = rng.integers(0, 100, (16, 16, 3), np.uint8) + 100 * (name == "bright")
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number}.png")
    return folder


def test_every_example_is_short_and_says_its_command() -> None:
    for path in EXAMPLES.glob("*.py"):
        lines = path.read_text().splitlines()
        assert len(lines) <= 40
        assert "supernet train --net" in path.read_text()


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs_from_the_command_line(name: str, pictures: Path, tmp_path: Path) -> None:
    source = EXAMPLES / f"{name}.py"
    asked = {
        "tabular_regression": [f"--data={source}:load", "--task=regression"],
        "segmentation": [f"--data={source}:load", "--task=dense"],
        "image_folder": [f"--data={pictures}"],
        "text_transformer": [f"--data={source}:load", "--task=next token", "--optimizer=adamw"],
    }[name]
    net = ["--net", f"{source}:build", "--learning-rate=0.01"]
    code, _, told = call("train", *net, *asked, *SMALL, "--out", tmp_path / "run")
    assert code == 0, told
    results = read_results(tmp_path / "run")
    sizes = {"tabular_regression": 4, "segmentation": 2, "image_folder": 9, "text_transformer": 8}
    assert len(results.architectures) == sizes[name]
    units = {"tabular_regression": "", "text_transformer": "nats"}
    assert results.measure.unit == units.get(name, "%")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs_as_a_script(
    name: str,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [name, str(pictures)])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    told = capsys.readouterr().out
    assert ("SHA-256" if name == "text_transformer" else "Architecture(") in told
