"""A score without training: what it counts, whoever computes the activation."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supernet.errors import DataError, SettingsError
from supernet.evaluation.naswot import naswot
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.space import Architecture
from tests.conftest import nine, noise, stir

X = noise(12, 4)
ONLY = Architecture({})


class Applied(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def two_layers(activation: nn.Module | Callable[[Tensor], Tensor]) -> nn.Module:
    layer = activation if isinstance(activation, nn.Module) else Applied(activation)
    net = nn.Sequential(nn.Linear(4, 30), layer, nn.Linear(30, 20), layer, nn.Linear(20, 3))
    return stir(net)


def by_hand(net: nn.Sequential) -> float:
    """The definition: agreements of codes, over all units, and their determinant."""
    codes, x = [], X
    for layer in net:
        if isinstance(layer, nn.ReLU):
            codes.append(x > 0)
        x = layer(x)
    code = torch.cat(codes, dim=1)
    agreeing = (code[:, None] == code[None]).sum(dim=2).double()
    return float(torch.linalg.slogdet(agreeing).logabsdet)


def test_it_is_the_determinant_of_how_often_codes_agree() -> None:
    net = two_layers(nn.ReLU())
    assert isinstance(net, nn.Sequential)
    found = naswot(net, inputs=X)
    assert found == {ONLY: pytest.approx(by_hand(net), rel=1e-9)}
    assert naswot(net, inputs=2 * X)[ONLY] != found[ONLY]


RELUS: dict[str, nn.Module | Callable[[Tensor], Tensor]] = {
    "in place": nn.ReLU(inplace=True),
    "functional": F.relu,
    "torch": torch.relu,
    "clamp": lambda x: x.clamp(min=0),
    "clamp_min": lambda x: x.clamp_min(0.0),
    "functional, in place": lambda x: F.relu_(x + 0),
}


@pytest.mark.parametrize("activation", RELUS.values(), ids=RELUS)
def test_relu_counts_however_it_is_called(
    activation: nn.Module | Callable[[Tensor], Tensor],
) -> None:
    assert naswot(two_layers(activation), inputs=X) == naswot(two_layers(nn.ReLU()), inputs=X)


@pytest.mark.parametrize(
    "activation",
    [nn.GELU(), nn.SiLU(), nn.ELU(), nn.LeakyReLU(), nn.ReLU6(), nn.Hardswish(), nn.Mish(),
     nn.PReLU(), nn.SELU(), nn.CELU()],
    ids=str,
)  # fmt: skip
def test_what_is_like_relu_counts(activation: nn.Module) -> None:
    assert math.isfinite(naswot(two_layers(activation), inputs=X)[ONLY])


@pytest.mark.parametrize(
    "activation",
    [nn.Tanh(), nn.Sigmoid(), nn.Hardtanh(), lambda x: x.clamp(min=-1.0), nn.Identity()],
    ids=["tanh", "sigmoid", "hardtanh", "clamp from -1", "identity"],
)
def test_without_any_there_is_no_score(
    activation: nn.Module | Callable[[Tensor], Tensor],
) -> None:
    with pytest.raises(SettingsError, match="the network runs none; leave naswot out"):
        naswot(two_layers(activation), inputs=X)


def test_each_architecture_scores_as_the_network_taken_out() -> None:
    supernet, x = nine(), noise(10, 1, 8, 8)
    found = naswot(supernet, inputs=x)
    assert list(found) == list(supernet.space)
    assert len(set(found.values())) == 9
    for arch in (supernet.space.smallest, supernet.space.largest):
        assert naswot(extract(supernet, arch), inputs=x) == {ONLY: found[arch]}
        assert naswot(supernet, arch, inputs=x) == {arch: found[arch]}
    assert found[supernet.space.largest] > found[supernet.space.smallest]


def test_nothing_is_changed_and_nothing_drawn() -> None:
    net = nn.Sequential(
        nn.Linear(4, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Dropout(0.5), nn.Linear(9, 9), nn.ReLU()
    )
    before, state = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    found = naswot(net.train(), inputs=X)
    assert found == naswot(net.eval(), inputs=X)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_inputs_with_the_same_code_make_it_infinitely_bad() -> None:
    net = two_layers(nn.ReLU())
    assert naswot(net, inputs=torch.cat([X, X[:1]]))[ONLY] == -math.inf


def test_inputs_that_are_none_are_refused() -> None:
    with pytest.raises(DataError, match="at least 2 samples"):
        naswot(two_layers(nn.ReLU()), inputs=X[:1])
    turned = nn.Sequential(Applied(lambda x: x.T), nn.ReLU(), Applied(lambda x: x.T))
    with pytest.raises(DataError, match=r"shape \(4, 12\) for 12 samples"):
        naswot(Supernet(turned), inputs=X)
