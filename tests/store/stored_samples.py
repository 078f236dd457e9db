"""Stored-schema tables for the tests of the backends: a simulated incident and the rows that break naive queries.

`sample()` is what a backend is filled with; `sample().window` is the window that most questions are asked for. All
times lie on a fixed day, so that a failing answer can be compared from run to run.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aetia.lab.sim import FaultSpec, Load, Scenario, make_system, simulate
from aetia.model.stored import SIGNALS, STORED, Signal
from aetia.model.tables import TIME
from aetia.model.window import Window

START_NS = 1_760_000_040_000_000_000
"""The window's start; no multiple of a minute, so that grids begin before it."""
SECOND = 1_000_000_000
WINDOW = Window(START_NS, START_NS + 130 * SECOND + 7)
NASTY = "o'brien\"; DROP TABLE spans; -- \\ % _ ? $1 {x:String} `b`"
UNICODE = "naïve-сервис-🦆"
Tables = dict[Signal, pa.Table]


@dataclass(frozen=True)
class Sample:
    """Tables to fill a backend with, and a window that cuts through them."""

    tables: Tables
    window: Window


@functools.cache
def sample() -> Sample:
    """About 3,300 spans, 1,300 log lines and 4,800 points: simulated ones and edge cases, in the order of time, except
    for late ones at the end."""
    simulated, edges = simulated_tables(), edge_tables()
    tables: Tables = {}
    for signal in SIGNALS:
        both = pa.concat_tables([simulated[signal], edges[signal].slice(0, 0)])
        tables[signal] = pa.concat_tables([both.sort_by("time"), edges[signal]]).unify_dictionaries()
    return Sample(tables, WINDOW)


@functools.cache
def empty() -> Sample:
    return Sample({signal: STORED[signal].empty_table() for signal in SIGNALS}, WINDOW)


def simulated_tables(
    *, services: int = 8, seconds: float = 180.0, rate: float = 3.0, seed: int = 5, start_ns: int = START_NS - 20 * SECOND
) -> Tables:  # fmt: skip
    """One simulated incident in the stored schemas: `seconds` of it, an exception in the second half."""
    system = make_system(services, seed, "layered")
    struck = FaultSpec(fault="exception", service=system.services[-1].name, onset_s=seconds / 2 + 5)
    scenario = Scenario(
        id="stored", system=system, seed=seed, start_ns=start_ns, load=Load(rate=rate), faults=(struck,),
        baseline_s=seconds / 2, incident_s=seconds / 2,
    )  # fmt: skip
    _, telemetry = simulate(scenario)
    return {signal: stored(signal, telemetry.table(signal)) for signal in SIGNALS}


def stored(signal: Signal, table: pa.Table) -> pa.Table:
    """A model table as a stored one: more columns, attributes as a map, dictionaries where the store has them."""
    arrays: list[Any] = []
    for field in STORED[signal]:
        if field.name not in table.column_names:
            arrays.append(constant(field, table.num_rows, _EXTRA.get(field.name)))
        elif pa.types.is_map(field.type):
            arrays.append(maps(table[field.name]))
        else:
            arrays.append(table[field.name].cast(field.type))
    return pa.table(arrays, schema=STORED[signal])


_EXTRA = {
    "version": "v1",
    "environment": "prod",
    "scope": "sim",
    "resource": '{"cloud.region":"north","host.name":"h1"}',
}


def constant(field: pa.Field, rows: int, value: str | None) -> Any:
    return pa.array([value], pa.string()).take(pa.array([0] * rows, pa.int32())).cast(field.type)


def maps(column: Any) -> Any:
    """JSON texts of flat objects as maps of texts."""
    plain = column.cast(pa.string()).combine_chunks().dictionary_encode()
    words = [list(json.loads(text).items()) for text in plain.dictionary.to_pylist()]
    encoded = pa.array(words or [[]], pa.map_(pa.string(), pa.string()))
    return encoded.take(plain.indices)


# ---- edge cases -------------------------------------------------------------------------------------------


def edge_tables() -> Tables:
    return {
        "spans": _table("spans", _edge_spans()),
        "logs": _table("logs", _edge_logs()),
        "metrics": _table("metrics", _edge_points()),
        "changes": _table("changes", _edge_changes()),
    }


def _table(signal: Signal, rows: list[dict[str, Any]]) -> pa.Table:
    schema = STORED[signal]
    arrays = []
    for field in schema:
        values = [row.get(field.name) for row in rows]
        if field.name == "time":
            arrays.append(pa.array(values, pa.int64()).cast(TIME))
        elif pa.types.is_map(field.type):
            arrays.append(pa.array([list((value or {}).items()) for value in values], field.type))
        else:
            kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
            arrays.append(pa.array(values, kind).cast(field.type))
    return pa.table(arrays, schema=schema)


