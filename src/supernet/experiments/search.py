"""A search of a finished run's supernet, in a folder of its own.

The folder holds `search.json`, what is searched for; `evaluations.jsonl`, one line each;
`alone.jsonl`, if the chosen few are trained alone; and, when it has ended, `search.csv`,
`front.json`, `search.html` and the figures. A search that was stopped
or killed goes on where it was, and ends with the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from supernet.errors import RunFolderError, SettingsError, SupernetError
from supernet.evaluation.accuracy import Scores
from supernet.evaluation.corrected import CORRECTED
from supernet.evaluation.intervals import estimate_difference, estimate_share
from supernet.evaluation.latency import load_latency
from supernet.evaluation.searching import ScoreMany, SupernetScorer, search
from supernet.experiments.components import task_of
from supernet.experiments.confirmation import STATE, Confirmed, TrainMany, Watch, train_alone
from supernet.experiments.elsewhere import Ingredients
from supernet.experiments.jsonlines import read_lines, write_lines
from supernet.experiments.loading import LoadedRun
from supernet.experiments.spreading import Searched, Spread, spread_scoring, spread_training
from supernet.reading import SMALL, parse_json, read_regular
from supernet.records import Estimate
from supernet.report.searching import (
    BestAlone,
    Finalist,
    Found,
    SearchReport,
    render_figures,
    to_csv,
    to_html,
)
from supernet.report.wording import in_points, number, several
from supernet.runs import files
from supernet.runs.environment import hardware, versions
from supernet.runs.folder import read_manifest
from supernet.runs.lock import LOCK, hold
from supernet.space import Architecture
from supernet.strategies.constraints import as_limits
from supernet.strategies.loop import select_front
from supernet.strategies.pareto import hypervolume
from supernet.strategies.problem import Evaluation, as_objectives, points_of
from supernet.text import show

SEARCH = "search.json"
EVALUATIONS = "evaluations.jsonl"
BASELINE = "baseline.jsonl"

#: Networks of a front that are looked at more closely; a longer one is thinned out evenly.
_MOST_FINALISTS = 24

#: The most objectives for which the hypervolume is computed.
_MOST_FOR_VOLUME = 3

_REMEDY = "remove its folder, and search again"


@dataclass(frozen=True)
class SearchSettings:
    """What is searched for, and how.

    Attributes:
        objectives: Names; see `supernet.search`.
        limits: What must hold, joined by `and`.
        budget: How many architectures are evaluated at most.
        generation: How many are scored in one shared pass.
        strategy: By name; None for the default.
        seed: Of all luck.
        confirm: How many networks of the front are scored on the test split at the end, with the
            supernet's weights.
        alone: How many are trained alone instead, with the run's recipe, and scored on it then.
        baseline: Whether a random search of the same budget is made for comparison.
        latency: A latency table's file, if latency_ms is wanted.
        any_device: Whether the table may be of another device.
    """

    objectives: tuple[str, ...] = ("score", "macs")
    limits: str = ""
    budget: int = 200
    generation: int = 16
    strategy: str | None = None
    seed: int = 0
    confirm: int = 0
    alone: int = 0
    baseline: bool = False
    latency: str | None = None
    any_device: bool = False

    def check(self) -> None:
        """Find out what can be known without the run.

        Raises:
            SettingsError: If something makes no sense.
        """
        as_objectives(self.objectives)
        as_limits(self.limits)
        for name, value, least in (
            ("budget", self.budget, 1),
            ("generation", self.generation, 1),
            ("confirm", self.confirm, 0),
            ("number to train alone", self.alone, 0),
        ):
            if value < least:
                raise SettingsError(f"the {name} is {value}; it must be at least {least}")
        if self.confirm and self.alone:
            raise SettingsError(
                "confirm and alone are both set; the test split is looked at once: choose one"
            )


def default_folder(run: LoadedRun, settings: SearchSettings) -> Path:
    """Return the folder of a search in its run's: the same for the same settings."""
    digest = hashlib.sha256(json.dumps(asdict(settings), sort_keys=True).encode()).hexdigest()
    return run.folder / f"search-{digest[:8]}"


