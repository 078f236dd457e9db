"""A bounded pool of threads that answer questions: so many at once, so many waiting, so long each."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from aetia.model.patience import PATIENCE, Patience
from aetia.serve.problems import Refused

T = TypeVar("T")
STOP_EVERY_S, CLOSE_S = 0.05, 2.0


class QueryPool:
    """Runs blocking questions off the event loop. A question that outlives its deadline is answered with 504, one whose
    asker has gone is not answered; either is stopped, and its thread counts as taken until it has ended."""

    def __init__(self, threads: int, queue: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="aetia-query")
        self._most = threads + queue
        self._held: dict[Future[Any], Patience] = {}
        self._room = 0
        self._lock = threading.Lock()
        self._endings: set[asyncio.Task[None]] = set()

    @property
    def held(self) -> int:
        """Questions that run or wait."""
        return self._room

    async def run(self, ask: Callable[..., T], *args: Any, seconds: float) -> T:
        """`ask(*args)` in a thread, in the context of the caller. Raises Refused: 429 when too many wait, 504 when it
        takes too long; and what `ask` raises. Ends the question when it is cancelled itself."""
        with self._lock:
            if self._room >= self._most:
                raise Refused("busy", "too many questions wait to be answered.", retry_after_s=1.0)
            self._room += 1
        patience = Patience(seconds)
        future: Future[T] = self._pool.submit(_patiently, contextvars.copy_context(), patience, ask, *args)
        with self._lock:
            self._held[future] = patience
        future.add_done_callback(self._done)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), seconds)  # cancels what has not begun
        except TimeoutError:
            if future.done() and not future.cancelled():
                raise  # the question's own
            raise Refused(
                "deadline", f"no answer within {seconds:g} s.", retry_after_s=5.0, try_="a shorter window or a filter"
            ) from None
        finally:
            if not future.done():
                ending = asyncio.create_task(_end(future, patience))
                self._endings.add(ending)
                ending.add_done_callback(self._endings.discard)

    def close(self) -> None:
        """Take no more, and stop what runs."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        until = time.monotonic() + CLOSE_S
        while self._held and time.monotonic() < until:
            with self._lock:
                held = list(self._held.values())
            for patience in held:
                patience.end()
            time.sleep(STOP_EVERY_S)

    def _done(self, future: Future[Any]) -> None:
        with self._lock:
            self._room -= 1
            self._held.pop(future, None)


def _patiently(context: contextvars.Context, patience: Patience, ask: Callable[..., T], *args: Any) -> T:
    context.run(PATIENCE.set, patience)
    return context.run(ask, *args)


async def _end(future: Future[Any], patience: Patience) -> None:
    """Stop a question, and again until it has ended: between two statements there is nothing to stop."""
    while not future.done():
        patience.end()
        await asyncio.sleep(STOP_EVERY_S)
