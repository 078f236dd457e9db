"""RED in ClickHouse: services, operations, series over time, latency heat maps, and the calls between services.

Durations are counted in buckets 2 % wide inside of the server, so that an answer costs the same however many spans
there are; a quantile is the nearest rank's bucket, interpolated between the shortest and the longest in it.
"""

from __future__ import annotations

from typing import Any

from aetia.model.window import Window
from aetia.store import _clickhouse_schema as ch
from aetia.store._clickhouse_ask import Asker, checked_limit, grid, missing, within
from aetia.store.backend import EdgeRow, HeatMap, OperationRow, Series, ServiceRow

_BUCKETS_PER_DOUBLING = 35
_STEP_NS = 10_000_000_000
REACH_NS = 300_000_000_000
"""A parent is looked for among spans that began at most so long before or after their child."""
# Both sides of a condition may be computed: profiles can switch the short circuit off.
BUCKET = f"if(duration_ns > 0, toInt32(floor(log2(greatest(duration_ns, 1)) * {_BUCKETS_PER_DOUBLING})), -1)"
COUNTED = "count() AS n, countIf(status = 'error') AS e, min(duration_ns) AS lo, max(duration_ns) AS hi"
TIER = "multiIf(kind IN ('server', 'consumer'), 1, parent_span_id = '', 2, kind NOT IN ('client', 'producer'), 3, 4)"
"""Requests of a service are its spans of the first tier that it has; the fourth has none."""
TIER_FIELDS = ("kind", "parent_span_id")
_QUANTILES = (0.5, 0.95, 0.99)


def quantiles(levels: tuple[float, ...] = _QUANTILES) -> str:
    """Nearest ranks of the buckets `(b, n, lo, hi)`, in ms, as an array; empty where nothing was counted."""
    ranks = f"arrayMap(q -> greatest(ceil(q * cum[-1]), 1), {list(levels)})"
    value = "h.3[at] + (h.4[at] - h.3[at]) * (rank - cum[at] + h.2[at] - 1) / greatest(h.2[at] - 1, 1)"
    ranked = f"arrayMap(at -> ({value}) / 1e6, [arrayFirstIndex(c -> c >= rank, cum)])[1]"
    return f"if(empty(cum), [], arrayMap(rank -> {ranked}, {ranks}))"


def red(source: str, keys: str, order: str, levels: tuple[float, ...] = _QUANTILES) -> str:
    """A statement that adds up `(keys, b, n, e, lo, hi)` rows to requests, errors and quantiles per keys."""
    named = f"{keys}, " if keys else ""
    grouped = f"GROUP BY {keys}" if keys else ""
    return (
        f"SELECT {named}requests, errors, {quantiles(levels)} AS q FROM (SELECT {named}sum(n) AS requests, "
        "sum(e) AS errors, arraySort(groupArrayIf((b, n, toFloat64(lo), toFloat64(hi)), n > 0)) AS tuples, "
        "(tuples.1, tuples.2, tuples.3, tuples.4) AS h, arrayCumSum(h.2) AS cum "
        f"FROM ({source}) {grouped}) {order}"
    )


def chosen(service: str | None, params: dict[str, Any]) -> str:
    """A condition on the service, its parameter added."""
    if service is None:
        return "1"
    params["service"] = service
    return "service = {service:String}"


def requests(ask: Asker, fields: tuple[str, ...], service: str | None, params: dict[str, Any]) -> str:
    """The spans of a window with their tier."""
    wanted = {*fields, *TIER_FIELDS}
    source = ch.spans(ask.schema(), wanted, ch.bounds("Timestamp"))
    return f"(SELECT *, {TIER} AS tier FROM {source} WHERE {chosen(service, params)})"


def services(ask: Asker, window: Window, limit: int) -> tuple[ServiceRow, ...]:
    params: dict[str, Any] = {**within(window), "most": checked_limit(limit)}
    if not ask.schema().has(ch.TRACES):
        return ()
    spans = requests(ask, ("duration_ns", "status"), None, params)
    counted = f"SELECT service, tier, {BUCKET} AS b, {COUNTED} FROM {spans} GROUP BY service, tier, b"
    kept = (
        "SELECT service, b, if(tier < 4, n, 0) AS n, if(tier < 4, e, 0) AS e, lo, hi FROM "
        f"(SELECT *, min(tier) OVER (PARTITION BY service) AS least FROM ({counted})) WHERE tier = least"
    )
    rows = ask.rows(red(kept, "service", "ORDER BY service LIMIT {most:UInt32}"), params)
    return tuple(ServiceRow(service=row[0], **_rates(window, *row[1:])) for row in rows)


