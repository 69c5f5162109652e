"""A residual network with stages of variable length: 64 architectures."""

# Not `from __future__ import annotations`: it makes strings of them, and a graph traced from a
# method that has such can't be pickled, as of torch 2.13.

from collections.abc import Sequence

from torch import Tensor, fx, nn

from supernet.networks.zoo.parts import channels_last, classifier, conv_bn_relu, require, seeded
from supernet.nn.choices import Depth
from supernet.nn.elastic.parts import as_graph


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions whose result is added to what they were given; keeps the shape."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        z: Tensor = self.relu(x + self.bn2(self.conv2(y)))
        return z


def residual_block(width: int) -> fx.GraphModule:
    """Return a `ResidualBlock` as a graph.

    It computes the same with the same parameters, but its class is PyTorch's: networks extracted
    from the zoo can be saved, loaded and shipped without this package.
    """
    return as_graph(ResidualBlock(width))


def build_residual_net(
    *,
    seed: int,
    classes: int = 10,
    shape: tuple[int, int, int] = (1, 28, 28),
    widths: Sequence[int] = (16, 32, 64),
    deepest: int = 4,
) -> nn.Sequential:
    """Return a residual network with stages of variable length, newly initialized.

    A convolution to `widths[0]` channels; one stage for each of `widths`; global average pooling; a
    linear layer. Stage i is a convolution to its width, with stride 2 from the second stage on, and
    `Depth(f"stage{i}", ...)` with 1 to `deepest` residual blocks. All convolutions are 3x3 and have
    a batch norm. With the defaults: 64 architectures, 124 to 415 thousand parameters and 14.6 to
    47.1 million multiply-adds per 28x28 image.

    The blocks are graphs made by `torch.fx`, so an extracted network consists of PyTorch's own
    classes here too. It prints them as `GraphModule`; their code is `ResidualBlock.forward`.

    Args:
        seed: Of the initial weights (PyTorch's defaults). No generator outside is touched.
        classes: How many classes there are.
        shape: Of one image: channels, height, width.
        widths: Channels in each stage.
        deepest: The most residual blocks a stage may run.

    Raises:
        SettingsError: If a size is below one, there are no stages, or fewer than two classes.

    References:
        The block: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016,
        arXiv:1512.03385. There a stage's first block changes the width; here a convolution does
        that, so that every block that may be left out keeps the shape.
    """
    require(2, classes=classes)
    require(1, stages=len(widths))
    require(1, shape=min(shape), widths=min(widths), deepest=deepest)
    with seeded(seed):
        stages: list[nn.Module] = []
        before = widths[0]
        for number, width in enumerate(widths, start=1):
            stages += [
                conv_bn_relu(before, width, stride=1 if number == 1 else 2),
                Depth(f"stage{number}", [residual_block(width) for _ in range(deepest)]),
            ]
            before = width
        net = nn.Sequential(
            conv_bn_relu(shape[0], widths[0]),
            *stages,
            *classifier(before, classes, shape=shape, halvings=len(widths) - 1),
        )
    return channels_last(net)
