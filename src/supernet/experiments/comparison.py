"""Comparison of one-shot with standalone training: trials side by side, time, and a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Protocol

import numpy as np
import scipy
import torch
from numpy.typing import NDArray

from supernet.errors import DataError, SettingsError, SpaceError
from supernet.evaluation.cost import (
    Form,
    count_layers,
    count_macs,
    count_network_macs,
    count_params,
    count_shared_macs,
)
from supernet.evaluation.ranking.bootstrap import Samples, Scores
from supernet.evaluation.ranking.correction import FEWEST, correct
from supernet.evaluation.ranking.features import features_of
from supernet.evaluation.ranking.leaning import lean_to_larger
from supernet.evaluation.ranking.metrics import Floats
from supernet.evaluation.ranking.stability import describe_ranking
from supernet.evaluation.ranking.verdict import Costs, judge
from supernet.nn.extraction import extract
from supernet.nn.outline import outline
from supernet.nn.supernet import Supernet
from supernet.records import (
    ArchitectureRecord,
    ChoiceRecord,
    Conditions,
    Corrected,
    DataRecord,
    NetworkRecord,
    Phase,
    Ranking,
    Results,
    SeedRecord,
    Verdict,
)
from supernet.report.wording import COUNTS
from supernet.runs.environment import cpu_seconds, hardware, versions
from supernet.sharing import PassPlan
from supernet.space import Architecture
from supernet.training.data import form_of_samples
from supernet.training.result import TrainingResult
from supernet.training.session import Data


class NamedData(Data, Protocol):
    """Data that can say what they are; see `supernet.datasets.ImageData`."""

    @property
    def name(self) -> str:
        """What people call them."""

    @property
    def classes(self) -> int:
        """How many classes there are."""

    @property
    def sha256(self) -> Mapping[str, str]:
        """Of the unpacked files, by name."""


@dataclass(frozen=True)
class SeedResults:
    """Everything trained under one seed.

    Attributes:
        seed: The seed.
        supernet: The trial of the supernet.
        standalone: One trial per architecture scored, in their order, or per architecture that
            `compare` is told of as trained alone; or none at all.
        longer: The trial of a supernet given about as much compute as all of `standalone`.
    """

    seed: int
    supernet: TrainingResult
    standalone: Sequence[TrainingResult] = ()
    longer: TrainingResult | None = None


def compare(
    supernet: Supernet,
    data: NamedData,
    seeds: Sequence[SeedResults],
    *,
    settings: Mapping[str, Any] | None = None,
    loading: Phase | None = None,
    conditions: Conditions | None = None,
    alone: Sequence[Architecture] | None = None,
    rank_by: Literal["score", "loss"] | None = None,
    lean: float = 0.0,
    changed: Sequence[str] | None = None,
    network: NetworkRecord | None = None,
    architectures: Sequence[ArchitectureRecord] | None = None,
    baselines: Mapping[str, Mapping[Architecture, float]] | None = None,
) -> Results:
    """Return the records of a whole comparison, verdict included; reports are made from them.

    Args:
        supernet: The network, for its space and costs; its weights don't matter.
        data: What all trials were trained and scored on.
        seeds: The trials. All have the same parts.
        settings: What to note as settings; the supernet's recipe by default.
        loading: What it took to load the data.
        conditions: Where, when and with what they were made; by default here, with what there is
            now, in as much time as the trials took, one after the other.
        alone: Which of the architectures scored were trained alone, in the order of the trials; by
            default all of them. The verdict is on these.
        rank_by: Whether one-shot ranks by scores or by losses; by default by losses, if the trials
            have them: they tie less often, and ranked better on the yardstick.
        lean: How much the ranking leans to networks of more multiply-adds, see `lean_to_larger`.
        changed: Which settings are not those of a preset, for the page, if that is known.
        network: The parts of the network and its costs, if they were counted already.
        architectures: Likewise, those scored with their costs.
        baselines: More scores that need no training, higher is better, by name, such as
            `{"naswot": supernet.naswot(untrained, inputs=x)}`; of all architectures trained alone.

    Raises:
        DataError: If there are no trials, or a baseline lacks an architecture.
        DivergedError: If the evaluations of all architectures failed, in one seed or another.
        SettingsError: If it is to rank by losses, and the trials have none, or `lean` is below 0.
        SpaceError: If there is not one standalone trial per architecture that is to have one, or
            none at all, or an architecture trained alone was not scored.
    """
    if not seeds:
        raise DataError("there are no trials to compare; give those of at least one seed")
    first = seeds[0].supernet
    archs = first.archs
    trained = archs if alone is None else tuple(alone)
    _check_trials(seeds, archs, trained)
    places = [archs.index(arch) for arch in trained]
    if architectures is None:
        architectures = describe_architectures(supernet, form_of_samples(data), archs)
    if network is None:
        macs = [record.macs for record in architectures]
        network = describe_network(supernet, form_of_samples(data), archs, macs)
    architectures = _with_scores(architectures, archs, trained, baselines or {})
    rank_by = rank_by or ("score" if losses_of(seeds) is None else "loss")
    ledger = [loading] if loading else []
    ledger += [phase for seed in seeds for phase in _phases(seed, trained)]
    scores = scores_of(seeds)
    leaning = _leaning(seeds, architectures, rank_by, lean)
    verdict = None
    if "standalone_test" in scores and scores["standalone_test"].size:
        verdict = _verdict(seeds, scores, architectures, places, rank_by, leaning)
    return Results(
        conditions=conditions
        or describe_conditions("from Python", wall_s=sum(phase.wall_s for phase in ledger)),
        settings=dict(asdict(first.recipe) if settings is None else settings),
        data=DataRecord(
            name=_storable(data.name),
            classes=data.classes,
            train=len(data.train),
            validation=len(data.validation),
            test=len(data.test),
            calibration=first.calibration_images,
            shape=data.shape,
            sha256=dict(data.sha256),
        ),
        network=network,
        architectures=list(architectures),
        seeds=[
            SeedRecord(
                seed=seed.seed,
                supernet=seed.supernet.training,
                standalone=[trial.training for trial in seed.standalone],
                longer=seed.longer.training if seed.longer else None,
            )
            for seed in seeds
        ],
        ledger=ledger,
        verdict=verdict,
        measure=first.measure,
        changed=None if changed is None else list(changed),
        alone=places if verdict and len(places) < len(archs) else None,
        ranking=_ranking(seeds, architectures, rank_by, leaning),
        corrected=_corrected(seeds, architectures, places, rank_by, leaning) if verdict else None,
    )


def _with_scores(
    records: Sequence[ArchitectureRecord],
    archs: Sequence[Architecture],
    trained: Sequence[Architecture],
    baselines: Mapping[str, Mapping[Architecture, float]],
) -> list[ArchitectureRecord]:
    """Enter scores without training among what is known of the architectures."""
    for name, scores in baselines.items():
        if name in COUNTS:
            raise SettingsError(f"{name} are a baseline anyway; give yours another name")
        if bad := [arch.label for arch in trained if math.isnan(scores.get(arch, math.nan))]:
            raise DataError(f"the baseline {name} has no number for {bad[0]}; give one for each")
    return [
        record.model_copy(
            update={
                "scores": {
                    name: float(scores[arch])
                    for name, scores in baselines.items()
                    if arch in scores
                }
            }
        )
        for record, arch in zip(records, archs, strict=True)
    ]


def _rankings(records: Sequence[ArchitectureRecord]) -> dict[str, list[float]]:
    """Return what needs no training: a number per architecture, by the name of what it is."""
    counts = {
        "multiply-adds": [float(arch.macs) for arch in records],
        "parameters": [float(arch.params) for arch in records],
        "layers": [float(arch.layers or 0) for arch in records],
    }
    names = [name for name in records[0].scores if all(name in arch.scores for arch in records)]
    # Ranks, as a score may be infinite.
    ranks = {
        name: scipy.stats.rankdata([arch.scores[name] for arch in records]).tolist()
        for name in names
    }
    return counts | ranks


def _check_trials(
    seeds: Sequence[SeedResults], archs: Sequence[Architecture], trained: Sequence[Architecture]
) -> None:
    if len(set(trained)) < len(trained) or not set(trained) <= set(archs):
        raise SpaceError(
            "those trained alone must be among the architectures scored, each once; they are "
            f"{[arch.label for arch in trained[:5]]}"
        )
    for seed in seeds:
        if seed.supernet.archs != archs:
            raise SpaceError(
                f"the supernet of seed {seed.seed} was scored on other architectures than that of "
                f"seed {seeds[0].seed}; score the same ones, in the same order"
            )
        trials = seed.standalone
        if trials and [len(trial.archs) for trial in trials] != [1] * len(trained):
            raise SpaceError(
                f"seed {seed.seed} has {len(trials)} standalone trials; give one of a "
                f"plain network for each of {[arch.label for arch in trained]}, in this order"
            )


def describe_conditions(
    command: str,
    *,
    wall_s: float,
    cpu_s: float | None = None,
    started: str | None = None,
    workers: int = 1,
    ranks: int = 1,
    threads: int | None = None,
    mismatches: Sequence[str] = (),
    cluster: str = "",
) -> Conditions:
    """Return the conditions of a run on this machine.

    Args:
        command: How it was started.
        wall_s: How long all of it took, in seconds.
        cpu_s: CPU seconds of all of it; by default, of this process and its children so far.
        started: When, in ISO format; by default, now less the duration.
        workers: How many processes trained at a time.
        ranks: How many trained a supernet together.
        threads: How many threads each had; what PyTorch uses here by default.
        mismatches: What changed between a run that was stopped and its going on, in words.
        cluster: What trained in place of this machine, in words.
    """
    if started is None:
        start = datetime.now(UTC) - timedelta(seconds=wall_s)
        started = start.isoformat(timespec="seconds")
    return Conditions(
        command=_storable(command),
        started=started,
        versions=versions(),
        hardware=hardware(),
        threads=threads or torch.get_num_threads(),
        workers=workers,
        ranks=ranks,
        wall_s=wall_s,
        cpu_s=cpu_seconds() if cpu_s is None else cpu_s,
        mismatches=list(mismatches),
        cluster=cluster,
    )


def describe_architectures(
    supernet: Supernet, shape: Form, archs: Sequence[Architecture] | None = None
) -> list[ArchitectureRecord]:
    """Return architectures with their costs; by default every one of the space."""
    return [
        ArchitectureRecord(
            label=arch.label,
            options=dict(arch),
            params=count_params(net),
            layers=count_layers(net),
            macs=count_network_macs(net, shape),  # last: it leaves no numbers in the network
        )
        for arch, net in (
            (arch, extract(supernet, arch)) for arch in (supernet.space if archs is None else archs)
        )
    ]


def describe_network(
    supernet: Supernet,
    shape: Form,
    archs: Sequence[Architecture] | None = None,
    macs: Sequence[int] | None = None,
    shared: PassPlan | None = None,
) -> NetworkRecord:
    """Return the parts of a supernet, and the work of running some architectures, or all.

    Args:
        supernet: The network.
        shape: Of one sample, such as channels, height, width; or samples of another form.
        archs: Which architectures; by default every one of the space.
        macs: The multiply-adds of each, if they are known.
        shared: The plan of a pass over all of them, if there is one.
    """
    archs = list(supernet.space if archs is None else archs)
    apart = [count_macs(supernet, arch, shape) for arch in archs] if macs is None else macs
    return NetworkRecord(
        name="Supernet",
        choices=[
            ChoiceRecord(name=choice.name, options=list(choice.options))
            for choice in supernet.space.choices
        ],
        stages=outline(supernet),
        params=count_params(supernet),
        macs_apart=sum(apart),
        macs_shared=shared.macs // shared.samples
        if shared
        else count_shared_macs(supernet, archs, shape),
        macs_largest=max(apart),
    )


def scores_of(seeds: Sequence[SeedResults]) -> dict[str, Samples]:
    """Return scores per sample, by name: seeds x architectures x samples; booleans are hits.

    Where an evaluation failed they mean nothing; `failures_of` says where.
    """
    scores: dict[str, Samples] = {
        "one_shot_validation": np.stack([seed.supernet.validation for seed in seeds]),
        "one_shot_test": np.stack([seed.supernet.test for seed in seeds]),
    }
    if all(seed.standalone for seed in seeds):
        tests = [np.concatenate([trial.test for trial in seed.standalone]) for seed in seeds]
        scores["standalone_test"] = np.stack(tests)
    longer = [seed.longer.test for seed in seeds if seed.longer]
    if len(longer) == len(seeds):
        scores["longer_test"] = np.stack(longer)
    return scores


def losses_of(seeds: Sequence[SeedResults]) -> NDArray[np.floating[Any]] | None:
    """Return the losses of validation samples in the supernet: seeds x architectures x samples.

    None if not all trials have them. Where an evaluation failed they mean nothing.
    """
    losses = [seed.supernet.validation_losses for seed in seeds]
    known = [each for each in losses if each is not None]
    return np.stack(known) if len(known) == len(losses) else None


def failures_of(seeds: Sequence[SeedResults]) -> dict[str, NDArray[np.bool_]]:
    """Return which evaluations failed, by name, as in `scores_of`: boolean, seeds x architectures.

    Those are the ones whose accuracy is NaN.
    """
    accuracies: dict[str, list[list[float]]] = {
        "one_shot_validation": [seed.supernet.training.validation for seed in seeds],
        "one_shot_test": [seed.supernet.training.test for seed in seeds],
        "standalone_test": [
            [accuracy for trial in seed.standalone for accuracy in trial.training.test]
            for seed in seeds
        ],
        "longer_test": [seed.longer.training.test for seed in seeds if seed.longer],
    }
    return {
        name: np.isnan(np.array(accuracies[name], np.float64).reshape(scores.shape[0], -1))
        if scores.size
        else np.zeros(scores.shape[:2], np.bool_)
        for name, scores in scores_of(seeds).items()
    }


def _storable(text: str) -> str:
    r"""Return text that JSON can hold: bytes of a file's name that are no text become escapes.

    >>> print(_storable("caf\udce9"))
    caf\udce9
    """
    return text.encode(errors="backslashreplace").decode()


def _phases(seed: SeedResults, archs: Sequence[Architecture]) -> list[Phase]:
    """Return the bill of a seed, each standalone network under its architecture's name."""
    own = [*seed.supernet.phases, *(seed.longer.phases if seed.longer else ())]
    own += [
        phase.model_copy(update={"arch": arch.label})
        for trial, arch in zip(seed.standalone, archs, strict=False)
        for phase in trial.phases
    ]
    return [phase.model_copy(update={"seed": seed.seed}) for phase in own]


