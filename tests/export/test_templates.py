from torch import nn

from supernet.export.describing import describe
from supernet.export.templates import REQUIRED, Template, find_templates
from supernet.export.tidying import tidy


def block(inp: int, out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inp, out, kernel, stride, padding=kernel // 2)
    return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU())


def templates_of(*parts: nn.Module) -> dict[str, Template]:
    root = describe(tidy(nn.Sequential(*parts))).root
    return {t.name: t for t in find_templates(root, {"load"}).of.values()}


def test_what_is_repeated_is_written_once_with_what_differs_as_parameters() -> None:
    found = templates_of(block(1, 4), block(4, 4), block(4, 8, stride=2))["conv_bn_relu"]
    assert [p.name for p in found.parameters] == ["in_channels", "out_channels", "stride"]
    assert [p.default for p in found.parameters] == [REQUIRED, REQUIRED, 1]
    assert found.count == 3


def test_numbers_that_are_always_equal_are_one_parameter() -> None:
    found = templates_of(block(4, 4), block(8, 8))["conv_bn_relu"]
    assert [p.name for p in found.parameters] == ["channels"]


def test_a_padding_that_follows_from_the_kernel_is_no_parameter() -> None:
    found = templates_of(block(4, 4), block(4, 4, kernel=5))["conv_bn_relu"]
    assert [p.name for p in found.parameters] == ["kernel_size"]
    assert "kernel_size // 2" in found.sources


def test_what_occurs_once_is_written_where_it_is() -> None:
    assert set(templates_of(block(1, 4), nn.Flatten())) == {"Network"}


def test_no_template_has_a_name_that_is_taken() -> None:
    class Load(nn.Module):
        def forward(self, x: object) -> object:
            return x

    root = describe(tidy(nn.Sequential(Load(), nn.Tanh()))).root
    names = {t.name for t in find_templates(root, {"Load"}).of.values()}
    assert names == {"Load2", "Network"}
