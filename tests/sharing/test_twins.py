"""Copies of a supernet: they compute the same, and what happens to them, happens to them alone."""

import pytest
import torch
from torch import Tensor, fx, nn

from supernet.networks.zoo import build_residual_net
from supernet.nn.choices import Depth
from supernet.nn.elastic.parts import as_graph
from supernet.nn.supernet import Supernet
from supernet.sharing.twins import twin_of
from tests.conftest import Residual, noise


def graphs_in_graphs() -> Supernet:
    """Two graph modules, one inside the other, with a module in common."""
    common = nn.Linear(3, 3)
    inner = as_graph(Residual(nn.Sequential(common, Depth("d", [nn.Linear(3, 3), nn.Tanh()]))))
    return Supernet(as_graph(Residual(nn.Sequential(inner, common))))


def residual_net() -> Supernet:
    return Supernet(build_residual_net(seed=0, classes=3, shape=(3, 4, 4), widths=(2, 4)))


@pytest.mark.parametrize(
    ("supernet", "x"), [(graphs_in_graphs(), noise(2, 3)), (residual_net(), noise(2, 3, 4, 4))]
)
def test_a_twin_computes_the_same_and_has_nothing_in_common(supernet: Supernet, x: Tensor) -> None:
    expected = [supernet(x, arch) for arch in supernet.space]
    twin, _ = twin_of(supernet)
    assert len(list(twin.modules())) == len(list(supernet.modules()))
    assert set(twin.modules()).isdisjoint(supernet.modules())
    assert list(map(type, twin.modules())) == list(map(type, supernet.modules()))
    for ours, theirs in zip(twin.parameters(), supernet.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert ours.data_ptr() != theirs.data_ptr()
    assert all(map(torch.equal, expected, [twin(x, arch) for arch in supernet.space]))
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert all(map(torch.equal, expected, [supernet(x, arch) for arch in supernet.space]))


def test_hooks_stay_with_the_original() -> None:
    supernet = graphs_in_graphs()
    seen: list[nn.Module] = []
    for module in supernet.net.modules():
        module.register_forward_hook(lambda m, *_: seen.append(m))
    twin, _ = twin_of(supernet)
    twin(noise(2, 3), supernet.space.largest)
    assert seen == []
    supernet(noise(2, 3), supernet.space.largest)
    assert any(isinstance(module, fx.GraphModule) for module in seen)


def test_a_twin_without_numbers_leaves_the_original_its_own() -> None:
    supernet = graphs_in_graphs()
    twin, _ = twin_of(supernet, meta=True)
    assert all(parameter.is_meta for parameter in twin.parameters())
    assert not any(parameter.is_meta for parameter in supernet.parameters())
    assert twin(noise(2, 3).to("meta"), supernet.space.largest).shape == (2, 3)
