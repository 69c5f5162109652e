"""What many tests share: small networks, and the settings of the session."""

import gc
import signal
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings
from torch import Tensor, nn

from supernet.datasets import DataSplit, ImageData
from supernet.networks.zoo import build_mnist_net
from supernet.nn.choices import Depth
from supernet.nn.supernet import Supernet
from tests import sampling

_OF_MODULES = {name: vars(nn.Module).get(name) for name in ("__getattribute__", "__call__")}

settings.register_profile("repo", deadline=None, derandomize=True)
settings.load_profile("repo")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all", action="store_true", help="run every case of every test, and the slow ones"
    )


def pytest_configure(config: pytest.Config) -> None:
    sampling.everything = config.getoption("--all")  # before test modules are imported
    # Of thousands of tests and all they import, nothing is ever garbage, and to look through that
    # again and again takes its time. A test of what is left behind collects by itself.
    gc.set_threshold(50_000, 20, 20)


def pytest_collection_finish() -> None:
    gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if " at 0x" in item.nodeid:  # it would differ between processes, and `-n auto` then stops
            raise pytest.UsageError(f"{item.nodeid} is named by an address; give the case an id")
    if not config.getoption("--all"):
        kept = sampling.chosen(items)
        wanted = set(kept)
        config.hook.pytest_deselected(items=[item for item in items if item not in wanted])
        items[:] = kept


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_heeded() -> None:
    """Let programs that tests start heed Ctrl-C, which a shell's background job would ignore."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Let tests measure and compare the same thing on any machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def modules_untouched() -> Iterator[None]:
    """See that what PyTorch does to look up attributes of modules and call them is what it was."""
    yield
    for name, kept in _OF_MODULES.items():
        assert vars(nn.Module).get(name) is kept, f"this test leaves nn.Module.{name} replaced"


class Counted(nn.Module):
    """Counts how often it is run."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        y: Tensor = self.inner(x)
        return y


class Residual(nn.Module):
    """No plain chain: shared execution can't walk into it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.inner(x)
        return y


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stir(net: nn.Module, seed: int = 0) -> nn.Module:
    """Draw all parameters again: ones and zeros, the default of norms, would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        nn.init.uniform_(parameter, -0.6, 0.9, generator=generator)
    return net


def nine(*, widths: tuple[int, int] = (4, 3), size: int = 8, seed: int = 0) -> Supernet:
    """The network of the experiment, small: nine architectures, depths (1, 1) to (3, 3)."""
    net = build_mnist_net(seed=seed, classes=3, shape=(1, size, size), widths=widths)
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            stir(norm, seed)
    return Supernet(net)


def block(width: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(inplace=True))


def nested(width: int = 4) -> Supernet:
    """Choices in chains, in choices, in a block that is no chain, and one that can be skipped."""
    outer = [
        block(width),
        nn.Sequential(Depth("inner", [block(width), block(width)], shortest=0), block(width)),
        Residual(nn.Sequential(Depth("cell", [block(width), block(width)]), nn.Tanh())),
    ]
    net = nn.Sequential(block(width), Depth("outer", outer, shortest=0), nn.Linear(width, 3))
    return Supernet(stir(net))


def plain_net(seed: int = 0) -> nn.Sequential:
    """A network without choices, for images of 1 x 8 x 8."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.AvgPool2d(8),
            nn.Flatten(),
            nn.Linear(4, 3),
        )


def tiny_data(*, train: int = 40, validation: int = 12, test: int = 15) -> ImageData:
    """Images of 1 x 8 x 8 in three classes: stripes down, stripes across, and a checkerboard."""
    down = torch.arange(8).expand(8, 8) % 2
    patterns = torch.stack([down, down.T, (down + down.T) % 2]).unsqueeze(1)

    def split(count: int, seed: int) -> DataSplit:
        y = torch.arange(count) % 3
        x = 90 * patterns[y] + 80 + 40 * noise(count, 1, 8, 8, seed=seed)
        return DataSplit(x.clamp(0, 255).to(torch.uint8), y, mean=(0.45,), std=(0.3,))

    return ImageData(
        name="tiny",
        classes=3,
        train=split(train, 1),
        validation=split(validation, 2),
        test=split(test, 3),
        sha256={"made-up": "0" * 64},
    )
