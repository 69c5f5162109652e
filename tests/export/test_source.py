import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from supernet.export.describing import describe, weights_of
from supernet.export.source import Pictures, write_source
from supernet.export.tidying import tidy
from tests.conftest import nine, noise
from tests.export.networks import OWN, ZOO, some, subnet

HEADING = "A network."


def source_of(model: nn.Module, names: dict[str, str] | None = None) -> str:
    return write_source(describe(tidy(model, names)), heading=HEADING)


def run(model: nn.Module, folder: Path, x: Tensor) -> Tensor:
    """Return what the network of a written `model.py` makes of `x`."""
    net = tidy(model)
    network = describe(net)
    safetensors.torch.save_file(weights_of(net, network), folder / "model.safetensors")
    (folder / "model.py").write_text(write_source(network, heading=HEADING))
    spec = importlib.util.spec_from_file_location("written", folder / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    result: Tensor = module.load()(x)
    return result


@pytest.mark.parametrize("name", OWN)
def test_the_source_of_a_users_network_computes_the_same_bits(name: str, tmp_path: Path) -> None:
    model, x = OWN[name]()
    assert torch.equal(run(model, tmp_path, x), model.eval()(x))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ZOO)
def test_the_source_of_zoo_networks_computes_the_same_bits(name: str, tmp_path: Path) -> None:
    for model, x in some(name, 1):
        assert torch.equal(run(model, tmp_path, x), model(x))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", [*ZOO, *OWN])
def test_it_needs_nothing_of_ours_and_is_formatted(name: str, tmp_path: Path) -> None:
    model = some(name, 1)[0][0] if name in ZOO else OWN[name]()[0]
    source = source_of(model)
    assert "import supernet" not in source
    assert "from supernet" not in source
    (tmp_path / "model.py").write_text(source)
    checked = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--line-length=100",
         "--select=E,F,I,UP", tmp_path],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "No module named ruff" in checked.stderr:
        pytest.skip("needs ruff")
    assert checked.returncode == 0, checked.stdout + source


def test_it_reads_like_written_by_hand() -> None:
    supernet = nine(widths=(64, 32))
    arch = list(supernet.space)[3]
    model = subnet(supernet, arch, noise(4, 1, 8, 8))
    source = source_of(model, {"1": "block1", "3": "block2"})
    assert (
        '''
def conv_bn_relu(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """Conv2d, BatchNorm2d, ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class Network(nn.Module):
    """The whole network."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn_relu(1, 64)
        self.block1 = nn.Sequential(
            conv_bn_relu(64, 64),
            conv_bn_relu(64, 64),
        )
        self.layer = conv_bn_relu(64, 32, stride=2)
        self.block2 = conv_bn_relu(32, 32)
        self.pool = nn.AvgPool2d((4, 4))
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(32, 3)
'''
        in source
    )


def test_a_block_reads_like_its_class() -> None:
    model, _ = some("residual", 1)[0]
    source = source_of(model)
    assert "class ResidualBlock(nn.Module):" in source
    assert "return self.relu(x + self.bn2(" in source


def test_images_are_normalized_as_the_data_does(tmp_path: Path) -> None:
    from tests.conftest import tiny_data

    data = tiny_data()
    pictures = Pictures(data.shape, data.train.mean, data.train.std)
    net = tidy(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)))
    source = write_source(describe(net), heading=HEADING, pictures=pictures)
    (tmp_path / "model.py").write_text(source)
    spec = importlib.util.spec_from_file_location("written", tmp_path / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    expected = next(data.validation.inputs(12))
    assert torch.equal(module.normalize(data.validation.images), expected)


class InPlace(nn.Module):
    """Changes its input after it has used it: the order of evaluation counts."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        before = x * 2
        seen = self.linear(x)
        after = self.relu(x)
        last: Tensor = after * 3 + before - seen
        return last


def test_the_order_of_evaluation_is_kept(tmp_path: Path) -> None:
    model, x = InPlace(), noise(3, 4)
    assert torch.equal(run(model, tmp_path, x.clone()), model(x.clone()))
