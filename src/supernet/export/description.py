"""Description of a network as data: layers of PyTorch, chains of them, and blocks of steps.

This is what `config.json` of a model folder holds. The network is rebuilt from it without running
code from the folder, and `model.py` is written from it, so the two are one fact. It can name
PyTorch's layers (`export.layers`) and functions (`export.operations`) from fixed lists, and nothing
else.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, JsonValue, model_validator

from supernet.records import Record

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEY = re.compile(r"[A-Za-z0-9_]+")

_Size = Annotated[int, Field(ge=0, lt=2**40)]


def is_name(text: str) -> bool:
    """Whether a text can be a name in Python, and is none with a meaning of its own."""
    plain = _NAME.fullmatch(text) is not None and not text.startswith("__")
    return plain and not keyword.iskeyword(text) and len(text) <= 200


def _check_name(text: str) -> str:
    if not is_name(text):
        raise ValueError(f"{text!r} can't be a name in Python")
    return text


def _check_key(text: str) -> str:
    if not _KEY.fullmatch(text) or (text[0].isdigit() and not text.isdecimal()):
        raise ValueError(f"{text!r} can't be the name of a part")
    return text


def _check_path(text: str) -> str:
    for key in text.split("."):
        _check_key(key)
    return text


Name = Annotated[str, AfterValidator(_check_name)]
Key = Annotated[str, AfterValidator(_check_key)]
Path = Annotated[str, AfterValidator(_check_path)]


class LayerPart(Record):
    """A layer of `torch.nn`: its class, and its constructor's arguments other than the defaults."""

    kind: Literal["layer"] = "layer"
    layer: str
    arguments: dict[Name, JsonValue] = Field(default_factory=dict)


class ChainPart(Record):
    """A container of `torch.nn`. A `Sequential` runs its children; the others only hold them."""

    kind: Literal["chain"] = "chain"
    container: Literal["Sequential", "ModuleList", "ModuleDict"]
    children: dict[Key, Part]


class TensorPart(Record):
    """A tensor that a block holds itself: its shape, and whether it is learned."""

    shape: list[_Size]
    learned: bool
    dtype: Literal["float", "int64", "int32", "uint8", "bool"] = "float"


class InputPart(Record):
    """An argument of a block's `forward`. `default` counts if `optional` is set."""

    name: Name
    optional: bool = False
    default: JsonValue = None


class Step(Record):
    """One step of a block: what it runs, on what, and what its result is called.

    `target` is a child's path, a function from `operations.FUNCTIONS`, a tensor's method, or the
    path of a tensor that the block or a child holds. See `operations.to_json` for the arguments.
    """

    name: Name
    run: Literal["module", "function", "method", "tensor"]
    target: str
    args: list[JsonValue] = Field(default_factory=list)
    kwargs: dict[Name, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.run in ("module", "tensor"):
            _check_path(self.target)
        return self


class BlockPart(Record):
    """A module with a `forward` of its own: its children, its tensors, its steps, its result."""

    kind: Literal["block"] = "block"
    name: Name
    inputs: list[InputPart]
    children: dict[Key, Part] = Field(default_factory=dict)
    tensors: dict[Name, TensorPart] = Field(default_factory=dict)
    steps: list[Step] = Field(default_factory=list)
    output: JsonValue


class OwnPart(Record):
    """A module of a user's class whose steps can't be followed: its `forward` is in their file.

    `attributes` are the settings its code may read: numbers, texts, and tuples of such as lists.
    """

    kind: Literal["own"] = "own"
    file: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\.py$")]
    name: Name
    children: dict[Key, Part] = Field(default_factory=dict)
    tensors: dict[Name, TensorPart] = Field(default_factory=dict)
    attributes: dict[Name, JsonValue] = Field(default_factory=dict)


Part = Annotated[LayerPart | ChainPart | BlockPart | OwnPart, Field(discriminator="kind")]


class Network(Record):
    """A whole network.

    Attributes:
        root: What it is.
        ties: Pairs of paths, of modules or tensors: the first is the second, and not a copy.
        channels_last: Whether the weights of convolutions lie in memory channels last.
        dtype: The type of the numbers that are learned.
    """

    root: BlockPart | OwnPart = Field(discriminator="kind")
    ties: list[tuple[Path, Path]] = Field(default_factory=list)
    channels_last: bool = False
    dtype: Literal["float32", "float64", "float16", "bfloat16"] = "float32"


for _kind in (ChainPart, BlockPart, OwnPart, Network):
    _kind.model_rebuild()


def children_of(part: Any) -> dict[str, Any]:
    """Return the parts that are in a part, by name."""
    return {} if isinstance(part, LayerPart) else dict(part.children)


def parts_of(part: Any) -> Iterator[Any]:
    """Yield all parts of a network, those inside others first."""
    for child in children_of(part).values():
        yield from parts_of(child)
    yield part


def own_files(network: Network) -> list[str]:
    """Return the names of the users' files that a network's classes are in."""
    return sorted({part.file for part in parts_of(network.root) if isinstance(part, OwnPart)})
