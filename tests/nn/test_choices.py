from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supernet.errors import NoArchitectureError, SpaceError
from supernet.nn.choices import ChoiceChain, ChoiceModule, Depth, OneOf, to_plain
from supernet.nn.extraction import extract
from supernet.nn.supernet import Supernet
from supernet.space import Architecture, Choice
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


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        (nn.Linear(2, 2), "'d' is given one module; give a list of blocks"),
        ([nn.Identity(), 3], "block 1 of Depth 'd' is 3; it must be a torch.nn.Module"),
        ([nn.ReLU], "block 0 of Depth 'd' is <class"),
    ],
)
def test_what_are_no_blocks_is_said(blocks: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        Depth("d", blocks)


def test_blocks_may_come_in_a_module_that_is_a_list() -> None:
    blocks = [nn.Linear(2, 2), nn.Tanh()]
    both: list[Any] = [nn.Sequential(*blocks), nn.ModuleList(blocks)]
    for many in both:
        assert list(Depth("d", many).blocks) == blocks


ONE = nn.Identity()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "'o' has no options"),
        ([nn.Identity()], "'o' is given a list; give a dict of names and modules"),
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


def test_a_block_that_changes_the_shape_is_named_when_it_runs() -> None:
    supernet = Supernet(Depth("d", [nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2)]))
    assert supernet(noise(2, 3), Architecture({"d.depth": 2})).shape == (2, 3)
    message = (
        r"block 2 of Depth 'd' turns a tensor of shape \(2, 3\) into one of \(2, 2\); .*before or"
    )
    with pytest.raises(SpaceError, match=message):
        supernet(noise(2, 3), Architecture({"d.depth": 3}))


def test_with_an_example_it_is_named_at_once() -> None:
    def stage(last: int) -> list[nn.Module]:
        inner = Depth("inner", [nn.Linear(3, 3), nn.Linear(3, last)], shortest=0)
        return [nn.Linear(3, 3), nn.Sequential(nn.BatchNorm1d(3), inner)]

    for example in (noise(2, 3), torch.empty(2, 3, device="meta")):
        blocks = stage(3)
        depth = Depth("d", blocks, example=example)
        # Trying is not running: everything is as it was.
        assert list(depth.blocks) == blocks
        assert all(
            m.training and (not isinstance(m, ChoiceModule) or not m._active)
            for m in depth.modules()
        )
        assert not depth.get_buffer("blocks.1.0.num_batches_tracked")
        assert Supernet(depth).space.size == 4
        with pytest.raises(
            SpaceError, match=r"block 1 of Depth 'd' .* \(2, 3\) into one of \(2, 2\)"
        ):
            Depth("d", stage(2), example=example)


def test_an_example_that_blocks_cannot_run_on_is_refused() -> None:
    with pytest.raises(SpaceError, match=r"block 0 of Depth 'd' can't run on .* \(2, 5\): mat1"):
        Depth("d", [nn.Linear(3, 3)], example=noise(2, 5))


def test_a_plain_module_takes_the_place_of_each() -> None:
    blocks = [nn.Linear(3, 3), nn.Linear(3, 3)]
    depth, one_of = Depth("d", blocks), OneOf("o", {"tanh": nn.Tanh(), "first": blocks[0]})
    plain = to_plain(nn.ModuleList([depth, one_of]), Architecture({"d.depth": 2, "o.op": "first"}))
    chain, operation = plain.children()
    assert type(chain) is nn.Sequential
    assert list(chain) == blocks
    assert operation is blocks[0]


class Neither(ChoiceModule):
    @property
    def choices(self) -> tuple[Choice, ...]:
        return (Choice("n", (1, 2)),)


def test_a_module_that_does_not_say_what_it_runs_is_named() -> None:
    message = "Neither is no chain: it needs a `path`, or `forward` and `plain`"
    with pytest.raises(NotImplementedError, match=message):
        Neither().plain(Architecture({"n": 1}))


class Fork(ChoiceModule):
    """Says what it runs by a `path`, as a chain does."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Tanh(), nn.Sigmoid()

    @property
    def choices(self) -> tuple[Choice, ...]:
        return (Choice("fork", (1, 2)),)

    def path(self, arch: Architecture) -> tuple[nn.Module, ...]:
        return (self.first,) if arch["fork"] == 1 else (self.second,)


def test_a_choice_module_that_defines_a_path_is_a_chain() -> None:
    assert issubclass(Fork, ChoiceChain)
    supernet, x = Supernet(Fork()), noise(2, 3)
    first, second = supernet.space
    assert torch.equal(supernet(x, first), x.tanh())
    assert torch.equal(extract(supernet, second)(x), x.sigmoid())


def test_a_chain_without_a_path_or_with_a_forward_is_refused() -> None:
    class Pathless(ChoiceChain):
        @property
        def choices(self) -> tuple[Choice, ...]:
            return ()

    with pytest.raises(TypeError, match="path"):
        Pathless()  # type: ignore[abstract]
    with pytest.raises(TypeError, match="Both is a ChoiceChain, so it runs its `path`, but"):

        class Both(ChoiceChain):
            def forward(self, x: Any) -> Any:
                return x


def test_they_print_their_names_and_options() -> None:
    assert "'d', 1 to 2 blocks" in repr(Depth("d", [nn.Identity(), nn.Identity()]))
    one_of = OneOf("o", {"skip": nn.Identity(), "tanh": nn.Tanh()})
    assert "OneOf(\n  'o', one of 'skip', 'tanh'\n" in repr(one_of)
