"""Laws that hold for every network of the zoo."""

import inspect
import io
import random
import sys
import tokenize
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supernet import sharing
from supernet.evaluation.cost import count_params
from supernet.networks import zoo
from supernet.networks.zoo import (
    build_autoformer_net,
    build_mnist_net,
    build_nasbench201_net,
    build_nasbench_macro_net,
    build_ofa_mobilenet,
    build_ofa_resnet,
    build_operations_net,
    build_residual_net,
)
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.space import Architecture
from supernet.testing import ChoiceModuleContract
from tests.conftest import noise, stir

Build = Callable[..., nn.Sequential]

SMALL: dict[Build, dict[str, Any]] = {
    build_mnist_net: {"widths": (4, 3)},
    build_residual_net: {"widths": (3, 4, 5), "deepest": 2},
    build_operations_net: {"width": 3, "positions": 4},
    build_nasbench_macro_net: {"width": 2, "stages": (1, 2), "head": 5},
    build_nasbench201_net: {"width": 2, "cells": 1},
    build_ofa_mobilenet: {
        "widths": (2, 2, 2, 3, 3, 4),
        "head": (5, 4),
        "depths": (1, 2),
        "kernels": (3, 5),
        "expansions": (4, 8),
    },
    build_ofa_resnet: {
        "widths": (16, 32),
        "depths": (3,),
        "shares": (50, 100),
        "expansions": (50, 100),
    },
    build_autoformer_net: {
        "patch": 1,
        "widths": (4, 6),
        "depths": (1, 2),
        "heads": (1, 2),
        "head_width": 3,
        "ratios": (50, 200),
    },
}
every_network = pytest.mark.parametrize("build", SMALL)


def small(build: Build, *, seed: int = 0, **settings: Any) -> nn.Sequential:
    return build(seed=seed, **SMALL[build], **{"shape": (1, 9, 9), **settings})


def some(supernet: Supernet) -> list[Architecture]:
    """All architectures of a small space; of a large one the smallest, a middle and the largest."""
    space = supernet.space
    if space.size <= 16:
        return list(space)
    return [space.smallest, space.at(space.size // 2), space.largest]


def test_none_is_forgotten_here() -> None:
    assert {value for value in vars(zoo).values() if inspect.isfunction(value)} == set(SMALL)


@every_network
def test_it_takes_sixty_lines_at_most(build: Build) -> None:
    """Of code, without the parts that networks share."""
    lines: set[int] = set()
    fresh = True
    with open(sys.modules[build.__module__].__file__ or "", encoding="utf-8") as source:
        for token in tokenize.generate_tokens(source.readline):
            if tokenize.tok_name[token.type] in ("COMMENT", "NL", "NEWLINE", "INDENT", "DEDENT"):
                fresh = fresh or token.type == tokenize.NEWLINE
                continue
            if not (fresh and token.type == tokenize.STRING):  # a docstring
                lines.update(range(token.start[0], token.end[0] + 1))
            fresh = False
    assert 10 < len(lines) <= 60


@every_network
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 5, 20), (1, 1, 1)])
def test_it_takes_images_of_any_size(build: Build, shape: tuple[int, int, int]) -> None:
    net = small(build, classes=5, shape=shape)
    supernet = Supernet(net)
    pools = [module for module in net if isinstance(module, nn.AvgPool2d | nn.AdaptiveAvgPool2d)]
    assert len(pools) == (build is not build_autoformer_net)  # which takes the class token
    pooled: list[bool] = []

    def is_global(_: nn.Module, given: tuple[torch.Tensor], y: torch.Tensor) -> None:
        expected = given[0].mean((2, 3), keepdim=True)
        pooled.append(y.shape == expected.shape and torch.allclose(y, expected, atol=1e-6))

    for pool in pools:
        pool.register_forward_hook(is_global)
    archs = some(supernet)
    for arch in archs:
        y = supernet(noise(3, *shape), arch)
        assert y.shape == (3, 5)
        assert y.isfinite().all()
    assert pooled == [True] * len(archs) * len(pools)


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
        # Norms begin with ones and zeros, maps of kernels as the identity.
        if value.dim() > 1 and not torch.equal(value, torch.eye(*value.shape[:2])):
            assert not torch.equal(value, other.get_parameter(key))


@every_network
def test_convolutions_and_their_gradients_are_channels_last(build: Build) -> None:
    supernet = Supernet(small(build))
    for arch in some(supernet):
        supernet(noise(2, 1, 9, 9), arch).sum().backward()
    for parameter in supernet.parameters():
        if parameter.dim() == 4 and parameter.shape[1] > 1 and parameter.grad is not None:
            assert parameter.is_contiguous(memory_format=torch.channels_last)
            assert parameter.grad.is_contiguous(memory_format=torch.channels_last)


@every_network
def test_every_architecture_differs(build: Build) -> None:
    supernet, x = Supernet(stir(small(build))), noise(4, 1, 9, 9)
    made = [supernet(x, arch) for arch in some(supernet)]
    assert not any(torch.equal(a, b) for i, a in enumerate(made) for b in made[:i])


@every_network
def test_shared_execution_looks_inside_everything(build: Build) -> None:
    """What runs whole would also be warned of, and warnings are errors in the tests."""
    supernet = Supernet(small(build))
    program, _ = sharing.prepare(supernet, noise(4, 1, 9, 9), some(supernet)[-2:])
    for instruction in program.instructions:
        module = getattr(instruction.operation, "module", None)
        assert module not in supernet.modules_with_choices or not list(module.children())


@every_network
def test_what_is_extracted_can_be_saved_whole_and_loaded_without_this_package(build: Build) -> None:
    supernet, x = Supernet(stir(small(build))), noise(4, 1, 9, 9)
    for arch in (supernet.space.smallest, supernet.space.largest):
        file = io.BytesIO()
        net = extract(supernet, arch)
        torch.save(net, file)
        assert b"supernet" not in file.getvalue()
        file.seek(0)
        assert torch.equal(torch.load(file, weights_only=False)(x), net(x))


@pytest.mark.sampled(4)
@every_network
class TestContract(ChoiceModuleContract):
    """Extracted, networks compute the same and are PyTorch's own; shared, they compute the same."""

    @pytest.fixture(autouse=True)
    def _take(self, build: Build) -> None:
        self.builder = build
        self.counted = Supernet(self.build())
        self.most = self.counted.space.size if self.counted.space.size <= 9 else 1

    def build(self) -> nn.Module:
        return small(self.builder)

    def example(self) -> Tensor:
        return noise(4, 1, 9, 9)

    def reached(self, arch: Architecture) -> int | None:
        """What an architecture has, and the maps that its kernels come from."""
        if self.builder is not build_ofa_mobilenet:
            return None
        named = self.counted.named_parameters()
        maps = sum(p.numel() for name, p in named if name.endswith(".to3"))
        return count_params(extract(self.counted, arch)) + maps
