"""What all traces by `torch.fx` have in common: there is one at a time.

While it traces, `torch.fx` replaces what calls modules and looks up their attributes, for all
threads of the process. Two traces in turns would leave that behind, and one would write down what
another thread does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

from torch import fx, nn

#: Held while there is a trace; whoever replaces more for it takes this first.
ONE_AT_A_TIME: Final = threading.RLock()


class LockedTracer(fx.Tracer):
    """Traces while no other one does, and leaves calls of other threads alone."""

    def trace(self, root: Any, concrete_args: dict[str, Any] | None = None) -> fx.Graph:
        """Do what `torch.fx` does, when it is its turn."""
        with ONE_AT_A_TIME:
            self._thread = threading.get_ident()
            return super().trace(root, concrete_args)

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Write down a call, or merely do it if it is another thread's."""
        if not self.is_own_call():
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """Write down that an attribute is read, or merely read it for another thread."""
        if not self.is_own_call():
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def is_own_call(self) -> bool:
        """Say whether the thread that traces asks, and not one that has nothing to do with it."""
        return threading.get_ident() == self._thread
