"""Python source of a described network, which needs PyTorch only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from supernet.export.description import (
    BlockPart,
    ChainPart,
    LayerPart,
    Network,
    OwnPart,
    Step,
    children_of,
    own_files,
)
from supernet.export.operations import results_in
from supernet.export.templates import REQUIRED, WIDTHS, Hole, Template, Templates, find_templates

#: Names that mean something in every `model.py`.
RESERVED = frozenset(
    {"F", "MEAN", "OrderedDict", "Path", "STD", "Tensor", "load", "load_model", "math", "nn"}
    | {"normalize", "self", "torch", "network", "weights"}
)

_WIDTH = 100

_INFIX = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**",
    "matmul": "@", "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
    "and_": "&", "or_": "|", "xor": "^",
}  # fmt: skip
_IN_PLACE = {"iadd": "+=", "isub": "-=", "imul": "*=", "itruediv": "/="}
_PREFIX = {"neg": "-", "pos": "+", "not_": "not "}


@dataclass(frozen=True)
class Pictures:
    """What `model.py` says of the images that its network takes.

    Attributes:
        shape: Of one: channels, height, width.
        mean: What is subtracted from a pixel scaled to 0..1, channel by channel.
        std: What it is divided by then.
    """

    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def write_source(network: Network, *, heading: str, pictures: Pictures | None = None) -> str:
    """Return the source of `model.py`.

    Its `load()` returns the network with the weights in the file beside it. Its classes have the
    names of the parts, and compute step by step what the description says.

    Args:
        network: The description.
        heading: The first line of its docstring, a sentence.
        pictures: What images it takes, if that is known; then it has `normalize` too.
    """
    files = own_files(network)
    taken = RESERVED | {file.removesuffix(".py") for file in files}
    templates = find_templates(network.root, taken)
    main = templates.find(network.root)
    assert main is not None
    writer = _Writer(templates, network)
    definitions = [writer.define(template) for template in templates.of.values()]
    body = "\n\n\n".join([*definitions, *_endings(network, main.name, pictures)])
    return "\n".join(
        [*_head(body, heading, files, pictures), *_constants(pictures), "", "", body, ""]
    )


def _head(body: str, heading: str, files: Sequence[str], pictures: Pictures | None) -> list[str]:
    lines = [f'"""{heading}', ""]
    lines += ["It needs torch, and safetensors to read its weights. Its network, ready to use:", ""]
    lines += ["    network = load()"]
    if pictures is not None:
        c, h, w = pictures.shape
        lines += [f"    logits = network(normalize(images))  # bytes: images x {c} x {h} x {w}"]
    lines += ['"""', ""]
    lines += ["import math"] if "math." in body else []
    lines += ["from collections import OrderedDict"] if "OrderedDict(" in body else []
    lines += ["from pathlib import Path", ""]
    third = ["import torch"] if "torch." in body else []
    third += ["import torch.nn.functional as F"] if "F." in body else []
    third += ["from safetensors.torch import load_model", "from torch import Tensor, nn"]
    own = [f"import {file.removesuffix('.py')}" for file in files]
    return [*lines, *third, *(["", *own] if own else [])]


def _constants(pictures: Pictures | None) -> list[str]:
    if pictures is None:
        return []
    return [
        "",
        "#: Of the training images' pixels, scaled to 0..1, channel by channel.",
        f"MEAN, STD = {pictures.mean!r}, {pictures.std!r}",
    ]


def _endings(network: Network, name: str, pictures: Pictures | None) -> Iterator[str]:
    if pictures is not None:
        yield '''def normalize(images: Tensor) -> Tensor:
    """Return what the network takes for images of bytes: images x channels x height x width."""
    x = images.float().div_(255)
    for channel, (mean, std) in enumerate(zip(MEAN, STD, strict=True)):
        x[:, channel].sub_(mean).div_(std)
    return x'''
    cast = "" if network.dtype == "float32" else f".to(torch.{network.dtype})"
    layout = "    network.to(memory_format=torch.channels_last)\n" if network.channels_last else ""
    beside = 'Path(__file__).with_name("model.safetensors")'
    head = _call("def load", [f"weights: str | Path = {beside}"], 0, f" -> {name}:")
    yield f'''{head}
    """Return the network with its weights, in evaluation mode."""
    network = {name}(){cast}
    load_model(network, weights)
{layout}    return network.eval()'''


