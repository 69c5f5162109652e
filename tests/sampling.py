"""Which cases `make test` runs where there are very many: a fixed sample; with --all, all.

A test marked `sampled` runs one in eight of its cases, `sampled(n)` one in n, but at least one.
Which these are follows from their names alone: the same on every machine and for every order of
tests. A test marked `slow` is run with --all only. A test that goes through random networks, or all
moments at which something may be stopped, asks with `examples(n)` how many and with `some(moments)`
which: a third, always the same.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence

import pytest

SHARE = 8
_THIRD = 3

#: Whether --all was given.
everything = False


def some(moments: range) -> range:
    """Return at which moments a test is to try what it would try at all of them with --all."""
    return moments if everything else moments[::_THIRD]


def examples(most: int) -> int:
    """Return how many random examples a test is to try that would try so many with --all."""
    return most if everything else -(-most // _THIRD)


def chosen(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Return the tests that are run without --all, in their order."""
    families: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        families[item.nodeid.partition("[")[0]].append(item)
    kept = {item for family in families.values() for item in _sample(family)}
    return [item for item in items if item in kept]


def _sample(family: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Return some of the cases of one test."""
    quick = [item for item in family if item.get_closest_marker("slow") is None]
    always = [item for item in quick if item.get_closest_marker("sampled") is None]
    rest = [item for item in quick if item.get_closest_marker("sampled")]
    if not rest:
        return always
    mark = rest[0].get_closest_marker("sampled")
    share = mark.args[0] if mark and mark.args else SHARE
    drawn = sorted(rest, key=lambda item: hashlib.sha256(item.nodeid.encode()).digest())
    return [*always, *drawn[: -(-len(rest) // share)]]
