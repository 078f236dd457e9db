"""What happens by the clock while the server runs: numbers for those who follow, and its own telemetry."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from aetia.serve import ownsignals
from aetia.serve.operations.store import store_now

if TYPE_CHECKING:
    from aetia.serve.state import ServeState

log = logging.getLogger(__name__)
STATS_S = 5.0


@contextlib.asynccontextmanager
async def ticking(state: ServeState) -> AsyncGenerator[None]:
    """The tasks of a running server."""
    tasks = [asyncio.create_task(_stats(state))]
    if state.config.server.watch_itself and state.store is not None:
        tasks.append(asyncio.create_task(ownsignals.report(state)))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _stats(state: ServeState) -> None:
    """Tell those who follow how much there is."""
    while True:
        await asyncio.sleep(STATS_S)
        if state.hub.clients and state.store is not None:
            try:
                state.hub.tell("stats", "stats", await asyncio.to_thread(store_now, state))
            except Exception:
                log.exception("the store's numbers could not be told")