def _span(
    at_s: float, trace: str | None, span: str, parent: str | None = None, service: str | None = "edge", **more: Any
) -> dict[str, Any]:
    row = {
        "time": START_NS + round(at_s * SECOND), "trace_id": trace and trace.rjust(32, "0"), "span_id": span.rjust(16, "0"),
        "parent_span_id": parent and parent.rjust(16, "0"), "service": service, "name": "GET /x", "kind": "server",
        "duration_ns": 5_000_000, "status": "unset",
    }  # fmt: skip
    return row | more


def _edge_spans() -> list[dict[str, Any]]:
    client: dict[str, Any] = {"kind": "client", "name": "call"}
    rows = [
        # No service; no kind; a service of internal spans alone; a service that only calls; no trace id.
        _span(10, "a1", "1", service=None),
        _span(11, "a2", "2", service="kindless", kind=None, name="root work"),
        _span(11.1, "a2", "3", "2", service="kindless", kind=None, name="child work", duration_ns=2_000_000),
        _span(12, "a3", "4", "dead", service="inner", kind="internal", name="step", status="error"),
        _span(12.5, "a3", "5", "4", service="only-calls", **client, peer="db:5432"),
        _span(13, None, "6", service="no-trace"),
        # Texts that break queries put together by hand.
        _span(14, "b1", "7", service=NASTY, name=NASTY, status="error", status_message=NASTY, attributes={NASTY: NASTY, "http.route": NASTY}),
        _span(14.2, "b1", "8", "7", service=UNICODE, name=UNICODE, instance=UNICODE, attributes={"k-ü": UNICODE, "n": "17.5"}),
        _span(14.4, "b1", "9", "8", service="Zebra", attributes={"http.route": "/z", "empty": "", "n": "not a number"}),
        _span(14.5, "b1", "a", "9", service="edge", events='[{"name":"exception"}]', links="[]", attributes={"n": "-3", "name": "shadowed"}),
        # Sent twice; a client and a server that share one id (Zipkin), with a child of a third service.
        *[_span(20, "c1", "10", service="twice", duration_ns=7_000_000)] * 2,
        _span(20, "c1", "10", service="twice", duration_ns=9_000_000),
        _span(20.1, "c1", "11", "10", service="twice", **client, peer="shared"),
        _span(20.2, "c1", "11", "10", service="shared"),
        _span(20.3, "c1", "12", "11", service="third", status="error", duration_ns=1_234_567),
        # External calls: answered by nobody, by oneself, by a child of the same service, without a peer.
        _span(30, "d1", "20", service="shop"),
        _span(30.1, "d1", "21", "20", service="shop", **client, peer="cache:6379", status="error", duration_ns=400_000),
        _span(30.2, "d1", "22", "20", service="shop", kind="producer", name="send", peer="queue", duration_ns=0),
        _span(30.3, "d1", "23", "20", service="shop", **client, peer="shop"),
        _span(30.4, "d1", "24", "20", service="shop", **client, peer="bank"),
        _span(30.41, "d1", "25", "24", service="shop", kind="internal", name="tls"),
        _span(30.5, "d1", "26", "20", service="shop", **client),
        _span(30.6, "d1", "27", "20", service="shop", **client, peer="billing"),
        _span(30.61, "d1", "28", "27", service="billing", name="charge"),
        _span(30.7, "d1", "29", "20", service="shop", **client, peer="billing"),
        # The parent began long before, just before, and after its child (skewed clocks); the call is outside.
        _span(-290, "e1", "30", service="ancient"), _span(20, "e1", "31", "30", service="young"),
        _span(-200, "e2", "32", service="older"), _span(50, "e2", "33", "32", service="young", kind="consumer"),
        _span(50.2, "e3", "34", service="skewed"), _span(50, "e3", "35", "34", service="young"),
        _span(-0.1, "e4", "36", service="before"), _span(0.1, "e4", "37", "36", service="after"),
        _span(129.9, "e5", "38", service="last", **client, peer="beyond"), _span(130.2, "e5", "39", "38", service="beyond"),
        # The same id in another trace is another span.
        _span(60, "f1", "40", service="one"), _span(60.1, "f2", "41", "40", service="two"),
        # Durations: none, nothing, an hour; exactly on an edge of the heat map.
        _span(70, "g1", "50", service="lengths", duration_ns=None), _span(71, "g2", "51", service="lengths", duration_ns=0),
        _span(72, "g3", "52", service="lengths", duration_ns=3_600 * SECOND), _span(73, "g4", "53", service="lengths", duration_ns=4_000_000),
        # On the very borders of the window.
        _span(0, "h1", "60", service="border"), _span(130, "h2", "61", service="border", time=WINDOW.end_ns),
        _span(130, "h3", "62", service="border", time=WINDOW.end_ns - 1), _span(0, "h4", "63", service="border", time=START_NS - 1),
        # Traces that start together; one that takes as long as another; late ones.
        *[_span(80, f"i{number}", f"7{number}", service="tied") for number in range(6)],
        _span(-3600, "late1", "80", service="late"), _span(-86_400, "late2", "81", service="late", status="error"),
        _span(2.5, "late3", "82", service="late"),
    ]  # fmt: skip
    for number, row in enumerate(rows):
        row.setdefault("attributes", {"http.route": f"/x/{number % 3}", "order": str(number)})
    return rows


