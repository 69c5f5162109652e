"""What docs/export.md shows runs."""

import re
from pathlib import Path

import pytest
from PIL import Image

import supernet as sn
from supernet.experiments.extraction import FILES
from supernet.export.card import CARD, CONFIG, SOURCE, WEIGHTS
from tests.conftest import nine, tiny_data

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "export.md").read_text()


def test_the_code_shown_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("L", (8, 8), 7).save("picture.png")
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    supernet = nine()
    names = {"sn": sn, "supernet": supernet, "arch": supernet.space.smallest, "data": tiny_data()}
    exec(compile(code, "export.md", "exec"), names)
    assert (tmp_path / "my-model" / "model.py").exists()


def test_every_file_of_a_model_folder_is_in_the_table() -> None:
    for name in (CARD, CONFIG, SOURCE, WEIGHTS, *FILES.values()):
        assert f"`{name}`" in PAGE


def test_what_was_not_run_says_so() -> None:
    recipes = re.findall(r"^    # (OpenVINO|ExecuTorch|LiteRT)(.*)$", PAGE, re.MULTILINE)
    assert len(recipes) == 3
    assert all(rest.startswith(" (not run)") for _, rest in recipes)
