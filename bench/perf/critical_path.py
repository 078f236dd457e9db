"""Critical path and exclusive time of traces with 100 000 spans, against a plain Python form in the same run.

Prints milliseconds (best of five, frame building included) and the ratio per shape; ends with 1 when the
ratio falls below 2 or when the two forms disagree. The goal of 200 ms is printed beside it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from aetia.model.tables import Telemetry
from aetia.signals.critical_path import critical_path
from aetia.signals.view import Facts

SPANS = 100_000
LIMIT_MS = 200.0
LEAST_RATIO = 2.0


def deep() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A chain: every span calls the next one."""
    rows = np.arange(SPANS)
    return rows - 1, rows, 2 * (SPANS - rows) + 1


def wide() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One span with all others as children, in part overlapping."""
    rows = np.arange(SPANS)
    start = 10 * rows
    duration = np.where(rows % 3 == 0, 25, 8)
    duration[0] = 10 * SPANS + 100
    return np.where(rows == 0, -1, 0), start, duration


def mixed() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A random recursive tree with overlapping, asynchronous and out-of-bounds children."""
    rng = np.random.default_rng(7)
    parent = np.floor(rng.random(SPANS) * np.arange(SPANS)).astype(np.int64)
    parent[0] = -1
    start = np.sort(rng.integers(0, 10**9, SPANS))
    duration = (rng.exponential(10**8, SPANS)).astype(np.int64) + 1
    start[0], duration[0] = 0, 2 * 10**9
    return parent, start, duration


def telemetry(parent: np.ndarray, start: np.ndarray, duration: np.ndarray) -> Telemetry:
    """One trace as an Arrow table."""
    ids = [f"{row:016x}" for row in range(1, SPANS + 1)]
    table = pa.table(
        {
            "time": pa.array(start + 1_700_000_000_000_000_000).cast(pa.timestamp("ns", tz="UTC")),
            "trace_id": pa.array(["0123456789abcdef" * 2] * SPANS),
            "span_id": pa.array(ids),
            "parent_span_id": pa.array([ids[p] if p >= 0 else None for p in parent.tolist()], pa.string()),
            "service": pa.array([f"service-{row % 20}" for row in range(SPANS)]),
            "name": pa.array([f"operation-{row % 50}" for row in range(SPANS)]),
            "duration_ns": pa.array(duration),
        }
    )
    return Telemetry(spans=table)


def vectorised(source: Telemetry) -> tuple[int, int]:
    """(sum of exclusive time, number of segments on the critical path), from Arrow."""
    spans = Facts(source).spans
    path = critical_path(spans, int(np.flatnonzero(spans.parent < 0)[0]))
    return int(spans.exclusive_ns.sum()), len(path)


def naive(source: Telemetry) -> tuple[int, int]:
    """The same with dictionaries and loops over spans."""
    table = source.spans
    columns = [table[name].to_pylist() for name in ("span_id", "parent_span_id", "duration_ns")]
    starts = table["time"].cast(pa.int64()).to_pylist()
    span = {i: (s, s + d) for i, s, d in zip(columns[0], starts, columns[2], strict=True)}
    children: dict[str | None, list[str]] = {}
    for own, above in zip(columns[0], columns[1], strict=True):
        children.setdefault(above, []).append(own)
    exclusive = 0
    for own, (begin, end) in span.items():
        covered, reach = 0, begin
        for low, high in sorted(span[c] for c in children.get(own, ())):
            low, high = max(low, reach), min(high, end)
            if high > low:
                covered += high - low
                reach = high
        exclusive += end - begin - covered
    return exclusive, _naive_segments(span, children)


def _naive_segments(span: dict[str, tuple[int, int]], children: dict[str | None, list[str]]) -> int:
    top = children[None][0]
    stack = [(top, *span[top])]
    segments = 0
    while stack:
        own, begin, end = stack.pop()
        clipped = [
            (min(max(span[c][1], begin), end), min(max(span[c][0], begin), end), c) for c in children.get(own, ())
        ]
        cursor = end
        for high, low, child in sorted(clipped, key=lambda item: (item[0], -item[1]), reverse=True):
            if high <= cursor:
                segments += cursor > high
                cursor = low
                stack.append((child, low, high))
        segments += cursor > begin
    return segments


def timed(run: Callable[[], tuple[int, int]], repeats: int) -> tuple[float, tuple[int, int]]:
    best, answer = float("inf"), (0, 0)
    for _ in range(repeats):
        begin = time.perf_counter()
        answer = run()
        best = min(best, (time.perf_counter() - begin) * 1e3)
    return best, answer


def main() -> int:
    failed = False
    for shape in (deep, wide, mixed):
        source = telemetry(*shape())
        fast_ms, fast = timed(lambda source=source: vectorised(source), 5)
        slow_ms, slow = timed(lambda source=source: naive(source), 1)
        agreed = fast == slow
        failed |= slow_ms < LEAST_RATIO * fast_ms or not agreed
        goal = "met" if fast_ms <= LIMIT_MS else "MISSED"
        same = "same answer" if agreed else f"DIFFERENT: {fast} {slow}"
        print(
            f"{shape.__name__:6s} {SPANS} spans: {fast_ms:6.1f} ms (goal {LIMIT_MS:g}: {goal}), "
            f"naive {slow_ms:6.0f} ms, ratio {slow_ms / fast_ms:5.1f}, {same}"
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
