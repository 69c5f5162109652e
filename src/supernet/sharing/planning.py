"""Work and memory of a shared pass, computed in advance.

The program is run on the `meta` device, where tensors have shapes and no content. PyTorch's own
counter says how much each instruction multiplies and adds, and its autograd what it would keep for
the backward pass. 1 MAC = 2 FLOPs; only convolutions and matrix products count, as is usual.
"""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from supernet.errors import SharingError
from supernet.nn.supernet import Supernet, require_supernet
from supernet.sharing.cache import split_inputs
from supernet.sharing.execution import interpret
from supernet.sharing.kinds import Remembered, form_of, kind_of, modes, without_graph
from supernet.sharing.programs import (
    ApplyRestricted,
    Compute,
    Instruction,
    Operation,
    Program,
)
from supernet.sharing.structure import key, leaves, replace
from supernet.sharing.twins import twin_of
from supernet.space import Architecture
from supernet.space.notebook import count

#: Sets of architectures larger than this are not looked for when a plan is split: what more could
#: be shared is next to nothing, and looking takes time that grows with the square.
_LARGEST_PART = 128


@dataclass(frozen=True, slots=True)
class Piece:
    """One distinct piece of work.

    Attributes:
        name: The module, by its path in the network; or the function, after its caller's path.
        archs: The architectures that need it.
        macs: Its multiply-adds, forward.
        backward_macs: Those of its gradients, as far as anything needs them.
        bytes: What it adds to the memory of a training step, until the backward pass.
        result_bytes: How much of that is its result.
    """

    name: str
    archs: tuple[Architecture, ...]
    macs: int
    backward_macs: int
    bytes: int
    result_bytes: int