def _verdict(
    seeds: Sequence[SeedResults],
    scores: Mapping[str, Samples],
    architectures: Sequence[ArchitectureRecord],
    places: Sequence[int],
    rank_by: Literal["score", "loss"],
    leaning: Floats | None,
) -> Verdict:
    """Judge the networks at some places, those that were trained alone."""
    records = [architectures[place] for place in places]
    failed = failures_of(seeds)
    inside = [name for name in scores if name != "standalone_test"]
    losses = losses_of(seeds)
    return judge(
        Scores(
            **(dict(scores) | {name: scores[name][:, places] for name in inside}),
            failed=failed | {name: failed[name][:, places] for name in inside},
        ),
        Costs(
            supernet=np.array([_training_seconds(seed.supernet) for seed in seeds]),
            standalone=np.array(
                [[_training_seconds(trial) for trial in seed.standalone] for seed in seeds]
            ),
            scoring=np.array([_round_seconds(seed.supernet) for seed in seeds]),
        ),
        labels=[arch.label for arch in records],
        macs=[arch.macs for arch in records],
        rng=np.random.default_rng(seeds[0].seed),
        rank_by=rank_by,
        measure=seeds[0].supernet.measure,
        losses=None if losses is None else losses[:, places],
        baselines=_rankings(records),
        leaning=None if leaning is None else leaning[list(places)],
    )


