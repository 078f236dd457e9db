"""A small shop in which everything breaks at once: telemetry on which every kind of algorithm has something to find.

Names are drawn last: two shops of the same seed under different names differ in nothing else, so that an algorithm
that depends on how services are called, or in which order they sort, is found out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from aetia.model.tables import CHANGES, LOGS, METRICS, SCHEMAS, SPANS, TOPOLOGY, Telemetry
from aetia.model.window import NS_PER_SECOND, Window
from aetia.signals.frames import F64, I64, Bool

START_NS = 1_750_000_000 * NS_PER_SECOND
ONSET_NS = START_NS + 240 * NS_PER_SECOND
BASELINE = Window(START_NS, ONSET_NS)
INCIDENT = Window(ONSET_NS, ONSET_NS + 120 * NS_PER_SECOND)
Trouble = Literal["all", "host", "mesh", "none", "early"]
PLAIN: dict[str, str] = {
    name: name
    for name in ("gateway", "basket", "orders", "stock", "prices", "storedb", "host-a", "host-b", "host-c")
}  # fmt: skip
OTHER_ALPHABETS: dict[str, str] = {
    "gateway": "шлюз-магазина", "basket": "购物车服务中心", "orders": "παραγγελίες", "stock": "מלאי-מחסן",
    "prices": "अनुमान-मूल्य", "storedb": "ฐานข้อมูล💾", "host-a": "värd-å", "host-b": "ホスト-い", "host-c": "호스트-다",
}  # fmt: skip
REVERSED: dict[str, str] = {
    "gateway": "znorth", "basket": "ywest", "orders": "xeast", "stock": "csouth", "prices": "bnorth",
    "storedb": "awest", "host-a": "row-z", "host-b": "row-y", "host-c": "row-x",
}  # fmt: skip
"""New names that turn the order of services and of hosts around."""


class _Slot(NamedTuple):
    """One span of a request: the slot of its parent, its place, its own time in ms, the share of requests with it."""

    parent: int
    service: str
    name: str
    kind: str
    own_ms: float
    peer: str | None = None
    share: float = 1.0


_SLOTS = (
    _Slot(-1, "gateway", "POST /order", "server", 4.0),
    _Slot(0, "gateway", "call Get", "client", 0.4, "basket"),
    _Slot(1, "basket", "Get", "server", 3.0),
    _Slot(2, "basket", "SELECT", "client", 2.0, "storedb"),
    _Slot(0, "gateway", "call Place", "client", 0.4, "orders"),
    _Slot(4, "orders", "Place", "server", 3.0),
    _Slot(5, "orders", "discount", "internal", 1.0, None, 0.4),
    _Slot(5, "orders", "call Reserve", "client", 0.4, "stock"),
    _Slot(7, "stock", "Reserve", "server", 4.0),
    _Slot(0, "gateway", "call Quote", "client", 0.4, "prices"),
    _Slot(9, "prices", "Quote", "server", 4.0),
)
SPANS_PER_REQUEST = len(_SLOTS)
_SERVICES = ("gateway", "basket", "orders", "stock", "prices")
_CALLS = (
    ("gateway", "basket"),
    ("gateway", "orders"),
    ("gateway", "prices"),
    ("orders", "stock"),
    ("basket", "storedb"),
)
_HOST = {1: "host-b", 2: "host-c", 3: "host-b"}


class _Requests(NamedTuple):
    """n requests x k slots: start and duration in ns, whether the span exists, its instance number, its failure."""

    start: I64
    duration: I64
    present: Bool
    instance: I64
    failed: Bool


def shop(
    *, requests: int = 120, seed: int = 0, names: Mapping[str, str] = PLAIN, trouble: Trouble = "all"
) -> Telemetry:
    """Telemetry of `requests` requests of up to 11 spans over 240 s of baseline and 120 s of incident.

    `names` maps the names of PLAIN to those in use. With all `trouble`, in the incident: orders throws, prices works
    longer, the store's database is slow, an instance of basket is replaced, more orders get a discount, cpu, pools,
    collections, restarts and an unknown counter rise, orders was released and alerts went off. With `host`, whatever
    runs on host-c slows down and nothing else happens. With `mesh`, there are no spans but counts of requests and of
    calls, and orders stops asking stock. With `early`, stock answers too soon and without an error, and orders fails
    over it.
    """
    rng = np.random.default_rng(seed)
    drawn = _requests(requests, rng, trouble=trouble)
    return Telemetry(
        spans=_spans(drawn, names) if trouble != "mesh" else SPANS.empty_table(),
        logs=_logs(drawn, names, trouble=trouble), metrics=_metrics(rng, names, trouble=trouble),
        changes=_changes(names) if trouble == "all" else CHANGES.empty_table(),
        topology=_table(TOPOLOGY, caller=[names[a] for a, _ in _CALLS], callee=[names[b] for _, b in _CALLS]),
    )  # fmt: skip


def _requests(n: int, rng: np.random.Generator, *, trouble: Trouble) -> _Requests:
    k = SPANS_PER_REQUEST
    length = INCIDENT.end_ns - START_NS
    # Unequal, never equal times: rows that are permuted must be able to find their order again.
    begin = START_NS + np.sort(rng.choice(length // 1000 - 1, n, replace=False)) * 1000
    late = begin >= ONSET_NS
    now = late & (trouble == "all")
    own = rng.lognormal(0.0, 0.15, (n, k)) * np.array([slot.own_ms for slot in _SLOTS])
    instance = 1 + (rng.random((n, k)) < 0.5)
    services = np.array([slot.service for slot in _SLOTS])
    instance[:, services == "gateway"] = 1
    replaced = now[:, None] & (services == "basket") & (instance == 1)
    instance = np.where(replaced, 3, instance)
    for left, right in ((2, 3), (5, 6), (5, 7)):
        instance[:, right] = instance[:, left]
    server = np.array([slot.kind == "server" for slot in _SLOTS])
    own = np.where((late & (trouble == "host"))[:, None] & (instance == 2) & server, own * 12.0, own)
    own[now, 10] += 40.0
    own[now, 3] += 25.0
    draw = rng.random((n, k))
    share = np.where(now[:, None], [0.95 if s.share < 1 else 1.0 for s in _SLOTS], [s.share for s in _SLOTS])
    failing = now & (rng.random(n) < 0.5)
    share[failing, 7:9] = 0.0
    failed = np.zeros((n, k), np.bool_)
    failed[failing] = np.isin(np.arange(k), (0, 4, 5))
    failed[:, 3] = now & (rng.random(n) < 0.2)
    if trouble == "early":
        early = late & (rng.random(n) < 0.5)
        own[early, 8] *= 0.1
        failed[early] = np.isin(np.arange(k), (0, 4, 5))
    start, duration = _nested(begin, (own * 1e6).astype(np.int64), draw < share)
    return _Requests(start, duration, draw < share, instance, failed)


def _nested(begin: I64, own: I64, present: Bool) -> tuple[I64, I64]:
    """Start and duration of each span when children run one after the other in the midst of their parent's work."""
    duration, start = np.where(present, own, 0), np.zeros_like(own)
    for slot in range(SPANS_PER_REQUEST - 1, 0, -1):
        duration[:, _SLOTS[slot].parent] += duration[:, slot]
    start[:, 0] = begin
    cursor = begin[:, None] + own // 3
    for slot in range(1, SPANS_PER_REQUEST):
        parent = _SLOTS[slot].parent
        start[:, slot] = cursor[:, parent]
        cursor[:, slot] = start[:, slot] + own[:, slot] // 3
        cursor[:, parent] += duration[:, slot] + 1
    return start, duration