class _Writer:
    """Writes the classes and functions of one network."""

    def __init__(self, templates: Templates, network: Network) -> None:
        self.templates, self.network = templates, network

    def define(self, template: Template) -> str:
        """Return the class or the function of a template."""
        if isinstance(template.example, ChainPart):
            return self._define_function(template)
        return self._define_class(template)

    def _define_function(self, template: Template) -> str:
        titles = [_title(child) for child in children_of(template.example).values()]
        kinds = ", ".join(titles)
        if len(kinds) > 80:
            kinds = f"{titles[0]} to {titles[-1]}: {len(titles)} layers"
        body = self._chain(template.example, _Fill(self._texts(template)), 4, "return ")
        lines = _call(f"def {template.name}", _signature(template), 0, " -> nn.Sequential:")
        return f'{lines}\n    """{kinds}."""\n    return {body}'

    def _define_class(self, template: Template) -> str:
        part = template.example
        base, doc = "nn.Module", _describe(template, is_root=part is self.network.root)
        if isinstance(part, OwnPart):
            base = f"{part.file.removesuffix('.py')}.{part.name}"
        lines = [f"class {template.name}({base}):", f'    """{doc}"""', ""]
        attributes = list(self._attributes(part, _Fill(self._texts(template))))
        if part is self.network.root:
            attributes += [f"        {self._tie(*tie)}" for tie in self.network.ties]
        if attributes or isinstance(part, OwnPart):
            head = _call("def __init__", ["self", *_signature(template)], 4, " -> None:")
            # Not `super().__init__()` where that would be somebody's own, which makes all there is.
            own = isinstance(part, OwnPart)
            first = "nn.Module.__init__(self)" if own else "super().__init__()"
            lines += [f"    {head}", f"        {first}", *attributes, ""]
        if isinstance(part, BlockPart):
            lines += [f"    {line}" for line in _write_forward(part)]
        elif not lines[-1]:
            lines.pop()
        return "\n".join(lines)

    def _attributes(self, part: Any, fill: _Fill) -> Iterator[str]:
        if isinstance(part, OwnPart):
            yield from (
                f"        self.{name} = {literal(_tupled(value))}"
                for name, value in part.attributes.items()
            )
        for name, tensor in part.tensors.items():
            size = ", ".join(fill.take(Hole("size", size)) for size in tensor.shape)
            kind = "" if tensor.dtype == "float" else f", dtype=torch.{tensor.dtype}"
            zeros = f"torch.zeros({size or '()'}{kind})"
            if tensor.learned:
                yield f"        self.{name} = nn.Parameter({zeros})"
            else:
                yield f'        self.register_buffer("{name}", {zeros})'
        for name, child in part.children.items():
            yield f"        self.{name} = {self._part(child, fill, 8, f'self.{name} = ')}"

    def _texts(self, template: Template) -> list[str | None]:
        """Return what stands in each hole of a template; None for the number itself."""
        return [
            template.parameters[source].name if isinstance(source, int) else source
            for source in template.sources
        ]

    def _part(self, part: Any, fill: _Fill, indent: int, before: str = "") -> str:
        """Return the expression that makes a part.

        Args:
            part: The part.
            fill: What stands in its holes.
            indent: Of the line it stands in.
            before: What stands before it in that line.
        """
        template = self.templates.find(part)
        if template is not None:
            holes = self.templates.holes(part)
            arguments = _given([(hole, fill.take(hole)) for hole in holes], fill, positional=WIDTHS)
            return _call(template.name, arguments, indent, before=before)
        if isinstance(part, LayerPart):
            holes = self.templates.inner_holes(part)
            arguments = _given([(hole, fill.take(hole)) for hole in holes], fill)
            return _call(f"nn.{part.layer}", arguments, indent, before=before)
        return self._chain(part, fill, indent, before)

    def _chain(self, part: ChainPart, fill: _Fill, indent: int, before: str = "") -> str:
        names = list(part.children)
        numbered = names == [str(place) for place in range(len(names))]
        named = part.container == "Sequential" and not numbered
        if part.container == "ModuleDict" or named:
            inner = indent + 12 if named else indent + 8
            items = [
                f'("{name}", {self._part(child, fill, inner)})'
                if named
                else f'"{name}": {self._part(child, fill, inner)}'
                for name, child in part.children.items()
            ]
            if named:
                pairs = _around("OrderedDict", "[", items, indent + 4, "]")
                return f"nn.Sequential(\n{' ' * (indent + 4)}{pairs}\n{' ' * indent})"
            return _around("nn.ModuleDict", "{", items, indent, "}")
        inner = indent + (4 if part.container == "Sequential" else 8)
        parts = [self._part(child, fill, inner) for child in part.children.values()]
        if part.container == "Sequential":
            return _call("nn.Sequential", parts, indent, before=before, broken=len(parts) > 1)
        return _around("nn.ModuleList", "[", parts, indent, "]")

    def _tie(self, path: str, origin: str) -> str:
        root = self.network.root
        return f"{_place(root, path)} = {_place(root, origin)}  # one and the same"


