import numpy as np
import pytest

from supernet.errors import SettingsError
from supernet.space import SearchSpace
from supernet.strategies.encoding import EncodedSpace, keys_of
from tests.strategies.problems import NESTED, PLAIN


@pytest.mark.parametrize("space", [NESTED, PLAIN, SearchSpace()])
def test_rows_are_architectures(space: SearchSpace) -> None:
    encoded, rng = EncodedSpace(space), np.random.default_rng(0)
    rows = encoded.draw(50, rng)
    archs = encoded.decode(rows)
    assert all(space.canonical(arch) == arch for arch in archs)
    assert (encoded.encode(archs) == rows).all()
    for arch, counts in zip(archs, encoded.active(rows), strict=True):
        named = tuple(name for name, is_in in zip(encoded.names, counts, strict=True) if is_in)
        assert named == space.active(arch)


def test_all_rows_are_listed_in_order() -> None:
    encoded = EncodedSpace(NESTED)
    rows = encoded.list_all(1_000)
    assert rows is not None
    assert encoded.decode(rows) == list(NESTED)
    assert encoded.list_all(NESTED.size - 1) is None
    assert EncodedSpace(PLAIN).list_all(50_000) is None


def test_only_allowed_options_come() -> None:
    encoded, rng = EncodedSpace(NESTED, {"depth": [1, 2], "kernel3": [2]}), np.random.default_rng(0)
    rows = encoded.draw(200, rng)
    for _ in range(30):
        rows = encoded.mutate(rows, rng, steps=2)
        rows = encoded.cross(rows, rows[rng.permutation(200)], rng)
        assert encoded.permits(rows).all()
        for arch in encoded.decode(rows):
            assert arch["depth"] != 1
            assert arch["kernel3"] == (7 if arch["depth"] == 3 else 3)
    listed = encoded.list_all(1_000)
    assert listed is not None
    assert encoded.permits(listed).all()
    assert set(keys_of(rows)) <= set(keys_of(listed))
    with pytest.raises(SettingsError, match="leave no option of 'depth'"):
        EncodedSpace(NESTED, {"depth": []})


def test_a_mutation_changes_what_counts() -> None:
    encoded, rng = EncodedSpace(NESTED), np.random.default_rng(0)
    rows = encoded.draw(300, rng)
    changed = encoded.mutate(rows, rng)
    assert (changed != rows).any(axis=1).all()
    assert (encoded.canonical(changed) == changed).all()


def test_the_product_of_vectors_counts_what_agrees() -> None:
    encoded, rng = EncodedSpace(NESTED), np.random.default_rng(0)
    rows = encoded.draw(20, rng)
    vectors, active = encoded.one_hot(rows), encoded.active(rows)
    for a in range(20):
        for b in range(20):
            same = (rows[a] == rows[b]) & (active[a] == active[b])
            assert vectors[a] @ vectors[b] == same.sum()
