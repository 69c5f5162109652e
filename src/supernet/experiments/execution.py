"""Execution of a run's trainings, in worker processes or on a cluster, and their results."""

from __future__ import annotations

import hashlib
import io
import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from supernet.errors import CheckpointError
from supernet.evaluation.naswot import naswot
from supernet.experiments import ranked
from supernet.experiments.comparison import SeedResults, compare, describe_conditions, scores_of
from supernet.experiments.elsewhere import Ingredients, do_job_elsewhere
from supernet.experiments.planning import Job, RunPlan, Subject
from supernet.experiments.settings import changed_settings
from supernet.experiments.worker import do_job, identity_of
from supernet.records import Progress, Results
from supernet.runs.checkpoints import Checkpoints
from supernet.runs.environment import cpu_seconds
from supernet.runs.ranks import ALONE, Ranks
from supernet.runs.remote import Cluster, RemoteTask, run_remotely
from supernet.runs.workers import Task, WorkerMessage, run_tasks
from supernet.space import Architecture
from supernet.training.result import TrainingResult
from supernet.training.session import NOTHING_SAVED, Saved, read_saved

#: Training images whose activations naswot compares.
NASWOT_IMAGES = 128

Weights = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Outcome:
    """What the trainings of a run end with.

    Attributes:
        seeds: Their results.
        weights: The supernets' weights, by seed.
        wall_s: How long it took, in seconds.
        cpu_s: The CPU seconds of trainings that this process and its children did not spend: before
            they were resumed, by other ranks, and on a cluster.
        ranks: How many trained supernets together.
    """

    seeds: Sequence[SeedResults]
    weights: Mapping[int, Weights]
    wall_s: float
    cpu_s: float
    ranks: int = 1


@dataclass(frozen=True)
class Progressed:
    """A training is further: several times a second, and whenever an epoch ends or is saved."""

    job: str
    progress: Progress


@dataclass(frozen=True)
class Trained:
    """A training has ended; or it had ended before, if the run is resumed."""

    job: str
    result: TrainingResult


@dataclass(frozen=True)
class Noted:
    """Something a user should know: a worker died, or a checkpoint is damaged."""

    job: str
    sentence: str


@dataclass(frozen=True)
class Completed:
    """All trainings have ended: the last event."""

    outcome: Outcome = field(repr=False)


RunEvent = Progressed | Trained | Noted | Completed


#: Makes a block; inside, what it gives says whether to stop.
Heeding = Callable[[], AbstractContextManager[Callable[[], bool]]]


def never_asked() -> AbstractContextManager[Callable[[], bool]]:
    """Give a block inside of which nobody asks for an end."""
    return nullcontext(lambda: False)


def execute(
    plan: RunPlan,
    checkpoints: Path | None = None,
    *,
    every_s: float = 10.0,
    inherit: Sequence[int] = (),
    restart: bool = False,
    cluster: Cluster | None = None,
    ranks: Ranks = ALONE,
    heeding: Heeding = never_asked,
) -> Generator[RunEvent, None, None]:
    """Do all trainings, or what is left of them, and yield what happens.

    They are done in worker processes here, or on a cluster. What they compute is the same.

    Args:
        plan: What to do.
        checkpoints: A folder for the state of every training. What is there already is resumed,
            and ends in the same numbers as if it had never been interrupted. By default a folder
            that is removed at the end.
        every_s: How many seconds lie between two checkpoints of a training, at least.
        inherit: File descriptors that workers keep open as long as they live.
        restart: Whether trainings that were saved by another plan begin again, instead of raising.
        cluster: Where trainings are done instead of here; only this process writes checkpoints.
        ranks: Who trains supernets together, if not a worker each; the others `ranked.follow`.
        heeding: Around their work together; it gives what is asked between two steps whether to
            stop, after saving.

    Yields:
        What happens, `Completed` last. After an exception of a worker or a signal, what trainings
        still saved is yielded before it is raised.

    Raises:
        CheckpointError: If the checkpoints are of another run.
        DataError: If the data changed meanwhile.
        DivergedError: If a loss or an output is not a finite number.
        RunFolderError: If a checkpoint can't be written or read.
        WorkerError: If a worker process failed for good.

    Example:
        >>> for event in execute(plan, folder):  # doctest: +SKIP
        ...     log(event)
        ...     show(event)
    """
    start = time.perf_counter()
    with ExitStack() as stack:
        if checkpoints is None:
            checkpoints = Path(stack.enter_context(TemporaryDirectory(prefix="supernet-")))
        found = _Found(restart=restart)
        left = {job.name: job for job in plan.jobs}
        folders = {job.name: checkpoints / job.folder_name for job in plan.jobs}
        for job in plan.jobs:
            before = found.read(job, folders[job.name])
            # With `restart`, workers see to it whether a result that is there is of this plan.
            if before and not restart:
                del left[job.name]
                yield Trained(job.name, before)
        yield from found.resumed()
        cpu_s = found.cpu_s
        if ranks.several:
            shared = [(job, folders[job.name]) for job in left.values() if ranked.is_shared(job)]
            with heeding() as stop:
                for job, progress in ranked.lead(
                    plan, shared, ranks, every_s=every_s, restart=restart, stop=stop
                ):
                    if progress is not None:
                        yield Progressed(job.name, progress)
                    else:
                        yield from found.ended(left.pop(job.name), folders[job.name])
            cpu_s += ranked.spent_elsewhere(ranks)
        jobs = list(left.values())
        messages = (
            _work_here(plan, jobs, folders, every_s, restart, inherit)
            if cluster is None
            else _work_on(cluster, plan, jobs, folders, every_s, restart)
        )
        stack.enter_context(closing(messages))
        for message in messages:
            if message.kind != "done":
                yield _event_of(message)
                continue
            yield from found.ended(left[message.task], folders[message.task])
        if cluster is not None:  # nobody here waited for these processes
            cpu_s = found.cpu_s
    yield Completed(
        Outcome(
            seeds=found.by_seed(),
            weights=found.weights,
            wall_s=time.perf_counter() - start,
            cpu_s=cpu_s,
            ranks=ranks.size,
        )
    )


