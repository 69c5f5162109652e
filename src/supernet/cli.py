"""The command line: parse, call one function, say where the result is. No torch at import.

Exit codes: 0 fine; 2 a wrong option or setting; 3 data; 4 the run folder; 5 training diverged;
6 a worker process failed; 1 anything else; 130 Ctrl-C; 143 terminated.
"""

from __future__ import annotations

import inspect
import io
import json
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, get_args

import typer
import yaml
from rich.console import Console
from rich.table import Table

from supernet.errors import (
    DataError,
    DivergedError,
    RunFolderError,
    SettingsError,
    SupernetError,
    WorkerError,
)
from supernet.progress import waiting, watching
from supernet.settings import PRESETS, Settings, resolve_settings, to_options

if TYPE_CHECKING:
    from supernet.experiment import Plan
    from supernet.records import Progress, Results
    from supernet.runfolder import RunFolder
    from supernet.trials import Trial

EXIT_CODES: dict[type[Exception], int] = {
    SettingsError: 2,
    DataError: 3,
    RunFolderError: 4,
    DivergedError: 5,
    WorkerError: 6,
}

_ENDINGS: dict[int, tuple[str, int]] = {
    signal.SIGINT: ("stopped by Ctrl-C", 130),
    signal.SIGTERM: ("terminated", 143),
}

#: Programs such as timeout(1) send a signal twice; what comes so soon after it is the same one.
_ONE_SIGNAL_S = 0.5

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
    _heed_signals()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()  # wrong usage, and a reader who has gone, are seen to in there
    except _Stopped as stop:
        _fail("; ".join([str(stop), *getattr(stop, "__notes__", [])]), stop.code)
    except SupernetError as error:
        codes = (code for kind, code in EXIT_CODES.items() if isinstance(error, kind))
        _fail(str(error), next(codes, 1))


class _Stopped(BaseException):
    """A signal asked for the end."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code


def _heed_signals() -> None:
    """Let a signal stop what is going on in good order, and a second one end it at once."""
    first: list[float] = []

    def stop(signum: int, frame: object) -> None:
        sentence, code = _ENDINGS[signum]
        if not first:
            first.append(time.monotonic())
            raise _Stopped(sentence, code)
        if time.monotonic() - first[0] > _ONE_SIGNAL_S:
            os._exit(code)

    for number in _ENDINGS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and `&` have it
            signal.signal(number, stop)


def _fail(sentence: str, code: int) -> NoReturn:
    Console(stderr=True).out(f"supernet: {sentence}", highlight=False)
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

        typer.echo(f"supernet {__version__}")
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
    from supernet.report import write_report
    from supernet.runfolder import read_results

    results = read_results(run)
    files = write_report(results, run)
    if as_json:
        _print_json({"folder": str(run), "files": [str(file) for file in files]})
        return
    _show_results(results, run)


def _run(
    command: str, preset: str, settings: Settings, out: Path | None, dry_run: bool, as_json: bool
) -> None:
    console = Console(stderr=True)
    with waiting("loading PyTorch and the data", console):
        from supernet import experiment
        from supernet.process import set_up_process

        set_up_process(threads=settings.threads)
        plan = experiment.plan(settings, standalone=command == "compare")
    if dry_run:
        _show_plan(plan, experiment.measure_speed(plan), as_json)
        return
    from supernet.runfolder import RunFolder

    folder = RunFolder.create(out or _new_folder(command, preset))
    console.out(f"run folder: {folder.path}", highlight=False)
    with _ending_noted(folder):
        folder.write("config.yaml", _to_yaml(settings).encode())
        jobs = [job.name for job in plan.jobs]
        folder.log("started", command=_command(), preset=preset, jobs=jobs)
        results = _carry_out(plan, folder, console)
        folder.log("finished")
    if as_json:
        _print_json(json.loads(results.model_dump_json()))  # which has a word for NaN
    else:
        _show_results(results, folder.path)


def _carry_out(plan: Plan, folder: RunFolder, console: Console) -> Results:
    """Train, judge, and write it all into the folder."""
    from supernet import experiment
    from supernet.report import write_report

    def note_training(name: str, trial: Trial) -> None:
        phases = [phase.model_dump(mode="json") for phase in trial.phases]
        folder.log("trained", job=name, test=trial.training.test, phases=phases)

    with watching({job.name: job.macs for job in plan.jobs}, console) as show:

        def watch(name: str, progress: Progress) -> None:
            if progress.ended:
                folder.log("epoch", job=name, **progress.ended.model_dump(mode="json"))
            show(name, progress)

        outcome = experiment.run(plan, watch=watch, trained=note_training)
    with waiting("judging", console):
        results = experiment.judge(plan, outcome, command=_command())
    for name, content in experiment.files_of(outcome, results).items():
        folder.write(name, content)
    with waiting("drawing figures and writing the page", console):
        write_report(results, folder.path)
    return results


@contextmanager
def _ending_noted(folder: RunFolder) -> Iterator[None]:
    """Leave a last line in the run's events, however the block ends, and say what can be had."""
    from supernet.runfolder import EVENTS, RESULTS

    try:
        yield
    except (_Stopped, SupernetError) as error:
        with suppress(SupernetError):
            details = getattr(error, "__notes__", [])
            folder.log("stopped", reason=str(error), details=details)
        if (folder.path / RESULTS).exists():
            error.add_note(f"`{_program()} {shlex.join(['report', str(folder.path)])}` goes on")
        else:
            error.add_note(f"{folder.path / EVENTS} keeps what was finished")
        raise


