"""The program and the commands for runs: parse, call one function, say where the result is.

Exit codes: 0 fine; 2 a wrong option or setting; 3 data; 4 the run or model folder; 5 training
diverged; 6 a worker process failed; 7 the network; 1 anything else; 130 Ctrl-C; 143 terminated.
"""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from supernet.cli.help import HelpCommand, HelpGroup
from supernet.cli.models import extract, finetune
from supernet.cli.networks import describe, spaces
from supernet.cli.options import (
    AllowMismatchOption,
    CheckpointEveryOption,
    DryRunOption,
    JsonOption,
    OnOption,
    OutOption,
    ResumeOption,
    RunArgument,
    RunOptions,
    TensorBoardOption,
    require_tensorboard,
    with_settings,
)
from supernet.cli.output import (
    as_argument,
    command_line,
    print_json,
    program_name,
    say,
    show_plan,
    show_results,
    show_status,
    telling_warnings,
)
from supernet.cli.predicting import predict
from supernet.cli.ranks import (
    console_of,
    find_several,
    is_first,
    is_follower,
    joining,
    require_alone,
)
from supernet.cli.searching import latency, search
from supernet.cli.signals import StopSignal, deferring_signals, fail, heed_signals
from supernet.errors import DataError, RunFolderError, SettingsError, SupernetError, WorkerError
from supernet.experiments.settings import Settings, check_sources, resolve_settings
from supernet.report.progress import waiting
from supernet.runs.lock import require_free
from supernet.text import join_command, visible, visible_lines

if TYPE_CHECKING:
    from supernet.experiments.execution import RunEvent
    from supernet.experiments.planning import RunPlan
    from supernet.experiments.running import Run
    from supernet.records import Manifest
    from supernet.runs.launch import Launched
    from supernet.runs.ranks import Ranks
    from supernet.runs.ray import Place

