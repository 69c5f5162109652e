from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.errors import SettingsError
from supernet.networks.zoo import build_nasbench201_net
from supernet.networks.zoo.nasbench201 import Cell
from supernet.nn.elastic.parts import as_graph
from supernet.nn.supernet import Supernet
from supernet.space import Architecture
from tests.conftest import noise, stir
from tests.networks.zoo.counting import costs, countable

EDGES = ("01", "02", "12", "03", "13", "23")
OPERATIONS = ("none", "skip_connect", "avg_pool_3x3", "nor_conv_1x1", "nor_conv_3x3")


def decoded(cell: str) -> Architecture:
    """The benchmark's way to write a cell."""
    ops = [edge.split("~")[0] for node in cell.split("+") for edge in node.strip("|").split("|")]
    return Architecture({f"edge{ends}.op": op for ends, op in zip(EDGES, ops, strict=True)})


def test_it_holds_15625_networks_of_the_sizes_it_says() -> None:
    supernet = countable(build_nasbench201_net)
    assert supernet.space.size == 15_625
    choices = {choice.name: choice.options for choice in supernet.space.choices}
    assert choices == {f"edge{ends}.op": OPERATIONS for ends in EDGES}
    assert costs(supernet, supernet.space.smallest, (3, 32, 32)) == (73_306, 7_783_040)
    assert costs(supernet, supernet.space.largest, (3, 32, 32)) == (1_531_546, 220_119_680)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("cell", "params", "flops"),
    [
        # Architectures 0 and 1 of the benchmark and one more, on CIFAR-10, as printed in issues 24,
        # 18 and 36 of github.com/D-X-Y/NATS-Bench, with 12 epochs; with 200 issue 36 shows wrong
        # ones. In millions; "flops" are multiply-adds, and the biases of the linear layer.
        (
            "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+"
            "|nor_conv_1x1~0|skip_connect~1|skip_connect~2|",
            0.129306,
            15.64737,
        ),
        (
            "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+"
            "|skip_connect~0|nor_conv_3x3~1|skip_connect~2|",
            0.802,
            113.95,
        ),
        (
            "|skip_connect~0|+|none~0|nor_conv_3x3~1|+"
            "|avg_pool_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|",
            0.802426,
            113.95137,
        ),
    ],
)
def test_parameters_and_multiply_adds_are_the_benchmarks(
    cell: str, params: float, flops: float
) -> None:
    counted, macs = costs(countable(build_nasbench201_net), decoded(cell), (3, 32, 32))
    assert round(counted / 1e6, len(str(params)) - 2) == params
    digits = len(str(flops).partition(".")[2])
    assert round((macs + 10) / 1e6, digits) == flops


def test_a_node_is_the_sum_of_what_comes_from_earlier_ones() -> None:
    cell = stir(as_graph(Cell(2)))
    supernet, x = Supernet(cell), noise(3, 2, 5, 5)

    def edge(ends: str, op: str, x: Tensor) -> Tensor:
        if op == "none":
            return torch.zeros_like(x)
        if op == "skip_connect":
            return x
        if op == "avg_pool_3x3":  # the mean of what lies inside the image
            ones = torch.ones_like(x)
            total = F.avg_pool2d(x, 3, 1, padding=1, divisor_override=1)
            return total / F.avg_pool2d(ones, 3, 1, padding=1, divisor_override=1)
        at = f"edge{ends}.operations.{OPERATIONS.index(op)}"
        weight, scale, shift = (
            cell.get_parameter(f"{at}.{n}") for n in ("1.weight", "2.weight", "2.bias")
        )
        y = F.conv2d(F.relu(x), weight, padding=weight.shape[-1] // 2)
        return F.batch_norm(y, None, None, scale, shift, training=True)

    for number in range(0, supernet.space.size, 623):
        arch = supernet.space.at(number)
        nodes = [x]
        for node in (1, 2, 3):
            ends = [f"{before}{node}" for before in range(node)]
            made = [edge(e, str(arch[f"edge{e}.op"]), nodes[int(e[0])]) for e in ends]
            nodes.append(torch.stack(made).sum(0))
        torch.testing.assert_close(supernet(x, arch), nodes[-1])


def test_all_cells_make_the_same_choices() -> None:
    net = build_nasbench201_net(seed=0, width=2, cells=2)
    assert len([m for m in net if hasattr(m, "edge23")]) == 6
    widths = [m.out_channels for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert set(widths) == {2, 4, 8}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"classes": 1}, "classes is 1; it must be at least 2"),
        ({"shape": (0, 32, 32)}, "shape is 0; it must be at least 1"),
        ({"width": 0}, "width is 0; it must be at least 1"),
        ({"cells": 0}, "cells is 0; it must be at least 1"),
    ],
)
def test_impossible_sizes_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        build_nasbench201_net(seed=0, **setting)
