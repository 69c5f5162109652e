"""What leaves us is complete: of every space, with readable names, and fit for other tools."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import supernet as sn
from supernet.export.describing import describe
from supernet.export.model_folder import _run_source, load, read_config, save
from supernet.export.source import write_source
from supernet.export.tidying import tidy
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.space import Architecture
from tests.conftest import nine, noise, stir, tiny_data
from tests.export.networks import ZOO, subnet

DATA = tiny_data()


def three_ways(
    supernet: Supernet, arch: Architecture, x: Tensor, folder: Path
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what the supernet's path, the extracted network, and both kinds of copies compute."""
    supernet.eval()
    with torch.no_grad():
        (group,) = sn.calibrate(supernet, [arch], [x]).run(x)
        net = subnet(supernet, arch, x)
        save(net, folder, example=x)
        return group.value, net(x), load(folder)(x), _run_source(folder)(x)


def check(name: str, count: int, folder: Path) -> None:
    make, shape = ZOO[name]
    supernet, rng, x = Supernet(stir(make())), random.Random(1), noise(4, *shape)
    for number in range(count):
        arch = supernet.space.sample(rng)
        path, *others = three_ways(supernet, arch, x, folder / str(number))
        assert all(torch.equal(path, other) for other in others), arch


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ZOO)
def test_supernet_subnet_description_and_source_compute_the_same_bits(
    name: str, tmp_path: Path
) -> None:
    check(name, 1, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_they_do_for_twenty_random_ones_of_every_space(name: str, tmp_path: Path) -> None:
    check(name, 20, tmp_path)


@pytest.mark.slow
def test_all_nine_of_the_experiment_do_at_their_full_size(tmp_path: Path) -> None:
    supernet, x = Supernet(sn.build_mnist_net(seed=0)), noise(4, 1, 28, 28)
    for number, arch in enumerate(supernet.space):
        path, *others = three_ways(supernet, arch, x, tmp_path / str(number))
        assert all(torch.equal(path, other) for other in others), arch


def test_a_file_holds_the_parameters_of_the_closed_form_and_no_more(tmp_path: Path) -> None:
    supernet = nine(widths=(6, 4), size=8)
    for number, arch in enumerate(supernet.space):
        one, two = int(arch["block1.depth"]), int(arch["block2.depth"])
        convolutions = 9 * (1 * 6 + one * 6 * 6 + 6 * 4 + two * 4 * 4)
        norms = 2 * (6 * (1 + one) + 4 * (1 + two))
        closed = convolutions + norms + 4 * 3 + 3
        folder = save(subnet(supernet, arch, noise(4, 1, 8, 8)), tmp_path / str(number))
        assert read_config(folder).facts.params == closed
        kept = safetensors.torch.load_file(folder / "model.safetensors")
        statistics = [n for n in kept if n.endswith(("running_mean", "running_var", "tracked"))]
        assert sum(t.numel() for n, t in kept.items() if n not in statistics) == closed


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_no_tensor_that_leaves_us_was_touched_in_inference_mode(
    mode: Callable[[], Any], tmp_path: Path
) -> None:
    # Such tensors break quantization, other exporters, and training on.
    supernet, arch = nine(), nine().space.largest
    with mode():
        net = sn.extract(supernet, arch)
        sn.recalibrate(net, DATA.train.inputs(20))
        again = load(save(net, tmp_path / "m", data=DATA))
    for model in (net, again):
        tensors = [*model.parameters(), *model.buffers()]
        assert not any(tensor.is_inference() for tensor in tensors)
        assert all(parameter.requires_grad for parameter in model.parameters())
        model.train()(next(DATA.train.inputs(8))).sum().backward()


class Mine(nn.Module):
    """A network as somebody has it, with names of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding=1)
        self.stem_norm = nn.BatchNorm2d(6)
        self.body = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem_norm(self.stem(x)).relu()
        x = x + self.body(x).relu()
        y: Tensor = self.head(x.mean((2, 3)))
        return y


def test_a_converted_network_keeps_its_names() -> None:
    x = noise(4, 1, 8, 8)
    supernet, _ = sn.make_elastic(Mine().eval(), example=x)
    net = subnet(supernet, supernet.space.smallest, x)
    source = write_source(describe(tidy(net)), heading="A network.")
    for line in ("self.stem = nn.Conv2d(1, ", "self.body = ", "self.head = nn.Linear("):
        assert line in source, source
    assert "supernet" not in source


def test_an_extracted_network_shares_nothing_with_the_supernet(tmp_path: Path) -> None:
    supernet = nine()
    net = extract(supernet, supernet.space.smallest)
    theirs = {p.untyped_storage().data_ptr() for p in supernet.parameters()}
    own = [*net.parameters(), *net.buffers()]
    assert not theirs & {t.untyped_storage().data_ptr() for t in own}
    assert all(t.untyped_storage().nbytes() == t.nbytes for t in own)
