"""What workers do in tests. A module of its own, so that a worker has little to import."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from supernet.errors import DataError

Emit = Callable[[Any], None]


def square(number: int, emit: Emit) -> int:
    emit(f"squaring {number}")
    emit("done soon")
    return number * number


def note(path: Path, word: str, emit: Emit) -> None:
    with path.open("a") as file:
        file.write(f"{word}\n")


def die(path: Path, times: int, emit: Emit) -> int:
    """Die that often, counting in a file, then say how often it was."""
    note(path, "dying", emit)
    tries = len(path.read_text().splitlines())
    if tries <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return tries


def hang(emit: Emit) -> None:
    emit(os.getpid())
    time.sleep(600)


def take_ctrl_c(emit: Emit) -> str:
    os.kill(os.getpid(), signal.SIGINT)
    return "still here"


def chatter(emit: Emit) -> None:
    print("noise", flush=True)
    os.write(1, b"noise\n")


def fail(path: Path, error: BaseException, emit: Emit) -> None:
    note(path, "failing", emit)
    raise error


def miss_data(emit: Emit) -> None:
    raise DataError("there is no data")
