"""The command line: parse, call one function, say where the result is. No torch at import.

Exit codes: 0 fine; 2 a wrong option or setting; 3 data; 4 the run folder; 5 training diverged;
6 a worker process failed; 1 anything else; 130 Ctrl-C; 143 terminated.
"""

from __future__ import annotations

import inspect
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, get_args

import typer
import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from supernet.errors import (
    DataError,
    DivergedError,
    RunFolderError,
    SettingsError,
    SupernetError,
    WorkerError,
)
from supernet.settings import PRESETS, Settings, resolve_settings

if TYPE_CHECKING:
    from supernet.experiment import Plan

EXIT_CODES: dict[type[Exception], int] = {
    SettingsError: 2,
    DataError: 3,
    RunFolderError: 4,
    DivergedError: 5,
    WorkerError: 6,
}

app = typer.Typer(
    help="One-shot architecture search: train one network, rank all in it, check the ranking.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_Preset = Annotated[str, typer.Option(help=f"Settings to start from: {', '.join(PRESETS)}.")]
_Config = Annotated[Path | None, typer.Option(help="YAML file of settings, over the preset's.")]
_Out = Annotated[Path | None, typer.Option(help="Run folder; by default a new one in runs/.")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and stop.")]
_Json = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON, on standard output.")
]


def main() -> None:
    """Run the command line; what goes wrong becomes a sentence and an exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app(standalone_mode=False)
    except typer._click.exceptions.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        _stop("stopped by Ctrl-C; what was finished stands in the run folder's events.jsonl", 130)
    except SupernetError as error:
        codes = (code for kind, code in EXIT_CODES.items() if isinstance(error, kind))
        _stop(str(error), next(codes, 1))


def _terminate(signum: int, frame: object) -> NoReturn:
    _stop("terminated; what was finished stands in the run folder's events.jsonl", 143)


def _stop(sentence: str, code: int) -> NoReturn:
    Console(stderr=True).print(f"supernet: {escape(sentence)}", highlight=False, soft_wrap=True)
    sys.exit(code)


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for every setting, and hand it those that were given, resolved."""

    def resolved(preset: str, config: Path | None, **options: Any) -> None:
        given = {
            name: value
            for name in Settings.model_fields
            if (value := options.pop(name)) is not None
        }
        command(preset=preset, settings=resolve_settings(preset, config, given), **options)

    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[_plain(field.annotation), typer.Option(help=field.description)],
        )
        for name, field in Settings.model_fields.items()
    ]
    own = [
        parameter
        for name, parameter in inspect.signature(command, eval_str=True).parameters.items()
        if name not in ("preset", "settings")
    ]
    first = [
        inspect.Parameter(
            "preset", inspect.Parameter.KEYWORD_ONLY, default="quick", annotation=_Preset
        ),
        inspect.Parameter(
            "config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_Config
        ),
    ]
    signature = inspect.Signature([*first, *own, *parameters])
    resolved.__signature__ = signature  # type: ignore[attr-defined]
    resolved.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    resolved.__doc__ = command.__doc__
    resolved.__name__ = command.__name__
    return resolved


def _plain(annotation: Any) -> Any:
    """Return the optional type typer can parse: int, float, bool or str."""
    kinds = [kind for kind in get_args(annotation) if isinstance(kind, type)]
    if isinstance(annotation, UnionType):
        annotation = next(kind for kind in kinds if kind is not type(None))
    elif not isinstance(annotation, type):
        annotation = str  # a Literal, which the settings check
    return annotation | None


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version, and stop.")
    ] = False,
) -> None:
    if version:
        from supernet import __version__

        Console().print(f"supernet {__version__}", highlight=False)
        raise typer.Exit


@app.command()
@_with_settings
def compare(
    *,
    preset: str,
    settings: Settings,
    out: _Out = None,
    dry_run: _DryRun = False,
    as_json: _Json = False,
) -> None:
    """Train a supernet once and its architectures on their own, and judge the one-shot ranking."""
    _run("compare", preset, settings, out, dry_run, as_json)


@app.command()
@_with_settings
def train(
    *,
    preset: str,
    settings: Settings,
    out: _Out = None,
    dry_run: _DryRun = False,
    as_json: _Json = False,
) -> None:
    """Train the supernet only, and score all its architectures."""
    _run("train", preset, settings, out, dry_run, as_json)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run folder, as `compare` and `train` make them.")],
    *,
    as_json: _Json = False,
) -> None:
    """Make the figures, the table and the page of a run anew, from its records alone."""
    from supernet.report import print_results, write_report
    from supernet.runfolder import read_results

    results = read_results(run)
    files = write_report(results, run)
    if as_json:
        _print_json({"folder": str(run), "files": [str(file) for file in files]})
        return
    console = Console()
    print_results(results, console)
    console.print(f"\nPage: {escape(str(run / 'report.html'))}", highlight=False, soft_wrap=True)
    _next(console, f"compare --seeds {results.settings['seeds']} --seed {results.settings['seed']}")


