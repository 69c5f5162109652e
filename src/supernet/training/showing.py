"""Progress display for trainings started from Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from supernet.records import ACCURACY, Measure, Progress
from supernet.report.progress import watching


@contextmanager
def showing(
    wanted: bool | None, name: str, measure: Measure = ACCURACY
) -> Iterator[Callable[[Progress], None]]:
    """Show the progress of a training inside the block.

    Args:
        wanted: Whether to: a bar in a terminal or a notebook, a line per epoch elsewhere. None for
            only where there is a bar.
        name: What to call it.
        measure: What its scores are.

    Yields:
        What to call with its progress.
    """
    console = Console(stderr=True)
    bar = console.is_terminal or console.is_jupyter
    if not (bar if wanted is None else wanted):
        yield lambda _: None
        return
    with watching({name: 1}, console, measure) as watch:
        yield lambda progress: watch(name, progress)
