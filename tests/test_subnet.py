import copy

import pytest
import torch
from torch import nn

from supernet.choices import Depth
from supernet.errors import SpaceError
from supernet.space import Architecture
from supernet.subnet import extract
from supernet.supernet import Supernet
from tests.conftest import block, nested, nine, noise, plain_net, stir

X = {"nine": noise(4, 1, 8, 8), "nested": noise(6, 4)}


def make(name: str) -> Supernet:
    return nine() if name == "nine" else nested()


@pytest.mark.parametrize("name", ["nine", "nested"])
def test_it_computes_what_the_supernet_does_over_the_whole_space(name: str) -> None:
    supernet, x = make(name).train(), X[name]
    for arch in supernet.space:
        assert torch.equal(extract(supernet, arch).train()(x), supernet(x, arch))


@pytest.mark.parametrize("arch", list(nine().space), ids=lambda arch: arch.label)
def test_nothing_of_ours_is_inside(arch: Architecture) -> None:
    net = extract(nine(), arch)
    assert {type(m).__module__.split(".")[0] for m in net.modules()} == {"torch"}
    depths = [arch["block1.depth"], arch["block2.depth"]]
    assert sum(isinstance(m, nn.Conv2d) for m in net.modules()) == 2 + sum(map(int, depths))


def test_it_shares_no_storage() -> None:
    supernet = nested()
    for arch in supernet.space:
        theirs = {p.untyped_storage().data_ptr() for p in supernet.parameters()}
        net = extract(supernet, arch)
        ours = {t.untyped_storage().data_ptr() for t in [*net.parameters(), *net.buffers()]}
        assert not ours & theirs
        before = supernet(X["nested"], arch)
        for parameter in net.parameters():
            nn.init.zeros_(parameter)
        assert torch.equal(supernet(X["nested"], arch), before)


def test_the_supernet_is_not_changed() -> None:
    supernet = nested()
    modules, before = list(supernet.modules()), copy.deepcopy(supernet.state_dict())
    extract(supernet, supernet.space.smallest)
    assert list(supernet.modules()) == modules
    assert before.keys() == supernet.state_dict().keys()
    assert not list(supernet.buffers())


def test_its_batch_norms_are_new() -> None:
    supernet = Supernet(
        nn.Sequential(
            nn.Linear(4, 4), nn.BatchNorm1d(4, affine=False), Depth("d", [block(), block()])
        )
    ).double()
    net = extract(supernet, supernet.space.largest)
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm1d)]
    assert len(norms) == 3
    for norm in norms:
        assert norm.track_running_stats
        for own, new in zip(norm.buffers(), nn.BatchNorm1d(4).double().buffers(), strict=True):
            assert torch.equal(own, new)
            assert own.dtype == new.dtype


def test_a_module_used_twice_is_plain_at_both_places() -> None:
    depth = Depth("d", [nn.Linear(4, 4), nn.Linear(4, 4)])
    supernet = Supernet(nn.Sequential(depth, nn.Tanh(), depth))
    for arch in supernet.space:
        net = extract(supernet, arch)
        assert torch.equal(net(X["nested"]), supernet(X["nested"], arch))
        assert len(list(net.parameters())) == 2 * int(arch["d.depth"])  # still the same weights


def test_a_plain_network_keeps_its_statistics() -> None:
    net = stir(plain_net())
    net(X["nine"])
    copied = extract(Supernet(net), Architecture())
    assert copied.state_dict().keys() == net.state_dict().keys()
    for key, value in copied.state_dict().items():
        assert torch.equal(value, net.state_dict()[key])


def test_what_is_not_in_the_space_is_refused() -> None:
    supernet = nine()
    with pytest.raises(SpaceError, match=r"'block2\.depth' is 9"):
        extract(supernet, supernet.space.largest.but(**{"block2.depth": 9}))
