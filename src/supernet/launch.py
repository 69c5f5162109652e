"""Local worker processes: each takes a task, reports while it works, and is replaced if it dies."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from supernet.errors import SupernetError, WorkerError
from supernet.process import set_up_process

#: What a task's function is given to report with, as its last argument.
Emit = Callable[[Any], None]

#: A task whose worker dies is done again, so many times at most.
TRIES = 3

_SECONDS_TO_END = 5.0


@dataclass(frozen=True, slots=True)
class Task:
    """Something to do in a worker: `function(*args, emit)`. All of it must be picklable."""

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What a task had to say. `done` marks its result, which is the last report."""

    task: str
    content: Any
    done: bool = False


def run_tasks(tasks: Sequence[Task], *, workers: int, threads: int) -> Iterator[Report]:
    """Do all tasks, in the order given as workers become free, and yield their reports.

    What a task computes does not depend on the number of workers. Closing the iterator, or an
    exception, ends the workers.

    Args:
        tasks: What to do.
        workers: How many processes, each with `threads` threads.
        threads: See `supernet.process.set_up_process`.

    Raises:
        SupernetError: Whatever a task raised of this package's own.
        WorkerError: If a task failed otherwise, or its worker died `TRIES` times.
    """
    waiting = deque((task, 1) for task in tasks)
    crew: list[_Worker] = []
    try:
        while True:
            for worker in [worker for worker in crew if worker.task is None]:
                if waiting:
                    worker.give(*waiting.popleft())
                else:
                    crew.remove(worker)
                    worker.end()
            while waiting and len(crew) < workers:
                crew.append(_Worker(threads))
                crew[-1].give(*waiting.popleft())
            if not crew:
                return
            for worker in _with_news(crew):
                report = worker.listen()
                if report is not None:
                    yield report
                else:
                    crew.remove(worker)
                    worker.end()
                    waiting.appendleft(worker.task_after_death())
    finally:
        for worker in crew:
            worker.end()


class _Worker:
    """The parent's view of one worker process."""

    def __init__(self, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(
            target=_work, args=(theirs, threads), daemon=True
        )
        self.process.start()
        theirs.close()
        self.task: Task | None = None
        self.attempt = 0

    def give(self, task: Task, attempt: int) -> None:
        self.task, self.attempt = task, attempt
        with contextlib.suppress(OSError):  # it is dead already: `listen` will find out
            self.pipe.send(task)

    def listen(self) -> Report | None:
        """Return what the worker says, or None if it is gone."""
        assert self.task is not None
        try:
            kind, content = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(_SECONDS_TO_END)
            return None
        if kind == "error":
            raise content
        report = Report(self.task.name, content, done=kind == "done")
        if report.done:
            self.task = None
        return report

    def task_after_death(self) -> tuple[Task, int]:
        assert self.task is not None
        if self.attempt >= TRIES:
            raise WorkerError(
                f"the worker process doing {self.task.name!r} died {TRIES} times (last exit code "
                f"{self.process.exitcode}); if memory ran out, try fewer workers or a smaller "
                "batch; in a script, start from under `if __name__ == '__main__':`"
            )
        return self.task, self.attempt + 1

    def end(self) -> None:
        self.pipe.close()
        self.process.terminate()
        self.process.join(_SECONDS_TO_END)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _with_news(crew: list[_Worker]) -> list[_Worker]:
    by_pipe = {worker.pipe: worker for worker in crew}
    return [by_pipe[pipe] for pipe in wait(by_pipe) if isinstance(pipe, Connection)]


def _work(pipe: Connection, threads: int) -> None:
    """Serve tasks until the parent closes the pipe, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    set_up_process(threads=threads)
    try:
        while True:
            task: Task = pipe.recv()
            try:
                result = task.function(*task.args, lambda content: pipe.send(("event", content)))
            except (EOFError, BrokenPipeError):
                raise
            except SupernetError as error:
                pipe.send(("error", type(error)(f"{task.name}: {error}")))
            except Exception:
                pipe.send(("error", WorkerError(f"{task.name} failed:\n{traceback.format_exc()}")))
            else:
                pipe.send(("done", result))
    except (EOFError, BrokenPipeError):
        pass  # the parent is gone: so is the reason to work
