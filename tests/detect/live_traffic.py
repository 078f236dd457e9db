"""Traffic of a small system as batches of stored spans, tick after tick, for tests of detection on a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from aetia.detect.live import Candidate, LiveSettings, LiveSli
from aetia.model.stored import PROMOTED, SPANS

SECOND = 1_000_000_000
START = 1_790_000_000 * SECOND
TICK_S = 5


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Requests of one entry point while it is `t` seconds old: rate per second, share that fails, milliseconds."""

    service: str = "shop"
    operation: str = "GET /buy"
    backend: str = "db"
    instance: str = "shop-1"
    rate: Callable[[float], float] = lambda t: 20.0
    failed: Callable[[float], float] = lambda t: 0.002
    took_ms: Callable[[float], float] = lambda t: 40.0
    late_s: Callable[[np.random.Generator, int], np.ndarray] = lambda rng, n: np.zeros(n)
    clock_s: float = 0.0
    """How far the sender's clock is ahead."""


def between(low: float, high: float, inside: float, outside: float) -> Callable[[float], float]:
    return lambda t: inside if low <= t < high else outside


def spans(**columns: Sequence[object]) -> pa.Table:
    """A table in the promoted columns of the store; what is not given is null."""
    n = len(next(iter(columns.values())))
    fields = [SPANS.field(name) for name in PROMOTED["spans"]]
    data = [
        pa.array(np.asarray(columns[f.name]).tolist(), f.type) if f.name in columns else pa.nulls(n, f.type)
        for f in fields
    ]
    return pa.Table.from_arrays(data, schema=pa.schema(fields))


@dataclass
class Stream:
    """Everything that several entry points send; `tick` gives what arrives in five seconds."""

    traffic: Sequence[Traffic]
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))
    number: int = 0
    held: list[tuple[float, pa.Table]] = field(default_factory=list)

    def tick(self, t: float) -> pa.Table:
        """What arrives in [t - 5, t): requests that ended up to five seconds before, each sender's batch."""
        tables = [self._of(item, t) for item in self.traffic]
        due = [table for when, table in self.held if when <= t]
        self.held = [(when, table) for when, table in self.held if when > t]
        return pa.concat_tables([*tables, *due])

    def _of(self, item: Traffic, t: float) -> pa.Table:
        n = int(self.rng.poisson(item.rate(t - 5) * TICK_S))
        end = np.sort(t - 5 - self.rng.uniform(0, TICK_S, n))
        took = item.took_ms(t - 5) / 1e3 * self.rng.lognormal(0, 0.3, n)
        bad = self.rng.random(n) < item.failed(t - 5)
        ids = np.arange(self.number, self.number + n)
        self.number += n
        table = self._rows(item, ids, end - took + item.clock_s, took, bad)
        late = item.late_s(self.rng, n)
        slow = np.flatnonzero(late > 0)
        for row in slow.tolist():
            self.held.append((t + float(late[row]), table.slice(2 * row, 2)))
        keep = np.ones(2 * n, np.bool_)
        keep[np.concatenate([2 * slow, 2 * slow + 1])] = False
        return table.filter(pa.array(keep))

    def _rows(self, item: Traffic, ids: np.ndarray, start: np.ndarray, took: np.ndarray, bad: np.ndarray) -> pa.Table:
        """Two spans for each request: the entry and a call below it."""
        twice = np.repeat(np.arange(len(ids)), 2)
        child = np.arange(len(twice)) % 2 == 1
        at = START + (start[twice] * SECOND).astype(np.int64) + np.where(child, 1_000_000, 0)
        return spans(
            time=at, trace_id=[f"{i:032x}" for i in ids[twice] + 1],
            span_id=[f"{2 * i + c:016x}" for i, c in zip(ids[twice] + 1, child, strict=True)],
            parent_span_id=[f"{2 * i:016x}" if c else None for i, c in zip(ids[twice] + 1, child, strict=True)],
            service=np.where(child, item.backend, item.service), instance=np.where(child, "x", item.instance),
            name=np.where(child, "query", item.operation), kind=np.where(child, "server", "server"),
            duration_ns=(took[twice] * SECOND * np.where(child, 0.5, 1.0)).astype(np.int64),
            status=np.where(bad[twice] & ~child, "error", "unset"),
        )  # fmt: skip


def watched(
    stream: Stream, seconds: int, live: LiveSli | None = None, *, since: int = 0
) -> Iterator[tuple[int, tuple[Candidate, ...]]]:
    """(seconds since the start, candidates) of every tick."""
    live = live or LiveSli()
    for t in range(since + TICK_S, since + seconds + 1, TICK_S):
        table = stream.tick(float(t))
        if table.num_rows:
            live.add(table)
        yield t, live.tick(START + t * SECOND)


def opened(found: Iterator[tuple[int, tuple[Candidate, ...]]]) -> list[tuple[int, Candidate]]:
    """Every candidate when it was first told of."""
    first: dict[str, tuple[int, Candidate]] = {}
    for t, candidates in found:
        for candidate in candidates:
            first.setdefault(candidate.key, (t, candidate))
    return list(first.values())


def quick(**changes: object) -> LiveSettings:
    """Settings with a shorter warm-up, and a shorter look back."""
    return LiveSettings(**({"warmup_s": 90, "scan_s": 240} | changes))  # type: ignore[arg-type]


__all__ = ["SECOND", "START", "Stream", "Traffic", "between", "opened", "quick", "replace", "spans", "watched"]
