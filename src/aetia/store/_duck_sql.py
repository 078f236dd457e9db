"""Pieces of SQL that rows and counted parts have in common, so that both give the same answers."""

from __future__ import annotations

PER_OCTAVE = 12
LOWEST = -120
"""The latency bucket of what lasted less than 2^(-120/12) ms; bucket b begins at 2^(b/12) ms."""
STEP_NS = 10_000_000_000
"""Parts are counted in steps of so many nanoseconds since the epoch."""
REACH_NS = 300_000_000_000
"""Parent and child begin at most so long after one another."""

TRACE = "coalesce(trace_id, '')"
BUCKET = (
    f"(CASE WHEN coalesce(duration_ns, 0) < 977 THEN {LOWEST} "
    f"ELSE floor({PER_OCTAVE} * log2(duration_ns / 1e6)) END)::SMALLINT"
)
FAILED = "coalesce(status = 'error', false)"
SERVED = "kind IN ('server', 'consumer')"
SENT = "kind IN ('client', 'producer')"

CELL_COLUMNS = (
    "coalesce(service, '') AS service, coalesce(name, '') AS name, coalesce(kind, '') AS kind, "
    f"coalesce(parent_span_id, '') = '' AS root, epoch_ns(time) AS t, {BUCKET} AS bucket, 1 AS n, "
    f"{FAILED}::INTEGER AS errors"
)
"""Of stored rows: each as a cell of one span."""

_SELF = f"CASE WHEN {TRACE} <> '' AND coalesce(span_id, '') <> '' THEN hash(trace_id, span_id) END"
_PARENT = f"CASE WHEN {TRACE} <> '' AND coalesce(parent_span_id, '') <> '' THEN hash(trace_id, parent_span_id) END"
CALL_COLUMNS = (
    f"{TRACE} AS trace_id, {_SELF} AS self, {_PARENT} AS parent, coalesce(service, '') AS service, "
    f"coalesce(peer, '') AS peer, coalesce({SENT}, false) AS sent, epoch_ns(time) AS t, {BUCKET} AS bucket, "
    f"{FAILED}::INTEGER AS errors"
)
"""Of stored rows: what calls are found by. Ends are joined by a 64-bit hash of trace and span id."""

BORDER_COLUMNS = (
    f"{TRACE} AS trace_id, coalesce(span_id, '') AS span_id, coalesce(parent_span_id, '') AS parent_span_id, "
    f"coalesce(service, '') AS service, coalesce(peer, '') AS peer, coalesce({SENT}, false) AS sent, "
    f"epoch_ns(time) AS t, {BUCKET} AS bucket, {FAILED}::INTEGER AS errors"
)
"""Of stored rows: the same with ids instead of hashes, which may change with the version of DuckDB."""
MET_COLUMNS = f"part, trace_id, {_SELF} AS self, {_PARENT} AS parent, service, peer, sent, t, bucket, errors"
"""Of `border` in a rollup: whose row it is, and `CALL_COLUMNS`."""

TRACE_COLUMNS = (
    f"{TRACE} AS trace_id, coalesce(service, '') AS service, coalesce(name, '') AS name, epoch_ns(time) AS t, "
    f"coalesce(duration_ns, 0) AS took, {FAILED} AS failed, coalesce(parent_span_id, '') <> '' AS child, "
    "coalesce(span_id, '') AS id"
)
"""Of stored rows: what traces are summed up from."""


def traces_of(spans: str) -> str:
    """SQL: one row per trace of spans with `TRACE_COLUMNS`, in the shape of `traces` in a rollup."""
    rank = "{'child': child, 't': t, 'took': -took, 'id': id}"
    return (
        "SELECT trace_id, min(t) AS first, max(t) AS last, max(t + took) AS ended, count(*)::INTEGER AS spans, "
        "count_if(failed)::INTEGER AS errors, list(DISTINCT service) AS services, "
        f"arg_min(service, {rank}) AS service, arg_min(name, {rank}) AS name, min({rank}) AS rank "
        f"FROM {spans} WHERE trace_id <> '' GROUP BY trace_id"
    )


def calls(spans: str) -> str:
    """SQL: caller, callee, known, t, bucket, errors of the calls among spans with `CALL_COLUMNS`.

    Parents are grouped before the join, so that copies of a span count once; a span id that more than two services
    share counts for the first and the last of them by name.
    """
    return (
        "SELECT caller, callee, known, t, bucket, errors FROM ("
        "SELECT unnest(CASE WHEN one = other THEN [one] ELSE [one, other] END) AS caller, service AS callee, "
        f"true AS known, t, bucket, errors FROM ({_parents(spans)}) AS p JOIN {spans} AS c ON c.parent = p.self "
        f"WHERE service <> one AND service <> other AND {_IN_REACH} "
        f"UNION ALL SELECT c.service, c.peer, false, c.t, c.bucket, c.errors FROM {spans} AS c ANTI JOIN "
        f"(SELECT parent, service, t FROM {spans} WHERE parent IS NOT NULL) AS b ON c.self = b.parent "
        f"AND c.service <> b.service AND b.t >= c.t - {REACH_NS} AND b.t <= c.t + {REACH_NS} "
        "WHERE c.sent AND c.peer <> ''"
        ") WHERE caller <> '' AND callee <> '' AND caller <> callee"
    )


def calls_between(border: str) -> str:
    """SQL: caller, callee, known, t, bucket, n, errors of the calls between parts, among spans of traces in several.

    `border` has `CALL_COLUMNS` and `part`. A child without a parent in its own part is joined with those in others;
    n is -1 for a call that its own part took for unanswered and that another part answers.
    """
    near = f"b.t >= c.t - {REACH_NS} AND b.t <= c.t + {REACH_NS}"
    orphans = (
        f"SELECT * FROM {border} AS c WHERE parent IS NOT NULL AND NOT EXISTS "
        f"(FROM {border} AS b WHERE b.part = c.part AND b.self = c.parent AND {near})"
    )
    unanswered = (
        f"SELECT * FROM {border} AS c WHERE sent AND peer <> '' AND self IS NOT NULL AND NOT EXISTS "
        f"(FROM {border} AS b WHERE b.part = c.part AND b.parent = c.self AND b.service <> c.service AND {near})"
    )
    return (
        "SELECT caller, callee, known, t, bucket, n, errors * n AS errors FROM ("
        "SELECT unnest(CASE WHEN one = other THEN [one] ELSE [one, other] END) AS caller, service AS callee, "
        f"true AS known, t, bucket, 1 AS n, errors FROM ({_parents(border)}) AS p JOIN ({orphans}) AS c "
        f"ON c.parent = p.self WHERE service <> one AND service <> other AND {_IN_REACH} "
        f"UNION ALL SELECT c.service, c.peer, false, c.t, c.bucket, -1, c.errors FROM ({unanswered}) AS c "
        f"SEMI JOIN {border} AS b ON b.parent = c.self AND b.service <> c.service AND {near}"
        ") WHERE caller <> '' AND callee <> '' AND caller <> callee"
    )


_IN_REACH = f"t >= first - {REACH_NS} AND t <= last + {REACH_NS}"


def _parents(spans: str) -> str:
    return (
        "SELECT self, min(service) AS one, max(service) AS other, min(t) AS first, max(t) AS last "
        f"FROM {spans} WHERE self IS NOT NULL GROUP BY self"
    )
