import pytest
import torch
from torch import nn

from supernet.errors import ExportError
from supernet.export import layers

LAYERS = [
    nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
    nn.Conv2d(3, 8, (3, 5), padding="same"),
    nn.Conv1d(2, 4, 3, padding_mode="circular"),
    nn.ConvTranspose2d(3, 4, 2, 2, output_padding=1),
    nn.BatchNorm2d(3, momentum=None),
    nn.BatchNorm1d(3, affine=False),
    nn.BatchNorm1d(3, track_running_stats=False),
    nn.LayerNorm(5, bias=False),
    nn.LayerNorm((3, 3), elementwise_affine=False),
    nn.GroupNorm(2, 4),
    nn.Embedding(10, 3, padding_idx=1),
    nn.MultiheadAttention(8, 2, batch_first=True, bias=False, kdim=4),
    nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", norm_first=True),
    nn.LSTM(3, 4, 2, bidirectional=True, proj_size=2),
    nn.GRU(3, 4),
    nn.RNN(3, 4, nonlinearity="relu"),
    nn.PReLU(3),
    nn.Hardtanh(-2, 2),
    nn.Upsample((7, 7), mode="bilinear", align_corners=False),
    nn.Upsample(scale_factor=2.0),
    nn.AvgPool2d((14, 14)),
    nn.AvgPool2d(2, ceil_mode=True),
    nn.AdaptiveAvgPool2d((None, 3)),
    nn.MaxPool2d(3, 2, 1),
    nn.Unflatten(1, (2, 3)),
    nn.ZeroPad2d((1, 2, 3, 4)),
    nn.Dropout(0.3),
    nn.Identity(),
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_a_layer_is_made_again_from_its_arguments(layer: nn.Module) -> None:
    kind = layers.kind_of(layer)
    assert kind is not None
    given = layers.given(kind, layers.arguments_of(layer, "x"))
    built = layers.build(kind, given)
    assert str(built) == str(layer)
    shapes = {name: tensor.shape for name, tensor in built.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in layer.state_dict().items()}


def test_arguments_are_written_as_people_do() -> None:
    written = layers.given("Conv2d", layers.arguments_of(LAYERS[0], "x"))
    assert written == {
        "in_channels": 3, "out_channels": 8, "kernel_size": 3, "stride": 2, "padding": 1,
        "bias": False,
    }  # fmt: skip
    assert layers.given("AvgPool2d", layers.arguments_of(nn.AvgPool2d(2), "x")) == {
        "kernel_size": 2
    }


def test_every_layer_that_may_be_built_is_one_of_pytorchs() -> None:
    assert all(kind.__module__.startswith("torch.nn") for kind in layers.KINDS.values())
    assert not {"Module", "Sequential", "DataParallel", "LazyLinear"} & layers.KINDS.keys()


def test_a_subclass_is_no_layer_of_pytorchs() -> None:
    class Linear(nn.Linear):
        pass

    assert layers.kind_of(Linear(2, 2)) is None


def test_a_layer_that_was_changed_is_refused_by_name() -> None:
    layer = nn.Conv2d(1, 1, 3)
    layer.stride = (2, 1)
    arguments = layers.arguments_of(layer, "stem")
    assert arguments["stride"] == (2, 1)  # a change that a constructor can express is none
    norm = nn.BatchNorm2d(3)
    norm.weight = nn.Parameter(torch.ones(5))
    with pytest.raises(ExportError, match=r"stem is an nn.BatchNorm2d that can't be written"):
        layers.arguments_of(norm, "stem")


@pytest.mark.parametrize(
    ("kind", "arguments", "said"),
    [
        ("Module", {}, "no layer of torch.nn"),
        ("os.system", {}, "no layer of torch.nn"),
        ("Linear", {"in_features": 2, "out_features": 2, "device": "cuda"}, "no argument 'device'"),
        ("Linear", {"in_features": 2}, "can't be made"),
        ("GRU", {"input_size": 1, "hidden_size": 1, "num_layers": 10**9}, "1 to 1000"),
        ("Linear", {"in_features": -1, "out_features": 2}, "can't be made"),
    ],
)
def test_what_may_not_be_built_is_refused(
    kind: str, arguments: dict[str, object], said: str
) -> None:
    with pytest.raises(ExportError, match=said):
        layers.build(kind, arguments)


def test_a_layer_takes_no_memory_before_it_has_weights() -> None:
    huge = layers.build("Linear", {"in_features": 10**7, "out_features": 10**7})
    assert next(huge.parameters()).is_meta
