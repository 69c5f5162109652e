"""The commands `extract` and `finetune`. No torch at import."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from supernet.cli.options import CheckpointEveryOption, JsonOption, RunArgument, ThreadsOption
from supernet.cli.output import as_argument, command_line, print_json, say, show_next
from supernet.cli.ranks import console_of, find_several, is_first, joining
from supernet.cli.signals import deferring_signals, resumable
from supernet.errors import ModelFolderError
from supernet.records import ACCURACY, Measure
from supernet.report.progress import waiting, watching
from supernet.report.wording import gap, gap_unit, score
from supernet.runs.folder import read_results

if TYPE_CHECKING:
    from supernet.experiments.extraction import Extracted
    from supernet.experiments.loading import LoadedRun
    from supernet.experiments.tuning import TunedModel
    from supernet.records import Estimate
    from supernet.space import Architecture

ArchOption = Annotated[
    str | None,
    typer.Option(help="The architecture: CHOICE=OPTION,CHOICE=OPTION,..."),
]
BestOption = Annotated[
    bool,
    typer.Option("--best", help="Take the architecture that is best by what the run ranks by."),
]
LimitOption = Annotated[
    str, typer.Option(help="Take the best that meets this, such as 'macs <= 5e6'.")
]
SeedOption = Annotated[
    int | None, typer.Option(help="Seed of the supernet; by default the run's first.")
]
DataOption = Annotated[str | None, typer.Option(help="Where the data are now, if they were moved.")]
FolderOption = Annotated[
    Path | None, typer.Option(help="The model folder; by default a new one in models/.")
]


def extract(
    run: RunArgument,
    *,
    arch: ArchOption = None,
    best: BestOption = False,
    front: Annotated[
        int | None,
        typer.Option(help="Take N of those that no other beats in both score and MACs."),
    ] = None,
    limit: LimitOption = "",
    format: Annotated[
        list[str] | None,
        typer.Option(help="Also write onnx, torch-export or int8; may be given again."),
    ] = None,
    out: FolderOption = None,
    seed: SeedOption = None,
    data: DataOption = None,
    threads: ThreadsOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Save networks of a finished run as model folders.

    A model folder loads without this package.
    """
    read_results(run)  # before PyTorch loads
    console = Console(stderr=True)
    with waiting("loading the run and its data", console):
        from supernet.experiments import extraction

        formats = extraction.require_formats(format or [])
        loaded = _load(run, seed, data, threads)
        archs = extraction.choose(loaded, arch=arch, best=best, front=front, limit=limit)
    folders = [_folder_for(loaded, one, out, several=len(archs) > 1) for one in archs]
    for folder in folders:
        _require_new(folder)
    written = []
    for one, folder in zip(archs, folders, strict=True):
        with waiting(f"writing {folder}", console):
            model = extraction.write_model(
                loaded,
                one,
                extraction.take_out(loaded, one),
                folder,
                command=command_line(),
                weights="with weights inherited from a supernet",
                formats=formats,
                scores=extraction.inherited_scores(loaded, one),
                check=True,
            )
        written.append(model)
        if not as_json:
            _show_extracted(model)
    if as_json:
        print_json([_extracted_as_json(model) for model in written])
    else:
        show_next(["predict", as_argument(written[-1].folder), _inputs_for(loaded)])


def finetune(
    run: RunArgument,
    *,
    arch: ArchOption = None,
    best: BestOption = False,
    limit: LimitOption = "",
    epochs: Annotated[int, typer.Option(min=1, max=10_000, help="Epochs to train on.")] = 2,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Peak learning rate; by default a tenth of the supernet's."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Samples per step; by default the run's.")
    ] = None,
    taught: Annotated[
        bool,
        typer.Option("--taught", help="Learn from the largest network's outputs, not labels."),
    ] = False,
    out: FolderOption = None,
    seed: SeedOption = None,
    data: DataOption = None,
    threads: ThreadsOption = 1,
    checkpoint_every: CheckpointEveryOption = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Fine-tune an architecture of a finished run.

    It starts from the weights it has in the supernet. Stopped or killed, the same command resumes
    it. Several processes do it together under torchrun.
    """
    read_results(run)  # before PyTorch loads
    launched = find_several()
    console = console_of(launched)
    with resumable(speaks=is_first(launched)), ExitStack() as stack:
        with waiting("loading the run and its data", console):
            from supernet.experiments import extraction, tuning

            ranks = stack.enter_context(joining(launched))
            loaded = _load(run, seed, data, threads)
            (chosen,) = extraction.choose(loaded, arch=arch, best=best, limit=limit)
            recipe = tuning.recipe_for(
                loaded, epochs=epochs, learning_rate=learning_rate, batch_size=batch_size
            )
        folder = out or extraction.default_folder(loaded, chosen, "-taught" if taught else "-tuned")
        if ranks.first:
            _require_new(folder)
        name = f"tuning {chosen.label}"
        follow = stack.enter_context(watching({name: 1}, console, loaded.results.measure))
        # One process can stop anywhere; several stop together, between two steps.
        stop = stack.enter_context(deferring_signals()) if ranks.several else None
        model = tuning.tune(
            loaded,
            chosen,
            recipe,
            folder,
            taught=taught,
            seed=loaded.seed,
            command=command_line(),
            every_s=checkpoint_every,
            watch=lambda progress: follow(name, progress),
            stop=stop or (lambda: False),
            ranks=ranks,
        )
    if model is None:
        return
    if as_json:
        print_json(_tuned_as_json(model))
        return
    _show_tuned(model)
    show_next(["predict", as_argument(folder), _inputs_for(loaded)])


def _load(run: Path, seed: int | None, data: str | None, threads: int) -> LoadedRun:
    from supernet.experiments.loading import load_run
    from supernet.runs.process import set_up_process

    set_up_process(threads=threads)
    return load_run(run, seed=seed, data=data)


def _inputs_for(run: LoadedRun) -> str:
    """Return what `predict` can be given for a network of a run."""
    if hasattr(run.data.train, "mean"):
        return "PICTURES"
    return str(run.settings.data.source or "FILE.npz")


def _folder_for(run: LoadedRun, arch: Architecture, out: Path | None, *, several: bool) -> Path:
    from supernet.experiments.extraction import default_folder

    default = default_folder(run, arch)
    if out is None:
        return default
    return out / default.name if several else out


def _require_new(folder: Path) -> None:
    """Refuse what would be refused at the end, before there is work in it."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ModelFolderError(
            f"{folder} exists already; give a new folder with --out, or remove that one"
        )