def _leaning(
    seeds: Sequence[SeedResults],
    architectures: Sequence[ArchitectureRecord],
    rank_by: Literal["score", "loss"],
    lean: float,
) -> Floats | None:
    """Return what makes the ranking lean to larger networks; None if it isn't to."""
    if not lean:
        return None
    losses = losses_of(seeds) if rank_by == "loss" else None
    ranking = scores_of(seeds)["one_shot_validation"] if losses is None else -losses
    macs = [arch.macs for arch in architectures]
    failed = failures_of(seeds)["one_shot_validation"]
    return lean_to_larger(ranking, macs, lean, failed)


def _ranking(
    seeds: Sequence[SeedResults],
    architectures: Sequence[ArchitectureRecord],
    rank_by: Literal["score", "loss"],
    leaning: Floats | None,
) -> Ranking:
    scores, failed = scores_of(seeds), failures_of(seeds)
    epochs = [seed.supernet.training.epochs for seed in seeds]
    before = None
    if all(len(each) > 1 for each in epochs):
        before = np.array([each[-2].validation for each in epochs])
    return describe_ranking(
        scores["one_shot_validation"],
        labels=[arch.label for arch in architectures],
        macs=[arch.macs for arch in architectures],
        rng=np.random.default_rng(seeds[0].seed),
        failed=failed["one_shot_validation"] | failed["one_shot_test"],
        before=before,
        losses=losses_of(seeds),
        rank_by=rank_by,
        test=scores["one_shot_test"] if scores["one_shot_test"].size else None,
        measure=seeds[0].supernet.measure,
        leaning=leaning,
    )


