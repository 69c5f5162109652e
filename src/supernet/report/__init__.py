"""Figures, tables and page of a run, made from its records alone.

    write_report(results, folder)    figures/*.svg and *.png, report.html, results.csv
    plot(results, folder)            the figures only
    print_results(results, console)  the table and the verdict, for a terminal

matplotlib and jinja2 are imported when they are first needed, so importing this package is cheap.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from supernet.records import Results

__all__ = ["plot", "print_results", "write_report"]


def write_report(results: Results, folder: str | Path) -> list[Path]:
    """Write the figures, `report.html` and `results.csv` into `folder`.

    Each file appears whole or not at all, and the same results give the same bytes. What a partial
    run has no data for is left out.

    Returns:
        The files written, the page first.

    Raises:
        RunFolderError: If a file can't be written.
    """
    from supernet.report.csvfile import to_csv
    from supernet.report.figures.collection import render_all
    from supernet.report.page import to_html
    from supernet.runs.files import write

    folder = Path(folder)
    figures = render_all(results)
    page = to_html(results, {name: images["svg"] for name, images in figures.items()})
    written = [
        write(folder / "report.html", page.encode()),
        write(folder / "results.csv", to_csv(results).encode()),
    ]
    return written + _write_figures(figures, folder)


def plot(results: Results, folder: str | Path) -> list[Path]:
    """Write the figures alone into `folder / "figures"`, each as SVG and PNG.

    Raises:
        RunFolderError: If a file can't be written.
    """
    from supernet.report.figures.collection import render_all

    return _write_figures(render_all(results), Path(folder))


def print_results(results: Results, console: Console) -> None:
    """Print the comparison table and the sentences of the verdict, within 80 columns."""
    from supernet.report.terminal import show

    show(results, console)


def _write_figures(figures: dict[str, dict[str, bytes]], folder: Path) -> list[Path]:
    from supernet.runs.files import write

    return [
        write(folder / "figures" / f"{name}.{suffix}", content, root=folder)
        for name, images in figures.items()
        for suffix, content in images.items()
    ]
