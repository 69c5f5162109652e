"""Model folders from a finished run: which architectures, and what is known of each."""

from __future__ import annotations

import difflib
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor, nn

from supernet.datasets import ImageData
from supernet.errors import RunFolderError, SettingsError, SpaceError
from supernet.evaluation.accuracy import find_best, score_network
from supernet.evaluation.batchnorm import recalibrate
from supernet.evaluation.cost import count_macs, count_params
from supernet.evaluation.intervals import estimate_share
from supernet.experiments.components import task_of
from supernet.experiments.loading import LoadedRun
from supernet.export.card import Facts, ScoreRecord
from supernet.export.model_folder import add_file, save
from supernet.export.onnx import export_onnx
from supernet.export.prediction import ONNX
from supernet.export.quantization import Quantized, export_int8
from supernet.export.torch_export import export_program
from supernet.export.verification import Exported
from supernet.nn.choices import Depth, OneOf
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.space import Architecture, Option, SearchSpace
from supernet.strategies import Limit, parse_limits
from supernet.strategies.constraints import check_names
from supernet.tasks import Classification
from supernet.training.data import form_of_samples

Format = Literal["onnx", "torch-export", "int8"]

#: What the files of the formats are called in a model folder.
FILES: Final[Mapping[str, str]] = {
    "onnx": ONNX,
    "torch-export": "model.pt2",
    "int8": "model-int8.onnx",
}

#: Where model folders go that nobody named.
MODELS = Path("models")

#: Samples that go through at a time, and those that exported files are compared on.
_BATCH, _COMPARED = 250, 1000

#: By how much a score may differ from the one that the run has: what other hardware may do.
_DRIFT = 0.01

#: The costs that limits may name.
COSTS = ("macs", "params")


@dataclass(frozen=True)
class Extracted:
    """A model folder that was written.

    Attributes:
        folder: Where it is.
        arch: The architecture.
        facts: What is known of it.
        exported: The files of other formats.
        quantized: What eight-bit integers cost, if they were asked for.
        notes: What else somebody should know, as sentences.
    """

    folder: Path
    arch: Architecture
    facts: Facts
    exported: tuple[Exported, ...] = ()
    quantized: Quantized | None = None
    notes: tuple[str, ...] = ()


def choose(
    run: LoadedRun,
    *,
    arch: str | None = None,
    best: bool = False,
    front: int | None = None,
    limit: str = "",
) -> list[Architecture]:
    """Return the architectures of a run that were asked for.

    Args:
        run: The run.
        arch: One, as `parse_architecture` reads it.
        best: The one with the highest validation score.
        front: So many of those that no other beats in both score and multiply-adds, spread over
            the costs, the best one among them.
        limit: What `best` and `front` are chosen under, such as `macs <= 5e6`; alone, the best.

    Raises:
        SettingsError: If none or several were asked for, a limit is malformed, or nothing that was
            scored meets it.
        SpaceError: If the architecture is not in the space.
    """
    if (arch is not None) + best + (front is not None) > 1 or (arch is not None and limit):
        raise SettingsError("give one of --arch, --best and --front; --limit goes with the latter")
    if arch is not None:
        return [parse_architecture(arch, run.supernet.space)]
    if not best and front is None and not limit:
        raise SettingsError("say which architecture: --arch, --best, --front N or --limit")
    costs = costs_of(run)
    limits = parse_limits(limit)
    check_names(limits, run.supernet.space, COSTS, ("score", "accuracy"))
    scores = {
        found: score
        for found, score in run.scores.items()
        if score == score and all(_holds(one, found, costs[found]) for one in limits)
    }
    if not scores:
        cheapest = min(costs.values(), key=lambda cost: cost["macs"])
        raise SettingsError(
            f"none of the {len(run.archs):,} architectures that the run scored meets {limit}; the "
            f"cheapest has {cheapest['macs']:,} macs and {cheapest['params']:,} params"
        )
    if front is None:
        return [find_best(scores)]
    if front < 1:
        raise SettingsError(f"--front is {front}; it must be at least 1")
    return _spread(_front(scores, costs), front)