def _new_folder(command: str, preset: str) -> Path:
    stamp = datetime.now(UTC).astimezone().strftime("%Y%m%d-%H%M%S")
    name = f"{stamp}-{command}-{preset}"
    names = [name, *(f"{name}-{number}" for number in range(2, 100))]
    return next(path for n in names if not (path := Path("runs") / n).exists())


def _show_results(results: Results, folder: Path) -> None:
    from supernet.report import print_results

    console = Console()
    print_results(results, console)
    console.out(f"\nPage: {folder / 'report.html'}", highlight=False)
    _next(_further(results))


def _further(results: Results) -> list[str]:
    """Return the command that would tell more: the comparison, more seeds, the other sampler."""
    try:
        settings = Settings.model_validate(results.settings)
    except ValueError:  # made in Python, with settings of its own
        return ["compare"]
    changes: dict[str, Any] = {}
    if any(seed.standalone for seed in results.seeds):
        if len(results.seeds) < 3:
            changes["seeds"] = 3
        else:
            changes["sampler"] = "uniform" if settings.sampler == "every" else "every"
    return ["compare", *to_options(settings, **changes)]


def _show_plan(plan: Plan, speed: float, as_json: bool) -> None:
    macs = sum(job.macs for job in plan.jobs)
    seconds = macs / (speed * plan.workers)
    if as_json:
        _print_json(
            {
                "settings": plan.settings.model_dump(),
                "architectures": [arch.model_dump() for arch in plan.architectures],
                "shared_pass": {
                    "images": plan.sharing.samples,
                    "pieces": len(plan.sharing.pieces),
                    "macs": plan.sharing.macs,
                    "macs_apart": plan.sharing.macs_apart,
                    "training_bytes": plan.sharing.training_bytes,
                    "scoring_bytes": plan.sharing.scoring_bytes,
                },
                "trainings": [{"name": job.name, "macs": job.macs} for job in plan.jobs],
                "macs": macs,
                "macs_per_second_and_worker": speed,
                "workers": plan.workers,
                "estimated_seconds": seconds,
            }
        )
        return
    console = Console()
    console.print("Settings", style="bold")
    console.out(_to_yaml(plan.settings), highlight=False)
    table = Table(title="Architectures", title_justify="left", title_style="bold")
    table.add_column("architecture")
    table.add_column("params", justify="right")
    table.add_column("MACs per image", justify="right")
    for arch in plan.architectures:
        table.add_row(arch.label, f"{arch.params:,}", f"{arch.macs:,}")
    console.print(table)
    console.print("One pass over a batch through all architectures", style="bold")
    for line in plan.sharing.lines():
        console.out(line, highlight=False)
    console.print()
    duration = f"{seconds:.0f} seconds" if seconds < 100 else f"{seconds / 60:.0f} minutes"
    console.print(
        f"{len(plan.jobs)} training(s), {macs / 1e12:.2f} T MACs with scoring; about {duration} "
        f"with {plan.workers} worker(s) at the {speed / 1e9:.1f} G MACs/s measured just now on "
        "one, and some seconds to start and to report.",
        highlight=False,
    )
    _next([argument for argument in sys.argv[1:] if argument != "--dry-run"])


def _to_yaml(settings: Settings) -> str:
    return yaml.safe_dump(settings.model_dump(), sort_keys=False)


def _print_json(content: Any) -> None:
    typer.echo(json.dumps(content, indent=2, allow_nan=False))


def _command() -> str:
    return shlex.join(["supernet", *sys.argv[1:]])


def _next(arguments: Sequence[str]) -> None:
    """Print, as the last line, the next command to run, as it can be typed here."""
    Console().out(f"Next: {_program()} {shlex.join(arguments)}", highlight=False)


def _program() -> str:
    """Return how this program can be called here."""
    called = Path(sys.argv[0])
    if called.name != "supernet":
        return f"{shlex.quote(os.path.relpath(sys.executable))} -m supernet"
    on_path = shutil.which("supernet")
    if on_path and called.exists() and called.samefile(on_path):
        return "supernet"
    return shlex.quote(os.path.relpath(called))
