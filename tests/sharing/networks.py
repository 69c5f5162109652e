"""Random networks, and a model of the work they are; and how results are compared."""

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn

from supernet import sharing
from supernet.errors import SharingWarning
from supernet.nn.choices import Depth, OneOf
from supernet.nn.supernet import Supernet
from supernet.space import Architecture
from tests.conftest import Counted, Residual, stir

MODES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "gradients": nullcontext,
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
}
each_mode = pytest.mark.parametrize("mode", MODES)


# -- comparing ------------------------------------------------------------------------------------


def copied(value: Any) -> Any:
    """The same, in memory of its own: networks may change their input in place."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, tuple | list):
        return type(value)(map(copied, value))
    if isinstance(value, dict):
        return {name: copied(part) for name, part in value.items()}
    return value


def one_by_one(supernet: Supernet, x: Any, archs: Any, **inputs: Any) -> list[Any]:
    """What shared execution must return."""
    return [supernet(copied(x), arch, **copied(inputs)) for arch in archs]


def same(a: Any, b: Any) -> bool:
    """Whether two results are equal bit for bit, NaN for NaN, in containers of the same types."""
    if isinstance(a, Tensor):
        if not isinstance(b, Tensor) or a.shape != b.shape or a.dtype != b.dtype:
            return False
        return torch.equal(a.nan_to_num(nan=7.25), b.nan_to_num(nan=7.25))
    if isinstance(a, tuple | list):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return type(a) is type(b) and list(a) == list(b) and all(same(a[n], b[n]) for n in a)
    return type(a) is type(b) and a == b


def assert_same(ours: Sequence[Any], theirs: Sequence[Any]) -> None:
    assert len(ours) == len(theirs)
    assert [same(a, b) for a, b in zip(ours, theirs, strict=True)] == [True] * len(ours)


def assert_shares(supernet: Supernet, x: Any, archs: Any = None, **inputs: Any) -> None:
    """Outputs are those of one by one, in all modes."""
    archs = list(supernet.space) if archs is None else archs
    for mode in MODES.values():
        with mode():
            expected = one_by_one(supernet, x, archs, **inputs)
            assert_same(sharing.outputs(supernet, copied(x), archs, **copied(inputs)), expected)


def tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))


def loss_of(outputs: Sequence[Any]) -> Tensor:
    return torch.stack([(y * y).mean() for y in tensors_in(list(outputs))]).sum()


def gradients(supernet: Supernet, loss: Tensor) -> list[Tensor]:
    parameters = [p for p in supernet.parameters() if p.requires_grad]
    return list(torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True))


def assert_same_gradients(supernet: Supernet, x: Any, archs: Any, **inputs: Any) -> None:
    """The gradients of a sum of losses are the sum of the gradients; for networks in float64."""
    shared = gradients(supernet, loss_of(sharing.outputs(supernet, copied(x), archs, **inputs)))
    apart = gradients(supernet, loss_of(one_by_one(supernet, x, archs, **inputs)))
    for a, b in zip(shared, apart, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def some_archs(supernet: Supernet, most: int = 24) -> list[Architecture]:
    """All spellings of a small space, and a spread of those of a large one.

    Not only the canonical ones: what a choice has that doesn't count must make no difference.
    """
    size = math.prod(len(choice.options) for choice in supernet.space.choices)
    count = min(most, size)
    archs = []
    for place in range(count):
        number, values = place * size // count, {}
        for choice in supernet.space.choices:
            number, option = divmod(number, len(choice.options))
            values[choice.name] = choice.options[option]
        archs.append(Architecture(values))
    return archs


@contextmanager
def sharing_warnings() -> Iterator[list[str]]:
    """Collect the `SharingWarning`s of the block; every other warning is an error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        messages: list[str] = []
        yield messages
    for warning in caught:
        assert issubclass(warning.category, SharingWarning), warning
        messages.append(str(warning.message))


# -- modules that a random network is made of -----------------------------------------------------


class Wrapper(nn.Module):
    """Has a choice inside: what its forward does with it is another matter."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Counted(nn.Linear(3, 3))
        self.body = Depth("d", [nn.Linear(3, 3) for _ in range(3)])


class InPlaceResidual(nn.Module):
    """As in many networks; what it changes is a value of its own."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x) * 1
        y += x
        return F.relu(y, inplace=True)


class Cell(nn.Module):
    """Two branches, side by side."""

    def __init__(self, left: nn.Module, right: nn.Module, back: nn.Module) -> None:
        super().__init__()
        self.left, self.right, self.back = left, right, back

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.back(torch.cat([self.left(x), self.right(x)], dim=1))
        return y


class Chunks(nn.Module):
    """A function that returns several values, and a child that is given them as a tuple."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.swap = inner, Swap()

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = self.inner(x).chunk(3, 1)
        first, second = self.swap((a, b))
        return torch.cat([c, first, second], 1)


class Swap(nn.Module):
    def forward(self, pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return pair[1], pair[0]


class Named(nn.Module):
    """Returns a dict."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"new": self.inner(x), "old": x}


