"""Conversion of a network to its description and weights, and back."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from supernet.errors import ExportError
from supernet.export import layers, operations
from supernet.export.description import (
    BlockPart,
    ChainPart,
    InputPart,
    LayerPart,
    Network,
    OwnPart,
    Step,
    TensorPart,
    children_of,
    is_name,
)
from supernet.export.tidying import REASON as _REASON, class_of
from supernet.nn.elastic.parts import CLASS

_DTYPES: dict[torch.dtype, Any] = {
    torch.int64: "int64",
    torch.int32: "int32",
    torch.uint8: "uint8",
    torch.bool: "bool",
}


def describe(net: nn.Module) -> Network:
    """Return the description of a network that `tidying.tidy` returned.

    Raises:
        ExportError: If a module or an operation in it can't be written down; both are named.
    """
    root = _describe(net, "")
    assert isinstance(root, BlockPart | OwnPart)
    return Network(
        root=root,
        ties=_ties(net),
        channels_last=_is_channels_last(net),
        dtype=_dtype(net),
    )


def weights_of(net: nn.Module, network: Network) -> dict[str, Tensor]:
    """Return the numbers of a described network by name, each in memory of its own, once."""
    tied = [path for path, _ in network.ties]
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in net.state_dict().items()
        if not any(name == path or name.startswith(f"{path}.") for path in tied)
    }


def rebuild(network: Network, weights: Mapping[str, Tensor]) -> nn.Module:
    """Return the network of a description with its numbers, in evaluation mode.

    Nothing is run but constructors of PyTorch's layers, without memory for their numbers.

    Raises:
        ExportError: If the description is impossible, or the weights are of another network.
    """
    try:
        net = _build(network.root)
    except ExportError:
        raise
    except Exception as error:  # whatever PyTorch says to impossible names and graphs
        raise ExportError(f"the description of the network is impossible: {error}") from None
    _tie(net, network)
    _fill(net, weights, {path for path, _ in network.ties})
    _tie(net, network)
    if network.channels_last:
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net.eval()


def _describe(module: nn.Module, where: str) -> Any:
    kind = layers.kind_of(module)
    if kind is not None:
        arguments = layers.given(kind, layers.arguments_of(module, where))
        plain = {name: _listed(value) for name, value in arguments.items()}
        return LayerPart(layer=kind, arguments=plain)
    if isinstance(module, fx.GraphModule):
        return _describe_block(module, where)
    children = {}
    for name, child in module._modules.items():
        if child is not None:
            inner = f"{where}.{name}" if where else name
            if not (name.isdecimal() or is_name(name)):
                raise ExportError(f"the module {inner!r} has a name that can't be one in Python")
            children[name] = _describe(child, inner)
    if (reason := vars(module).get(_REASON)) is not None:
        return _describe_own(module, where, children, reason)
    return ChainPart(container=_container(module), children=children)


def _container(module: nn.Module) -> Any:
    if isinstance(module, nn.Sequential):
        return "Sequential"
    numbered = list(module._modules) == [str(place) for place in range(len(module._modules))]
    return "ModuleList" if numbered else "ModuleDict"


def _describe_block(module: fx.GraphModule, where: str) -> BlockPart:
    inputs, steps, output = [], [], None
    for node in module.graph.nodes:
        try:
            if node.op == "placeholder":
                inputs.append(_input(node))
            elif node.op == "output":
                output = operations.to_json(node.args[0])
            else:
                steps.append(_step(node))
        except ExportError as error:
            who = f"the module {where!r}" if where else "the network"
            who = f"{who} ({class_of(module)})"
            raise ExportError(f"{who} can't be written down: {error}") from None
    return BlockPart(
        name=class_of(module),
        inputs=inputs,
        children={
            name: _describe(child, f"{where}.{name}" if where else name)
            for name, child in module._modules.items()
            if child is not None
        },
        tensors=_own_tensors(module),
        steps=steps,
        output=output,
    )


def _describe_own(module: nn.Module, where: str, children: dict[str, Any], reason: str) -> OwnPart:
    """Describe a module whose code can't be followed by the file that its class is in."""
    cls = type(module)
    who = f"the module {where!r}" if where else "the network"
    said = f"{who} is a {cls.__name__}, whose `forward` torch.fx can't follow ({reason})"
    if cls.__qualname__ != cls.__name__ or not is_name(cls.__name__):
        raise ExportError(f"{said}, and which is no class of a file; move it to the top of one")
    _source_of(module, said)
    attributes = {}
    for name in vars(module).keys() - vars(nn.Module()).keys() - {_REASON}:
        value = vars(module)[name]
        if not is_name(name) or not _is_plain(value):
            raise ExportError(
                f"{said}, and whose attribute {name!r} is a {type(value).__name__}, which can't be "
                "written down; make it a number, a text, a tuple of such, a parameter or a buffer"
            )
        attributes[name] = _listed(value)
    return OwnPart(
        file=_copied_name(_source_of(module, said)),
        name=cls.__name__,
        children=children,
        tensors=_own_tensors(module),
        attributes=dict(sorted(attributes.items())),
    )


