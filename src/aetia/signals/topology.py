"""The service graph: who calls whom, what lies outside, where requests enter, which instance runs where."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from aetia.model.tables import Telemetry
from aetia.signals.frames import I32, I64, KIND_CLIENT, KIND_PRODUCER, Names, SpanFrame, Topology
from aetia.signals.names import code_column, column_of


def build_topology(
    telemetry: Telemetry,
    spans: SpanFrame,
    names: Names,
    *,
    n_services: int,
    metric_pairs: Iterable[tuple[str, str]] = (),
) -> Topology:
    """Service call graph from spans, declared edges and edges that metrics name.

    Parent and child spans of different services are a call; so is a client or producer span whose `peer` no
    span below shows. Declared edges and metric edges that no span shows have `calls` 0. The first `n_services`
    names are services of the tables, those after them external dependencies; a declared edge of kind `external`
    marks its callee too.
    """
    n = len(names.services)
    declared, outside = declared_edges(telemetry.topology)
    key, calls = _observed(spans, n)
    index = {name: code for code, name in enumerate(names.services)}
    named = {(index[a], index[b]) for a, b in declared | set(metric_pairs) if a in index and b in index and a != b}
    extra = np.array(sorted(a * n + b for a, b in named), np.int64)
    extra = extra[~np.isin(extra, key)]
    key, calls = np.concatenate((key, extra)), np.concatenate((calls, np.zeros(len(extra), np.int64)))
    order = np.argsort(key)
    key, calls = key[order], calls[order]
    entry = np.zeros(n, np.bool_)
    at = spans.service[spans.entry]
    entry[at[at >= 0]] = True
    external = np.arange(n) >= n_services
    external[[index[name] for name in outside if name in index]] = True
    instance_service, instance_node = place_instances(telemetry, names)
    return Topology(
        caller=(key // max(n, 1)).astype(np.int32),
        callee=(key % max(n, 1)).astype(np.int32),
        calls=calls,
        external=external,
        entry=entry,
        instance_service=instance_service,
        instance_node=instance_node,
    )


def declared_edges(table: pa.Table) -> tuple[set[tuple[str, str]], set[str]]:
    """(caller, callee) pairs of a topology table, and its callees of kind external; incomplete rows are left out."""
    columns = (column_of(table, name).to_pylist() for name in ("caller", "callee", "kind"))
    rows = [(a, b, kind) for a, b, kind in zip(*columns, strict=True) if a and b]
    return {(a, b) for a, b, _ in rows}, {b for _, b, kind in rows if kind == "external"}


def _observed(spans: SpanFrame, n: int) -> tuple[I64, I64]:
    """Sorted caller * n + callee of the calls that spans show, and how often."""
    below = np.flatnonzero(spans.parent >= 0)
    caller, callee = spans.service[spans.parent[below]], spans.service[below]
    cross = (caller != callee) & (caller >= 0) & (callee >= 0)
    blind = np.flatnonzero(
        (spans.peer >= 0) & (spans.service >= 0) & ((spans.kind == KIND_CLIENT) | (spans.kind == KIND_PRODUCER))
    )
    callers = np.concatenate((caller[cross], spans.service[blind])).astype(np.int64)
    callees = np.concatenate((callee[cross], spans.peer[blind]))
    return count_keys(callers * n + callees, n * n)


def count_keys(keys: I64, bound: int) -> tuple[I64, I64]:
    """Sorted distinct keys (each in 0..bound) and their counts."""
    if bound <= 1 << 22:
        counts = np.bincount(keys, minlength=bound) if bound else np.zeros(0, np.int64)
        found = np.flatnonzero(counts)
        return found, counts[found]
    return np.unique(keys, return_counts=True)


def place_instances(telemetry: Telemetry, names: Names) -> tuple[I32, I32]:
    """(service code, node code) of each instance: what most of its rows say, -1 when none does."""
    n_instances, n_services, n_nodes = len(names.instances), len(names.services), len(names.nodes)
    service = np.zeros((n_instances, n_services), np.int64)
    node = np.zeros((n_instances, n_nodes), np.int64)
    for table in (telemetry.spans, telemetry.logs, telemetry.metrics, telemetry.changes):
        at = code_column(column_of(table, "instance"), names.instances)
        if len(at) and at.max() >= 0:
            _tally(service, at, code_column(column_of(table, "service"), names.services))
    metrics = telemetry.metrics
    at = code_column(column_of(metrics, "instance"), names.instances)
    _tally(node, at, code_column(column_of(metrics, "node"), names.nodes))
    return _most(service), _most(node)


def _tally(table: I64, row: I32, column: I32) -> None:
    if table.size == 0:
        return
    rows, columns = table.shape[0] + 1, table.shape[1] + 1  # code -1 is counted too, and left out of what is added
    keys = (row.astype(np.int64) + 1) * columns + (column + 1)
    table += np.bincount(keys, minlength=rows * columns).reshape(rows, columns)[1:, 1:]


def _most(table: I64) -> I32:
    if table.shape[1] == 0:
        return np.full(len(table), -1, np.int32)
    best = table.argmax(axis=1).astype(np.int32)
    best[table.max(axis=1, initial=0) == 0] = -1
    return best
