"""Local worker processes: each takes a task, reports while it works, and is replaced if it dies.

A worker is a fresh Python that imports what its task names and nothing of the script that started
it, so scripts need no `if __name__ == "__main__":`. Workers that are to end are asked first, so
that they can save what they have.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any, Literal, Protocol

from supernet.errors import Stopped, SupernetError, WorkerError


class TaskContext(Protocol):
    """What a task's function is given as its last argument, to be in touch with who gave it."""

    def report(self, content: Any) -> None:
        """Say something, as a report of this task."""

    def asked_to_stop(self) -> bool:
        """Whether the task should save what it has, and raise `Stopped`."""


#: A task whose worker dies is done again, so many times at most.
TRIES = 3

#: So long may workers take to stop when they are asked to, all together, before they are killed.
GRACE_S = 30.0

#: prctl(2): the signal that the kernel sends when the parent ends.
_PR_SET_PDEATHSIG = 1

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

#: Where no user's own code is: this package, Python, and what is installed.
_NOT_A_USERS = (
    Path(__file__).resolve().parents[1],
    *(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")),
)

# Run by a worker's Python; its arguments are the pipe, the parent's process id, and sys.path.
_BEGIN = (
    "import sys; sys.path[:] = sys.argv[3:]; "
    "from supernet.runs.workers import serve; serve(int(sys.argv[1]), int(sys.argv[2]))"
)


@dataclass(frozen=True, slots=True)
class Task:
    """Something to do in a worker: `function(*args, context)`; see `TaskContext`.

    All of it must be picklable, and the function must be one that a module outside the main script
    has.
    """

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkerMessage:
    """What there is to say of a task.

    Something it `said`; its result, when it is `done`; or how its worker `died`, in words, and then
    it is done again.
    """

    task: str
    content: Any
    kind: Literal["said", "done", "died"] = "said"


def run_tasks(
    tasks: Sequence[Task], *, workers: int, inherit: Sequence[int] = ()
) -> Generator[WorkerMessage, None, None]:
    """Do all tasks, in the order given as workers become free, and yield what they report.

    What a task computes does not depend on the number of workers. Closing the generator, or an
    exception, asks the tasks under way to stop, and ends the workers when they have, or after half
    a minute. What they still report is yielded before an exception raised in here goes on. The end
    of this process, however it comes, ends them at once.

    Args:
        tasks: What to do.
        workers: How many processes.
        inherit: File descriptors that they keep open as long as they live.

    Raises:
        SupernetError: Whatever a task raised of this package's own.
        WorkerError: If a task failed otherwise, or its worker died `TRIES` times.
    """
    waiting = deque((task, 1) for task in tasks)
    pool: list[_Worker] = []
    try:
        yield from _work(waiting, pool, workers, inherit)
    except GeneratorExit:
        for _ in _drained(pool):
            pass
        raise
    except BaseException:
        yield from _drained(pool)
        raise
    finally:
        for worker in pool:
            worker.end()


def _work(
    waiting: deque[tuple[Task, int]], pool: list[_Worker], workers: int, inherit: Sequence[int]
) -> Iterator[WorkerMessage]:
    """Keep workers busy until nothing waits, and yield what they report."""
    while True:
        for worker in [worker for worker in pool if worker.task is None]:
            if waiting:
                worker.send_task(*waiting.popleft())
            else:
                pool.remove(worker)
                worker.end()
        while waiting and len(pool) < workers:
            pool.append(_Worker(inherit))
            pool[-1].send_task(*waiting.popleft())
        if not pool:
            return
        for worker in _with_news(pool):
            message = worker.listen()
            if message is None:
                pool.remove(worker)
                worker.end()
                task, attempt, cause = worker.task_after_death()
                waiting.appendleft((task, attempt))
                message = WorkerMessage(task.name, cause, "died")
            yield message


class _Worker:
    """The parent's view of one worker process."""

    def __init__(self, inherit: Sequence[int] = ()) -> None:
        self.pipe, theirs = Pipe()
        handle = theirs.fileno()
        arguments = [str(handle), str(os.getpid()), *map(str, sys.path)]
        # Held, or they could hit the process before it has said what it does with them.
        with theirs, _signals_held():
            try:
                self.process = subprocess.Popen(
                    [sys.executable, "-c", _BEGIN, *arguments],
                    pass_fds=[handle, *inherit],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,  # ours is for results
                )
            except OSError as error:
                raise WorkerError(
                    f"can't start a worker process: {error}; try fewer workers"
                ) from error
        self.task: Task | None = None
        self.attempt = 0

    def send_task(self, task: Task, attempt: int) -> None:
        self.task, self.attempt = task, attempt
        with contextlib.suppress(OSError):  # it is dead already: `listen` will find out
            self.pipe.send(task)

    def listen(self) -> WorkerMessage | None:
        """Return what the worker says, or None if it is gone."""
        assert self.task is not None
        try:
            with _signals_held():  # so that nobody is stopped in the middle of a message
                kind, content = self.pipe.recv()
        except (EOFError, OSError):
            return None
        if kind == "stopped":  # not at our request: it is as good as dead
            return None
        if kind == "error":
            raise content
        report = WorkerMessage(self.task.name, content, kind)
        if kind == "done":
            self.task = None
        return report

    def task_after_death(self) -> tuple[Task, int, str]:
        """Return the task, the number of its next attempt, and how this worker ended."""
        assert self.task is not None
        how = f"last exit code {self.process.returncode}"
        if self.attempt >= TRIES:
            raise WorkerError(
                f"the worker process doing {self.task.name!r} died {TRIES} times ({how}); if "
                "memory ran out, try fewer workers or a smaller batch"
            )
        return self.task, self.attempt + 1, f"the worker process died ({how}); it is done again"

    def ask_to_stop(self) -> None:
        """Ask, and let it know that no more tasks come, in case it waits for one."""
        self.process.terminate()
        with socket.socket(fileno=os.dup(self.pipe.fileno())) as end, contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_WR)

    def drain(self) -> WorkerMessage | None:
        """Return what it still says, so that nothing holds it up, or None if it is done."""
        assert self.task is not None
        try:
            with _signals_held():
                kind, content = self.pipe.recv()
        except (EOFError, OSError):
            return None
        return WorkerMessage(self.task.name, content) if kind == "said" else None

    def end(self) -> None:
        """End the process, whatever it does."""
        self.pipe.close()
        self.process.kill()
        self.process.wait()