def parse_architecture(text: str, space: SearchSpace) -> Architecture:
    """Return the architecture that a text names: `block1.depth=2,block2.depth=3`.

    Choices that don't count for it may be left out. Options alone will do, in brackets and in the
    order of the names, as tables show them: `(2, 3)`.

    Raises:
        SpaceError: If it isn't in the space; the nearest names and options are named.
    """
    given: dict[str, Option] = {}
    choices = {choice.name: choice for choice in space.choices}
    parts = [piece.strip() for piece in re.split(r"[,;]", text)]
    if (label := re.fullmatch(r"\s*\(([^=()]*)\)\s*", text)) is not None:
        options_alone = [piece.strip() for piece in label[1].split(",")]
        if len(options_alone) != len(choices):
            raise SpaceError(
                f"{text.strip()} has {len(options_alone)} options, and the space has "
                f"{len(choices)} choices; write CHOICE=OPTION,CHOICE=OPTION"
            )
        pairs = zip(sorted(choices), options_alone, strict=True)
        parts = [f"{name}={option}" for name, option in pairs]
    for part in filter(None, parts):
        name, sign, option = (piece.strip() for piece in part.partition("="))
        if not sign:
            raise SpaceError(f"{part!r} is no choice and option; write CHOICE=OPTION,CHOICE=OPTION")
        if name not in choices:
            raise SpaceError(f"the space has no choice {name!r}; {_nearest(name, list(choices))}")
        if name in given:
            raise SpaceError(f"the choice {name!r} is given twice; give it once")
        options = {str(known): known for known in choices[name].options}
        if option not in options:
            raise SpaceError(
                f"{name!r} has no option {option!r}; {_nearest(option, list(options))}"
            )
        given[name] = options[option]
    whole = Architecture({name: given.get(name, c.options[0]) for name, c in choices.items()})
    if missing := [name for name in space.active(whole) if name not in given]:
        shown = ", ".join(f"{name}={'|'.join(map(str, choices[name].options))}" for name in missing)
        raise SpaceError(f"the architecture says nothing about {shown}; add them")
    space.validate(whole)
    return space.canonical(whole)


def require_pictures(run: LoadedRun) -> None:
    """Refuse what model folders can't describe, and scores here would be wrong about.

    Raises:
        SettingsError: Unless the run classifies pictures.
    """
    task = task_of(run.settings)
    data: object = run.data  # a user's own data may be of another class
    if not (task is None or isinstance(task, Classification)):
        what = f"its task is {run.settings.run.task}"
    elif not isinstance(data, ImageData):
        what = f"its data ({run.results.data.name}) are no pictures"
    else:
        return
    raise SettingsError(
        f"extract and finetune are for runs that classify pictures, and of {run.folder} {what}; "
        "from Python, supernet.load_run gives its supernet, and supernet.extract and "
        "supernet.save(model, folder, example=inputs) take a network out of it"
    )


def costs_of(run: LoadedRun) -> dict[Architecture, dict[str, int]]:
    """Return the multiply-adds and parameters of the architectures that were scored."""
    return {
        arch: {"macs": record.macs, "params": record.params}
        for arch, record in zip(run.archs, run.results.architectures, strict=True)
    }


def take_out(run: LoadedRun, arch: Architecture) -> nn.Module:
    """Return an architecture of a run as a plain network, its batch norms recalibrated."""
    net = extract(run.supernet, arch)
    recalibrate(net, _calibration(run))
    return net.eval()


def write_model(
    run: LoadedRun,
    arch: Architecture,
    net: nn.Module,
    folder: Path,
    *,
    command: str,
    weights: str,
    formats: Sequence[Format] = (),
    scores: Sequence[ScoreRecord] = (),
    check: bool = False,
) -> Extracted:
    """Write a network of a run as a model folder, with files of other formats beside it.

    Args:
        run: The run.
        arch: Which architecture the network is.
        net: The network.
        folder: Where to; there must be nothing yet.
        command: How it was asked for.
        weights: Where its weights are from, for the card.
        formats: Which files to add.
        scores: What it scored on test samples, for the card; the validation score is taken here.
        check: Whether that must be the one that the run has.

    Raises:
        ExportError: If a file would compute something else; then nothing is left.
        ModelFolderError: If the folder can't be written.
        RunFolderError: If it doesn't score what the run says.
    """
    facts = describe(run, arch, net, command=command, weights=weights, scores=scores)
    notes = check_score(run, arch, facts) if check else ()
    save(net, folder, data=run.data, facts=facts, names=names_of(run.supernet))
    exported, quantized = [], None
    try:
        for name in formats:
            path = folder / FILES[name]
            if name == "int8":
                quantized = _quantize(run, net, path)
                exported.append(quantized.file)
            elif name == "onnx":
                exported.append(export_onnx(net, path, _samples(run)))
            else:
                exported.append(export_program(net, path, _samples(run)))
            add_file(folder, path.name)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Extracted(folder, arch, facts, tuple(exported), quantized, notes)


def describe(
    run: LoadedRun,
    arch: Architecture,
    net: nn.Module,
    *,
    command: str,
    weights: str,
    scores: Sequence[ScoreRecord] = (),
) -> Facts:
    """Return what is known of a network of a run."""
    results = run.results
    hits = score_network(net, run.data.validation.batches(_BATCH)).cpu().numpy().astype(np.bool_)
    validation = ScoreRecord(
        name="accuracy", estimate=estimate_share(hits), images=len(hits), split="validation"
    )
    versions = {
        name: version
        for name, version in results.conditions.versions.items()
        if name in ("supernet", "torch", "python")
    }
    return Facts(
        options=dict(arch),
        params=count_params(net),
        macs=count_macs(run.supernet, arch, form_of_samples(run.data)),
        weights=weights,
        calibration_images=results.data.calibration,
        scores=[*scores, validation],
        data=results.data.name,
        data_sha256=dict(results.data.sha256),
        seed=run.seed,
        command=command,
        trained_by=results.conditions.command,
        verdict=[] if results.verdict is None else list(results.verdict.sentences),
        versions=versions,
    )


