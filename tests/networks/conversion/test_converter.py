"""Laws of converted networks, over their whole spaces."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supernet import sharing
from supernet.errors import SharingWarning, SpaceError
from supernet.evaluation.batchnorm import calibrate, recalibrate
from supernet.networks.conversion import make_elastic
from supernet.nn.elastic import ElasticConv2d
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.space import Choice
from supernet.testing import ChoiceModuleContract
from tests.conftest import noise, stir
from tests.networks.conversion.networks import (
    NETWORKS,
    MobileNet,
    ResNet,
    X,
    conv_bn_relu,
    plain_stack,
)


def converted(name: str, seed: int = 0) -> tuple[nn.Module, Supernet]:
    build, exclude = NETWORKS[name]
    model = stir(build(), seed)
    supernet, _ = make_elastic(model, example=X, width=(0.5,), kernel=(3,), exclude=exclude)
    return model, supernet


def run_seeded(net: Callable[..., Tensor], *inputs: object) -> Tensor:
    with torch.random.fork_rng(devices=()), torch.no_grad():
        torch.manual_seed(0)
        return net(*inputs)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_largest_is_the_given_model_in_training_mode(name: str) -> None:
    model, supernet = converted(name)
    largest = supernet.space.largest
    expected = run_seeded(model.train(), X)
    assert torch.equal(run_seeded(supernet.train(), X, largest), expected)
    assert torch.equal(run_seeded(extract(supernet, largest).train(), X), expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_largest_is_the_given_model_once_both_are_recalibrated(name: str) -> None:
    model, supernet = converted(name)
    net = extract(supernet, supernet.space.largest)
    batches = [X, noise(3, 3, 8, 8, seed=1)]
    for one in (model, net):
        recalibrate(one, batches)
    assert torch.equal(net.eval()(X), model.eval()(X))
    # And in one pass with others.
    archs = [supernet.space.smallest, supernet.space.largest]
    statistics = calibrate(supernet, archs, batches)
    supernet.eval()
    found = {arch: group.value for group in statistics.run(X) for arch in group.archs}
    assert torch.equal(found[archs[1]], model(X))


@pytest.mark.parametrize("name", NETWORKS)
def test_extracted_and_shared_equal_forward_over_the_whole_space(name: str) -> None:
    _, supernet = converted(name)
    archs = list(supernet.space)
    assert 4 <= len(archs) <= 130
    supernet.train()
    for module in supernet.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error", SharingWarning)
        together = sharing.outputs(supernet, X, archs)
        for arch, found in zip(archs, together, strict=True):
            expected = supernet(X, arch)
            assert torch.equal(found, expected)
            assert torch.equal(extract(supernet, arch)(X), expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_extracted_holds_nothing_of_this_package(name: str) -> None:
    _, supernet = converted(name)
    for arch in (supernet.space.smallest, supernet.space.largest):
        net = extract(supernet, arch)
        for module in net.modules():
            assert type(module).__module__.partition(".")[0] in ("torch", "tests")
        for parameter in net.parameters():
            assert isinstance(parameter, nn.Parameter)
            assert parameter.untyped_storage().nbytes() == parameter.nbytes


@pytest.mark.parametrize("name", NETWORKS)
def test_the_largest_has_the_very_weights_and_the_model_is_not_changed(name: str) -> None:
    model = stir(NETWORKS[name][0]()).train()
    before, modules = copy.deepcopy(model.state_dict()), list(model.modules())
    supernet, _ = make_elastic(model, example=X)
    assert list(model.modules()) == modules
    assert model.state_dict().keys() == before.keys()
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])
    given, kept = (
        sorted((tuple(p.shape), p.tolist()) for p in net.parameters())
        for net in (model, extract(supernet, supernet.space.largest))
    )
    assert given == kept
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.zero_()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_smaller_one_has_the_first_channels_and_the_center() -> None:
    model = stir(ResNet())
    assert isinstance(model, ResNet)
    supernet, _ = make_elastic(model, example=X, kernel=(1,))
    small = extract(supernet, supernet.space.smallest)
    weight = small.get_parameter("layer2.0.conv1.weight")
    assert weight.shape == (4, 2, 1, 1)
    assert torch.equal(weight, model.layer2[0].get_parameter("conv1.weight")[:4, :2, 1:2, 1:2])
    assert torch.equal(small.get_parameter("fc.weight"), model.fc.weight[:, :4])


def test_of_a_concatenation_the_first_channels_of_each_part_are_read() -> None:
    model, supernet = converted("densenet")
    small = extract(supernet, supernet.space.smallest)
    # Of 15 channels: the image's 3, 2 of the next 4, 4 of the last 8.
    used = [0, 1, 2, 3, 4, 7, 8, 9, 10]
    whole = model.get_parameter("depthwise.weight")
    assert torch.equal(small.get_parameter("depthwise.weight"), whole[used])
    head = model.get_parameter("head.weight").unflatten(1, (15, 4))[:, used].flatten(1)
    assert torch.equal(small.get_parameter("head.weight"), head)
    assert torch.equal(small.get_parameter("norm1.weight"), model.get_parameter("norm1.weight")[:5])


def test_grouped_convolutions_keep_the_size_of_their_groups() -> None:
    _, supernet = converted("convnext")
    for arch in supernet.space:
        conv = extract(supernet, arch).get_submodule("blocks.0.conv")
        assert isinstance(conv, nn.Conv2d)
        assert conv.in_channels // conv.groups == 4


def test_modes_types_and_frozen_weights_stay() -> None:
    model = plain_stack().double()
    model.get_parameter("1.0.weight").requires_grad_(False)
    model[0].eval()
    supernet, _ = make_elastic(model, example=X.double())
    assert isinstance(supernet.net, nn.Sequential)
    assert not any(module.training for module in supernet.net[0].modules())
    assert supernet.net[1].training
    net = extract(supernet, supernet.space.smallest)
    assert all(p.dtype == torch.float64 for p in net.parameters())
    assert not net.get_parameter("1.0.weight").requires_grad
    assert net.get_parameter("1.1.weight").requires_grad


def test_no_random_number_is_drawn() -> None:
    for name in NETWORKS:
        model = NETWORKS[name][0]()
        before = torch.get_rng_state()
        make_elastic(model, example=X)
        assert torch.equal(torch.get_rng_state(), before)


def test_each_kind_of_choice_can_be_left_out() -> None:
    def kinds(**wishes: object) -> set[str]:
        supernet, _ = make_elastic(MobileNet(), **{"example": X, "kernel": (3,), **wishes})  # type: ignore[arg-type]
        return {choice.name.rpartition(".")[2] for choice in supernet.space.choices}

    assert kinds() == {"depth", "width", "kernel"}
    assert kinds(depth=False) == {"width", "kernel"}
    assert kinds(width=None) == {"depth", "kernel"}
    assert kinds(kernel=None) == {"depth", "width"}
    assert kinds(depth=False, width=(), example=None) == {"kernel"}
    assert kinds(include="*.kernel") == {"kernel"}
    assert kinds(include=["*.kernel", "*.depth"], exclude="features.1.*") == {"kernel", "depth"}
    assert kinds(exclude=("*.width", "*.depth")) == {"kernel"}


def test_the_same_layer_built_by_hand_computes_the_same() -> None:
    conv = nn.Conv2d(3, 4, 5, padding=2)
    model = nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    supernet, _ = make_elastic(model, example=X, kernel=(3,), width=(0.5,))
    by_hand = ElasticConv2d(3, Choice("0.width", (2, 4)), Choice("0.kernel", (3, 5)))
    by_hand.load_state_dict(conv.state_dict())
    other = Supernet(by_hand)
    for arch in supernet.space:
        assert torch.equal(extract(supernet, arch).get_submodule("0")(X), other(X, arch))


# -- what can't be done --------------------------------------------------------------------------


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(*(conv_bn_relu(3, 3) for _ in range(3)))
        self.listed = nn.ModuleList(conv_bn_relu(3, 3) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.listed:
            x = block(x)
        y: Tensor = self.body(x) if x.sum() > 0 else -self.body(x)
        return y


def test_untraced_it_still_has_depths_and_kernels() -> None:
    supernet, report = make_elastic(Branching(), example=X, kernel=(1,))
    assert {c.name for c in supernet.space.choices if "kernel" not in c.name} == {"body.depth"}
    why = {line.module: " ".join(line.reasons) for line in report.lines}
    assert "width: the model can't be traced: TraceError" in why["body.0.0"]
    assert "the model can't be traced" in why["listed.0"]


BAD: dict[str, tuple[Callable[[], Any], dict[str, object], str]] = {
    "share 0": (ResNet, {"width": (0, 1)}, "a width share is 0"),
    "share 2": (ResNet, {"width": (0.5, 2)}, "a width share is 2"),
    "even": (ResNet, {"kernel": (3, 4)}, "kernel size 4 has no center"),
    "negative kernel": (ResNet, {"kernel": (-1,)}, "kernel size -1"),
    "one share": (ResNet, {"width": 0.5}, r"width is 0.5; give several shares"),
    "a word": (ResNet, {"width": "half"}, "width is 'half'; give several shares"),
    "words": (ResNet, {"width": ("half",)}, "width is .*; give several shares"),
    "one kernel": (ResNet, {"kernel": 3}, "kernel is 3; give several odd sizes"),
    "a class": (lambda: ResNet, {}, "was given the class ResNet"),
    "a list": (lambda: [ResNet()], {}, r"was given \[a ResNet\]"),
    "negative depth": (ResNet, {"depth": -1}, "depth is -1"),
    "no example": (ResNet, {"example": None}, "give `example`"),
    "wrong example": (
        ResNet,
        {"example": noise(3, 2, 8, 8)},
        r"on the example, of shape \(3, 2, 8, 8\): in 'stem.0' \(Conv2d\(3, 4,",
    ),
    "parallel": (lambda: nn.DataParallel(ResNet()), {}, "DataParallel; give the network inside"),
    "parallel inside": (lambda: nn.Sequential(nn.DataParallel(ResNet())), {}, "'0' is wrapped in"),
    "supernet": (lambda: Supernet(ResNet()), {}, "the model is a Supernet"),
    "choices": (lambda: converted("resnet")[1].net, {}, "ElasticConv2d, so the model holds"),
    "no layers": (nn.ReLU, {}, "it has no layers with weights"),
    "nothing left": (ResNet, {"include": "x.*"}, "(?s)stem.0 .*matches nothing in `include`"),
    "nothing smaller": (
        lambda: nn.Conv2d(3, 1, 1),
        {"kernel": (3,)},
        "(?s)nothing to choose.*the model itself .*kernel: of .* none is smaller than 1",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_the_error_says_what_is_wrong(name: str) -> None:
    build, wishes, message = BAD[name]
    with pytest.raises(SpaceError, match=message):
        make_elastic(build(), **{"example": X, **wishes})  # type: ignore[arg-type]


# -- the contract of choice modules --------------------------------------------------------------


class _Contract(ChoiceModuleContract):
    most = 6
    name = ""

    def build(self) -> nn.Module:
        return converted(self.name)[1].net

    def example(self) -> Tensor:
        return X


class TestDenseNet(_Contract):
    name = "densenet"

    def test_extracted_is_plain(self) -> None:
        """The model's own class remains; see above."""


class TestConvNeXt(_Contract):
    name = "convnext"

    def test_extracted_is_plain(self) -> None:
        """The model's own class remains; see above."""


class TestPlainStack(_Contract):
    name = "plain stack"
