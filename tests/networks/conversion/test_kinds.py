"""Laws of converted networks of every kind: what is chosen, what is computed, what it is called."""

import copy
import warnings

import pytest
import torch
from torch import Tensor, nn

from supernet import sharing
from supernet.errors import SharingWarning
from supernet.evaluation.batchnorm import calibrate, recalibrate
from supernet.networks.conversion import make_elastic
from supernet.networks.conversion.inputs import Inputs
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.space import Architecture
from tests.conftest import stir
from tests.networks.conversion.kinds import KINDS
from tests.networks.conversion.networks import NETWORKS, X


def converted(name: str) -> tuple[nn.Module, Supernet, Inputs]:
    if name in NETWORKS:
        model, example = stir(NETWORKS[name][0]()), X
    else:
        model, example = stir(KINDS[name].build()), KINDS[name].example
    for module in model.train().modules():
        module.training = not isinstance(module, nn.Dropout)
    supernet, _ = make_elastic(model, example=example, width=(0.5,), kernel=None)
    return model, supernet, Inputs.of(example, model)


def some(supernet: Supernet, most: int = 12) -> list[Architecture]:
    """Return architectures spread over a space, the smallest and the largest among them."""
    space = supernet.space
    places = {place * (space.size - 1) // most for place in range(most + 1)}
    found = dict.fromkeys(space.at(place) for place in sorted(places))
    return list(dict.fromkeys((*found, space.smallest, space.largest)))


@pytest.mark.sampled(5)
@pytest.mark.parametrize("name", KINDS)
def test_what_is_chosen(name: str) -> None:
    kind = KINDS[name]
    supernet, report = make_elastic(kind.build(), example=kind.example, width=(0.5,), kernel=None)
    assert {c.name for c in report.choices} == kind.names
    assert {c.name for c in supernet.space.choices} == kind.names
    assert "with less" not in str(report)  # the rules know; nothing had to be given up


@torch.no_grad()
@pytest.mark.sampled(5)
@pytest.mark.parametrize("name", KINDS)
def test_the_largest_is_the_model_and_all_can_be_extracted(name: str) -> None:
    model, supernet, inputs = converted(name)
    expected = inputs.run(copy.deepcopy(model))
    assert torch.equal(inputs.run(supernet, supernet.space.largest), expected)
    assert torch.equal(inputs.run(extract(supernet, supernet.space.largest)), expected)
    for arch in some(supernet):
        for training in (True, False):
            net = extract(supernet, arch).train(training)
            if not training and any(
                isinstance(m, nn.modules.batchnorm._BatchNorm) for m in net.modules()
            ):
                continue  # it has no statistics yet
            assert torch.equal(inputs.run(net), inputs.run(supernet.train(training), arch))
        for module in extract(supernet, arch).modules():
            assert not type(module).__module__.startswith("supernet.")


@torch.no_grad()
@pytest.mark.sampled(5)
@pytest.mark.parametrize("name", KINDS)
def test_shared_equals_one_by_one(name: str) -> None:
    _, supernet, inputs = converted(name)
    archs = some(supernet)
    given = inputs.map(torch.clone)
    with warnings.catch_warnings():
        warnings.simplefilter("error" if KINDS[name].shares else "ignore", SharingWarning)
        together = sharing.outputs(supernet, given.args[0], archs, **given.kwargs)
    for arch, found in zip(archs, together, strict=True):
        assert torch.equal(found, inputs.run(supernet, arch))


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    "name", [name for name, kind in KINDS.items() if isinstance(kind.example, Tensor)]
)
def test_calibrating_equals_recalibrating(name: str) -> None:
    _, supernet, inputs = converted(name)
    (x,) = inputs.args
    archs = some(supernet, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error" if KINDS[name].shares else "ignore", SharingWarning)
        statistics = calibrate(supernet, archs, [x, x[:2]])
        supernet.eval()
        found = {arch: group.value for group in statistics.run(x) for arch in group.archs}
    for arch in archs:
        net = extract(supernet, arch)
        recalibrate(net, [x, x[:2]])
        assert torch.equal(net.eval()(x), found[arch])


@pytest.mark.sampled(5)
@pytest.mark.parametrize("name", [*KINDS, *NETWORKS])
def test_names_of_weights_are_those_of_the_model(name: str) -> None:
    model, supernet, _ = converted(name)
    given = model.state_dict()
    largest = extract(supernet, supernet.space.largest).state_dict()
    assert list(largest) == list(given)
    for key, value in largest.items():
        if not key.endswith(("running_mean", "running_var", "num_batches_tracked")):
            assert torch.equal(value, given[key])
    for arch in some(supernet):
        assert extract(supernet, arch).state_dict().keys() <= given.keys()
    # Into the model's own class.
    copy.deepcopy(model).load_state_dict(largest)


@torch.no_grad()
@pytest.mark.sampled(5)
@pytest.mark.parametrize("name", [*KINDS, *NETWORKS])
def test_a_supernet_loads_what_was_saved_of_the_model(name: str) -> None:
    model, supernet, inputs = converted(name)
    other = stir(copy.deepcopy(model), seed=1)
    expected = inputs.run(copy.deepcopy(other))
    for load in (supernet.load_state_dict, supernet.net.load_state_dict):
        stir(supernet, seed=2)
        state = other.state_dict()
        before = list(state)
        assert not any(load(state))
        assert list(state) == before
        assert torch.equal(inputs.run(supernet, supernet.space.largest), expected)
    # Its own state still loads, also that of a copy.
    for net in (supernet, copy.deepcopy(supernet)):
        saved = copy.deepcopy(supernet.state_dict())
        stir(net, seed=3)
        net.load_state_dict(saved)
        assert torch.equal(inputs.run(net, supernet.space.largest), expected)
