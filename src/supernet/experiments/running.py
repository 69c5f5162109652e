"""A run from start to end, begun or resumed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Self

from rich.console import Console

from supernet.errors import RunFolderError, SupernetError
from supernet.experiments import execution
from supernet.experiments.clusters import opened
from supernet.experiments.execution import (
    Completed,
    Heeding,
    Noted,
    Outcome,
    Progressed,
    RunEvent,
    Trained,
    never_asked,
)
from supernet.experiments.planning import RunPlan
from supernet.experiments.settings import Settings, to_yaml
from supernet.records import Manifest, Results
from supernet.report import write_report
from supernet.report.progress import waiting, watching
from supernet.runs.folder import (
    MANIFEST,
    RESULTS,
    RunFolder,
    read_events,
    read_manifest,
    read_results,
)
from supernet.runs.manifest import differences
from supernet.runs.ranks import ALONE, Ranks
from supernet.runs.ray import Place
from supernet.runs.status import read_status, seconds_worked
from supernet.text import visible

#: Where runs go that nobody named a folder for.
RUNS = Path("runs")


@dataclass(frozen=True)
class Run:
    """A run whose folder this process holds, until it is left as a context manager.

    Attributes:
        folder: Its folder.
        resumed: Whether it was begun before.
        mismatches: What is not as it was when it was begun.
    """

    folder: RunFolder
    resumed: bool = False
    mismatches: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.folder.close()

    @property
    def results(self) -> Results | None:
        """The results, if it got so far; the report may still be missing."""
        if not (self.folder.path / RESULTS).exists():
            return None
        return read_results(self.folder.path)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to be done, unless somebody removed the results."""
        return any(event.event == "finished" for event in read_events(self.folder.path))

    def execute(
        self,
        plan: RunPlan,
        console: Console,
        *,
        every_s: float,
        on: Place | None = None,
        note: Callable[[RunEvent], None] = lambda _: None,
        ranks: Ranks = ALONE,
        heeding: Heeding = never_asked,
    ) -> Results:
        """Do what is left, and return the results.

        Args:
            plan: What to do.
            console: Where progress is shown.
            every_s: How many seconds lie between two checkpoints of a training, at least.
            on: The cluster that trains; by default, worker processes here do.
            note: Called with whatever happens in the trainings.
            ranks: See `execution.execute`.
            heeding: See there.
        """
        earlier = read_events(self.folder.path)
        with self._ending_noted():
            self.folder.log(
                "resumed" if self.resumed else "started",
                jobs=[job.name for job in plan.jobs],
                measure=plan.measure.model_dump(),
                mismatches=list(self.mismatches),
            )
            results = self.results
            if results is None:
                noted = {event.job for event in earlier if event.event == "trained"}
                run = plan.settings.run
                with opened(
                    on,
                    console,
                    threads=run.threads,
                    device=run.device,
                    at_once=run.workers,
                    tasks=len(plan.jobs),
                ) as cluster:
                    at_once = None if cluster is None else min(cluster.slots(), len(plan.jobs))
                    words = "" if cluster is None else cluster.describe()
                    events = execution.execute(
                        plan,
                        self.folder.checkpoints,
                        every_s=every_s,
                        inherit=[self.folder.lock],
                        restart=bool(self.mismatches),
                        cluster=cluster,
                        ranks=ranks,
                        heeding=heeding,
                    )
                    outcome = self._train(plan, events, console, noted, note)
                with waiting("judging", console):
                    found = [m for event in earlier for m in event.mismatches]
                    results = execution.judge(
                        plan,
                        outcome,
                        command=self.folder.manifest.arguments,
                        started=self.folder.manifest.created,
                        wall_s=seconds_worked(earlier),
                        mismatches=list(dict.fromkeys([*found, *self.mismatches])),
                        cluster=words,
                        at_once=at_once,
                    )
                for name, content in execution.files_of(outcome, results).items():
                    self.folder.write(name, content)
                results = self.results or results  # which names the weights just written
            with waiting("drawing figures and writing the page", console):
                write_report(results, self.folder.path)
            self.folder.drop_checkpoints()  # before the last line, after which nobody would
            self.folder.log("finished")
        return results

    def _train(
        self,
        plan: RunPlan,
        events: Generator[RunEvent, None, None],
        console: Console,
        noted: Collection[str | None],
        note: Callable[[RunEvent], None],
    ) -> Outcome:
        """Log and show what happens in the plan, but for results that are logged already."""
        with (
            watching(plan.shares(), console, plan.measure) as show,
            closing(events),
        ):
            for event in events:
                if isinstance(event, Completed):
                    return event.outcome
                note(event)
                if not (isinstance(event, Trained) and event.job in noted):
                    self._log(event)
                if isinstance(event, Progressed):
                    show(event.job, event.progress)
                elif isinstance(event, Noted):
                    console.out(visible(f"{event.job}: {event.sentence}"), highlight=False)
        raise AssertionError("the events of a run end with Completed")

    def _log(self, event: Progressed | Trained | Noted) -> None:
        """Write down in `events.jsonl` what happened, if it is worth a line."""
        log = partial(self.folder.log, job=event.job)
        match event:
            case Trained(result=result):
                phases = [phase.model_dump(mode="json") for phase in result.phases]
                log("trained", test=result.training.test, phases=phases)
            case Noted(sentence=sentence):
                log("note", reason=sentence)
            case Progressed(progress=progress):
                if progress.ended:
                    ended = progress.ended.model_dump(mode="json")
                    log("epoch", done=progress.done, **ended)
                if progress.steps:
                    log("measured", steps=progress.steps, epochs=progress.epochs)
                if progress.saved:
                    log("saved", done=progress.done)

    @contextmanager
    def _ending_noted(self) -> Iterator[None]:
        """Leave a last line in the run's events, unless the block ends well."""
        try:
            yield
        except BaseException as error:
            with suppress(SupernetError):
                details = getattr(error, "__notes__", [])
                self.folder.log("stopped", reason=str(error), details=details)
            raise


