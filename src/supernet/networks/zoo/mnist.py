"""The default network of the experiment: two variable-length blocks, nine architectures."""

from __future__ import annotations

from torch import nn

from supernet.networks.zoo.parts import channels_last, classifier, conv_bn_relu, require, seeded
from supernet.nn.choices import Depth


def build_mnist_net(
    *,
    seed: int,
    classes: int = 10,
    shape: tuple[int, int, int] = (1, 28, 28),
    widths: tuple[int, int] = (64, 32),
    longest: int = 3,
) -> nn.Sequential:
    """Return the network of the experiment, newly initialized.

    A convolution to `widths[0]` channels; a block of 1 to `longest` convolutions that keep the
    shape; a convolution with stride 2 to `widths[1]`; a second such block; global average pooling;
    a linear layer. With the defaults: depths (1, 1) to (3, 3), 66 to 158 thousand parameters and
    34.8 to 96.2 million multiply-adds per 28x28 image.

    Args:
        seed: Of the initial weights (PyTorch's defaults). No generator outside is touched.
        classes: How many classes there are.
        shape: Of one image: channels, height, width.
        widths: Channels before and after the stride-2 convolution.
        longest: The most convolutions a block may run.

    Raises:
        SettingsError: If a size is below one, or there are fewer than two classes.
    """
    require(2, classes=classes)
    require(1, shape=min(shape), widths=min(widths), longest=longest)
    wide, narrow = widths
    with seeded(seed):
        net = nn.Sequential(
            conv_bn_relu(shape[0], wide),
            Depth("block1", [conv_bn_relu(wide, wide) for _ in range(longest)]),
            conv_bn_relu(wide, narrow, stride=2),
            Depth("block2", [conv_bn_relu(narrow, narrow) for _ in range(longest)]),
            *classifier(narrow, classes, shape=shape, halvings=1),
        )
    return channels_last(net)
