"""Laws that hold for any network: the same bits, the same gradients, only distinct work."""

import pytest
from hypothesis import given, settings

from supernet import sharing
from tests.conftest import noise
from tests.sampling import examples
from tests.sharing.networks import (
    MODES,
    PLANS,
    Network,
    Plan,
    assert_same,
    assert_same_gradients,
    one_by_one,
    sharing_warnings,
    some_archs,
)


@pytest.mark.parametrize("training", [True, False])
@settings(max_examples=examples(35))
@given(PLANS)
def test_outputs_are_the_same_bits_and_only_distinct_work_is_done(
    training: bool, plan: list[Plan]
) -> None:
    network = Network(plan)
    supernet = network.supernet.train(training)
    archs, x = some_archs(supernet), noise(5, 3)
    expected = one_by_one(supernet, x, archs)
    network.counted_runs()
    for mode in MODES.values():
        with mode(), sharing_warnings() as messages:
            assert_same(sharing.outputs(supernet, x, archs), expected)
            assert network.counted_runs() == network.expected_runs(archs)
        assert all("By" in message or "bool" in message for message in messages)


@settings(max_examples=examples(25))
@given(PLANS)
def test_gradients_are_the_sum_of_those_one_by_one(plan: list[Plan]) -> None:
    supernet = Network(["linear", *plan]).supernet.double()
    with sharing_warnings():
        assert_same_gradients(supernet, noise(5, 3).double(), some_archs(supernet, most=8))


@settings(max_examples=examples(25))
@given(PLANS)
def test_nothing_runs_that_no_architecture_needs(plan: list[Plan]) -> None:
    network = Network(plan)
    for archs in ([network.supernet.space.smallest], some_archs(network.supernet, most=3)):
        with sharing_warnings():
            sharing.run(network.supernet, noise(5, 3), archs)
        assert network.counted_runs() == network.expected_runs(archs)


@settings(max_examples=examples(25))
@given(PLANS)
def test_the_order_of_architectures_changes_nothing(plan: list[Plan]) -> None:
    supernet = Network(plan).supernet
    archs, x = some_archs(supernet, most=12), noise(5, 3)
    with sharing_warnings():
        there = sharing.outputs(supernet, x, archs)
        back = sharing.outputs(supernet, x, archs[::-1])
    assert_same(there, back[::-1])