def inherited_scores(run: LoadedRun, arch: Architecture) -> list[ScoreRecord]:
    """Return the test score that a run has of an architecture, with an interval over samples."""
    if arch not in run.archs:
        return []
    record = next(one for one in run.results.seeds if one.seed == run.seed)
    if not record.supernet.test:
        return []
    value, count = record.supernet.test[run.archs.index(arch)], run.results.data.test
    if value != value or not count:
        return []
    hits = np.arange(count) < round(value * count)
    return [ScoreRecord(name="accuracy", estimate=estimate_share(hits), images=count, split="test")]


def check_score(run: LoadedRun, arch: Architecture, facts: Facts) -> tuple[str, ...]:
    """Return what to say of a network that doesn't score what the run says it did.

    Raises:
        RunFolderError: If it is far from it: then the weights or the data are others.
    """
    expected = run.scores.get(arch)
    found = next(score for score in facts.scores if score.split == "validation").estimate.value
    if expected is None or expected != expected or expected == found:
        return ()  # not scored, or its evaluation failed, or as it was
    if abs(expected - found) > _DRIFT:
        raise RunFolderError(
            f"{arch.label} gets {found:.4f} of the validation images right, and the run in "
            f"{run.folder} says {expected:.4f}; its weights or its data are not what they were"
        )
    return (
        f"{found:.4f} of the validation images here, {expected:.4f} when the run was made: other "
        "hardware or another version rounds differently",
    )


def default_folder(run: LoadedRun, arch: Architecture, suffix: str = "") -> Path:
    """Return where a model folder goes that nobody named."""
    options = "-".join(re.sub(r"\W+", "", str(option)) for option in arch.values())
    return MODELS / f"{run.folder.resolve().name}-{options[:60]}{suffix}"


def names_of(supernet: Supernet) -> dict[str, str]:
    """Return the names of the choices that are parts of a chain, by their place in it."""
    if not isinstance(supernet.net, nn.Sequential):
        return {}
    return {
        key: module.name
        for key, module in supernet.net.named_children()
        if isinstance(module, Depth | OneOf)
    }


def _holds(limit: Limit, arch: Architecture, costs: Mapping[str, int]) -> bool:
    if limit.name in costs:
        return limit.holds(costs[limit.name])
    return limit.holds(arch[limit.name])


def _front(
    scores: Mapping[Architecture, float], costs: Mapping[Architecture, Mapping[str, int]]
) -> list[Architecture]:
    """Return what no other beats in both, from cheap to dear."""
    found: list[Architecture] = []
    for arch in sorted(scores, key=lambda one: (costs[one]["macs"], -scores[one])):
        if not found or scores[arch] > scores[found[-1]]:
            found.append(arch)
    return found


def _spread(front: Sequence[Architecture], count: int) -> list[Architecture]:
    if count >= len(front):
        return list(front)
    places = np.linspace(len(front) - 1, 0, count).round().astype(int)
    return [front[place] for place in sorted(set(places.tolist()))]


def _nearest(wanted: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.4)
    if not near and _is_number(wanted) and all(map(_is_number, known)):
        near = sorted(known, key=lambda one: abs(float(one) - float(wanted)))[:2]
    shown = known if len(known) <= 12 else [*known[:12], "..."]
    hint = f"the nearest are {', '.join(near)}" if near else "none is near"
    return f"{hint}; it has {', '.join(shown)}"


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?", text) is not None


def _calibration(run: LoadedRun) -> list[Tensor]:
    images = run.data.train.first(run.results.data.calibration)
    return list(images.inputs(_BATCH))


def _samples(run: LoadedRun) -> Tensor:
    """Return real inputs to compare on: 1,000 validation images, or all there are."""
    images = run.data.validation
    return next(images.inputs(min(_COMPARED, len(images))))


def _quantize(run: LoadedRun, net: nn.Module, path: Path) -> Quantized:
    return export_int8(
        net,
        path,
        calibration=torch.cat(_calibration(run)),
        batches=run.data.validation.batches(_BATCH),
    )


def require_formats(formats: Sequence[str]) -> list[Format]:
    """Return formats that were asked for, each once.

    Raises:
        SettingsError: If there is no such format.
    """
    for name in formats:
        if name not in FILES:
            raise SettingsError(f"there is no format {name!r}; choose among {', '.join(FILES)}")
    return list(dict.fromkeys(formats))  # type: ignore[arg-type]
