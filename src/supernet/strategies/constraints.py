"""Limits of a search: parsed from text, never evaluated as code.

    macs <= 5e6 and block1.depth == 2 and kernel in (3, 5)

A limit is about a cost or a choice. One about a choice holds also where that choice doesn't count:
"every kernel there is has size 3 or 5". Limits are hard: nothing that breaks one is ever evaluated.
"""

from __future__ import annotations

import itertools
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from supernet.errors import SettingsError
from supernet.space import Choice, Option, SearchSpace

Value = float | int | str

_HOW = "write limits as in: macs <= 5e6 and block1.depth == 2 and kernel in (3, 5)"

_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    "<": operator.lt,
    ">=": operator.ge,
    ">": operator.gt,
    "==": operator.eq,
    "!=": operator.ne,
}

#: A quoted text, an operator, a bracket or comma, or a word: a name, a number, `and`, `in`, `not`.
_TOKEN = re.compile(
    r"\s*(?:(?P<quoted>'[^']*'|\"[^\"]*\")|(?P<sign><=|>=|==|!=|<|>|\(|\)|\[|\]|,)"
    r"|(?P<word>[\w.+\-/:]+)|(?P<other>\S))"
)

#: A text longer than this is no limit that somebody wrote.
_LONGEST = 10_000


