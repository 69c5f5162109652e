import os
import pickle
import random
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, strategies as st

from supernet.errors import SpaceError
from supernet.space import Architecture, Choice, SearchSpace

SPACE = SearchSpace((Choice("depth", (1, 2, 3)), Choice("op", ("conv3", "conv5"))))

OPTIONS = st.dictionaries(st.text(max_size=3), st.one_of(st.integers(), st.text(max_size=3)))


@given(OPTIONS, st.randoms(use_true_random=False))
def test_an_architecture_is_the_same_in_any_order(options: dict[str, Any], rng: Any) -> None:
    items = list(options.items())
    rng.shuffle(items)
    arch, shuffled = Architecture(options), Architecture(dict(items))
    assert arch == shuffled
    assert hash(arch) == hash(shuffled)
    assert list(arch) == sorted(options)
    assert repr(arch) == repr(shuffled)
    assert dict(arch) == options


def test_an_architecture_does_not_change() -> None:
    options: dict[str, int | str] = {"depth": 1}
    arch = Architecture(options)
    options["depth"] = 2
    assert arch["depth"] == 1
    assert arch.but(depth=3) == Architecture({"depth": 3})
    assert arch["depth"] == 1
    with pytest.raises(TypeError):
        arch["depth"] = 2  # type: ignore[index]
    with pytest.raises(AttributeError):
        arch.depth = 2  # type: ignore[attr-defined]


def test_restricting_keeps_what_is_asked_for() -> None:
    arch = Architecture({"a": 1, "b": 2, "c": 3})
    assert arch.restrict(["c", "a"]) == Architecture({"a": 1, "c": 3})
    assert arch.restrict([]) == Architecture()


def test_an_architecture_survives_the_way_to_another_process() -> None:
    """Hashes of strings differ from process to process; one that is remembered must not travel."""
    arch = Architecture({"op": "conv3", "depth": 2})
    code = (
        "import pickle, sys; from supernet.space import Architecture;"
        "sys.stdout.buffer.write(pickle.dumps(Architecture({'op': 'conv3', 'depth': 2})))"
    )
    for seed in ("1", "2"):
        sent = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        assert {arch: "found"}[pickle.loads(sent)] == "found"


def test_a_space_lists_every_architecture_once() -> None:
    archs = list(SPACE)
    assert len(archs) == len(set(archs)) == SPACE.size == 6
    assert [arch.label for arch in archs] == [
        f"({depth}, {op})" for depth in (1, 2, 3) for op in ("conv3", "conv5")
    ]
    assert archs[0] == SPACE.smallest
    assert archs[-1] == SPACE.largest
    for arch in archs:
        SPACE.validate(arch)


def test_no_choices_are_one_architecture() -> None:
    assert list(SearchSpace()) == [Architecture()]
    assert SearchSpace().size == 1


def test_the_size_may_exceed_what_len_can_count() -> None:
    space = SearchSpace(tuple(Choice(f"c{i}", tuple(range(10))) for i in range(30)))
    assert space.size == 10**30


def test_sampling_is_even_and_reproducible() -> None:
    rng = random.Random(0)
    counts = Counter(SPACE.sample(rng) for _ in range(6000))
    chi_square = sum((counts[arch] - 1000) ** 2 / 1000 for arch in SPACE)
    assert chi_square < 20.5  # 5 degrees of freedom: one seed in a thousand would be above
    draws = [[SPACE.sample(rng) for _ in range(9)] for rng in (random.Random(7), random.Random(7))]
    assert draws[0] == draws[1]


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ({"op": "conv3"}, r"says nothing about 'depth'.*\(1, 2, 3\)"),
        ({"depth": 1}, r"says nothing about 'op'"),
        ({"depth": 4, "op": "conv3"}, r"'depth' is 4, which is none of \(1, 2, 3\)"),
        ({"depth": "1", "op": "conv3"}, r"'depth' is '1', which is none of"),
        ({"depth": True, "op": "conv3"}, r"'depth' is True, which is none of"),
        ({"depth": 1.0, "op": "conv3"}, r"'depth' is 1.0, which is none of"),
        ({"depth": 1, "op": "conv7"}, r"'op' is 'conv7', which is none of"),
        ({"depth": 1, "op": "conv3", "width": 8}, r"the space lacks: \['width'\]"),
    ],
)
def test_what_is_not_in_the_space_is_named(arch: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        SPACE.validate(Architecture(arch))


def test_malformed_spaces_are_refused() -> None:
    with pytest.raises(SpaceError, match="'depth' has no options"):
        Choice("depth", ())
    with pytest.raises(SpaceError, match="'depth' repeats an option"):
        Choice("depth", (1, 1))
    with pytest.raises(SpaceError, match=r"share a name: \['depth'\]"):
        SearchSpace((Choice("depth", (1, 2)), Choice("depth", (1, 3))))
