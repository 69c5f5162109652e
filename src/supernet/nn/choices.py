"""Base classes of choice modules, `Depth` and `OneOf`.

There are two kinds. A chain (`ChoiceChain`) says which of its children an architecture runs, in
which order: its `path`. The forward pass, extraction and shared execution all follow that one
answer, so they can't disagree. Any other choice module has a `forward` of its own and says what
plain module does the same for an architecture (`plain`); both take what they need from one method,
so they can't disagree either. `supernet.nn.elastic` has those that choose how much of a weight they
use.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from supernet.errors import NoArchitectureError, SpaceError
from supernet.nn.recomputing import Runs
from supernet.space import Architecture, Choice


class ChoiceModule(nn.Module, ABC):
    """A module whose computation depends on the architecture. Subclasses are final.

    They define `choices`, `forward` and `plain`. `supernet.testing` has the contract that all of
    them keep. What only runs some of its children is a `ChoiceChain`; a subclass that defines a
    `path` and no `forward` becomes one.

    Attributes:
        keeps_input: Whether `forward` is known to leave its input as it is. Shared execution then
            needs no copy of an input that other architectures still need. False is always right.
        has_fixed_forward: Whether `forward` does the same with its children on every call. Shared
            execution then relies on its traced graph without trying it first. False is always
            right.
    """

    keeps_input: ClassVar[bool] = False
    has_fixed_forward: ClassVar[bool] = False

    #: Set by `Supernet.activate`, and by nothing else; read as `active`.
    _active: Architecture | None = None

    #: Set by `Supernet`; says what is run when a backward pass runs a forward again.
    _runs: Runs | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "path" in vars(cls) and "forward" not in vars(cls) and ChoiceModule in cls.__bases__:
            cls.__bases__ = tuple(ChoiceChain if b is ChoiceModule else b for b in cls.__bases__)

    @property
    def active(self) -> Architecture:
        """The architecture that is being run; in a backward pass, the one that the forward ran.

        Raises:
            NoArchitectureError: If none is. There is no default: a network that quietly ran its
                largest or its last architecture would give a number that looks like a result.
        """
        arch, runs = self._active, self._runs
        if runs is not None and not torch.compiler.is_compiling() and runs.recomputing:
            arch = runs.recomputed()
        if arch is None:
            raise NoArchitectureError(
                f"{type(self).__name__} has no active architecture; call the supernet as "
                "`supernet(x, arch)`, or use `with supernet.activate(arch):`"
            )
        return arch

    @property
    @abstractmethod
    def choices(self) -> tuple[Choice, ...]:
        """The decisions this module makes; those of modules inside it are theirs."""

    def plain(self, arch: Architecture) -> nn.Module:
        """Return a module that does what this one does for `arch`, and holds what that needs only.

        Its class is PyTorch's. It may consist of children of this module, with their choices, if
        they are used as they are; parts of weights are copies.
        """
        raise NotImplementedError(
            f"{type(self).__name__} is no chain: it needs a `path`, or `forward` and `plain`"
        )


class ChoiceChain(ChoiceModule):
    """A choice module that runs some of its children, one after the other. Subclasses are final.

    They define `choices` and `path`, and have no `forward` of their own. Shared execution walks
    along the path, and the choices of children that an architecture doesn't reach don't count.
    """

    #: Whether `check` may object; said by defining it.
    checks: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "forward" in vars(cls):
            raise TypeError(
                f"{cls.__name__} is a ChoiceChain, so it runs its `path`, but it defines a "
                "`forward`; make it a ChoiceModule with `forward` and `plain`"
            )
        cls.checks = cls.checks or "check" in vars(cls)

    @abstractmethod
    def path(self, arch: Architecture) -> tuple[nn.Module, ...]:
        """Return the children that `arch` runs here, in order: each is given the last one's output.

        It depends on the module's own choices only.
        """

    def forward(self, x: Any, *more: Any, **named: Any) -> Any:
        """Run the active architecture's path on a value: a tensor, or whatever its modules take.

        Args:
            x: The value.
            *more: What each module on the path is given besides, such as a mask.
            **named: The same, by name.

        Raises:
            NoArchitectureError: If none is active.
            SpaceError: If a result is none that the path can have there; see `check`.
        """
        for place, module in enumerate(self.path(self.active)):
            y = module(x, *more, **named)
            self.check(place, x, y)
            x = y
        return x

    def check(self, place: int, x: Any, y: Any) -> None:
        """Raise `SpaceError` if the module at a place of the path must not make `y` of `x`."""

    def plain(self, arch: Architecture) -> nn.Module:
        return nn.Sequential(*self.path(arch))


@final
class Depth(ChoiceChain):
    """Runs the first `d` of its blocks, where `d` is chosen: 1, 1->2, 1->2->3, never a gap.

    Block k is the same module, with the same weights, in every architecture that runs it.

    Args:
        name: Name of the block. The choice is called `name + ".depth"`.
        blocks: The blocks, in order. Each must keep the shape of what it is given.
        shortest: The least number of blocks that may run; 0 makes the whole module skippable.
        example: A tensor such as the first block will get, with which the blocks are tried at once.
            Without one, a block that changes the shape is found when it first runs.

    Raises:
        SpaceError: If there are no blocks, `shortest` is not among 0 to their number, or a block
            can't run on the example, or changes its shape.

    Example:
        >>> depth = Depth("body", [nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)])
        >>> depth.choices
        (Choice(name='body.depth', options=(1, 2, 3)),)
        >>> depth.path(Architecture({"body.depth": 2}))
        (Linear(in_features=4, out_features=4, bias=True), Tanh())
    """

    def __init__(
        self,
        name: str,
        blocks: Sequence[nn.Module],
        *,
        shortest: int = 1,
        example: Tensor | None = None,
    ) -> None:
        super().__init__()
        _require_list(name, blocks)
        if not blocks:
            raise SpaceError(f"Depth {name!r} has no blocks; give it at least one")
        if not 0 <= shortest <= len(blocks):
            raise SpaceError(
                f"Depth {name!r} can't run at least {shortest} of {len(blocks)} blocks; "
                f"`shortest` must be 0 to {len(blocks)}"
            )
        self.name = name
        self.depth = Choice(f"{name}.depth", tuple(range(shortest, len(blocks) + 1)))
        self.blocks = nn.ModuleList(blocks)
        if example is not None:
            self._try_out(example)

    @torch.no_grad()
    def _try_out(self, x: Tensor) -> None:
        """Raise `SpaceError` if a block can't run on such a tensor, or changes its shape."""
        inside = (m for m in self.blocks.modules() if isinstance(m, ChoiceModule))
        largest = Architecture({c.name: c.options[-1] for m in inside for c in m.choices})
        for place, block in enumerate(self.blocks):
            plain = to_plain(copy.deepcopy(block), largest).to(x.device).eval()
            try:
                y = plain(x)
            except Exception as error:  # whatever a user's block raises
                raise SpaceError(
                    f"block {place} of Depth {self.name!r} can't run on a tensor of shape "
                    f"{tuple(x.shape)}: {error}"
                ) from error
            self.check(place, x, y)
            x = y

    def check(self, place: int, x: Any, y: Any) -> None:
        if isinstance(x, Tensor) and isinstance(y, Tensor) and x.shape != y.shape:
            raise SpaceError(
                f"block {place} of Depth {self.name!r} turns a tensor of shape {tuple(x.shape)} "
                f"into one of {tuple(y.shape)}; a block that may be left out must keep the shape, "
                "so put this one before or after the Depth"
            )

    @property
    def choices(self) -> tuple[Choice, ...]:
        return (self.depth,)

    def path(self, arch: Architecture) -> tuple[nn.Module, ...]:
        depth = arch[self.depth.name]
        assert isinstance(depth, int)  # its options are
        return tuple(self.blocks)[:depth]

    def extra_repr(self) -> str:
        return f"{self.name!r}, {self.depth.options[0]} to {self.depth.options[-1]} blocks"


