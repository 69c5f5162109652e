import pytest
from torch import Tensor, nn

from supernet.networks.zoo import build_mnist_net, build_operations_net, build_residual_net
from supernet.nn.choices import Depth, OneOf
from supernet.nn.elastic import ElasticBatchNorm, ElasticConv2d, ElasticLinear, Size
from supernet.nn.outline import describe, outline
from supernet.nn.supernet import Supernet
from supernet.records import Stage
from supernet.space import Choice
from tests.conftest import Residual, nested, plain_net


def conv(inp: int, out: int, stride: str = "", *, kernel: int = 3) -> str:
    return f"conv {kernel}×{kernel}{stride} {inp}→{out}, bn, relu"  # noqa: RUF001 - a times sign


def test_the_network_of_the_experiment_in_words() -> None:
    assert outline(Supernet(build_mnist_net(seed=0))) == [
        Stage(kind="layer", name="", blocks=[conv(1, 64)]),
        Stage(kind="depth", name="block1.depth", blocks=[conv(64, 64)] * 3, shortest=1),
        Stage(kind="layer", name="", blocks=[conv(64, 32, " /2")]),
        Stage(kind="depth", name="block2.depth", blocks=[conv(32, 32)] * 3, shortest=1),
        Stage(kind="layer", name="", blocks=["average pool"]),
        Stage(kind="layer", name="", blocks=["linear 32→10"]),
    ]


def test_the_residual_network_in_words() -> None:
    def block(width: int) -> str:
        return f"residual block ({conv(width, width)}, {conv(width, width).removesuffix(', relu')})"

    assert outline(Supernet(build_residual_net(seed=0, deepest=2, widths=(4, 6)))) == [
        Stage(kind="layer", name="", blocks=[conv(1, 4)]),
        Stage(kind="layer", name="", blocks=[conv(4, 4)]),
        Stage(kind="depth", name="stage1.depth", blocks=[block(4)] * 2, shortest=1),
        Stage(kind="layer", name="", blocks=[conv(4, 6, " /2")]),
        Stage(kind="depth", name="stage2.depth", blocks=[block(6)] * 2, shortest=1),
        Stage(kind="layer", name="", blocks=["average pool"]),
        Stage(kind="layer", name="", blocks=["linear 6→10"]),
    ]


def test_the_network_of_operations_in_words() -> None:
    one_of = f"one of ({conv(4, 4)} | {conv(4, 4, kernel=5)})"
    assert outline(Supernet(build_operations_net(seed=0, width=4, positions=2))) == [
        Stage(kind="layer", name="", blocks=[conv(1, 4)]),
        Stage(kind="layer", name="position1.op", blocks=[one_of]),
        Stage(kind="layer", name="", blocks=[conv(4, 4, " /2")]),
        Stage(kind="layer", name="position2.op", blocks=[one_of]),
        Stage(kind="layer", name="", blocks=["average pool"]),
        Stage(kind="layer", name="", blocks=["linear 4→10"]),
    ]


class Own(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


class OwnBlock(Residual):
    pass


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (nn.Conv2d(3, 8, (1, 5)), "conv 1×5 3→8"),  # noqa: RUF001 - a times sign is meant
        (nn.AdaptiveAvgPool2d(1), "average pool"),
        (nn.Flatten(), ""),
        (nn.Identity(), ""),
        (nn.Sequential(), ""),
        (
            nn.Sequential(nn.Linear(2, 3), nn.Flatten(), nn.Sequential(nn.Tanh())),
            "linear 2→3, tanh",
        ),
        (Own(), "own"),
        (Residual(nn.Tanh()), "residual (tanh)"),
        (Residual(nn.Sequential(nn.Tanh(), nn.Tanh())), "residual"),
        (OwnBlock(nn.Linear(2, 2)), "own block (linear 2→2)"),
        (
            nn.Sequential(nn.Tanh(), OneOf("o", {"skip": nn.Identity(), "a": nn.ReLU()}), nn.ELU()),
            "tanh, one of (skip | relu), elu",
        ),
    ],
)
def test_modules_in_words(module: nn.Module, text: str) -> None:
    assert describe(module) == text


def test_any_network_has_an_outline() -> None:
    assert [stage.kind for stage in outline(nested())] == ["layer", "depth", "layer"]
    assert outline(nested())[1].shortest == 0
    assert outline(Supernet(Own())) == [Stage(kind="layer", name="", blocks=["own"])]
    assert {stage.kind for stage in outline(Supernet(plain_net()))} == {"layer"}
    alone = outline(Supernet(Depth("d", [nn.Tanh(), nn.Tanh(), nn.Tanh()], shortest=2)))
    assert alone == [Stage(kind="depth", name="d.depth", blocks=["tanh"] * 3, shortest=2)]


def test_elastic_layers_are_described_by_all_they_may_be() -> None:
    width = Choice("width", (8, 16))
    conv = ElasticConv2d(3, width, Choice("kernel", (3, 5)), stride=2)
    assert describe(conv) == "conv 3|5×3|5 /2 3→8|16"  # noqa: RUF001 - a times sign is meant
    assert describe(ElasticBatchNorm(width)) == "bn"
    assert describe(ElasticLinear(Size((width, 4)), 10)) == "linear 32|64→10"