def _spans(drawn: _Requests, names: Mapping[str, str]) -> pa.Table:
    k = SPANS_PER_REQUEST
    request, slot = np.nonzero(drawn.present)
    service = [names[s.service] for s in _SLOTS]
    failed = drawn.failed[request, slot]
    parent = np.where(slot > 0, request * k + np.array([s.parent for s in _SLOTS])[slot], -1).tolist()
    number = drawn.instance[request, slot].tolist()
    return _table(
        SPANS, time=drawn.start[request, slot],
        trace_id=[f"{r:032x}" for r in request.tolist()],
        span_id=[f"{i:016x}" for i in (request * k + slot).tolist()],
        parent_span_id=[f"{p:016x}" if p >= 0 else None for p in parent],
        service=[service[s] for s in slot.tolist()],
        instance=[f"{service[s]}-{i}" for s, i in zip(slot.tolist(), number, strict=True)],
        name=[_SLOTS[s].name for s in slot.tolist()], kind=[_SLOTS[s].kind for s in slot.tolist()],
        duration_ns=drawn.duration[request, slot], status=np.where(failed, "error", "ok").tolist(),
        status_code=np.where(failed, "500", "200").tolist(),
        peer=[names[p] if (p := _SLOTS[s].peer) is not None else None for s in slot.tolist()],
    )  # fmt: skip