def execute(
    run: LoadedRun,
    settings: SearchSettings,
    folder: Path,
    *,
    every_s: float = 10.0,
    watch: Watch = lambda name, progress: None,
    spread: Spread | None = None,
) -> Generator[Evaluation | SearchReport, None, None]:
    """Search, or resume a search; yield evaluations as they are made, and at last the report.

    Evaluations that were made before are yielded too.

    Args:
        run: Whose supernet is searched.
        settings: What for.
        folder: Of the search.
        every_s: How many seconds lie between two checkpoints of a network that is trained alone.
        watch: Told of the label of such a network, and its progress.
        spread: The cluster that scores generations and trains networks in place of this process.

    Raises:
        SettingsError: If the settings make no sense for the run.
        RunFolderError: If the folder holds something else, or can't be used.
    """
    settings.check()
    with _held(folder, _identity(run, settings)):
        data = run.data
        calibration = data.train.first(run.results.data.calibration)
        task = task_of(run.settings)
        scorer = SupernetScorer(run.supernet, data, task, calibration)
        score = _score_many(run, spread)
        every = {}
        for name, strategy in (("search", settings.strategy), ("random", "random")):
            if name == "random" and not settings.baseline:
                continue
            path = folder / (EVALUATIONS if name == "search" else BASELINE)
            found: list[Evaluation] = []
            earlier = read_lines(path, _parse, remedy=_REMEDY)
            for evaluation in search(
                run.supernet,
                data,
                budget=settings.budget,
                objectives=settings.objectives,
                limits=settings.limits,
                costs=_costs(run, settings),
                strategy=strategy,
                generation=settings.generation,
                seed=settings.seed,
                task=task,
                calibration=calibration,
                earlier=earlier,
                score=score,
                alone=run.standalone_validation if _wants_corrected(settings) else {},
            ):
                found.append(evaluation)
                # A generation comes at once; what is in the file is never less than before.
                if len(found) > len(earlier) and _ends_generation(found, settings):
                    write_lines(path, map(_row, found), folder)
                if name == "search":
                    yield evaluation
            write_lines(path, map(_row, found), folder)
            every[name] = found
        front = _thinned(select_front(every["search"], settings.objectives), _MOST_FINALISTS)
        chosen = [one.arch for one in _thinned(front, settings.confirm or settings.alone)]
        train_many = _train_many(run, spread, folder / STATE, every_s, watch)
        confirmed = (
            train_alone(run, chosen, folder, every_s=every_s, watch=watch, train_many=train_many)
            if settings.alone
            else _score_unseen(run, chosen, scorer)
        )
        report = _report(run, settings, every, scorer, confirmed)
        _write_report(report, folder)
        yield report


def _score_many(run: LoadedRun, spread: Spread | None) -> ScoreMany | None:
    if spread is None:
        return None
    return spread_scoring(_searched(run, spread.threads), run.supernet, spread)


def _train_many(
    run: LoadedRun, spread: Spread | None, folder: Path, every_s: float, watch: Watch
) -> TrainMany | None:
    if spread is None:
        return None
    searched = _searched(run, spread.threads)
    return partial(spread_training, run, searched, spread, folder, every_s=every_s, watch=watch)


def _searched(run: LoadedRun, threads: int) -> Searched:
    manifest = read_manifest(run.folder)
    return Searched(
        run.settings,
        Ingredients.of(manifest.data_sha256, manifest.sources_sha256),
        _sha256(_weights(run)),
        run.results.data.calibration,
        threads,
    )


def _ends_generation(found: Sequence[Evaluation], settings: SearchSettings) -> bool:
    return len(found) % settings.generation == 0 or len(found) == settings.budget


def _costs(run: LoadedRun, settings: SearchSettings) -> dict[str, Any]:
    if settings.latency is None:
        return {}
    table = load_latency(settings.latency)
    return {"latency_ms": table.cost_of(run.supernet, any_device=settings.any_device)}


def _identity(run: LoadedRun, settings: SearchSettings) -> dict[str, Any]:
    """Return what a search that goes on must find again."""
    latency = settings.latency and _sha256(Path(settings.latency))
    return {
        "format": 1,
        "settings": {**asdict(settings), "objectives": list(settings.objectives)},
        "latency_sha256": latency,
        "weights_sha256": _sha256(_weights(run)),
        "space_sha256": run.supernet.space.sha256,
        "data_sha256": dict(run.results.data.sha256),
        "versions": versions(),
        "hardware": hardware(),
    }


def _weights(run: LoadedRun) -> Path:
    return run.folder / f"supernet-seed{run.seed}.safetensors"


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise RunFolderError(files.unreadable(path, error)) from None


@contextmanager
def _held(folder: Path, identity: Mapping[str, Any]) -> Iterator[None]:
    """Hold the folder of a search, which must be new, or of this very search."""
    try:
        new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(files.unwritable(folder, error)) from None
    lock = hold(folder)
    try:
        path = folder / SEARCH
        content = json.dumps(identity, indent=1, sort_keys=True).encode()
        before = _read_json(path)
        if before is None:
            others = [each.name for each in folder.iterdir() if each.name != LOCK]
            if others:
                raise RunFolderError(
                    f"{show(folder)} holds something else ({show(others[0])}); name a new folder"
                )
            files.write(path, content, root=folder)
        elif differing := _differing(before, json.loads(content)):
            raise RunFolderError(
                f"{show(folder)} holds another search: {show('; '.join(differing))}; name "
                "another folder with --out"
            )
        yield
    except SupernetError:
        if new:
            _leave_nothing_empty(folder)
        raise
    finally:
        os.close(lock)


