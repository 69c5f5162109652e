"""Costs of a network: parameters and multiply-adds, counted while it runs.

The work is counted by PyTorch's own counter on the `meta` device, where nothing is computed.
1 MAC = 2 FLOPs; only convolutions and matrix products count, as is usual.
"""

from __future__ import annotations

import copy
import functools
import random
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast, final

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from supernet.evaluation.batches import call, planner_for, samples_in
from supernet.evaluation.works import Tracer
from supernet.nn.choices import ChoiceChain, ChoiceModule, to_plain
from supernet.nn.extraction import extract
from supernet.nn.reachability import restrict
from supernet.nn.supernet import Supernet
from supernet.sharing.kinds import Remembered, form_of, kind_of, modes, without_graph
from supernet.sharing.module_state import has_hooks
from supernet.sharing.structure import key, replace
from supernet.space import Architecture
from supernet.strategies.costs import Cost, Parts, TableCost
from supernet.tasks import tensors_in

Shape = Sequence[int]

#: What samples are: the shape of one, if it is one tensor of floating-point numbers; or a batch of
#: some, of any form: a tensor such as token numbers, or tensors in a tuple or dict.
Form = Shape | Tensor | tuple[Any, ...] | dict[str, Any]


def empty_batch(form: Form, images: int = 2) -> Any:
    """Return samples without content, to plan and count with.

    >>> tuple(empty_batch((1, 28, 28)).shape)
    (2, 1, 28, 28)
    >>> empty_batch(torch.zeros(5, 64, dtype=torch.int64), 8).dtype
    torch.int64

    Args:
        form: What samples are.
        images: How many. Two by default: batch norms in training mode need more than one value per
            channel.
    """
    if next(tensors_in(form), None) is None:
        return torch.empty(images, *cast(Shape, form), device="meta")

    def empty(tensor: Tensor) -> Tensor:
        return torch.empty(images, *tensor.shape[1:], dtype=tensor.dtype, device="meta")

    return replace(form, Tensor, empty)


