"""The notebooks run from top to bottom, and what is saved in them is what they give."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nbformat
import pytest
from matplotlib.figure import Figure
from nbclient import NotebookClient

import supernet as sn
from supernet import Recipe
from supernet.errors import UntrainedWarning
from tests.docs.blocks import make_small
from tests.limits import HANG_S

NOTEBOOKS = sorted((Path(__file__).parents[2] / "examples").glob("*.ipynb"))


def code_cells(path: Path) -> list[Any]:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell: Any) -> list[str]:
    """What a cell puts out: the richest form of each output, progress left out."""
    found = []
    for output in cell.outputs:
        if output.output_type == "stream":
            found.append(output.name)
        elif "<progress" not in output.data.get("text/html", ""):
            found.append(sorted(output.data)[0])
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_saved_as_it_ran(path: Path) -> None:
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    shown = [kind for cell in cells for kind in kinds(cell)]
    assert {"image/png", "text/html", "stdout"} <= set(shown)
    assert "stderr" not in shown
    assert path.stat().st_size < 500_000


@pytest.mark.filterwarnings(f"ignore::{UntrainedWarning.__module__}.{UntrainedWarning.__name__}")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_small(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Figure] = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.gcf()))
    names = make_small(monkeypatch, tmp_path)
    names.clear()  # a notebook makes all that it uses
    monkeypatch.setattr(sn, "Recipe", lambda epochs, **rest: Recipe(epochs=1, **rest))
    for cell in code_cells(path):
        exec(compile(cell.source, path.name, "exec"), names)
    plt.close("all")
    assert len(shown) > 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what runs notebooks
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_gives_what_is_saved_in_it(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        resources={"metadata": {"path": str(tmp_path)}},
        startup_timeout=int(HANG_S),
        timeout=int(HANG_S),
    )
    client.execute()
    ran = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [kinds(cell) for cell in ran] == [kinds(cell) for cell in code_cells(path)]
