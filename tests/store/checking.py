"""What the parts of the battery share: the lists of checks, the windows that are asked for, RED compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from oracle import Oracle, Row, failed, nearest_rank
from stored_samples import SECOND, Sample

from aetia.model.window import Window
from aetia.store.backend import Backend

Check = Callable[[Backend, Sample], None]
CHECKS: list[Check] = []
EMPTY_CHECKS: list[Check] = []
_ORACLES: dict[int, Oracle] = {}


def oracle(sample: Sample) -> Oracle:
    if id(sample) not in _ORACLES:
        _ORACLES[id(sample)] = Oracle(sample)
    return _ORACLES[id(sample)]


def on_sample(check: Check) -> Check:
    CHECKS.append(check)
    return check


def on_empty(check: Check) -> Check:
    EMPTY_CHECKS.append(check)
    return check


def windows(sample: Sample) -> tuple[Window, ...]:
    """The sample's window, odd parts of it, one that holds everything, and one beside everything."""
    start, end = sample.window.start_ns, sample.window.end_ns
    return (
        sample.window,
        Window(start + 33 * SECOND + 1, start + 33 * SECOND + 90_000_001),
        Window(start + 7 * SECOND, end - 11 * SECOND),
        Window(start - 100_000 * SECOND, end + 10_000 * SECOND),
        Window(end + 10_000 * SECOND, end + 20_000 * SECOND),
        Window(start, start),
    )


def red_is(got: Any, rows: list[Row], window: Window) -> None:
    assert (got.requests, got.errors) == (len(rows), sum(map(failed, rows))), got
    assert got.per_second == pytest.approx(len(rows) / window.seconds if window.seconds else 0.0)
    assert got.error_share == pytest.approx(got.errors / got.requests if got.requests else 0.0)
    quantiles_are((got.p50_ms, got.p95_ms, got.p99_ms), rows, (0.5, 0.95, 0.99))


def quantiles_are(got: tuple[float | None, ...], rows: list[Row], at: tuple[float, ...]) -> None:
    for value, q in zip(got, at, strict=True):
        span = nearest_rank((row["duration_ns"] for row in rows), q)
        if span is None:
            assert value is None
        else:
            assert value is not None and span[0] <= value <= span[1], (value, q, span)


def widened(window: Window) -> Window:
    """The window of a topology: whole steps of 10 s."""
    step = 10 * SECOND
    if window.end_ns == window.start_ns:
        return window
    return Window(window.start_ns // step * step, -(-window.end_ns // step) * step)
