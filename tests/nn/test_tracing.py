"""One trace at a time, of what its own thread does."""

import threading
from pathlib import Path

import torch
from torch import Tensor, nn

import supernet
from supernet.nn.tracing import LockedTracer
from tests.limits import HANG_S


class Waits(nn.Module):
    """Says that it is traced, and waits until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.began, self.may_end = threading.Event(), threading.Event()

    def forward(self, x: Tensor) -> Tensor:
        self.began.set()
        assert self.may_end.wait(HANG_S)
        y: Tensor = self.inner(x)
        return y


def test_another_trace_waits_and_other_calls_are_left_alone() -> None:
    lookup, call = nn.Module.__getattr__, nn.Module.__call__
    first, second = Waits(), nn.Sequential(nn.Linear(2, 2))
    graphs = {}

    def trace(net: nn.Module, name: str) -> None:
        graphs[name] = LockedTracer().trace(net)

    threads = [
        threading.Thread(target=trace, args=(net, name), daemon=True)
        for net, name in ((first, "first"), (second, "second"))
    ]
    threads[0].start()
    assert first.began.wait(HANG_S)
    threads[1].start()
    threads[1].join(0.2)
    assert graphs == {}
    found = second(torch.ones(3, 2))  # is done, and not written down
    assert isinstance(found, Tensor)
    first.may_end.set()
    for thread in threads:
        thread.join(HANG_S)
    wanted = {"first": ["inner"], "second": ["0"]}
    for name, targets in wanted.items():
        calls = [node.target for node in graphs[name].nodes if node.op == "call_module"]
        assert calls == targets
    assert (nn.Module.__getattr__, nn.Module.__call__) == (lookup, call)


def test_every_tracer_of_the_package_is_one_of_these() -> None:
    package = Path(supernet.__file__).parent
    own = [path for path in package.rglob("*.py") if "(fx.Tracer)" in path.read_text()]
    assert [path.relative_to(package).as_posix() for path in own] == ["nn/tracing.py"]