def _leave_nothing_empty(folder: Path) -> None:
    """Remove the folder of a search that was refused before it found anything."""
    with suppress(OSError):
        if {each.name for each in folder.iterdir()} <= {LOCK, SEARCH}:
            for name in (SEARCH, LOCK):
                (folder / name).unlink(missing_ok=True)
            folder.rmdir()


def _differing(before: Any, now: Mapping[str, Any]) -> list[str]:
    if not isinstance(before, dict):
        return ["its search.json is damaged"]
    found = []
    for name, value in now.items():
        old = before.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            names = sorted({*value, *old})
            found += [
                f"{each} was {old.get(each)}, and is {value.get(each)}"
                for each in names
                if old.get(each) != value.get(each)
            ]
        elif old != value:
            found.append(f"{name} is not what it was")
    return found


def _read_json(path: Path) -> Any:
    try:
        return parse_json(read_regular(path, SMALL, follow=False))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{show(path)} can't be read: {show(str(error))}") from None


def _row(one: Evaluation) -> dict[str, Any]:
    return {
        "number": one.number,
        "options": dict(one.arch),
        "values": {k: v if math.isfinite(v) else None for k, v in one.values.items()},
        "error": one.error,
    }


def _parse(number: int, said: Any) -> Evaluation:
    values = {k: math.nan if v is None else float(v) for k, v in said["values"].items()}
    if said["number"] != number:
        raise ValueError(f"evaluation {number} is missing")
    return Evaluation(Architecture(said["options"]), values, said["error"], number)


def _score_unseen(
    run: LoadedRun, archs: Sequence[Architecture], scorer: SupernetScorer
) -> dict[Architecture, Confirmed]:
    """Score networks on the test split, with the supernet's weights."""
    if not archs:
        return {}
    found = _sound(scorer.samples_of(archs, run.data.test))
    failed = "its outputs were no finite numbers"
    return {
        arch: Confirmed(arch, scores=found[arch])
        if arch in found
        else Confirmed(arch, error=failed)
        for arch in archs
    }


def _report(
    run: LoadedRun,
    settings: SearchSettings,
    every: Mapping[str, list[Evaluation]],
    scorer: SupernetScorer,
    confirmed: Mapping[Architecture, Confirmed],
) -> SearchReport:
    found = every["search"]
    front = select_front(found, settings.objectives)
    in_front = {one.number for one in front}
    finalists, samples = _finalists(_thinned(front, _MOST_FINALISTS), scorer, confirmed)
    space = run.supernet.space
    return SearchReport(
        title=f"Search of {run.results.network.name} on {run.results.data.name}",
        objectives=tuple((o.name, o.direction) for o in as_objectives(settings.objectives)),
        limits=" and ".join(map(str, as_limits(settings.limits))),
        found=tuple(
            Found(one.number, dict(one.arch), one.values, one.error, one.number in in_front)
            for one in found
        ),
        front=finalists,
        volumes=_volumes(settings, every),
        options={choice.name: choice.options for choice in space.choices},
        facts=_facts(run, settings),
        samples=samples,
        alone=_training_of(run) if settings.alone else "",
        best=_best(confirmed) if settings.alone else None,
        corrected=_correction_of(run) if _wants_corrected(settings) else "",
    )


def _wants_corrected(settings: SearchSettings) -> bool:
    return any(one.name == CORRECTED for one in as_objectives(settings.objectives))


def _correction_of(run: LoadedRun) -> str:
    """Return what `corrected` is, and how far it is off where the run says so, in a sentence."""
    known = sum(map(math.isfinite, run.standalone_validation.values()))
    said = (
        f"Corrected is the validation score that a network would reach alone, as "
        f"{several(known, 'network')} of the run tell that were trained alone"
    )
    if (corrected := run.results.corrected) is None:
        return f"{said}."
    error = in_points(corrected.error, corrected.measure)
    after, before = (corrected.taus[name] for name in ("corrected", "one_shot"))
    return (
        f"{said}; of these, left out one at a time, on the test split of the run: error {error}, "
        f"tau {number(after)} (one-shot {number(before)})."
    )


def _training_of(run: LoadedRun) -> str:
    recipe = run.settings.recipe
    return f"{several(recipe.epochs, 'epoch')}, seed {run.seed}"


def _best(confirmed: Mapping[Architecture, Confirmed]) -> BestAlone | None:
    """Return the best by validation samples, and whose test scores can't be told from its own."""
    sound = [one for one in confirmed.values() if one.error is None]
    if len(sound) < 2:
        return None
    best = max(sound, key=lambda one: one.validation)
    like = [o.arch.label for o in sound if o is not best and _alike(best.scores, o.scores)]
    return BestAlone(best.arch.label, best.validation, tuple(like))