def _rates(window: Window, count: int, errors: int, at: list[float]) -> dict[str, Any]:
    p50, p95, p99 = at or (None, None, None)
    return {
        "requests": count, "errors": errors, "per_second": count / window.seconds if window.seconds else 0.0,
        "error_share": errors / count if count else 0.0, "p50_ms": p50, "p95_ms": p95, "p99_ms": p99,
    }  # fmt: skip


def operations(ask: Asker, window: Window, service: str | None, limit: int) -> tuple[OperationRow, ...]:
    params: dict[str, Any] = {**within(window), "most": checked_limit(limit)}
    if not ask.schema().has(ch.TRACES):
        return ()
    spans = ch.spans(ask.schema(), ("name", "kind", "duration_ns", "status"), ch.bounds("Timestamp"))
    counted = (
        f"SELECT service, name, kind, {BUCKET} AS b, {COUNTED} FROM {spans} WHERE {chosen(service, params)} "
        "GROUP BY service, name, kind, b"
    )
    order = "ORDER BY requests DESC, service, name, kind LIMIT {most:UInt32}"
    rows = ask.rows(red(counted, "service, name, kind", order), params)
    return tuple(
        OperationRow(service=row[0], name=row[1], kind=missing(row[2]), **_rates(window, *row[3:])) for row in rows
    )


def series(ask: Asker, window: Window, step_ns: int, service: str | None, name: str | None) -> Series:
    start, bins = grid(window, step_ns)
    found: dict[int, tuple[Any, ...]] = {}
    if bins and ask.schema().has(ch.TRACES):
        params: dict[str, Any] = within(window)
        kept = _binned(ask, params, (start, step_ns), service, name, BUCKET, COUNTED)
        added = f"SELECT bin, b, sum(n) AS n, sum(e) AS e, min(lo) AS lo, max(hi) AS hi FROM ({kept}) GROUP BY bin, b"
        found = {row[0]: row[1:] for row in ask.rows(red(added, "bin", "ORDER BY bin"), params)}
    nothing = (0, 0, (None, None, None))
    lines = [found.get(number, nothing) for number in range(bins)]
    p50, p95, p99 = ([line[2][at] for line in lines] for at in range(3))
    return Series(
        start_ns=start, step_ns=step_ns, requests=tuple(line[0] for line in lines),
        errors=tuple(line[1] for line in lines), p50_ms=tuple(p50), p95_ms=tuple(p95), p99_ms=tuple(p99),
    )  # fmt: skip


def _binned(
    ask: Asker, params: dict[str, Any], on: tuple[int, int], service: str | None, name: str | None, bucket: str,
    counted: str,
) -> str:  # fmt: skip
    """Requests of a service and operation counted by time bin and bucket; tiers are those of the whole service."""
    params |= {"grid": on[0], "step": on[1]}
    mine = "1"
    if name is not None:
        params["name"] = name
        mine = "name = {name:String}"
    spans = requests(ask, ("time_ns", "name", "duration_ns", "status"), service, params)
    grouped = (
        f"SELECT service, tier, {mine} AS mine, intDiv(time_ns - {{grid:Int64}}, {{step:Int64}}) AS bin, {bucket} AS b,"
        f" {counted} FROM {spans} GROUP BY service, tier, mine, bin, b"
    )
    return (
        f"SELECT * FROM (SELECT *, min(tier) OVER (PARTITION BY service) AS least FROM ({grouped})) "
        "WHERE tier = least AND tier < 4 AND mine"
    )


def heat_map(ask: Asker, window: Window, step_ns: int, service: str | None, name: str | None) -> HeatMap:
    start, bins = grid(window, step_ns)
    rows: list[tuple[Any, ...]] = []
    if bins and ask.schema().has(ch.TRACES):
        params: dict[str, Any] = within(window)
        bucket = "if(duration_ns > 0, greatest(toInt32(floor(4 * log2(greatest(duration_ns, 1) / 1e6))), -40), -40)"
        counted = "count() AS n, countIf(status = 'error') AS e"
        kept = _binned(ask, params, (start, step_ns), service, name, bucket, counted)
        rows = ask.rows(f"SELECT bin, b, sum(n), sum(e) FROM ({kept}) GROUP BY bin, b", params)
    low, high = min((row[1] for row in rows), default=0), max((row[1] for row in rows), default=-1)
    counts = [[0] * (high - low + 1) for _ in range(bins)]
    errors = [[0] * (high - low + 1) for _ in range(bins)]
    for at, step, count, failed in rows:
        counts[at][step - low], errors[at][step - low] = count, failed
    return HeatMap(
        start_ns=start, step_ns=step_ns, edges_ms=tuple(2 ** (k / 4) for k in range(low, high + 2)) if rows else (),
        counts=tuple(map(tuple, counts)), errors=tuple(map(tuple, errors)),
    )  # fmt: skip


