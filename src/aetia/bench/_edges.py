"""Per-edge metrics in five-minute bins, as a service mesh exports them: from edge metrics, else from
spans."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from aetia.model.case import Case
from aetia.model.tables import METRICS, TOPOLOGY, Telemetry
from aetia.model.window import NS_PER_SECOND, Window
from aetia.signals.frames import SpanFrame
from aetia.signals.names import attribute_edges
from aetia.signals.view import Facts

# The stubs know few overloads of the kernels; what leaves a function here is annotated.
pc: Any = pyarrow.compute
BIN_NS = 300 * NS_PER_SECOND
SLOT_NS = 10 * NS_PER_SECOND
Edge = tuple[str, str]


def edge_metrics_only(case: Case, telemetry: Telemetry, count: int) -> tuple[Case, Telemetry] | None:
    """The case with nothing but five-minute metrics of its `count` busiest edges (0: all) and its call graph.

    Bins lie on multiples of five minutes, as an exporter's do; the windows are widened to whole bins, because
    nobody can know more. Edge metrics of the case are averaged (counters: last value); where it has none,
    request rate, mean and 95th percentile latency and error share per edge are computed from the caller's
    side of its spans. None when no calls are known.
    """
    facts = Facts(telemetry)
    graph = _graph(facts)
    given = _metric_edges(telemetry.metrics)
    measured = {edge for edges in given.values() for edge in edges}
    from_spans = {} if measured else _span_edges(facts)
    busy = _busiest(measured or set(from_spans), graph, count)
    if not busy:
        return None
    metrics = _averaged(telemetry.metrics, given, busy) if measured else _measured(facts, from_spans, busy)
    topology = pa.table(
        {
            "caller": [caller for caller, _ in sorted(graph)], "callee": [callee for _, callee in sorted(graph)],
            "kind": ["call"] * len(graph),
        },
        schema=TOPOLOGY,
    )  # fmt: skip
    return _binned(case, "metrics" if measured else "spans"), Telemetry(metrics=metrics, topology=topology)


def _graph(facts: Facts) -> dict[Edge, int]:
    """Calls per (caller, callee)."""
    topology, services = facts.topology, facts.names.services
    rows = zip(topology.caller.tolist(), topology.callee.tolist(), topology.calls.tolist(), strict=True)
    return {(services[a], services[b]): calls for a, b, calls in rows if a >= 0 and b >= 0}


def _busiest(edges: set[Edge], graph: dict[Edge, int], count: int) -> list[Edge]:
    ordered = sorted(edges, key=lambda edge: (-graph.get(edge, 0), edge))
    return ordered[:count] if count else ordered


# ----------------------------------------------------------------------------------------- from metrics


def _metric_edges(metrics: pa.Table) -> dict[str, list[Edge]]:
    """The edges that each distinct attribute text names."""
    column = metrics["attributes"]
    texts = column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
    if not pa.types.is_string(texts.type):
        return {}
    found = {text: list(attribute_edges(text)) for text in texts.unique().to_pylist() if text}
    return {text: edges for text, edges in found.items() if edges}


def _averaged(metrics: pa.Table, given: dict[str, list[Edge]], busy: list[Edge]) -> pa.Table:
    wanted = set(busy)
    texts = [text for text, edges in given.items() if wanted & set(edges)]
    column = metrics["attributes"]
    metrics = metrics.set_column(metrics.schema.get_field_index("attributes"), "attributes", column.cast(pa.string()))
    rows = metrics.filter(pc.is_in(metrics["attributes"], value_set=pa.array(texts, pa.string())))
    bins = pc.cast(rows["time"], pa.int64()).to_numpy() // BIN_NS * BIN_NS
    rows = rows.set_column(rows.schema.get_field_index("time"), "time", pa.array(bins, pa.int64()))
    keys = [name for name in METRICS.names if name != "value"]
    plain = pa.table({name: _plain(rows[name]) for name in METRICS.names})
    means = plain.group_by(keys).aggregate([("value", "mean"), ("value", "max")])
    counter = pc.fill_null(pc.equal(means["type"], "counter"), False)
    value = pc.if_else(counter, means["value_max"], means["value_mean"])
    columns = {name: means[name] for name in keys} | {"value": value}
    columns["time"] = pc.cast(means["time"], METRICS.field("time").type)
    return pa.table({name: columns[name] for name in METRICS.names}).cast(METRICS).sort_by("time")


def _plain(column: pa.ChunkedArray[Any]) -> pa.ChunkedArray[Any]:
    return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column


# ------------------------------------------------------------------------------------------- from spans


def _span_edges(facts: Facts) -> dict[Edge, NDArray[np.int64]]:
    """Per edge the rows of the spans that are called across it: spans whose parent lies in another service,
    and client spans towards a peer that no span shows."""
    spans, services = facts.spans, facts.names.services
    if len(spans) == 0:
        return {}
    has_parent = spans.parent >= 0
    above = np.where(has_parent, spans.service[spans.parent], -1)
    inner = has_parent & (above != spans.service) & (above >= 0) & (spans.service >= 0)
    outer = (spans.peer >= 0) & (spans.service >= 0) & (spans.peer != spans.service)
    rows = np.concatenate([np.flatnonzero(inner), np.flatnonzero(outer)])
    callers = np.concatenate([above[inner], spans.service[outer]]).astype(np.int64)
    callees = np.concatenate([spans.service[inner], spans.peer[outer]]).astype(np.int64)
    codes, which = np.unique(callers * len(services) + callees, return_inverse=True)
    order = np.argsort(which, kind="stable")
    parts = np.split(rows[order], np.cumsum(np.bincount(which, minlength=len(codes)))[:-1])
    pairs = [(services[int(code) // len(services)], services[int(code) % len(services)]) for code in codes]
    return dict(zip(pairs, parts, strict=True))


def _client_ns(spans: SpanFrame, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Latency as the caller's side saw it: the calling span where it is a client span, else the called
    span."""
    parent = spans.parent[rows]
    safe = np.maximum(parent, 0)
    client = (parent >= 0) & (spans.kind[safe] == 2)
    return np.where(client, spans.duration_ns[safe], spans.duration_ns[rows])


