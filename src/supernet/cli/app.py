"""The command line: parse, call one function, say where the result is. No torch at import.

Exit codes: 0 fine; 2 a wrong option or setting; 3 data; 4 the run folder; 5 training diverged;
6 a worker process failed; 1 anything else; 130 Ctrl-C; 143 terminated.
"""

from __future__ import annotations

import inspect
import io
import json
import logging
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, get_args

import typer
import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from supernet.errors import (
    CheckpointError,
    DataError,
    DivergedError,
    RunFolderError,
    SettingsError,
    SupernetError,
    WorkerError,
)
from supernet.experiments.settings import PRESETS, Settings, resolve_settings, to_options
from supernet.report.progress import waiting
from supernet.runs.lock import require_free

if TYPE_CHECKING:
    from supernet.experiments.execution import Plan
    from supernet.experiments.running import Run
    from supernet.records import Manifest, Results
    from supernet.runs.status import Status

EXIT_CODES: dict[type[Exception], int] = {
    SettingsError: 2,
    DataError: 3,
    RunFolderError: 4,
    CheckpointError: 4,
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
_Resume = Annotated[
    bool,
    typer.Option(
        "--resume/--no-resume",
        help="Go on with a run that the same command began and that was stopped or killed.",
    ),
]
_AllowMismatch = Annotated[
    bool,
    typer.Option(
        "--allow-mismatch",
        help="Go on even where settings, data or versions are not what they were; recorded.",
    ),
]
_CheckpointEvery = Annotated[
    float, typer.Option(min=0, help="Seconds between two checkpoints of a training, at least.")
]
_RunFolder = Annotated[
    Path, typer.Argument(help="A run folder, as `compare` and `train` make them.")
]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and stop.")]
_Json = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON, on standard output.")
]


def main() -> None:
    """Run the command line; what goes wrong becomes a sentence and an exit code."""
    _heed_signals()
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # where its caches are is no news
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()  # wrong usage, and a reader who has gone, are seen to in there
    except (_Stopped, SupernetError) as error:
        _fail(error)


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


def _fail(error: _Stopped | SupernetError, way_on: str = "") -> NoReturn:
    if isinstance(error, _Stopped):
        code = error.code
    else:
        codes = (code for kind, code in EXIT_CODES.items() if isinstance(error, kind))
        code = next(codes, 1)
    sentence = f"{error}; {way_on}" if way_on else str(error)
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
    resume: _Resume = True,
    allow_mismatch: _AllowMismatch = False,
    checkpoint_every: _CheckpointEvery = 10.0,
    dry_run: _DryRun = False,
    as_json: _Json = False,
) -> None:
    """Train a supernet once and its architectures on their own, and judge the one-shot ranking."""
    how = _How(out, resume, allow_mismatch, checkpoint_every, as_json)
    _run("compare", preset, settings, how, dry_run=dry_run)


@app.command()
@_with_settings
def train(
    *,
    preset: str,
    settings: Settings,
    out: _Out = None,
    resume: _Resume = True,
    allow_mismatch: _AllowMismatch = False,
    checkpoint_every: _CheckpointEvery = 10.0,
    dry_run: _DryRun = False,
    as_json: _Json = False,
) -> None:
    """Train the supernet only, and score all its architectures."""
    how = _How(out, resume, allow_mismatch, checkpoint_every, as_json)
    _run("train", preset, settings, how, dry_run=dry_run)


@app.command("resume")
def go_on(
    run: _RunFolder,
    *,
    data: Annotated[
        Path | None, typer.Option(help="Where the run's data are now, if they were moved.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes, if others.")] = None,
    allow_mismatch: _AllowMismatch = False,
    checkpoint_every: _CheckpointEvery = 10.0,
    as_json: _Json = False,
) -> None:
    """Go on with a run that was stopped or killed; it ends as if it had not been."""
    from supernet.runs.folder import CONFIG, read_manifest

    manifest = read_manifest(run)
    changes = {"data": None if data is None else str(data), "workers": workers}
    given = {name: value for name, value in changes.items() if value is not None}
    settings = resolve_settings(manifest.preset, run / CONFIG, given)
    how = _How(run, True, allow_mismatch, checkpoint_every, as_json)
    try:
        _run(manifest.command, manifest.preset, settings, how)
    except DataError as error:
        _fail(error, "if the data were moved, say where they are with --data")


@app.command()
def status(
    run: Annotated[
        Path | None, typer.Argument(help="A run folder; by default, all there are in runs.")
    ] = None,
    *,
    as_json: _Json = False,
) -> None:
    """Say how far a run is, whether it is at work, was stopped, killed, or has finished."""
    from supernet.runs.folder import MANIFEST
    from supernet.runs.status import read_status

    folders = [run] if run else sorted(path.parent for path in Path("runs").glob(f"*/{MANIFEST}"))
    found = []
    for folder in folders:
        try:
            found.append(read_status(folder))
        except RunFolderError as error:
            if run:
                raise
            typer.echo(f"supernet: {error}", err=True)  # the others can be told of all the same
    if as_json:
        content = [json.loads(each.model_dump_json()) for each in found]
        _print_json(content[0] if run else content)
        return
    if not folders:
        typer.echo("There are no runs in the folder runs.")
    for each in found:
        _show_status(each, whole=run is not None)