@dataclass(frozen=True, slots=True, repr=False)
class PassPlan:
    """What one shared pass over a batch does, for all its architectures.

    Attributes:
        archs: Those, the ones with the longest common beginnings next to each other.
        pieces: The distinct pieces of work, in order.
        samples: How many samples the batch has: the length of its first tensor.
        scoring_bytes: The most that values take at a time when no gradients are wanted.
    """

    archs: tuple[Architecture, ...]
    pieces: tuple[Piece, ...]
    samples: int
    scoring_bytes: int

    @property
    def macs(self) -> int:
        """Multiply-adds of the pass, forward."""
        return sum(piece.macs for piece in self.pieces)

    @property
    def training_macs(self) -> int:
        """Multiply-adds of the pass and of its gradients."""
        return sum(piece.macs + piece.backward_macs for piece in self.pieces)

    @property
    def macs_apart(self) -> int:
        """Multiply-adds of running the architectures one by one, forward."""
        return sum(piece.macs * len(piece.archs) for piece in self.pieces)

    @property
    def ratio(self) -> float:
        """How many times less work the pass is; 1 if there is none to do."""
        return self.macs_apart / self.macs if self.macs else 1.0

    @property
    def training_bytes(self) -> int:
        """What the pass keeps for the backward pass; weights and gradients come on top."""
        return sum(piece.bytes for piece in self.pieces)

    def split(
        self, *, max_bytes: int | None = None, max_macs: int | None = None
    ) -> list[tuple[Architecture, ...]]:
        """Divide the architectures so that a training pass over each part keeps to the bounds.

        Of all ways to cut the order of `archs`, it takes the one with the least work. The sum of
        the parts' gradients is the gradient of the whole.

        Args:
            max_bytes: Of `training_bytes`.
            max_macs: Of `macs`.

        Raises:
            SharingError: If a single architecture is above a bound.
        """
        limits = (float("inf") if limit is None else limit for limit in (max_bytes, max_macs))
        most_bytes, most_macs = limits
        if self.training_bytes <= most_bytes and self.macs <= most_macs:
            return [self.archs]
        own: dict[Architecture, list[int]] = {arch: [] for arch in self.archs}
        for at, piece in enumerate(self.pieces):
            for arch in piece.archs:
                own[arch].append(at)
        count = len(self.archs)
        # least[i]: the work of archs[i:], well cut; cut[i]: where its first part ends.
        least, cut = [0.0] * (count + 1), [count] * (count + 1)
        for start in reversed(range(count)):
            least[start] = float("inf")
            seen: set[int] = set()
            macs = size = 0
            for end in range(start, min(count, start + _LARGEST_PART)):
                for at in own[self.archs[end]]:
                    if at not in seen:
                        seen.add(at)
                        macs += self.pieces[at].macs
                        size += self.pieces[at].bytes
                if size > most_bytes or macs > most_macs:
                    if end == start:
                        raise _too_large(self.archs[start], size, max_bytes, macs, max_macs)
                    break
                # `<=`: of equally good cuts the one with the larger parts.
                if macs + least[end + 1] <= least[start]:
                    least[start], cut[start] = macs + least[end + 1], end + 1
        parts, start = [], 0
        while start < count:
            parts.append(self.archs[start : cut[start]])
            start = cut[start]
        return parts

    def __repr__(self) -> str:
        return (
            f"PassPlan({count(len(self.archs), 'architecture')}, "
            f"{count(len(self.pieces), 'piece')} of work, {_count(self.macs).strip()} MACs, "
            f"{self.ratio:.2f} times as many one by one)"
        )

    def __str__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        """Return the plan's table, for notebooks."""
        return f"<pre>{html.escape(self.table())}</pre>"

    def table(self, most: int = 60) -> str:
        """Return the plan as text: a summary, and a tree of at most so many lines."""
        return "\n".join(self.lines(most))

    def lines(self, most: int = 60) -> Iterator[str]:
        """Yield the lines of `table`."""
        yield (
            f"architectures: {len(self.archs):,}; samples: {self.samples}; "
            f"distinct pieces of work: {len(self.pieces):,}"
        )
        yield (
            f"MACs: {_count(self.macs)}; one by one: {_count(self.macs_apart)}, "
            f"{self.ratio:.2f} times as many"
        )
        yield (
            f"activations: {_count(self.training_bytes)}B to train, "
            f"{_count(self.scoring_bytes)}B to score"
        )
        yield f"{'MACs':>8}  {'for':>5}  pieces of work"
        runs = [list(run) for _, run in itertools.groupby(self.pieces, lambda piece: piece.archs)]
        for run, depth in itertools.islice(zip(runs, _depths(runs), strict=True), most):
            macs = sum(piece.macs for piece in run)
            names = [piece.name for piece in run]
            names = names if len(names) <= 4 else [*names[:2], "...", names[-1]]
            line = f"{_count(macs):>8}  {len(run[0].archs):>5,}  {'| ' * depth}{' > '.join(names)}"
            yield line
        if rest := [piece for run in runs[most:] for piece in run]:
            yield f"{_count(sum(p.macs for p in rest)):>8}  {'':>5}  in {len(rest):,} more pieces"


def _depths(runs: Sequence[Sequence[Piece]]) -> Iterator[int]:
    """Yield how far pieces stand from the trunk: how often the architectures parted before."""
    stack: list[frozenset[Architecture]] = []
    for run in runs:
        archs = frozenset(run[0].archs)
        while stack and not archs <= stack[-1]:
            stack.pop()
        if not stack or archs != stack[-1]:
            stack.append(archs)
        yield len(stack) - 1


def _count(number: float) -> str:
    for unit in ("", " k", " M", " G", " T"):
        if abs(number) < 1000 or unit == " T":
            break
        number /= 1000
    return f"{number:.3g}{unit}" if unit else f"{number:.0f} "


def _too_large(
    arch: Architecture, size: int, max_bytes: int | None, macs: int, max_macs: int | None
) -> SharingError:
    if max_bytes is not None and size > max_bytes:
        needs, bound = f"{size:,} bytes", f"max_bytes is {max_bytes:,}"
    else:
        needs, bound = f"{macs:,} MACs", f"max_macs is {max_macs:,}"
    return SharingError(
        f"architecture {arch.label} alone needs {needs} for this batch, but {bound}; raise the "
        "bound or make the batch smaller"
    )