def _require_list(name: str, blocks: Any) -> None:
    """Raise `SpaceError` unless these are modules, one after the other."""
    if isinstance(blocks, nn.Module) and not isinstance(blocks, nn.Sequential | nn.ModuleList):
        raise SpaceError(f"Depth {name!r} is given one module; give a list of blocks")
    for place, block in enumerate(blocks):
        if not isinstance(block, nn.Module):
            raise SpaceError(
                f"block {place} of Depth {name!r} is {block!r}; it must be a torch.nn.Module"
            )


@final
class OneOf(ChoiceChain):
    """Runs one of several operations, the chosen one.

    An operation is the same module, with the same weights, in every architecture that runs it.
    `extract` puts the chosen one in the place of the whole.

    Args:
        name: Name of the block. The choice is called `name + ".op"`.
        options: The operations by name, from least to most costly. Whichever is chosen, what comes
            next must be able to take its result, so all of them return the same shape. The skip is
            `nn.Identity()`.

    Raises:
        SpaceError: If there are no options, a name is not a string, an operation is not a module,
            or one and the same module has two names: its weights would be shared without a word.
            A part of theirs may be shared by several operations.

    Example:
        >>> one_of = OneOf("act", {"skip": nn.Identity(), "relu": nn.ReLU(), "tanh": nn.Tanh()})
        >>> one_of.path(Architecture({"act.op": "tanh"}))
        (Tanh(),)
    """

    def __init__(self, name: str, options: Mapping[str, nn.Module]) -> None:
        super().__init__()
        if not isinstance(options, Mapping):
            raise SpaceError(
                f"OneOf {name!r} is given a {type(options).__name__}; give a dict of names and "
                "modules, such as {'skip': nn.Identity()}"
            )
        if not options:
            raise SpaceError(f"OneOf {name!r} has no options; give it at least one")
        names: dict[nn.Module, str] = {}
        for option, module in options.items():
            if not isinstance(option, str):
                raise SpaceError(
                    f"OneOf {name!r} has an option called {option!r}; names must be strings, "
                    f"such as {str(option)!r}"
                )
            if not isinstance(module, nn.Module):
                raise SpaceError(
                    f"OneOf {name!r} has {module!r} as its option {option!r}; it must be a module, "
                    "and `nn.Identity()` is the one that does nothing"
                )
            if module in names:
                raise SpaceError(
                    f"OneOf {name!r} has one and the same module as its options {names[module]!r} "
                    f"and {option!r}, so they would share their weights; build one for each"
                )
            names[module] = option
        self.name = name
        self.op = Choice(f"{name}.op", tuple(options))
        # Not an nn.ModuleDict, which refuses names such as "keys" or "conv.3x3".
        self.operations = nn.ModuleList(options.values())

    @property
    def choices(self) -> tuple[Choice, ...]:
        return (self.op,)

    def path(self, arch: Architecture) -> tuple[nn.Module, ...]:
        return (self.operations[self.op.options.index(arch[self.op.name])],)

    def plain(self, arch: Architecture) -> nn.Module:
        return self.path(arch)[0]

    def extra_repr(self) -> str:
        return f"{self.name!r}, one of {', '.join(map(repr, self.op.options))}"