def _widened(window: Window) -> Window:
    """The window of a topology: whole steps of 10 s, as `Backend.topology` says."""
    if window.start_ns == window.end_ns:
        return window
    return Window(window.start_ns // _STEP_NS * _STEP_NS, -(-window.end_ns // _STEP_NS) * _STEP_NS)


def topology(ask: Asker, window: Window, limit: int) -> tuple[EdgeRow, ...]:
    params: dict[str, Any] = {**within(_widened(window)), "most": checked_limit(limit)}
    schema = ask.schema()
    if not schema.has(ch.TRACES):
        return ()
    calls = f"{_answered(schema)} UNION ALL {_unanswered(schema)}"
    counted = (
        f"SELECT caller, callee, {BUCKET} AS b, {COUNTED}, max(known) AS k FROM ({calls}) "
        "WHERE caller != '' AND callee != '' AND caller != callee GROUP BY caller, callee, b"
    )
    kept = f"SELECT *, max(k) OVER (PARTITION BY caller, callee) AS known FROM ({counted})"
    edges = red(
        kept, "caller, callee, known", "ORDER BY requests DESC, caller, callee LIMIT {most:UInt32}", (0.5, 0.95)
    )
    rows = ask.rows(f"SELECT * FROM ({edges}) ORDER BY caller, callee", params)
    return tuple(
        EdgeRow(caller=row[0], callee=row[1], external=not row[2], calls=row[3], errors=row[4], p50_ms=row[5][0],
                p95_ms=row[5][1])
        for row in rows
    )  # fmt: skip


_NEAR = (
    f"Timestamp >= fromUnixTimestamp64Nano({{start_ns:Int64}} - {REACH_NS}) AND Timestamp <= "
    f"fromUnixTimestamp64Nano(least({{end_ns:Int64}}, {2**63 - 1 - REACH_NS}) + {REACH_NS})"
)
# Spans are joined by 64 bits of their ids: half the memory of the texts, and among 10 M spans two are taken for one
# another once in 300,000 answers.
_LINKED = "trace_id != '' AND parent_span_id != ''"


def _answered(schema: ch.Schema) -> str:
    """Calls whose callee's span is in the window: children with their parents' services."""
    below = ch.spans(schema, ("time_ns", "trace_id", "parent_span_id", "duration_ns", "status"), ch.bounds("Timestamp"))
    above = ch.spans(schema, ("time_ns", "trace_id", "span_id"), _NEAR)
    parents = (
        "SELECT cityHash64(trace_id, span_id) AS id, groupUniqArray((service, time_ns)) AS parents "
        f"FROM {above} WHERE trace_id != '' AND span_id != '' GROUP BY id"
    )
    near = f"arrayDistinct(arrayMap(p -> p.1, arrayFilter(p -> abs(p.2 - time_ns) <= {REACH_NS}, parents)))"
    return (
        "SELECT arrayJoin(callers) AS caller, service AS callee, duration_ns, status, 1 AS known FROM ("
        f"SELECT service, duration_ns, status, {near} AS callers FROM (SELECT *, cityHash64(trace_id, parent_span_id) "
        f"AS id FROM {below} WHERE {_LINKED}) AS below INNER JOIN ({parents}) AS above USING (id)) "
        "WHERE NOT has(callers, service)"
    )


def _unanswered(schema: ch.Schema) -> str:
    """Calls to a peer that no span of another service answers."""
    calling = "kind IN ('client', 'producer')"
    fields = ("time_ns", "trace_id", "span_id", "kind", "peer", "duration_ns", "status")
    calls = ch.spans(schema, fields, ch.bounds("Timestamp"))
    ids = ch.spans(schema, ("trace_id", "span_id", "kind"), ch.bounds("Timestamp"))
    below = ch.spans(schema, ("time_ns", "trace_id", "parent_span_id"), _NEAR)
    children = (
        "SELECT cityHash64(trace_id, parent_span_id) AS id, groupUniqArray((service, time_ns)) AS children "
        f"FROM {below} WHERE {_LINKED} AND cityHash64(trace_id, parent_span_id) IN "
        f"(SELECT cityHash64(trace_id, span_id) FROM {ids} WHERE {calling}) GROUP BY id"
    )
    answers = f"arrayExists(c -> c.1 != service AND abs(c.2 - time_ns) <= {REACH_NS}, children)"
    return (
        "SELECT service AS caller, peer AS callee, duration_ns, status, 0 AS known FROM "
        "(SELECT *, if(trace_id != '' AND span_id != '', cityHash64(trace_id, span_id), 0) AS id "
        f"FROM {calls} WHERE {calling} AND peer != '') AS calls LEFT JOIN ({children}) AS below USING (id) "
        f"WHERE NOT {answers}"
    )