def _measured(facts: Facts, edges: dict[Edge, NDArray[np.int64]], busy: list[Edge]) -> pa.Table:
    spans = facts.spans
    # Recorded time per bin: public recordings hold single minutes, and a rate over the empty rest would be
    # wrong.
    slots = np.unique(spans.start_ns // SLOT_NS)
    bins, slots_per_bin = np.unique(slots * SLOT_NS // BIN_NS, return_counts=True)
    covered = dict(zip(bins.tolist(), (slots_per_bin * SLOT_NS / NS_PER_SECOND).tolist(), strict=True))
    columns: dict[str, list[object]] = {name: [] for name in METRICS.names}
    for caller, callee in busy:
        rows = edges[(caller, callee)]
        attributes = msgspec.json.encode({"caller": caller, "callee": callee}).decode()
        which = spans.start_ns[rows] // BIN_NS
        latency = _client_ns(spans, rows) / 1e6
        errors = spans.error[rows]
        for bin_number in np.unique(which).tolist():
            inside = which == bin_number
            for name, unit, measure in _MEASURES:
                value = measure(latency[inside], errors[inside], covered[bin_number])
                row = (bin_number * BIN_NS, name, value, unit, "gauge", callee, None, None, attributes)
                for column, item in zip(METRICS.names, row, strict=True):
                    columns[column].append(item)
    return pa.table(columns, schema=METRICS).sort_by("time")


Measure = Callable[[NDArray[np.float64], NDArray[np.bool_], float], float]
_MEASURES: tuple[tuple[str, str, Measure], ...] = (
    ("edge_requests_per_second", "1/s", lambda latency, errors, seconds: len(latency) / seconds),
    ("edge_latency_mean", "ms", lambda latency, errors, seconds: float(latency.mean())),
    ("edge_latency_p95", "ms", lambda latency, errors, seconds: float(np.quantile(latency, 0.95))),
    ("edge_error_share", "1", lambda latency, errors, seconds: float(errors.mean())),
)


# ---------------------------------------------------------------------------------------------- windows


def _binned(case: Case, table: str) -> Case:
    """Windows widened to whole bins; the baseline of the new metrics is that of the table they were made
    from."""
    if case.incident is None:
        return msgspec.structs.replace(case, baseline=None, baselines={})
    start = case.incident.start_ns // BIN_NS * BIN_NS
    end = -(-case.incident.end_ns // BIN_NS) * BIN_NS
    baselines = tuple(_widened(window, start, end) for window in case.baseline_windows(table))
    kept = tuple(window for window in baselines if window is not None)
    overall = _widened(case.baseline, start, end) if case.baseline is not None else None
    return msgspec.structs.replace(
        case, incident=Window(start, end), baseline=overall, baselines={"metrics": kept} if kept else {}
    )


def _widened(window: Window, start: int, end: int) -> Window | None:
    """A baseline window in whole bins that stay clear of the incident; None when nothing is left."""
    first = window.start_ns // BIN_NS * BIN_NS
    last = -(-window.end_ns // BIN_NS) * BIN_NS
    if first < start:
        last = min(last, start)
    elif first < end:
        first = end
    return Window(first, last) if last > first else None