def plan(supernet: Supernet, archs: Iterable[Architecture], x: Any, /, **inputs: Any) -> PassPlan:
    """Return what a pass over `archs` will do and cost; nothing is computed.

    Only a network that has to look at numbers to decide what to do is run, once, on zeros.

    Args:
        supernet: The network; it is not changed. It is looked at as it is in training.
        archs: Architectures of its space.
        x: A batch such as it will get, or one without content:
            `torch.empty(128, 1, 28, 28, device="meta")`.
        **inputs: Its other inputs.

    Raises:
        SpaceError: If an architecture is not in the space.

    Example:
        >>> from torch import nn
        >>> from supernet.nn.choices import Depth
        >>> depth = Depth("body", [nn.Linear(10, 10) for _ in range(3)])
        >>> supernet = Supernet(nn.Sequential(depth, nn.Linear(10, 2)))
        >>> found = plan(supernet, supernet.space, torch.empty(4, 10, device="meta"))
        >>> found
        PassPlan(3 architectures, 6 pieces of work, 1.44 k MACs, 1.83 times as many one by one)
        >>> print(found.table(most=2))
        architectures: 3; samples: 4; distinct pieces of work: 6
        MACs: 1.44 k; one by one: 2.64 k, 1.83 times as many
        ...
    """
    return Planner(supernet, x, **inputs).plan(archs)


#: How many plans a planner keeps: those of an epoch's end, or of a sampler with few draws, return.
_PLANS = 64


@final
class Planner:
    """Makes many plans for one network and one form of input, and measures nothing twice."""

    def __init__(self, supernet: Supernet, x: Any, /, **inputs: Any) -> None:
        require_supernet(supernet, "a plan")
        self._original = supernet
        tensors, *self._form = split_inputs((x,), inputs)
        self._inputs = [tensor.to("meta") for tensor in tensors]
        self._known: dict[object, _Measure] = {}
        self._plans: dict[tuple[Architecture, ...], PassPlan] = {}
        self._use_twin(meta=True)

    def _use_twin(self, *, meta: bool) -> None:
        twin, self._cache = twin_of(self._original, meta=meta)
        self.supernet = twin.train()
        self._names = {module: name for name, module in twin.net.named_modules()}
        # Found once: a network of a thousand modules takes longer to look through than to measure.
        self._weights = [p for p in twin.parameters() if p.requires_grad]
        self._owned = {_memory(tensor) for tensor in twin.state_dict(keep_vars=True).values()}
        self._meta = meta

    def plan(self, archs: Iterable[Architecture]) -> PassPlan:
        """Return the plan for some architectures; see `plan`."""
        wanted = tuple(dict.fromkeys(archs))
        if wanted not in self._plans:
            for arch in wanted:
                self.supernet.space.validate(arch)
            if len(self._plans) >= _PLANS:
                self._plans.clear()
            self._plans[wanted] = self._make(wanted)
        return self._plans[wanted]

    def _make(self, wanted: Sequence[Architecture]) -> PassPlan:
        try:
            return self._plan(wanted)
        except Exception:
            if not self._meta:
                raise
        # A forward that looks at numbers, or mixes devices, can't run without content: let it run
        # on zeros. What is then wrong with it is wrong with the network.
        self._use_twin(meta=False)
        device = next((p.device for p in self.supernet.parameters()), torch.device("cpu"))
        self._inputs = [torch.zeros_like(tensor, device=device) for tensor in self._inputs]
        self._known.clear()
        with torch.random.fork_rng(devices=[]):
            return self._plan(wanted)

    def _plan(self, wanted: Sequence[Architecture]) -> PassPlan:
        program = self._cache.program(self.supernet, wanted, *self._form)
        measures: list[_Measure] = []
        with FlopCounterMode(display=False) as counter:

            def measure(
                instruction: Instruction, args: Sequence[Any], kwargs: dict[str, Any]
            ) -> Any:
                measures.append(self._measure(counter, instruction, args, kwargs))
                return measures[-1].result

            # Results are used again where the same work is met again, so changes in place, which
            # are of no matter without numbers, would look like those of other architectures.
            for _ in interpret(program, self._inputs, measure, watching=None):
                pass
        return PassPlan(
            archs=program.archs,
            pieces=tuple(
                Piece(
                    self._name(step), step.archs, m.macs, m.backward_macs, m.bytes, m.result_bytes
                )
                for step, m in zip(program.instructions, measures, strict=True)
            ),
            samples=len(self._inputs[0]) if self._inputs and self._inputs[0].ndim else 1,
            scoring_bytes=_peak(program, self._inputs, measures),
        )

    def _measure(
        self,
        counter: FlopCounterMode,
        instruction: Instruction,
        args: Sequence[Any],
        kwargs: dict[str, Any],
    ) -> _Measure:
        form = key(replace((tuple(args), kwargs), Tensor, form_of))
        operation = instruction.operation
        what = _kind(operation) if self._meta else operation, form
        if what in self._known:
            return self._known[what]
        lasting = what, modes()
        if remembered := _MEASURED.get(lasting):
            self._known[what] = remembered
            return remembered
        args, kwargs = replace((tuple(args), kwargs), Tensor, _fresh)
        needs = [t for t in leaves((args, kwargs), Tensor) if t.requires_grad]
        known = {_memory(tensor) for tensor in leaves((args, kwargs), Tensor)} | self._owned
        kept: dict[int, Tensor] = {}

        def keep(tensor: Tensor) -> Tensor:
            kept[_memory(tensor)] = tensor
            return tensor

        start = counter.get_total_flops()
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            result = operation(self.supernet, args, kwargs)
        forward = counter.get_total_flops()
        results = list(leaves(result, Tensor))
        if wanted := [tensor for tensor in results if tensor.requires_grad]:
            torch.autograd.grad(
                wanted,
                [*needs, *self._weights],
                [torch.ones_like(t) for t in wanted],
                allow_unused=True,
            )
        own = {_memory(t): t for t in results if _memory(t) not in known}
        new = {m: t for m, t in kept.items() if m not in known} | own
        self._known[what] = _Measure(
            result=replace(result, Tensor, without_graph),
            macs=(forward - start) // 2,
            backward_macs=(counter.get_total_flops() - forward) // 2,
            bytes=sum(map(_size, new.values())),
            result_bytes=sum(map(_size, own.values())),
            shares=not own,
        )
        _MEASURED.keep(lasting, self._known[what])
        return self._known[what]

    def _name(self, instruction: Instruction) -> str:
        operation = instruction.operation
        if isinstance(operation, Compute):
            return f"{self._names[operation.owner]}: {operation.name}".removeprefix(": ")
        return self._names[operation.module] or type(operation.module).__name__


