"""A cluster in this process: calls are made one after the other, and die when they are told to."""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from supernet.errors import Stopped
from supernet.runs.remote import News, RemoteTask
from supernet.runs.workers import Task, attempt


class _Death(BaseException):
    """No exception that a task could catch."""


class StandIn:
    """See `supernet.runs.remote.Cluster`.

    Args:
        deaths: By the name of a task, after how many reports each of its first calls dies,
            at the latest when it ends.
        lacking: What no machine has, if anything.
    """

    patience_s = 0.0

    def __init__(
        self,
        deaths: Mapping[str, Sequence[int]] | None = None,
        *,
        at_once: int | None = None,
        lacking: str | None = None,
    ) -> None:
        self.at_once = at_once
        self.begun: Counter[str] = Counter()
        self.states: dict[str, list[Any]] = defaultdict(list)
        self.stopping = False
        self.most = 0
        self._deaths = {name: deque(after) for name, after in (deaths or {}).items()}
        self._lacking = lacking
        self._waiting: deque[tuple[int, Task]] = deque()
        self._open: set[int] = set()

    def share(self, value: Any) -> Any:
        return value

    def begin(self, call: int, task: RemoteTask) -> None:
        self.begun[task.name] += 1
        state = task.state()
        self.states[task.name].append(state)
        args = (*task.args, *task.shared, state)
        self._waiting.append((call, Task(task.name, task.function, args)))
        self._open.add(call)
        self.most = max(self.most, len(self._open))

    def listen(self, seconds: float) -> Sequence[News]:
        if not self._waiting or self._lacking:
            return []
        call, task = self._waiting.popleft()
        deaths = self._deaths.get(task.name)
        context = _Context(call, deaths.popleft() if deaths else None)
        context.news.append(News(call, "began"))
        try:
            end = News(call, *attempt(task, context))  # type: ignore[arg-type]
            context.die_if_due()
        except _Death:
            end = News(call, "died", "its machine is gone")
        return [*context.news, end]

    def forget(self, call: int) -> None:
        self._open.discard(call)

    def ask_to_stop(self) -> None:
        self.stopping = True

    def give_up(self, call: int) -> None:
        self._waiting = deque(each for each in self._waiting if each[0] != call)
        self.forget(call)

    def lacks(self) -> str | None:
        return self._lacking


class _Context:
    def __init__(self, call: int, dies_after: int | None) -> None:
        self.news: list[News] = []
        self._call = call
        self._left = dies_after

    def die_if_due(self) -> None:
        if self._left == 0:
            raise _Death

    def report(self, content: Any) -> None:
        self.die_if_due()
        self._left = None if self._left is None else self._left - 1
        self.news.append(News(self._call, "said", content))

    def asked_to_stop(self) -> bool:
        return False


class Scripted(StandIn):
    """One whose calls never end by themselves, and then do and say what they are told to."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[str, int] = {}
        self.script: deque[Callable[[], Sequence[News]]] = deque()
        self.given_up: list[int] = []

    def begin(self, call: int, task: RemoteTask) -> None:
        self.calls[task.name] = call

    def listen(self, seconds: float) -> Sequence[News]:
        return self.script.popleft()() if self.script else []

    def give_up(self, call: int) -> None:
        self.given_up.append(call)

    def stopped(self, name: str) -> News:
        return News(self.calls[name], "stopped" if self.stopping else "said")


def never(state: Any, context: Any) -> None:
    """What is never called."""
    raise Stopped
