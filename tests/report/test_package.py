import subprocess
import sys
from pathlib import Path

import pytest

from supernet.records import Results
from supernet.report import plot, write_report
from supernet.report.figures.collection import FIGURES, available
from tests.report.samples import sample_results


@pytest.fixture(scope="module")
def results() -> Results:
    return sample_results(seeds=2, epochs=2, longer=True)


@pytest.fixture(scope="module")
def written(results: Results, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_report(results, tmp_path_factory.mktemp("run"))


def test_writes_page_table_and_every_figure_in_both_formats(written: list[Path]) -> None:
    folder = written[0].parent
    names = {str(path.relative_to(folder)) for path in written}
    figures = {f"figures/{name}.{suffix}" for name in FIGURES for suffix in ("svg", "png")}
    assert names == {"report.html", "results.csv"} | figures
    assert {path for path in folder.rglob("*") if path.is_file()} == set(written)


def test_same_results_same_bytes(written: list[Path], results: Results, tmp_path: Path) -> None:
    again = write_report(results, tmp_path)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in written]


def test_a_run_without_standalone_networks_leaves_out_what_compares(tmp_path: Path) -> None:
    results = sample_results(epochs=1, standalone=False)
    written = {path.stem for path in write_report(results, tmp_path)}
    assert written == {
        "report", "results", "supernet", "one_shot_progress", "cost",
    }  # fmt: skip


def test_standalone_networks_without_a_verdict_are_shown(tmp_path: Path) -> None:
    results = sample_results(epochs=1, verdict=False)
    assert available(results) == list(FIGURES)
    assert write_report(results, tmp_path)


def test_plot_writes_the_figures_only(tmp_path: Path) -> None:
    written = plot(sample_results(epochs=1, standalone=False), tmp_path)
    assert {path.parent for path in written} == {tmp_path / "figures"}


def test_importing_is_cheap_and_a_report_needs_no_torch_and_changes_no_settings(
    tmp_path: Path,
) -> None:
    code = f"""
import sys, pathlib
import supernet.report
heavy = {{"torch", "matplotlib", "jinja2", "rich"}}
assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
import matplotlib
before = matplotlib.rcParams.copy()
from tests.report.samples import sample_results
results = sample_results(epochs=1, depths=(2, 2))
supernet.report.write_report(results, pathlib.Path({str(tmp_path)!r}))
assert not {{"torch", "matplotlib.pyplot"}} & sys.modules.keys()
assert matplotlib.rcParams.copy() == before
"""
    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        cwd=root,
        env={"PYTHONPATH": f"{root / 'src'}:{root}", "PATH": "", "MPLCONFIGDIR": str(tmp_path)},
    )