@dataclass
class _Fill:
    """Gives each hole, in order, the text that stands there."""

    texts: Sequence[str | None]
    at: int = field(default=0)
    given: set[int] = field(default_factory=set)

    def take(self, hole: Hole) -> str:
        text = self.texts[self.at]
        self.at += 1
        return literal(hole.value) if text is None else text

    def is_number(self, back: int) -> bool:
        """Whether the hole so many places back holds a number and no parameter."""
        return self.texts[self.at - back] is None


def _given(
    entries: Sequence[tuple[Hole, str]], fill: _Fill, positional: Sequence[str] | None = None
) -> list[str]:
    """Return the arguments that have to be written: all but numbers that are the default.

    Those without a default have no name before them; with `positional`, only those in it.
    """
    written, keyword = [], False
    for place, (hole, text) in enumerate(entries):
        is_number = fill.is_number(len(entries) - place)
        keyword = keyword or (positional is not None and hole.name not in positional)
        if hole.default is not REQUIRED:
            keyword = True
            if is_number and type(hole.value) is type(hole.default) and hole.value == hole.default:
                continue
        written.append(f"{hole.name}={text}" if keyword else text)
    return written


def _signature(template: Template) -> list[str]:
    return [
        f"{parameter.name}: {parameter.types}"
        if parameter.default is REQUIRED
        else f"{parameter.name}: {parameter.types} = {literal(parameter.default)}"
        for parameter in template.parameters
    ]


def _describe(template: Template, *, is_root: bool) -> str:
    part = template.example
    if isinstance(part, OwnPart):
        return f"`{part.name}` of {part.file}, with the parts that this architecture has."
    if is_root:
        return "The whole network."
    times = "once" if template.count == 1 else f"{template.count} times"
    return f"A part of the network, used {times}."


def _title(part: Any) -> str:
    if isinstance(part, LayerPart):
        return part.layer
    return "layers" if isinstance(part, ChainPart) else str(part.name)


def _call(
    head: str,
    arguments: Sequence[str],
    indent: int,
    after: str = "",
    *,
    before: str = "",
    broken: bool = False,
) -> str:
    """Return a call, in one line where it fits, or with an argument in each line."""
    line = f"{head}({', '.join(arguments)}){after}"
    fits = indent + len(before) + len(line) < _WIDTH and not any("\n" in a for a in arguments)
    if fits and not broken:
        return line
    return f"{_listing(f'{head}(', arguments, indent, ')')}{after}"


def _listing(start: str, items: Iterable[str], indent: int, end: str) -> str:
    space = " " * (indent + 4)
    lines = "".join(f"{space}{item},\n" for item in items)
    return f"{start}\n{lines}{' ' * indent}{end}" if lines else f"{start}{end}"


def _around(head: str, start: str, items: Sequence[str], indent: int, end: str) -> str:
    """Return a call whose only argument is a collection with an item in each line."""
    if not items:
        return f"{head}({start}{end})"
    space = " " * (indent + 4)
    return f"{head}(\n{space}{_listing(start, items, indent + 4, end)}\n{' ' * indent})"


def literal(value: Any) -> str:
    """Return the Python text of an argument as a description has it."""
    if isinstance(value, dict):
        ((kind, content),) = value.items()
        if kind == "tuple":
            return literal(tuple(content))
        if kind == "slice":
            return f"slice({', '.join(map(literal, content))})"
        if kind == "float":
            return f'float("{content}")'
        texts = {"ellipsis": "...", "dtype": f"torch.{content}"}
        return texts.get(kind) or f'torch.device("{content}")'
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, str):
        return (
            '"' + repr(value)[1:-1].replace('"', '\\"') + '"' if "'" not in value else repr(value)
        )
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    return repr(value)


def _tupled(value: Any) -> Any:
    return tuple(map(_tupled, value)) if isinstance(value, list) else value


def _place(root: Any, path: str) -> str:
    """Return how the code of a block reaches something inside it: `self.stem[0].weight`."""
    text, part = "self", root
    for key in path.split("."):
        if isinstance(part, ChainPart):
            if part.container == "ModuleDict":
                text += f'["{key}"]'
            elif key.isdecimal():
                text += f"[{list(part.children).index(key)}]"
            else:
                text += f".{key}"
        else:
            text += f".{key}"
        part = children_of(part).get(key) if part is not None else None
    return text


