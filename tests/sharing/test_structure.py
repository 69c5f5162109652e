"""Structures of values that are not there yet."""

from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, strategies as st

from supernet.sharing.structure import Ref, key, leaves, refs, replace


class Point(NamedTuple):
    x: Any
    y: Any


CONSTANTS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.sampled_from([0.0, 1.0, 2.5, "a", "b", b"a", 1j]),
    st.sampled_from([torch.float32, torch.float64, torch.strided]),
)
STRUCTURES = st.recursive(
    st.one_of(CONSTANTS, st.builds(Ref, st.integers(0, 3))),
    lambda parts: st.one_of(
        st.lists(parts, max_size=3),
        st.lists(parts, max_size=3).map(tuple),
        st.dictionaries(st.sampled_from("abc"), parts, max_size=3),
        st.builds(Point, parts, parts),
        st.builds(slice, parts, parts, parts),
    ),
    max_leaves=8,
)


def shown(structure: Any) -> str:
    return f"{type(structure)} {structure!r}"


@given(STRUCTURES)
def test_replacing_nothing_changes_nothing_but_the_containers(structure: Any) -> None:
    assert shown(replace(structure, Ref, lambda ref: ref)) == shown(structure)
    assert shown(replace(structure, bytearray, lambda _: 1 / 0)) == shown(structure)


@given(STRUCTURES)
def test_references_are_met_in_the_same_order(structure: Any) -> None:
    met: list[Ref] = []
    replace(structure, Ref, met.append)
    assert met == list(refs(structure)) == list(leaves(structure, Ref))


@given(STRUCTURES)
def test_replaced_references_are_those(structure: Any) -> None:
    moved = replace(structure, Ref, lambda ref: Ref(ref.index + 1))
    assert [ref.index - 1 for ref in refs(moved)] == [ref.index for ref in refs(structure)]


@given(STRUCTURES, STRUCTURES)
def test_keys_are_equal_for_equal_structures_and_for_no_others(a: Any, b: Any) -> None:
    assert hash(key(a)) == hash(key(replace(a, Ref, lambda ref: Ref(ref.index))))
    assert key(a) == key(replace(a, Ref, lambda ref: Ref(ref.index)))
    assert (key(a) == key(b)) == (shown(a) == shown(b))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (1, 1.0),
        (1, True),
        (0, False),
        ((1,), [1]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (Point(1, 2), (1, 2)),
        ("1", 1),
        (None, "None"),
        (slice(1), slice(1, None)),
    ],
)
def test_what_looks_alike_is_not_the_same(a: Any, b: Any) -> None:
    assert key(a) != key(b)


def test_objects_are_equal_to_themselves_alone_and_kept_alive() -> None:
    a, b = torch.ones(2), torch.ones(2)
    assert key((a, 1)) == key((a, 1))
    assert key(a) != key(b)
    assert hash(key({"x": [a]})) == hash(key({"x": [a]}))
