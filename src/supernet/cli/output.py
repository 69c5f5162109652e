"""Output of commands, as text or as JSON, and what to type next."""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from supernet import errors
from supernet.errors import SettingsError
from supernet.experiments.settings import make_settings, settings_beyond, to_options
from supernet.report.wording import count, counted, duration, score, unit_of
from supernet.text import join_command, visible, visible_lines

if TYPE_CHECKING:
    from supernet.experiments.describing import SpaceSummary
    from supernet.experiments.planning import RunPlan
    from supernet.experiments.settings import Settings
    from supernet.records import ArchitectureRecord, Results
    from supernet.runs.status import Status


def say(console: Console, text: str) -> None:
    """Print text that may hold names from elsewhere, as it is but for what steers terminals."""
    console.out(visible_lines(text), highlight=False)


@contextmanager
def telling_warnings(*, quiet: bool = False) -> Iterator[None]:
    """Print the package's own warnings inside the block as sentences, and others as Python does.

    With `quiet`, the package's own are another process's to print.
    """
    with warnings.catch_warnings():
        others = warnings.showwarning

        def tell(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if category.__module__ == errors.__name__:
                if quiet:
                    return
                say(Console(stderr=True), f"supernet: warning: {message}")
            else:
                others(message, category, filename, lineno, file, line)

        warnings.showwarning = tell
        yield


def show_status(status: Status, *, whole: bool) -> None:
    """Print how far a run is; with `whole`, each of its trainings too."""
    console = Console()
    state = {
        "running": f"at work ({status.holder})",
        "stopped": f"stopped: {status.reason}",
        "killed": "killed",
        "finished": "finished",
        "new": "begun",
    }[status.state]
    trained = sum(job.state == "trained" for job in status.jobs)
    say(console, f"{visible(status.folder)}: {state}")
    say(
        console,
        f"  {trained} of {len(status.jobs)} trainings ended, {100 * status.done:.0f} % of the "
        f"steps saved; begun {status.created}, last heard of {status.last_event or 'never'}",
    )
    if whole:
        table = Table(box=None)
        for column in ("training", "saved", "epochs", "validation"):
            table.add_column(column, justify="left" if column == "training" else "right")
        for job in status.jobs:
            scores = [one for one in job.validation if one == one]
            mean = sum(scores) / len(scores) if scores else math.nan
            shown = f"{score(mean, status.measure)} {unit_of(status.measure)}" if scores else ""
            table.add_row(
                escape(visible(job.name)),
                f"{100 * job.done:.0f} %",
                str(job.epochs),
                escape(visible(shown)),
            )
        console.print(table)
    if status.state in ("stopped", "killed", "new"):
        show_next(["resume", as_argument(Path(status.folder))])


def show_spaces(summaries: Iterable[SpaceSummary]) -> None:
    """Print the spaces of the zoo as a table."""
    table = Table(box=None, pad_edge=False)
    table.add_column("space", no_wrap=True)
    table.add_column("samples", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    for column in ("params", "MACs"):
        table.add_column(column, justify="right")
    for summary in summaries:
        size = f"{summary.size:,}" if summary.size < 1e9 else f"{summary.size:.1e}"
        shape = "x".join(map(str, summary.shape))
        params, macs = (" to ".join(map(count, ends)) for ends in (summary.params, summary.macs))
        table.add_row(summary.name, shape, size, params, macs)
    Console().print(table)
    show_next(["describe", "--net=NAME"])


def show_results(results: Results, folder: Path) -> None:
    """Print the results of a run, where its page is, and which command to run next."""
    from supernet.report import print_results

    console = Console()
    print_results(results, console)
    say(console, f"\nPage: {visible(str(folder / 'report.html'))}")
    show_next(suggest_next(results))


def suggest_next(results: Results) -> list[str]:
    """Return the command that would tell more: the comparison, more seeds, the other sampler."""
    try:
        settings = make_settings(results.settings)
    except SettingsError:  # made in Python, with settings of its own
        return ["compare"]
    changes: dict[str, Any] = {}
    if any(seed.standalone for seed in results.seeds):
        if len(results.seeds) < 3:
            changes["seeds"] = 3
        else:
            changes["sampler"] = "every" if settings.sampler.name == "uniform" else "uniform"
    return ["compare", *to_options(settings, **changes)]


def _some(records: Sequence[ArchitectureRecord], most: int = 20) -> Sequence[ArchitectureRecord]:
    """Return architectures for a table: all, or those at even steps from first to last."""
    if len(records) <= most:
        return records
    return [records[round(step * (len(records) - 1) / (most - 1))] for step in range(most)]


def show_plan(plan: RunPlan, speed: float, preset: str, as_json: bool) -> None:
    """Print how long a run will take at a measured speed, and what it will do."""
    macs = sum(job.macs for job in plan.jobs)
    seconds = plan.seconds(speed)
    if as_json:
        print_json(
            {
                "settings": plan.settings.flat(),
                "architectures": [arch.model_dump() for arch in plan.architectures],
                "shared_pass": {
                    "images": plan.sharing.samples,
                    "pieces": len(plan.sharing.pieces),
                    "macs": plan.sharing.macs,
                    "macs_apart": plan.sharing.macs_apart,
                    "training_bytes": plan.sharing.training_bytes,
                    "scoring_bytes": plan.sharing.scoring_bytes,
                },
                "trainings": [
                    {"name": job.name, "macs": job.macs, "seconds": job.seconds}
                    for job in plan.jobs
                ],
                "macs": macs,
                "macs_per_second_and_worker": speed,
                "workers": plan.workers,
                "estimated_seconds": seconds,
            }
        )
        return
    console = Console()
    budgets = sum(job.seconds or 0 for job in plan.jobs)
    budget = f"{budgets:g} CPU seconds of the supernet's steps, and " if budgets else ""
    console.print(
        f"About {duration(seconds)} for {counted(len(plan.jobs), 'training')} with "
        f"{counted(plan.workers, 'worker')}: "
        f"{budget}{macs / 1e12:.2f} T MACs with scoring, at {speed / 1e9:.1f} G MACs/s as measured "
        "just now on one worker.",
        highlight=False,
    )
    _show_changes(plan.settings, preset, console)
    table = Table(
        title=f"Architectures: {len(plan.architectures)} scored, {len(plan.alone)} trained alone",
        title_justify="left",
        title_style="bold",
        box=None,
    )
    table.add_column("architecture", overflow="fold")
    table.add_column("params", justify="right")
    table.add_column("MACs/image", justify="right")
    for arch in _some(plan.architectures):
        table.add_row(escape(visible(arch.label)), f"{arch.params:,}", f"{arch.macs:,}")
    console.print()
    console.print(table)
    console.print("\nOne pass over a batch through all architectures", style="bold")
    for line in plan.sharing.lines():
        say(console, line)
    show_next([argument for argument in sys.argv[1:] if argument != "--dry-run"])


def _show_changes(settings: Settings, preset: str, console: Console) -> None:
    changes = settings_beyond(preset, settings)
    if not changes:
        console.print(f"Settings: all as in the preset {preset}.", highlight=False)
        return
    console.print(f"\nSettings that differ from the preset {preset}", style="bold")
    for name, value in changes.items():
        text = "unset" if value is None else json.dumps(value, ensure_ascii=False)
        say(console, f"  {name}: {text}")


def print_json(content: Any) -> None:
    """Print one JSON document."""
    typer.echo(json.dumps(content, indent=2, allow_nan=False))


def command_line() -> str:
    """Return the command line of this process, as text that a record can hold."""
    command = shlex.join(["supernet", *sys.argv[1:]])
    return command.encode(errors="backslashreplace").decode()  # records are UTF-8


def as_argument(path: Path) -> str:
    """Return a path that is not taken for an option."""
    return f"./{path}" if str(path).startswith("-") else str(path)


def show_next(arguments: Sequence[str]) -> None:
    """Print, as the last line, the next command to run, as it can be typed here."""
    say(Console(), f"Next: {program_name()} {join_command(arguments)}")


def program_name() -> str:
    """Return how this program can be called here."""
    called = Path(sys.argv[0])
    if called.name != "supernet":
        return f"{join_command([os.path.relpath(sys.executable)])} -m supernet"
    on_path = shutil.which("supernet")
    if on_path and called.exists() and called.samefile(on_path):
        return "supernet"
    return join_command([os.path.relpath(called)])
