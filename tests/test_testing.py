"""The contract of choice modules finds what is broken."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supernet.nn.choices import ChoiceModule
from supernet.space import Architecture, Choice
from supernet.testing import ChoiceModuleContract
from tests.conftest import noise

TESTS = [name for name in dir(ChoiceModuleContract) if name.startswith("test_")]


class Good(ChoiceModule):
    """A linear layer of elastic output width, and its mean."""

    width = Choice("width", (2, 3, 4))

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 5))
        self.norm = nn.BatchNorm1d(5)

    @property
    def choices(self) -> tuple[Choice, ...]:
        return (self.width,)

    def weight_of(self, arch: Architecture) -> Tensor:
        return self.weight[: int(arch["width"])]

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.norm(x), self.weight_of(self.active))

    def plain(self, arch: Architecture) -> nn.Module:
        weight = self.weight_of(arch)
        linear = nn.Linear(5, len(weight), bias=False)
        linear.weight = nn.Parameter(weight.detach().clone())
        return nn.Sequential(self.norm, linear)


class OtherWeights(Good):
    def plain(self, arch: Architecture) -> nn.Module:
        net = super().plain(arch)
        with torch.no_grad():
            net.get_parameter("1.weight")[0, 0] += 1e-6
        return net


class NotPlain(Good):
    def plain(self, arch: Architecture) -> nn.Module:
        class Mine(nn.Sequential):
            pass

        return Mine(super().plain(arch))


class NotCopied(Good):
    kept: nn.Parameter

    def __deepcopy__(self, memo: dict[int, Any]) -> "Good":
        return self

    def plain(self, arch: Architecture) -> nn.Module:
        net = super().plain(arch)
        net.get_submodule("1").weight = nn.Parameter(self.weight_of(arch))
        return net


class NotCutOut(Good):
    def plain(self, arch: Architecture) -> nn.Module:
        net = super().plain(arch)
        net.get_submodule("1").weight = nn.Parameter(self.weight_of(arch).detach())
        return net


class HiddenChoice(Good):
    """Doesn't say that it depends on the choice, which another module makes."""

    @property
    def choices(self) -> tuple[Choice, ...]:
        return ()


class AllGradients(Good):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.weight.sum() - self.weight.sum().detach()


class NoState(Good):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.rand(()) + 1, persistent=False)

    def weight_of(self, arch: Architecture) -> Tensor:
        return self.weight[: int(arch["width"])] * self.get_buffer("scale")


class Default(Good):
    def forward(self, x: Tensor) -> Tensor:
        arch = self._active or Architecture({"width": 4})
        return F.linear(self.norm(x), self.weight_of(arch))


class ChangesInput(Good):
    keeps_input = True

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.add_(1))


class Contract(ChoiceModuleContract):
    def __init__(self, kind: type[Good]) -> None:
        self.kind = kind

    def build(self) -> nn.Module:
        net = nn.Sequential(self.kind())
        if self.kind is HiddenChoice:
            net.append(Chosen())
        return net

    def example(self) -> Tensor:
        return noise(6, 5)

    def params(self, arch: Architecture) -> int:
        return 10 + 5 * int(arch["width"])

    def macs(self, arch: Architecture) -> int:
        return 5 * int(arch["width"])


class Chosen(ChoiceModule):
    @property
    def choices(self) -> tuple[Choice, ...]:
        return (Good.width,)

    def forward(self, x: Tensor) -> Tensor:
        assert self.active
        return x * 2

    def plain(self, arch: Architecture) -> nn.Module:
        return nn.Hardtanh(-1, 1)


@pytest.mark.parametrize("name", TESTS)
def test_what_is_sound_keeps_it(name: str) -> None:
    getattr(Contract(Good), name)()


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        (OtherWeights, "test_extracted_computes_the_same", "computes something else, for Arch"),
        (NotPlain, "test_extracted_is_plain", "it holds a Mine, for Arch"),
        (NotCopied, "test_extracted_is_plain", "shares memory with the supernet"),
        (NotCutOut, "test_extracted_is_plain", "holds parts of larger tensors; copy them"),
        (HiddenChoice, "test_shared_equals_one_by_one", "shared, it computes another, for Arch"),
        (HiddenChoice, "test_shared_gradients_are_the_sum", "the gradient of 'net.0.*' is another"),
        (OtherWeights, "test_calibrating_equals_recalibrating", "something else than recalibrated"),
        (AllGradients, "test_gradients_reach_what_is_used_only", "30 numbers get .* but 20 may"),
        (NoState, "test_its_state_can_be_loaded", "loaded, it is another"),
        (
            ChangesInput,
            "test_inputs_are_kept_where_the_class_says_so",
            "ChangesInput changes its input, but has keeps_input = True",
        ),
        (Default, "test_there_is_no_default_architecture", "it runs without an architecture"),
    ],
)
def test_what_is_broken_fails(kind: type[Good], name: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        getattr(Contract(kind), name)()


def test_wrong_formulas_fail() -> None:
    contract = Contract(Good)
    for formula, message in (("params", "20 parameters, the formula says 1, for"), ("macs", "10")):
        broken = type("Broken", (Contract,), {formula: lambda self, arch: 1})
        with pytest.raises(AssertionError, match=message):
            broken(Good).test_costs_are_those_of_the_formulas()
    contract.test_costs_are_those_of_the_formulas()


def test_a_contract_says_what_is_missing() -> None:
    for method in ("build", "example"):
        with pytest.raises(NotImplementedError, match=f"ChoiceModuleContract .*define `{method}`"):
            getattr(ChoiceModuleContract(), method)()
