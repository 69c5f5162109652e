"""The space of NAS-Bench-Macro: eight positions, three operations, 6,561 architectures."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from supernet.networks.zoo.parts import channels_last, classifier, conv_bn_relu, require, seeded
from supernet.nn.choices import OneOf
from supernet.nn.elastic import InvertedResidual


def build_nasbench_macro_net(
    *,
    seed: int,
    classes: int = 10,
    shape: tuple[int, int, int] = (3, 32, 32),
    width: int = 32,
    stages: Sequence[int] = (2, 3, 3),
    head: int = 1280,
) -> nn.Sequential:
    """Return the space of NAS-Bench-Macro, newly initialized.

    A 3x3 convolution to `width` channels; three stages of 2, 3 and 3 positions; a 1x1 convolution
    to `head` channels; global average pooling; a linear layer. The first position of a stage
    doubles the channels, with stride 2. `OneOf(f"position{i}", ...)` is "identity" (at the first
    position of a stage a 1x1 convolution and batch norm), "mb3_k3" or "mb6_k5": an inverted
    residual with expansion 3 and kernel 3, or with 6 and 5. All activations are ReLU.

    With the defaults 6,561 architectures of 0.39 to 2.93 million parameters and 7.7 to 105.7
    million multiply-adds per 32x32 image. These are the benchmark's `params` and `flops`, to the
    last digit (its FLOPs are multiply-adds, without biases). The benchmark writes an architecture
    as eight digits: 0, 1 and 2 are the options in the order above. It trained one network for all
    that differ only in where identities stand within a stage; in a supernet these have different
    weights.

    Args:
        seed: Of the initial weights (PyTorch's defaults). No generator outside is touched.
        classes: How many classes there are.
        shape: Of one image: channels, height, width.
        width: Channels before the first stage.
        stages: How many positions each stage has.
        head: Channels before the linear layer.

    Raises:
        SettingsError: If a size is below one, there are no stages, or fewer than two classes.

    References:
        Su et al., "Prioritized Architecture Sampling with Monto-Carlo Tree Search", CVPR 2021,
        arXiv:2103.11922.
    """
    require(2, classes=classes)
    require(1, number_of_stages=len(stages))
    require(1, shape=min(shape), width=width, stages=min(stages), head=head)
    with seeded(seed):
        positions: list[nn.Module] = []
        before = width
        for place in (place for count in stages for place in range(count)):
            out, stride = (2 * before, 2) if place == 0 else (before, 1)
            operations = {
                "identity": _shortcut(before, out) if place == 0 else nn.Identity(),
                "mb3_k3": _inverted(before, out, 3, 3, stride),
                "mb6_k5": _inverted(before, out, 5, 6, stride),
            }
            positions.append(OneOf(f"position{len(positions) + 1}", operations))
            before = out
        net = nn.Sequential(
            conv_bn_relu(shape[0], width),
            *positions,
            conv_bn_relu(before, head, kernel=1),
            *classifier(head, classes, shape=shape, halvings=len(stages)),
        )
    return channels_last(net)


def _shortcut(inp: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inp, out, 1, stride=2, bias=False), nn.BatchNorm2d(out))


def _inverted(inp: int, out: int, kernel: int, expansion: int, stride: int) -> nn.Module:
    return InvertedResidual(
        inp, out, kernel, expansion=expansion, stride=stride, activation=nn.ReLU
    )
