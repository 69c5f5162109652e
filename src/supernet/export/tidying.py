"""Preparation of a network for export: readable names, no empty or single-child chains.

Nothing that is computed changes. What is returned consists of layers and containers of `torch.nn`,
and of graphs (`torch.fx.GraphModule`), which say what a module of any other class does.
"""

from __future__ import annotations

import copy
import operator
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx, nn

from supernet.errors import ExportError
from supernet.export.description import is_name
from supernet.export.layers import KINDS, kind_of
from supernet.nn.choices import ChoiceModule
from supernet.nn.elastic.parts import CLASS, as_graph
from supernet.nn.supernet import Supernet

#: Under this name a module keeps the reason why its code can't be followed.
REASON = "_cannot_follow"

#: What code does to look at a shape; none of it changes anything.
_LOOKING: frozenset[object] = frozenset(
    {getattr, operator.eq, operator.ge, operator.getitem, operator.gt, operator.le}
    | {operator.lt, operator.mod, operator.ne, "dim", "size"}
)

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.Module)

#: What a subclass of a layer may define and still compute the same.
_HARMLESS = {"__init__", "__module__", "__doc__", "extra_repr", "__annotations__", "__qualname__"}
_HARMLESS |= {"__static_attributes__", "__firstlineno__", "__constants__", "__annotate_func__"}


def tidy(model: nn.Module, names: Mapping[str, str] | None = None) -> nn.Module:
    """Return a copy of a network that can be written down, in evaluation mode.

    Args:
        model: A plain network, such as `extract` returns.
        names: What to call the parts of a chain that have numbers for names, by these.

    Raises:
        ExportError: If there are choices in it, or a module changes what it does from outside (by
            hooks, or a `forward` of its own instance).
    """
    _check(model)
    net = _Tidier().tidied(copy.deepcopy(model).eval(), "")
    if not isinstance(net, nn.Sequential) and (kind_of(net) is not None or _is_holder(net)):
        net = nn.Sequential(net)
    if isinstance(net, nn.Sequential):
        return _named(net, names or {})
    return net


def class_of(module: nn.Module) -> str:
    """Return the name of the class that a graph was traced from, or of any other module's class."""
    if isinstance(module, fx.GraphModule):
        name = str(module.meta.get(CLASS, type(module).__name__))
        return "Block" if name in ("GraphModule", "Module") or not is_name(name) else name
    return type(module).__name__


def _check(model: nn.Module) -> None:
    for name, module in model.named_modules():
        where = f"the module {name!r}" if name else "the network"
        if isinstance(module, Supernet | ChoiceModule):
            raise ExportError(
                f"{where} is a {type(module).__name__}, which holds more than one architecture; "
                "take one out first: `sn.extract(supernet, arch)`"
            )
        hooks = (module._forward_hooks, module._forward_pre_hooks)
        if any(hooks) or ("forward" in vars(module) and not isinstance(module, fx.GraphModule)):
            raise ExportError(
                f"{where} has hooks, or a `forward` set on the instance, which can't be written "
                "down; remove them, or put what they do into a class"
            )
        if hasattr(module, "parametrizations"):
            raise ExportError(
                f"{where} has parametrized weights; call "
                "`torch.nn.utils.parametrize.remove_parametrizations` first"
            )


class _Tidier:
    """Replaces modules by what can be written down; one used at several places stays one."""

    def __init__(self) -> None:
        self.done: dict[nn.Module, nn.Module] = {}

    def tidied(self, module: nn.Module, where: str) -> nn.Module:
        if module not in self.done:
            self.done[module] = self._tidied(module, where)
        return self.done[module]

    def _tidied(self, module: nn.Module, where: str) -> nn.Module:
        if kind_of(module) is not None:
            return module
        if (layer := _as_layer(module)) is not None:
            return layer
        if not isinstance(module, fx.GraphModule) and not _is_container(module):
            try:
                module = as_graph(module)
            except Exception as error:  # whatever somebody's code raises
                # Kept as it is: `describe` says what can be done about it.
                vars(module)[REASON] = f"{type(error).__name__}: {error}".partition("\n")[0]
        if isinstance(module, fx.GraphModule):
            _drop_assertions(module)
        for name, child in _children(module):
            module._modules[name] = self.tidied(child, f"{where}.{name}" if where else name)
        return _flat(module) if isinstance(module, nn.Sequential) else module


