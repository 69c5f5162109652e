"""MobileNetV3 as in once-for-all, elastic in depth, kernel, expansion and size."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from supernet.networks.zoo.parts import channels_last, choice_of, elastic_conv_bn, require, seeded
from supernet.nn.choices import Depth
from supernet.nn.elastic import InvertedResidual, Resolution

#: Of the five stages: the stride of the first block, and whether the blocks squeeze.
_STRIDES, _SQUEEZES = (2, 2, 2, 1, 2), (False, True, False, True, True)


def build_ofa_mobilenet(
    *,
    seed: int,
    classes: int = 1000,
    shape: tuple[int, int, int] = (3, 224, 224),
    widths: tuple[int, int, int, int, int, int] = (16, 24, 40, 80, 112, 160),
    head: tuple[int, int] = (960, 1280),
    depths: tuple[int, int] = (2, 4),
    kernels: Sequence[int] = (3, 5, 7),
    expansions: Sequence[int] = (3, 4, 6),
    resolutions: Sequence[int] = (),
    kernel_transform: bool = True,
) -> nn.Sequential:
    """Return the once-for-all space around MobileNetV3-Large, newly initialized.

    A 3x3 convolution with stride 2 and an inverted residual without expansion, to `widths[0]`
    channels; five stages of inverted residuals; a 1x1 convolution; global average pooling; two
    linear layers, the first without bias. Squeeze-and-excitation and h-swish are where
    MobileNetV3-Large has them. Block b of stage s chooses `f"stage{s}.block{b}.kernel"` and
    `f"stage{s}.block{b}.expansion"`. The first block of a stage changes the shape, so it always
    runs: `f"stage{s}.depth"` counts the blocks after it.

    With the defaults 2.18e19 architectures (the paper says 2e19): choices of blocks that don't run
    are not counted. They have 3.4 to 7.7 million parameters and 121 to 566 million multiply-adds
    per 224x224 image; the supernet itself has 7.7 million parameters, as the paper says. The paper
    has dropout before the last layer, for training; here is none. MobileNetV3-Large itself is not
    in the space, as it has expansions such as 2.5.

    Args:
        seed: Of the initial weights (PyTorch's defaults). No generator outside is touched.
        classes: How many classes there are.
        shape: Of one image: channels, height, width.
        widths: Channels before the first stage, and of each stage.
        head: Channels before and after the first linear layer.
        depths: The least and the most blocks of a stage: one or more, and two or more.
        kernels: Sizes of the depthwise kernels, odd, from small to large.
        expansions: How many times wider a block is inside, from small to large.
        resolutions: Heights and widths among which the choice "resolution" is made; images are
            resized to it. The paper's are 128 to 224, in steps of 4. None: images stay as they are.
        kernel_transform: Whether smaller kernels are a learned map of larger ones, as in the paper.

    Raises:
        SettingsError: If a size is below one, there are fewer than two classes, or the most blocks
            are fewer than two or than the least.
        SpaceError: If there are no kernels or expansions, a kernel is even, or a number below one.

    References:
        Cai et al., "Once-for-All: Train One Network and Specialize it for Efficient Deployment",
        ICLR 2020, arXiv:1908.09791; Howard et al., "Searching for MobileNetV3", ICCV 2019,
        arXiv:1905.02244.
    """
    require(2, classes=classes)
    require(1, shape=min(shape), widths=min(widths), head=min(head), least_depth=depths[0])
    require(max(2, depths[0]), most_depth=depths[1])
    with seeded(seed):
        chain: list[nn.Module] = [
            elastic_conv_bn(shape[0], widths[0], stride=2, activation=nn.Hardswish),
            InvertedResidual(widths[0], widths[0], expansion=1, activation=nn.ReLU),
        ]
        if resolutions:
            chain.insert(0, Resolution(choice_of("resolution", resolutions)))
        for stage, (stride, squeeze) in enumerate(zip(_STRIDES, _SQUEEZES, strict=True), start=1):
            before, width = widths[stage - 1 : stage + 1]
            blocks = [
                InvertedResidual(
                    before if block == 1 else width,
                    width,
                    choice_of(f"stage{stage}.block{block}.kernel", kernels),
                    expansion=choice_of(f"stage{stage}.block{block}.expansion", expansions),
                    stride=stride if block == 1 else 1,
                    squeeze=squeeze,
                    activation=nn.ReLU if stage < 3 else nn.Hardswish,
                    multiple_of=8,
                    kernel_transform=kernel_transform,
                )
                for block in range(1, depths[1] + 1)
            ]
            chain += [blocks[0], Depth(f"stage{stage}", blocks[1:], shortest=depths[0] - 1)]
        net = nn.Sequential(
            *chain,
            elastic_conv_bn(widths[-1], head[0], kernel=1, activation=nn.Hardswish),
            nn.AdaptiveAvgPool2d(1),  # images may have any size
            nn.Flatten(),
            nn.Linear(*head, bias=False),
            nn.Hardswish(),
            nn.Linear(head[1], classes),
        )
    return channels_last(net)