def run(plan: RunPlan, checkpoints: Path | None = None) -> Outcome:
    """Do all trainings, or what is left of them, and return their results; see `execute`."""
    *_, last = execute(plan, checkpoints)
    assert isinstance(last, Completed)
    return last.outcome


def _work_here(
    plan: RunPlan,
    jobs: Sequence[Job],
    folders: Mapping[str, Path],
    every_s: float,
    restart: bool,
    inherit: Sequence[int],
) -> Generator[WorkerMessage, None, None]:
    tasks = [
        Task(job.name, do_job, (plan.settings, job, folders[job.name], every_s, restart))
        for job in jobs
    ]
    return run_tasks(tasks, workers=plan.workers, inherit=inherit)


def _work_on(
    cluster: Cluster,
    plan: RunPlan,
    jobs: Sequence[Job],
    folders: Mapping[str, Path],
    every_s: float,
    restart: bool,
) -> Generator[WorkerMessage, None, None]:
    """Do trainings on a cluster; write the checkpoints that come back into their folders."""
    ingredients = Ingredients.of(plan.data.sha256, plan.sources)
    tasks = []
    for job in jobs:
        kept = Checkpoints(folders[job.name], warn=lambda _: None)  # they were told of before
        args = (plan.settings, job, ingredients, every_s, restart)
        tasks.append(
            RemoteTask(job.name, do_job_elsewhere, args, state=kept.newest_bytes, keep=kept.take)
        )
    return run_remotely(tasks, cluster)


def _event_of(message: WorkerMessage) -> RunEvent:
    if isinstance(message.content, Progress):
        return Progressed(message.task, message.content)
    return Noted(message.task, message.content)