def _run(
    command: str, preset: str, settings: Settings, out: Path | None, dry_run: bool, as_json: bool
) -> None:
    with _said(Console(stderr=True), "loading PyTorch and the data"):
        from supernet import experiment
        from supernet.process import set_up_process

        set_up_process(threads=settings.threads)
        plan = experiment.plan(settings, standalone=command == "compare")
    console = Console()
    if dry_run:
        speed = experiment.measure_speed(plan)
        _show_plan(plan, speed, console, as_json)
        if not as_json:
            _next(console, shlex.join(arg for arg in sys.argv[1:] if arg != "--dry-run"))
        return

    from supernet.progress import watching
    from supernet.report import print_results, write_report
    from supernet.runfolder import RunFolder

    folder = RunFolder.create(out or _new_folder(command, preset))
    folder.write("config.yaml", yaml.safe_dump(settings.model_dump(), sort_keys=False).encode())
    folder.log("started", command=_command(), preset=preset, jobs=[job.name for job in plan.jobs])
    with watching({job.name: job.macs for job in plan.jobs}, Console(stderr=True)) as show:

        def watch(name: str, progress: Any) -> None:
            if progress.ended:
                folder.log("epoch", job=name, **progress.ended.model_dump())
            show(name, progress)

        outcome = experiment.run(plan, command=_command(), watch=watch)
    for name, content in experiment.files_of(outcome).items():
        folder.write(name, content)
    write_report(outcome.results, folder.path)
    folder.log("finished")
    if as_json:
        _print_json(outcome.results.model_dump(mode="json"))
        return
    print_results(outcome.results, console)
    page = folder.path / "report.html"
    console.print(f"\nPage: {escape(str(page))}", highlight=False, soft_wrap=True)
    _next(console, _advice(command, preset, outcome.results.verdict, settings))


def _advice(command: str, preset: str, verdict: Any, settings: Settings) -> str:
    if command == "train":
        return f"compare --preset {preset}"
    if verdict is not None and settings.seeds == 1:
        return f"compare --preset {preset} --seeds 3"
    return "compare --preset " + ("standard" if preset == "quick" else "quick --sampler uniform")


def _new_folder(command: str, preset: str) -> Path:
    stamp = datetime.now(UTC).astimezone().strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"{stamp}-{command}-{preset}"


def _show_plan(plan: Plan, speed: float, console: Console, as_json: bool) -> None:
    macs = sum(job.macs for job in plan.jobs)
    seconds = macs / (speed * plan.workers)
    if as_json:
        _print_json(
            {
                "settings": plan.settings.model_dump(),
                "architectures": [arch.model_dump() for arch in plan.architectures],
                "trainings": [{"name": job.name, "macs": job.macs} for job in plan.jobs],
                "macs": macs,
                "macs_per_second_and_worker": speed,
                "workers": plan.workers,
                "estimated_seconds": seconds,
            }
        )
        return
    console.print("Settings", style="bold")
    console.print(escape(yaml.safe_dump(plan.settings.model_dump(), sort_keys=False)), end="")
    table = Table(title="Architectures", title_justify="left", title_style="bold")
    table.add_column("architecture")
    table.add_column("params", justify="right")
    table.add_column("MACs per image", justify="right")
    for arch in plan.architectures:
        table.add_row(arch.label, f"{arch.params:,}", f"{arch.macs:,}")
    console.print(table)
    network = plan.network
    console.print(
        f"One pass through all: {network.macs_shared:,} MACs, "
        f"{network.macs_apart / network.macs_shared:.2f} times less than one by one, "
        f"{network.macs_shared / network.macs_largest:.2f} times the largest.",
        highlight=False,
    )
    console.print(
        f"{len(plan.jobs)} training(s), {macs / 1e12:.1f} T MACs with scoring; about "
        f"{max(1, round(seconds / 60))} minute(s) with {plan.workers} worker(s) at the "
        f"{speed / 1e9:.0f} G MACs/s measured just now on one.",
        highlight=False,
    )


@contextmanager
def _said(console: Console, what: str) -> Iterator[None]:
    """Say what is being waited for, and, where there is no terminal, how long it took."""
    start = time.monotonic()
    if console.is_terminal:
        with console.status(what):
            yield
    else:
        yield
    console.print(f"{what}: {time.monotonic() - start:.1f} s", highlight=False)


def _print_json(content: Any) -> None:
    sys.stdout.write(json.dumps(content, indent=2, allow_nan=False) + "\n")


def _command() -> str:
    return shlex.join(["supernet", *sys.argv[1:]])


def _next(console: Console, arguments: str) -> None:
    """Print, as the last line, the next command to run, as it can be typed here."""
    program = sys.argv[0]
    if Path(program).name != "supernet":
        program = f"{os.path.relpath(sys.executable)} -m supernet"
    elif any(Path(folder) == Path(program).parent for folder in os.get_exec_path()):
        program = "supernet"
    else:
        program = os.path.relpath(program)
    console.print(f"Next: {escape(program)} {escape(arguments)}", highlight=False, soft_wrap=True)
