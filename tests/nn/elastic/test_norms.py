from typing import Any

import pytest
import torch
from torch import nn

from supernet.errors import SpaceError
from supernet.evaluation.batchnorm import calibrate
from supernet.nn.elastic import ElasticBatchNorm, ElasticConv2d, ElasticLayerNorm
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.space import Architecture, Choice
from tests.conftest import noise, stir

W = Choice("w", (2, 3, 5))
KINDS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
SHAPES = {1: (4, 5), 2: (4, 5, 3, 3), 3: (4, 5, 2, 2, 2)}


@pytest.mark.parametrize("dims", KINDS)
def test_it_normalizes_with_the_first_scales_and_shifts(dims: int) -> None:
    norm = ElasticBatchNorm(W, dims=dims, eps=1e-2, momentum=0.3)
    supernet, x = Supernet(stir(norm)), noise(*SHAPES[dims])
    for arch in supernet.space:
        w = int(arch["w"])
        plain = KINDS[dims](w, eps=1e-2)
        with torch.no_grad():
            plain.weight.copy_(norm.weight[:w])
            plain.bias.copy_(norm.bias[:w])
        assert torch.equal(supernet(x[:, :w], arch), plain(x[:, :w]))
        extracted = extract(supernet, arch)
        assert isinstance(extracted, KINDS[dims])
        assert (extracted.eps, extracted.momentum) == (1e-2, 0.3)


@pytest.mark.parametrize(
    "options",
    [{}, {"momentum": None}, {"momentum": 0.3, "affine": False}, {"eps": 0.1}],
    ids=str,
)
def test_in_a_plain_network_it_is_a_plain_batch_norm(options: dict[str, Any]) -> None:
    """A supernet of one architecture keeps its statistics, which must be PyTorch's to the bit."""
    plain = nn.BatchNorm2d(5, **options)
    supernet = Supernet(ElasticBatchNorm(5, **options)).train()
    for seed in range(3):
        x = noise(4, 5, 3, 3, seed=seed) + seed
        assert torch.equal(supernet(x, Architecture()), plain(x))
    assert supernet.net.state_dict().keys() == plain.state_dict().keys()
    for name, value in plain.state_dict().items():
        assert torch.equal(supernet.net.state_dict()[name], value)
    for net in (supernet, plain):
        net.eval()
    assert torch.equal(supernet(x, Architecture()), plain(x))
    # Some people stop the averaging and go on training.
    for norm in (supernet.net, plain):
        norm.train()
        norm.track_running_stats = False  # type: ignore[assignment]
    assert torch.equal(supernet(x, Architecture()), plain(x))
    assert torch.equal(supernet.net.get_buffer("running_mean"), plain.get_buffer("running_mean"))
    extracted = extract(supernet, Architecture())
    assert extracted.state_dict().keys() == plain.state_dict().keys()
    for name, value in plain.state_dict().items():
        assert torch.equal(extracted.state_dict()[name], value)
    assert not extracted.track_running_stats


def net() -> nn.Sequential:
    return nn.Sequential(ElasticConv2d(3, W, 3), ElasticBatchNorm(W), ElasticConv2d(W, 2, 1))


def test_a_supernet_removes_its_statistics_and_each_architecture_gets_its_own() -> None:
    supernet = Supernet(stir(net()))
    assert not list(supernet.buffers())
    statistics = calibrate(supernet, list(supernet.space), [noise(4, 3, 6, 6)])
    assert not list(supernet.buffers())
    assert sorted(len(mean) for mean, _, _ in statistics._buffers.values() if mean is not None) == [
        2,
        3,
        5,
    ]
    for arch in supernet.space:
        assert len(extract(supernet, arch).get_buffer("1.running_mean")) == arch["w"]


def test_layer_norm_is_the_plain_one_of_that_size() -> None:
    norm = ElasticLayerNorm(W, eps=1e-2)
    supernet, x = Supernet(stir(norm)), noise(4, 3, 5)
    for arch in supernet.space:
        w = int(arch["w"])
        plain = nn.LayerNorm(w, eps=1e-2)
        with torch.no_grad():
            plain.weight.copy_(norm.weight[:w])
            plain.bias.copy_(norm.bias[:w])
        assert torch.equal(supernet(x[..., :w], arch), plain(x[..., :w]))


def test_impossible_norms_are_refused() -> None:
    with pytest.raises(SpaceError, match=r"has 4 dims; it must be 1, 2 or 3"):
        ElasticBatchNorm(3, dims=4)
    for norm in (ElasticBatchNorm, ElasticLayerNorm):
        with pytest.raises(SpaceError, match="option of the choice 'w' is 0"):
            norm(Choice("w", (0, 3)))
    arch = Architecture({"w": 3})
    with pytest.raises(SpaceError, match=r"ElasticBatchNorm .* \(4, 5, 3, 3\), .* axis 1 .* 'w'"):
        Supernet(ElasticBatchNorm(W))(noise(*SHAPES[2]), arch)
    with pytest.raises(SpaceError, match=r"ElasticLayerNorm .* \(2, 5\), .* axis -1 .* 'w'"):
        Supernet(ElasticLayerNorm(W))(noise(2, 5), arch)
    for dims, shape in ((1, SHAPES[2]), (2, SHAPES[3]), (2, (4, 3)), (3, SHAPES[2])):
        with pytest.raises(SpaceError, match=rf"but its `dims` is {dims}: it takes"):
            Supernet(ElasticBatchNorm(W, dims=dims))(noise(*shape)[:, :3], arch)
