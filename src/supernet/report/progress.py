"""Progress of a run: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress as Bars, TaskID, TextColumn, TimeElapsedColumn

from supernet.records import ACCURACY, Measure, Progress
from supernet.report.wording import clock_time, score, unit_of

#: Without a terminal, a line is printed at least this often while a training reports.
_QUIET_S = 45.0

Watch = Callable[[str, Progress], None]


@contextmanager
def waiting(what: str, console: Console) -> Iterator[None]:
    """Say what is being waited for inside the block, and after it how long that took."""
    start = time.monotonic()
    if console.is_terminal:
        with console.status(escape(what), spinner="line"):
            yield
    else:
        yield
    console.out(f"{what}: {time.monotonic() - start:.1f} s", highlight=False)


@contextmanager
def stating(what: str, console: Console) -> Iterator[Callable[[str, float], None]]:
    """Show what is being done inside the block, and which share of it is done.

    Args:
        what: What to show before the first share comes.
        console: Where to.

    Yields:
        What to call with the name of a part and its share.
    """
    said = time.monotonic()

    def say(part: str, done: float) -> None:
        nonlocal said
        if time.monotonic() - said >= _QUIET_S:
            said = time.monotonic()
            console.out(f"{part}: {100 * done:.0f} %", highlight=False)

    if not console.is_terminal:
        yield say
        return
    with console.status(escape(what), spinner="line") as status:
        yield lambda part, done: status.update(f"{escape(part)}: {100 * done:.0f} %")


@contextmanager
def watching(
    work: Mapping[str, float], console: Console, measure: Measure = ACCURACY
) -> Iterator[Watch]:
    """Show the progress of several trainings inside the block.

    Args:
        work: Name of each training, and how much of the whole work it is, in any unit.
        console: Where to.
        measure: What their scores are.

    Yields:
        What to call with a training's name and its progress.
    """
    clock = _Clock(work)
    if not console.is_terminal:
        yield lambda name, progress: _say(name, progress, clock, console, measure)
        return
    with Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=10),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        transient=True,
    ) as bars:
        whole = bars.add_task("all", total=1.0, note="")
        known: dict[str, TaskID] = {}

        def watch(name: str, progress: Progress) -> None:
            if clock.takes_up(name, progress):
                return
            if name not in known:
                known[name] = bars.add_task(name, total=1.0, note="")
            clock.note(name, progress.done)
            note = f"{_epoch(progress)}, {clock_time(clock.left(name))} left"
            bars.update(known[name], completed=progress.done, note=note)
            bars.update(whole, completed=clock.done, note=f"{clock_time(clock.left())} left")
            if progress.ended and progress.epoch == progress.epochs:
                bars.update(known[name], visible=False)
                console.out(_line(name, progress, measure), highlight=False)

        yield watch


class _Clock:
    """Estimates the time left from the work done so far."""

    def __init__(self, work: Mapping[str, float]) -> None:
        total = sum(work.values()) or 1
        self.share = {name: part / total for name, part in work.items()}
        self.before: dict[str, float] = {}  # of runs that were resumed
        self.fractions: dict[str, float] = {}
        self.began: dict[str, float] = {}
        self.start: float | None = None  # when the first one reported, not when workers start up
        self.said = time.monotonic()  # when the last line was printed

    def note(self, name: str, done: float) -> None:
        now = time.monotonic()
        self.start = now if self.start is None else self.start
        self.began.setdefault(name, now)
        self.fractions[name] = done

    @property
    def quiet_s(self) -> float:
        """Seconds since the last line."""
        return time.monotonic() - self.said

    def spoke(self) -> None:
        """Note that a line was printed."""
        self.said = time.monotonic()

    def takes_up(self, name: str, progress: Progress) -> bool:
        """Whether this only says how far a training was when it was left; if so, note that."""
        if progress.loss is not None or name in self.fractions:
            return False
        self.before[name] = self.fractions[name] = progress.done
        return True

    @property
    def done(self) -> float:
        return self._sum(self.fractions)

    def left(self, name: str | None = None) -> float | None:
        """Return the seconds left, of one training or of all; None while nobody can tell."""
        done = self.done if name is None else self.fractions[name]
        before = self._sum(self.before) if name is None else self.before.get(name, 0.0)
        start = self.start if name is None else self.began[name]
        passed = 0.0 if start is None else time.monotonic() - start
        return passed * (1 - done) / (done - before) if done > before and passed > 1 else None

    def _sum(self, fractions: Mapping[str, float]) -> float:
        return sum(self.share[name] * part for name, part in fractions.items())


def _say(name: str, progress: Progress, clock: _Clock, console: Console, measure: Measure) -> None:
    if clock.takes_up(name, progress):
        return
    clock.note(name, progress.done)
    if progress.ended:
        what = _line(name, progress, measure)
    elif clock.quiet_s >= _QUIET_S:
        what = f"{name}: {_epoch(progress)}, {100 * progress.done:.0f} % done"
    else:
        return
    console.out(f"{what}; all: {clock_time(clock.left())} left", highlight=False)
    clock.spoke()


def _line(name: str, progress: Progress, measure: Measure) -> str:
    assert progress.ended is not None
    start = f"{name}: {_epoch(progress)}, loss {progress.ended.loss:.3f}, validation"
    return f"{start} {word_scores(progress.ended.validation, measure)}"


def word_scores(scores: Sequence[float], measure: Measure) -> str:
    """Return the mean of scores as people know them, with the least and the most.

    >>> word_scores([0.5, 0.75], ACCURACY)
    '62.50 % (50.00 to 75.00)'
    >>> word_scores([-0.5, math.nan], Measure(name="error", higher_is_better=False))
    '0.5000 error, 1 failed'

    Args:
        scores: One for each architecture; NaN where the evaluation failed.
        measure: What they are.
    """
    sound = sorted((one for one in scores if not math.isnan(one)), key=measure.shown)
    if not sound:
        return "failed"
    mean = f"{score(sum(sound) / len(sound), measure)} {unit_of(measure)}"
    span = f" ({score(sound[0], measure)} to {score(sound[-1], measure)})" if len(sound) > 1 else ""
    failed = len(scores) - len(sound)
    return f"{mean}{span}{f', {failed} failed' if failed else ''}"


def _epoch(progress: Progress) -> str:
    return f"epoch {progress.epoch}/{progress.epochs}"
