"""The commands `search` and `latency`. No torch at import."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from supernet.cli.options import (
    CheckpointEveryOption,
    ElasticOption,
    JsonOption,
    KeepOption,
    NetArgOption,
    NetOption,
    OnOption,
    RunArgument,
    parse_shape,
)
from supernet.cli.output import print_json, say
from supernet.errors import LatencyError, RunFolderError, SettingsError
from supernet.experiments.settings import check_data
from supernet.networks.named import DEFAULT, NetworkName, check_network
from supernet.report.progress import stating, waiting
from supernet.report.wording import counted
from supernet.text import visible

if TYPE_CHECKING:
    from supernet.experiments.loading import LoadedRun
    from supernet.nn.supernet import Supernet
    from supernet.records import Progress
    from supernet.report.searching import SearchReport
    from supernet.runs.ray import Place
    from supernet.strategies import Evaluation
    from supernet.strategies.problem import Objective

#: Networks of the front that are shown while it is searched.
_SHOWN = 8

#: Networks of the front that are trained alone, unless somebody says otherwise.
_ALONE = 3


ObjectiveOption = Annotated[
    list[str] | None,
    typer.Option(
        help="What to optimize: score, loss, params, macs, latency_ms, or corrected: the score "
        "when trained alone, as networks of the run tell; may be given again. "
        "By default score and macs."
    ),
]


LimitOption = Annotated[
    list[str] | None,
    typer.Option(help='Limit, such as "macs <= 5e6 and block1.depth == 2"; may be given again.'),
]


BudgetOption = Annotated[int, typer.Option(help="Most architectures to evaluate.")]
GenerationOption = Annotated[int, typer.Option(help="Architectures scored in one pass.")]


StrategyOption = Annotated[
    str | None,
    typer.Option(
        help="exhaustive, random, evolution, nsga2 or guided; by default exhaustive if the "
        "budget is enough, else guided."
    ),
]


SeedOption = Annotated[int, typer.Option(help="Seed of the search.")]
SupernetSeedOption = Annotated[
    int | None, typer.Option(help="Seed of the supernet; by default the run's first.")
]


ConfirmOption = Annotated[
    str,
    typer.Option(
        metavar="N|alone|alone:N",
        help="Networks of the front to score on the test split: N with the supernet's weights, "
        f"or N (by default {_ALONE}) trained alone with the run's recipe.",
    ),
]


BaselineOption = Annotated[
    bool, typer.Option("--baseline", help="Also run a random search with the same budget.")
]


LatencyTableOption = Annotated[
    Path | None,
    typer.Option(
        help="A latency table, made by `supernet latency`. By default it is measured here, once, "
        "if latency_ms is wanted: with PyTorch, one sample at a time."
    ),
]
AnyDeviceOption = Annotated[
    bool, typer.Option("--any-device", help="Allow a latency table of another device.")
]


ThreadsOption = Annotated[int, typer.Option(min=1, help="Threads to compute with.")]


DataOption = Annotated[
    Path | None, typer.Option(help="Where the data are now, if they were moved.")
]


SearchFolderOption = Annotated[
    Path | None, typer.Option(help="Search folder; by default one in the run folder.")
]


def search(
    run: RunArgument,
    *,
    objective: ObjectiveOption = None,
    limit: LimitOption = None,
    budget: BudgetOption = 200,
    generation: GenerationOption = 16,
    strategy: StrategyOption = None,
    seed: SeedOption = 0,
    supernet_seed: SupernetSeedOption = None,
    confirm: ConfirmOption = "0",
    baseline: BaselineOption = False,
    latency: LatencyTableOption = None,
    any_device: AnyDeviceOption = False,
    threads: ThreadsOption = 1,
    data: DataOption = None,
    out: SearchFolderOption = None,
    checkpoint_every: CheckpointEveryOption = 10.0,
    on: OnOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search a run's supernet for the best networks."""
    from supernet.strategies.constraints import as_limits

    objectives, limits = tuple(objective or ("score", "macs")), as_limits(limit or ())
    few, alone = _parse_confirm(confirm)
    _check_numbers(budget=(budget, 1), generation=(generation, 1))
    wanted = _check_wanted(objectives, strategy, latency)
    if not run.is_dir():
        raise RunFolderError(f"there is no run folder {visible(str(run))}; `ls runs` shows yours")
    place = None if on is None else _find_place(on)
    console = Console(stderr=True)
    with waiting("loading PyTorch and the run", console):
        from supernet.experiments import search as searching
        from supernet.experiments.clusters import opened
        from supernet.experiments.loading import load_run
        from supernet.experiments.spreading import Spread
        from supernet.runs.process import set_up_process

        set_up_process(threads=threads)
        loaded = load_run(run, seed=supernet_seed, data=None if data is None else str(data))
    if latency is None and "latency_ms" in {
        *(one.name for one in wanted),
        *(one.name for one in limits),
    }:
        latency = _measured(loaded, console)
    settings = searching.SearchSettings(
        objectives=objectives,
        limits=" and ".join(map(str, limits)),
        budget=budget,
        generation=generation,
        strategy=strategy,
        seed=seed,
        confirm=0 if alone else few,
        alone=few if alone else 0,
        baseline=baseline,
        latency=None if latency is None else str(latency),
        any_device=any_device,
    )
    folder = out or searching.default_folder(loaded, settings)
    say(console, f"search folder: {visible(str(folder))}")
    with opened(place, console, threads=threads, device=loaded.settings.run.device) as cluster:
        events = searching.execute(
            loaded,
            settings,
            folder,
            every_s=checkpoint_every,
            watch=lambda name, progress: _say_epoch(name, progress, console),
            spread=None if cluster is None else Spread(cluster, cluster.slots, threads),
        )
        report = _followed(events, objectives, budget, console)
    if as_json:
        content = json.loads((folder / "front.json").read_text())
        print_json({"folder": str(folder), "front": content})
        return
    _show(report, folder)


