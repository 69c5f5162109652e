import pytest
import torch
from torch import nn

from supernet.choices import Depth
from supernet.errors import NoArchitectureError, SpaceError
from supernet.space import Architecture
from tests.conftest import noise


def test_the_first_so_many_blocks_run_in_order() -> None:
    blocks = [nn.Linear(3, 3) for _ in range(3)]
    depth = Depth("d", blocks, shortest=0)
    assert [(choice.name, choice.options) for choice in depth.choices] == [
        ("d.depth", (0, 1, 2, 3))
    ]
    x = expected = noise(2, 3)
    for count in range(4):
        arch = Architecture({"d.depth": count})
        assert depth.path(arch) == tuple(blocks[:count])
        depth.active = arch
        assert torch.equal(depth(x), expected)
        expected = blocks[count](expected) if count < 3 else expected


def test_there_is_no_default_and_the_error_names_the_way_out() -> None:
    depth = Depth("d", [nn.Identity()])
    with pytest.raises(NoArchitectureError, match=r"supernet\(x, arch\).*supernet\.activate"):
        depth(noise(2, 3))


@pytest.mark.parametrize(
    ("blocks", "shortest", "message"),
    [
        (0, 0, "'d' has no blocks"),
        (2, 3, "'d' can't run at least 3 of 2 blocks; `shortest` must be 0 to 2"),
        (2, -1, "'d' can't run at least -1 of 2 blocks"),
    ],
)
def test_impossible_depths_are_refused(blocks: int, shortest: int, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        Depth("d", [nn.Identity() for _ in range(blocks)], shortest=shortest)


def test_it_prints_its_name_and_range() -> None:
    assert "'d', 1 to 2 blocks" in repr(Depth("d", [nn.Identity(), nn.Identity()]))