def _show_extracted(model: Extracted) -> None:
    console, facts = Console(), model.facts
    say(console, f"{model.folder}: {model.arch.label}")
    say(console, f"  {facts.params:,} parameters, {facts.macs:,} multiply-adds per sample")
    for record in facts.scores:
        shown = _interval(record.estimate, record.measure)
        say(console, f"  {record.name} {shown} on {record.images:,} {record.split} samples")
    for file in model.exported:
        if file.format == "int8":
            continue
        same = "" if file.same_top1 is None else f", the same class for {file.same_top1:,}"
        say(
            console,
            f"  {file.path.name}: {file.size:,} bytes; on {file.samples:,} validation samples its "
            f"outputs differ by {file.difference:.1g} at most{same}",
        )
    if model.quantized is not None:
        cost = model.quantized
        say(
            console,
            f"  {cost.file.path.name}: {cost.file.size:,} bytes ({cost.float_size:,} before); "
            f"accuracy {_interval(cost.score)}, which is {_gap(cost.cost)} less, on "
            f"{cost.file.samples:,} validation samples",
        )
    for note in model.notes:
        say(console, f"  note: {note}")


def _show_tuned(model: TunedModel) -> None:
    console, tuned = Console(), model.tuned
    measure = tuned.measure
    say(console, f"{model.written.folder}: {tuned.arch.label}, {measure.name} on test samples")
    lines = [("inherited", tuned.inherited), ("tuned", tuned.tuned)]
    if tuned.standalone is not None:
        lines.append(("trained alone", tuned.standalone))
    for name, estimate in lines:
        say(console, f"  {name:<14} {_interval(estimate, measure)}")
    say(console, f"  tuning changed it by {_gap(tuned.gain, measure)}")
    if tuned.behind is not None:
        say(console, f"  training alone differs from that by {_gap(tuned.behind, measure)}")
    say(console, f"  it took {tuned.cpu_s:.1f} CPU seconds, scoring included")


def _interval(estimate: Estimate, measure: Measure = ACCURACY) -> str:
    """Return a score as people know it, with its interval."""
    low, high = sorted((estimate.low, estimate.high), key=measure.shown)
    unit = f" {measure.unit}" if measure.unit else ""
    return (
        f"{score(estimate.value, measure)}{unit} ({score(low, measure)} to {score(high, measure)})"
    )


def _gap(estimate: Estimate, measure: Measure = ACCURACY) -> str:
    """Return a paired difference of scores as people know them, with its interval."""
    low, high = sorted((estimate.low, estimate.high), key=measure.shown)
    unit = f" {gap_unit(measure)}" if gap_unit(measure) else ""
    bounds = f"{gap(low, measure)} to {gap(high, measure)}"
    return f"{gap(estimate.value, measure)}{unit} ({bounds}, paired)"


def _extracted_as_json(model: Extracted) -> dict[str, Any]:
    return {
        "folder": str(model.folder),
        "architecture": dict(model.arch),
        "facts": model.facts.model_dump(mode="json"),
        "files": [
            {
                "file": str(file.path),
                "format": file.format,
                "bytes": file.size,
                "compared_on": file.samples,
                "largest_difference": file.difference,
                "same_top1": file.same_top1,
            }
            for file in model.exported
        ],
        "int8": None
        if model.quantized is None
        else {
            "score": model.quantized.score.model_dump(),
            "float_score": model.quantized.float_score.model_dump(),
            "cost": model.quantized.cost.model_dump(),
            "calibration_images": model.quantized.calibration_samples,
            "float_bytes": model.quantized.float_size,
        },
        "notes": list(model.notes),
    }


def _tuned_as_json(model: TunedModel) -> dict[str, Any]:
    tuned = model.tuned
    return {
        "folder": str(model.written.folder),
        "architecture": dict(tuned.arch),
        "taught": tuned.taught,
        "measure": tuned.measure.model_dump(),
        "inherited": tuned.inherited.model_dump(),
        "tuned": tuned.tuned.model_dump(),
        "gain": tuned.gain.model_dump(),
        "standalone": None if tuned.standalone is None else tuned.standalone.model_dump(),
        "standalone_ahead": None if tuned.behind is None else tuned.behind.model_dump(),
        "cpu_s": tuned.cpu_s,
        "phases": [phase.model_dump(mode="json") for phase in tuned.phases],
    }
