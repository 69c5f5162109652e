"""The supernet, a network that holds every architecture of a space."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from supernet.errors import SpaceError
from supernet.nn.choices import ChoiceModule
from supernet.nn.reachability import find_space
from supernet.nn.recomputing import Runs
from supernet.nn.suitability import require_suitable
from supernet.space import Architecture
from supernet.space.notebook import count


@final
class Supernet(nn.Module):
    """Wraps any module that contains choices, and finds its search space.

    A module without choices is a supernet of one architecture, and is left exactly as it was, so
    everything that trains or evaluates a supernet does the same for a plain network.

    Where there are several architectures, the running statistics of the batch norms are removed:
    pooled over many architectures they describe none of them. Training uses the batch's own
    statistics as always; `extract`, `recalibrate` and `evaluate` give an architecture its own.

    A choice inside a block that isn't reached, or an operation not chosen, doesn't count; see
    `SearchSpace` for what then are different architectures. `supernet(x, arch)` takes any spelling.

    Args:
        net: The network. It is used as it is, not copied.

    Raises:
        SpaceError: If two different choices share a name, two depend on each other, or too many on
            one another to be counted; or if there are several architectures, and a module that
            can't serve them, such as a frozen batch norm or a compiled module; see `suitability`.

    Example:
        >>> from supernet.nn.choices import Depth
        >>> def blocks(count: int) -> list[nn.Module]:
        ...     return [nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(count)]
        >>> net = nn.Sequential(Depth("first", blocks(3)), Depth("second", blocks(2)))
        >>> supernet = Supernet(net)
        >>> supernet
        Supernet(Sequential: 6 architectures of 2 choices, 360 parameters)
        >>> arch = supernet.space.smallest
        >>> supernet(torch.zeros(4, 8), arch).shape
        torch.Size([4, 8])
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        _require_module(net)
        self.net = net
        self.space = find_space(net)
        inside = {m: [i for i in m.modules() if isinstance(i, ChoiceModule)] for m in net.modules()}
        self._choice_modules = {m: tuple(found) for m, found in inside.items() if found}
        chosen = self._choice_modules.get(net, ())
        # Of networks that have modules in common, the modules run in one order.
        self._runs = next((m._runs for m in chosen if m._runs), None) or Runs()
        for part in chosen:
            vars(part)["_runs"] = self._runs
        #: Those that contain a choice module or are one. All others are the same for everyone.
        self.modules_with_choices = frozenset(self._choice_modules)
        if self.space.size > 1:
            require_suitable(net)
            for module in net.modules():
                if isinstance(module, _BatchNorm):
                    _forget_statistics(module)

    @contextmanager
    def activate(self, arch: Architecture) -> Iterator[None]:
        """Run `arch` inside the block, and whatever was active before it afterwards.

        Raises:
            SpaceError: If `arch` is not in the space.
        """
        self.space.validate(arch)
        with self.activate_within(self.net, arch):
            yield

    @contextmanager
    def activate_within(self, module: nn.Module, arch: Architecture) -> Iterator[None]:
        """Do what `activate` does, for a part of the network, and an `arch` that was validated.

        Shared execution runs many parts of a network one by one. To set, and to check, everything
        at each of them would take longer than small layers do.
        """
        modules, runs = self._choice_modules.get(module, ()), self._runs
        before, ran_before = [m._active for m in modules], runs.current
        try:
            for m in modules:
                vars(m)["_active"] = arch  # what `m._active = arch` does, without a search first
            runs.switch(arch)
            yield
        finally:
            runs.switch(ran_before)
            for m, previous in zip(modules, before, strict=True):
                vars(m)["_active"] = previous

    def forward(self, x: Any, arch: Architecture, /, **inputs: Any) -> Any:
        """Run `arch`: return `net(x, **inputs)` as that architecture computes it."""
        with self.activate(arch):
            return self.net(x, **inputs)

    def __repr__(self) -> str:
        return f"Supernet({type(self.net).__name__}: {self._summary()})"

    def _repr_html_(self) -> str:
        """Return a table of the choices, for notebooks. `print(supernet.net)` shows the modules."""
        return self.space._repr_html_()

    def _summary(self) -> str:
        parameters = sum(p.numel() for p in self.parameters())
        return (
            f"{count(self.space.size, 'architecture')} of "
            f"{count(len(self.space.choices), 'choice')}, {count(parameters, 'parameter')}"
        )


def require_supernet(what: object, where: str) -> None:
    """Raise `SpaceError` unless something is a `Supernet`, and say how to make it one.

    Args:
        what: Anything.
        where: The function that it was given to.
    """
    if isinstance(what, Supernet):
        return
    inside = getattr(what, "module", None)
    way = "wrap a network: Supernet(net)"
    if isinstance(inside, Supernet):
        way = "give it the supernet inside, its `.module`"
    raise SpaceError(f"{where} takes a Supernet, and was given a {type(what).__name__}; {way}")


def _forget_statistics(norm: _BatchNorm) -> None:
    norm.track_running_stats = False
    norm.running_mean = norm.running_var = norm.num_batches_tracked = None


def _require_module(net: Any) -> None:
    if not isinstance(net, nn.Module):
        given = f"the class {net.__name__}" if isinstance(net, type) else repr(net)
        raise SpaceError(f"a Supernet is made of a torch.nn.Module, and was given {given}")


def fresh_statistics(norm: _BatchNorm, net: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean (0), variance (1) and batch count (0) of a batch norm that saw nothing.

    Their type and device are those of the norm's parameters; of those of `net`, if it has none.
    """
    like = next(itertools.chain(norm.parameters(), net.parameters()), torch.empty(0))
    mean = torch.zeros(norm.num_features, dtype=like.dtype, device=like.device)
    return mean, torch.ones_like(mean), torch.zeros((), dtype=torch.long, device=like.device)
