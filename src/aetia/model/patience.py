"""How long somebody waits for an answer, known to whatever works on it.

The one who asks makes a `Patience` and runs the work with `PATIENCE` set to it. Whatever waits for another (a database,
a server, a process) says with `stopping` how to end that wait; whatever works step by step asks `go_on` in between.
When the asker does not wait any more, `end` stops the work. Without a Patience the same code runs to its end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar

from aetia.model.errors import GivenUp


class Patience:
    """Of one question. `end` is called by the asker, the rest by whoever works on it; from any threads."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._stops: list[Callable[[], object]] = []
        self.over = False

    @property
    def left_s(self) -> float:
        """Seconds until the asker stops waiting; not below zero."""
        return max(self._until - time.monotonic(), 0.0)

    def end(self) -> None:
        """Stop the work. To be called again until the work has ended: a stop between two statements of a database
        stops neither of them."""
        self.over = True
        with self._lock:
            for stop in self._stops:
                stop()

    @contextmanager
    def stopping(self, stop: Callable[[], object]) -> Generator[None]:
        """While inside, `stop` ends the wait that the work is in; it must be quick and may be called several times.
        Raises GivenUp when nobody waits already."""
        with self._lock:
            if self.over:
                raise GivenUp(_SAID)
            self._stops.append(stop)
        try:
            yield
        finally:
            with self._lock:  # after this `stop` is not called any more, so what it ends may be closed
                self._stops.remove(stop)


PATIENCE: ContextVar[Patience | None] = ContextVar("PATIENCE", default=None)
_SAID = "nobody waits for this answer any more."


def go_on() -> None:
    """Raises GivenUp when nobody waits for the answer of this thread any more."""
    patience = PATIENCE.get()
    if patience is not None and patience.over:
        raise GivenUp(_SAID)


def given_up() -> bool:
    """Whether nobody waits for the answer of this thread any more."""
    patience = PATIENCE.get()
    return patience is not None and patience.over


def left_s(most: float) -> float:
    """Seconds that the work of this thread may still take; at most `most`."""
    patience = PATIENCE.get()
    return most if patience is None else min(most, patience.left_s)


@contextmanager
def stopping(stop: Callable[[], object]) -> Generator[None]:
    """`Patience.stopping` of whoever waits for this thread; nothing where nobody does."""
    patience = PATIENCE.get()
    if patience is None:
        yield
        return
    with patience.stopping(stop):
        yield