def _drop_assertions(module: fx.GraphModule) -> None:
    """Take out of a graph what only looks whether a shape is right, as timm's norms do."""
    looked = [n for n in module.graph.nodes if n.target is torch._assert and not n.users]
    for node in looked:
        asked = node.all_input_nodes
        module.graph.erase_node(node)
        while asked:
            one = asked.pop()
            if not one.users and one.target in _LOOKING:
                asked += one.all_input_nodes
                module.graph.erase_node(one)
    if looked:
        module.recompile()


def _as_layer(module: nn.Module) -> nn.Module | None:
    """Return a layer of `torch.nn` for one of a subclass that adds nothing to what it computes."""
    own = [cls for cls in type(module).__mro__ if KINDS.get(cls.__name__) is cls]
    if not own or isinstance(module, fx.GraphModule):
        return None
    added = type(module).__mro__[: type(module).__mro__.index(own[0])]
    if any(vars(cls).keys() - _HARMLESS for cls in added):
        return None
    layer: nn.Module = own[0].__new__(own[0])
    layer.__dict__.update(module.__dict__)
    return layer


def _is_container(module: nn.Module) -> bool:
    if type(module) in _CONTAINERS:
        return True
    # Such as torchvision's Conv2dNormActivation.
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _is_holder(module: nn.Module) -> bool:
    return type(module) in (nn.ModuleList, nn.ModuleDict, nn.Module)


def _flat(chain: nn.Sequential) -> nn.Module:
    """Return a chain without what does nothing, and a chain of one as that one."""
    children = _children(chain)
    if all(name.isdecimal() for name, _ in children):
        kept = [child for _, child in children if not _does_nothing(child)]
        if len(kept) == 1:
            return kept[0]
        return nn.Sequential(*kept) if kept else nn.Identity()
    plain = nn.Sequential()
    plain._modules.update(children)
    return plain


def _children(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return a module's children by name; unlike `named_children`, one at two places twice."""
    children: list[tuple[str, nn.Module | None]] = list(module._modules.items())
    return [(name, child) for name, child in children if child is not None]


def _does_nothing(module: nn.Module) -> bool:
    return type(module) is nn.Identity


def _named(chain: nn.Sequential, names: Mapping[str, str]) -> fx.GraphModule:
    """Return a chain as a graph whose parts have names, called `Network`."""
    children = _children(chain)
    if all(key.isdecimal() for key, _ in children):
        children = list(zip(_name_all(children, names), (c for _, c in children), strict=True))
    holder, graph = nn.Module(), fx.Graph()
    value: Any = graph.placeholder("x")
    for name, child in children:
        holder.add_module(name, child)
        value = graph.call_module(name, (value,))
    graph.output(value)
    net = fx.GraphModule(holder, graph)
    net.meta[CLASS] = "Network"
    return net


_WORDS = (
    ("Conv", "conv"),
    ("Pool", "pool"),
    ("Norm", "norm"),
    ("Linear", "linear"),
    ("Flatten", "flatten"),
    ("Dropout", "dropout"),
    ("Upsample", "resize"),
    ("Embedding", "embedding"),
    ("Pixel", "patches"),
)


def _name_all(children: list[tuple[str, nn.Module]], names: Mapping[str, str]) -> list[str]:
    """Return a name for every part of a chain: given, or from what it is and where it stands."""
    learned = [
        at for at, (_, child) in enumerate(children) if any(True for _ in child.parameters())
    ]
    words = []
    for at, (key, child) in enumerate(children):
        word = re.sub(r"\W", "_", names.get(key, ""))
        if not is_name(word) or hasattr(nn.Module, word):
            if len(learned) > 1 and at == learned[-1] and type(child) is nn.Linear:
                word = "classifier"
            elif len(learned) > 1 and at == learned[0]:
                word = "stem"
            else:
                word = _word_for(child)
        words.append(word)
    counts, seen = Counter(words), Counter[str]()
    found = []
    for word in words:
        seen[word] += 1
        name = f"{word}{seen[word]}" if counts[word] > 1 else word
        while name in found or (counts[word] > 1 and name in counts):
            name += "_"
        found.append(name)
    return found


def _word_for(module: nn.Module) -> str:
    kind = kind_of(module)
    if kind is None:
        name = "layer" if isinstance(module, nn.Sequential) else class_of(module)
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    word = next((word for part, word in _WORDS if part in kind), None)
    return word or ("layer" if any(True for _ in module.parameters()) else "activation")
