"""Gradient checkpointing runs again what the forward ran, whatever is active by then."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from supernet import sharing
from supernet.errors import NoArchitectureError
from supernet.nn import recomputing
from supernet.nn.choices import Depth, OneOf
from supernet.nn.elastic import ElasticLinear
from supernet.nn.recomputing import Runs
from supernet.nn.supernet import Supernet
from supernet.space import Choice
from tests.conftest import noise, stir


class Checkpointed(nn.Module):
    def __init__(self, *, reentrant: bool, on: bool = True) -> None:
        super().__init__()
        width = Choice("width", (2, 4))
        ops = {"tanh": nn.Tanh(), "linear": nn.Linear(3, 3)}
        self.body = nn.Sequential(
            ElasticLinear(3, width),
            nn.Sigmoid(),
            ElasticLinear(width, 3),
            Depth("d", [nn.Linear(3, 3), nn.Tanh()]),
            OneOf("op", ops),
        )
        self.reentrant, self.on = reentrant, on

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = (
            checkpoint(self.body, x, use_reentrant=self.reentrant) if self.on else self.body(x)
        )
        return y


def gradients(supernet: Supernet) -> list[Tensor | None]:
    found = [p.grad for p in supernet.parameters()]
    supernet.zero_grad()
    return found


@pytest.mark.parametrize("reentrant", [False, True])
def test_it_runs_the_architecture_that_the_forward_ran(reentrant: bool) -> None:
    supernet = Supernet(stir(Checkpointed(reentrant=reentrant)))
    x = noise(4, 3).requires_grad_()
    net = supernet.net
    assert isinstance(net, Checkpointed)
    archs = list(supernet.space)
    net.on = False
    torch.stack([supernet(x, arch).square().sum() for arch in archs]).sum().backward()
    expected = gradients(supernet)
    net.on = True
    losses = [supernet(x, arch).square().sum() for arch in archs]
    with supernet.activate(archs[0]):  # it is not for those that ran before
        torch.stack(losses).sum().backward()
    for ours, theirs in zip(gradients(supernet), expected, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            torch.testing.assert_close(ours, theirs)


def test_so_does_a_shared_pass() -> None:
    supernet = Supernet(stir(nn.Sequential(nn.Linear(3, 3), Checkpointed(reentrant=False))))
    x, archs = noise(4, 3), list(supernet.space)
    torch.stack([supernet(x, arch).sum() for arch in archs]).sum().backward()
    expected = gradients(supernet)
    torch.stack([y.sum() for y in sharing.outputs(supernet, x, archs)]).sum().backward()
    for ours, theirs in zip(gradients(supernet), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_forward_that_is_begun_in_a_backward_pass_runs_what_it_is_told_to() -> None:
    supernet, x = Supernet(stir(Depth("d", [nn.Linear(3, 3), nn.Tanh()]))), noise(4, 3)
    small, large = supernet.space
    y = supernet(x, small)
    found: list[Tensor] = []
    y.register_hook(lambda _: found.append(supernet(x, large)))
    y.sum().backward()
    assert torch.equal(found[0], supernet(x, large))


def test_without_a_forward_before_it_there_is_none() -> None:
    supernet, x = Supernet(stir(Depth("d", [nn.Linear(3, 3)]))), noise(4, 3).requires_grad_()
    y = x * 2
    y.register_hook(lambda _: supernet.net(x))
    with pytest.raises(NoArchitectureError):
        y.sum().backward()


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recomputing, "_MOST", 10)
    supernet, x = Supernet(stir(Depth("d", [nn.Linear(3, 3), nn.Tanh()]))), noise(4, 3)
    for _ in range(20):
        for arch in supernet.space:
            supernet(x, arch)
    assert isinstance(supernet._runs, Runs)
    assert len(supernet._runs._starts) <= 10


def test_of_a_copy_nothing_has_run() -> None:
    supernet, x = Supernet(stir(Depth("d", [nn.Linear(3, 3), nn.Tanh()]))), noise(4, 3)
    supernet(x, supernet.space.largest)
    copied = copy.deepcopy(supernet)
    assert isinstance(copied.net, Depth)
    assert copied._runs is copied.net._runs
    assert copied._runs is not supernet._runs
    assert not copied._runs._starts
