from typing import Any

import pytest
import torch
from torch import nn

from supernet.errors import SettingsError, SpaceError
from supernet.networks.zoo import build_autoformer_net
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from tests.conftest import noise, stir
from tests.networks.zoo.counting import costs, countable

SHAPE = (3, 224, 224)
TINY: dict[str, Any] = {
    "classes": 3,
    "shape": (2, 6, 4),
    "patch": 2,
    "widths": (4, 6),
    "depths": (1, 2),
    "heads": (1, 2),
    "head_width": 3,
    "ratios": (50, 200),
}


def test_it_holds_networks_of_the_sizes_it_says() -> None:
    supernet = countable(build_autoformer_net)
    assert supernet.space.size == 3 * sum(4**layers for layers in (12, 13, 14))
    assert costs(supernet, supernet.space.smallest, SHAPE) == (5_273_896, 1_166_536_704)
    assert costs(supernet, supernet.space.largest, SHAPE) == (10_409_752, 2_263_242_112)


def test_one_of_them_is_deit_ti() -> None:
    supernet = countable(build_autoformer_net)
    arch = supernet.space.smallest
    arch = arch.but(**{name: 400 for name in arch if name.endswith(".ratio")})
    params, macs = costs(supernet, arch, SHAPE)
    # 5.7 million parameters and 1.3 G multiply-adds: the model card of timm's
    # deit_tiny_patch16_224.fb_in1k. To the last digit, layer by layer, by arXiv:2012.12877:
    # patches, class token, positions, layers (norms, attention, perceptron), norm, linear layer.
    assert (round(params / 1e6, 1), round(macs / 1e9, 1)) == (5.7, 1.3)
    layer = 4 * 192 + 4 * (192 + 1) * 192 + (192 + 1) * 768 + (768 + 1) * 192
    ends = (3 * 16**2 + 1) * 192 + 192 + (14**2 + 1) * 192 + 2 * 192 + (192 + 1) * 1000
    assert params == ends + 12 * layer


def test_it_is_the_transformer_that_pytorch_has() -> None:
    """The first layer, from its weights: pre-norm, GELU, heads of one size."""
    supernet = Supernet(stir(build_autoformer_net(seed=0, **TINY)))
    arch = supernet.space.smallest.but(**{"width": 6, "layer1.heads": 2, "layer1.ratio": 200})
    net, x = extract(supernet, arch), noise(2, 2, 6, 4)
    weights = {name.partition("3.0.")[2]: p for name, p in net.named_parameters() if "3.0." in name}
    plain = nn.TransformerEncoderLayer(
        6, 2, 12, dropout=0, activation="gelu", layer_norm_eps=1e-6, batch_first=True,
        norm_first=True,
    )  # fmt: skip
    parts = {
        kind: torch.cat([weights[f"0.body.1.{name}.{kind}"] for name in ("query", "key", "value")])
        for kind in ("weight", "bias")
    }
    state = {"self_attn.in_proj_weight": parts["weight"], "self_attn.in_proj_bias": parts["bias"]}
    for theirs, ours in {
        "norm1": "0.body.0",
        "self_attn.out_proj": "0.body.1.out",
        "norm2": "1.body.0",
        "linear1": "1.body.1",
        "linear2": "1.body.3",
    }.items():
        state |= {f"{theirs}.{kind}": weights[f"{ours}.{kind}"] for kind in ("weight", "bias")}
    plain.load_state_dict(state)
    tokens = nn.Sequential(*list(net.children())[:3])(x)
    assert tokens.shape == (2, 7, 6)
    torch.testing.assert_close(net.get_submodule("3.0")(tokens), plain(tokens))


@pytest.mark.parametrize("width", [4, 6])
def test_patches_get_the_linear_map_of_a_strided_convolution(width: int) -> None:
    supernet = Supernet(stir(build_autoformer_net(seed=0, **TINY)))
    net, x = extract(supernet, supernet.space.largest.but(width=width)), noise(2, 2, 6, 4)
    weight, bias, first, positions = (
        supernet.net.get_parameter(name)
        for name in ("1.weight", "1.bias", "2.first", "2.positions")
    )
    expected = nn.functional.conv2d(x, weight.view(6, 2, 2, 2), bias, stride=2)[:, :width]
    tokens = [first[..., :width].expand(2, -1, -1), expected.flatten(2).mT]
    expected = torch.cat(tokens, 1) + positions[..., :width]
    torch.testing.assert_close(nn.Sequential(*list(net.children())[:3])(x), expected)


def test_the_last_layer_sees_the_class_token_only() -> None:
    supernet = Supernet(stir(build_autoformer_net(seed=0, **TINY)))
    net, x = extract(supernet, supernet.space.largest), noise(2, 2, 6, 4)
    *body, norm, _, linear = net.children()
    assert torch.equal(net(x), linear(norm(nn.Sequential(*body)(x))[:, 0]))


def test_a_ratio_that_gives_no_whole_number_is_refused() -> None:
    with pytest.raises(SpaceError, match="not divisible by 100"):
        build_autoformer_net(seed=0, **{**TINY, "ratios": (33, 100)})


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"classes": 1}, "classes is 1; it must be at least 2"),
        ({"shape": (3, 0, 224)}, "shape is 0; it must be at least 1"),
        ({"patch": 0}, "patch is 0; it must be at least 1"),
        ({"head_width": 0}, "head_width is 0; it must be at least 1"),
        ({"depths": (0, 1)}, "least_depth is 0; it must be at least 1"),
        ({"depths": (3, 2)}, "most_depth is 2; it must be at least 3"),
        ({"shape": (3, 32, 30)}, "images of 32x30 have no whole patches of 16x16"),
    ],
)
def test_impossible_sizes_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        build_autoformer_net(seed=0, **setting)