def own_sources(net: nn.Module) -> dict[str, Path]:
    """Return the files in which the classes are that can't be followed, by the names of the copies.

    Raises:
        ExportError: If two of them have the same name, or one imports from its own package.
    """
    found: dict[str, Path] = {}
    for module in net.modules():
        if _REASON in vars(module):
            path = _source_of(module, f"a {type(module).__name__}")
            name = _copied_name(path)
            if found.setdefault(name, path) != path:
                raise ExportError(f"{found[name]} and {path} would both be copied as {name}")
            if relative := _relative_import(path):
                raise ExportError(
                    f"{path} has `{relative}`, which means nothing in a model folder; import by "
                    "the full name, or put what is needed into that file"
                )
    return found


def _source_of(module: nn.Module, said: str) -> Path:
    cls = type(module)
    package = cls.__module__.partition(".")[0]
    try:
        path = inspect.getsourcefile(cls)
    except (OSError, TypeError):
        path = None
    if path is None or package in ("torch", "supernet"):
        raise ExportError(f"{said}, and whose code is in no file of yours that could be copied")
    return Path(path)


def _copied_name(path: Path) -> str:
    """Return what a user's file is called in a model folder, where `model.py` is another one."""
    stem = path.stem if is_name(path.stem) else "network"
    return f"own_{stem}.py" if stem in ("model", "torch", "safetensors") else f"{stem}.py"


def _relative_import(path: Path) -> str | None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            return ast.unparse(node)
    return None


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)


def _input(node: fx.Node) -> InputPart:
    if str(node.target).startswith("*"):
        raise ExportError(f"its forward takes {node.target}, any number of arguments")
    if node.args:
        return InputPart(name=node.name, optional=True, default=operations.to_json(node.args[0]))
    return InputPart(name=node.name)


def _step(node: fx.Node) -> Step:
    target = str(node.target)
    if node.op == "call_function":
        name = operations.name_of(node.target)
        if name is None:
            name = getattr(node.target, "__name__", target)
            raise ExportError(f"it calls the function {name!r}, which has no name in model folders")
        if name == "getattr" and node.args[1] not in operations.ATTRIBUTES:
            raise ExportError(f"it reads {node.args[1]!r} of a tensor")
        target = name
    elif node.op == "call_method" and target not in operations.METHODS:
        raise ExportError(f"it calls {target!r} of a tensor, which has no name in model folders")
    kinds: dict[str, Any] = {"call_function": "function", "call_method": "method"}
    kinds["get_attr"] = "tensor"
    return Step(
        name=node.name,
        run=kinds.get(node.op, "module"),
        target=target,
        args=[operations.to_json(arg) for arg in node.args],
        kwargs={name: operations.to_json(value) for name, value in node.kwargs.items()},
    )


