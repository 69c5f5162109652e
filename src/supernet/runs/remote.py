"""Tasks on the machines of a cluster: begun, listened to, and begun again when a machine dies.

What a task's function computes, says and returns is as with local workers
(`supernet.runs.workers`), and so is what happens on its death or when work is to stop. The cluster
is anything that can begin a call somewhere and tell how it went; `supernet.runs.ray` has one.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from supernet.errors import WorkerError
from supernet.runs.workers import GRACE_S, TRIES, WorkerMessage

#: So long at a time is listened for news.
_LISTEN_S = 1.0

#: How often is looked whether any machine is large enough for the tasks, in seconds.
_LOOK_S = 5.0


def _no_state() -> None:
    return None


def _keep_nothing(state: Any) -> None:
    pass


@dataclass(frozen=True, slots=True)
class RemoteTask:
    """Something to do on another machine: `function(*args, *shared, state(), context)`.

    Attributes:
        name: What to call it.
        function: One that a module of this package has.
        args: Picklable.
        shared: What `Cluster.share` returned: the values come after the arguments.
        state: Called here, each time the task is begun: what it goes on from, picklable.
        keep: Called here with what the task reports to go on from, and with its result.
    """

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    shared: tuple[Any, ...] = ()
    state: Callable[[], Any] = field(default=_no_state, compare=False)
    keep: Callable[[Any], object] = field(default=_keep_nothing, compare=False)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a task reports to go on from, if it has to be begun again.

    Attributes:
        state: For whoever gave the task; large, so it is handed over on its own.
        content: What is reported with it.
    """

    state: Any = field(repr=False)
    content: Any


@dataclass(frozen=True, slots=True)
class News:
    """What there is to say of a call.

    It `began`, on some machine; something it `said`; its result, when it is `done`; the `error` it
    raised; that it `stopped`, as asked; or how it `died`, in words.
    """

    call: int
    kind: Literal["began", "said", "done", "error", "stopped", "died"]
    content: Any = None


class Cluster(Protocol):
    """Machines that can be given calls."""

    #: How many calls there may be at a time; None for as many as there are.
    at_once: int | None

    #: How long to wait for machines that are large enough, in seconds.
    patience_s: float

    def share(self, value: Any) -> Any:
        """Bring something large to the cluster once; return what stands for it in tasks."""

    def begin(self, call: int, task: RemoteTask) -> None:
        """Have a task done somewhere, once there is room.

        Args:
            call: Its number, which news of it will have.
            task: Of which all but `keep` is looked at.
        """

    def listen(self, seconds: float) -> Sequence[News]:
        """Wait so long at most, and return what happened, in order for each call.

        The end of a call is told of until the call is forgotten: a signal may come in between.
        """

    def forget(self, call: int) -> None:
        """Tell no more of a call that has ended."""

    def ask_to_stop(self) -> None:
        """Let `asked_to_stop` be true for all calls from now on."""

    def give_up(self, call: int) -> None:
        """End a call, whatever it does, and forget it."""

    def lacks(self) -> str | None:
        """Return what no machine has as much of as a call needs, in words, or None."""


@dataclass(slots=True)
class _Call:
    task: RemoteTask
    attempt: int
    began: bool = False


def run_remotely(
    tasks: Sequence[RemoteTask], cluster: Cluster
) -> Generator[WorkerMessage, None, None]:
    """Do all tasks on a cluster, and yield what they report.

    As with `run_tasks`: closing the generator, or an exception, asks the tasks under way to stop,
    and ends them when they have, or after half a minute.

    Args:
        tasks: What to do; begun in this order.
        cluster: Where.

    Raises:
        SupernetError: Whatever a task raised of this package's own.
        WorkerError: If a task failed otherwise, died `TRIES` times, or no machine can take it.
    """
    calls: dict[int, _Call] = {}
    try:
        yield from _work(tasks, calls, cluster)
    except GeneratorExit:
        for _ in _drained(calls, cluster):
            pass
        raise
    except BaseException:
        yield from _drained(calls, cluster)
        raise
    finally:
        for number in calls:
            cluster.give_up(number)


def _work(
    tasks: Sequence[RemoteTask], calls: dict[int, _Call], cluster: Cluster
) -> Iterator[WorkerMessage]:
    waiting = deque((task, 1) for task in tasks)
    numbers = itertools.count()
    shortage = _Shortage(cluster)
    while waiting or calls:
        while waiting and (cluster.at_once is None or len(calls) < cluster.at_once):
            task, attempt = waiting.popleft()
            number = next(numbers)
            calls[number] = _Call(task, attempt)
            cluster.begin(number, task)
        for news in cluster.listen(_LISTEN_S):
            if (call := calls.get(news.call)) is None:
                continue  # of a call that was taken for dead
            if news.kind == "began":
                call.began = True
                continue
            if news.kind == "said":
                yield _message(call, news)
                continue
            _end(calls, news.call, cluster)
            if news.kind == "error":
                raise news.content
            if news.kind == "done":
                call.task.keep(news.content)
                yield WorkerMessage(call.task.name, news.content, "done")
                continue
            # Who stopped without being asked is as good as dead.
            yield _death(call, news.content or "it was stopped")
            waiting.appendleft((call.task, call.attempt + 1))
        if not any(call.began for call in calls.values()):
            shortage.look()


def _message(call: _Call, news: News) -> WorkerMessage:
    """Keep what a task goes on from, and return what it said."""
    content = news.content
    if isinstance(content, Kept):
        call.task.keep(content.state)
        content = content.content
    return WorkerMessage(call.task.name, content)


def _death(call: _Call, how: str) -> WorkerMessage:
    if call.attempt >= TRIES:
        raise WorkerError(
            f"{call.task.name!r} died {TRIES} times on the cluster ({how}); if memory ran out, try "
            "a smaller batch or fewer at a time (--workers)"
        )
    return WorkerMessage(call.task.name, f"died on the cluster ({how}); it is done again", "died")


class _Shortage:
    """Patience with a cluster none of whose machines is large enough, as yet."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._next = time.monotonic()
        self._since: float | None = None

    def look(self) -> None:
        """Look whether there is one now, unless that was done just before.

        Raises:
            WorkerError: If there has been none for too long.
        """
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _LOOK_S
        lacks = self._cluster.lacks()
        if lacks is None:
            self._since = None
            return
        self._since = now if self._since is None else self._since
        if now - self._since >= self._cluster.patience_s:
            raise WorkerError(f"no machine of the cluster has {lacks}; add one, or ask for less")


def _drained(calls: dict[int, _Call], cluster: Cluster) -> Iterator[WorkerMessage]:
    """Ask calls to stop, let them save what they have, and yield what they report meanwhile."""
    if not calls:
        return
    cluster.ask_to_stop()
    for number in [number for number, call in calls.items() if not call.began]:
        cluster.give_up(number)
        del calls[number]
    end = time.monotonic() + GRACE_S
    while calls and (left := end - time.monotonic()) > 0:
        for news in cluster.listen(min(left, _LISTEN_S)):
            if (call := calls.get(news.call)) is None or news.kind == "began":
                continue
            if news.kind == "said":
                yield _message(call, news)
                continue
            _end(calls, news.call, cluster)
            if news.kind == "done":
                call.task.keep(news.content)


def _end(calls: dict[int, _Call], number: int, cluster: Cluster) -> None:
    del calls[number]
    cluster.forget(number)
