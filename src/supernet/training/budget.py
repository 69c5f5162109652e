"""How many steps fit in a budget of seconds, from the measured time of some."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch

from supernet.errors import SettingsError
from supernet.runs.ranks import ALONE, Ranks

#: The share of the budget that is spent on measuring, if it takes `_ENOUGH` steps at least.
_SHARE = 0.03

#: Steps that are timed, unless they would take more than `_MOST` of the budget.
_ENOUGH = 16
_MOST = 0.1


def clock_of(device: torch.device, ranks: Ranks = ALONE) -> Callable[[], float]:
    """Return the clock that a budget is measured by: CPU time, or wall time on other devices.

    It tells all ranks the same: the CPU time of all of them together, or their mean wall time.
    """
    own, share = (time.process_time, 1) if device.type == "cpu" else (time.perf_counter, ranks.size)
    return (lambda: ranks.total(own() / share)[0]) if ranks.several else own


def fit_steps(seconds: float, take: Callable[[float], None], clock: Callable[[], float]) -> int:
    """Return how many steps take so many seconds, those that measuring itself takes left out.

    The first step isn't timed, as it sets up what later ones find ready. The others are spread
    evenly over the training, as a sampler may draw more at its end than at its beginning.

    Args:
        seconds: The budget.
        take: Does the work of a step, given the share of the training that lies before it.
        clock: Tells the seconds.

    Raises:
        SettingsError: If not a single step fits.
    """
    start = clock()
    take(0.0)
    began = now = clock()
    for number, place in enumerate(_spread(), start=1):
        take(place)
        now = clock()
        share = (now - start) / seconds
        if share >= (_SHARE if number >= _ENOUGH else _MOST):
            break
    a_step = (now - began) / number
    left = seconds - (now - start)
    if left < a_step:
        raise SettingsError(
            f"seconds is {seconds:g}, and measuring how long a step takes, which is {a_step:.3g} "
            f"s, left {max(left, 0):.3g} of them; give {max(30 * a_step, 2 * seconds):.2g} or more"
        )
    return int(left / a_step)


def _spread() -> Iterator[float]:
    """Yield 1/2, 1/4, 3/4, 1/8, 5/8 and so on: any number of them lie evenly from 0 to 1."""
    number = 0
    while True:
        number += 1
        yield int(f"{number:b}"[::-1], 2) / 2 ** number.bit_length()