def to_plain(module: nn.Module, arch: Architecture) -> nn.Module:
    """Return what `module` is for `arch`, without choices; its own children are replaced.

    A module used at several places stays one, and so does a parameter that several modules have,
    where they use the same part of it.
    """
    return _to_plain(module, arch, {}, {})


#: By a parameter of the supernet, and the shape of the part that is used: what there is of it.
_Used = dict[tuple[nn.Parameter, torch.Size], nn.Parameter]


def _to_plain(
    module: nn.Module, arch: Architecture, done: dict[nn.Module, nn.Module], used: _Used
) -> nn.Module:
    if module not in done:
        plain = module
        while isinstance(plain, ChoiceModule):
            plain = plain.plain(arch)
        done[module] = plain
        _tie(module, plain, used)
        for name, child in plain._modules.items():  # `children()` gives one used twice only once
            if child is not None:
                plain._modules[name] = _to_plain(child, arch, done, used)
    return done[module]


def _tie(origin: nn.Module, plain: nn.Module, used: _Used) -> None:
    """Let a plain module have the parameters that others have already made of the same ones."""
    for name, part in plain._parameters.items():
        whole = origin._parameters.get(name)
        if part is not None and whole is not None:
            plain._parameters[name] = used.setdefault((whole, part.shape), part)
