"""Cache of shared execution: graphs, programs, and what must run whole."""

from __future__ import annotations

import warnings
import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import final

from torch import Tensor, fx, nn

from supernet.errors import SharingWarning
from supernet.nn.choices import ChoiceChain
from supernet.nn.supernet import Supernet
from supernet.sharing.module_state import Reads, frame_of, has_hooks, settings_of
from supernet.sharing.programs import Program, write_program
from supernet.sharing.structure import Ref, Structure, key, replace
from supernet.sharing.tracing import Untraceable, form_of, own_graph, surroundings, trace
from supernet.space import Architecture

#: Programs kept per supernet. Training and scoring use one or two; a sampler that draws again in
#: every step would fill the memory.
_PROGRAMS = 8

#: Graphs kept per supernet, and per module. An attribute that changes in every step, and that the
#: forward reads, makes one per step.
_GRAPHS, _GRAPHS_OF_ONE = 1024, 8

_INPUT = Ref(-1)  # any of them


@final
class Cache:
    """Writes the programs of one supernet, and keeps the last few.

    What is found out about a module is kept from one set of architectures to the next, and found
    out again only if something has changed that mattered.

    Args:
        whole: Modules that must not be walked into.
        note: Called with a module that turns out to be another, and the reason; by default it is
            said in a warning.

    Attributes:
        whole: Modules that are not walked into.
        checked: Graphs that were held against their modules.
        proofs: How often that was done for graphs that differ in constant numbers only.
        tried: Chains that were tried.
    """

    def __init__(
        self,
        whole: Iterable[nn.Module] = (),
        note: Callable[[nn.Module, str], None] | None = None,
    ) -> None:
        self.checked: set[fx.Graph] = set()
        self.proofs: Counter[object] = Counter()
        self.tried: set[nn.Module] = set()
        self.whole = set(whole)
        self._note = note
        self._chains: tuple[ChoiceChain, ...] | None = None
        self._graphs: dict[object, list[tuple[Reads, fx.Graph]]] = {}
        self._forms: dict[object, fx.Graph] = {}
        self._programs: OrderedDict[object, tuple[Program, list[Reads]]] = OrderedDict()

    def program(
        self, supernet: Supernet, archs: Sequence[Architecture], args: Structure, kwargs: Structure
    ) -> Program:
        """Return the program for such arguments, rewritten if the network has changed."""
        what = (
            tuple(archs),
            (key(args), key(kwargs)),
            surroundings(),
            frame_of(supernet.net),
            tuple(settings_of(chain) for chain in self._chains_of(supernet)),
        )
        known = self._programs.get(what)
        if known is None or not all(reads.hold for reads in known[1]):
            read: list[Reads] = []
            found: dict[object, fx.Graph | None] = {}

            def graph_of(module: nn.Module, args: Structure, kwargs: Structure) -> fx.Graph | None:
                pattern = replace((args, kwargs), Ref, lambda _: _INPUT)
                call = module, key(pattern)  # the same for many of the architectures
                if call not in found:
                    found[call] = self._graph(supernet, module, args, kwargs, call, read)
                return found[call]

            known = write_program(supernet, archs, args, kwargs, graph_of), read
            self._programs[what] = known
            if len(self._programs) > _PROGRAMS:
                self._programs.popitem(last=False)
        self._programs.move_to_end(what)
        return known[0]

    def _chains_of(self, supernet: Supernet) -> tuple[ChoiceChain, ...]:
        """Return the modules whose `path` may depend on attributes of theirs."""
        if self._chains is None:
            found = (m for m in supernet.net.modules() if isinstance(m, ChoiceChain))
            self._chains = tuple(found)
        return self._chains

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

    def _graph(
        self,
        supernet: Supernet,
        module: nn.Module,
        args: Structure,
        kwargs: Structure,
        call: object,
        read: list[Reads],
    ) -> fx.Graph | None:
        """Return the graph of a module for arguments like these; None if it has to be run whole.

        What the graph depends on is added to `read`; `call` is equal for all such calls.
        """
        if module in self.whole or has_hooks(module):
            return None
        when = call, surroundings(), frame_of(module)
        for reads, graph in self._graphs.get(when, ()):
            if reads.hold:
                read.append(reads)
                return graph
        own = own_graph(module, args, kwargs)
        try:
            graph, reads = own or trace(module, args, kwargs)
        except Untraceable as reason:
            self.run_whole(supernet, module, str(reason))
            return None
        if len(self._forms) >= _GRAPHS:
            self._graphs.clear()
            self._forms.clear()
            self.checked.clear()
        # What changed, a counter say, may not matter to the result; then it is the known graph.
        graph = self._forms.setdefault((when, form_of(graph)), graph)
        if own:
            self.checked.add(graph)
        self._graphs[when] = [(reads, graph), *self._graphs.get(when, ())][:_GRAPHS_OF_ONE]
        read.append(reads)
        return graph


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
