"""Sizes: given, chosen, or computed from choices."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from supernet.errors import SpaceError
from supernet.space import Architecture, Choice


@dataclass(frozen=True, slots=True)
class Size:
    """A whole number that follows from choices: a product, divided and rounded.

    >>> ratio = Choice("ratio", (3, 6))
    >>> Size((16, ratio)).of(Architecture({"ratio": 6}))
    96

    Attributes:
        factors: What is multiplied: numbers, choices between numbers, and other sizes.
        divisor: What the product is divided by.
        multiple_of: What the result is rounded to a multiple of: the nearest (halves go up), or the
            next one if that takes away more than a tenth, as in MobileNets. If it is None, nothing
            is rounded and the division must come out even.

    Raises:
        SpaceError: If a number is not a whole one, or below one; or if a division leaves a rest.
    """

    factors: tuple[int | Choice | Size, ...]
    divisor: int = 1
    multiple_of: int | None = None

    def __post_init__(self) -> None:
        for factor in (*self.factors, self.divisor, self.multiple_of or 1):
            if isinstance(factor, Choice):
                for option in factor.options:
                    _require_number(option, f"an option of the choice {factor.name!r}")
            elif not isinstance(factor, Size):
                _require_number(factor, "a size")
        for arch in each(self):
            if self.multiple_of is None and self._product(arch) % self.divisor:
                raise SpaceError(
                    f"{self} is no whole number for {dict(arch)}: {self._product(arch)} is not "
                    f"divisible by {self.divisor}; take that option out, or set `multiple_of`"
                )

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The choices it follows from, each once."""
        inside = (
            f.choices if isinstance(f, Size) else (f,)
            for f in self.factors
            if not isinstance(f, int)
        )
        return tuple(dict.fromkeys(itertools.chain.from_iterable(inside)))

    @property
    def largest(self) -> int:
        """The most it can be."""
        return max(map(self.of, each(self)))

    def of(self, arch: Architecture) -> int:
        """Return what it is in an architecture."""
        exact = self._product(arch) / self.divisor
        if (multiple := self.multiple_of) is None:
            return int(exact)
        rounded = max(multiple, int(exact / multiple + 0.5) * multiple)
        return rounded + multiple if rounded < 0.9 * exact else rounded

    def _product(self, arch: Architecture) -> int:
        product = 1  # a loop, because torch.compile can't look into a generator
        for factor in self.factors:
            product *= _number(factor, arch)
        return product

    def __str__(self) -> str:
        names = [repr(f.name) if isinstance(f, Choice) else str(f) for f in self.factors]
        over = f" / {self.divisor}" if self.divisor > 1 else ""
        return f"{' x '.join(names)}{over}"


def _number(factor: int | Choice | Size, arch: Architecture) -> int:
    if isinstance(factor, Size):
        return factor.of(arch)
    return int(arch[factor.name]) if isinstance(factor, Choice) else factor


#: What a constructor takes for a size.
Width = int | Choice | Size


def as_size(width: Width) -> Size:
    """Return a number or a choice as a `Size`.

    Raises:
        SpaceError: If it, or an option of it, is not a whole number of at least one.
    """
    return width if isinstance(width, Size) else Size((width,))


def choices_of(*sizes: Size) -> tuple[Choice, ...]:
    """Return the choices that some sizes follow from, each once."""
    return tuple(dict.fromkeys(choice for size in sizes for choice in size.choices))


def each(*sizes: Size) -> Iterator[Architecture]:
    """Yield every combination of the choices that some sizes follow from."""
    choices = choices_of(*sizes)
    for options in itertools.product(*(choice.options for choice in choices)):
        yield Architecture({c.name: o for c, o in zip(choices, options, strict=True)})


def require_width(module: nn.Module, x: Tensor, axis: int, size: Size, arch: Architecture) -> None:
    """Raise `SpaceError` if a tensor arrives that has another width than `arch` has here.

    Args:
        module: To which module.
        x: The tensor.
        axis: Along which axis the width lies.
        size: The width.
        arch: The active architecture.
    """
    width = size.of(arch)
    if not -x.ndim <= axis < x.ndim or x.shape[axis] != width:
        raise SpaceError(
            f"{type(module).__name__} is given a tensor of shape {tuple(x.shape)}, but along axis "
            f"{axis} it takes its input width {size}, which is {width}; give it the Choice that "
            "is the output width of what comes before it"
        )


def _require_number(value: object, what: str) -> None:
    if type(value) is not int or value < 1:
        raise SpaceError(f"{what} is {value!r}; it must be a whole number of at least 1")
