import copy
import re
from typing import Any

import pytest
import torch
from torch import nn

from supernet.errors import NoArchitectureError, SpaceError
from supernet.nn.choices import ChoiceModule, Depth
from supernet.nn.supernet import Supernet, fresh_statistics
from supernet.space import Architecture
from tests.conftest import nested, nine, noise, plain_net


def active(supernet: Supernet) -> list[Architecture | None]:
    return [m._active for m in supernet.modules() if isinstance(m, ChoiceModule)]


def test_it_finds_its_space() -> None:
    assert [choice.name for choice in nine().space.choices] == ["block1.depth", "block2.depth"]
    assert nine().space.size == 9
    assert [(c.name, c.options) for c in nested().space.choices] == [
        ("outer.depth", (0, 1, 2, 3)),
        ("inner.depth", (0, 1, 2)),
        ("cell.depth", (1, 2)),
    ]
    assert nested().space.size == 11
    assert list(Supernet(plain_net()).space) == [Architecture()]


def test_a_choice_used_twice_is_one_but_different_ones_need_names() -> None:
    def two(first: int, second: int) -> nn.Sequential:
        blocks = [[nn.Linear(2, 2) for _ in range(count)] for count in (first, second)]
        return nn.Sequential(Depth("d", blocks[0]), Depth("d", blocks[1]))

    assert Supernet(two(2, 2)).space.size == 2
    with pytest.raises(SpaceError, match=r"share a name, 'd\.depth': that of module '0' .* '1'"):
        Supernet(two(2, 3))


@pytest.mark.parametrize(
    ("net", "given"), [(None, "None"), (nn.ReLU, "the class ReLU"), ([nn.ReLU()], "[ReLU()]")]
)
def test_what_is_no_network_is_named(net: Any, given: str) -> None:
    with pytest.raises(SpaceError, match=re.escape(f"torch.nn.Module, and was given {given}")):
        Supernet(net)


def test_an_architecture_is_made_of_a_mapping() -> None:
    made_of: Any = [1, 2]
    with pytest.raises(SpaceError, match=r"made of \[1, 2\]; give a dict"):
        Architecture(made_of)


def test_nothing_is_active_by_default() -> None:
    supernet, x = nine(), noise(2, 1, 8, 8)
    with pytest.raises(TypeError):
        supernet(x)
    with pytest.raises(NoArchitectureError, match=r"supernet\(x, arch\)"):
        supernet.net(x)
    supernet(x, supernet.space.largest)
    with pytest.raises(NoArchitectureError):
        supernet.net(x)


def test_activating_is_nested_and_always_undone() -> None:
    supernet = nine()
    small, large = supernet.space.smallest, supernet.space.largest
    with supernet.activate(small):
        assert active(supernet) == [small, small]
        with supernet.activate(large):
            assert active(supernet) == [large, large]
        with pytest.raises(ZeroDivisionError), supernet.activate(large):
            raise ZeroDivisionError
        assert active(supernet) == [small, small]
        supernet(noise(2, 1, 8, 8), large)
        assert active(supernet) == [small, small]
    assert active(supernet) == [None, None]


def test_nothing_stays_active_after_an_exception_inside_the_network() -> None:
    supernet = nine()
    with pytest.raises(RuntimeError, match="channels"):
        supernet(noise(2, 5, 8, 8), supernet.space.largest)
    assert active(supernet) == [None, None]


def test_what_is_not_in_the_space_is_refused_before_anything_runs() -> None:
    supernet, x = nine(), noise(2, 1, 8, 8)
    large = supernet.space.largest
    for arch, message in (
        (large.but(**{"block1.depth": 4}), r"'block1\.depth' is 4"),
        (large.restrict(["block1.depth"]), r"says nothing about 'block2\.depth'"),
        (large.but(width=8), r"lacks: \['width'\]"),
    ):
        with pytest.raises(SpaceError, match=message):
            supernet(x, arch)
        with pytest.raises(SpaceError, match=message), supernet.activate(arch):
            raise AssertionError("the block must not run")
    assert active(supernet) == [None, None]


def test_architectures_differ_in_what_they_compute() -> None:
    supernet, x = nine(), noise(4, 1, 8, 8)
    outputs = [supernet(x, arch) for arch in supernet.space]
    assert not any(torch.equal(a, b) for i, a in enumerate(outputs) for b in outputs[:i])


def test_it_keeps_no_statistics_and_training_leaves_none() -> None:
    supernet = nine()
    kinds = ("running_mean", "running_var", "num_batches_tracked")
    assert not [key for key in supernet.state_dict() if key.endswith(kinds)]
    assert not list(supernet.buffers())
    before = {key: value.clone() for key, value in supernet.state_dict().items()}
    supernet.train()
    for arch in supernet.space:
        supernet(noise(4, 1, 8, 8), arch).sum().backward()
    assert not list(supernet.buffers())
    after = supernet.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_plain_network_is_left_exactly_as_it_was() -> None:
    net = plain_net()
    net(noise(4, 1, 8, 8))
    before = copy.deepcopy(net.state_dict())
    supernet = Supernet(net)
    assert supernet.net is net
    assert before.keys() == net.state_dict().keys()
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    x = noise(4, 1, 8, 8, seed=1)
    assert torch.equal(supernet.eval()(x, Architecture()), net(x))


def test_a_copy_is_a_supernet_of_its_own() -> None:
    supernet, x = nine(), noise(4, 1, 8, 8)
    clone = copy.deepcopy(supernet)
    arch = supernet.space.largest
    assert torch.equal(clone(x, arch), supernet(x, arch))
    with clone.activate(arch):
        assert active(supernet) == [None, None]
    assert active(clone) == [None, None]


def test_fresh_statistics_are_those_of_a_new_batch_norm() -> None:
    for affine in (True, False):
        norm = nn.BatchNorm2d(3, affine=affine)
        net = nn.Sequential(nn.Conv2d(1, 3, 1), norm).double()
        mean, var, count = fresh_statistics(norm, net)
        for fresh, own in zip((mean, var, count), norm.buffers(), strict=True):
            assert torch.equal(fresh, own)
            assert fresh.dtype == own.dtype


def test_within_a_part_no_other_part_is_activated_and_all_is_put_back() -> None:
    supernet = nested()
    outer, inner = (
        next(m for m in supernet.modules() if isinstance(m, Depth) and m.name == name)
        for name in ("outer", "inner")
    )
    arch = supernet.space.largest
    with supernet.activate_within(inner, arch):
        assert inner.active is arch
        with pytest.raises(NoArchitectureError):
            _ = outer.active
    with supernet.activate(supernet.space.smallest):
        with supernet.activate_within(inner, arch):
            assert (inner.active, outer.active) == (arch, supernet.space.smallest)
        assert inner.active == supernet.space.smallest
    with pytest.raises(NoArchitectureError):
        _ = inner.active


def test_it_shows_itself_in_one_line() -> None:
    assert repr(nine()).startswith("Supernet(Sequential: 9 architectures of 2 choices, ")
    assert "<td>block1.depth</td>" in nine()._repr_html_()
