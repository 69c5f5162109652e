"""A chain of convolutions of one of two sizes: 256 architectures."""

from __future__ import annotations

from torch import nn

from supernet.networks.zoo.parts import channels_last, classifier, conv_bn_relu, require, seeded
from supernet.nn.choices import OneOf


def build_operations_net(
    *,
    seed: int,
    classes: int = 10,
    shape: tuple[int, int, int] = (1, 28, 28),
    width: int = 32,
    positions: int = 8,
) -> nn.Sequential:
    """Return a chain of convolutions, each of one size or another, newly initialized.

    A 3x3 convolution to `width` channels; `positions` times a `OneOf(f"position{i}", ...)` between
    "conv3" and "conv5", a 3x3 and a 5x5 convolution that keep the shape; global average pooling; a
    linear layer. Halfway through the positions (before the longer half, if there is one) there is a
    3x3 convolution with stride 2. All convolutions have a batch norm and a ReLU. With the defaults:
    256 architectures, 84 to 215 thousand parameters and 38.2 to 102.4 million multiply-adds per
    28x28 image.

    Args:
        seed: Of the initial weights (PyTorch's defaults). No generator outside is touched.
        classes: How many classes there are.
        shape: Of one image: channels, height, width.
        width: Channels, everywhere.
        positions: How many choices there are.

    Raises:
        SettingsError: If a size is below one, or there are fewer than two classes.
    """
    require(2, classes=classes)
    require(1, shape=min(shape), width=width, positions=positions)
    with seeded(seed):
        chain: list[nn.Module] = [
            OneOf(
                f"position{number}",
                {
                    "conv3": conv_bn_relu(width, width, kernel=3),
                    "conv5": conv_bn_relu(width, width, kernel=5),
                },
            )
            for number in range(1, positions + 1)
        ]
        chain.insert(positions // 2, conv_bn_relu(width, width, stride=2))
        net = nn.Sequential(
            conv_bn_relu(shape[0], width),
            *chain,
            *classifier(width, classes, shape=shape, halvings=1),
        )
    return channels_last(net)
