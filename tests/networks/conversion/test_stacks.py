"""Which blocks may be left out."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from supernet.networks.conversion import make_elastic
from supernet.nn.extraction import extract
from supernet.nn.skipping import Skippable
from supernet.nn.supernet import Supernet
from tests.conftest import noise, stir
from tests.networks.conversion.networks import BasicBlock, ResNet, X, conv_bn_relu, plain_stack


def depths(model: nn.Module, least: int | bool = True, x: Tensor = X) -> dict[str, tuple[int, ...]]:
    supernet, report = make_elastic(model, example=x, depth=least, kernel=(1,))
    found = {c.name: c.options for c in report.choices if c.name.endswith(".depth")}
    assert found == {c.name: c.options for c in supernet.space.choices if c.name.endswith(".depth")}
    return {name.removesuffix(".depth"): tuple(map(int, some)) for name, some in found.items()}


def reasons(model: nn.Module, x: Tensor = X) -> dict[str, str]:
    _, report = make_elastic(model, example=x, kernel=(1,))
    return {line.module: " ".join(line.reasons) for line in report.lines}


def test_blocks_of_a_plain_sequential_are_found() -> None:
    assert depths(plain_stack(3)) == {"1": (1, 2, 3)}
    assert depths(nn.Sequential(plain_stack(2)[:3])) == {"0": (1, 2)}
    assert depths(plain_stack(3), 0) == {"1": (0, 1, 2, 3)}
    assert depths(plain_stack(3), 2) == {"1": (2, 3)}
    assert depths(plain_stack(3), 3) == {}
    assert "at least" not in reasons(plain_stack(3))["1"]


def test_a_first_block_that_changes_the_shape_is_one_of_its_stage() -> None:
    assert depths(ResNet()) == {"layer1": (1, 2), "layer2": (0, 1)}
    assert depths(ResNet(), 2) == {}
    stage = nn.Sequential(BasicBlock(3, 4), *(BasicBlock(4, 4) for _ in range(3)))
    assert depths(stage, 2) == {"1": (1, 2, 3)}
    why = reasons(stage)["0"]
    assert why == "depth: it changes the shape, from (3, 3, 8, 8) to (3, 4, 8, 8)"


def test_what_is_not_of_one_kind_is_no_stack() -> None:
    def depthwise() -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, groups=3), nn.BatchNorm2d(3), nn.ReLU())

    assert depths(nn.Sequential(conv_bn_relu(3, 3), depthwise(), conv_bn_relu(3, 3))) == {}
    assert depths(nn.Sequential(conv_bn_relu(3, 4), nn.ReLU(), nn.ReLU())) == {}
    assert depths(nn.Sequential(conv_bn_relu(3, 4), conv_bn_relu(4, 4))) == {}  # nothing repeated


def test_one_block_that_runs_several_times_is_no_stack() -> None:
    block = conv_bn_relu(3, 3)
    model = nn.Sequential(block, block, block)
    assert depths(model) == {}
    assert "it runs 3 times" in reasons(model)["0"]


class Listed(nn.Module):
    """Runs the blocks of a list as it is told to."""

    def __init__(self, how: Callable[["Listed", Tensor], Tensor]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(conv_bn_relu(3, 3) for _ in range(3))
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        return self.how(self, x)


def in_order(net: Listed, x: Tensor) -> Tensor:
    for block in net.blocks:
        x = block(x)
    return x


def by_number(net: Listed, x: Tensor) -> Tensor:
    for number in range(3):
        x = net.blocks[number](x)
    return x


def backwards(net: Listed, x: Tensor) -> Tensor:
    for number in (2, 1, 0):
        x = net.blocks[number](x)
    return x


def collecting(net: Listed, x: Tensor) -> Tensor:
    found = []
    for block in net.blocks:
        x = block(x)
        found.append(x)
    return found[0] + found[2]


def with_more(net: Listed, x: Tensor) -> Tensor:
    for block in net.blocks:
        x = x + block(x)
    return x


def side_by_side(net: Listed, x: Tensor) -> Tensor:
    y: Tensor = net.blocks[0](x) + net.blocks[1](x) + net.blocks[2](x)
    return y


@pytest.mark.parametrize("how", [in_order, by_number])
def test_a_list_that_is_run_in_order_is_a_stack(how: Callable[[Listed, Tensor], Tensor]) -> None:
    model = stir(Listed(how)).train()
    assert depths(model) == {"blocks": (1, 2, 3)}
    supernet, _ = make_elastic(model, example=X, width=None, kernel=None)
    x = X
    for depth, arch in enumerate(supernet.space):
        x = model.get_submodule(f"blocks.{depth}")(x)
        assert torch.equal(supernet(X, arch), x)
        assert torch.equal(extract(supernet, arch)(X), x)


def unused(net: Listed, x: Tensor) -> Tensor:
    net.blocks[0](x)
    y: Tensor = net.blocks[2](net.blocks[1](x))
    return y


def test_a_block_whose_result_is_dropped_is_in_no_stack() -> None:
    assert "do not run in order" in reasons(Listed(unused))["blocks.0"]


@pytest.mark.parametrize("how", [backwards, collecting, side_by_side, unused])
def test_a_list_that_is_run_otherwise_is_not(how: Callable[[Listed, Tensor], Tensor]) -> None:
    model = Listed(how)
    assert depths(model) == {}
    assert "depth: " in reasons(model)["blocks.0"]


def test_blocks_inside_blocks() -> None:
    def stage() -> nn.Sequential:
        return nn.Sequential(conv_bn_relu(3, 3), conv_bn_relu(3, 3))

    model = stir(nn.Sequential(stage(), stage())).train()
    assert depths(model) == {"0": (1, 2), "0.0": (1, 2), "1": (1, 2)}
    supernet, _ = make_elastic(model, example=X, width=None, kernel=None)
    assert supernet.space.size == 2 + 2 * 2
    for arch in supernet.space:
        x = model.get_submodule("0.0")(X)
        x = model.get_submodule("0.1")(x) if arch["0.0.depth"] == 2 else x
        if arch["0.depth"] == 2:
            x = model.get_submodule("1.0")(x)
            x = model.get_submodule("1.1")(x) if arch["1.depth"] == 2 else x
        assert torch.equal(supernet(X, arch), x)


def test_names_stay() -> None:
    supernet, _ = make_elastic(plain_stack(), example=X, width=None, kernel=None)
    assert list(supernet.net._modules) == list("0123456")
    assert not isinstance(supernet.net.get_submodule("1"), Skippable)  # it always runs
    assert isinstance(supernet.net.get_submodule("2"), Skippable)


def scaled(net: Listed, x: Tensor) -> Tensor:
    for block in net.blocks:
        x = x + 0.5 * block(x)
    return x


def summed_up(net: Listed, x: Tensor) -> Tensor:
    total = x
    for block in net.blocks:
        x = block(x)
        total = total + x
    return total


def test_blocks_whose_results_are_added_by_the_code_that_runs_them() -> None:
    model = stir(Listed(with_more)).train()
    assert depths(model, 0) == {"blocks": (0, 1, 2, 3)}
    assert depths(Listed(scaled)) == depths(Listed(summed_up)) == {}
    supernet, _ = make_elastic(model, example=X, width=None, kernel=None, depth=0)
    x = X
    for depth, arch in enumerate(supernet.space):
        assert torch.equal(supernet(X, arch), x)
        assert torch.equal(extract(supernet, arch)(X), x)
        if depth < 3:
            x = x + model.get_submodule(f"blocks.{depth}")(x)


class Attributes(nn.Module):
    """Its blocks are attributes, among others."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn_relu(3, 4)
        self.block1, self.block2, self.block3 = (BasicBlock(4, 4) for _ in range(3))
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block3(self.block2(self.block1(self.stem(x))))
        y: Tensor = self.head(x.mean((2, 3)))
        return y


def test_blocks_that_are_attributes_are_found() -> None:
    model = stir(Attributes()).train()
    assert depths(model) == {"block1": (1, 2, 3)}
    supernet, _ = make_elastic(model, example=X, width=None, kernel=None)
    for arch in supernet.space:
        assert torch.equal(extract(supernet, arch)(X), supernet(X, arch))


def test_pytorchs_transformer_encoder_has_a_depth() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    model = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    x = noise(2, 5, 8)
    supernet, report = make_elastic(model, example=x)
    assert [c.name for c in report.choices] == ["layers.depth"]
    for arch in supernet.space:
        net = extract(supernet, arch)
        assert torch.equal(net.train()(x), supernet.train()(x, arch))
        assert torch.equal(net.eval()(x), supernet.eval()(x, arch))


def test_sequences_work_as_images_do() -> None:
    x = noise(2, 6)
    model = nn.Sequential(*(nn.Sequential(nn.Linear(6, 6), nn.Tanh()) for _ in range(3)))
    supernet, _ = make_elastic(model, example=x, kernel=None)
    assert isinstance(supernet, Supernet)
    assert depths(model, x=x) == {"0": (1, 2, 3)}