def _logs(drawn: _Requests, names: Mapping[str, str], *, trouble: Trouble) -> pa.Table:
    k = SPANS_PER_REQUEST
    rows: dict[str, list[Any]] = {
        key: [] for key in ("time", "trace_id", "span_id", "service", "instance", "severity", "body")
    }

    def add(*values: object) -> None:
        for column, value in zip(rows.values(), values, strict=True):
            column.append(value)

    spoken = [
        (2, "basket", "loaded basket in {} us"),
        (5, "orders", "placed order {}"),
        (10, "prices", "quoted price {}"),
    ]
    for request, (starts, instances, failed) in enumerate(zip(drawn.start, drawn.instance, drawn.failed, strict=True)):
        for slot, role, text in spoken:
            ids = (f"{request:032x}", f"{request * k + slot:016x}", names[role], f"{names[role]}-{instances[slot]}")
            if slot == 5 and failed[5]:
                add(int(starts[slot]) + 7, *ids, "ERROR", f"NullPointerException while placing order {request}")
            else:
                add(int(starts[slot]) + 7, *ids, "INFO", text.format(request + 1000))
        if failed[5]:
            ids = (f"{request:032x}", f"{request * k:016x}", names["gateway"], f"{names['gateway']}-1")
            add(int(starts[0]) + 9, *ids, "WARN", f"upstream {names['orders']} answered 500")
    for second in range(0, 360, 15):
        for role in _SERVICES:
            add(START_NS + second * NS_PER_SECOND, None, None, names[role], None, "INFO", "health check passed")
        if trouble == "all" and second >= 240:
            for number in range(3):
                add(
                    START_NS + second * NS_PER_SECOND + number,
                    None,
                    None,
                    names["stock"],
                    None,
                    "INFO",
                    "compacting shelf index",
                )
    return _table(LOGS, **rows)


class _Gauge(NamedTuple):
    """A metric of every instance: usual level and noise, what is struck in the incident and by which factor."""

    name: str
    unit: str
    level: float
    noise: float
    struck: str
    factor: float


_GAUGES = (
    _Gauge("container_cpu_usage_percent", "%", 20.0, 0.4, "stock", 4.0),
    _Gauge("container_memory_usage_bytes", "By", 4e8, 4e6, "gateway", 1.6),
    _Gauge("jvm_gc_pause_time_ms", "ms", 12.0, 0.5, "prices", 8.0),
    _Gauge("db_connections_active", "", 6.0, 0.2, "basket", 5.0),
    _Gauge("network_packets_dropped", "", 5.0, 0.2, "orders", 9.0),
    _Gauge("widgets_turning", "", 50.0, 1.0, "gateway", 6.0),
)


