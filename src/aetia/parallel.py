"""Tasks side by side in threads: numpy and Arrow work outside the interpreter's lock.

The number of threads changes the time, never an answer: tasks share nothing but results that are computed once.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
VARIABLE = "AETIA_THREADS"
MOST = 4
"""Beyond this the lock that the interpreter's own part needs leaves nothing to gain."""
_inside = threading.local()


def thread_count() -> int:
    """How many threads to use: the variable AETIA_THREADS, else the processors of this process, at most MOST."""
    given = os.environ.get(VARIABLE, "")
    if given.isdigit() and int(given) > 0:
        return int(given)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, MOST)


def side_by_side(tasks: Sequence[Callable[[], T]]) -> list[T]:
    """The results of some tasks, in their order; of several failures the first in that order is raised.

    Tasks that start tasks themselves run those one after the other.
    """
    count = min(thread_count(), len(tasks))
    if count < 2 or getattr(_inside, "busy", False):
        return [task() for task in tasks]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(count, "aetia", initializer=_enter) as pool:
        running = [pool.submit(task) for task in tasks]
        return [future.result() for future in running]


def _enter() -> None:
    _inside.busy = True
