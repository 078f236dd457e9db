"""How the process asks the system for memory: freed arrays are kept for the next ones instead of being given back.

A diagnosis allocates and frees arrays of megabytes by the thousand. The C library maps and unmaps each of them, and
the kernel clears every page again. Of a million spans that costs 0.3 s of system time, of ten million 6 s; with
freed memory kept, and without the huge pages that numpy asks for each array anew, a fifth of it.
"""

from __future__ import annotations

import os
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_NEVER = -1
_PAD_BYTES = 64 << 20
_OPTIONS = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER), (_TOP_PAD, _PAD_BYTES), (_ARENA_MAX, 1))


def keep_freed_memory() -> bool:
    """Let malloc reuse freed memory, one pool for all threads; for programs that end with their work, such as the
    command line. The command line also sets NUMPY_MADVISE_HUGEPAGE=0, which has to come before numpy is imported.

    Whether it could be set: GNU libc on Linux only. Settings of the environment (MALLOC_*) stay as they are.
    """
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(option, value) for option, value in _OPTIONS)
