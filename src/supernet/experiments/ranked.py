"""Supernets of a run, trained by several ranks together.

The first rank says which, and where their checkpoints are, and writes them; the others follow. Then
they part: networks that are trained alone are the first one's to see to, in workers of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from supernet.errors import SupernetError
from supernet.experiments.planning import Job, RunPlan
from supernet.experiments.worker import follow_job, throttled
from supernet.records import Progress
from supernet.runs.checkpoints import Checkpoints
from supernet.runs.environment import code_sha256, cpu_seconds, versions
from supernet.runs.ranks import Ranks
from supernet.runs.workers import failure_of


def is_shared(job: Job) -> bool:
    """Return whether ranks do a training together, if there are several."""
    return job.arch is None


def require_same_program(ranks: Ranks) -> None:
    """See that all ranks run the same code, of the same versions.

    Raises:
        RankError: If not.
    """
    ranks.require_same({"the versions": versions(), "the package's code": code_sha256()})


def require_same_plan(plan: RunPlan, ranks: Ranks) -> None:
    """See that all ranks are about to do the same, with the same data.

    Raises:
        RankError: If not.
    """
    ranks.require_same(
        {
            "the data": dict(plan.data.sha256),
            "the user's source files": dict(plan.sources),
            "the search space": plan.space_sha256,
            "the settings": plan.settings.flat(),
        }
    )


def lead(
    plan: RunPlan,
    folders: Sequence[tuple[Job, Path]],
    ranks: Ranks,
    *,
    every_s: float,
    restart: bool,
    stop: Callable[[], bool],
) -> Iterator[tuple[Job, Progress | None]]:
    """Do trainings together with the other ranks, as the first; yield how far they are.

    None, when one has ended. See `execution.execute` for the arguments.
    """
    told = {"restart": restart, "folders": {job.name: str(folder) for job, folder in folders}}
    ranks.tell(json.dumps(told).encode())
    for job, folder in folders:
        kept = Checkpoints(folder, every_s=every_s)
        for progress in _train(plan, job, kept, ranks, restart=restart, stop=stop):
            yield job, progress
        yield job, None


def follow(plan: RunPlan, ranks: Ranks, stop: Callable[[], bool]) -> None:
    """Do what the first rank says, and leave when all is done."""
    told = json.loads(ranks.tell(None) or b"{}")
    jobs = {job.name: job for job in plan.jobs}
    for name, folder in told.get("folders", {}).items():
        kept = Checkpoints(Path(folder))  # for what is said of them; the first one alone uses them
        for _ in _train(plan, jobs[name], kept, ranks, restart=told["restart"], stop=stop):
            pass
    spent_elsewhere(ranks)


def spent_elsewhere(ranks: Ranks) -> float:
    """Return the CPU seconds of all other ranks."""
    own = cpu_seconds()
    return ranks.total(own)[0] - own


def _train(
    plan: RunPlan,
    job: Job,
    checkpoints: Checkpoints,
    ranks: Ranks,
    *,
    restart: bool,
    stop: Callable[[], bool],
) -> Iterator[Progress]:
    shown: list[Progress] = []
    note = throttled(shown.append)
    training = follow_job(plan.settings, job, checkpoints, restart=restart, stop=stop, ranks=ranks)
    for progress in _told_of(training, job):
        note(progress)
        yield from shown
        shown.clear()


def _told_of(training: Iterator[Progress], job: Job) -> Iterator[Progress]:
    """Follow a training; what nobody foresaw in it becomes a sentence, as in a worker."""
    try:
        yield from training
    except SupernetError:
        raise
    except Exception as error:
        raise failure_of(job.name, error) from error
