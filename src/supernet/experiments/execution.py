"""All trainings of a run, in worker processes, or what is left of them; and what comes of them."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from supernet.experiments.comparison import SeedResults, compare, describe_conditions, hits_of
from supernet.experiments.components import build_supernet, load_data
from supernet.experiments.planning import Job, RunPlan, Subject
from supernet.experiments.worker import do_job
from supernet.records import Progress, Results
from supernet.runs.checkpoints import Checkpoints
from supernet.runs.environment import cpu_seconds
from supernet.runs.workers import Task, WorkerMessage, run_tasks
from supernet.training.session import Saved, Trial, read_saved

Watch = Callable[[str, Progress], None]


Weights = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Outcome:
    """What the trainings of a run end with.

    Attributes:
        seeds: The trials.
        weights: The supernets' weights, by seed.
        wall_s: How long it took, in seconds.
        cpu_s: The CPU seconds that trainings under way had behind them when they were taken up.
    """

    seeds: Sequence[SeedResults]
    weights: Mapping[int, Weights]
    wall_s: float
    cpu_s: float


def run(
    plan: RunPlan,
    checkpoints: Path | None = None,
    *,
    every_s: float = 10.0,
    inherit: Sequence[int] = (),
    anew: bool = False,
    watch: Watch = lambda name, progress: None,
    trained: Callable[[str, Trial], None] = lambda name, trial: None,
    note: Callable[[str, str], None] = lambda name, sentence: None,
) -> Outcome:
    """Do all trainings, in worker processes, or what is left of them.

    Args:
        plan: What to do.
        checkpoints: A folder for the state of every training. What is there already is taken up,
            and ends in the same numbers as if it had never been left. By default a folder that is
            removed at the end.
        every_s: How many seconds lie between two checkpoints of a training, at least.
        inherit: File descriptors that workers keep open as long as they live.
        anew: Whether trainings that were saved by another plan begin anew, instead of raising.
        watch: Called with a job's name and its progress, several times a second.
        trained: Called with a job's name and what it left behind, when it has ended, or at once if
            it had ended before.
        note: Called with a job's name and a sentence: that its worker died, or a checkpoint is
            damaged.

    Raises:
        CheckpointError: If the checkpoints are of another run.
        DataError: If the data changed meanwhile.
        DivergedError: If a loss or an output is not a finite number.
        RunFolderError: If a checkpoint can't be written or read.
        WorkerError: If a worker process failed for good.
    """
    start = time.perf_counter()
    trials: dict[tuple[Subject, int, int | None], Trial] = {}
    weights: dict[int, Weights] = {}
    with ExitStack() as stack:
        if checkpoints is None:
            checkpoints = Path(stack.enter_context(TemporaryDirectory(prefix="supernet-")))
        folders = {job.name: checkpoints / _folder_name(job) for job in plan.jobs}

        def resume(job: Job, note: Callable[[str, str], None]) -> Saved:
            found = read_saved(Checkpoints(folders[job.name], warn=partial(note, job.name)))
            if found.trial:
                trials[job.subject, job.seed, job.arch] = found.trial
                if job.subject == "supernet":
                    weights[job.seed] = {name: t.numpy() for name, t in found.net.items()}
            return found

        before = {job.name: resume(job, note=lambda *_: None) for job in plan.jobs}
        for job in plan.jobs:
            if (trial := before[job.name].trial) and not anew:
                trained(job.name, trial)
        # With `anew`, workers see to it whether a trial that has ended is of this plan.
        left = {job.name: job for job in plan.jobs if anew or not before[job.name].trial}
        for job in plan.jobs:
            if done := before[job.name].done:
                epoch = max(1, math.ceil(done * job.epochs))
                watch(job.name, Progress(done=done, epoch=epoch, epochs=job.epochs))
        tasks = [
            Task(job.name, do_job, (plan.settings, job, folders[job.name], every_s, anew))
            for job in left.values()
        ]

        def hear(report: WorkerMessage) -> None:
            if isinstance(report.content, Progress):
                watch(report.task, report.content)
            else:
                note(report.task, report.content)

        reports = run_tasks(tasks, workers=plan.workers, inherit=inherit, on_late_report=hear)
        stack.enter_context(closing(reports))
        for report in reports:
            if report.kind == "done":
                trial = resume(left[report.task], note).trial
                assert trial
                trained(report.task, trial)
            else:
                hear(report)
    return Outcome(
        seeds=_by_seed(trials),
        weights=weights,
        wall_s=time.perf_counter() - start,
        cpu_s=sum(found.cpu_s for found in before.values()),
    )


def _folder_name(job: Job) -> str:
    """Return a name that holds nothing of what users call their choices and networks."""
    network = "" if job.arch is None else f"-{job.arch + 1}"
    return f"seed{job.seed}-{job.subject}{network}"


def _by_seed(trials: Mapping[tuple[Subject, int, int | None], Trial]) -> list[SeedResults]:
    indices = sorted({arch for _, _, arch in trials if arch is not None})
    return [
        SeedResults(
            seed,
            trials["supernet", seed, None],
            [trials["standalone", seed, index] for index in indices],
            trials.get(("longer", seed, None)),
        )
        for seed in sorted({seed for _, seed, _ in trials})
    ]


def judge(
    plan: RunPlan,
    outcome: Outcome,
    *,
    command: str,
    started: str | None = None,
    wall_s: float = 0.0,
    mismatches: Sequence[str] = (),
) -> Results:
    """Return the records of a run, from which reports are made, with the verdict.

    Args:
        plan: What was to be done.
        outcome: What came of it.
        command: How the run was asked for, for the record.
        started: When, in ISO format; by default, `wall_s` ago.
        wall_s: How long it had been worked on before it was taken up again, in seconds.
        mismatches: What had changed then.
    """
    settings = plan.settings
    data = load_data(settings)
    return compare(
        build_supernet(settings, data, seed=0),
        data,
        outcome.seeds,
        settings=settings.model_dump(),
        loading=plan.loading,
        conditions=describe_conditions(
            command,
            wall_s=wall_s + plan.loading.wall_s + outcome.wall_s,
            cpu_s=outcome.cpu_s + cpu_seconds(),
            started=started,
            workers=plan.workers,
            threads=settings.threads,
            mismatches=mismatches,
        ),
    )


def files_of(outcome: Outcome, results: Results) -> dict[str, bytes]:
    """Return the files that keep a run, by name; what reports are made from comes last.

    `hits.npz` holds one bit per image, packed along the last axis, and the number of images.
    """
    found = hits_of(outcome.seeds)
    packed = {name: np.packbits(hits, axis=-1) for name, hits in found.items()}
    sizes = {f"{name}_images": np.array(hits.shape[-1]) for name, hits in found.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **packed, **sizes)
    files = {
        f"supernet-seed{seed}.safetensors": safetensors.numpy.save(dict(weights))
        for seed, weights in outcome.weights.items()
    }
    files["hits.npz"] = buffer.getvalue()
    files["results.json"] = results.model_dump_json(indent=1).encode()
    return files
