"""Published models without their trained weights, as they are made elastic.

Slow, and in need of packages that nothing else needs: `make test-all` runs them where timm is.
"""

import importlib

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_flatten

from supernet.networks.conversion import make_elastic
from supernet.nn.extraction import extract
from tests.conftest import noise

try:
    timm = importlib.import_module("timm")
    torchvision = importlib.import_module("torchvision")
except (ImportError, RuntimeError):  # a torchvision for another PyTorch raises the latter
    pytest.skip("timm and torchvision aren't both here", allow_module_level=True)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

#: By name of a model of timm: the height of an image, and how many choices of depth, width and
#: kernel there are at least.
TIMM = {
    "resnet18": (64, (4, 12, 1)),
    "resnet26d": (64, (4, 23, 0)),
    "resnext26ts": (64, (4, 15, 0)),
    "seresnet18": (64, (4, 20, 1)),
    "ecaresnet26t": (64, (4, 19, 0)),
    "mobilenetv3_small_050": (64, (4, 26, 8)),
    "mobilenetv2_035": (64, (5, 25, 0)),
    "efficientnet_b0": (64, (5, 40, 9)),
    "mnasnet_small": (64, (4, 31, 7)),
    "convnext_atto": (64, (4, 16, 12)),
    "convnextv2_atto": (64, (4, 16, 12)),
    "regnetx_002": (64, (2, 18, 0)),
    "regnety_002": (64, (2, 31, 0)),
    "densenet121": (64, (0, 120, 1)),
    "repvgg_a0": (64, (3, 5, 0)),
    "ghostnet_050": (64, (4, 9, 4)),
    "inception_v3": (96, (3, 70, 3)),
    "hrnet_w18_small": (64, (9, 45, 0)),
    "dla34": (64, (6, 23, 1)),
    "res2net50_26w_4s": (64, (4, 29, 1)),
    "cspresnet50": (64, (4, 38, 1)),
    "edgenext_xx_small": (64, (2, 13, 7)),
    "fastvit_t8": (64, (4, 11, 13)),
    "lcnet_050": (64, (5, 9, 7)),
    "tinynet_e": (64, (3, 28, 5)),
    "mobilenetv4_conv_small_050": (64, (3, 20, 6)),
    "hardcorenas_a": (64, (5, 27, 10)),
    "skresnet18": (64, (4, 16, 1)),
    "fbnetc_100": (64, (5, 29, 15)),
    "poolformer_s12": (64, (4, 12, 0)),
    "levit_128s": (224, (3, 17, 0)),
    "vit_tiny_patch16_224": (64, (1, 13, 0)),
    "deit_tiny_patch16_224": (64, (1, 13, 0)),
    "mixer_s32_224": (64, (1, 17, 0)),
    "resmlp_12_224": (64, (1, 13, 0)),
    "gmlp_ti16_224": (64, (1, 31, 0)),
    "swin_tiny_patch4_window7_224": (224, (4, 12, 0)),
    "cait_xxs24_224": (64, (1, 50, 0)),
    "xcit_nano_12_p16_224": (64, (2, 17, 0)),
    "pvt_v2_b0": (64, (4, 8, 1)),
    "crossvit_tiny_240": (240, (3, 17, 0)),
    "visformer_tiny": (224, (3, 19, 1)),
    "davit_tiny": (64, (1, 16, 1)),
}

#: The same for models of torchvision.
TORCHVISION = {
    "resnet18": (64, (4, 12, 1)),
    "alexnet": (64, (0, 7, 1)),
    "vgg11": (64, (0, 10, 0)),
    "squeezenet1_1": (64, (4, 17, 0)),
    "densenet121": (64, (0, 120, 1)),
    "googlenet": (64, (1, 52, 1)),
    "mobilenet_v2": (64, (5, 25, 0)),
    "mobilenet_v3_small": (64, (4, 27, 8)),
    "efficientnet_b0": (64, (5, 40, 9)),
    "regnet_x_400mf": (64, (3, 27, 0)),
    "convnext_tiny": (64, (4, 22, 18)),
    "vit_b_32": (224, (1, 12, 0)),
    "swin_t": (64, (4, 12, 0)),
    "shufflenet_v2_x0_5": (64, (3, 20, 0)),
    "mnasnet0_5": (64, (5, 25, 10)),
    "inception_v3": (96, (3, 70, 3)),
}

NAMES = [*(f"timm:{name}" for name in TIMM), *(f"torchvision:{name}" for name in TORCHVISION)]


def build(name: str) -> tuple[nn.Module, int, tuple[int, int, int]]:
    """Return a model, the height of its images, and how many choices it gets at least."""
    source, _, kind = name.partition(":")
    if source == "timm":
        size, least = TIMM[kind]
        takes_size = kind.startswith(("vit", "deit", "cait", "mixer", "resmlp", "gmlp"))
        more = {"img_size": size} if takes_size and size == 64 else {}
        return timm.create_model(kind, pretrained=False, num_classes=10, **more), size, least
    size, least = TORCHVISION[kind]
    quick = {"init_weights": False} if kind in ("googlenet", "inception_v3") else {}
    return getattr(torchvision.models, kind)(weights=None, **quick), size, least


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_published_models_are_made_elastic(name: str) -> None:
    model, size, least = build(name)
    for module in model.train().modules():  # dropout draws in training mode
        module.training = not isinstance(module, nn.Dropout)
    x = noise(2, 3, size, size)
    supernet, report = make_elastic(model, example=x)
    names = [choice.name.rpartition(".")[2] for choice in report.choices]
    depths, kernels = names.count("depth"), names.count("kernel")
    found = depths, len(names) - depths - kernels, kernels
    assert all(map(int.__ge__, found, least)), found
    # That the largest computes what the model does was tried by `make_elastic`.
    small = extract(supernet, supernet.space.smallest)
    if "inception_v3" in name:  # its second head needs larger images
        for net in (small, supernet):
            net.eval()
            for module in net.modules():
                module.training = isinstance(module, _BatchNorm)
    for one, other in zip(
        outputs(small, x), outputs(supernet, x, supernet.space.smallest), strict=True
    ):
        assert torch.equal(one, other)
    given = model.state_dict()
    assert list(extract(supernet, supernet.space.largest).state_dict()) == list(given)
    assert small.state_dict().keys() <= given.keys()
    assert not any(supernet.net.load_state_dict(given))


def outputs(net: nn.Module, *inputs: object) -> list[torch.Tensor]:
    """Return the tensors that a network makes, with what it draws fixed."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return [part for part in tree_flatten(net(*inputs))[0] if isinstance(part, torch.Tensor)]
