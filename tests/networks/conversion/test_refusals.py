"""Models that can't be converted are refused; the sentence names the module and the way out."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.utils.prune as pruning
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from supernet.errors import SpaceError
from supernet.networks.conversion import make_elastic
from supernet.networks.conversion.refusals import find_refusals, holders_of
from tests.networks.conversion.networks import X


def convs(first: nn.Module | None = None) -> nn.Sequential:
    return nn.Sequential(
        first or nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 1)
    )


def pruned() -> nn.Module:
    conv = nn.Conv2d(3, 8, 3)
    pruning.l1_unstructured(conv, "weight", 0.5)
    return convs(conv)


class Frozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = convs()

    def train(self, mode: bool = True) -> "Frozen":
        super().train(mode)
        self.body[1].eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return y


def compiled(model: nn.Module) -> nn.Module:
    found = torch.compile(model, backend="eager")
    assert isinstance(found, nn.Module)
    return found


BAD: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "lazy": (lambda: convs(nn.LazyConv2d(8, 3)), "'0' is a LazyConv2d that never ran"),
    "pruned": (pruned, "'0' keeps a computed tensor, `weight`.* `prune.remove`"),
    "frozen": (Frozen, "the batch norm 'body.1' stays in evaluation mode"),
    "compiled": (
        lambda: nn.Sequential(compiled(convs())),
        "'0' is compiled by torch.compile; give the network inside",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_stands_in_the_way_is_named(name: str) -> None:
    build, message = BAD[name]
    with pytest.raises(SpaceError, match=message):
        make_elastic(build(), example=X)


def test_frozen_for_now_is_not_frozen() -> None:
    model = convs()
    model[1].eval()
    supernet, _ = make_elastic(model, example=X, kernel=None)
    assert supernet.space.size > 1
    assert not supernet.net.get_submodule("1").training


def test_layers_are_refused_with_a_reason() -> None:
    model = convs(spectral_norm(nn.Conv2d(3, 8, 3)))
    assert find_refusals(model) == {"0": "its weight is computed from other parameters"}
    model = convs()
    model[3].weight = nn.Parameter(torch.zeros(2, 8, 1, 1))
    model.append(nn.Conv2d(8, 2, 1))
    model[4].weight = model[3].weight
    assert find_refusals(model) == {
        "3": "it shares its weight with '4'",
        "4": "it shares its weight with '3'",
    }
    assert holders_of(model)[id(model[3].weight)] == ["3", "4"]
