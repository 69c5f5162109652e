"""Laws that hold for every network of the zoo."""

import inspect
import io
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from supernet import sharing, zoo
from supernet.subnet import extract
from supernet.supernet import Supernet
from supernet.zoo import build_mnist_net, build_operations_net, build_residual_net
from tests.conftest import noise, stir

Build = Callable[..., nn.Sequential]

SMALL: dict[Build, dict[str, Any]] = {
    build_mnist_net: {"widths": (4, 3)},
    build_residual_net: {"widths": (3, 4, 5), "deepest": 2},
    build_operations_net: {"width": 3, "positions": 4},
}
every_network = pytest.mark.parametrize("build", SMALL)


def small(build: Build, *, seed: int = 0, **settings: Any) -> nn.Sequential:
    return build(seed=seed, **SMALL[build], **settings)


def test_none_is_forgotten_here() -> None:
    assert {value for value in vars(zoo).values() if inspect.isfunction(value)} == set(SMALL)


@every_network
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 5, 20), (1, 1, 1)])
def test_it_takes_images_of_any_size(build: Build, shape: tuple[int, int, int]) -> None:
    net = small(build, classes=5, shape=shape)
    supernet = Supernet(net)
    (pool,) = (module for module in net if isinstance(module, nn.AvgPool2d))
    pooled: list[bool] = []

    def is_global(_: nn.Module, given: tuple[torch.Tensor], y: torch.Tensor) -> None:
        expected = given[0].mean((2, 3), keepdim=True)
        pooled.append(y.shape == expected.shape and torch.allclose(y, expected, atol=1e-6))

    pool.register_forward_hook(is_global)
    for arch in supernet.space:
        y = supernet(noise(3, *shape), arch)
        assert y.shape == (3, 5)
        assert y.isfinite().all()
    assert pooled == [True] * supernet.space.size


@every_network
def test_one_seed_means_one_network_and_global_random_states_are_left_alone(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(seed: int) -> None:
        raise AssertionError("this would seed the generators of every device")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", never)
    before = torch.get_rng_state(), random.getstate()
    net, again, other = small(build, seed=3), small(build, seed=3), small(build, seed=4)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert net.state_dict().keys() == again.state_dict().keys() == other.state_dict().keys()
    for key, value in net.named_parameters():
        assert torch.equal(value, again.get_parameter(key))
        if value.dim() > 1:  # norms begin with ones and zeros
            assert not torch.equal(value, other.get_parameter(key))


@every_network
def test_convolutions_and_their_gradients_are_channels_last(build: Build) -> None:
    supernet = Supernet(small(build, shape=(1, 8, 8)))
    for arch in supernet.space:
        supernet(noise(2, 1, 8, 8), arch).sum().backward()
    for parameter in supernet.parameters():
        if parameter.dim() == 4 and parameter.shape[1] > 1:
            assert parameter.grad is not None
            assert parameter.is_contiguous(memory_format=torch.channels_last)
            assert parameter.grad.is_contiguous(memory_format=torch.channels_last)


@every_network
def test_every_architecture_differs_and_shared_execution_gives_the_same_bits(build: Build) -> None:
    supernet, x = Supernet(stir(small(build, shape=(1, 9, 9)))), noise(4, 1, 9, 9)
    archs = list(supernet.space)
    one_by_one = [supernet(x, arch) for arch in archs]
    for shared, alone in zip(sharing.outputs(supernet, x, archs), one_by_one, strict=True):
        assert torch.equal(shared, alone)
    assert not any(torch.equal(a, b) for i, a in enumerate(one_by_one) for b in one_by_one[:i])


@every_network
def test_what_is_extracted_consists_of_pytorchs_own_classes(build: Build) -> None:
    supernet, x = Supernet(stir(small(build, shape=(1, 9, 9)))), noise(4, 1, 9, 9)
    for arch in supernet.space:
        net = extract(supernet, arch)
        assert torch.equal(net(x), supernet(x, arch))
        classes = {cls for module in net.modules() for cls in type(module).__mro__} - {object}
        assert {cls.__module__.partition(".")[0] for cls in classes} == {"torch"}


@every_network
def test_what_is_extracted_can_be_saved_whole_and_loaded_without_this_package(build: Build) -> None:
    supernet, x = Supernet(stir(small(build, shape=(1, 9, 9)))), noise(4, 1, 9, 9)
    file = io.BytesIO()
    net = extract(supernet, supernet.space.largest)
    torch.save(net, file)
    assert b"supernet" not in file.getvalue()
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=False)(x), net(x))
