"""What a launcher such as torchrun says about this process. No torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from supernet.errors import SettingsError

_START = "start with torchrun, as in `torchrun --nproc-per-node 2 -m supernet train`"
_ADDRESS = ("MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True)
class Launched:
    """One of several processes that a launcher started for the same work.

    Attributes:
        rank: Its number among all, from 0.
        size: How many there are.
        local: Its number among those on this machine.
    """

    rank: int
    size: int
    local: int


def find_launch(environment: Mapping[str, str] | None = None) -> Launched | None:
    """Return what a launcher says about this process, or None if there was none.

    Args:
        environment: Where it says so; by default, the environment of this process.

    Raises:
        SettingsError: If that is incomplete or makes no sense.
    """
    given = os.environ if environment is None else environment
    if not given.get("RANK") and not given.get("WORLD_SIZE"):
        return None
    rank, size = _number(given, "RANK"), _number(given, "WORLD_SIZE")
    if not rank < size:
        raise SettingsError(
            f"RANK is {rank} and WORLD_SIZE is {size}; ranks count from 0: {_START}"
        )
    if missing := [name for name in _ADDRESS if not given.get(name)]:
        raise SettingsError(
            f"RANK and WORLD_SIZE are set, and {' and '.join(missing)} not, so the ranks can't "
            f"meet; {_START}, or unset RANK and WORLD_SIZE to work with one process"
        )
    if not 0 < _number(given, "MASTER_PORT") < 2**16:
        raise SettingsError(f"MASTER_PORT is {given['MASTER_PORT']!r}, which is no port; {_START}")
    return Launched(rank, size, _number(given, "LOCAL_RANK") if given.get("LOCAL_RANK") else rank)


def _number(given: Mapping[str, str], name: str) -> int:
    text = given.get(name, "")
    if not (text.isascii() and text.isdecimal()):
        what = f"is {text!r}" if text else "is not set"
        raise SettingsError(
            f"{name} {what}, and must be a number where RANK or WORLD_SIZE are set; {_START}, or "
            "unset them to work with one process"
        )
    return int(text)