app = typer.Typer(
    cls=HelpGroup,
    help="One-shot architecture search: train one network, rank all in it, check the ranking.\n\n"
    "Help on a command: supernet COMMAND -h.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Run the command line; what goes wrong becomes a sentence and an exit code."""
    heed_signals()
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # where its caches are is no news
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with telling_warnings(quiet=is_follower()):
            app(prog_name="supernet")  # handles wrong usage and closed pipes itself
    except (StopSignal, SupernetError) as error:
        fail(error)


@app.callback(invoke_without_command=True)
def _begin(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        from supernet import __version__

        typer.echo(f"supernet {__version__}")
        raise typer.Exit
    require_alone(context.invoked_subcommand)


@app.command(cls=HelpCommand)
@with_settings()
def compare(
    *,
    preset: str,
    settings: Settings,
    out: OutOption = None,
    resume: ResumeOption = True,
    allow_mismatch: AllowMismatchOption = False,
    checkpoint_every: CheckpointEveryOption = 10.0,
    tensorboard: TensorBoardOption = False,
    on: OnOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check the one-shot ranking against networks trained alone.

    Trains a supernet once and some of its architectures on their own, and judges how far the
    ranking by the supernet can be trusted. Under torchrun, several processes train the supernet
    together: torchrun --nproc-per-node 2 -m supernet compare.
    """
    how = RunOptions(out, resume, allow_mismatch, checkpoint_every, tensorboard, as_json, on)
    _run("compare", preset, settings, how, dry_run=dry_run)


@app.command(cls=HelpCommand)
@with_settings(without=("standalone_rate", "longer", "alone", "naswot"))
def train(
    *,
    preset: str,
    settings: Settings,
    out: OutOption = None,
    resume: ResumeOption = True,
    allow_mismatch: AllowMismatchOption = False,
    checkpoint_every: CheckpointEveryOption = 10.0,
    tensorboard: TensorBoardOption = False,
    on: OnOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train a supernet, and score its architectures.

    Under torchrun, several processes do it together: torchrun --nproc-per-node 2 -m supernet train.
    """
    how = RunOptions(out, resume, allow_mismatch, checkpoint_every, tensorboard, as_json, on)
    _run("train", preset, settings, how, dry_run=dry_run)


@app.command("resume", cls=HelpCommand)
def resume(
    run: RunArgument,
    *,
    data: Annotated[
        Path | None, typer.Option(help="Where the data are now, if they were moved.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Number of worker processes, if it changes.")
    ] = None,
    allow_mismatch: AllowMismatchOption = False,
    checkpoint_every: CheckpointEveryOption = 10.0,
    tensorboard: TensorBoardOption = False,
    on: OnOption = None,
    as_json: JsonOption = False,
) -> None:
    """Resume a run that was stopped or killed.

    It ends in the same bytes as a run that never stopped.
    """
    from supernet.runs.folder import find_config, read_manifest

    manifest = read_manifest(run)
    changes = {"data": None if data is None else str(data), "workers": workers}
    given = {name: value for name, value in changes.items() if value is not None}
    settings = resolve_settings(manifest.preset, find_config(run), given)
    how = RunOptions(run, True, allow_mismatch, checkpoint_every, tensorboard, as_json, on)
    try:
        _run(manifest.command, manifest.preset, settings, how)
    except DataError as error:
        fail(error, "if the data were moved, say where they are with --data")


@app.command(cls=HelpCommand)
def status(
    run: Annotated[
        Path | None, typer.Argument(help="Run folder; by default, all in runs/.")
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show how far runs are.

    A run is at work, stopped, killed or finished.
    """
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
            typer.echo(
                f"supernet: {visible_lines(str(error))}", err=True
            )  # the others can be told of all the same
    if as_json:
        content = [json.loads(each.model_dump_json()) for each in found]
        print_json(content[0] if run else content)
        return
    if not folders:
        typer.echo("There are no runs in the folder runs.")
    for each in found:
        show_status(each, whole=run is not None)


@app.command(cls=HelpCommand)
def report(
    run: RunArgument,
    *,
    as_json: JsonOption = False,
) -> None:
    """Write figures, table and page of a run again.

    They are made from the records in its folder alone.
    """
    from supernet.report import write_report
    from supernet.runs.folder import read_results

    results = read_results(run)
    files = write_report(results, run)
    if as_json:
        print_json({"folder": str(run), "files": [str(file) for file in files]})
        return
    show_results(results, run)


for _command in (extract, finetune, predict, spaces, describe, search, latency):
    app.command(cls=HelpCommand)(_command)


def _run(
    command: Literal["compare", "train"],
    preset: str,
    settings: Settings,
    how: RunOptions,
    *,
    dry_run: bool = False,
) -> None:
    launched = find_several()
    if dry_run:
        if is_first(launched):
            _show_plan(command, preset, settings, how)
        return
    if how.out and is_first(launched):
        require_free(how.out)
    place = None if how.on is None else _find_place(how.on, settings)
    if place and launched:
        raise SettingsError(
            "--on sends trainings to a cluster, one task each, and torchrun divides each among "
            "processes; choose one of the two"
        )
    console = console_of(launched)
    with ExitStack() as stack:
        plan, ranks = _plan(command, settings, how, console, stack, place, launched)
        if ranks.several:
            from supernet.experiments import ranked

            ranked.require_same_plan(plan, ranks)
            if not ranks.first:
                with deferring_signals() as stop:
                    ranked.follow(plan, ranks, stop)
                return
        _execute(command, preset, plan, how, console, place, ranks)


def _show_plan(
    command: Literal["compare", "train"], preset: str, settings: Settings, how: RunOptions
) -> None:
    place = None if how.on is None else _find_place(how.on, settings)
    with ExitStack() as stack:
        plan, _ = _plan(command, settings, how, Console(stderr=True), stack, place, None)
    from supernet.experiments import planning

    show_plan(plan, planning.measure_speed(plan), preset, how.as_json)


def _plan(
    command: Literal["compare", "train"],
    settings: Settings,
    how: RunOptions,
    console: Console,
    stack: ExitStack,
    place: Place | None,
    launched: Launched | None,
) -> tuple[RunPlan, Ranks]:
    """Set the process up, meet other ranks, if any were launched, and plan the run."""
    check_sources(settings)
    if how.tensorboard:
        require_tensorboard()
    with waiting("loading PyTorch and the data", console):
        from supernet.experiments import planning
        from supernet.runs.process import set_up_process

        set_up_process(threads=settings.run.threads)
        ranks = stack.enter_context(joining(launched))
        plan = planning.plan(settings, standalone=command == "compare", elsewhere=bool(place))
        return plan, ranks


def _execute(
    command: Literal["compare", "train"],
    preset: str,
    plan: RunPlan,
    how: RunOptions,
    console: Console,
    place: Place | None,
    ranks: Ranks,
) -> None:
    """Do what is left of a run, and show its results."""
    from supernet.runs.manifest import make_manifest

    manifest = make_manifest(
        command,
        arguments=command_line(),
        preset=preset,
        settings=plan.settings.flat(),
        data_sha256=plan.data.sha256,
        sources_sha256=plan.sources,
        space_sha256=plan.space_sha256,
        ranks=ranks.size,
    )
    with _open_run(manifest, plan.settings, how, console) as run:
        folder = run.folder.path
        with _telling_how_to_resume(folder, place, ranks):
            results = run.results if run.finished else None
            if results is not None:
                console.out("this run had finished; these are its results", highlight=False)
            else:
                with _noting(run, plan, console, how) as note:
                    results = run.execute(
                        plan,
                        console,
                        every_s=how.checkpoint_every,
                        on=place,
                        note=note,
                        ranks=ranks,
                        heeding=deferring_signals,
                    )
    if how.as_json:
        print_json(json.loads(results.model_dump_json()))  # which has a word for NaN
    else:
        show_results(results, folder)


def _find_place(text: str, settings: Settings) -> Place:
    """Return the cluster that is asked for, once it is known to be there."""
    from supernet.runs.ray import find_place, gpus_of

    gpus_of(settings.run.device)
    return find_place(text)


def _open_run(manifest: Manifest, settings: Settings, how: RunOptions, console: Console) -> Run:
    """Begin a run, or resume one that the same command began, and say which."""
    from supernet.experiments import running

    known = how.out
    if known is None and how.resume:
        known = running.find_unfinished(manifest)
    if known is not None and how.resume and running.holds_run(known):
        run = running.resume(manifest, known, allow_mismatch=how.allow_mismatch)
        hint = "" if how.out else " (--no-resume starts a new one)"
        say(console, f"resuming the run in {visible(str(known))}{hint}")
    else:
        run = running.begin(
            manifest, settings, known, prefix=f"{manifest.command}-{manifest.preset}"
        )
        say(console, f"run folder: {visible(str(run.folder.path))}")
    for mismatch in run.mismatches:
        say(console, f"changed since then: {visible(mismatch)}")
    return run


@contextmanager
def _noting(
    run: Run, plan: RunPlan, console: Console, how: RunOptions
) -> Iterator[Callable[[RunEvent], None]]:
    """Give what is called with whatever happens inside the block."""
    if not how.tensorboard:
        yield lambda _: None
        return
    from supernet.experiments.tensorboard import FOLDER, Curves

    command = join_command(["tensorboard", "--logdir", str(run.folder.path / FOLDER)])
    say(console, f"curves: {command}")
    with Curves(run.folder.path, plan) as curves:
        yield curves.note


@contextmanager
def _telling_how_to_resume(folder: Path, place: Place | None, ranks: Ranks) -> Iterator[None]:
    """Say how to resume when the block is stopped."""
    try:
        yield
    except (StopSignal, DataError, RunFolderError, WorkerError) as error:
        if ranks.several:
            ranks.leave(error)
            fail(error, "the same command resumes it")
        words = ["resume", as_argument(folder), *([f"--on={place.option}"] if place else [])]
        fail(error, f"resume with `{program_name()} {join_command(words)}`")
