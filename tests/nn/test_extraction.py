import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from supernet.errors import SpaceError
from supernet.nn.choices import Depth, OneOf
from supernet.nn.elastic import ElasticLinear
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.space import Architecture, Choice
from tests.conftest import block, nested, nine, noise, plain_net, stir

X = {"nine": noise(4, 1, 8, 8), "nested": noise(6, 4), "mixed": noise(6, 4)}


def mixed(norm: Callable[[int], nn.Module] = nn.BatchNorm1d) -> Supernet:
    """Operations and depths in one another, operations in operations, and one that does nothing."""

    def cell() -> nn.Sequential:
        return nn.Sequential(nn.Linear(4, 4), norm(4), nn.Dropout(0.3), nn.Tanh())

    inner = OneOf("inner", {"narrow": cell(), "wide": nn.Sequential(cell(), cell())})
    deep = Depth("deep", [cell(), cell()], shortest=0)
    options = {"skip": nn.Identity(), "cell": cell(), "one": inner, "deep": deep}
    outer = Depth("outer", [OneOf("first", options), OneOf("second", {"a": cell(), "b": cell()})])
    return Supernet(stir(nn.Sequential(outer, OneOf("last", {"skip": nn.Identity(), "c": cell()}))))


MAKE: dict[str, Callable[[], Supernet]] = {"nine": nine, "nested": nested, "mixed": mixed}


@pytest.mark.parametrize("name", MAKE)
def test_it_computes_what_the_supernet_does_over_the_whole_space(name: str) -> None:
    supernet, x = MAKE[name]().train(), X[name]
    for arch in supernet.space:
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)  # for dropout
            expected = supernet(x, arch)
            torch.manual_seed(0)
            assert torch.equal(extract(supernet, arch).train()(x), expected)


def test_it_computes_the_same_in_evaluation_mode_too() -> None:
    # Not with batch norms: a supernet's have no statistics to evaluate with.
    supernet, x = mixed(nn.LayerNorm).eval(), X["mixed"]
    for arch in supernet.space:
        assert torch.equal(extract(supernet, arch).eval()(x), supernet(x, arch))


@pytest.mark.parametrize("name", MAKE)
def test_nothing_of_ours_is_inside(name: str) -> None:
    supernet = MAKE[name]()
    for arch in supernet.space:
        net = extract(supernet, arch)
        classes = {cls for module in net.modules() for cls in type(module).__mro__}
        assert not {cls for cls in classes if cls.__module__.startswith("supernet")}


def test_only_what_an_architecture_runs_is_inside() -> None:
    supernet = nine()
    for arch in supernet.space:
        convolutions = [m for m in extract(supernet, arch).modules() if isinstance(m, nn.Conv2d)]
        assert len(convolutions) == 2 + int(arch["block1.depth"]) + int(arch["block2.depth"])


def test_the_chosen_operation_takes_the_place_of_all() -> None:
    supernet = Supernet(nn.Sequential(OneOf("o", {"linear": nn.Linear(4, 4), "tanh": nn.Tanh()})))
    linear = extract(supernet, supernet.space.smallest)
    assert list(linear.state_dict()) == ["0.weight", "0.bias"]
    assert isinstance(extract(supernet, supernet.space.largest).get_submodule("0"), nn.Tanh)


@pytest.mark.parametrize("name", ["nested", "mixed"])
def test_it_shares_no_storage(name: str) -> None:
    supernet, x = MAKE[name]().eval(), X[name]
    for arch in supernet.space:
        theirs = {p.untyped_storage().data_ptr() for p in supernet.parameters()}
        net = extract(supernet, arch)
        ours = {t.untyped_storage().data_ptr() for t in [*net.parameters(), *net.buffers()]}
        assert not ours & theirs
        before = supernet(x, arch)
        for parameter in net.parameters():
            nn.init.zeros_(parameter)
        assert torch.equal(supernet(x, arch), before)


def test_the_supernet_is_not_changed() -> None:
    supernet = nested()
    modules, before = list(supernet.modules()), copy.deepcopy(supernet.state_dict())
    extract(supernet, supernet.space.smallest)
    assert list(supernet.modules()) == modules
    assert before.keys() == supernet.state_dict().keys()
    assert not list(supernet.buffers())


def test_its_batch_norms_are_new() -> None:
    supernet = Supernet(
        nn.Sequential(
            nn.Linear(4, 4), nn.BatchNorm1d(4, affine=False), Depth("d", [block(), block()])
        )
    ).double()
    net = extract(supernet, supernet.space.largest)
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm1d)]
    assert len(norms) == 3
    for norm in norms:
        assert norm.track_running_stats
        for own, new in zip(norm.buffers(), nn.BatchNorm1d(4).double().buffers(), strict=True):
            assert (own.shape, own.dtype) == (new.shape, new.dtype)
        assert norm.eval()(torch.ones(2, 4).double()).isnan().all()  # it says nothing yet


def test_a_module_used_twice_is_plain_at_both_places() -> None:
    depth = Depth("d", [nn.Linear(4, 4), nn.Linear(4, 4)])
    supernet = Supernet(nn.Sequential(depth, nn.Tanh(), depth))
    for arch in supernet.space:
        net = extract(supernet, arch)
        assert torch.equal(net(X["nested"]), supernet(X["nested"], arch))
        assert len(list(net.parameters())) == 2 * int(arch["d.depth"])  # still the same weights


def test_an_operation_chosen_twice_is_still_one() -> None:
    one_of = OneOf("o", {"small": nn.Linear(4, 4), "large": nn.Linear(4, 4)})
    supernet = Supernet(nn.Sequential(one_of, nn.Tanh(), one_of))
    for arch in supernet.space:
        net = extract(supernet, arch)
        assert torch.equal(net(X["nested"]), supernet(X["nested"], arch))
        assert net.get_submodule("0") is net.get_submodule("2")


def test_an_elastic_layer_at_two_places_is_still_one() -> None:
    width = Choice("w", (2, 4))
    layer = ElasticLinear(width, width)
    supernet = Supernet(nn.Sequential(layer, nn.Sequential(nn.Tanh(), layer)))
    for arch in supernet.space:
        x = X["nested"][:, : int(arch["w"])]
        net = extract(supernet, arch)
        assert torch.equal(net(x), supernet(x, arch))
        assert net.get_submodule("0") is net.get_submodule("1.1")


def test_weights_that_elastic_layers_share_stay_shared() -> None:
    width = Choice("w", (2, 4))
    first, second = ElasticLinear(4, width), ElasticLinear(4, width)
    second.weight = first.weight
    plain = nn.Linear(4, 4)
    plain.weight = first.weight
    supernet = Supernet(nn.ModuleDict({"first": first, "second": second, "plain": plain}))
    for arch in supernet.space:
        net = extract(supernet, arch)
        weights = [net.get_parameter(f"{name}.weight") for name in ("first", "second", "plain")]
        assert weights[0] is weights[1]
        assert (weights[0] is weights[2]) == (arch["w"] == 4)


def test_a_plain_network_keeps_its_statistics() -> None:
    net = stir(plain_net())
    net(X["nine"])
    copied = extract(Supernet(net), Architecture())
    assert copied.state_dict().keys() == net.state_dict().keys()
    for key, value in copied.state_dict().items():
        assert torch.equal(value, net.state_dict()[key])


def test_what_is_not_in_the_space_is_refused() -> None:
    supernet = nine()
    with pytest.raises(SpaceError, match=r"'block2\.depth' is 9"):
        extract(supernet, supernet.space.largest.but(**{"block2.depth": 9}))
