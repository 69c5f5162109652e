"""Signals that end a run, and the exit code of every ending."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from rich.console import Console

from supernet.errors import (
    CheckpointError,
    DataError,
    DivergedError,
    ExportError,
    ModelFolderError,
    NetworkError,
    RankError,
    RunFolderError,
    SettingsError,
    SharingError,
    SpaceError,
    Stopped,
    SupernetError,
    WorkerError,
)
from supernet.runs.launch import find_launch
from supernet.text import visible_lines

EXIT_CODES: dict[type[Exception], int] = {
    SettingsError: 2,
    DataError: 3,
    RunFolderError: 4,
    CheckpointError: 4,
    ModelFolderError: 4,
    DivergedError: 5,
    WorkerError: 6,
    NetworkError: 7,
    SpaceError: 7,
    SharingError: 7,
    ExportError: 7,
}


_ENDINGS: dict[int, tuple[str, int]] = {
    signal.SIGINT: ("stopped by Ctrl-C", 130),
    signal.SIGTERM: ("terminated", 143),
}


#: Programs such as timeout(1) send a signal twice; what comes so soon after it is the same one.
_ONE_SIGNAL_S = 0.5


class StopSignal(BaseException):
    """A signal asked for the end."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code


def heed_signals() -> None:
    """Let a signal stop what is going on in good order, and a second one end it at once."""
    first: list[float] = []

    def stop(signum: int, frame: object) -> None:
        sentence, code = _ENDINGS[signum]
        if not first:
            first.append(time.monotonic())
            raise StopSignal(sentence, code)
        if time.monotonic() - first[0] > _ONE_SIGNAL_S:
            os._exit(code)

    for number in _ENDINGS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and `&` have it
            signal.signal(number, stop)


@contextmanager
def deferring_signals() -> Iterator[Callable[[], bool]]:
    """Let a signal inside the block wait until it is asked for, so that several ranks stop as one.

    Yields:
        What says whether there was one. Whoever stops for it, or for another rank's, raises
        `Stopped`, which leaves the block as what that signal means. A second signal ends the
        process at once.
    """
    first: list[tuple[int, float]] = []

    def defer(signum: int, frame: object) -> None:
        if not first:
            first.append((signum, time.monotonic()))
        elif time.monotonic() - first[0][1] > _ONE_SIGNAL_S:
            os._exit(_ENDINGS[signum][1])

    before = {number: signal.getsignal(number) for number in _ENDINGS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, defer)
    try:
        yield lambda: bool(first)
    except Stopped:
        if not first:
            code = _ENDINGS[signal.SIGTERM][1]
            raise StopSignal("stopped, because another rank was", code) from None
        raise StopSignal(*_ENDINGS[first[0][0]]) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if first:
        raise StopSignal(*_ENDINGS[first[0][0]])


@contextmanager
def resumable(*, speaks: bool = True) -> Iterator[None]:
    """Say, where the block is stopped or misses another rank, that the same command resumes it.

    Args:
        speaks: Whether this process does; of several ranks, one is enough.
    """
    try:
        yield
    except (StopSignal, RankError) as error:
        fail(error, "the same command resumes it" if speaks else "")


def fail(error: StopSignal | SupernetError, way_on: str = "") -> NoReturn:
    """Print an error as one sentence, with what to do next, and exit with its code."""
    if isinstance(error, StopSignal):
        code = error.code
    else:
        codes = (code for kind, code in EXIT_CODES.items() if isinstance(error, kind))
        code = next(codes, 1)
    sentence = f"{error}; {way_on}" if way_on else str(error)
    who = f"supernet{_which()}"
    Console(stderr=True).out(f"{who}: {visible_lines(sentence)}", highlight=False)
    sys.exit(code)


def _which() -> str:
    """Return which of several ranks this process is, if it is one."""
    with suppress(SettingsError):
        launched = find_launch()
        if launched is not None and launched.size > 1:
            return f" (rank {launched.rank})"
    return ""