def _metrics(rng: np.random.Generator, names: Mapping[str, str], *, trouble: Trouble) -> pa.Table:
    rows: dict[str, list[Any]] = {
        key: [] for key in ("time", "name", "value", "unit", "type", "service", "instance", "node", "attributes")
    }

    def add(*values: object) -> None:
        for column, value in zip(rows.values(), values, strict=True):
            column.append(value)

    for second in range(0, 360, 10):
        time, now = START_NS + second * NS_PER_SECOND, trouble == "all" and second >= 240
        for role in _SERVICES:
            for number in (1,) if role == "gateway" else ((2, 3) if role == "basket" and now else (1, 2)):
                place = (
                    names[role],
                    f"{names[role]}-{number}",
                    names["host-a" if role == "gateway" else _HOST[number]],
                    None,
                )
                for gauge in _GAUGES:
                    factor = gauge.factor if now and gauge.struck == role else 1.0
                    add(time, gauge.name, rng.normal(gauge.level, gauge.noise) * factor, gauge.unit, "gauge", *place)
                count = 2.0 + (second // 40 - 5 if now and role == "orders" else 0)
                add(time, "container_restarts", count, "", "gauge", *place)
        if trouble == "mesh":
            for name, attributes, rate in _traffic(names, seldom=second >= 240):
                rate *= rng.normal(1.0, 0.02)
                add(time, "requests_per_second", rate, "", "gauge", name, None, None, attributes)
        for caller, callee in _CALLS:
            factor = 6.0 if now and callee == "storedb" else 1.0
            attributes = json.dumps({"source": names[caller], "destination": names[callee]}, ensure_ascii=False)
            add(
                time, "request_duration_ms", rng.normal(20.0, 0.5) * factor, "ms", "gauge", None, None, None, attributes
            )
    return _table(METRICS, **rows)


def _traffic(names: Mapping[str, str], *, seldom: bool) -> Iterator[tuple[str | None, str | None, float]]:
    """(service, attributes, requests per second) of every service and every call."""
    for role in _SERVICES:
        yield names[role], None, 8.0 if seldom and role == "stock" else 40.0
    for caller, callee in _CALLS:
        attributes = json.dumps({"source": names[caller], "destination": names[callee]}, ensure_ascii=False)
        yield None, attributes, 8.0 if seldom and callee == "stock" else 40.0


def _changes(names: Mapping[str, str]) -> pa.Table:
    second = NS_PER_SECOND
    rows = [(ONSET_NS - 60 * second, "deploy", "orders"), (ONSET_NS + 20 * second, "alert", "orders"),
            (ONSET_NS + 25 * second, "alert", "gateway"), (ONSET_NS + 30 * second, "alert", "orders")]  # fmt: skip
    return _table(
        CHANGES, time=[r[0] for r in rows], kind=[r[1] for r in rows], service=[names[r[2]] for r in rows],
        description=["it happened"] * len(rows),
    )  # fmt: skip


def _table(schema: pa.Schema, **columns: Any) -> pa.Table:
    """A table of a schema from some of its columns; the others are null."""
    rows = len(next(iter(columns.values())))
    arrays: list[Any] = []
    for item in schema:
        values = columns.get(item.name)
        kind = pa.int64() if item.name == "time" else item.type
        arrays.append((pa.nulls(rows, kind) if values is None else pa.array(values, kind)).cast(item.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def rows_permuted(telemetry: Telemetry, seed: int = 1) -> Telemetry:
    """The same telemetry with the rows of each table in another order."""
    rng = np.random.default_rng(seed)
    tables: dict[str, Any] = {name: telemetry.table(name) for name in SCHEMAS}
    return Telemetry(**{name: table.take(rng.permutation(len(table))) for name, table in tables.items()})


def only(telemetry: Telemetry, *tables: str) -> Telemetry:
    """The telemetry with these tables alone."""
    chosen: dict[str, Any] = {name: telemetry.table(name) for name in tables}
    return Telemetry(**chosen)


def replaced(table: pa.Table, **columns: Any) -> pa.Table:
    """A table with some columns exchanged."""
    for name, values in columns.items():
        kind = table.schema.field(name).type
        plain = pa.int64() if name == "time" else kind
        table = table.set_column(
            table.column_names.index(name), table.schema.field(name), pa.array(values, plain).cast(kind)
        )
    return table


def numbers(table: pa.Table, name: str) -> F64:
    """A numeric column as float64, NaN where null."""
    return np.asarray(table[name].to_numpy(), np.float64)
