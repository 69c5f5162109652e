"""What shared execution remembers of a supernet: graphs, programs, what it must run whole."""

from __future__ import annotations

import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import final

from torch import Tensor, fx, nn

from supernet.errors import SharingWarning
from supernet.nn.supernet import Supernet
from supernet.sharing.programs import GraphOf, Program, write_program
from supernet.sharing.structure import Ref, Structure, key, replace
from supernet.sharing.tracing import (
    Untraceable,
    form_of,
    frame_of,
    has_hooks,
    settings_inside,
    settings_of,
    surroundings,
    trace,
)
from supernet.space import Architecture

#: Programs kept per supernet. Training and scoring use one or two; a sampler that draws anew in
#: every step would fill the memory.
_PROGRAMS = 8

#: Graphs kept per supernet. An attribute that changes in every step makes one per step.
_GRAPHS = 256

_INPUT = Ref(-1)  # any of them


@final
class Cache:
    """Writes the programs of one supernet, and keeps the last few.

    Args:
        whole: Modules that must not be walked into.
        note: Called with a module that turns out to be another, and the reason; by default it is
            said in a warning.
    """

    def __init__(
        self,
        whole: Iterable[nn.Module] = (),
        note: Callable[[nn.Module, str], None] | None = None,
    ) -> None:
        self.checked: set[fx.Graph] = set()
        self.tried: set[nn.Module] = set()
        self.whole = set(whole)
        self._note = note
        self._traced: list[nn.Module] = []
        self._graphs: dict[object, fx.Graph] = {}
        self._forms: dict[object, fx.Graph] = {}
        self._programs: OrderedDict[object, Program] = OrderedDict()

    def program(
        self, supernet: Supernet, archs: Sequence[Architecture], args: Structure, kwargs: Structure
    ) -> Program:
        """Return the program for such arguments, written anew if the network has changed."""
        followed = (m for m in supernet.modules_with_choices if m not in self.whole)
        settings = *map(settings_of, followed), *map(settings_inside, self._traced)
        frame = frame_of(supernet.net)
        what = tuple(archs), key(args), key(kwargs), surroundings(), frame, settings
        known = self._programs.get(what)
        if known is None:
            known = write_program(supernet, archs, args, kwargs, self._graph_of(supernet))
            new = [owner for owner, _ in known.graphs.values() if owner not in self._traced]
            if new:  # what is inside them counts from now on
                self._traced += dict.fromkeys(new)
                return self.program(supernet, archs, args, kwargs)
            self._programs[what] = known
            if len(self._programs) > _PROGRAMS:
                self._programs.popitem(last=False)
        self._programs.move_to_end(what)
        return known

    def run_whole(self, supernet: Supernet, module: nn.Module, reason: str) -> None:
        """From now on, never walk into `module`; say so once."""
        if module in self.whole:
            return
        self.whole.add(module)
        self._programs.clear()
        if self._note:
            self._note(module, reason)
            return
        names = {inner: name for name, inner in supernet.net.named_modules()}
        what = f"{names[module]!r} ({type(module).__name__})" if names[module] else "the network"
        warnings.warn(
            f"nothing is shared inside {what}: {reason}. It runs once for each combination of "
            "the choices inside it: the results are right, at a higher cost",
            SharingWarning,
            stacklevel=2,
        )

    def _graph_of(self, supernet: Supernet) -> GraphOf:
        def graph_of(module: nn.Module, args: Structure, kwargs: Structure) -> fx.Graph | None:
            if module in self.whole or has_hooks(module):
                return None
            pattern = replace((args, kwargs), Ref, lambda _: _INPUT)
            when = module, key(pattern), surroundings(), settings_of(module), frame_of(module)
            what = when, settings_inside(module)
            if what not in self._graphs:
                try:
                    graph = trace(module, args, kwargs)
                except Untraceable as reason:
                    self.run_whole(supernet, module, str(reason))
                    return None
                if len(self._graphs) >= _GRAPHS:
                    self._graphs.clear()
                    self._forms.clear()
                    self.checked.clear()
                # What changed inside, a counter say, may not matter; then it is the known graph.
                self._graphs[what] = self._forms.setdefault((when, form_of(graph)), graph)
            return self._graphs[what]

        return graph_of


_CACHES: weakref.WeakKeyDictionary[Supernet, Cache] = weakref.WeakKeyDictionary()


def cache_of(supernet: Supernet) -> Cache:
    """Return what is remembered of a supernet."""
    return _CACHES.setdefault(supernet, Cache())


def split_inputs(args: Structure, kwargs: Structure) -> tuple[list[Tensor], Structure, Structure]:
    """Return the tensors among arguments, and the arguments with a reference for each."""
    tensors: list[Tensor] = []

    def number(tensor: Tensor) -> Ref:
        tensors.append(tensor)
        return Ref(len(tensors) - 1)

    args, kwargs = replace((args, kwargs), Tensor, number)
    return tensors, args, kwargs