@dataclass(frozen=True)
class _Text:
    """An expression: its text, how tightly it binds, and how deep calls are nested in it."""

    text: str
    binding: int = 9
    depth: int = 0

    def within(self, binding: int) -> str:
        """Return it as an operand of an operator that binds so tightly."""
        return self.text if self.binding >= binding else f"({self.text})"


def _write_forward(block: BlockPart) -> list[str]:
    return _Forward(block).lines()


_BINDING = {
    "+": 4,
    "-": 4,
    "*": 5,
    "/": 5,
    "//": 5,
    "%": 5,
    "@": 5,
    "**": 7,
    "&": 3,
    "^": 2,
    "|": 1,
}


class _Forward:
    """Writes a block's `forward`; what is used once, and next, is written where it is used."""

    def __init__(self, block: BlockPart) -> None:
        self.block = block
        self.known: dict[str, _Text] = {}
        self.pending: list[tuple[str, _Text]] = []
        self.written: list[str] = []
        self.uses: dict[str, int] = {}
        for value in [*(part for s in block.steps for part in _inputs_of(s)), block.output]:
            for name in results_in(value):
                self.uses[name] = self.uses.get(name, 0) + 1
        self.left = dict(self.uses)
        self.hints: dict[str, str] = {}
        self.is_chain = len(block.steps) > 3 and all(s.run == "module" for s in block.steps)

    def lines(self) -> list[str]:
        """Return the lines of the method."""
        for entry in self.block.inputs:
            self.known[entry.name] = _Text(entry.name)
        for step in self.block.steps:
            self._do(step)
        self._settle(results_in(self.block.output))
        result = self._value(self.block.output).text
        self.written += self._flushed()
        single = isinstance(self.block.output, dict) and "result" in self.block.output
        returns = " -> Tensor:" if single else ":"
        head = _call("def forward", ["self", *map(_argument, self.block.inputs)], 0, returns)
        return [*head.split("\n"), *(f"    {line}" for line in [*self.written, f"return {result}"])]

    def _do(self, step: Step) -> None:
        if step.run == "tensor":  # to read it again does no harm
            self.known[step.name] = _Text(_place(self.block, step.target))
            return
        short = step.target.removeprefix("operator.")
        refs = [name for part in _inputs_of(step) for name in results_in(part)]
        if short in _IN_PLACE and step.run == "function":
            self.written += self._flushed()
            variable, (left, right) = self._name(step.name), step.args
            self.written.append(f"{variable} = {self._value(left).text}")
            self.written.append(f"{variable} {_IN_PLACE[short]} {self._value(right).text}")
            self.known[step.name] = _Text(variable)
            return
        used = self.uses.get(step.name, 0)
        if not used and step.target in ("operator.getitem", "getattr"):
            return  # what unpacking a tuple leaves over
        self._settle(refs)
        self._hint(step)
        text = self._expression(step)
        result = self.block.output == {"result": step.name}
        inline = text.depth <= 3 and len(text.text) <= 70 and not self.is_chain
        if used == 1 and (inline or (result and len(text.text) <= 84)):
            self.pending.append((step.name, text))
            return
        self.written += self._flushed()
        if not used:
            self.written.append(text.text)
            return
        self.written.append(self._assign(step.name, text, refs))

    def _assign(self, name: str, text: _Text, refs: Sequence[str] = ()) -> str:
        variable = self._name(name)
        # Like a person, who gives a value the name of what it was made from and replaces.
        last = [ref for ref in set(refs) if not self.left.get(ref, 0)]
        if len(set(refs)) == 1 and last and self.known[last[0]].text.isidentifier():
            variable = self.known[last[0]].text
        self.known[name] = _Text(variable)
        return f"{variable} = {text.text}"

    def _name(self, name: str) -> str:
        """Return a name for a result: that of the module it comes from, where it is free."""
        taken = {text.text for text in self.known.values()} | RESERVED
        wanted = [self.hints.get(name, name), name, *(f"{name}_{n}" for n in range(len(taken)))]
        return next(word for word in wanted if word not in taken)

    def _hint(self, step: Step) -> None:
        if step.run == "module":
            self.hints[step.name] = next(
                (key for key in reversed(step.target.split(".")) if not key.isdecimal()), step.name
            )
        elif step.run == "method" and (refs := results_in(step.args[0])):
            self.hints[step.name] = self.hints.get(refs[0], step.name)

    def _settle(self, refs: Sequence[str]) -> None:
        """See to it that what is pending is evaluated in the order it was, whatever comes next."""
        waiting = [name for name, _ in self.pending]
        wanted = [name for name in refs if name in waiting]
        length = sum(len(text.text) for name, text in self.pending if name in wanted)
        if wanted != waiting[len(waiting) - len(wanted) :] or length > 56:
            self.written += self._flushed()
            return
        for name, text in self.pending[len(waiting) - len(wanted) :]:
            self.known[name] = text
        del self.pending[len(waiting) - len(wanted) :]

    def _flushed(self) -> list[str]:
        lines = [self._assign(name, text) for name, text in self.pending]
        self.pending.clear()
        return lines

    def _expression(self, step: Step) -> _Text:
        if step.run == "module":
            return self._called(_place(self.block, step.target), step.args, step.kwargs)
        if step.run == "method":
            owner, *args = step.args
            target = f"{self._value(owner).within(8)}.{step.target}"
            return self._called(target, args, step.kwargs, self._value(owner).depth)
        short = step.target.removeprefix("operator.")
        if step.target == "getattr":
            return _Text(f"{self._value(step.args[0]).within(8)}.{step.args[1]}")
        if step.target.startswith("operator."):
            return self._operator(short, [self._value(arg) for arg in step.args], step.args)
        return self._called(step.target, step.args, step.kwargs)

    def _operator(self, name: str, values: Sequence[_Text], args: Sequence[Any]) -> _Text:
        depth = max(value.depth for value in values)
        if name == "getitem":
            return _Text(f"{values[0].within(8)}[{self._index(args[1])}]", 9, depth)
        if name in _PREFIX:
            return _Text(f"{_PREFIX[name]}{values[0].within(6)}", 6 if name != "not_" else 0, depth)
        if name not in _INFIX:
            return _Text(f"{name}({', '.join(value.text for value in values)})", 9, depth)
        sign = _INFIX[name]
        binding = _BINDING.get(sign, 0)
        left, right = values[0].within(binding + (binding in (0, 7))), values[1].within(binding + 1)
        return _Text(f"{left} {sign} {right}", binding, depth)

    def _called(
        self, target: str, args: Sequence[Any], kwargs: Mapping[str, Any], depth: int = 0
    ) -> _Text:
        values = [self._value(arg) for arg in args]
        named = {name: self._value(value) for name, value in kwargs.items()}
        texts = [value.text for value in values]
        texts += [f"{name}={value.text}" for name, value in named.items()]
        deepest = max([depth, *(value.depth for value in [*values, *named.values()])])
        return _Text(f"{target}({', '.join(texts)})", 9, deepest + 1)

    def _value(self, value: Any) -> _Text:
        """Return an argument's text; that of an earlier result is used up by it."""
        if isinstance(value, dict) and "result" in value:
            name = value["result"]
            self.left[name] = self.left.get(name, 0) - 1
            return self.known[name]
        if results_in(value):
            return self._collection(value)
        text = literal(value)
        return _Text(text, 6 if text.startswith("-") else 9)

    def _collection(self, value: Any) -> _Text:
        parts = value if isinstance(value, list) else next(iter(value.values()))
        texts = [self._value(part) for part in parts]
        depth = max(text.depth for text in texts)
        inside = ", ".join(text.text for text in texts)
        if isinstance(value, list):
            return _Text(f"[{inside}]", 9, depth)
        if "slice" in value:
            return _Text(f"slice({inside})", 9, depth)
        return _Text(f"({inside}{',' if len(parts) == 1 else ''})", 9, depth)

    def _index(self, value: Any) -> str:
        if isinstance(value, dict) and "tuple" in value and value["tuple"]:
            return ", ".join(map(self._index, value["tuple"])) + (
                "," if len(value["tuple"]) == 1 else ""
            )
        if isinstance(value, dict) and "slice" in value:
            start, stop, step = ("" if v is None else self._value(v).text for v in value["slice"])
            return f"{start}:{stop}:{step}" if step else f"{start}:{stop}"
        return self._value(value).text


def _inputs_of(step: Step) -> list[Any]:
    return [*step.args, *step.kwargs.values()]


def _argument(entry: Any) -> str:
    if not entry.optional:
        return f"{entry.name}: Tensor"
    kind = "Tensor | None" if entry.default is None else type(entry.default).__name__
    return f"{entry.name}: {kind} = {literal(entry.default)}"