def _corrected(
    seeds: Sequence[SeedResults],
    architectures: Sequence[ArchitectureRecord],
    places: Sequence[int],
    rank_by: Literal["score", "loss"],
    leaning: Floats | None,
) -> Corrected | None:
    """Correct the ranking by the networks trained alone, where they are some of many."""
    alone = np.array([[t.training.test[0] for t in seed.standalone] for seed in seeds]).mean(axis=0)
    inside = np.array([seed.supernet.training.validation for seed in seeds]).mean(axis=0)
    known = [i for i, score in enumerate(alone) if np.isfinite(score)]
    if len(places) == len(architectures) or len(known) < FEWEST or not np.isfinite(inside).all():
        return None
    losses = losses_of(seeds)
    mean_losses = None if losses is None else losses.mean(axis=(0, 2), dtype=np.float64)
    more = 0 if leaning is None else leaning
    ranking = inside + more
    if mean_losses is not None and rank_by == "loss":
        mean_losses = mean_losses - more
        ranking = -mean_losses
    return correct(
        [arch.options for arch in architectures],
        features_of(
            inside.tolist(),
            None if mean_losses is None else mean_losses.tolist(),
            macs=[arch.macs for arch in architectures],
            params=[arch.params for arch in architectures],
            layers=[arch.layers or 0 for arch in architectures],
        ),
        [places[i] for i in known],
        alone[known],
        measure=seeds[0].supernet.measure,
        labels=[arch.label for arch in architectures],
        macs=[arch.macs for arch in architectures],
        ranking=ranking,
    )


def _training_seconds(trial: TrainingResult) -> float:
    return sum(phase.cpu_s for phase in trial.phases if phase.kind == "training")


def _round_seconds(trial: TrainingResult) -> float:
    """Return what it costs to calibrate all architectures and score them on validation data."""
    images = {
        "recalibration": trial.calibration_images,
        "scoring": trial.validation.shape[1],
    }
    bills = [phase for phase in trial.phases if phase.kind in images]
    return sum((phase.cpu_s / phase.images * images[phase.kind] for phase in bills), start=0.0)
