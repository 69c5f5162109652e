"""Names of weights: those of the given model, and those of the supernet made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from torch import Tensor, nn

from supernet.nn.supernet import Supernet


def named_tensors(net: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and kept buffers of a network, under all names they have."""
    kept = net.state_dict(keep_vars=True)
    return {name: value for name, value in kept.items() if isinstance(value, Tensor)}


def accept_weights(supernet: Supernet, given: Mapping[str, Tensor]) -> None:
    """Let a supernet load what was saved of the model that it was made of.

    Then `supernet.load_state_dict(model.state_dict())` works, and `supernet.net.load_state_dict` as
    well. The statistics of batch norms are left out: a supernet keeps none.

    Args:
        supernet: The supernet, whose tensors are those of the model.
        given: The tensors of the model by name, before anything was replaced in it.
    """
    names: dict[int, str] = {}
    for name, tensor in given.items():
        names.setdefault(id(tensor), name)
    sources = {
        name: names[id(tensor)]
        for name, tensor in named_tensors(supernet.net).items()
        if id(tensor) in names
    }
    whole = {f"net.{name}": source for name, source in sources.items()}
    for net, known in ((supernet, whole), (supernet.net, sources)):
        renaming = _Renaming(frozenset(given), known)
        net.register_load_state_dict_pre_hook(renaming)


@final
class _Renaming:
    """Gives the weights in a state that is about to be loaded the names they have in the supernet.

    A state with the supernet's own names is left alone.

    Args:
        given: All names of the model.
        sources: By the name of a tensor of the supernet, its name in the model.
    """

    def __init__(self, given: frozenset[str], sources: Mapping[str, str]) -> None:
        self.given, self.sources = given, sources

    def __call__(self, module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
        mine = {key.removeprefix(prefix) for key in state if key.startswith(prefix)}
        own = module.state_dict(keep_vars=True).keys()
        if not mine & (self.given - own):
            return
        values = {name: state.pop(prefix + name) for name in mine & self.given}
        for name, source in self.sources.items():
            if source in values:
                state[prefix + name] = values[source]