def _own_tensors(module: nn.Module) -> dict[str, TensorPart]:
    own = {**module._parameters, **module._buffers}
    return {name: _tensor(tensor) for name, tensor in own.items() if tensor is not None}


def _tensor(tensor: Tensor) -> TensorPart:
    return TensorPart(
        shape=list(tensor.shape),
        learned=isinstance(tensor, nn.Parameter),
        dtype=_DTYPES.get(tensor.dtype, "float"),
    )


def _listed(value: Any) -> Any:
    """Return a layer's argument as JSON: lists for tuples."""
    if isinstance(value, tuple):
        return [_listed(part) for part in value]
    return operations.to_json(value)


def _tupled(value: Any) -> Any:
    value = operations.from_json(value, {})
    return tuple(map(_tupled, value)) if isinstance(value, list) else value


def _ties(net: nn.Module) -> list[tuple[str, str]]:
    """Return which modules with numbers, and which other parameters, are at a second place too."""
    ties: list[tuple[str, str]] = []
    first_place: dict[nn.Module, str] = {}
    for path, module in net.named_modules(remove_duplicate=False):
        if not any(True for _ in module.state_dict()):
            continue
        place = first_place.setdefault(module, path)
        inside = any(path.startswith(f"{tied}.") for tied, _ in ties)
        if place != path and not inside:
            ties.append((path, place))
    first_name: dict[Tensor, str] = {}
    for path, parameter in net.named_parameters(remove_duplicate=False):
        place = first_name.setdefault(parameter, path)
        inside = any(path.startswith(f"{tied}.") for tied, _ in ties)
        if place != path and not inside:
            ties.append((path, place))
    return ties


def _is_channels_last(net: nn.Module) -> bool:
    """Whether the weights of convolutions lie channels last.

    A kernel of 1x1 lies in memory alike in both layouts; which one it has, only its strides say,
    and convolutions heed them: they may add up in another order.
    """
    last, plain = False, False
    for weight in (p for p in net.parameters() if p.ndim == 4):
        if weight.stride() == _strides(weight, torch.channels_last):
            last |= weight.stride() != _strides(weight, torch.contiguous_format)
        elif not weight.is_contiguous(memory_format=torch.channels_last):
            plain = True
    return last and not plain


def _strides(tensor: Tensor, layout: torch.memory_format) -> tuple[int, ...]:
    return torch.empty(tensor.shape, device="meta", memory_format=layout).stride()


def _dtype(net: nn.Module) -> Any:
    kinds = {p.dtype: name for name, p in net.named_parameters()}
    if len(kinds) > 1:
        some = "; ".join(f"{name} is {kind}" for kind, name in kinds.items())
        raise ExportError(f"the parameters are of several types ({some}); make them of one type")
    kind = next(iter(kinds), torch.float32)
    return str(kind).removeprefix("torch.")


def _build(part: Any) -> nn.Module:
    if isinstance(part, LayerPart):
        return layers.build(part.layer, {k: _tupled(v) for k, v in part.arguments.items()})
    if isinstance(part, OwnPart):
        raise ExportError(f"the class {part.name!r} is in {part.file}, which would have to be run")
    children = {name: _build(child) for name, child in children_of(part).items()}
    if isinstance(part, ChainPart):
        containers = {"Sequential": nn.Sequential, "ModuleList": nn.ModuleList}
        container: nn.Module = containers.get(part.container, nn.ModuleDict)()
        for name, child in children.items():
            container.add_module(name, child)
        return container
    return _build_block(part, children)


