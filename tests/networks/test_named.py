"""Networks by name: what is asked for is built, or a sentence says what is wrong with it."""

import math
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from supernet.errors import NetworkError
from supernet.networks.fitting import require_fit
from supernet.networks.named import (
    ZOO,
    NetworkName,
    build_network,
    check_network,
    keep_options,
    space_sha256,
)
from supernet.nn.supernet import Supernet
from supernet.space import Choice, SearchSpace
from tests.conftest import nine

OWN = """
import torch
from torch import nn

import supernet as sn
from helper import WIDTH


def build(shape, classes, seed, width=WIDTH):
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(shape[0] * shape[1] * shape[2], width),
        sn.Depth("body", [nn.Linear(width, width), nn.Tanh()]),
        nn.Linear(width, classes),
    )


def plain(shape, classes):
    return nn.Sequential(
        nn.Conv2d(shape[0], 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes),
    )


def whole(shape, classes, seed):
    return sn.Supernet(build(shape, classes, seed))


def number():
    return 3


def broken(shape):
    return shape["height"]


def wants(depth, shape):
    return nn.Linear(1, 1)


nothing = None
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with functions, and one beside it that it imports."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "helper", raising=False)
    (tmp_path / "helper.py").write_text("WIDTH = 5\n")
    (tmp_path / "my_net.py").write_text(OWN)
    return tmp_path / "my_net.py"


def built(name: str, **rest: Any) -> Supernet:
    wanted = NetworkName(name, **rest)
    return build_network(wanted, shape=(1, 8, 8), classes=3, seed=4).supernet


@pytest.mark.parametrize("name", ["mnist", "residual", "operations", "nasbench-macro"])
def test_the_zoo_goes_by_names(name: str) -> None:
    supernet = built(name)
    require_fit(supernet, (1, 8, 8))
    again = built(name)
    for one, other in zip(supernet.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_arguments_reach_the_function(own: Path) -> None:
    assert built("mnist", arguments=("widths=4,3", "longest=2")).space.size == 4
    assert built(f"{own}:build").net[1].out_features == 5  # type: ignore[index]
    supernet = built("my_net.py:build", arguments=("width=7",))
    assert supernet.net[1].out_features == 7  # type: ignore[index]
    assert supernet.net[3].out_features == 3  # type: ignore[index]
    assert built("my_net:whole").space.size == 2


def test_weights_come_from_the_seed_and_no_generator_is_touched(own: Path) -> None:
    before = torch.get_rng_state()
    one, again, other = (
        build_network(NetworkName("my_net.py:build"), shape=(1, 8, 8), classes=3, seed=seed)
        for seed in (1, 1, 2)
    )
    weights = [named.supernet.net[1].weight for named in (one, again, other)]  # type: ignore[index]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(torch.get_rng_state(), before)
    assert set(one.sources) == {"my_net.py"}


def test_a_plain_network_is_made_elastic(own: Path) -> None:
    wanted = NetworkName("my_net.py:plain", elastic="width=0.5:1.0,kernel=1:3")
    named = build_network(wanted, shape=(1, 8, 8), classes=3, seed=0)
    assert named.report is not None
    assert named.supernet.space.size == len(named.report.choices) ** 2 == 4


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (NetworkName("residul"), "no network 'residul'; did you mean residual"),
        (NetworkName("no_such.py:build"), "there is no file no_such.py"),
        (NetworkName("my_net.py"), r"names no function; write my_net.py:FUNCTION"),
        (NetworkName("my_net.py:bild"), "no 'bild'; did you mean 'build'"),
        (NetworkName("my_net.py:two words"), "can't be a function's name"),
        (NetworkName("wrong.py:build"), "wrong.py has a syntax error in line 2"),
        (NetworkName("zero.py:build"), "zero.py has a syntax error"),
        (NetworkName("folder.py:build"), "is not a regular file"),
        (NetworkName("mnist", arguments=("longest",)), "must be NAME=VALUE"),
        (NetworkName("mnist", arguments=("longest=1", "longest=2")), "'longest' twice"),
        (NetworkName("mnist", elastic="depth"), "has choices already"),
        (NetworkName("my_net.py:plain", elastic="deep"), "'deep' is none of depth, width, kernel"),
        (NetworkName("my_net.py:plain", elastic="width=x"), "must be numbers"),
        (NetworkName("my_net.py:plain", elastic="depth=0.5"), "depth takes one whole number"),
        (NetworkName("my_net.py:plain", elastic="kernel=nan"), "kernel takes whole numbers"),
        (NetworkName("mnist", keep=("block1.depth",)), "must be PATTERN=OPTION"),
    ],
)
def test_what_can_be_seen_is_found_before_anything_runs(
    wanted: NetworkName, words: str, own: Path
) -> None:
    (own.parent / "wrong.py").write_text("x = 1\ndef build(:\n")
    (own.parent / "zero.py").write_bytes(b"x = '\0'\n")
    (own.parent / "folder.py").mkdir()
    with pytest.raises(NetworkError, match=words):
        check_network(wanted)


@pytest.mark.parametrize(
    ("name", "rest", "words"),
    [
        ("mnist", {"arguments": ("longest=0",)}, None),
        ("mnist", {"arguments": ("width=3",)}, "takes no argument 'width'; did you mean 'widths'"),
        ("mnist", {"keep": ("nose*=1",)}, r"no choice matches 'nose\*'; there are block1.depth"),
        ("mnist", {"keep": ("block1.depth=9",)}, "block1.depth has no option '9'; it has 1, 2, 3"),
        ("my_net.py:plain", {}, "has no choices, so there is nothing to search"),
        ("my_net.py:build", {"elastic": "depth"}, "has choices already"),
        ("my_net.py:number", {}, "returns a value of type int; it must return a torch.nn.Module"),
        ("my_net.py:wants", {}, "wants the argument 'depth', which nobody gives"),
        ("my_net.py:broken", {}, r"failed with TypeError: .* \(line 34 of my_net.py\)"),
        ("my_net.py:nothing", {}, "my_net.py has no 'nothing'"),
        ("my_net.py:shape", {}, "has no 'shape'"),
        ("no_module_of_this_name:build", {}, "there is no module 'no_module_of_this_name'"),
        ("raising.py:build", {}, r"raising.py failed with SystemExit: 3 \(line 1 of raising.py\)"),
        ("needy.py:build", {}, "failed with ModuleNotFoundError: No module named 'nowhere'"),
    ],
)
def test_what_comes_out_when_it_runs_is_said_in_a_sentence(
    name: str, rest: dict[str, Any], words: str | None, own: Path
) -> None:
    (own.parent / "raising.py").write_text("raise SystemExit(3)\ndef build(): ...\n")
    (own.parent / "needy.py").write_text("import nowhere\ndef build(): ...\n")
    with pytest.raises(ValueError, match=words) as caught:
        built(name, **rest)
    assert "\n" not in str(caught.value)


def test_a_part_of_a_space_is_kept() -> None:
    supernet = built("nasbench-macro", keep=("position*.op=identity|mb3_k3", "position8*=mb6_k5"))
    assert supernet.space.size == 2**7
    assert supernet.space.largest["position8.op"] == "mb6_k5"
    whole = built("nasbench-macro").space
    assert space_sha256(whole) != space_sha256(supernet.space)
    assert space_sha256(whole) == space_sha256(built("nasbench-macro").space)
    for arch in (supernet.space.smallest, supernet.space.largest):
        whole.validate(arch)


def test_nothing_to_keep_keeps_the_space() -> None:
    space = SearchSpace((Choice("a", (1, 2)),))
    assert keep_options(space, ()) is space
    assert keep_options(space, ("a=2",)).size == 1
    assert keep_options(space, ("a=2", "*=1|2")).size == 2  # the last one counts


@pytest.mark.parametrize(
    ("net", "shape", "words"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(60, 3)), (1, 8, 8), r"layer '1', Linear\(in_feat"),
        (nn.Sequential(nn.Conv2d(3, 4, 3)), (1, 8, 8), r"was given \(2, 1, 8, 8\): Invalid"),
        (nn.Sequential(nn.Conv2d(1, 4, 9)), (1, 8, 8), "can't take samples of 1 x 8 x 8"),
    ],
)
def test_a_network_that_cannot_take_the_data_is_told_where(
    net: nn.Module, shape: tuple[int, ...], words: str
) -> None:
    with pytest.raises(NetworkError, match=words):
        require_fit(Supernet(net), shape)


class Looks(nn.Module):
    def __init__(self, most: float) -> None:
        super().__init__()
        self.most = most

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if float(x.max()) > self.most:
            raise ValueError("too bright")
        return x


def test_a_network_that_looks_at_numbers_is_run_on_zeros() -> None:
    require_fit(Supernet(nn.Sequential(Looks(1.0))), (1, 2, 2))
    with pytest.raises(NetworkError, match=r"layer '0', Looks.*: too bright"):
        require_fit(Supernet(nn.Sequential(Looks(-1.0))), (1, 2, 2))


def test_a_network_that_fits_is_not_changed() -> None:
    supernet = nine()
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    training = [module.training for module in supernet.modules()]
    require_fit(supernet, (1, 8, 8))
    after = supernet.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert [module.training for module in supernet.modules()] == training


def test_every_space_of_the_zoo_has_a_name() -> None:
    from supernet.networks import zoo

    builders = {name for name in vars(zoo) if name.startswith("build_")}
    assert set(ZOO.values()) == builders
    assert math.prod(len(name) for name in ZOO) > 0


def test_a_typo_in_a_model_of_timm_is_told_before_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timm = ModuleType("timm")
    timm.__spec__ = ModuleSpec("timm", None)
    timm.list_models = lambda: ["resnet18", "resnet34"]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", timm)
    with pytest.raises(NetworkError, match=r"no model 'resnet81'; did you mean resnet18 or"):
        check_network(NetworkName("timm:resnet81"))
    with pytest.raises(NetworkError, match="has no choices"):
        check_network(NetworkName("timm:resnet18"))
    check_network(NetworkName("timm:resnet81", elastic="depth"))  # told when it is built
