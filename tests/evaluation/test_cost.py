import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from supernet.evaluation import cost
from supernet.evaluation.cost import (
    count_macs,
    count_network_macs,
    count_params,
    count_shared_macs,
)
from supernet.networks.zoo import build_mnist_net
from supernet.nn.choices import Depth
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.sharing.kinds import Remembered
from supernet.space import Architecture
from tests.conftest import Residual, nested, nine, plain_net

SHAPE = (1, 28, 28)


def real() -> Supernet:
    return Supernet(build_mnist_net(seed=0))


def conv(inp: int, out: int, size: int, kernel: int = 3) -> int:
    return kernel * kernel * inp * out * size * size


def depths(arch: Architecture) -> tuple[int, int]:
    return int(arch["block1.depth"]), int(arch["block2.depth"])


STEM, WIDE, DOWN, NARROW, HEAD = (
    conv(1, 64, 28),
    conv(64, 64, 28),
    conv(64, 32, 14),
    conv(32, 32, 14),
    32 * 10,
)


def test_the_nine_networks_cost_what_the_formulas_say() -> None:
    supernet = real()
    for arch in supernet.space:
        first, second = depths(arch)
        params = 9 * 64 + 9 * 64 * 64 * first + 9 * 64 * 32 + 9 * 32 * 32 * second
        params += 2 * 64 * (1 + first) + 2 * 32 * (1 + second)  # batch norms
        params += 32 * 10 + 10
        assert count_params(extract(supernet, arch)) == params
        macs = STEM + WIDE * first + DOWN + NARROW * second + HEAD
        assert count_macs(supernet, arch, SHAPE) == macs


def test_all_nine_at_once_cost_their_distinct_work() -> None:
    supernet = real()
    archs = list(supernet.space)
    shared = STEM + 3 * WIDE + 3 * DOWN + 3 * 3 * NARROW + 9 * HEAD
    assert count_shared_macs(supernet, archs, SHAPE) == shared
    # Twice as much again for the gradients of inputs and of weights; images need no gradient.
    both = count_shared_macs(supernet, archs, SHAPE, backward=True)
    assert both == 3 * shared - STEM


def test_a_part_of_the_space_costs_its_own_distinct_work() -> None:
    supernet = real()
    archs = [a for a in supernet.space if depths(a) in ((1, 2), (3, 1))]
    shared = STEM + 3 * WIDE + 2 * DOWN + (2 + 1) * NARROW + 2 * HEAD
    assert count_shared_macs(supernet, archs, SHAPE) == shared
    assert count_shared_macs(supernet, archs * 2, SHAPE) == shared


def test_one_alone_costs_the_same_either_way() -> None:
    for supernet, shape in ((nine(), (1, 8, 8)), (nested(), (4,))):
        for arch in supernet.space:
            alone = count_macs(supernet, arch, shape)
            assert count_shared_macs(supernet, [arch], shape) == alone > 0


def test_a_plain_network_costs_its_own() -> None:
    supernet = Supernet(plain_net())
    assert count_macs(supernet, Architecture(), (1, 8, 8)) == conv(1, 4, 8) + 4 * 3
    assert count_shared_macs(supernet, [Architecture()], (1, 8, 8)) == conv(1, 4, 8) + 4 * 3


def test_frozen_numbers_are_no_parameters_and_need_no_gradients() -> None:
    supernet = Supernet(plain_net())
    assert count_params(supernet) == 9 * 4 + 2 * 4 + 4 * 3 + 3
    for parameter in list(supernet.parameters())[:1]:
        parameter.requires_grad_(False)
    assert count_params(supernet) == 2 * 4 + 4 * 3 + 3
    work = count_shared_macs(supernet, [Architecture()], (1, 8, 8), backward=True)
    assert work == conv(1, 4, 8) + 3 * 4 * 3


def test_a_change_in_place_after_a_split_is_counted_where_it_is_allowed() -> None:
    """All of the meta device seems to lie at one address; that must not look like sharing."""
    blocks = [nn.Linear(3, 3), nn.Linear(3, 3)]
    supernet = Supernet(
        nn.Sequential(Depth("d", blocks), nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    )
    assert count_shared_macs(supernet, list(supernet.space), (3,)) == 2 * (9 + 12 + 8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_type_of_the_numbers_does_not_matter(dtype: torch.dtype) -> None:
    expected = count_macs(nine(), nine().space.largest, (1, 8, 8))
    supernet = nine().to(dtype)
    assert count_macs(supernet, supernet.space.largest, (1, 8, 8)) == expected
    assert count_shared_macs(supernet, [supernet.space.largest], (1, 8, 8)) == expected


def test_a_layer_is_counted_once_for_all_networks_and_no_other_is_taken_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def build(stride: int = 1, groups: int = 1, width: int = 4) -> nn.Module:
        first = nn.Conv2d(4, width, 3, stride=stride, groups=groups, bias=False)
        residual = Residual(nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(inplace=True)))
        recurrent = nn.Sequential(nn.Flatten(2), nn.LSTM((8 // stride) ** 2, 3))
        return nn.Sequential(nn.ZeroPad2d(1), first, residual, recurrent)

    builds: list[Callable[[], nn.Module]] = [
        build,
        partial(build, stride=2),
        partial(build, groups=2),
        partial(build, width=8),
    ]
    fresh = []
    for make in builds:
        monkeypatch.setattr(cost, "_COUNTED", Remembered())
        fresh.append(count_network_macs(make(), (4, 8, 8)))
    assert len(set(fresh)) == 4
    monkeypatch.setattr(cost, "_COUNTED", Remembered())
    for _ in range(2):
        assert [count_network_macs(make(), (4, 8, 8)) for make in builds] == fresh
    with pytest.raises(RuntimeError, match="channel"):
        count_network_macs(build(), (3, 8, 8))
    monkeypatch.setattr(nn.Conv2d, "forward", None)  # so that nothing can be counted again
    net = build()
    assert count_network_macs(net, (4, 8, 8)) == fresh[0]
    assert not any("forward" in vars(module) for module in net.modules())


def test_counting_changes_nothing() -> None:
    supernet = Supernet(plain_net()).eval()
    before, random = copy.deepcopy(supernet.state_dict()), torch.get_rng_state()
    archs = list(supernet.space)
    count_macs(supernet, archs[0], (1, 8, 8))
    count_shared_macs(supernet, archs, (1, 8, 8), backward=True)
    assert not any(m.training for m in supernet.modules())
    assert all(torch.equal(before[key], value) for key, value in supernet.state_dict().items())
    assert all(p.grad is None and p.device.type == "cpu" for p in supernet.parameters())
    assert torch.equal(random, torch.get_rng_state())