def count_params(net: nn.Module) -> int:
    """Return how many trainable numbers `net` holds."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def count_layers(net: nn.Module) -> int:
    """Return how many layers a plain network has whose weights multiply what they are given.

    Convolutions, linear layers and the like: modules without children that hold a weight of two or
    more axes. Norms and scales don't count.
    """
    return sum(map(_is_layer, net.modules()))


def _is_layer(module: nn.Module) -> bool:
    return not any(True for _ in module.children()) and any(
        p.ndim > 1 for p in module.parameters(recurse=False)
    )


def count_macs(supernet: Supernet, arch: Architecture, shape: Form) -> int:
    """Return the multiply-adds of one image, forward, of the extracted `arch`.

    Args:
        supernet: The network that holds `arch`.
        arch: Which architecture.
        shape: Of one image: channels, height, width; or samples of another form, see `Form`.
    """
    return count_network_macs(extract(supernet, arch), shape)


def count_network_macs(net: nn.Module, shape: Form) -> int:
    """Return the multiply-adds of one sample, forward, of a plain network.

    Args:
        net: The network; it is moved to the `meta` device, for good.
        shape: Of one sample, such as channels, height, width; or samples of another form.
    """
    net, x = net.to("meta").eval(), empty_batch(shape)
    with FlopCounterMode(display=False) as counter, _layers_remembered(net, counter) as skipped:
        call(net, x)
    return (int(counter.get_total_flops()) + sum(skipped)) // (2 * samples_in(x))


#: What single layers put out, without content, and their floating-point operations.
_COUNTED = Remembered[tuple[Any, int]]()


@contextmanager
def _layers_remembered(net: nn.Module, counter: FlopCounterMode) -> Iterator[list[int]]:
    """Inside the block, let layers without content put out again what others like them did.

    Networks of a space consist of the same layers, and PyTorch takes milliseconds to go through a
    batch norm without content. What is given takes up the operations that are not done for it.
    """
    skipped: list[int] = []

    def remembering(kind: object, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        what = kind, key(replace((args, kwargs), Tensor, form_of)), modes()
        if known := _COUNTED.get(what):
            result, flops = known
            skipped.append(flops)
            return replace(result, Tensor, Tensor.clone)
        before = counter.get_total_flops()
        result = forward(*args, **kwargs)
        flops = int(counter.get_total_flops()) - before
        _COUNTED.keep(what, (replace(result, Tensor, without_graph), flops))
        return result

    layers = [module for module in net.modules() if not any(True for _ in module.children())]
    kinds = {layer: kind for layer in layers if not has_hooks(layer) and (kind := kind_of(layer))}
    for layer, kind in kinds.items():
        layer.forward = functools.partial(remembering, kind, layer.forward)
    try:
        yield skipped
    finally:
        for layer in kinds:
            del layer.forward


def count_shared_macs(
    supernet: Supernet, archs: Sequence[Architecture], shape: Form, *, backward: bool = False
) -> int:
    """Return the multiply-adds of one image through all `archs` in one shared pass.

    Args:
        supernet: The network that holds them.
        archs: Architectures; what they have in common counts once.
        shape: Of one image: channels, height, width.
        backward: Count the gradients too, as a training step computes them.
    """
    plan = planner_for(supernet, empty_batch(shape)).plan(archs)
    return (plan.training_macs if backward else plan.macs) // plan.samples


def plan_costs(supernet: Supernet, shape: Form) -> dict[str, Cost]:
    """Return "params" and "macs" as functions of an architecture that build nothing.

    They are sums of table entries, learned from some architectures (seconds for a large space), and
    equal `count_params` of the extracted network and `count_macs`. Then one takes microseconds, and
    of thousands at once less than one each. If a network shouldn't keep to that, which is tried
    with a few architectures, its costs are counted one by one, and remembered.

    Example:
        >>> from supernet import build_mnist_net
        >>> supernet = Supernet(build_mnist_net(seed=0))
        >>> costs = plan_costs(supernet, (1, 28, 28))
        >>> int(costs["params"](supernet.space.smallest))
        65802

    Args:
        supernet: The network.
        shape: Of one image: channels, height, width.
    """
    space, x = supernet.space, empty_batch(shape)
    tracer = Tracer(supernet, x)
    blank = copy.deepcopy(supernet.net).to("meta")
    holders = _Holders(blank, count_params, _trainable)

    def flops_of(arch: Architecture) -> dict[str, int]:
        return {place: work.flops for place, work in tracer.works_of(arch).items() if work.flops}

    counted: dict[str, Callable[[Architecture], int]] = {
        "params": lambda arch: count_params(extract(supernet, arch)),
        "macs": lambda arch: count_macs(supernet, arch, shape),
    }
    planned: dict[str, Cost] = {
        "params": TableCost(Parts(space, holders.of), _number),
        "macs": TableCost(Parts(space, flops_of), _number, factor=1 / (2 * samples_in(x))),
    }
    rng = random.Random(0)
    tried = {space.largest, space.smallest, *(space.sample(rng, by="options") for _ in range(2))}
    for name, count in counted.items():
        if any(_differs(planned[name], count, arch) for arch in tried):
            planned[name] = functools.lru_cache(maxsize=100_000)(count)
    return planned


def plan_layers(supernet: Supernet) -> Cost:
    """Return how many layers an architecture runs, as a function that builds nothing.

    It equals `count_layers` of the extracted network; see `plan_costs`.
    """
    blank = copy.deepcopy(supernet.net).to("meta")
    cost = TableCost(Parts(supernet.space, _Holders(blank, count_layers, _own_layer).of), _number)

    def count(arch: Architecture) -> int:
        return count_layers(extract(supernet, arch))

    rng = random.Random(0)
    tried = [supernet.space.largest, *(supernet.space.sample(rng, by="options") for _ in range(3))]
    if any(_differs(cost, count, arch) for arch in tried):
        return functools.lru_cache(maxsize=100_000)(count)
    return cost


def _trainable(module: nn.Module, own: Sequence[nn.Parameter]) -> int:
    return sum(p.numel() for p in own if p.requires_grad)


def _own_layer(module: nn.Module, own: Sequence[nn.Parameter]) -> int:
    return int(_is_layer(module))


def _differs(cost: Cost, count: Callable[[Architecture], int], arch: Architecture) -> bool:
    try:
        return cost(arch) != count(arch)
    except RuntimeError:  # a network that looks at numbers can't be counted without content
        return False


def _number(part: Hashable) -> float:
    assert isinstance(part, int)
    return part


@final
class _Holders:
    """Says what an architecture's modules hold: what `extract` would keep, without doing it.

    Args:
        net: The network.
        whole: Counts what a plain network holds.
        alone: Counts what a module holds without its children, given its own parameters.
    """

    def __init__(
        self,
        net: nn.Module,
        whole: Callable[[nn.Module], int],
        alone: Callable[[nn.Module, Sequence[nn.Parameter]], int],
    ) -> None:
        self._net, self._whole, self._alone = net, whole, alone
        self._known: dict[tuple[str, Architecture], int] = {}

    def of(self, arch: Architecture) -> dict[str, int]:
        """Return how much there is, by the path of the module that holds it."""
        found: dict[str, int] = {}
        self._walk(self._net, "", arch, found, set())
        return found

    def _walk(
        self,
        module: nn.Module,
        path: str,
        arch: Architecture,
        found: dict[str, int],
        seen: set[int],
    ) -> None:
        if id(module) in seen:  # a module at several places is one
            return
        seen.add(id(module))
        if isinstance(module, ChoiceChain):
            for child in module.path(arch):
                self._walk(child, f"{path}/{_place(module, child)}", arch, found, seen)
            return
        if isinstance(module, ChoiceModule):
            what = path, restrict(arch, module)
            if what not in self._known:
                self._known[what] = self._whole(to_plain(copy.deepcopy(module), arch))
            found[path] = self._known[what]
            return
        own = [p for p in module.parameters(recurse=False) if id(p) not in seen]
        seen.update(map(id, own))
        if own and (amount := self._alone(module, own)):
            found[path] = amount
        for name, child in module.named_children():
            self._walk(child, f"{path}/{name}", arch, found, seen)


def _place(module: nn.Module, child: nn.Module) -> str:
    return str(next(name for name, inner in module.named_modules() if inner is child))
