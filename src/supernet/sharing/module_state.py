"""State of a module besides its parameters: hooks, modes, and attributes of its own.

Each of these may decide what the module does when it is called, so what is remembered of a module
holds for as long as they stay the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from torch import Tensor, fx, nn

from supernet.sharing.structure import key

_OF_PYTORCH = frozenset(vars(nn.Module()))


#: What a supernet keeps in choice modules while it runs them.
_OURS = frozenset({"_active", "_runs"})


def own_attributes(module: nn.Module) -> dict[str, Any]:
    """Return the attributes that are the module's own, without those PyTorch keeps there."""
    return {name: value for name, value in vars(module).items() if name not in _OF_PYTORCH}


def plainly_runs(module: nn.Module, forward: Callable[..., Any]) -> bool:
    """Say whether calling `module` does what `forward` does, and nothing else."""
    return getattr(module.forward, "__func__", None) is forward and not has_hooks(module)


def has_hooks(module: nn.Module) -> bool:
    """Say whether something else runs when `module` is called."""
    return any(hooks_of(module))


def hooks_of(module: nn.Module) -> tuple[dict[int, Any], ...]:
    """Return the dicts in which PyTorch keeps what else runs when `module` is called."""
    return (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )


def settings_of(module: nn.Module) -> object:
    """Return the module's own attributes, which may decide how its forward goes; hashable."""
    own = own_attributes(module)
    return tuple((name, fingerprint(value)) for name, value in own.items() if name not in _OURS)


def fingerprint(value: object) -> object:
    """Return something hashable that stays equal as long as an attribute says the same."""
    if hasattr(value, "__dict__") and not callable(value) and not isinstance(value, Tensor):
        return key(value), key(dict(vars(value)))  # an object of settings counts by what it holds
    return key(value)


@final
class Reads:
    """Which attributes of modules were read, and what they were.

    What PyTorch itself keeps in a module, such as its children and its mode, is left out: that is
    in `frame_of`.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[nn.Module, str], object] = {}

    def add(self, module: nn.Module, name: str) -> None:
        """Take note of an attribute as it is."""
        self._found.setdefault((module, name), _state_of(module, name))

    @property
    def hold(self) -> bool:
        """Whether all of them are still what they were."""
        return all(_state_of(*what) == was for what, was in self._found.items())


def _state_of(module: nn.Module, name: str) -> object:
    own = vars(module)
    if name == "__dict__":
        return settings_of(module)
    return fingerprint(own[name]) if name in own else None


_NOT_WATCHED = _OF_PYTORCH | _OURS

#: Files whose code tells nothing about a forward when it reads attributes.
_BYSTANDERS = (
    __file__,
    str(Path(__file__).with_name("tracing.py")),
    nn.Module.__init__.__code__.co_filename,
    str(Path(fx.__file__).parent),
)


@contextmanager
def reads_watched(stand_in: nn.Module, module: nn.Module) -> Iterator[Reads]:
    """Inside the block, take note of which attributes of modules are read.

    PyTorch's own lookup is replaced meanwhile, as `torch.fx` does it to find out about children.

    Args:
        stand_in: What is read instead of `module`.
        module: What it stands for.
    """
    reads = Reads()

    def read(self: nn.Module, name: str) -> Any:
        reader = sys._getframe(1).f_code.co_filename
        if name not in _NOT_WATCHED and not reader.startswith(_BYSTANDERS):
            reads.add(module if self is stand_in else self, name)
        return object.__getattribute__(self, name)

    outer = vars(nn.Module).get("__getattribute__")  # of a module inside which this one is traced
    nn.Module.__getattribute__ = read  # type: ignore[method-assign, assignment]
    try:
        yield reads
    finally:
        if outer is None:
            del nn.Module.__getattribute__
        else:
            nn.Module.__getattribute__ = outer  # type: ignore[method-assign]


def frame_of(module: nn.Module) -> object:
    """Return what a module consists of, in what modes, and who of them does more; hashable.

    A chain without choices, or a list of modules, is never followed, but those who are look inside.
    """
    return tuple(
        (
            id(m),
            m.training,
            tuple(map(id, m._modules.values())),
            tuple([name for name, value in m._parameters.items() if value is None]),
            tuple([name for name, value in m._buffers.items() if value is None]),
            has_hooks(m),
            "forward" in vars(m),
        )
        for m in module.modules()
    )
