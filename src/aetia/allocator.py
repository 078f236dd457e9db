"""How the process asks the system for memory: programs that end keep what they freed, servers give it back.

A diagnosis allocates and frees arrays of megabytes by the thousand. The C library maps and unmaps each of them, and
the kernel clears every page again. Of a million spans that costs 0.3 s of system time, of ten million 6 s; with
freed memory kept, and without the huge pages that numpy asks for each array anew, a fifth of it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -2, -3, -4, -8
_NEVER = -1
_PAD_BYTES = 64 << 20
_KEEP = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER), (_TOP_PAD, _PAD_BYTES), (_ARENA_MAX, 1))
_GIVE_BACK = ((_MMAP_THRESHOLD, 256 << 10), (_TRIM_THRESHOLD, 256 << 10), (_ARENA_MAX, 2))


def keep_freed_memory() -> bool:
    """Let malloc reuse freed memory, one pool for all threads; for programs that end with their work, such as the
    command line. The command line also sets NUMPY_MADVISE_HUGEPAGE=0, which has to come before numpy is imported.

    Whether it could be set: GNU libc on Linux only. Settings of the environment (MALLOC_*) stay as they are.
    """
    return _set(_KEEP)


def give_back_freed_memory() -> bool:
    """Let malloc return freed arrays to the system at once, two pools for all threads; for servers, whose threads would
    otherwise each keep a pool as large as the largest moment of it. Whether it could be set, as above."""
    return _set(_GIVE_BACK)


def _set(options: Sequence[tuple[int, int]]) -> bool:
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(option, value) for option, value in options)
