"""Models of timm, without their trained weights; an optional dependency."""

import importlib
import warnings

import pytest
import torch

from supernet import sharing
from supernet.errors import SharingWarning
from supernet.evaluation.batchnorm import recalibrate
from supernet.networks.conversion import make_elastic
from supernet.nn.extraction import extract
from tests.conftest import noise

try:
    timm = importlib.import_module("timm")
except (ImportError, RuntimeError):  # a torchvision for another PyTorch raises the latter
    pytest.skip("timm is not here", allow_module_level=True)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

X = noise(2, 3, 32, 32)

#: By name: how many choices of depth, width and kernel they get.
MODELS = {
    "resnet18": (4, 12, 1),
    "resnext50_32x4d": (4, 21, 1),
    "mobilenetv3_small_100": (4, 27, 8),
    "efficientnet_b0": (5, 40, 9),
    "convnext_atto": (4, 12, 12),
    "vit_tiny_patch16_224": (1, 12, 0),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_largest_is_the_given_model_and_others_are_extracted(name: str) -> None:
    size = {"img_size": 32} if name.startswith("vit") else {}
    model = timm.create_model(name, pretrained=False, num_classes=10, **size).train()
    supernet, report = make_elastic(model, example=X)
    kinds = [choice.name.rpartition(".")[2] for choice in report.choices]
    assert tuple(map(kinds.count, ("depth", "width", "kernel"))) == MODELS[name]
    largest, smallest = supernet.space.largest, supernet.space.smallest
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error", SharingWarning)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            expected = model(X)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            assert torch.equal(supernet(X, largest), expected)
        supernet.eval()
        together = sharing.outputs(supernet, X, [smallest, largest])
        for arch, found in zip((smallest, largest), together, strict=True):
            assert torch.equal(supernet(X, arch), found)
        net = extract(supernet, largest)
        for one in (net, model):
            recalibrate(one, [X])
        assert torch.equal(net.eval()(X), model.eval()(X))