def _thinned(front: Sequence[Evaluation], most: int) -> list[Evaluation]:
    """Return at most so many, evenly, the ends among them."""
    if len(front) <= most:
        return list(front)
    if most < 2:
        return list(front[:most])
    return [front[round(at * (len(front) - 1) / (most - 1))] for at in range(most)]


def _finalists(
    front: Sequence[Evaluation],
    scorer: SupernetScorer,
    confirmed: Mapping[Architecture, Confirmed],
) -> tuple[tuple[Finalist, ...], tuple[int, int]]:
    """Score the networks of the front sample by sample: intervals, and who can't be told apart."""
    if not front:
        return (), (0, 0)
    seen = _sound(scorer.samples_of([one.arch for one in front]))
    unseen = {arch: one.scores for arch, one in confirmed.items() if one.error is None}
    found = []
    for one in front:
        like = tuple(
            other.arch.label
            for other in front
            if other is not one and _alike(seen[one.arch], seen[other.arch])
        )
        found.append(
            Finalist(
                one.number,
                one.arch.label,
                one.values,
                _estimate(seen[one.arch]),
                like,
                _estimate(unseen[one.arch]) if one.arch in unseen else None,
                confirmed[one.arch].error if one.arch in confirmed else None,
            )
        )
    counts = [len(next(iter(scores.values()))) if scores else 0 for scores in (seen, unseen)]
    return tuple(found), (counts[0], counts[1])


def _sound(found: Mapping[Architecture, Scores]) -> dict[Architecture, np.ndarray]:
    return {arch: _numpy(each.scores) for arch, each in found.items() if each.scores is not None}


def _numpy(scores: Tensor) -> np.ndarray:
    return np.asarray(scores.cpu().numpy())


def _estimate(scores: np.ndarray) -> Estimate:
    if scores.dtype == np.bool_:
        return estimate_share(scores)
    return _normal(scores)


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Say whether the difference of two scores, sample by sample, may be nothing."""
    hits = one.dtype == np.bool_
    difference = estimate_difference(one, other) if hits else _normal(one - other)
    return difference.low <= 0 <= difference.high


def _normal(values: np.ndarray) -> Estimate:
    mean = float(values.mean())
    half = 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return Estimate(value=mean, low=mean - half, high=mean + half)


def _volumes(
    settings: SearchSettings, every: Mapping[str, list[Evaluation]]
) -> dict[str, list[float]]:
    """Return the hypervolume after each evaluation, in the box that all evaluations span."""
    objectives = as_objectives(settings.objectives)
    sound = [one for found in every.values() for one in found if one.error is None]
    if len(objectives) > _MOST_FOR_VOLUME or not sound:
        return {}
    points = points_of(sound, objectives)
    low, spread = points.min(axis=0), np.ptp(points, axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    curves = {}
    for name, found in every.items():
        curve, kept = [], np.zeros((0, len(objectives)))
        for one in found:
            if one.error is None:
                point = (points_of([one], objectives) - low) / spread
                kept = np.concatenate([kept, point])
            curve.append(hypervolume(kept, np.full(len(objectives), 1.0 + 1e-9)))
        curves[name] = curve
    return curves


def _facts(run: LoadedRun, settings: SearchSettings) -> dict[str, str]:
    found = {name: str(value) for name, value in asdict(settings).items() if value}
    found |= {f"version of {name}": value for name, value in versions().items()}
    return {
        "supernet": f"seed {run.seed}",
        "architectures in the space": f"{run.supernet.space.size:,}",
        **found,
        **hardware(),
    }


def _write_report(report: SearchReport, folder: Path) -> None:
    files.write(folder / "search.csv", to_csv(report), root=folder)
    front = [
        {
            "number": one.number,
            "options": dict(found.options),
            "values": {k: v if math.isfinite(v) else None for k, v in one.values.items()},
            "validation": one.validation.model_dump(),
            "confirmed": one.confirmed and one.confirmed.model_dump(),
            "confirmed_by": _confirmed_by(report) if one.confirmed else None,
            "unconfirmed": one.unconfirmed,
            "cannot_be_told_from": list(one.like),
        }
        for one in report.front
        for found in [report.found[one.number]]
    ]
    files.write(folder / "front.json", json.dumps(front, indent=1).encode(), root=folder)
    figures = render_figures(report)
    for name, formats in figures.items():
        for suffix, content in formats.items():
            files.write(folder / "figures" / f"{name}.{suffix}", content, root=folder)
    svg = {name: formats["svg"] for name, formats in figures.items()}
    files.write(folder / "search.html", to_html(report, svg).encode(), root=folder)


def _confirmed_by(report: SearchReport) -> str:
    return f"trained alone ({report.alone})" if report.alone else "the supernet's weights"