@dataclass(frozen=True, slots=True)
class _Measure:
    result: Any
    macs: int
    backward_macs: int
    bytes: int
    result_bytes: int
    shares: bool


#: A run makes many planners for few kinds of work, and PyTorch takes milliseconds to go through a
#: batch norm without content.
_MEASURED = Remembered[_Measure]()


def _kind(operation: Operation) -> object:
    """Return something hashable that is equal for operations that cost the same, given the same."""
    if isinstance(operation, Compute):
        node = operation.node
        return operation if node.op == "get_attr" else (node.op, key(node.target))
    if isinstance(operation, ApplyRestricted):
        return operation
    return kind_of(operation.module) or operation


def _peak(program: Program, inputs: Sequence[Tensor], measures: Sequence[_Measure]) -> int:
    """Return the most bytes that values take at a time when nothing is kept for a backward pass."""
    # A view keeps the memory of what it is a view of: both are one holding.
    holding = list(range(program.inputs))
    users = [1] * program.inputs
    sizes = [_size(tensor) for tensor in inputs]
    live = peak = sum(sizes)
    for instruction, measure in zip(program.instructions, measures, strict=True):
        peak = max(peak, live + measure.bytes)
        if measure.shares and instruction.reads:
            holding.append(holding[instruction.reads[0]])
        else:
            holding.append(len(sizes))
            sizes.append(measure.result_bytes)
            users.append(0)
            live += measure.result_bytes
        users[holding[-1]] += 1
        for index in instruction.last_uses:
            users[holding[index]] -= 1
            if not users[holding[index]]:
                live -= sizes[holding[index]]
    return peak


def _fresh(tensor: Tensor) -> Tensor:
    """Return a tensor like this one at the beginning of a graph, though not a leaf of it."""
    return tensor.detach().requires_grad_(tensor.requires_grad).clone()


def _memory(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _size(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()
