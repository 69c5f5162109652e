import json
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from supernet.errors import ExportError
from supernet.export.describing import describe, rebuild, weights_of
from supernet.export.description import Network
from supernet.export.tidying import tidy
from tests.conftest import nine, noise
from tests.export.networks import OWN, ZOO, Branching, Reshaped, some


def described(model: nn.Module) -> tuple[Network, dict[str, torch.Tensor]]:
    net = tidy(model)
    network = describe(net)
    return network, weights_of(net, network)


@pytest.mark.parametrize("name", OWN)
def test_a_users_network_is_rebuilt_bit_for_bit_through_json(name: str) -> None:
    model, x = OWN[name]()
    network, weights = described(model)
    again = Network.model_validate_json(network.model_dump_json())
    assert again == network
    assert torch.equal(rebuild(again, weights)(x), model.eval()(x))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ZOO)
def test_networks_of_the_zoo_are_rebuilt_bit_for_bit(name: str) -> None:
    for model, x in some(name, 1):
        assert torch.equal(rebuild(*described(model))(x), model(x))


def test_nothing_of_ours_is_in_a_rebuilt_network() -> None:
    model, _ = some("nasbench201", 1)[0]
    classes = {cls for m in rebuild(*described(model)).modules() for cls in type(m).__mro__}
    assert not {cls for cls in classes if cls.__module__.startswith("supernet")}


def test_one_weight_at_two_places_stays_one_and_is_kept_once() -> None:
    network, weights = described(OWN["tied"]()[0])
    assert network.ties == [("head.weight", "embedding.weight")]
    assert list(weights) == ["embedding.weight"]
    net = rebuild(network, weights)
    assert net.get_parameter("head.weight") is net.get_parameter("embedding.weight")


def test_one_layer_at_two_places_stays_one() -> None:
    network, weights = described(OWN["shared layer"]()[0])
    assert network.ties == [("linear", "stem")]
    net = rebuild(network, weights)
    assert net.get_submodule("linear") is net.get_submodule("stem")


def test_there_are_no_numbers_that_nobody_uses() -> None:
    for name in ZOO:
        model, _ = some(name, 1)[0]
        network, weights = described(model)
        assert sum(w.numel() for w in weights.values()) == sum(
            t.numel() for t in model.state_dict().values()
        )
        assert all(w.untyped_storage().nbytes() == w.nbytes for w in weights.values())
        assert rebuild(network, weights).state_dict().keys() == weights.keys()


def test_an_operator_without_a_name_is_refused_with_the_module_and_the_operator() -> None:
    with pytest.raises(ExportError, match=r"the module 'reshaped' \(Reshaped\).*'fft_fft'"):
        described(nn.Sequential(nn.Linear(2, 2), Reshaped()))


def test_code_that_cant_be_followed_is_described_by_its_file() -> None:
    network, _ = described(nn.Sequential(nn.Linear(2, 2), Branching(2)))
    own: Any = network.root.children["branching"]
    assert (own.file, own.name) == ("networks.py", "Branching")
    assert own.attributes == {"width": 2, "_scale": 0.5}


def test_such_code_is_not_run_by_rebuilding() -> None:
    with pytest.raises(ExportError, match=r"'Branching' is in networks\.py"):
        rebuild(*described(nn.Sequential(Branching(2))))


def test_a_setting_that_cant_be_written_is_named() -> None:
    branching = Branching(2)
    branching.callback = print  # type: ignore[assignment]
    with pytest.raises(ExportError, match="whose attribute 'callback' is a builtin_function"):
        described(nn.Sequential(branching))


def test_a_network_with_choices_is_refused() -> None:
    for model in (nine(), nine().net):
        with pytest.raises(ExportError, match="take one out first"):
            described(model)


def test_what_changes_a_module_from_outside_is_refused() -> None:
    hooked = nn.Sequential(nn.Linear(2, 2))
    hooked[0].register_forward_hook(lambda *_: None)
    with pytest.raises(ExportError, match="the module '0' has hooks"):
        described(hooked)
    parametrized = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)))
    with pytest.raises(ExportError, match="remove_parametrizations"):
        described(parametrized)


def test_weights_of_another_network_are_refused() -> None:
    network, weights = described(nn.Linear(2, 2))
    for other in ({}, {**weights, "more": noise(1)}, {**weights, "linear.bias": noise(3)}):
        with pytest.raises(ExportError, match="the weights are of another network"):
            rebuild(network, other)


def test_parameters_of_several_types_are_refused() -> None:
    with pytest.raises(ExportError, match="of several types"):
        described(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double()))


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"linear"', '"x;import os"'),  # a child's name
        ('"linear"', '"__class__"'),
        ('"linear"', '"graph"'),
        ('"name":"x"', '"name":"x=print(1)"'),
        ('"layer":"Linear"', '"layer":"Sequential"'),
        ('"run":"module"', '"run":"function"'),
        ('"run":"module"', '"run":"method"'),
        ('"run":"module"', '"run":"tensor"'),
        ('"target":"linear"', '"target":""'),
        ('"target":"linear"', '"target":"linear.weight"'),
        ('"out_features":2', '"out_features":{"result":"x"}'),
        ('"out_features":2', '"out_features":2e9'),
        ('{"result":"x"}', '{"result":"y"}'),
        ('{"result":"x"}', '{"eval":"1"}'),
        ('"ties":[]', '"ties":[["linear","nowhere"]]'),
        ('"ties":[]', '"ties":[["a.b.c","linear"]]'),
        ('"dtype":"float32"', '"dtype":"load"'),
    ],
)
def test_a_description_that_was_made_up_builds_nothing(old: str, new: str) -> None:
    network, weights = described(nn.Linear(2, 2))
    text = network.model_dump_json()
    if '"linear"' in old and old.startswith('"linear"'):
        text = changed(text, '"linear":', f"{new}:")
    else:
        text = changed(text, old, new)
    with pytest.raises((ValidationError, ExportError)):
        rebuild(Network.model_validate(json.loads(text)), weights)


def test_reading_an_attribute_is_limited_to_what_a_tensor_says_of_itself() -> None:
    model, _ = OWN["arithmetic"]()
    network, weights = described(model)
    text = changed(
        network.model_dump_json(), '{"result":"x"},"shape"', '{"result":"x"},"__class__"'
    )
    with pytest.raises(ExportError, match="shape and type only"):
        rebuild(Network.model_validate_json(text), weights)


class Looks(nn.Module):
    """Looks whether a shape is right, as timm's norms do, and changes its input in place."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch._assert(x.ndim == 4, "it takes pictures")
        torch._assert(x.shape[1] % 2 == 0, "it takes channels in pairs")
        y = x + 1
        y.mul_(2)
        return y


def test_looking_at_shapes_is_left_out_and_nothing_else() -> None:
    x = torch.rand(2, 4, 3, 3)
    network = describe(tidy(Looks()))
    assert "assert" not in network.model_dump_json()
    again = rebuild(network, {})
    assert torch.equal(again(x), Looks()(x))
    assert again(torch.rand(2, 3)).shape == (2, 3)