@dataclass(frozen=True, slots=True)
class Limit:
    """What one cost or choice has to be.

    Attributes:
        name: Of the cost or the choice.
        sign: "<=", "<", ">=", ">", "==", "!=", "in" or "not in".
        values: What it is compared with: several with "in" and "not in", else exactly one.
    """

    name: str
    sign: str
    values: tuple[Value, ...]

    def __str__(self) -> str:
        shown = [repr(v) if isinstance(v, str) else f"{v:.12g}" for v in self.values]
        plain = re.fullmatch(r"[\w.+\-/:]+", self.name) and self.name not in _WORDS
        plain = plain and not _is_number(self.name)
        name = self.name if plain else f'"{self.name}"'
        values = f"({', '.join(shown)})" if self.sign in ("in", "not in") else shown[0]
        return f"{name} {self.sign} {values}"

    def holds(self, value: Value) -> bool:
        """Say whether a value keeps the limit; NaN keeps none."""
        if value != value:
            return False
        if self.sign in ("in", "not in"):
            return any(_equal(value, one) for one in self.values) == (self.sign == "in")
        if self.sign in ("==", "!="):
            return _equal(value, self.values[0]) == (self.sign == "==")
        bound = self.values[0]
        if isinstance(value, str) or isinstance(bound, str):
            raise SettingsError(f"{self} compares text by size; use ==, !=, in or not in")
        return _COMPARE[self.sign](value, bound)

    def excess(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how far values are from keeping the limit, relative to it; 0 if they keep it."""
        away = np.min([self._gap(values, float(bound)) for bound in self.values], axis=0)
        # What breaks a limit by nothing at all (`<`, `!=`) still breaks it.
        broken = np.where(np.isnan(away), np.inf, np.maximum(away, 1e-9))
        return np.where(self._kept(values), 0.0, broken)

    def _gap(self, values: NDArray[np.float64], bound: float) -> NDArray[np.float64]:
        """Return how far values are on the wrong side of a bound, relative to it."""
        gap = values - bound if self.sign[0] == "<" else bound - values
        gap = gap if self.sign[0] in "<>" else np.abs(gap)
        return gap / max(abs(bound), 1e-12)

    def _kept(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.array([self.holds(value) for value in values.tolist()], np.bool_)


def parse_limits(text: str) -> tuple[Limit, ...]:
    """Return the limits that a text states.

    Example:
        >>> for limit in parse_limits("macs <= 5e6 and kernel in (3, 5)"):
        ...     print(limit)
        macs <= 5000000
        kernel in (3, 5)

    Args:
        text: Limits, joined by `and`. A name or an option with spaces or signs in it is put in
            quotes. Empty: no limits.

    Raises:
        SettingsError: If it is not of that form; it says where.
    """
    if len(text) > _LONGEST:
        raise SettingsError(f"a limit of {len(text):,} characters is too long; {_HOW}")
    words = _Words(text)
    if words.is_done():
        return ()
    limits = [_one(words)]
    while not words.is_done():
        words.expect("and")
        limits.append(_one(words))
    return tuple(limits)


def as_limits(limits: str | Limit | Iterable[str | Limit]) -> tuple[Limit, ...]:
    """Return limits given as text, ready-made, or several of either."""
    if isinstance(limits, str):
        return parse_limits(limits)
    if isinstance(limits, Limit):
        return (limits,)
    return tuple(one for some in limits for one in as_limits(some))


def allowed_options(choice: Choice, limits: Sequence[Limit]) -> list[int]:
    """Return the numbers of the options of a choice that keep all limits about it.

    Raises:
        SettingsError: If none does, or a limit compares options that are text by size.
    """
    allowed = [
        number
        for number, option in enumerate(choice.options)
        if all(_option_keeps(limit, option) for limit in limits)
    ]
    if not allowed:
        stated = " and ".join(map(str, limits))
        raise SettingsError(
            f"no option of {choice.name!r} meets {stated}; its options are {choice.options}"
        )
    return allowed


def require_consistent(limits: Sequence[Limit]) -> None:
    """Raise `SettingsError` if limits on one cost contradict each other, whatever the space."""
    for name in dict.fromkeys(limit.name for limit in limits):
        own = [limit for limit in limits if limit.name == name]
        for limit in own:
            for value in limit.values:
                if isinstance(value, str):
                    raise SettingsError(f"{limit}: {name} is a number, and {value!r} is text")
                if math.isnan(value):
                    raise SettingsError(f"{limit}: a limit must be a number, not NaN")
        if not _some_number_keeps(own):
            stated = " and ".join(map(str, own))
            raise SettingsError(f"these limits contradict each other: {stated}; change one of them")


def check_names(
    limits: Sequence[Limit], space: SearchSpace, costs: Iterable[str], measured: Iterable[str]
) -> None:
    """Raise `SettingsError` for a limit on anything that is no cost or choice.

    Args:
        limits: The limits.
        space: Its choices may be limited.
        costs: What may be limited besides.
        measured: What is known only after an evaluation, and can't be a hard limit.
    """
    choices, known = [choice.name for choice in space.choices], list(costs)
    for limit in limits:
        if limit.name in choices and limit.name in known:
            raise SettingsError(
                f"{limit.name!r} is a cost and a choice; rename the choice, so that the limit "
                f"{limit} can mean one of them only"
            )
        if limit.name in choices or limit.name in known:
            continue
        if limit.name in set(measured):
            raise SettingsError(
                f"{limit}: {limit.name} is known only after an architecture was evaluated, so it "
                f"can't be a limit; make it an objective. Limits are on {known} and on choices"
            )
        shown = choices if len(choices) <= 12 else [*choices[:12], "..."]
        raise SettingsError(
            f"unknown name {limit.name!r} in the limit {limit}; known are the costs {known} and "
            f"the choices {shown}"
        )


class _Words:
    """The parts of a text, one after the other."""

    def __init__(self, text: str) -> None:
        self._text = text.rstrip()
        self._parts: list[tuple[str, bool, int]] = []  # what, whether it was quoted, where it ends
        for match in _TOKEN.finditer(self._text):
            if match["other"]:
                raise self._error(f"unexpected {match['other']!r}", match.start("other"))
            quoted = match["quoted"]
            part = quoted[1:-1] if quoted else match["sign"] or match["word"]
            self._parts.append((part, bool(quoted), match.end()))
        self._at = 0

    def is_done(self) -> bool:
        return self._at == len(self._parts)

    def peek(self) -> str | None:
        """Return the next part, if there is one and it isn't quoted."""
        if self.is_done() or self._parts[self._at][1]:
            return None
        return self._parts[self._at][0]

    def take(self, wanted: str) -> tuple[str, bool]:
        """Return the next part, and whether it was quoted."""
        if self.is_done():
            raise self._error(f"it ends where {wanted} should come", len(self._text))
        part, quoted, _ = self._parts[self._at]
        self._at += 1
        return part, quoted

    def expect(self, part: str) -> None:
        """Step over the next part, which must be this one."""
        found, _ = self.take(repr(part))
        if found != part:
            raise self.error(f"expected {part!r}, found {found!r}")

    def error(self, what: str) -> SettingsError:
        """Return what to raise about the part that was taken last."""
        return self._error(what, self._parts[self._at - 1][2])

    def _error(self, what: str, end: int) -> SettingsError:
        return SettingsError(
            f"can't read the limit {self._text!r}: {what}, at character {end}; {_HOW}"
        )


_SIGNS = frozenset("()[],") | _COMPARE.keys()
_WORDS = frozenset({"and", "in", "not", "or"})


def _one(words: _Words) -> Limit:
    name, quoted = words.take("a name")
    if not quoted and (name in _SIGNS or name in _WORDS):
        raise words.error(f"expected a name, found {name!r}")
    if not quoted and _is_number(name):
        raise words.error(f"expected a name, found the number {name}")
    sign, quoted = words.take("<=, ==, in or the like")
    if sign == "not" and not quoted:
        words.expect("in")
        sign = "not in"
    if sign in ("in", "not in") and not quoted:
        return Limit(name, sign, _several(words))
    if quoted or sign not in _COMPARE:
        raise words.error(f"expected <=, <, >=, >, ==, !=, in or not in, found {sign!r}")
    return Limit(name, sign, (_value(words),))


def _several(words: _Words) -> tuple[Value, ...]:
    opening, quoted = words.take("values in brackets")
    if quoted or opening not in ("(", "["):
        raise words.error(f"expected values in brackets, such as (3, 5), found {opening!r}")
    closing = ")" if opening == "(" else "]"
    values = [_value(words)]
    while words.peek() == ",":
        words.expect(",")
        if words.peek() == closing:  # (3,) is fine too
            break
        values.append(_value(words))
    words.expect(closing)
    return tuple(values)


def _value(words: _Words) -> Value:
    part, quoted = words.take("a value")
    if quoted:
        return part
    if part in _SIGNS or part in _WORDS:
        raise words.error(f"expected a value, found {part!r}")
    if re.fullmatch(r"[+-]?\d+", part):
        return int(part)
    return float(part) if _is_number(part) else part


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def _equal(value: Value, other: Value) -> bool:
    return isinstance(value, str) == isinstance(other, str) and value == other


def _option_keeps(limit: Limit, option: Option) -> bool:
    # An option such as "3" is written with or without quotes.
    if isinstance(option, str):
        limit = Limit(limit.name, limit.sign, tuple(map(str, limit.values)))
    return limit.holds(option)


def _some_number_keeps(limits: Sequence[Limit]) -> bool:
    """Say whether any number keeps all of them: one named, next to one, or between two."""
    named = sorted({float(value) for limit in limits for value in limit.values})
    tries = [*named, *((a + b) / 2 for a, b in itertools.pairwise(named))]
    tries += [named[0] - 1, named[-1] + 1] if named else []
    return not named or any(all(limit.holds(one) for limit in limits) for one in tries)