class _Found:
    """What is found in the checkpoints of a run's trainings."""

    def __init__(self, *, restart: bool) -> None:
        self._restart = restart
        self.results: dict[tuple[Subject, int, int | None], TrainingResult] = {}
        self.weights: dict[int, Weights] = {}
        self._saved: dict[Job, Saved] = {}
        self._notes: list[Noted] = []

    def read(self, job: Job, folder: Path) -> TrainingResult | None:
        """Read what there is of a training; return its result if it has ended."""
        self._notes.clear()
        kept = Checkpoints(folder, warn=partial(self._note, job.name))
        try:
            saved = read_saved(kept, identity_of(job))
        except CheckpointError:
            if not self._restart:
                raise
            saved = NOTHING_SAVED  # the worker begins again
        self._saved[job] = replace(saved, net={})  # but for supernets', no weights are needed
        if saved.result:
            self.results[job.subject, job.seed, job.arch] = saved.result
            if job.subject == "supernet":
                self.weights[job.seed] = {name: t.numpy() for name, t in saved.net.items()}
        return saved.result

    @property
    def cpu_s(self) -> float:
        """The CPU seconds of all that was read."""
        return sum(saved.cpu_s for saved in self._saved.values())

    def ended(self, job: Job, folder: Path) -> Iterator[RunEvent]:
        """Read a training that has just ended; yield what was wrong with it, and that it has."""
        result = self.read(job, folder)
        yield from self.notes()
        assert result
        yield Trained(job.name, result)

    def _note(self, job: str, sentence: str) -> None:
        self._notes.append(Noted(job, sentence))

    def notes(self) -> Iterator[Noted]:
        """Yield what was wrong with what was read last."""
        yield from self._notes

    def resumed(self) -> Iterator[Progressed]:
        """Yield how far trainings are that were begun before."""
        for job, saved in self._saved.items():
            if saved.done:
                epoch = max(1, math.ceil(saved.done * saved.epochs))
                progress = Progress(done=saved.done, epoch=epoch, epochs=saved.epochs)
                yield Progressed(job.name, progress)

    def by_seed(self) -> list[SeedResults]:
        """Return the results, put together by seed."""
        numbers = sorted({arch for _, _, arch in self.results if arch is not None})
        return [
            SeedResults(
                seed,
                self.results["supernet", seed, None],
                [self.results["standalone", seed, number] for number in numbers],
                self.results.get(("longer", seed, None)),
            )
            for seed in sorted({seed for _, seed, _ in self.results})
        ]


def judge(
    plan: RunPlan,
    outcome: Outcome,
    *,
    command: str,
    started: str | None = None,
    wall_s: float = 0.0,
    mismatches: Sequence[str] = (),
    cluster: str = "",
    at_once: int | None = None,
) -> Results:
    """Return the records of a run, from which reports are made, with the verdict.

    Args:
        plan: What was to be done.
        outcome: What they ended with.
        command: How the run was asked for, for the record.
        started: When, in ISO format; by default, `wall_s` ago.
        wall_s: How long it had been worked on before it was resumed, in seconds.
        mismatches: What had changed then.
        cluster: What trained in place of this machine, in words.
        at_once: How many trainings it took at a time; by default, as many as there are workers.
    """
    settings = plan.settings
    return compare(
        plan.named.supernet,
        plan.data,
        outcome.seeds,
        baselines=_baselines(plan),
        settings=settings.flat(),
        changed=changed_settings(settings),
        rank_by=settings.run.rank_by,
        lean=settings.run.lean,
        loading=plan.loading,
        alone=plan.alone or None,
        network=plan.network,
        architectures=plan.architectures,
        conditions=describe_conditions(
            command,
            wall_s=wall_s + plan.loading.wall_s + outcome.wall_s,
            cpu_s=outcome.cpu_s + cpu_seconds(),
            started=started,
            workers=at_once or plan.workers,
            ranks=outcome.ranks,
            threads=settings.run.threads,
            mismatches=mismatches,
            cluster=cluster,
        ),
    )


def _baselines(plan: RunPlan) -> dict[str, dict[Architecture, float]]:
    """Return scores without training, if any were asked for: of those that are trained alone."""
    if not (plan.settings.run.naswot and plan.alone):
        return {}
    few = plan.data.train.first(min(NASWOT_IMAGES, len(plan.data.train)))
    x, _ = next(iter(few.batches(len(few))))
    return {"naswot": naswot(plan.named.supernet, plan.alone, inputs=x)}


def files_of(outcome: Outcome, results: Results) -> dict[str, bytes]:
    """Return the files that keep a run, by name; what reports are made from comes last.

    `hits.npz` holds one bit per image, packed along the last axis, and the number of images; of
    scores that are no hits, a number per sample.
    """
    found = scores_of(outcome.seeds)
    packed = {
        name: np.packbits(scores.astype(np.bool_), axis=-1) if scores.dtype == np.bool_ else scores
        for name, scores in found.items()
    }
    sizes = {f"{name}_images": np.array(scores.shape[-1]) for name, scores in found.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **packed, **sizes)
    files = {
        f"supernet-seed{seed}.safetensors": safetensors.numpy.save(dict(weights))
        for seed, weights in outcome.weights.items()
    }
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    results = results.model_copy(update={"weights_sha256": digests})
    files["hits.npz"] = buffer.getvalue()
    files["results.json"] = results.model_dump_json(indent=1).encode()
    return files
