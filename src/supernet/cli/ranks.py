"""Several processes that torchrun started for one command. No torch at import."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from rich.console import Console

from supernet.errors import SettingsError
from supernet.runs.launch import Launched, find_launch

if TYPE_CHECKING:
    from supernet.runs.ranks import Ranks

#: Commands that train a network together; others would do the same work several times.
TOGETHER = ("compare", "train", "resume", "finetune")


def require_alone(command: str | None) -> None:
    """Raise `SettingsError` if torchrun started several processes for what is one's to do."""
    if command is None or command in TOGETHER or "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise SettingsError(
            f"`supernet {command}` works in one process; call it without torchrun, which serves "
            f"{', '.join(TOGETHER[:-1])} and {TOGETHER[-1]}"
        )


def find_several() -> Launched | None:
    """Return what a launcher says of this process, if it started several.

    Raises:
        SettingsError: If what it says makes no sense.
    """
    launched = find_launch()
    return None if launched is None or launched.size == 1 else launched


def is_follower() -> bool:
    """Return whether another of several processes speaks for all."""
    with suppress(SettingsError):
        launched = find_several()
        return launched is not None and launched.rank > 0
    return False


def console_of(launched: Launched | None) -> Console:
    """Return where progress is shown: nowhere, but by the first of several."""
    return Console(stderr=True, quiet=not is_first(launched))


def is_first(launched: Launched | None) -> bool:
    """Return whether this is the process that writes and shows."""
    return launched is None or launched.rank == 0


@contextmanager
def joining(launched: Launched | None) -> Iterator[Ranks]:
    """Meet the others, if there are several, and part from them at the end of the block.

    Raises:
        RankError: If they don't come, or run another program.
    """
    from supernet.runs.ranks import ALONE, join_ranks

    if launched is None:
        yield ALONE
        return
    with join_ranks() as ranks:
        from supernet.experiments.ranked import require_same_program

        require_same_program(ranks)
        yield ranks
