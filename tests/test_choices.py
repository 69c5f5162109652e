from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supernet.choices import ChoiceModule, Depth, OneOf
from supernet.errors import NoArchitectureError, SpaceError
from supernet.space import Architecture
from supernet.supernet import Supernet
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
        assert torch.equal(Supernet(depth)(x, arch), expected)
        expected = blocks[count](expected) if count < 3 else expected


def test_the_chosen_operation_runs_and_no_other() -> None:
    operations = {"skip": nn.Identity(), "small": nn.Linear(3, 3), "large": nn.Linear(3, 3)}
    one_of = OneOf("o", operations)
    assert [(choice.name, choice.options) for choice in one_of.choices] == [
        ("o.op", ("skip", "small", "large"))
    ]
    x, supernet = noise(2, 3), Supernet(one_of)
    for name, operation in operations.items():
        arch = Architecture({"o.op": name})
        assert one_of.path(arch) == (operation,)
        assert torch.equal(supernet(x, arch), operation(x))


def test_options_may_have_any_name() -> None:
    names = ("keys", "conv.3x3", "training", "", "forward")
    supernet = Supernet(OneOf("o", {name: nn.Linear(3, 3) for name in names}))
    outputs = [supernet(noise(2, 3), Architecture({"o.op": name})) for name in names]
    assert not any(torch.equal(a, b) for i, a in enumerate(outputs) for b in outputs[:i])


class Twice(nn.Module):
    def forward(self, pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return 2 * pair[0], 2 * pair[1]


def test_a_value_may_be_more_than_a_tensor() -> None:
    choices = (OneOf("m", {"skip": nn.Identity(), "twice": Twice()}), Depth("m", [Twice()]))
    for module in choices:
        supernet = Supernet(module)
        with supernet.activate(supernet.space.largest):
            assert supernet.net((1, 2)) == (2, 4)


@pytest.mark.parametrize("module", [Depth("d", [nn.Tanh()]), OneOf("o", {"tanh": nn.Tanh()})])
def test_there_is_no_default_and_the_error_names_the_way_out(module: ChoiceModule) -> None:
    way_out = r"no active architecture.*supernet\(x, arch\).*supernet\.activate"
    with pytest.raises(NoArchitectureError, match=way_out):
        module(noise(2, 3))
    # A forward of somebody's own that reads it gets no silent None either.
    with pytest.raises(NoArchitectureError, match=way_out):
        _ = module.active
    supernet = Supernet(module)
    with supernet.activate(supernet.space.largest):
        assert module.active == supernet.space.largest
    with pytest.raises(NoArchitectureError, match=way_out):
        _ = module.active


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


ONE = nn.Identity()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "'o' has no options"),
        ({3: nn.Identity()}, "'o' has an option called 3; names must be strings, such as '3'"),
        ({"skip": None}, r"'o' has None as its option 'skip'; .*`nn\.Identity\(\)`"),
        ({"relu": nn.ReLU}, "'o' has <class .*ReLU'> as its option 'relu'; it must be a module"),
        (
            {"a": ONE, "b": nn.Identity(), "c": ONE},
            "'o' has one and the same module as its options 'a' and 'c', .* build one for each",
        ),
    ],
)
def test_impossible_options_are_refused(options: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=f"OneOf {message}"):
        OneOf("o", options)


def test_they_print_their_names_and_options() -> None:
    assert "'d', 1 to 2 blocks" in repr(Depth("d", [nn.Identity(), nn.Identity()]))
    one_of = OneOf("o", {"skip": nn.Identity(), "tanh": nn.Tanh()})
    assert "OneOf(\n  'o', one of 'skip', 'tanh'\n" in repr(one_of)