class Unnamed(nn.Module):
    """Takes what `Named` returns."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, values: dict[str, Tensor]) -> Tensor:
        y: Tensor = values["new"] * self.inner(values["old"])
        return y


class Scaled(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor, *, by: float = 1.0, shift: Tensor | None = None) -> Tensor:
        y: Tensor = self.inner(x) * (by * self.gain)
        return y if shift is None else y + shift


class Keyword(nn.Module):
    """Hands over arguments by name, constants among them, and leaves some out."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.scaled = Scaled(inner)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.scaled(x, by=0.5) - self.scaled(x=x, shift=x)
        return y


class Twice(nn.Module):
    """Runs a module at two places of one expression, with the same and with another input."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x) + self.inner(x) - self.inner(x.tanh())
        return y


class ByShape(nn.Module):
    """Python decides, by a shape."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x)
        return y / 2 if x.shape[0] > 1 else y


class ByContent(nn.Module):
    """Python decides, by a number."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x if x.sum() > 0 else -x)
        return y


class View(nn.Module):
    """Returns another tensor in the same memory."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view(x.shape)


class Unannounced(nn.Module):
    """Changes its input in place, and nobody could know."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(0.5).add(1)


# -- plans ----------------------------------------------------------------------------------------

Plan = Any  # the name of a leaf, or (kind, ..., plans)

LEAVES = st.sampled_from(["linear", "norm", "tanh", "flatten"])
WRAPPERS = (
    *("residual", "in-place residual", "chunks", "keyword", "twice", "chain twice"),
    *("by shape", "by content"),
)


def _inner(plans: st.SearchStrategy[Plan]) -> st.SearchStrategy[Plan]:
    options = st.lists(st.one_of(plans, st.just("identity")), min_size=1, max_size=3)
    return st.one_of(
        st.tuples(st.just("chain"), st.lists(plans, min_size=1, max_size=3)),
        st.tuples(st.just("depth"), st.integers(0, 1), options),
        st.tuples(st.just("one of"), options),
        st.tuples(st.sampled_from(["cell", "named"]), plans, plans),
        st.tuples(st.sampled_from(WRAPPERS), plans),
    )


def plans_of(leaves: st.SearchStrategy[Plan]) -> st.SearchStrategy[list[Plan]]:
    """Plans with at least one choice, and anything before, inside and after it."""
    parts = st.recursive(leaves, _inner, max_leaves=8)
    return st.builds(
        lambda before, shortest, blocks, after: [*before, ("depth", shortest, blocks), *after],
        st.lists(parts, max_size=2),
        st.integers(0, 1),
        st.lists(parts, min_size=2, max_size=3),
        st.lists(parts, max_size=2),
    )


PLANS = plans_of(LEAVES)


# -- the model ------------------------------------------------------------------------------------

#: Everything that was done to get a value, as nested tuples.
History = Any


class Log:
    """The pieces of work of one architecture: how often each, and which leaves run inside it."""

    def __init__(self) -> None:
        self.times: Counter[History] = Counter()
        self.leaves: dict[History, Counter[int]] = {}
        self.decided: set[str] = set()  # the choices that were asked

    def add(self, piece: History, leaves: Counter[int]) -> None:
        self.times[piece] += 1
        self.leaves[piece] = leaves

    def runs(self) -> Counter[int]:
        """How often each leaf runs."""
        total: Counter[int] = Counter()
        for piece, times in self.times.items():
            for leaf, runs in self.leaves[piece].items():
                total[leaf] += times * runs
        return total


#: What a part does to a value, told by histories alone.
Course = Callable[[Architecture, History, Log], History]


def _after(courses: Sequence[Course]) -> Course:
    def course(arch: Architecture, value: History, log: Log) -> History:
        for inner in courses:
            value = inner(arch, value, log)
        return value

    return course


class Builder:
    """Makes a network from a plan, and a model of it that knows nothing of modules or graphs."""

    def __init__(self) -> None:
        self.leaves: list[Counted] = []
        self.choices: list[str] = []
        self.untraceable = 0

    def leaf(self, inner: nn.Module) -> tuple[nn.Module, Course]:
        self.leaves.append(Counted(inner))
        number = len(self.leaves) - 1

        def course(_: Architecture, value: History, log: Log) -> History:
            log.add((number, value), Counter({number: 1}))
            return number, value

        return self.leaves[-1], course

    def chain(self, plans: Sequence[Plan]) -> tuple[nn.Module, Course]:
        parts = [self.build(plan) for plan in plans]
        return nn.Sequential(*(m for m, _ in parts)), _after([course for _, course in parts])

    def choice(self, name: str, inner: Sequence[Plan], shortest: int | None) -> Any:
        name = f"{name}{len(self.choices)}"
        self.choices.append(name)
        parts = [self.build(plan) for plan in inner]
        modules, courses = [m for m, _ in parts], [course for _, course in parts]
        if shortest is None:
            options = {f"o{number}": module for number, module in enumerate(modules)}
            self.choices[self.choices.index(name)] = f"{name}.op"

            def one(arch: Architecture, value: History, log: Log) -> History:
                log.decided.add(f"{name}.op")
                return courses[int(str(arch[f"{name}.op"])[1:])](arch, value, log)

            return OneOf(name, options), one
        self.choices[self.choices.index(name)] = f"{name}.depth"

        def some(arch: Architecture, value: History, log: Log) -> History:
            log.decided.add(f"{name}.depth")
            return _after(courses[: int(arch[f"{name}.depth"])])(arch, value, log)

        return Depth(name, modules, shortest=shortest), some

    def whole(self, wrapper: type[nn.Module], plan: Plan) -> tuple[nn.Module, Course]:
        """Nobody can tell what happens inside, except that `plan` runs once."""
        self.untraceable += 1
        number = self.untraceable
        module, inner = self.build(plan)

        def course(arch: Architecture, value: History, log: Log) -> History:
            alone = Log()
            inner(arch, "whatever", alone)
            piece = "whole", number, arch.restrict(alone.decided), value
            log.add(piece, alone.runs())
            log.decided |= alone.decided
            return piece

        return wrapper(module), course

    def build(self, plan: Plan) -> tuple[nn.Module, Course]:
        if plan == "identity":
            return nn.Identity(), lambda _, value, __: value
        if plan == "leaky_, known":  # not counted, so that it can be seen what it is
            return nn.LeakyReLU(0.3, inplace=True), lambda _, value, __: ("leaky", value)
        if isinstance(plan, str):
            kinds: dict[str, Callable[[], nn.Module]] = {
                "linear": lambda: nn.Linear(3, 3),
                "norm": lambda: nn.BatchNorm1d(3),
                "tanh": nn.Tanh,
                "flatten": nn.Flatten,  # returns what it is given: the same memory
                "leaky_": lambda: nn.LeakyReLU(0.3, inplace=True),
                "view": View,
                "unannounced": Unannounced,
            }
            return self.leaf(kinds[plan]())
        kind, *rest = plan
        if kind == "chain":
            return self.chain(rest[0])
        if kind == "depth":
            module, course = self.choice("d", rest[1], rest[0])
            return module, course
        if kind == "one of":
            module, course = self.choice("o", rest[0], None)
            return module, course
        if kind == "by shape":
            return self.whole(ByShape, rest[0])
        if kind == "by content":
            return self.whole(ByContent, rest[0])
        first, go = self.build(rest[0])
        if kind == "cell":
            (second, and_go), (back, join) = self.build(rest[1]), self.leaf(nn.Linear(6, 3))
            return Cell(first, second, back), lambda arch, x, log: join(
                arch, ("cat", go(arch, x, log), and_go(arch, x, log)), log
            )
        if kind == "named":
            before = len(self.choices)
            second, and_go = self.build(rest[1])
            free = len(self.choices) == before  # then it is one operation on both values

            def product(arch: Architecture, x: History, log: Log) -> History:
                new = go(arch, x, log)
                if not free:
                    return "times", new, and_go(arch, x, log)
                alone = Log()
                and_go(arch, x, alone)
                piece = id(second), new, x
                log.add(piece, alone.runs())
                return piece

            return nn.Sequential(Named(first), Unnamed(second)), product
        if kind == "keyword":
            return Keyword(first), lambda arch, x, log: (
                "minus",
                go(arch, x, log),
                go(arch, x, log),
                x,
            )
        if kind == "twice":
            return Twice(first), lambda arch, x, log: (
                "sum",
                go(arch, x, log),
                go(arch, x, log),
                go(arch, ("tanh", x), log),
            )
        if kind == "chain twice":
            return nn.Sequential(first, first), _after([go, go])
        wrapper = {
            "residual": Residual,
            "in-place residual": InPlaceResidual,
            "chunks": Chunks,
        }[kind]
        return wrapper(first), lambda arch, x, log: (kind, go(arch, x, log), x)


class Network:
    """A network made from a plan, its leaves, and how often they have to run."""

    def __init__(self, plan: Sequence[Plan]) -> None:
        builder = Builder()
        with torch.random.fork_rng(devices=()):
            net, self._course = builder.chain(plan)
        self.supernet = Supernet(stir(net))
        self.leaves = builder.leaves

    def expected_runs(self, archs: Sequence[Architecture]) -> list[int]:
        """Each piece as often as the architecture that needs it most often does."""
        together = Log()
        for arch in archs:
            log = Log()
            self._course(arch, "input", log)
            together.times |= log.times
            together.leaves |= log.leaves
        runs = together.runs()
        return [runs[number] for number in range(len(self.leaves))]

    def counted_runs(self) -> list[int]:
        """How often each leaf ran since this was asked last."""
        runs = [leaf.calls for leaf in self.leaves]
        for leaf in self.leaves:
            leaf.calls = 0
        return runs
