"""Costs from tables equal what the counters say of the extracted network, over the whole zoo."""

import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from supernet.evaluation.cost import count_macs, count_params, plan_costs
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
from supernet.nn.choices import Depth, OneOf
from supernet.nn.elastic import ElasticLinear
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.space import Choice
from supernet.strategies import TableCost

SMALL = (3, 32, 32)
GRAY = (1, 28, 28)

ZOO: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "mnist": (lambda: build_mnist_net(seed=0, widths=(6, 4)), GRAY),
    "operations": (lambda: build_operations_net(seed=0), GRAY),
    "residual": (lambda: build_residual_net(seed=0), GRAY),
    "nasbench_macro": (lambda: build_nasbench_macro_net(seed=0, width=4, head=8), SMALL),
    "nasbench201": (lambda: build_nasbench201_net(seed=0, width=4, cells=1), SMALL),
    "ofa_mobilenet": (
        lambda: build_ofa_mobilenet(
            seed=0,
            shape=SMALL,
            widths=(4, 4, 4, 8, 8, 8),
            head=(8, 8),
            depths=(2, 3),
            kernels=(3, 5),
            expansions=(3, 4),
            resolutions=(24, 32),
        ),
        SMALL,
    ),
    "ofa_resnet": (
        lambda: build_ofa_resnet(
            seed=0,
            shape=SMALL,
            widths=(8, 16, 16, 32, 32),
            depths=(2, 2, 2, 2),
            fewer=1,
            shares=(65, 100),
            expansions=(25, 50),
        ),
        SMALL,
    ),
    "autoformer": (
        lambda: build_autoformer_net(
            seed=0, shape=SMALL, widths=(16, 24), depths=(2, 3), head_width=8
        ),
        SMALL,
    ),
}


def require_exact(supernet: Supernet, shape: tuple[int, ...], count: int = 5) -> None:
    costs, rng = plan_costs(supernet, shape), random.Random(7)
    assert all(isinstance(cost, TableCost) for cost in costs.values())
    for _ in range(count):
        arch = supernet.space.sample(rng, by="options")
        assert costs["params"](arch) == count_params(extract(supernet, arch))
        assert costs["macs"](arch) == count_macs(supernet, arch, shape)


QUICK = ("mnist", "nasbench_macro")


@pytest.mark.parametrize(
    "name",
    [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in sorted(ZOO)],
)
def test_planned_costs_are_exact(name: str) -> None:
    build, shape = ZOO[name]
    require_exact(Supernet(build()), shape)


class Gated(nn.Module):
    """Multiplies matrices in its own forward, of sizes that follow from a choice."""

    def __init__(self, width: Choice) -> None:
        super().__init__()
        self.left, self.right = ElasticLinear(6, width), ElasticLinear(6, width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.left(x) @ self.right(x).T @ x
        return y


class Looking(nn.Module):
    """Looks at numbers, so that it can't run without any."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if bool(x.sum() > 0) else x


def test_work_in_a_forward_of_ones_own_counts() -> None:
    require_exact(Supernet(nn.Sequential(Gated(Choice("width", (2, 3, 5))))), (6,))


def test_a_module_at_several_places_holds_its_parameters_once() -> None:
    twice = nn.Linear(6, 6)
    blocks = [twice, nn.Linear(6, 6), twice]
    supernet = Supernet(nn.Sequential(Depth("block", blocks), OneOf("last", {"a": twice})))
    require_exact(supernet, (6,))


def test_a_network_that_looks_at_numbers_is_run_on_zeros() -> None:
    blocks = [nn.Linear(6, 6), nn.Sequential(Looking(), nn.Linear(6, 6))]
    supernet = Supernet(nn.Sequential(Depth("block", blocks)))
    costs = plan_costs(supernet, (6,))
    assert [costs["macs"](arch) for arch in supernet.space] == [36, 72]
    assert [costs["params"](arch) for arch in supernet.space] == [42, 84]


def test_a_network_without_choices_has_costs_too() -> None:
    require_exact(Supernet(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())), SMALL, count=1)


def test_planning_leaves_the_network_as_it_was() -> None:
    supernet = Supernet(ZOO["residual"][0]())
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    x = torch.randn(2, *GRAY, generator=torch.Generator().manual_seed(0))
    expected = supernet(x, supernet.space.largest)
    plan_costs(supernet, GRAY)
    assert supernet.training
    assert torch.equal(supernet(x, supernet.space.largest), expected)
    assert all(torch.equal(before[name], value) for name, value in supernet.state_dict().items())
