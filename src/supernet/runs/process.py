"""Settings of a process: threads, seeds, and how memory is kept.

Called by the command line, by worker processes and by benchmarks; never by the library.
"""

from __future__ import annotations

import ctypes
import platform

#: mallopt(3) parameter numbers and the values set here.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_KEEP_BYTES = 1 << 30


def set_up_process(*, threads: int) -> None:
    """Set how many threads PyTorch uses, and let the allocator keep freed activations.

    By default glibc hands large blocks back to the kernel at every step, to be cleared and mapped
    again at the next. Other C libraries are left alone.
    """
    import torch

    torch.set_num_threads(threads)
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)


def seed_process(seed: int) -> None:
    """Seed PyTorch's default generators, from which dropout and its like draw."""
    import torch

    torch.manual_seed(seed)
