"""A Ray in this process: what a cluster uses of it, tasks, one actor, and their deaths."""

import asyncio
import pickle
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.limits import HANG_S


class Death(BaseException):
    """What a task raises to be a machine that is gone."""


class RayError(Exception):
    """As Ray's."""


class RayTaskError(RayError):
    """As Ray's: a function raised something."""

    cause: BaseException | None = None


class Ref:
    """What will have a value; equal to itself only, as Ray's."""

    def __init__(self, future: Future[Any]) -> None:
        self.future = future

    def value(self) -> Any:
        try:
            return self.future.result(HANG_S)
        except Death:
            raise RayError("The worker died unexpectedly. Check its logs.\nMore.") from None


class FakeRay(ModuleType):
    """What `import ray` gives: each task has a thread, and so has the loop of the actors."""

    __version__ = "0"

    def __init__(self, nodes: Sequence[dict[str, float]]) -> None:
        super().__init__("ray")
        self.exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)
        self.cloudpickle = SimpleNamespace(dumps=pickle.dumps, loads=pickle.loads)
        self.asked: list[dict[str, Any]] = []
        self.canceled: list[Ref] = []
        self._nodes = nodes
        self._pool = ThreadPoolExecutor(8)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def remote(self, what: Any) -> Any:
        def options(**wanted: Any) -> SimpleNamespace:
            self.asked.append(wanted)
            start = self._actor(what) if isinstance(what, type) else self._task(what)
            return SimpleNamespace(remote=start)

        return SimpleNamespace(options=options)

    def _task(self, function: Callable[..., Any]) -> Callable[..., Ref]:
        def start(*args: Any) -> Ref:
            values = [arg.value() if isinstance(arg, Ref) else arg for arg in args]
            return Ref(self._pool.submit(function, *values))

        return start

    def _actor(self, kind: type) -> Callable[[], Any]:
        def start() -> Any:
            actor = kind()
            names = [name for name in dir(actor) if not name.startswith("_")]
            return SimpleNamespace(**{name: self._method(getattr(actor, name)) for name in names})

        return start

    def _method(self, method: Callable[..., Any]) -> SimpleNamespace:
        def call(*args: Any) -> Ref:
            return Ref(asyncio.run_coroutine_threadsafe(method(*args), self._loop))

        return SimpleNamespace(remote=call)

    def put(self, value: Any) -> Ref:
        return Ref(self._pool.submit(lambda: value))

    def get(self, ref: Any, timeout: float | None = None) -> Any:
        if isinstance(ref, list):
            return [self.get(each) for each in ref]
        return ref.value()

    def wait(
        self, refs: Sequence[Ref], num_returns: int, timeout: float, fetch_local: bool
    ) -> tuple[list[Ref], list[Ref]]:
        wait([ref.future for ref in refs], timeout, FIRST_COMPLETED)
        ready = [ref for ref in refs if ref.future.done()][:num_returns]
        return ready, [ref for ref in refs if ref not in ready]

    def cancel(self, ref: Ref, force: bool) -> None:
        self.canceled.append(ref)

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": node} for node in self._nodes]

    def get_runtime_context(self) -> SimpleNamespace:
        return SimpleNamespace(get_node_id=lambda: "here")

    def close(self) -> None:
        self._pool.shutdown()
        self._loop.call_soon_threadsafe(self._loop.stop)


def install(patch: pytest.MonkeyPatch, *nodes: dict[str, float]) -> FakeRay:
    """Let `import ray` give one with these nodes."""
    fake = FakeRay(nodes)
    strategies = ModuleType("ray.util.scheduling_strategies")
    strategies.NodeAffinitySchedulingStrategy = lambda node, soft: (node, soft)  # type: ignore[attr-defined]
    patch.setitem(sys.modules, "ray", fake)
    patch.setitem(sys.modules, "ray.util", ModuleType("ray.util"))
    patch.setitem(sys.modules, "ray.util.scheduling_strategies", strategies)
    return fake