def _edge_logs() -> list[dict[str, Any]]:
    def line(
        at_s: float, body: str | None, service: str | None = "edge", severity: str | None = "info", **more: Any
    ) -> dict[str, Any]:
        return {"time": START_NS + round(at_s * SECOND), "body": body, "service": service, "severity": severity} | more

    return [
        line(5, "no service", service=None), line(6, "no severity", severity=None), line(7, None),
        line(8, NASTY, service=NASTY, severity="error", attributes={NASTY: NASTY, "code": "7"}),
        line(9, f"{UNICODE}\nsecond line\tend", service=UNICODE, attributes={"код": "да", "code": "12"}),
        line(10, "", severity="warn"), line(11, "x" * 5000),
        *[line(40, f"tied {number % 2}", service=f"s{number % 3}") for number in range(9)],
        line(-100, "seen before"), line(-101, "seen before"), line(20, "seen before"), line(-90, "only before"),
        line(12, "of a trace", trace_id="b1".rjust(32, "0"), span_id="7".rjust(16, "0"), instance="pod-1"),
        line(-0.000000001, "just before"), line(0, "first"), line(130, "after the end", time=WINDOW.end_ns),
        line(-86_400, "late"),
    ]  # fmt: skip


def _edge_points() -> list[dict[str, Any]]:
    def point(at_s: float, name: str, value: float, **more: Any) -> dict[str, Any]:
        row = {"unit": "1", "type": "gauge", "service": "edge", "instance": "pod-1"}
        return {"time": START_NS + round(at_s * SECOND), "name": name, "value": value} | row | more

    rising = [0.0, 10.0, 25.0, 5.0, 9.0, 9.0, 2.0]  # two resets and a standstill
    return [
        *[point(3 + 15 * number, "requests_total", value, type="counter") for number, value in enumerate(rising)],
        *[point(4 + 15 * number, "requests_total", 100.0 + number, type="counter", attributes='{"le":"1"}') for number in range(4)],
        point(20, "requests_total", 40.0, type="counter", instance=None, node="n1"),
        point(50, "same_time_total", 4.0, type="counter"), point(50, "same_time_total", 2.0, type="counter"), point(65, "same_time_total", 7.0, type="counter"),
        point(10, "odd", float("nan")), point(11, "odd", float("inf")), point(12, "odd", 3.0), point(12, "odd", 5.0), point(13, "odd", -1.0),
        point(30, "nameless", 1.0, service=None, instance=None, unit=None, type=None),
        point(31, "nameless", 2.0, service="edge", unit="s", type="gauge"),
        point(32, NASTY, 1.5, service=NASTY, attributes=json.dumps({NASTY: UNICODE}, sort_keys=True)),
        point(-0.5, "odd", 99.0), point(131, "odd", 99.0), point(-4000, "late", 1.0),
    ]  # fmt: skip


def _edge_changes() -> list[dict[str, Any]]:
    def change(
        at_s: float, kind: str, service: str | None, description: str | None, attributes: str | None = None
    ) -> dict[str, Any]:
        return {
            "time": START_NS + round(at_s * SECOND),
            "kind": kind,
            "service": service,
            "description": description,
            "attributes": attributes,
        }

    return [
        change(20, "deploy", "edge", "v2"), change(20, "config", None, NASTY, '{"a": 1}'), change(20, "config", "a", UNICODE),
        change(-1, "flag", "edge", "before"), change(0, "flag", "edge", None), change(500, "alert", "edge", "after"),
    ]  # fmt: skip


def head(tables: Tables, rows: int) -> Tables:
    """The first rows of each table."""
    return {signal: table.slice(0, rows) for signal, table in tables.items()}


def in_window(table: pa.Table, window: Window) -> pa.Table:
    times = table["time"].cast(pa.int64())
    return table.filter(pc.and_(pc.greater_equal(times, window.start_ns), pc.less(times, window.end_ns)))
