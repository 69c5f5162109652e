"""A vision transformer as in AutoFormer, elastic in width, depth and heads."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from supernet.errors import SettingsError
from supernet.networks.zoo.parts import channels_last, choice_of, require, seeded
from supernet.networks.zoo.transformer import ElasticTokens, First, transformer_layer
from supernet.nn.choices import Depth
from supernet.nn.elastic import ElasticConv2d, ElasticLayerNorm, ElasticLinear, Size
from supernet.nn.elastic.parts import as_graph


def build_autoformer_net(
    *,
    seed: int,
    classes: int = 1000,
    shape: tuple[int, int, int] = (3, 224, 224),
    patch: int = 16,
    widths: Sequence[int] = (192, 216, 240),
    depths: tuple[int, int] = (12, 14),
    heads: Sequence[int] = (3, 4),
    head_width: int = 64,
    ratios: Sequence[int] = (350, 400),
) -> nn.Sequential:
    """Return the vision transformers of AutoFormer's smallest space, newly initialized.

    A linear map of each patch of the image to "width" features, a class token before them, and
    learned positions; 12 to 14 layers ("layers.depth"); a layer norm; a linear layer on the class
    token. A layer is self-attention and a two-layer perceptron with GELU, each with a layer norm
    before it and added to its input. Layer i chooses `f"layer{i}.heads"`, each of `head_width`
    features, and `f"layer{i}.ratio"`: how many percent of the width the perceptron has inside.

    With the defaults (supernet-T) 1.06e9 architectures of 5.3 to 10.4 million parameters and 1.17
    to 2.26 billion multiply-adds per 224x224 image. DeiT-Ti is one of them: width 192, 12 layers, 3
    heads, ratio 400. AutoFormer has learned relative positions in the attention besides, and
    dropout, for training; here are none, so its figures are not met exactly. For images of
    CIFAR's size take `patch=4`.

    Args:
        seed: Of the initial weights (PyTorch's defaults; class token and positions: normal, 0.02).
            No generator outside is touched.
        classes: How many classes there are.
        shape: Of one image: channels, height, width; the latter two are multiples of `patch`.
        patch: Height and width of a patch.
        widths: Features of a token, from few to many.
        depths: The least and the most layers.
        heads: How many heads a layer may have, from few to many.
        head_width: Features of a head.
        ratios: Percentages of the width, from small to large.

    Raises:
        SettingsError: If a size is below one, there are fewer than two classes, the most layers are
            fewer than the least, or an image doesn't consist of whole patches.
        SpaceError: If there are no options for a choice, or a ratio of a width is no whole number.

    References:
        Chen et al., "AutoFormer: Searching Transformers for Visual Recognition", ICCV 2021,
        arXiv:2107.00651; Touvron et al., "Training Data-Efficient Image Transformers", ICML 2021,
        arXiv:2012.12877 (DeiT).
    """
    channels, high, wide = shape
    require(2, classes=classes)
    require(1, shape=min(shape), patch=patch, head_width=head_width, least_depth=depths[0])
    require(depths[0], most_depth=depths[1])
    if high % patch or wide % patch:
        raise SettingsError(f"images of {high}x{wide} have no whole patches of {patch}x{patch}")
    width = choice_of("width", widths)
    with seeded(seed):
        layers = [
            transformer_layer(
                width,
                choice_of(f"layer{number}.heads", heads),
                head_width,
                Size((width, choice_of(f"layer{number}.ratio", ratios)), divisor=100),
            )
            for number in range(1, depths[1] + 1)
        ]
        net = nn.Sequential(
            nn.PixelUnshuffle(patch),
            ElasticConv2d(channels * patch**2, width, 1),
            ElasticTokens(width, (high // patch) * (wide // patch)),
            Depth("layers", layers, shortest=depths[0]),
            ElasticLayerNorm(width, eps=1e-6),
            as_graph(First()),
            ElasticLinear(width, classes),
        )
    return channels_last(net)
