"""Settings that change nothing: somebody asked for them, and nothing else asks for what they say.

No torch at import.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from supernet.experiments.settings import Settings
from supernet.training.samplers.naming import SAMPLERS


class _Need(NamedTuple):
    """What a setting needs.

    Attributes:
        used: Whether it is there.
        what: It, in words.
    """

    used: Callable[[Settings], bool]
    what: str


def _of_samplers(setting: str) -> _Need:
    names = [name for name, kind in SAMPLERS.items() if setting in kind.takes]
    *others, last = names
    what = f"{', '.join(others)} or {last}" if others else last
    return _Need(lambda settings: settings.sampler.name in names, f"the sampler {what}")


#: By the names of options, what else has to be asked for.
_NEEDS: Final = {
    **{setting: _of_samplers(setting) for setting in ("paths", "order", "budget")},
    "power": _Need(
        lambda asked: bool(asked.sampler.favor or asked.sampler.weigh), "favor or weigh"
    ),
    "decay": _Need(lambda asked: asked.sampler.pace is not None, "pace"),
    "prior_weight": _Need(lambda asked: asked.sampler.prior is not None, "prior"),
    "momentum": _Need(lambda asked: asked.recipe.optimizer == "sgd", "the optimizer sgd"),
    "warmup": _Need(lambda asked: asked.recipe.schedule == "one-cycle", "the schedule one-cycle"),
    "resize_by": _Need(lambda asked: asked.data.resize is not None, "resize"),
}


def unused(settings: Settings) -> Iterator[str]:
    """Yield a sentence for each setting that isn't the default, and changes nothing."""
    asked, default = settings.flat(), Settings().flat()
    for name, need in _NEEDS.items():
        if asked[name] != default[name] and not need.used(settings):
            yield f"{name} is {asked[name]}, and changes nothing without {need.what}"