def _find_place(on: str) -> Place:
    from supernet.runs.ray import find_place

    return find_place(on)


def _measured(run: LoadedRun, console: Console) -> Path:
    """Return the latency table of a run on this device, and say how good it is."""
    from supernet.experiments.devicelatency import latency_here

    with stating("measuring latencies", console) as state:
        path, table = latency_here(run, progress=state)
    error, again = table.check.median_error, table.check.repeat_error
    say(
        console,
        f"latency table: {visible(str(path))} (PyTorch, one sample, "
        f"{counted(table.threads, 'thread')}; median error {100 * error:.1f} %, "
        f"measuring again {100 * again:.1f} %)",
    )
    return path


def _check_wanted(
    objectives: Sequence[str], strategy: str | None, latency: Path | None
) -> Sequence[Objective]:
    """Return objectives; raise if a strategy, or the file of a latency table, doesn't exist."""
    from supernet.strategies.loop import STRATEGIES
    from supernet.strategies.problem import as_objectives

    wanted = as_objectives(objectives)
    if strategy is not None and strategy not in STRATEGIES:
        raise SettingsError(f"unknown strategy {strategy!r}; known are {', '.join(STRATEGIES)}")
    if latency is not None and not latency.is_file():
        raise LatencyError(f"can't read the latency table {visible(str(latency))}: there is none")
    return wanted


def _parse_confirm(text: str) -> tuple[int, bool]:
    """Return how many networks are confirmed, and whether each is trained alone for that."""
    alone, colon, number = text.partition(":")
    if alone == "alone" and not colon:
        return _ALONE, True
    is_alone = alone == "alone"
    try:
        few = int(number if is_alone else text)
    except ValueError:
        raise SettingsError(
            f"--confirm is {text!r}; it must be a number of networks, alone, or alone:NUMBER"
        ) from None
    _check_numbers(confirm=(few, int(is_alone)))
    return few, is_alone


def _say_epoch(name: str, progress: Progress, console: Console) -> None:
    if progress.ended is not None:
        epoch = f"epoch {progress.epoch} of {progress.epochs}"
        say(console, f"training {visible(name)} alone: {epoch}")


def _check_numbers(**numbers: tuple[int, int]) -> None:
    for name, (value, least) in numbers.items():
        if value < least:
            raise SettingsError(f"--{name} is {value}; it must be at least {least}")


def _followed(
    events: Any, objectives: Sequence[str], budget: int, console: Console
) -> SearchReport:
    """Show the front as it grows; return the report at the end."""
    from supernet.strategies import Evaluation, select_front

    found: list[Evaluation] = []
    report: Any = None
    with Live(console=console, transient=True, auto_refresh=False) as live:
        for event in events:
            if not isinstance(event, Evaluation):
                report = event
                continue
            found.append(event)
            if len(found) % 16 and len(found) != budget:
                continue
            front = select_front(found, objectives)
            if console.is_terminal:
                title = f"{len(found):,} of at most {budget:,} evaluated; {len(front)} on the front"
                live.update(_table(front[:_SHOWN], title), refresh=True)
            else:
                say(console, f"{len(found):,} evaluated, {len(front)} on the front")
    found_report: SearchReport = report
    return found_report


def _table(front: Sequence[Evaluation], title: str) -> Table:
    names = list(dict.fromkeys(name for one in front for name in one.values))
    table = Table(title=title, title_justify="left", box=None)
    table.add_column("network")
    for name in names:
        table.add_column(visible(name), justify="right")
    for one in front:
        cells = [_number(one.values.get(name, math.nan)) for name in names]
        table.add_row(_short(visible(one.arch.label)), *cells)
    return table


