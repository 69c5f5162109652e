"""Generations of a search and networks trained alone, on the machines of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from supernet.evaluation.accuracy import Scores, evaluate
from supernet.evaluation.searching import ScoreMany
from supernet.experiments.components import build_named, example_of, load_data, task_of
from supernet.experiments.confirmation import Confirmed, Wanted, Watch, train_one
from supernet.experiments.elsewhere import Ingredients, Sending, check_ingredients
from supernet.experiments.loading import LoadedRun
from supernet.experiments.settings import Settings
from supernet.experiments.worker import throttled
from supernet.nn.supernet import Supernet
from supernet.records import Progress
from supernet.runs.checkpoints import Checkpoints, pack, unpack
from supernet.runs.process import set_up_process
from supernet.runs.remote import Cluster, RemoteTask, run_remotely
from supernet.runs.workers import TaskContext
from supernet.space import Architecture


@dataclass(frozen=True)
class Spread:
    """A cluster that a search is spread over.

    Attributes:
        cluster: Where.
        parts: Into how many parts a generation is cut.
        threads: With how many threads each is computed.
    """

    cluster: Cluster
    parts: Callable[[], int]
    threads: int


@dataclass(frozen=True)
class Searched:
    """What a machine needs to know of a run, besides the weights, to score its networks.

    Attributes:
        settings: Of the run.
        ingredients: What its data and sources must be.
        weights_sha256: Of the supernet's weights.
        calibration: How many training samples batch norms are recalibrated on.
        threads: To compute with.
    """

    settings: Settings
    ingredients: Ingredients
    weights_sha256: str
    calibration: int
    threads: int


def spread_scoring(searched: Searched, supernet: Supernet, spread: Spread) -> ScoreMany:
    """Return what scores architectures on validation samples, a part of them on each machine.

    The scores are those of one shared pass over all. Neighbors go together: they share most.

    Args:
        searched: The run.
        supernet: With the weights.
        spread: Where.
    """
    weights = spread.cluster.share(pack(supernet.net.state_dict()))

    def score(archs: Sequence[Architecture]) -> dict[Architecture, Scores]:
        parts = _cut(
            sorted(archs, key=lambda arch: supernet.space.numbers(arch)[0]), spread.parts()
        )
        tasks = [
            RemoteTask(f"generation, part {at + 1}", score_elsewhere, (searched, part), (weights,))
            for at, part in enumerate(parts)
        ]
        found: dict[Architecture, Scores] = {}
        with closing(run_remotely(tasks, spread.cluster)) as messages:
            for message in messages:
                if message.kind == "done":
                    found |= message.content
        return {arch: found[arch] for arch in archs}

    return score


def _cut(archs: Sequence[Architecture], parts: int) -> Iterator[tuple[Architecture, ...]]:
    """Yield runs of about the same length, none of them empty."""
    parts = min(parts, len(archs))
    for at in range(parts):
        yield tuple(archs[len(archs) * at // parts : len(archs) * (at + 1) // parts])


def score_elsewhere(
    searched: Searched,
    archs: Sequence[Architecture],
    weights: bytes,
    state: None,
    context: TaskContext,
) -> dict[Architecture, Scores]:
    """Score architectures of a run on another machine; see `spread_scoring`."""
    set_up_process(threads=searched.threads)
    supernet = _Loaded.of(searched, weights)
    data = load_data(searched.settings.data)
    return evaluate(
        supernet,
        archs,
        calibration=data.train.first(searched.calibration),
        batches=data.validation,
        task=task_of(searched.settings),
        per_sample=True,
    )


class _Loaded:
    """The supernet that this process loaded last: the next generation needs it too."""

    last: tuple[Searched, Supernet] | None = None

    @classmethod
    def of(cls, searched: Searched, weights: bytes) -> Supernet:
        if cls.last is None or cls.last[0] != searched:
            settings = searched.settings
            check_ingredients(settings, searched.ingredients)
            data = load_data(settings.data)
            named = build_named(
                settings, shape=data.shape, classes=data.classes, seed=0, example=example_of(data)
            )
            named.supernet.net.load_state_dict(unpack(weights))
            cls.last = searched, named.supernet
        return cls.last[1]


def spread_training(
    run: LoadedRun,
    searched: Searched,
    spread: Spread,
    folder: Path,
    archs: Sequence[Architecture],
    *,
    every_s: float,
    watch: Watch,
) -> Iterator[Confirmed]:
    """Train architectures alone on a cluster, and yield what they reach, in whatever order.

    Args:
        run: Whose recipe and seed are taken.
        searched: The run, as other machines know it.
        spread: Where.
        folder: For their checkpoints.
        archs: Which.
        every_s: How many seconds lie between two checkpoints of each, at least.
        watch: Told of an architecture's label and its progress.
    """
    tasks = []
    for arch in archs:
        wanted = Wanted.of(run, arch)
        kept = Checkpoints(folder / str(wanted.number), warn=lambda _: None)
        tasks.append(
            RemoteTask(
                arch.label,
                train_elsewhere,
                (wanted, searched.ingredients, spread.threads, every_s),
                state=kept.newest_bytes,
                keep=partial(_keep, kept),
            )
        )
    with closing(run_remotely(tasks, spread.cluster)) as messages:
        for message in messages:
            if message.kind == "done":
                yield message.content
            elif isinstance(message.content, Progress):
                watch(message.task, message.content)


def _keep(checkpoints: Checkpoints, state: Any) -> None:
    if isinstance(state, bytes):  # and not the result, which is written down elsewhere
        checkpoints.take(state)


def train_elsewhere(
    wanted: Wanted,
    ingredients: Ingredients,
    threads: int,
    every_s: float,
    state: bytes | None,
    context: TaskContext,
) -> Confirmed:
    """Train one architecture alone on another machine; see `spread_training`."""
    set_up_process(threads=threads)
    check_ingredients(wanted.settings, ingredients)
    with TemporaryDirectory(prefix="supernet-") as folder:
        checkpoints = Checkpoints(Path(folder), every_s=every_s, warn=context.report)
        if state is not None:
            checkpoints.take(state)
        sending = Sending(context, checkpoints)
        return train_one(wanted, checkpoints, throttled(sending.report), sending.asked_to_stop)
