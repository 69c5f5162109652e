"""What workers do in tests. A module of its own, so that a worker has little to import."""

import os
import signal
import time
from pathlib import Path

from supernet.errors import DataError, Stopped
from supernet.runs.workers import Desk


def square(number: int, desk: Desk) -> int:
    desk.report(f"squaring {number}")
    desk.report("done soon")
    return number * number


def note(path: Path, word: str, desk: Desk) -> None:
    with path.open("a") as file:
        file.write(f"{word}\n")


def die(path: Path, times: int, desk: Desk) -> int:
    """Die that often, counting in a file, then say how often it was."""
    note(path, "dying", desk)
    tries = len(path.read_text().splitlines())
    if tries <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return tries


def hang(desk: Desk) -> None:
    desk.report(os.getpid())
    time.sleep(600)


def take_ctrl_c(desk: Desk) -> str:
    os.kill(os.getpid(), signal.SIGINT)
    return "still here"


def chatter(desk: Desk) -> None:
    print("noise", flush=True)
    os.write(1, b"noise\n")


def fail(path: Path, error: BaseException, desk: Desk) -> None:
    note(path, "failing", desk)
    raise error


def miss_data(desk: Desk) -> None:
    raise DataError("there is no data")


def miss_data_after(begun: Path, others: int, desk: Desk) -> None:
    """Fail as soon as so many other tasks have begun."""
    while not begun.exists() or len(begun.read_text().splitlines()) < others:
        time.sleep(0.01)
    raise DataError("there is no data")


def save_when_asked(path: Path, begun: Path | None, desk: Desk) -> None:
    """Work until asked to stop, then take a while to save."""
    desk.report(os.getpid())
    if begun:
        note(begun, "begun", desk)
    while not desk.asked_to_stop():
        time.sleep(0.01)
    for _ in range(1000):
        desk.report("x" * 1000)  # more than a pipe holds
    note(path, "saved", desk)
    raise Stopped("stopped, as asked")
