"""Shared execution: many architectures in one pass, each common piece of work done once.

The state of a pass is a list of groups. Every architecture in a group has seen the same computation
so far, so one value serves them all. A module without choices is applied once per group; a choice
module splits a group by the paths its architectures take, and runs each common beginning of those
paths once. What a module gets and returns is exactly what it would get and return one by one, so
the outputs are equal bit for bit, in training mode too: a batch norm sees one group at a time.

Chains (`nn.Sequential` and choice modules, nested as you like) are walked into. Any other module
with choices inside is run once per distinct restriction of the architectures to those choices:
correct for everything, but nothing is shared inside it.

The idea is not new: see path parallelism in supernet training (Xu et al., HPCA 2023), multi-exit
networks, and stage trees in hyper-parameter search.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from supernet.choices import ChoiceModule
from supernet.errors import SharingError
from supernet.space import Architecture
from supernet.supernet import Supernet


@dataclass(frozen=True, slots=True)
class Group:
    """A value, and the architectures for which it has been computed.

    `shared` says that something else still needs the value too, so that it must not be changed.
    `origin` is one object for one computation: groups that have it in common can be one group.
    """

    value: Tensor
    archs: tuple[Architecture, ...]
    shared: bool = False
    origin: object = field(default_factory=object, repr=False)


#: How to apply a module that needs no splitting to a group's value: by calling it, or with more
#: around the call, such as batch-norm statistics of the group.
Apply = Callable[[nn.Module, Group], Tensor]


def call(module: nn.Module, group: Group) -> Tensor:
    """Apply `module` to the group's value, and do nothing else."""
    value: Tensor = module(group.value)
    return value


def run(
    supernet: Supernet, x: Tensor, archs: Iterable[Architecture], apply: Apply = call
) -> list[Group]:
    """Return the outputs of `supernet` for all `archs`, each common piece of work done once.

    Args:
        supernet: The network, in whatever mode it is.
        x: Its input, as for `supernet(x, arch)`.
        archs: Architectures of its space. One given twice counts once.
        apply: How modules are applied; see `Apply`.

    Returns:
        Groups that cover `archs`: each output with the architectures it belongs to. Architectures
        that differ only in choices that did not matter come in one group.

    Raises:
        SpaceError: If an architecture is not in the space.
        SharingError: If a module changed, in place, a value that other architectures still need.
    """
    wanted = tuple(dict.fromkeys(archs))
    for arch in wanted:
        supernet.space.validate(arch)
    if not wanted:
        return []
    return _Pass(supernet, apply).through(supernet.net, [Group(x, wanted)])


def outputs(supernet: Supernet, x: Tensor, archs: Sequence[Architecture]) -> list[Tensor]:
    """Return what `[supernet(x, arch) for arch in archs]` returns, bit for bit, from one pass."""
    by_arch = {arch: group.value for group in run(supernet, x, archs) for arch in group.archs}
    return [by_arch[arch] for arch in archs]


class _Pass:
    """One pass through one supernet."""

    def __init__(self, supernet: Supernet, apply: Apply) -> None:
        self.supernet = supernet
        self.apply = apply

    def through(self, module: nn.Module, groups: list[Group]) -> list[Group]:
        """Take groups of architectures through `module`, splitting them where it makes them."""
        if module not in self.supernet.modules_with_choices:
            return [self._step(module, group) for group in groups]
        if isinstance(module, ChoiceModule) and _only_runs(module, ChoiceModule.forward):
            return [end for group in groups for end in self._along_paths(module, group)]
        if isinstance(module, nn.Sequential) and _only_runs(module, nn.Sequential.forward):
            for child in module:  # not `children()`, which gives a module used twice only once
                groups = self.through(child, groups)
            return groups
        return [end for group in groups for end in self._one_by_one(module, group)]

    def _step(self, module: nn.Module, group: Group) -> Group:
        """Apply a module that splits nothing."""
        if not group.shared:
            return Group(self.apply(module, group), group.archs)
        if group.value.is_inference():  # changes to it leave no trace, so it can't be guarded
            copy = Group(group.value.clone(), group.archs)
            return Group(self.apply(module, copy), group.archs)
        version = group.value._version
        value = self.apply(module, group)
        if group.value._version != version:
            raise SharingError(
                f"{type(module).__name__} changes its input in place, but other architectures "
                "still need that input; build it with inplace=False"
            )
        return Group(value, group.archs, shared=_same_memory(value, group.value))

    def _along_paths(self, module: ChoiceModule, group: Group) -> list[Group]:
        paths = {arch: module.path(arch) for arch in group.archs}
        ends: dict[object, Group] = {}
        for end in self._branch(group, paths, 0):
            # One origin twice: no block ran, say, or one did that skipped all of its own.
            known = ends.get(end.origin)
            ends[end.origin] = replace(end, archs=known.archs + end.archs) if known else end
        return list(ends.values())

    def _branch(
        self, group: Group, paths: dict[Architecture, tuple[nn.Module, ...]], step: int
    ) -> list[Group]:
        """Split a group, all of whose paths agree before `step`, by how they go on."""
        here = tuple(arch for arch in group.archs if len(paths[arch]) == step)
        onward: dict[nn.Module, list[Architecture]] = {}
        for arch in group.archs:
            if len(paths[arch]) > step:
                onward.setdefault(paths[arch][step], []).append(arch)
        shared = group.shared or len(onward) + bool(here) > 1
        ends = [replace(group, archs=here, shared=shared)] if here else []
        for module, archs in onward.items():
            part = replace(group, archs=tuple(archs), shared=shared)
            for reached in self.through(module, [part]):
                ends += self._branch(reached, paths, step + 1)
        return ends

    def _one_by_one(self, module: nn.Module, group: Group) -> list[Group]:
        """Run a module that can't be walked into, once per restriction to the choices inside."""
        names = [c.name for m in module.modules() if isinstance(m, ChoiceModule) for c in m.choices]
        alike: dict[Architecture, list[Architecture]] = {}
        for arch in group.archs:
            alike.setdefault(arch.restrict(names), []).append(arch)
        ends = []
        for archs in alike.values():
            with self.supernet.activate(archs[0]):
                shared = group.shared or len(alike) > 1
                ends.append(self._step(module, Group(group.value, tuple(archs), shared)))
        return ends


def _same_memory(a: Tensor, b: Tensor) -> bool:
    # Not `data_ptr()`, which is 0 for everything on the meta device, where costs are counted.
    return bool(a.untyped_storage()._cdata == b.untyped_storage()._cdata)


def _only_runs(module: nn.Module, forward: Callable[..., Tensor]) -> bool:
    """Say whether calling `module` does what `forward` does, and nothing else."""
    return getattr(module.forward, "__func__", None) is forward and not any(
        (
            module._forward_hooks,
            module._forward_pre_hooks,
            module._backward_hooks,
            module._backward_pre_hooks,
        )
    )
