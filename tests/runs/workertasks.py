"""What workers do in tests. A module of its own, so that a worker has little to import."""

import os
import signal
import time
from pathlib import Path

from supernet.errors import DataError, Stopped
from supernet.runs.workers import TaskContext


def square(number: int, context: TaskContext) -> int:
    context.report(f"squaring {number}")
    context.report("done soon")
    return number * number


def note(path: Path, word: str, context: TaskContext) -> None:
    with path.open("a") as file:
        file.write(f"{word}\n")


def die(path: Path, times: int, context: TaskContext) -> int:
    """Die that often, counting in a file, then say how often it was."""
    note(path, "dying", context)
    tries = len(path.read_text().splitlines())
    if tries <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return tries


def hang(context: TaskContext) -> None:
    context.report(os.getpid())
    time.sleep(600)


def take_ctrl_c(context: TaskContext) -> str:
    os.kill(os.getpid(), signal.SIGINT)
    return "still here"


def chatter(context: TaskContext) -> None:
    print("noise", flush=True)
    os.write(1, b"noise\n")


def fail(path: Path, error: BaseException, context: TaskContext) -> None:
    note(path, "failing", context)
    raise error


def miss_data(context: TaskContext) -> None:
    raise DataError("there is no data")


def miss_data_after(begun: Path, others: int, context: TaskContext) -> None:
    """Fail as soon as so many other tasks have begun."""
    while not begun.exists() or len(begun.read_text().splitlines()) < others:
        time.sleep(0.01)
    raise DataError("there is no data")


def save_when_asked(path: Path, begun: Path | None, context: TaskContext) -> None:
    """Work until asked to stop, then take a while to save."""
    context.report(os.getpid())
    if begun:
        note(begun, "begun", context)
    while not context.asked_to_stop():
        time.sleep(0.01)
    for _ in range(1000):
        context.report("x" * 1000)  # more than a pipe holds
    note(path, "saved", context)
    raise Stopped("stopped, as asked")
