"""ResNet-50 as in once-for-all, elastic in depth, width and expansion."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from supernet.networks.zoo.parts import (
    bottleneck,
    channels_last,
    choice_of,
    classifier,
    elastic_conv_bn,
    require,
    seeded,
)
from supernet.nn.choices import Depth
from supernet.nn.elastic import Residual, Size
from supernet.space import Architecture, Choice


def build_ofa_resnet(
    *,
    seed: int,
    classes: int = 1000,
    shape: tuple[int, int, int] = (3, 224, 224),
    widths: Sequence[int] = (64, 256, 512, 1024, 2048),
    depths: Sequence[int] = (4, 4, 6, 4),
    fewer: int = 2,
    shares: Sequence[int] = (65, 80, 100),
    expansions: Sequence[int] = (20, 25, 35),
) -> nn.Sequential:
    """Return the once-for-all space around ResNet-50, newly initialized.

    A stem of three 3x3 convolutions, the first with stride 2, and max pooling; four stages of
    bottlenecks; global average pooling; a linear layer. It is the D form of ResNet: the shortcuts
    that change the shape have average pooling and a 1x1 convolution. What is chosen:

    * "stem.depth": whether the stem's middle convolution, a residual one, runs (0 or 1);
    * "stem.inner", "stem.width" and `f"stage{s}.width"`: channels, `shares` percent of the most,
      as multiples of 8;
    * `f"stage{s}.depth"`: blocks after the first, which changes the shape and always runs;
    * `f"stage{s}.block{b}.expansion"`: percent of the stage's width that a bottleneck has inside.

    With the defaults 1.64e12 architectures of 6.5 to 48.1 million parameters and 0.96 to 7.49
    billion multiply-adds per 224x224 image. ResNet-50-D is one of them: blocks 3, 4, 6 and 3, full
    widths, expansion 25.

    Args:
        seed: Of the initial weights (PyTorch's defaults). No generator outside is touched.
        classes: How many classes there are.
        shape: Of one image: channels, height, width.
        widths: The most channels of the stem and of each stage.
        depths: The most blocks of each stage, two or more.
        fewer: By how many blocks a stage may be shorter; one block at least is left.
        shares: Percentages of the most channels, from small to large.
        expansions: Percentages of a stage's width, from small to large.

    Raises:
        SettingsError: If a size is below one, a stage would have no block, or there are fewer than
            two classes, or not as many depths as stages.
        SpaceError: If there are no shares or expansions.

    References:
        Cai et al., "Once-for-All: Train One Network and Specialize it for Efficient Deployment",
        ICLR 2020, arXiv:1908.09791, and the ResNet-50 space of its code; He et al., "Bag of Tricks
        for Image Classification with Convolutional Neural Networks", arXiv:1812.01187 (ResNet-D).
    """
    require(2, classes=classes)
    require(1, shape=min(shape), widths=min(widths), shares=min(shares), stages=len(depths))
    require(len(depths) + 1, number_of_widths=len(widths))
    require(1, least_depth=min(depths) - fewer)
    require(2, depths=min(depths))
    with seeded(seed):
        inner = _width("stem.inner", widths[0], shares, parts=2)
        before = _width("stem.width", widths[0], shares)
        chain: list[nn.Module] = [
            elastic_conv_bn(shape[0], inner, stride=2),
            Depth("stem", [Residual(elastic_conv_bn(inner, inner))], shortest=0),
            elastic_conv_bn(inner, before),
            nn.MaxPool2d(3, stride=2, padding=1),
        ]
        for stage, (most, depth) in enumerate(zip(widths[1:], depths, strict=True), start=1):
            width = _width(f"stage{stage}.width", most, shares)
            inside = [
                Size((width, choice_of(f"stage{stage}.block{block}.expansion", expansions)), 100, 8)
                for block in range(1, depth + 1)
            ]
            others = [bottleneck(width, size, width) for size in inside[1:]]
            chain += [
                bottleneck(before, inside[0], width, stride=1 if stage == 1 else 2),
                Depth(f"stage{stage}", others, shortest=depth - fewer - 1),
            ]
            before = width
        net = nn.Sequential(
            *chain, *classifier(before, classes, shape=shape, halvings=len(depths) + 1)
        )
    return channels_last(net)


def _width(name: str, most: int, shares: Sequence[int], *, parts: int = 1) -> Choice:
    sizes = (Size((most, share), 100 * parts, multiple_of=8) for share in shares)
    return choice_of(name, (size.of(Architecture()) for size in sizes))
