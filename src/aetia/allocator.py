"""How the process asks the system for memory: freed arrays are kept for the next ones instead of being given back.

A diagnosis allocates and frees arrays of some megabytes by the thousand. The C library maps and unmaps each of them,
and the kernel clears every page again: 0.2 to 0.5 s of system time for a million spans, half a gigabyte reused.
"""

from __future__ import annotations

import os
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_PAD_BYTES = 64 << 20
_NEVER = (1 << 31) - 1


def keep_freed_memory() -> bool:
    """Let malloc reuse freed memory; for programs that end with their work, such as the command line.

    Whether it could be set: GNU libc on Linux only. Settings of the environment (MALLOC_*) stay as they are.
    """
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(
        mallopt(option, value) for option, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER), (_TOP_PAD, _PAD_BYTES))
    )
