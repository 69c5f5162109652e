"""The problem of a search: a space, objectives, limits, and what is known beforehand."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from supernet.errors import LimitError, SettingsError
from supernet.space import Architecture, SearchSpace
from supernet.strategies.constraints import (
    Limit,
    allowed_options,
    as_limits,
    check_names,
    require_consistent,
)
from supernet.strategies.costs import Cost, RowCost, TableCost, costs_of_rows
from supernet.strategies.encoding import EncodedSpace, Mask, Rows, keys_of

#: What is better the larger it is; everything else is better the smaller it is.
_LARGER_IS_BETTER = frozenset({"score", "corrected"})

#: A space with at most so many architectures is listed: then all about it is exact.
LISTED = 50_000


@dataclass(frozen=True, slots=True)
class Objective:
    """One number that is to be as large, or as small, as possible.

    Attributes:
        name: Under which an evaluation has it.
        direction: "max" or "min".
    """

    name: str
    direction: Literal["max", "min"] = "min"

    @property
    def sign(self) -> float:
        """What to multiply by, so that smaller is better."""
        return -1.0 if self.direction == "max" else 1.0


@dataclass(frozen=True)
class Evaluation:
    """An architecture, and what came of looking at it.

    Attributes:
        arch: The architecture, in canonical form.
        values: Every objective and every cost, by name; NaN for one that couldn't be had.
        error: Why, if one couldn't; a failed evaluation is never selected.
        number: Which it is, from 0 on.
    """

    arch: Architecture
    values: Mapping[str, float]
    error: str | None = None
    number: int = 0


def as_objectives(objectives: Iterable[str | Objective]) -> tuple[Objective, ...]:
    """Return objectives by name: "score" and "corrected" are to be large, all others small.

    `"max:width"` and `"min:width"` say it for others.

    Raises:
        SettingsError: If there are none, or one is given twice.
    """
    given = [objectives] if isinstance(objectives, str | Objective) else list(objectives)
    found = [one if isinstance(one, Objective) else _named(one) for one in given]
    if not found:
        raise SettingsError("a search needs at least one objective, such as score")
    names = [one.name for one in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SettingsError(f"these objectives are given twice: {twice}; give each once")
    return tuple(found)


def _named(text: str) -> Objective:
    direction, colon, name = text.partition(":")
    if colon and direction == "max":
        return Objective(name, "max")
    if colon and direction == "min":
        return Objective(name)
    return Objective(text, "max" if text in _LARGER_IS_BETTER else "min")


@final
class Problem:
    """A space with objectives, limits and costs; everything a strategy needs to know.

    Args:
        space: The space.
        objectives: What is to be good; those that are costs are never predicted.
        limits: What must hold, as text or ready-made; see `parse_limits`.
        costs: What is known of every architecture without evaluating it, by name.

    Raises:
        SettingsError: If an objective or a limit makes no sense for the space.
        LimitError: If nothing meets the limits; found out when the first architecture is drawn.
    """

    def __init__(
        self,
        space: SearchSpace,
        objectives: Iterable[str | Objective] = ("score",),
        *,
        limits: str | Limit | Iterable[str | Limit] = (),
        costs: Mapping[str, Cost] = {},
    ) -> None:
        self.space, self.costs = space, dict(costs)
        self.objectives = as_objectives(objectives)
        self.limits = as_limits(limits)
        measured = [one.name for one in self.objectives if one.name not in costs]
        check_names(self.limits, space, self.costs, [*measured, "score", "loss"])
        on_choices = {choice.name for choice in space.choices}
        self.cost_limits = tuple(one for one in self.limits if one.name not in on_choices)
        require_consistent(self.cost_limits)
        allowed = {
            choice.name: allowed_options(choice, own)
            for choice in space.choices
            if (own := [limit for limit in self.limits if limit.name == choice.name])
        }
        self.encoded = EncodedSpace(space, allowed)
        self._known: dict[str, dict[bytes, float]] = {}

    def _is_least(self, limit: Limit, value: float) -> bool:
        """Say whether a value is the least there is, as far as tables of costs tell."""
        cost = self.costs[limit.name]
        if not isinstance(cost, TableCost) or limit.sign[0] != "<":
            return False
        return value <= cost.least(self.encoded.allowed) * (1 + 1e-12)

    @property
    def predicted(self) -> tuple[Objective, ...]:
        """The objectives that only an evaluation tells."""
        return tuple(one for one in self.objectives if one.name not in self.costs)

    def cost(self, name: str, rows: Rows) -> NDArray[np.float64]:
        """Return one cost of each row; NaN where it can't be had."""
        cost = self.costs[name]
        if isinstance(cost, RowCost):
            return costs_of_rows(cost, self.encoded, rows)
        # A function of the user's may be slow: it is asked once about each architecture.
        known, keys = self._known.setdefault(name, {}), keys_of(rows)
        missing = list({key: at for at, key in enumerate(keys) if key not in known}.values())
        if missing:
            found = costs_of_rows(cost, self.encoded, rows[missing])
            known.update(zip((keys[at] for at in missing), found.tolist(), strict=True))
        return np.array([known[key] for key in keys], np.float64)

    def excess(self, rows: Rows) -> NDArray[np.float64]:
        """Return how far each row is from meeting the limits on costs; 0 if it meets them."""
        total = np.zeros(len(rows))
        for name in dict.fromkeys(limit.name for limit in self.cost_limits):
            values = self.cost(name, rows)
            for limit in self.cost_limits:
                if limit.name == name:
                    total += limit.excess(values)
        return total

    def permits(self, rows: Rows) -> Mask:
        """Say which rows meet all limits."""
        fine = self.encoded.permits(rows)
        if self.cost_limits and fine.any():
            fine[fine] = self.excess(rows[fine]) == 0
        return fine

    def meets(self, arch: Architecture) -> bool:
        """Say whether an architecture meets all limits."""
        return bool(self.permits(self.encoded.encode([arch]))[0])

    @functools.cached_property
    def listed(self) -> Rows | None:
        """All rows that meet the limits; None if the space is too large to look at each.

        Raises:
            LimitError: If none does.
        """
        every = self.encoded.list_all(LISTED)
        if every is None or (self.cost_limits and not self._quick(len(every))):
            return None
        fitting = every[self.excess(every) == 0] if self.cost_limits else every
        if not len(fitting):
            raise LimitError(self._nothing_meets(every, exact=True))
        return fitting

    def _quick(self, count: int) -> bool:
        """Say whether the limited costs of so many architectures are had in seconds."""
        limited = {limit.name for limit in self.cost_limits}
        return count <= 2_000 or all(isinstance(self.costs[name], RowCost) for name in limited)

    def nothing_found(self, rows: Rows) -> LimitError:
        """Return the error that says that nothing meets the limits, from the nearest rows seen."""
        return LimitError(self._nothing_meets(rows, exact=False))

    def _nothing_meets(self, rows: Rows, *, exact: bool) -> str:
        stated = " and ".join(map(str, self.limits))
        parts = [f"no architecture meets {stated}"]
        if not exact:
            parts = [f"found no architecture that meets {stated}"]
        excess = self.excess(rows)
        for limit in self.cost_limits:
            values = self.cost(limit.name, rows)
            if np.isnan(values).all():
                parts.append(f"{limit.name} is not a number for any architecture")
                continue
            off = limit.excess(values)
            if len(self.cost_limits) > 1 and not off.all():
                continue  # this one can be met, though not together with the others
            at = int(np.nanargmin(off))
            least = {"<": "least", ">": "largest"}.get(limit.sign[0], "nearest")
            (arch,) = self.encoded.decode(rows[at][None])
            proven = exact or self._is_least(limit, float(values[at]))
            where = "there is" if proven else "found"
            parts.append(f"the {least} {limit.name} {where} is {values[at]:,.12g}, with {arch}")
        if len(parts) == 1:
            at = int(np.argmin(np.where(np.isnan(excess), math.inf, excess)))
            (arch,) = self.encoded.decode(rows[at][None])
            has = [
                f"{name} {self.cost(name, rows[at][None])[0]:,.12g}"
                for name in dict.fromkeys(limit.name for limit in self.cost_limits)
            ]
            parts.append(
                "each limit can be met, but not all of them together; nearest is "
                f"{arch} with {', '.join(has)}"
            )
        return "; ".join(parts) + "; relax the limits"


def points_of(
    evaluations: Sequence[Evaluation], objectives: Sequence[Objective]
) -> NDArray[np.float64]:
    """Return evaluations x objectives, all to be small; NaN for what could not be had."""
    found = [[o.sign * one.values.get(o.name, math.nan) for o in objectives] for one in evaluations]
    return np.array(found, np.float64).reshape(len(evaluations), len(objectives))


@dataclass(frozen=True)
class Failed:
    """An evaluation that failed, told by what evaluates instead of values."""

    reason: str
    values: Mapping[str, float] = field(default_factory=dict)