@app.command()
def report(
    run: _RunFolder,
    *,
    as_json: _Json = False,
) -> None:
    """Make the figures, the table and the page of a run anew, from its records alone."""
    from supernet.report import write_report
    from supernet.runs.folder import read_results

    results = read_results(run)
    files = write_report(results, run)
    if as_json:
        _print_json({"folder": str(run), "files": [str(file) for file in files]})
        return
    _show_results(results, run)


@dataclass(frozen=True)
class _How:
    """How a run is carried out, which changes nothing of what comes of it."""

    out: Path | None
    resume: bool
    allow_mismatch: bool
    checkpoint_every: float
    as_json: bool


def _run(
    command: Literal["compare", "train"],
    preset: str,
    settings: Settings,
    how: _How,
    *,
    dry_run: bool = False,
) -> None:
    console = Console(stderr=True)
    if how.out and not dry_run:
        require_free(how.out)
    with waiting("loading PyTorch and the data", console):
        from supernet.experiments import execution
        from supernet.runs.process import set_up_process

        set_up_process(threads=settings.threads)
        plan = execution.plan(settings, standalone=command == "compare")
    if dry_run:
        _show_plan(plan, execution.measure_speed(plan), how.as_json)
        return
    from supernet.runs.manifest import make_manifest

    manifest = make_manifest(
        command,
        arguments=_command(),
        preset=preset,
        settings=settings.model_dump(),
        data_sha256=plan.data_sha256,
    )
    with _take(manifest, how, console) as run:
        folder = run.folder.path
        with _way_on(folder):
            results = run.results if run.finished else None
            if results is not None:
                console.out("this run had finished; here is what came of it", highlight=False)
            else:
                results = run.carry_out(plan, console, every_s=how.checkpoint_every)
    if how.as_json:
        _print_json(json.loads(results.model_dump_json()))  # which has a word for NaN
    else:
        _show_results(results, folder)


def _take(manifest: Manifest, how: _How, console: Console) -> Run:
    """Begin a run, or go on with one that the same command began, and say which."""
    from supernet.experiments import running

    known = how.out
    if known is None and how.resume:
        known = running.find_unfinished(manifest)
    if known is not None and how.resume and running.holds_run(known):
        run = running.take_up(manifest, known, allow_mismatch=how.allow_mismatch)
        hint = "" if how.out else " (--no-resume begins anew)"
        console.out(f"going on with the run in {known}{hint}", highlight=False)
    else:
        run = running.begin(manifest, known, prefix=f"{manifest.command}-{manifest.preset}")
        console.out(f"run folder: {run.folder.path}", highlight=False)
    for mismatch in run.mismatches:
        console.out(f"not as it was: {mismatch}", highlight=False)
    return run


@contextmanager
def _way_on(folder: Path) -> Iterator[None]:
    """Tell whoever is stopped in the block how to go on."""
    try:
        yield
    except (_Stopped, DataError, RunFolderError, WorkerError) as error:
        _fail(error, f"go on with `{_program()} {shlex.join(['resume', _as_argument(folder)])}`")


def _show_status(status: Status, *, whole: bool) -> None:
    console = Console()
    state = {
        "running": f"at work ({status.holder})",
        "stopped": f"stopped: {status.reason}",
        "killed": "killed",
        "finished": "finished",
        "new": "begun",
    }[status.state]
    trained = sum(job.state == "trained" for job in status.jobs)
    console.out(f"{status.folder}: {state}", highlight=False)
    console.out(
        f"  {trained} of {len(status.jobs)} trainings ended, {100 * status.done:.0f} % of the "
        f"steps saved; begun {status.created}, last heard of {status.last_event or 'never'}",
        highlight=False,
    )
    if whole:
        table = Table(box=None)
        for column in ("training", "saved", "epochs", "validation"):
            table.add_column(column, justify="left" if column == "training" else "right")
        for job in status.jobs:
            scores = [score for score in job.validation if score == score]
            mean = f"{100 * sum(scores) / len(scores):.2f} %" if scores else ""
            table.add_row(escape(job.name), f"{100 * job.done:.0f} %", str(job.epochs), mean)
        console.print(table)
    if status.state in ("stopped", "killed", "new"):
        _next(["resume", _as_argument(Path(status.folder))])


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
    command = shlex.join(["supernet", *sys.argv[1:]])
    return command.encode(errors="backslashreplace").decode()  # records are UTF-8


def _as_argument(path: Path) -> str:
    """Return a path that is not taken for an option."""
    return f"./{path}" if str(path).startswith("-") else str(path)


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
