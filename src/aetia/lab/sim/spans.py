"""Rows of the engine to the Arrow table of spans: identifiers, codes, dictionaries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aetia.lab.sim.engine import CLIENT, CONSUMER, INTERNAL, PRODUCER, SERVER, Labels, Rows, failed_server
from aetia.lab.sim.state import (
    CONFIG_ERROR,
    GRPC_CODES,
    HOLLOW,
    HOLLOW_ANSWER,
    HTTP_CODES,
    OK,
    RELEASE_ERROR,
    THROWN,
    State,
)
from aetia.lab.sim.system import System
from aetia.model.tables import SPANS, TEXT, TIME

KINDS = {SERVER: "server", CLIENT: "client", INTERNAL: "internal", PRODUCER: "producer", CONSUMER: "consumer"}
_HEX = np.array([int.from_bytes(f"{value:04x}".encode(), "little") for value in range(65536)], dtype="<u4")
EXCEPTIONS = {
    "jvm": ("java.lang.IllegalStateException", "java.lang.NullPointerException"),
    "go": ("runtime error: invalid memory address", "panic"),
    "python": ("ValueError", "KeyError"),
    "node": ("TypeError", "RangeError"),
}


def hex_ids(rng: np.random.Generator, n: int, words: int) -> NDArray[np.uint32]:
    """`n` random identifiers of 4·words hex digits, packed four digits to a word, shape (n, words)."""
    return _HEX[rng.integers(0, 65536, size=(n, words), dtype=np.uint16)]


def _buffer(values: Any) -> pa.Buffer:
    return pa.py_buffer(values)


def text_of(ids: NDArray[np.uint32], missing: NDArray[np.bool_] | None = None) -> Any:
    """Packed identifiers as an Arrow string array; rows in `missing` become null."""
    n, width = len(ids), ids.shape[1] * 4
    offsets = np.arange(0, (n + 1) * width, width, dtype=np.int32)
    bits = None if missing is None else _buffer(np.packbits(~missing, bitorder="little"))
    data = _buffer(np.ascontiguousarray(ids))
    return pa.StringArray.from_buffers(n, _buffer(offsets), data, bits, -1 if missing is not None else 0)


def coded(codes: NDArray[np.integer], values: Sequence[str | None]) -> Any:
    """A dictionary-encoded column; codes that point at None become null."""
    words: dict[str, int] = {}
    table = np.array([-1 if v is None else words.setdefault(v, len(words)) for v in values] or [-1], np.int32)
    mapped = table[codes]
    missing = mapped < 0
    indices: Any = pa.array(np.maximum(mapped, 0), mask=missing if missing.any() else None)
    return pa.DictionaryArray.from_arrays(indices, pa.array(list(words), TEXT))


def span_schema() -> pa.Schema:
    """The schema of the spans table as written here: labels are dictionary-encoded."""
    plain = {"time", "trace_id", "span_id", "parent_span_id", "duration_ns"}
    return pa.schema([f if f.name in plain else pa.field(f.name, pa.dictionary(pa.int32(), TEXT)) for f in SPANS])


def _attributes(system: System, labels: Labels) -> list[str | None]:
    out: list[str | None] = []
    for label in labels.items:
        item: dict[str, str] = {"service.version": f"v{1 + label.service % 4}.{label.service % 9}.0"}
        if label.kind == INTERNAL:
            item = {"code.function.name": label.name}
        elif label.kind in (PRODUCER, CONSUMER):
            item["messaging.system"] = "queue"
        elif system.protocol == "http" or (label.kind == SERVER and system.services[label.service].layer == 0):
            item["http.request.method"] = label.name.split(" ", 1)[0]
        else:
            item["rpc.method"] = label.name
        out.append(json.dumps(item))
    return out


def _codes(
    system: System, rows: Rows, kinds: NDArray[np.int8], service: NDArray[np.int32], external: NDArray[np.bool_]
) -> Any:
    """Protocol codes: HTTP codes for entries and HTTP systems, gRPC codes otherwise, none for internals and queues."""
    gateway = np.array([s.layer == 0 for s in system.services])[service]
    http = (system.protocol == "http") | ((kinds == SERVER) & gateway)
    n = len(HTTP_CODES)
    which = rows.code.astype(np.int32) + np.where(http, 0, n)
    silent = (kinds == INTERNAL) | (kinds == PRODUCER) | (kinds == CONSUMER) | (external & (rows.code == OK))
    which[silent] = 2 * n
    return coded(which, [*HTTP_CODES, *GRPC_CODES, None])


def _events(system: System, rows: Rows, service: NDArray[np.int32]) -> Any:
    """An exception event on the spans where an exception was thrown."""
    values: list[str | None] = [
        json.dumps([{"name": "exception", "attributes": {"exception.type": EXCEPTIONS[s.runtime][0]}}])
        for s in system.services
    ]
    return coded(
        np.where(np.isin(rows.cause, (THROWN, CONFIG_ERROR, RELEASE_ERROR, HOLLOW_ANSWER)), service, len(values)),
        [*values, None],
    )


def build_spans(state: State, labels: Labels, rows: Rows, start_ns: int, rng: np.random.Generator) -> SpanChunk:
    """The Arrow table of one chunk, sorted by start, with what logs and metrics need from it."""
    system = state.system
    begin = start_ns + np.rint(rows.start_s * 1e9).astype(np.int64)
    end = start_ns + np.rint(rows.end_s * 1e9).astype(np.int64)
    for instance, (since, until, offset) in state.skew_s.items():
        mine = (rows.instance == instance) & (rows.start_s >= since) & (rows.start_s < until)
        begin[mine] += round(offset * 1e9)
        end[mine] += round(offset * 1e9)
    order = np.argsort(begin, kind="stable")
    n_requests = int(rows.request.max()) + 1 if len(rows) else 0
    trace, span = hex_ids(rng, n_requests, 8), hex_ids(rng, len(rows), 4)
    label = rows.label
    kind = np.array([item.kind for item in labels.items], np.int8)[label]
    service = np.array([item.service for item in labels.items], np.int32)[label]
    names = {e.name for e in system.externals}
    external = np.array([item.peer in names for item in labels.items])[label]
    bad = np.where(
        kind == CLIENT,
        (rows.code != OK) & (rows.code != HOLLOW),
        failed_server(rows.code),
    )
    rank: Any = pa.array(order)
    items = labels.items
    ordered = label[order]
    columns: dict[str, Any] = {
        "time": pa.array(begin[order]).cast(TIME),
        "trace_id": text_of(trace[rows.request[order]]),
        "span_id": text_of(span[order]),
        "parent_span_id": text_of(span[np.maximum(rows.parent, 0)[order]], rows.parent[order] < 0),
        "service": coded(ordered, [system.services[item.service].name for item in items]),
        "instance": coded(rows.instance[order], list(system.instances)),
        "name": coded(ordered, [item.name for item in items]),
        "kind": coded(ordered, [KINDS[item.kind] for item in items]),
        "duration_ns": pa.array((end - begin)[order]),
        "status": coded(np.where(bad, 1, 0)[order], [system.ok_status, "error"]),
        "status_code": _codes(system, rows, kind, service, external).take(rank),
        "peer": coded(ordered, [item.peer for item in items]),
        "attributes": coded(ordered, _attributes(system, labels)),
        "events": _events(system, rows, service).take(rank),
        "links": pa.DictionaryArray.from_arrays(pa.nulls(len(rows), pa.int32()), pa.array([], TEXT)),
    }
    table = pa.Table.from_arrays([columns[name] for name in SPANS.names], schema=span_schema())
    return SpanChunk(table=table, rows=rows, kind=kind, service=service, failed=bad, trace=trace, span=span)


class SpanChunk:
    """A chunk of spans: the table (sorted by start) and the unsorted rows with their identifiers."""

    def __init__(
        self, *, table: pa.Table, rows: Rows, kind: NDArray[np.int8], service: NDArray[np.int32],
        failed: NDArray[np.bool_], trace: NDArray[np.uint32], span: NDArray[np.uint32],
    ) -> None:  # fmt: skip
        self.table, self.rows, self.kind, self.service = table, rows, kind, service
        self.failed, self.trace, self.span = failed, trace, span
