"""Checks of services, operations, RED over time, heat maps and the topology."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from checking import on_sample, oracle, quantiles_are, red_is, widened, windows
from oracle import Row, bins_of, failed, heat_step, key, served
from stored_samples import NASTY, SECOND, UNICODE, Sample

from aetia.model.errors import UsageError
from aetia.model.stored import SIGNALS
from aetia.model.window import Window
from aetia.store.backend import Backend


@on_sample
def extents_count_all_rows(backend: Backend, sample: Sample) -> None:
    extents = backend.extents()
    assert tuple(extent.signal for extent in extents) == SIGNALS
    for extent in extents:
        times = [row["time"] for row in oracle(sample).rows[extent.signal]]
        assert extent.rows == len(times)
        assert extent.window == Window(min(times), max(times) + 1)


@on_sample
def services_have_their_requests(backend: Backend, sample: Sample) -> None:
    for window in windows(sample):
        by_service: dict[str, list[Row]] = defaultdict(list)
        for row in oracle(sample).of("spans", window):
            by_service[row["service"]].append(row)
        got = backend.services(window)
        assert [row.service for row in got] == sorted(by_service, key=key)
        for row in got:
            red_is(row, served(by_service[row.service]), window)
    assert backend.services(sample.window, limit=2) == backend.services(sample.window)[:2]


@on_sample
def operations_are_counted_by_name_and_kind(backend: Backend, sample: Sample) -> None:
    for window in windows(sample):
        for service in (None, "shop", NASTY, UNICODE, "", "kindless", "nobody"):
            groups: dict[tuple[str, str, str | None], list[Row]] = defaultdict(list)
            for row in oracle(sample).of("spans", window):
                if service is None or row["service"] == service:
                    groups[row["service"], row["name"], row["kind"]].append(row)
            got = backend.operations(window, service, limit=10_000)
            expected = sorted(groups, key=lambda group: (-len(groups[group]), key(*group)))
            assert [(row.service, row.name, row.kind) for row in got] == expected
            for row in got:
                red_is(row, groups[row.service, row.name, row.kind], window)
    assert backend.operations(sample.window, limit=3) == backend.operations(sample.window)[:3]


def _series_is(got: Any, rows: list[Row], window: Window, step_ns: int) -> None:
    start, bins = bins_of(window, step_ns)
    assert (got.start_ns, got.step_ns, len(got.requests)) == (start, step_ns, bins)
    binned: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        binned[(row["time"] - start) // step_ns].append(row)
    assert list(got.requests) == [len(binned[number]) for number in range(bins)]
    assert list(got.errors) == [sum(map(failed, binned[number])) for number in range(bins)]
    for number in range(bins):
        quantiles_are((got.p50_ms[number], got.p95_ms[number], got.p99_ms[number]), binned[number], (0.5, 0.95, 0.99))


@on_sample
def red_over_time_is_on_a_grid(backend: Backend, sample: Sample) -> None:
    busy = oracle(sample).requests(sample.window)[0]
    asked = (
        (None, None),
        (busy["service"], None),
        (busy["service"], busy["name"]),
        (None, "GET /x"),
        (NASTY, NASTY),
        ("nobody", None),
    )
    for window in (windows(sample)[0], *windows(sample)[1:3], *windows(sample)[4:]):
        for step_ns in (10 * SECOND, 7 * SECOND, 60 * SECOND):
            if window.seconds / (step_ns / SECOND) > 5000:
                continue
            for service, name in asked if window == sample.window else asked[:1]:
                rows = oracle(sample).requests(window, service, name)
                _series_is(backend.red(window, step_ns, service, name), rows, window, step_ns)


@on_sample
def grids_are_bounded(backend: Backend, sample: Sample) -> None:
    for step_ns in (0, -5, 1):
        with pytest.raises(UsageError):
            backend.red(sample.window, step_ns)
        with pytest.raises(UsageError):
            backend.heat_map(sample.window, step_ns)
        with pytest.raises(UsageError):
            backend.metric(sample.window, "odd", step_ns=step_ns)


@on_sample
def the_heat_map_counts_requests(backend: Backend, sample: Sample) -> None:
    for window in (windows(sample)[0], *windows(sample)[1:3], *windows(sample)[4:]):
        for step_ns, service, name in (
            (10 * SECOND, None, None),
            (60 * SECOND, "lengths", None),
            (9 * SECOND, "shop", "GET /x"),
        ):
            if window.seconds / (step_ns / SECOND) > 5000:
                continue
            rows = oracle(sample).requests(window, service, name)
            got = backend.heat_map(window, step_ns, service=service, name=name)
            start, bins = bins_of(window, step_ns)
            steps = [heat_step(row["duration_ns"]) for row in rows]
            low, high = (min(steps), max(steps)) if steps else (0, -1)
            counted = [[0] * (high - low + 1) for _ in range(bins)]
            errors = [[0] * (high - low + 1) for _ in range(bins)]
            for row, step in zip(rows, steps, strict=True):
                counted[(row["time"] - start) // step_ns][step - low] += 1
                errors[(row["time"] - start) // step_ns][step - low] += failed(row)
            assert (got.start_ns, got.step_ns) == (start, step_ns)
            assert got.edges_ms == pytest.approx([2 ** (k / 4) for k in range(low, high + 2)] if steps else [])
            assert [list(line) for line in got.counts] == counted
            assert [list(line) for line in got.errors] == errors


@on_sample
def the_topology_has_every_call_once(backend: Backend, sample: Sample) -> None:
    for window in windows(sample):
        edges: dict[tuple[str, str], list[tuple[Row, bool]]] = defaultdict(list)
        for caller, callee, row, known in oracle(sample).calls(widened(window)):
            edges[caller, callee].append((row, known))
        got = backend.topology(window)
        assert [(edge.caller, edge.callee) for edge in got] == sorted(edges, key=lambda pair: key(*pair))
        for edge in got:
            calls = edges[edge.caller, edge.callee]
            rows = [row for row, _ in calls]
            assert (edge.calls, edge.errors) == (len(rows), sum(map(failed, rows))), edge
            assert edge.external == (not any(known for _, known in calls)), edge
            quantiles_are((edge.p50_ms, edge.p95_ms), rows, (0.5, 0.95))
    most = sorted(backend.topology(sample.window), key=lambda edge: (-edge.calls, key(edge.caller, edge.callee)))[:4]
    assert backend.topology(sample.window, limit=4) == tuple(
        sorted(most, key=lambda edge: key(edge.caller, edge.callee))
    )
