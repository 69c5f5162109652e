"""Model folders from a finished run: which architectures, and what is known of each."""

from __future__ import annotations

import difflib
import math
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from torch import Tensor, nn

from supernet.errors import RunFolderError, SettingsError, SpaceError
from supernet.evaluation.accuracy import find_best, score_network
from supernet.evaluation.batches import even_size, joined
from supernet.evaluation.batchnorm import has_batch_norms, recalibrate
from supernet.evaluation.cost import count_macs, count_params
from supernet.evaluation.intervals import estimate_mean
from supernet.evaluation.ranking.bootstrap import Samples
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
from supernet.records import Measure
from supernet.report.wording import score, unit_of
from supernet.space import Architecture, Option, SearchSpace
from supernet.strategies import Limit, parse_limits
from supernet.strategies.constraints import check_names
from supernet.tasks import Classification, Task
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
        best: The one that is best by what the run ranks by: validation score, or loss.
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
        for found, score in run.ranked.items()
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
    save(net, folder, data=run.data, task=task_for(run), facts=facts, names=names_of(run.supernet))
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
    if not isinstance(task_for(run), Classification):
        exported = [replace(file, same_top1=None) for file in exported]  # of what are no classes
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
    task = task_for(run)
    scores_of_samples = score_network(net, run.data.validation.batches(_BATCH), task).cpu().numpy()
    validation = score_record(task.measure, scores_of_samples, "validation")
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
        calibration_images=results.data.calibration if has_batch_norms(net) else None,
        scores=[*scores, validation],
        data=results.data.name,
        data_sha256=dict(results.data.sha256),
        seed=run.seed,
        command=command,
        trained_by=results.conditions.command,
        verdict=[] if results.verdict is None else list(results.verdict.sentences),
        versions=versions,
    )


def task_for(run: LoadedRun) -> Task:
    """Return the task of a run."""
    return task_of(run.settings) or Classification()


def score_record(
    measure: Measure, scores: Samples, split: Literal["validation", "test"]
) -> ScoreRecord:
    """Return the record of scores, one per sample, with an interval over samples."""
    return ScoreRecord(
        name=measure.name,
        estimate=estimate_mean(scores),
        images=len(scores),
        split=split,
        measure=measure,
    )


def inherited_scores(run: LoadedRun, arch: Architecture) -> list[ScoreRecord]:
    """Return the test score that a run has of an architecture, with an interval over samples."""
    if arch not in run.archs:
        return []
    scores = kept_scores(run, "one_shot_test", run.archs.index(arch))
    if scores is None:
        return []
    return [score_record(run.results.measure, scores, "test")]


def kept_scores(run: LoadedRun, name: str, place: int) -> Samples | None:
    """Return the score of each test sample that a run kept, or None if there are none.

    Args:
        run: The run.
        name: Of the array in `hits.npz`.
        place: Of the architecture in it.
    """
    seed = [record.seed for record in run.results.seeds].index(run.seed)
    try:
        with np.load(run.folder / "hits.npz", allow_pickle=False) as arrays:
            kept, count = arrays[name][seed, place], int(arrays[f"{name}_images"])
    except (OSError, KeyError, ValueError, IndexError):
        return None  # removed, or of a run that kept none
    packed = kept.dtype == np.uint8
    scores: Samples = np.unpackbits(kept, count=count).astype(np.bool_) if packed else kept
    sound = scores.ndim == 1 and len(scores) == run.results.data.test and len(scores) > 0
    finite = scores.dtype.kind in "bf" and bool(np.isfinite(scores).all())
    failed = any(math.isnan(value) for value in _means_of(run, name, place))
    return scores if sound and finite and not failed else None


def _means_of(run: LoadedRun, name: str, place: int) -> list[float]:
    """Return the mean that the records have for an array of `hits.npz`, if they have one."""
    record = next(one for one in run.results.seeds if one.seed == run.seed)
    if name == "one_shot_test":
        return record.supernet.test[place : place + 1]
    return [mean for training in record.standalone[place : place + 1] for mean in training.test]


def check_score(run: LoadedRun, arch: Architecture, facts: Facts) -> tuple[str, ...]:
    """Return what to say of a network that doesn't score what the run says it did.

    Raises:
        RunFolderError: If it is far from it: then the weights or the data are others.
    """
    expected = run.scores.get(arch)
    validation = next(score for score in facts.scores if score.split == "validation")
    found, measure = validation.estimate.value, validation.measure
    if expected is None or expected != expected or expected == found:
        return ()  # not scored, or its evaluation failed, or as it was
    here, there = (f"{score(value, measure)} {unit_of(measure)}" for value in (found, expected))
    # A share of a number without bounds; where it is about 0, of the width of its interval.
    width = validation.estimate.high - validation.estimate.low
    allowed = _DRIFT if measure.unit == "%" else _DRIFT * max(abs(expected), width)
    if abs(expected - found) > allowed:
        raise RunFolderError(
            f"{arch.label} scores {here} on the validation samples, and the run in {run.folder} "
            f"says {there}; its weights or its data are not what they were"
        )
    if here == there:
        return ()
    return (
        f"{here} on the validation samples here, {there} when the run was made: other hardware or "
        "another version rounds differently",
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


def _calibration(run: LoadedRun) -> Iterable[tuple[Any, Any]]:
    samples = run.data.train.first(run.results.data.calibration)
    return samples.batches(even_size(len(samples), _BATCH))


def _samples(run: LoadedRun) -> Any:
    """Return real inputs to compare on: 1,000 validation samples, or all there are."""
    samples = run.data.validation
    count = min(_COMPARED, len(samples))
    return joined([x for x, _ in samples.first(count).batches(count)])


def _quantize(run: LoadedRun, net: nn.Module, path: Path) -> Quantized:
    calibration = joined([x for x, _ in _calibration(run)])
    if not (isinstance(task_for(run), Classification) and isinstance(calibration, Tensor)):
        raise SettingsError(
            "int8 is for networks that classify one tensor, as what it costs is measured in "
            "accuracy; leave that format out"
        )
    return export_int8(
        net, path, calibration=calibration, batches=run.data.validation.batches(_BATCH)
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
