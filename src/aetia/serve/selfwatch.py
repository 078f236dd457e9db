"""What the server counts about itself."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import defaultdict

import msgspec

EDGES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

MOST_SPANS = 500
"""Spans of questions that are kept between two reports."""


class RouteCount(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of one route with one status: how many, seconds in all, and how many up to each of `edges_s`."""

    route: str
    status: int
    requests: int
    seconds: float
    histogram: tuple[int, ...]


class IngestCount(msgspec.Struct, frozen=True, kw_only=True):
    """What was received of one signal."""

    signal: str
    requests: int
    rows: int
    rejected: int
    refused: int
    duplicates: int
    bytes: int


class _Route:
    __slots__ = ("histogram", "requests", "seconds")

    def __init__(self) -> None:
        self.requests, self.seconds = 0, 0.0
        self.histogram = [0] * (len(EDGES_S) + 1)


class _Ingest:
    __slots__ = ("bytes", "duplicates", "refused", "rejected", "requests", "rows")

    def __init__(self) -> None:
        self.requests = self.rows = self.rejected = self.refused = self.duplicates = self.bytes = 0


class Watch:
    """Counters since the start; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._routes: defaultdict[tuple[str, int], _Route] = defaultdict(_Route)
        self._ingest: defaultdict[str, _Ingest] = defaultdict(_Ingest)
        self._spans: list[tuple[str, int, int, int]] = []

    def request(self, route: str, status: int, seconds: float) -> None:
        with self._lock:
            held = self._routes[route, status]
            held.requests += 1
            held.seconds += seconds
            held.histogram[bisect_left(EDGES_S, seconds)] += 1
            if route.startswith("/api/") and len(self._spans) < MOST_SPANS:
                took = round(seconds * 1e9)
                self._spans.append((route, status, time.time_ns() - took, took))

    def take_spans(self) -> list[tuple[str, int, int, int]]:
        """(route, status, start and duration in ns) of questions since the last time; some when there were many."""
        with self._lock:
            taken, self._spans = self._spans, []
            return taken

    def received(self, signal: str, size: int, *, rows: int, rejected: int, duplicate: bool) -> None:
        with self._lock:
            held = self._ingest[signal]
            held.requests += 1
            held.bytes += size
            held.rows += rows
            held.rejected += rejected
            held.duplicates += duplicate

    def refused(self, signal: str) -> None:
        with self._lock:
            self._ingest[signal].refused += 1

    def routes(self) -> tuple[RouteCount, ...]:
        with self._lock:
            return tuple(
                RouteCount(
                    route=route, status=status, requests=held.requests, seconds=round(held.seconds, 6),
                    histogram=tuple(held.histogram),
                )
                for (route, status), held in sorted(self._routes.items())
            )  # fmt: skip

    def ingest(self) -> tuple[IngestCount, ...]:
        with self._lock:
            return tuple(
                IngestCount(
                    signal=signal, requests=held.requests, rows=held.rows, rejected=held.rejected,
                    refused=held.refused, duplicates=held.duplicates, bytes=held.bytes,
                )
                for signal, held in sorted(self._ingest.items())
            )  # fmt: skip