def _build_block(part: BlockPart, children: Mapping[str, nn.Module]) -> fx.GraphModule:
    holder, graph = nn.Module(), fx.Graph()
    for name in [*children, *part.tensors]:
        if hasattr(fx.GraphModule, name) or name == "meta":
            raise ExportError(f"a block has a part called {name!r}, which PyTorch needs itself")
    for name, child in children.items():
        holder.add_module(name, child)
    for name, tensor in part.tensors.items():
        kind = torch.float32 if tensor.dtype == "float" else getattr(torch, tensor.dtype)
        empty = torch.empty(tensor.shape, dtype=kind, device="meta")
        if tensor.learned:
            holder.register_parameter(name, nn.Parameter(empty))
        else:
            holder.register_buffer(name, empty)
    results: dict[str, fx.Node] = {}
    for entry in part.inputs:
        if entry.optional:
            default = operations.from_json(entry.default, {})
            node = graph.placeholder(entry.name, default_value=default)
        else:
            node = graph.placeholder(entry.name)
        _keep(results, entry.name, node)
    for step in part.steps:
        _keep(results, step.name, _add_step(graph, holder, step, results))
    graph.output(operations.from_json(part.output, results))
    block = fx.GraphModule(holder, graph)
    block.meta[CLASS] = part.name
    return block


def _keep(results: dict[str, fx.Node], name: str, node: fx.Node) -> None:
    if name in results:
        raise ExportError(f"two steps of a block are called {name!r}")
    results[name] = node


def _add_step(
    graph: fx.Graph, holder: nn.Module, step: Step, results: Mapping[str, fx.Node]
) -> fx.Node:
    args = tuple(operations.from_json(arg, results) for arg in step.args)
    kwargs = {name: operations.from_json(value, results) for name, value in step.kwargs.items()}
    if step.run == "module":
        holder.get_submodule(step.target)  # raises, if there is none
        return graph.create_node("call_module", step.target, args, kwargs, step.name)
    if step.run == "tensor":
        _get_tensor(holder, step.target)
        return graph.create_node("get_attr", step.target, (), {}, step.name)
    target: Any = step.target
    if step.run == "method":
        if step.target not in operations.METHODS:
            raise ExportError(f"{step.target!r} is no method that a described network may call")
    else:
        function = operations.FUNCTIONS.get(step.target)
        if function is None:
            raise ExportError(f"{step.target!r} is no function that a described network may call")
        if function is getattr and not (
            len(args) == 2 and args[1] in operations.ATTRIBUTES and not kwargs
        ):
            raise ExportError("a described network may read a tensor's shape and type only")
        target = function
    return graph.create_node(f"call_{step.run}", target, args, kwargs, step.name)


def _get_tensor(holder: nn.Module, path: str) -> Tensor:
    owner, _, name = path.rpartition(".")
    module = holder.get_submodule(owner)
    for kept in (module._parameters, module._buffers):
        if (tensor := kept.get(name)) is not None:
            return tensor
    raise ExportError(f"a step reads {path!r}, which is no tensor of its block")


def _fill(net: nn.Module, weights: Mapping[str, Tensor], tied: set[str]) -> None:
    """Give a network its numbers."""
    wanted = {
        name: tuple(tensor.shape)
        for name, tensor in net.state_dict().items()
        if not any(name == path or name.startswith(f"{path}.") for path in tied)
    }
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if wanted != found:
        name = min(
            name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)
        )
        raise ExportError(
            f"the weights are of another network: {name!r} has the shape "
            f"{found.get(name, '(none)')}, and the description says {wanted.get(name, '(none)')}"
        )
    net.load_state_dict(dict(weights), strict=False, assign=True)


def _tie(net: nn.Module, network: Network) -> None:
    for path, origin in network.ties:
        owner_path, _, name = path.rpartition(".")
        source_path, _, source_name = origin.rpartition(".")
        try:
            owner, source = net.get_submodule(owner_path), net.get_submodule(source_path)
        except AttributeError as error:
            raise ExportError(f"the description ties what isn't there: {error}") from None
        if name in owner._modules and source_name in source._modules:
            owner._modules[name] = source._modules[source_name]
        elif name in owner._parameters and source_name in source._parameters:
            owner._parameters[name] = source._parameters[source_name]
        else:
            raise ExportError(f"the description ties {path!r} to {origin!r}, which isn't there")