def _drained(pool: Sequence[_Worker]) -> Iterator[WorkerMessage]:
    """Ask workers to stop, let them save what they have, and yield what they report meanwhile."""
    busy = [worker for worker in pool if worker.task is not None]
    for worker in busy:
        worker.ask_to_stop()
    end = time.monotonic() + GRACE_S
    while busy and (left := end - time.monotonic()) > 0:
        for worker in _with_news(busy, left):
            if (message := worker.drain()) is None:
                busy.remove(worker)
            else:
                yield message


def _with_news(pool: list[_Worker], timeout_s: float | None = None) -> list[_Worker]:
    by_pipe = {worker.pipe: worker for worker in pool}
    return [by_pipe[pipe] for pipe in wait(by_pipe, timeout_s) if isinstance(pipe, Connection)]


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Hold back Ctrl-C and the like inside the block."""
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
    _end_with_parent(parent)
    context = _WorkerContext(Connection(handle))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, context.stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    while not context.asked_to_stop():
        try:
            task: Task = context.pipe.recv()
        except (EOFError, ConnectionError):
            return
        except Exception as error:
            context.send("error", WorkerError(f"a worker can't make out its task: {error}"))
        else:
            context.send(*attempt(task, context))


class _WorkerContext:
    """The worker's end of the pipe; see `TaskContext`."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self._stopping = False

    def report(self, content: Any) -> None:
        self.send("said", content)

    def asked_to_stop(self) -> bool:
        return self._stopping

    def stop(self, signum: int, frame: object) -> None:
        self._stopping = True

    def send(self, kind: str, content: Any) -> None:
        try:
            self.pipe.send((kind, content))
        except OSError:  # the parent is gone: so is the reason to work
            os._exit(1)


def attempt(task: Task, context: TaskContext) -> tuple[str, Any]:
    """Do a task; return `done` and its result, `stopped` and None, or `error` and the exception."""
    try:
        return "done", task.function(*task.args, context)
    except Stopped:
        return "stopped", None
    except SupernetError as error:
        return "error", type(error)(f"in {task.name!r}: {error}")
    except Exception as error:
        return "error", failure_of(task.name, error)


def failure_of(task: str, error: Exception) -> WorkerError:
    """Return what to raise for an exception that nobody foresaw, its traceback as a note."""
    what = f"{type(error).__name__}: {error}".partition("\n")[0]
    failure = WorkerError(f"{task!r} failed with {what}{_place_of(error)}")
    failure.add_note("".join(traceback.format_exception(error)))
    return failure


def _place_of(error: Exception) -> str:
    """Return in which line of a user's own file an exception arose, if it did in one."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_file() and not any(path.is_relative_to(folder) for folder in _NOT_A_USERS):
            return f" (line {frame.lineno} of {path.name})"
    return ""


def _end_with_parent(parent: int) -> None:
    """From now on, end this process when its parent ends, in whatever way and at once.

    Where the kernel can't see to that, it is looked after twice a second.

    Args:
        parent: Process id of the parent, which may have ended already.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_end_without, args=(parent,), daemon=True).start()


def _end_without(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
