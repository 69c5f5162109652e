from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supernet import sharing
from supernet.errors import SpaceError
from supernet.evaluation.batchnorm import calibrate
from supernet.nn.choices import Depth, OneOf
from supernet.nn.supernet import Supernet
from supernet.sharing import checking
from supernet.space import Architecture
from tests.conftest import Counted, noise

X = noise(4, 4)
CHANGES = r"block 1 of Depth 'd' turns a tensor of shape \(4, 4\) into one of \(4, 3\); .*before or"


def broken() -> Supernet:
    """Whose mistake PyTorch would not notice: what comes next takes any width."""
    return Supernet(nn.Sequential(Depth("d", [nn.Linear(4, 4), nn.Linear(4, 3)]), nn.Tanh()))


@pytest.mark.parametrize(
    "run",
    [
        lambda net: net(X, net.space.largest),
        lambda net: sharing.run(net, X, net.space),
        lambda net: sharing.run(net, X, [net.space.smallest]),
        lambda net: sharing.divide(net, X, net.space),
        lambda net: sharing.Compiled(net).run(X, net.space),
        lambda net: calibrate(net, list(net.space), [X]),
    ],
    ids=["alone", "shared", "one of them", "divided", "compiled", "calibrated"],
)
def test_a_block_that_changes_the_shape_is_named(run: Callable[[Supernet], object]) -> None:
    supernet = broken()
    for _ in range(2):
        with pytest.raises(SpaceError, match=CHANGES):
            run(supernet)


def test_it_is_named_before_pytorch_complains() -> None:
    blocks = [nn.Linear(4, 3), nn.Linear(4, 4)]
    supernet = Supernet(nn.Sequential(Depth("d", blocks), nn.Linear(4, 4)))
    for run in (
        lambda: supernet(X, supernet.space.largest),
        lambda: sharing.run(supernet, X, supernet.space),
    ):
        with pytest.raises(SpaceError, match=r"block 0 .* \(4, 4\) into one of \(4, 3\)"):
            run()


def test_one_not_reached_is_tried_when_it_is() -> None:
    supernet = Supernet(
        OneOf("o", {"skip": nn.Identity(), "deep": Depth("d", [nn.Linear(4, 4), nn.Linear(4, 3)])})
    )
    skip, deep = Architecture({"o.op": "skip", "d.depth": 1}), supernet.space.largest
    assert len(sharing.run(supernet, X, [skip])) == 1
    with pytest.raises(SpaceError, match=CHANGES):
        sharing.run(supernet, X, [skip, deep.but(**{"d.depth": 1})])


def test_nobody_notices_and_it_happens_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)))
    supernet = Supernet(Depth("d", [counted, nn.Linear(4, 4)]))
    runs: list[Architecture] = []
    original = checking._run

    def run(net: Supernet, arch: Architecture, args: Any, kwargs: Any) -> None:
        runs.append(arch)
        original(net, arch, args, kwargs)

    monkeypatch.setattr(checking, "_run", run)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        sharing.run(supernet, X, [supernet.space.smallest])
        first = torch.get_rng_state()
        torch.manual_seed(0)
        sharing.run(supernet, X, [supernet.space.smallest])
        assert torch.equal(torch.get_rng_state(), first)
    assert counted.calls == 2
    assert runs == [supernet.space.largest]


class Looks(nn.Module):
    """Can't run without numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if bool(x.sum() > 0) else x


def test_what_cannot_be_tried_runs_all_the_same() -> None:
    supernet = Supernet(Depth("d", [Looks(), nn.Linear(4, 4)]))
    assert len(sharing.run(supernet, X, supernet.space)) == 2


def test_a_forward_replaced_on_an_object_is_not_tried() -> None:
    """It may belong to a module that is not of the copy: here, one that counts."""
    counted, block = Counted(nn.Linear(4, 4)), nn.Linear(4, 4)
    block.forward = lambda x: counted(x)  # type: ignore[method-assign, assignment]
    supernet = Supernet(Depth("d", [block, nn.Linear(4, 4)]))
    sharing.run(supernet, X, supernet.space)
    assert counted.calls == 1
