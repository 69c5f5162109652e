"""Pieces of work that architectures consist of: found by running them on empty tensors.

A piece of work is a module in which nothing is left to choose, and the form of what it is given. A
module without choices is one, and so is an elastic layer once an architecture is given. Whatever
holds choices is run as it is, so that its parts are found; what it computes itself, outside of
modules, is one more piece. Each distinct piece is looked at once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, fx, nn
from torch.utils.flop_counter import FlopCounterMode

from supernet.evaluation.batches import split_inputs
from supernet.nn.choices import ChoiceChain, ChoiceModule, to_plain
from supernet.nn.reachability import find_space, restrict
from supernet.nn.supernet import Supernet
from supernet.sharing.structure import replace
from supernet.space import Architecture


@dataclass(frozen=True, slots=True)
class Work:
    """One piece of work.

    Attributes:
        key: What it is, as text: equal for pieces that do the same.
        flops: What it takes, forward, for the batch that was traced.
    """

    key: str
    flops: int


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a piece of work comes from, so that it can be made.

    Attributes:
        path: Of the module, in the network.
        arch: An architecture that has it.
        args: What it is given by position; tensors without content.
        kwargs: What it is given by name, likewise.
    """

    path: str
    arch: Architecture
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@final
class Tracer:
    """Says which pieces of work an architecture consists of.

    Args:
        supernet: The network; it is not changed. It is looked at as it is in evaluation.
        x: A batch such as it will get, of at least two samples; it may be without content.
        block: A module that holds choices is one piece if it has at most so many architectures of
            its own, and isn't just a sequence of others. With 1, pieces are as small as can be.
    """

    def __init__(self, supernet: Supernet, x: Any, *, block: int = 1) -> None:
        self.space = supernet.space
        self.origins: dict[str, Origin] = {}
        self._supernet, self._x, self._block = supernet, x, block
        self._copy(meta=True)

    def _copy(self, *, meta: bool) -> None:
        net = copy.deepcopy(self._supernet.net)
        for module in net.modules():
            module._forward_hooks.clear()
            module._forward_pre_hooks.clear()
        # One to take modules out of, and one to run, in which modules report what they do.
        self._blank = (net.to("meta") if meta else net).eval()
        self._twin = Supernet(copy.deepcopy(self._blank)).eval()
        device = next((p.device for p in self._blank.parameters()), torch.device("meta"))
        # One argument, or several; zeros are good token numbers too.
        self._first, self._others = split_inputs(
            self._twin.net,
            replace(
                self._x,
                Tensor,
                lambda x: x.to("meta") if meta else torch.zeros_like(x, device=device),
            ),
        )
        self._meta = meta
        self._known: dict[Hashable, tuple[Any, Work]] = {}
        for path, module in list(self._twin.net.named_modules()):
            self._observe(path, module)

    def works_of(self, arch: Architecture) -> Mapping[str, Work]:
        """Return an architecture's pieces of work, by the places where they are done."""
        try:
            return self._run(arch)
        except Exception:
            if not self._meta:
                raise
        # A forward that looks at numbers can't run without content: let it run on zeros.
        self._copy(meta=False)
        return self._run(arch)

    @torch.no_grad()
    def _run(self, arch: Architecture) -> Mapping[str, Work]:
        self._arch = arch
        self._found: dict[str, Work] = {}
        self._times: dict[str, int] = {}
        self._inner = [0]  # of each module being run: what is accounted for inside it
        with FlopCounterMode(display=False) as self._counter, torch.random.fork_rng(devices=[]):
            self._twin(self._first, arch, **self._others)
            rest = self._counter.get_total_flops() - self._counted
            if rest:
                self._note("", Work("outside of modules", rest))
        return self._found

    @property
    def _counted(self) -> int:
        return self._inner[-1]

    def _observe(self, path: str, module: nn.Module) -> None:
        inside = self._twin.modules_with_choices
        parents = [path.rpartition(".")[0]] if path else []
        if parents and self._is_piece(self._twin.net.get_submodule(parents[0])):
            return  # a part of a piece
        while parents and parents[0]:
            parents[0] = parents[0].rpartition(".")[0]
            if self._is_piece(self._twin.net.get_submodule(parents[0])):
                return
        if "forward" in vars(module) and getattr(module.forward, "observes", False):
            return  # a module at several places
        if self._is_piece(module):
            self._replace(module, self._piece(path, module))
        elif module in inside and not isinstance(module, nn.Sequential | ChoiceChain):
            self._replace(module, self._walked(path, module.forward))

    def _replace(self, module: nn.Module, forward: Callable[..., Any]) -> None:
        forward.observes = True  # type: ignore[attr-defined]
        module.forward = forward

    def _is_piece(self, module: nn.Module) -> bool:
        """Say whether a module is a piece of work once an architecture is given."""
        inside = self._twin.modules_with_choices
        if type(module).forward is nn.Module.forward:  # a list of modules; it isn't called itself
            return False
        if module not in inside:
            return True
        if isinstance(module, nn.Sequential | ChoiceChain):
            return False
        if isinstance(module, ChoiceModule) and inside.isdisjoint(module.children()):
            return True
        return self._block > 1 and find_space(module).size <= self._block

    def _piece(self, path: str, module: nn.Module) -> Callable[..., Any]:
        blank, plain_forward = self._blank.get_submodule(path), module.forward
        chooses = module in self._twin.modules_with_choices

        def forward(*args: Any, **kwargs: Any) -> Any:
            own = restrict(self._arch, module) if chooses else None
            what = path, own, _form(args), _form(kwargs)
            if what not in self._known:
                run: Callable[..., Any] = plain_forward
                start = self._counter.get_total_flops()
                if chooses:  # taking parts of weights out may be work, but not of the network
                    run = to_plain(copy.deepcopy(blank), self._arch).eval()
                before = self._counter.get_total_flops()
                result = run(*args, **kwargs)
                end = self._counter.get_total_flops()
                flops = end - before
                self._inner[-1] += end - start
                made = run if isinstance(run, nn.Module) else blank
                work = Work(_key(path, own, made, args, kwargs), flops)
                bare = replace((args, kwargs), Tensor, lambda t: torch.empty_like(t, device="meta"))
                self.origins.setdefault(work.key, Origin(path, self._arch, *bare))
                self._known[what] = result, work
            result, work = self._known[what]
            self._note(path, work)
            return result

        return forward

    def _walked(self, path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        def walked(*args: Any, **kwargs: Any) -> Any:
            before = self._counter.get_total_flops()
            self._inner.append(0)
            try:
                result = forward(*args, **kwargs)
            finally:
                inner = self._inner.pop()
            spent = self._counter.get_total_flops() - before
            if spent - inner:
                self._note(f"{path}: itself", Work(f"{path}: itself", spent - inner))
            self._inner[-1] += spent
            return result

        return walked

    def _note(self, path: str, work: Work) -> None:
        times = self._times[path] = self._times.get(path, 0) + 1
        self._found[path if times == 1 else f"{path}, time {times}"] = work


def _form(value: Any) -> Hashable:
    """Return something hashable that says what form a value has."""
    if isinstance(value, Tensor):
        return tuple(value.shape), value.dtype, value.stride()
    if isinstance(value, list | tuple):
        return tuple(map(_form, value))
    if isinstance(value, dict):
        return tuple((name, _form(one)) for name, one in sorted(value.items()))
    return repr(value)


def _key(path: str, own: Architecture | None, module: nn.Module, args: Any, kwargs: Any) -> str:
    """Return a text for what a module does; for two of PyTorch's that do the same it is the same.

    What modules of other classes do can't be told from their texts, so theirs name the place.
    """
    ours = all(type(part).__module__.startswith("torch.") for part in module.modules())
    graphs = [part.code for part in module.modules() if isinstance(part, fx.GraphModule)]
    says = [repr(module), *graphs] if ours else [path, repr(own), repr(module)]
    given = [(tuple(t.shape), t.dtype) if isinstance(t, Tensor) else _form(t) for t in args]
    return "\n".join([*says, f"given {given} {_form(kwargs)}"])
