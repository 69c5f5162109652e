"""Networks that hold elastic modules, with what they cost by formula, for the contract."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from supernet.nn.choices import Depth, OneOf
from supernet.nn.elastic import (
    ElasticAttention,
    ElasticBatchNorm,
    ElasticConv2d,
    ElasticLayerNorm,
    ElasticLinear,
    InvertedResidual,
    Residual,
    Resolution,
    Size,
    SqueezeExcitation,
    Zero,
)
from supernet.space import Architecture, Choice
from tests.conftest import noise

Formula = Callable[[Architecture], int]


@dataclass(frozen=True)
class Case:
    """A network and, as functions of the architecture, its parameters and MACs per sample."""

    build: Callable[[], nn.Module]
    x: Tensor
    params: Formula
    macs: Formula
    reached: Formula | None = None


def of(arch: Architecture, name: str) -> int:
    return int(arch[name])


W, V = Choice("w", (3, 5, 8)), Choice("v", (2, 6))
K, KS = Choice("k", (1, 3, 5)), (1, 3, 5)
EVEN = Choice("e", (4, 8))
IMAGES, TOKENS = noise(4, 3, 6, 6), noise(3, 5, 8)


def _conv(*, transform: bool) -> nn.Module:
    return nn.Sequential(
        ElasticConv2d(3, W, K, kernel_transform=transform), ElasticConv2d(W, V, 3, stride=2)
    )


def _conv_params(arch: Architecture) -> int:
    w, v, k = of(arch, "w"), of(arch, "v"), of(arch, "k")
    return w * (3 * k * k + 1) + v * (w * 9 + 1)


def _conv_macs(arch: Architecture) -> int:
    w, v, k = of(arch, "w"), of(arch, "v"), of(arch, "k")
    return 36 * w * 3 * k * k + 9 * v * w * 9


def _grouped() -> nn.Module:
    return nn.Sequential(
        ElasticConv2d(3, EVEN, 1, bias=False),
        ElasticConv2d(EVEN, EVEN, K, groups=EVEN, bias=False),
        ElasticConv2d(EVEN, EVEN, 3, groups=Size((EVEN,), 4), bias=False),
        ElasticConv2d(EVEN, 8, 3, groups=2, dilation=2, bias=False),
    )


def _grouped_weights(arch: Architecture) -> int:
    e, k = of(arch, "e"), of(arch, "k")
    return 3 * e + e * k * k + e * 4 * 9 + 8 * (e // 2) * 9


def _normed() -> nn.Module:
    return nn.Sequential(
        ElasticConv2d(3, W, 3, bias=False),
        ElasticBatchNorm(W),
        nn.ReLU(inplace=True),
        Depth(
            "d",
            [
                nn.Sequential(
                    ElasticConv2d(W, W, k, bias=False),
                    ElasticBatchNorm(W, momentum=None),
                    nn.ReLU(inplace=True),
                )
                for k in (3, 1)
            ],
            shortest=0,
        ),
        ElasticConv2d(W, V, 1, bias=False),
        ElasticBatchNorm(V, affine=False),
    )


def _normed_params(arch: Architecture) -> int:
    w, v, d = of(arch, "w"), of(arch, "v"), of(arch, "d.depth")
    return 27 * w + 2 * w + (0, 9 * w * w + 2 * w, 10 * w * w + 4 * w)[d] + w * v


def _normed_macs(arch: Architecture) -> int:
    w, v, d = of(arch, "w"), of(arch, "v"), of(arch, "d.depth")
    return 36 * (27 * w + (0, 9, 10)[d] * w * w + w * v)


def _linear() -> nn.Module:
    return nn.Sequential(
        ElasticLinear(8, W),
        ElasticLayerNorm(W, eps=0.1),
        nn.Dropout(0.3),
        ElasticLinear(W, V, bias=False),
        ElasticBatchNorm(5, dims=1),
        nn.Flatten(),
        ElasticLinear(Size((V, 5)), 4),
    )


def _linear_params(arch: Architecture) -> int:
    w, v = of(arch, "w"), of(arch, "v")
    return 9 * w + 2 * w + w * v + 10 + 4 * (5 * v + 1)


def _linear_macs(arch: Architecture) -> int:
    w, v = of(arch, "w"), of(arch, "v")
    return 5 * (8 * w + w * v) + 4 * 5 * v


HEADS = Choice("heads", (1, 2, 3))


def _attention() -> nn.Module:
    return nn.Sequential(ElasticLinear(8, EVEN), ElasticAttention(EVEN, HEADS, head_width=3))


def _attention_params(arch: Architecture) -> int:
    e, inner = of(arch, "e"), 3 * of(arch, "heads")
    return 9 * e + 3 * (e + 1) * inner + (inner + 1) * e


def _attention_macs(arch: Architecture) -> int:
    e, inner = of(arch, "e"), 3 * of(arch, "heads")
    return 5 * (8 * e + 4 * e * inner) + 2 * 5 * 5 * inner


def _transformer() -> nn.Module:
    ratio = Choice("ratio", (1, 2))
    wide = Size((EVEN, ratio))

    def layer() -> nn.Module:
        mix = nn.Sequential(ElasticLayerNorm(EVEN), ElasticAttention(EVEN, 2))
        feed = (ElasticLinear(EVEN, wide), nn.GELU(), ElasticLinear(wide, EVEN))
        return nn.Sequential(Residual(mix), Residual(nn.Sequential(ElasticLayerNorm(EVEN), *feed)))

    return nn.Sequential(ElasticLinear(8, EVEN), Depth("layers", [layer(), layer()], shortest=0))


def _transformer_params(arch: Architecture) -> int:
    e, layers = of(arch, "e"), of(arch, "layers.depth")
    wide = e * of(arch, "ratio")
    return 9 * e + layers * (4 * e + 4 * (e + 1) * e + (e + 1) * wide + (wide + 1) * e)


def _transformer_macs(arch: Architecture) -> int:
    e, layers = of(arch, "e"), of(arch, "layers.depth")
    wide = e * of(arch, "ratio")
    return 5 * 8 * e + layers * (5 * (4 * e * e + 2 * e * wide) + 2 * 5 * 5 * e)


RATIO = Choice("ratio", (2, 3))


def _inverted() -> nn.Module:
    return nn.Sequential(
        ElasticConv2d(3, EVEN, 1),
        InvertedResidual(EVEN, EVEN, K, expansion=RATIO, squeeze=True, multiple_of=4),
        InvertedResidual(EVEN, 4, expansion=1, stride=2, activation=nn.ReLU),
    )


def _inverted_costs(arch: Architecture) -> tuple[int, int]:
    e, k, ratio = of(arch, "e"), of(arch, "k"), of(arch, "ratio")
    wide = e * ratio
    squeezed = max(4, int(wide / 4 / 4 + 0.5) * 4)
    squeezed += 4 if squeezed < 0.9 * wide / 4 else 0
    first = (4 * e, 3 * e)
    weights = e * wide + k * k * wide + wide * e
    second = (first[0] + weights + 4 * wide + 2 * e, 36 * (first[1] + weights))
    second = (
        second[0] + (wide + 1) * squeezed + (squeezed + 1) * wide,
        second[1] + 2 * wide * squeezed,
    )
    return (
        second[0] + 9 * e + 2 * e + 4 * e + 8,
        second[1] + 9 * 9 * e + 9 * 4 * e,
    )


def _operations() -> nn.Module:
    options = {
        "zero": Zero(),
        "skip": nn.Identity(),
        "se": SqueezeExcitation(W, reduction=2),
        "conv": ElasticConv2d(W, W, 3),
    }
    strided = {"zero": Zero(stride=2), "conv": ElasticConv2d(W, W, 3, stride=2, bias=False)}
    return nn.Sequential(
        Resolution(Choice("size", (4, 6, 8))),
        ElasticConv2d(3, W, 3),
        OneOf("a", options),
        OneOf("b", strided),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        ElasticLinear(W, 3),
    )


def _operations_params(arch: Architecture) -> int:
    w, op = of(arch, "w"), arch["a.op"]
    squeezed = int(w / 2 + 0.5)
    own = {"se": (w + 1) * squeezed + (squeezed + 1) * w, "conv": (9 * w + 1) * w}
    strided = 9 * w * w if arch["b.op"] == "conv" else 0
    return 28 * w + own.get(str(op), 0) + strided + 3 * (w + 1)


def _operations_macs(arch: Architecture) -> int:
    w, op, size = of(arch, "w"), arch["a.op"], of(arch, "size")
    own = {"se": 2 * w * int(w / 2 + 0.5), "conv": size * size * 9 * w * w}
    strided = (size // 2) ** 2 * 9 * w * w if arch["b.op"] == "conv" else 0
    return size * size * 27 * w + own.get(str(op), 0) + strided + 3 * w


CASES = {
    "conv": Case(lambda: _conv(transform=False), IMAGES, _conv_params, _conv_macs),
    "kernel transform": Case(
        lambda: _conv(transform=True),
        IMAGES,
        _conv_params,
        _conv_macs,
        # The whole largest kernel, and the maps on the way, take part in every smaller one.
        lambda arch: (
            of(arch, "w") * (3 * 25 + 1)
            + of(arch, "v") * (of(arch, "w") * 9 + 1)
            + sum(size**4 for size in KS if of(arch, "k") <= size < 5)
        ),
    ),
    "grouped": Case(
        _grouped,
        IMAGES,
        _grouped_weights,
        lambda arch: 36 * _grouped_weights(arch),
    ),
    "normed": Case(_normed, IMAGES, _normed_params, _normed_macs),
    "linear": Case(_linear, TOKENS, _linear_params, _linear_macs),
    "attention": Case(_attention, TOKENS, _attention_params, _attention_macs),
    "transformer": Case(_transformer, TOKENS, _transformer_params, _transformer_macs),
    "inverted residual": Case(
        _inverted,
        IMAGES,
        lambda arch: _inverted_costs(arch)[0],
        lambda arch: _inverted_costs(arch)[1],
    ),
    "operations": Case(_operations, IMAGES, _operations_params, _operations_macs),
}