def _show(report: SearchReport, folder: Path) -> None:
    from supernet.report.searching import summarize

    console = Console()
    names = [name for name, _ in report.objectives]
    table = Table(box=None)
    table.add_column("network")
    for name in names:
        table.add_column(visible(name), justify="right")
    of_score = "95 %" if names[0] == "score" else "score, 95 %"
    table.add_column(of_score, justify="right")
    table.add_column("trained alone" if report.alone else "confirmed", justify="right")
    for one in report.front:
        interval = f"{_number(one.validation.low)} to {_number(one.validation.high)}"
        confirmed = "" if one.confirmed is None else _number(one.confirmed.value)
        cells = [_number(one.values[name]) for name in names]
        table.add_row(_short(visible(one.label)), *cells, interval, confirmed)
    console.print(table)
    for sentence in summarize(report):
        say(console, sentence)
    say(console, f"\nPage: {visible(str(folder / 'search.html'))}")


def _number(value: float) -> str:
    if math.isnan(value):
        return ""
    return f"{value:,.0f}" if value == int(value) and abs(value) >= 1 else f"{value:.4f}"


def _short(label: str, longest: int = 28) -> str:
    return label if len(label) <= longest else f"{label[: longest - 3]}..."


def latency(
    out: Annotated[Path, typer.Argument(help="The file to write, such as latency.json.")],
    *,
    net: NetOption = DEFAULT,
    net_arg: NetArgOption = None,
    elastic: ElasticOption = None,
    keep: KeepOption = None,
    data: Annotated[
        str | None, typer.Option(help="Data of which a sample is taken, as --data of `train`.")
    ] = None,
    shape: Annotated[
        str | None, typer.Option(help="Shape of a sample instead; by default 1,28,28.")
    ] = None,
    classes: Annotated[
        int | None, typer.Option(min=1, help="Number of classes; by default the data's, or 10.")
    ] = None,
    runtime: Annotated[
        str, typer.Option(help="What runs the network: torch or onnxruntime.")
    ] = "torch",
    batch: Annotated[int, typer.Option(help="Samples per batch.")] = 1,
    threads: ThreadsOption = 1,
    rounds: Annotated[int, typer.Option(help="Measurements of each piece.")] = 30,
    as_json: JsonOption = False,
) -> None:
    """Measure the latency of a space on this machine.

    Measures parts of networks; the latency of any architecture follows from them.
    """
    wanted = NetworkName(net, tuple(net_arg or ()), elastic, tuple(keep or ()))
    check_network(wanted)
    check_data(data)
    if data is not None and shape is not None:
        raise SettingsError("give one of --data and --shape; the data say what a sample is")
    if runtime not in ("torch", "onnxruntime"):
        raise LatencyError(f"unknown runtime {runtime!r}; known are torch and onnxruntime")
    _check_numbers(batch=(batch, 1), rounds=(rounds, 3))
    size = parse_shape(shape) or (1, 28, 28)
    console = Console(stderr=True)
    with waiting("loading PyTorch and the network", console):
        from supernet.evaluation.latency import measure_latency
        from supernet.runs.process import set_up_process

        set_up_process(threads=threads)
        supernet, form = _network_and_form(wanted, data, size, classes)
    with stating("measuring", console) as state:
        table = measure_latency(
            supernet,
            form,
            runtime=runtime,  # type: ignore[arg-type]
            batch=batch,
            rounds=rounds,
            progress=state,
        )
    table.save(out)
    check = table.check
    if as_json:
        print_json({"file": str(out), "pieces": len(table.works), "check": vars(check)})
        return
    which = (
        "networks that it wasn't fitted on" if check.held_out else "the networks it was fitted on"
    )
    say(
        Console(),
        f"{len(table.works)} pieces of work measured with {runtime}, batch {batch}, "
        f"{counted(threads, 'thread')}.\n"
        f"Median error on {check.networks} {which}: {100 * check.median_error:.1f} % "
        f"(measuring them again: {100 * check.repeat_error:.1f} %); rank agreement tau "
        f"{check.tau:.2f} (again: {check.repeat_tau:.2f}).\nTable: {visible(str(out))}",
    )


def _network_and_form(
    wanted: NetworkName, data: str | None, size: tuple[int, ...], classes: int | None
) -> tuple[Supernet, Any]:
    """Return a network, and what its samples are: the shape of one, or some of another form."""
    from supernet.networks.named import build_network

    example = None
    if data is not None:
        from supernet.experiments.components import example_of, load_data
        from supernet.experiments.settings import DataSettings

        found = load_data(DataSettings(source=data))
        example, size = example_of(found), found.shape
        classes = found.classes if classes is None else classes
    classes = 10 if classes is None else classes
    named = build_network(wanted, shape=size, classes=classes or None, seed=0, example=example)
    return named.supernet, size if example is None else example
