"""A meeting of ranks in a store that may hold what ranks before them left there.

torchrun starts ranks again after one has died, and its store stays. Whoever takes what is left in
it for the word of a living rank waits for the dead. So the first rank calls the others by what each
has just made up, and each answers with what the first has.
"""

from __future__ import annotations

import time
import uuid
from typing import Any, Final

_HELLO: Final = "supernet/hello/"
_WELCOME: Final = "supernet/welcome/"
_HERE: Final = "supernet/here/"

#: Between two looks at the store.
_PAUSE_S: Final = 0.02


def meet(store: Any, rank: int, size: int, wait_s: float) -> str:
    """Return a name for this meeting, the same for all who are there, and new.

    Args:
        store: Where all ranks can write and read; a store of `torch.distributed`.
        rank: The number of this one.
        size: How many there are.
        wait_s: How many seconds the first rank waits for the others; they wait as long as the store
            lets them.

    Raises:
        RuntimeError: If they don't come in time.
    """
    own = uuid.uuid4().hex
    if rank:
        store.set(f"{_HELLO}{rank}", own.encode())
        name = bytes(store.get(f"{_WELCOME}{own}")).decode()
        store.set(f"{_HERE}{name}/{rank}", b"")
        return name
    end, missing = time.monotonic() + wait_s, set(range(1, size))
    while missing:
        for other in sorted(missing):
            if store.check([f"{_HERE}{own}/{other}"]):
                missing.discard(other)
            elif store.check([f"{_HELLO}{other}"]):  # of now, or of one that is no more
                called = bytes(store.get(f"{_HELLO}{other}")).decode()
                store.set(f"{_WELCOME}{called}", own.encode())
        if missing and time.monotonic() > end:
            names = ", ".join(map(str, sorted(missing)))
            raise RuntimeError(f"of {size}, these did not come: {names}")
        time.sleep(_PAUSE_S)
    return own