def begin(manifest: Manifest, settings: Settings, path: Path | None, *, prefix: str) -> Run:
    """Begin a run in a new folder.

    Args:
        manifest: What it is begun with.
        settings: All settings, for `config.yaml`.
        path: The folder; by default, a new one among the runs.
        prefix: What the name of a new one ends with, after the time.

    Raises:
        RunFolderError: If the folder can't be used.
    """
    config = to_yaml(settings).encode()
    return Run(RunFolder.create(path or _new_folder(prefix), manifest, config))


def resume(manifest: Manifest, path: Path, *, allow_mismatch: bool) -> Run:
    """Go on with a run.

    Args:
        manifest: What it would be begun with now.
        path: Its folder.
        allow_mismatch: Whether to resume even if that could change a result.

    Raises:
        RunFolderError: If that could change a result, or the folder can't be used.
    """
    folder = RunFolder.open(path)
    found = differences(folder.manifest, manifest)
    if found and not allow_mismatch:
        folder.close()
        raise RunFolderError(
            f"the run in {path} was begun with something else ({'; '.join(found)}); start again in "
            "another folder, or resume all the same with --allow-mismatch, which is recorded"
        )
    return Run(folder, resumed=True, mismatches=tuple(found))


def holds_run(path: Path) -> bool:
    """Whether a run was begun in a folder."""
    try:
        return (path / MANIFEST).exists()
    except OSError:  # nobody can have a folder there: whoever begins a run in it will see why
        return False


def find_unfinished(manifest: Manifest) -> Path | None:
    """Return the newest run that was begun with the same and left unfinished, or None."""
    for path in sorted(RUNS.glob(f"*/{MANIFEST}"), reverse=True):
        folder = path.parent
        with suppress(RunFolderError):
            if differences(read_manifest(folder), manifest):
                continue
            if read_status(folder).state in ("stopped", "killed", "new"):
                return folder
    return None


def _new_folder(prefix: str) -> Path:
    stamp = datetime.now(UTC).astimezone().strftime("%Y%m%d-%H%M%S")
    name = f"{stamp}-{prefix}"
    names = [name, *(f"{name}-{number}" for number in range(2, 100))]
    return next(path for n in names if not (path := RUNS / n).exists())
