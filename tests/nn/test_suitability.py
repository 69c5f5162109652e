"""Modules that can't serve several architectures are named, with the way out."""

import warnings
from collections.abc import Callable
from typing import Self

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from supernet.errors import SpaceError
from supernet.nn.choices import Depth
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from tests.conftest import noise


def around(*modules: nn.Module) -> nn.Sequential:
    return nn.Sequential(*modules, Depth("d", [nn.Linear(3, 3), nn.Tanh()]))


class Frozen(nn.BatchNorm1d):
    def train(self, mode: bool = True) -> Self:
        return super().train(False)


class FreezesInside(nn.Sequential):
    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self[1].eval()
        return self


def old_weight_norm() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.utils.weight_norm(nn.Linear(3, 3))


def compiled_in_place() -> nn.Module:
    linear = nn.Linear(3, 3)
    linear.compile(backend="eager")
    return linear


def scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made: nn.Module = torch.jit.script(nn.Linear(3, 3))
        return made


CASES: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "frozen": (lambda: Frozen(3), r"module '0' \(Frozen\) stays in evaluation mode.*FrozenBatch"),
    "frozen by its parent": (
        lambda: FreezesInside(nn.Linear(3, 3), nn.BatchNorm1d(3)),
        r"module '0\.1' \(BatchNorm1d\) stays in evaluation mode",
    ),
    "weight norm": (old_weight_norm, r"'0' \(Linear\).*parametrizations\.weight_norm"),
    "spectral norm": (
        lambda: nn.utils.spectral_norm(nn.Linear(3, 3)),
        r"'0' \(Linear\).*remove_spectral_norm.*parametrizations\.spectral_norm",
    ),
    "pruned": (
        lambda: prune.l1_unstructured(nn.Linear(3, 3), "bias", 1),
        r"'0' \(Linear\) is pruned.*prune\.remove\(module, 'bias'\)",
    ),
    "lazy": (lambda: nn.LazyLinear(3), r"'0' \(LazyLinear\) is lazy.*sizes"),
    "instance norm": (
        lambda: nn.InstanceNorm1d(3, track_running_stats=True),
        r"'0' \(InstanceNorm1d\).*track_running_stats=False",
    ),
    "scripted": (scripted, r"'0' \(\w+\) is a TorchScript module"),
    "compiled in place": (compiled_in_place, r"'0' \(Linear\) is compiled"),
    "data parallel": (
        lambda: nn.DataParallel(nn.Linear(3, 3)),
        r"'0' \(DataParallel\) spreads a network over devices; make a Supernet of the network",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_named_with_the_way_out(name: str) -> None:
    make, message = CASES[name]
    net = around(make())
    modes = {m: m.training for m in net.modules()}
    with pytest.raises(SpaceError, match=message):
        Supernet(net)
    assert modes == {m: m.training for m in net.modules()}


def test_a_plain_network_may_have_any_of_them() -> None:
    for make in (lambda: Frozen(3), old_weight_norm, scripted):
        x, net = noise(4, 3), nn.Sequential(make())
        supernet = Supernet(net)
        assert torch.equal(supernet(x, supernet.space.smallest), net(x))


def test_the_new_parametrizations_serve() -> None:
    parametrized = parametrizations.weight_norm(nn.Linear(3, 3))
    supernet, x = Supernet(around(parametrized)), noise(4, 3)
    for arch in supernet.space:
        assert torch.equal(extract(supernet, arch)(x), supernet(x, arch))


def test_a_train_of_its_own_that_freezes_no_norm_is_no_matter() -> None:
    class Notes(nn.Sequential):
        def train(self, mode: bool = True) -> Self:
            self[0].weight.requires_grad_(False)
            return super().train(mode)

    net = around(Notes(nn.Linear(3, 3), nn.BatchNorm1d(3))).eval().requires_grad_()
    Supernet(net)
    assert not any(m.training for m in net.modules())
    assert all(p.requires_grad for p in net.parameters())


def test_a_supernet_in_a_wrapper_is_asked_for() -> None:
    wrapped = nn.DataParallel(Supernet(around()))
    with pytest.raises(SpaceError, match=r"was given a DataParallel; give it the supernet inside"):
        extract(wrapped, wrapped.module.space.smallest)  # type: ignore[arg-type]
