"""Freed memory goes back to the system, so that a process holds what its stage needs, and not what earlier ones did."""

from __future__ import annotations

import contextlib
import ctypes
from functools import cache

import pyarrow as pa

#: Blocks of so many bytes or more are given back as soon as they are freed. A tile's are smaller, and used again.
_LARGE = 4 << 20

#: Numbers of the parameters in glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


@cache
def give_back() -> None:
    """Have this process give back what it freed, and from now on each large block that it frees.

    By itself glibc keeps blocks as large as the largest that was freed, up to 32 MiB, and so does Arrow's own
    allocator: a quarter of a refresh's memory. Not for a process in which a model runs, which would ask the system for
    the room of each layer's result anew.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    with contextlib.suppress(OSError, AttributeError):  # another C library has other parameters, or none
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, _LARGE)
        libc.mallopt(_TRIM_THRESHOLD, _LARGE)
        libc.malloc_trim(0)
