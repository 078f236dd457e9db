"""What there is: rows and bytes per signal, and what the server counts about itself."""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from aetia import __version__
from aetia.serve.operations._asking import NothingParams
from aetia.serve.operations.registry import operation
from aetia.serve.selfwatch import EDGES_S, IngestCount, RouteCount
from aetia.store.backend import Extent
from aetia.store.checking import CheckReport

if TYPE_CHECKING:
    from aetia.serve.state import ServeState


class StoreAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of each signal, and whatever else the store says of itself."""

    spans: int
    logs: int
    metrics: int
    changes: int
    extents: tuple[Extent, ...]
    stats: dict[str, Any]


class SelfAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The server's own numbers since its start; `edges_s` are the upper edges of the histograms."""

    version: str
    pid: int
    url: str
    started_ns: int
    now_ns: int
    ready: bool
    cpu_seconds: float
    rss_bytes: int
    threads: int
    in_flight_bytes: int
    questions: int
    followers: int
    edges_s: tuple[float, ...]
    ingest: tuple[IngestCount, ...]
    routes: tuple[RouteCount, ...]


class CheckParams(msgspec.Struct, frozen=True, kw_only=True):
    deep: Annotated[bool, Meta(description="read every row, not only what each file says of itself")] = False


class CheckAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Whether every file can be used, and what was found."""

    sound: bool
    report: CheckReport


class CompactAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How long it took until everything that was in the journal lay in Parquet."""

    seconds: Annotated[float, Meta(ge=0)]


def store_now(state: ServeState) -> StoreAnswer:
    """Rows and bytes at this moment."""
    extents = state.backend.extents()
    rows = {item.signal: item.rows for item in extents}
    stats: dict[str, Any] = {}
    if state.store is not None:
        stats = msgspec.to_builtins(state.store.stats(), str_keys=True)
    return StoreAnswer(
        spans=rows.get("spans", 0), logs=rows.get("logs", 0), metrics=rows.get("metrics", 0),
        changes=rows.get("changes", 0), extents=extents, stats=stats,
    )  # fmt: skip


@operation(path="/store", scope="read", summary="Rows, bytes and extent of each signal")
def store(state: ServeState, params: NothingParams) -> StoreAnswer:
    """The same as `aetia store stats`."""
    return store_now(state)


@operation(path="/store/check", scope="write", method="POST", summary="Look at every file of the store")
def store_check(state: ServeState, params: CheckParams) -> CheckAnswer:
    """The same as `aetia store check`: what is damaged, and how to mend it."""
    report = state.owned_store().check(deep=params.deep)
    return CheckAnswer(sound=report.sound, report=report)


@operation(path="/store/compact", scope="write", method="POST", summary="Move the journal to Parquet now")
def store_compact(state: ServeState, params: NothingParams) -> CompactAnswer:
    """The same as `aetia store compact`; it happens by itself in the background otherwise."""
    began = time.monotonic()
    state.owned_store().compact()
    return CompactAnswer(seconds=round(time.monotonic() - began, 3))


@operation(name="self", path="/self", scope="read", summary="The server's own numbers")
def self_(state: ServeState, params: NothingParams) -> SelfAnswer:
    """Requests by route and status with latency histograms, what was received, memory and CPU time."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    receiver = state.extras.get("receiver")
    return SelfAnswer(
        version=__version__, pid=os.getpid(), url=state.url, started_ns=state.started_ns, now_ns=time.time_ns(),
        ready=state.ready, cpu_seconds=round(used.ru_utime + used.ru_stime, 3), rss_bytes=rss_bytes(),
        threads=threading.active_count(), in_flight_bytes=receiver.in_flight_bytes if receiver is not None else 0,
        questions=state.pool.held, followers=state.hub.clients, edges_s=EDGES_S, ingest=state.watch.ingest(),
        routes=state.watch.routes(),
    )  # fmt: skip


def rss_bytes() -> int:
    """Resident memory now; its peak where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - no file, a line of the kernel
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
