"""Local worker processes: each takes a task, reports while it works, and is replaced if it dies.

A worker is a fresh Python that imports what its task names and nothing of the script that started
it, so scripts need no `if __name__ == "__main__":`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

from supernet.errors import SupernetError, WorkerError

#: What a task's function is given to report with, as its last argument.
Emit = Callable[[Any], None]

#: A task whose worker dies is done again, so many times at most.
TRIES = 3

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# Run by a worker's Python; its arguments are the pipe, the parent's process id, and sys.path.
_BEGIN = (
    "import sys; sys.path[:] = sys.argv[3:]; "
    "from supernet.launch import serve; serve(int(sys.argv[1]), int(sys.argv[2]))"
)


@dataclass(frozen=True, slots=True)
class Task:
    """Something to do in a worker: `function(*args, emit)`.

    All of it must be picklable, and the function must be one that a module outside the main script
    has.
    """

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What a task had to say. `done` marks its result, which is the last report."""

    task: str
    content: Any
    done: bool = False


def run_tasks(tasks: Sequence[Task], *, workers: int) -> Generator[Report, None, None]:
    """Do all tasks, in the order given as workers become free, and yield their reports.

    What a task computes does not depend on the number of workers. Closing the generator, or an
    exception, ends the workers; so does the end of this process, however it comes.

    Args:
        tasks: What to do.
        workers: How many processes.

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
                crew.append(_Worker())
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

    def __init__(self) -> None:
        self.pipe, theirs = Pipe()
        handle = theirs.fileno()
        arguments = [str(handle), str(os.getpid()), *map(str, sys.path)]
        with theirs, _signals_held():
            try:
                self.process = subprocess.Popen(
                    [sys.executable, "-c", _BEGIN, *arguments],
                    pass_fds=[handle],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,  # ours is for results
                )
            except OSError as error:
                raise WorkerError(
                    f"can't start a worker process: {error}; try fewer workers"
                ) from error
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
                f"{self.process.returncode}); if memory ran out, try fewer workers or a smaller "
                "batch"
            )
        return self.task, self.attempt + 1

    def end(self) -> None:
        """End the process; it holds nothing that would have to be put in order."""
        self.pipe.close()
        self.process.kill()
        self.process.wait()


def _with_news(crew: list[_Worker]) -> list[_Worker]:
    by_pipe = {worker.pipe: worker for worker in crew}
    return [by_pipe[pipe] for pipe in wait(by_pipe) if isinstance(pipe, Connection)]


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Start a process that Ctrl-C can't hit before it has said what it does with it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def serve(handle: int, parent: int) -> None:
    """Be a worker: do tasks until the parent closes the pipe, or is gone.

    Args:
        handle: File descriptor of the pipe.
        parent: Process id of the parent.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    pipe = Connection(handle)
    while True:
        try:
            task: Task = pipe.recv()
        except (EOFError, ConnectionError):
            return
        except Exception as error:
            _send(pipe, ("error", WorkerError(f"a worker can't make out its task: {error}")))
        else:
            _send(pipe, _attempt(task, lambda content: _send(pipe, ("event", content))))


def _attempt(task: Task, emit: Emit) -> tuple[str, Any]:
    try:
        return "done", task.function(*task.args, emit)
    except SupernetError as error:
        return "error", type(error)(f"in {task.name!r}: {error}")
    except Exception as error:
        what = f"{type(error).__name__}: {error}".partition("\n")[0]
        failure = WorkerError(f"{task.name!r} failed with {what}")
        failure.add_note(traceback.format_exc())
        return "error", failure


def _send(pipe: Connection, message: tuple[str, Any]) -> None:
    try:
        pipe.send(message)
    except OSError:  # the parent is gone: so is the reason to work
        os._exit(1)


def _end_with(parent: int) -> None:
    """End this process soon after its parent, even in the middle of something."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
