"""A bounded pool of threads that answer questions: so many at once, so many waiting, so long each."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from aetia.serve.problems import Refused

T = TypeVar("T")


class QueryPool:
    """Runs blocking questions off the event loop. A question that outlives its deadline is answered with 504; its
    thread goes on until the question ends, and counts as taken until then."""

    def __init__(self, threads: int, queue: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="aetia-query")
        self._most = threads + queue
        self._held = 0
        self._lock = threading.Lock()

    @property
    def held(self) -> int:
        """Questions that run or wait."""
        return self._held

    async def run(self, ask: Callable[..., T], *args: Any, seconds: float) -> T:
        """`ask(*args)` in a thread, in the context of the caller. Raises Refused: 429 when too many wait, 504 when it
        takes too long; and what `ask` raises."""
        with self._lock:
            if self._held >= self._most:
                raise Refused("busy", "too many questions wait to be answered.", retry_after_s=1.0)
            self._held += 1
        future: Future[T] = self._pool.submit(contextvars.copy_context().run, ask, *args)
        future.add_done_callback(self._done)
        waiting = asyncio.wrap_future(future)
        try:
            return await asyncio.wait_for(waiting, seconds)  # cancels what has not begun
        except TimeoutError:
            if future.done() and not future.cancelled():
                raise  # the question's own
            raise Refused(
                "deadline", f"no answer within {seconds:g} s.", retry_after_s=5.0, try_="a shorter window or a filter"
            ) from None

    def close(self) -> None:
        """Take no more; what runs is left to end by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _done(self, future: Future[Any]) -> None:
        del future
        with self._lock:
            self._held -= 1
