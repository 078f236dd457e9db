"""Who calls whom: children joined with parents of other services, and calls that nobody answered."""

from __future__ import annotations

from aetia.model.window import Window
from aetia.store._duck_question import Question, checked_limit
from aetia.store._duck_red import BUCKET, FAILED, SENT, by_quantile, milliseconds
from aetia.store.backend import EdgeRow

REACH_NS = 300_000_000_000
_SPANS = (
    "coalesce(trace_id, '') AS trace_id, coalesce(span_id, '') AS span_id, coalesce(parent_span_id, '') AS parent_id, "
    f"coalesce(service, '') AS service, coalesce(peer, '') AS peer, kind, epoch_ns(time) AS t, {BUCKET} AS bucket, "
    f"{FAILED}::INTEGER AS errors"
)


def calls(spans: str, all_spans: str) -> str:
    """SQL: caller, callee, known, t, bucket, errors of the calls of `spans`, the other end being in `all_spans`.

    Ends are joined by a 64-bit hash of trace and span id, grouped before the join so that copies of a span count once.
    """
    near = f"t >= first - {REACH_NS} AND t <= last + {REACH_NS}"
    return (
        "SELECT * FROM ("
        f"SELECT unnest(CASE WHEN one = other THEN [one] ELSE [one, other] END) AS caller, service AS callee, "
        "true AS known, t, bucket, errors FROM "
        f"(SELECT *, hash(trace_id, parent_id) AS h FROM {spans} WHERE trace_id <> '' AND parent_id <> '') JOIN "
        "(SELECT hash(trace_id, span_id) AS h, min(service) AS one, max(service) AS other, min(t) AS first, "
        f"max(t) AS last FROM {all_spans} WHERE trace_id <> '' AND span_id <> '' GROUP BY h) USING (h) "
        f"WHERE service <> one AND service <> other AND {near} UNION ALL "
        "SELECT service, peer, false, t, bucket, errors FROM "
        f"(SELECT *, hash(trace_id, span_id) AS h FROM {spans} WHERE {SENT} AND peer <> '') AS c "
        "ANTI JOIN (SELECT hash(trace_id, parent_id) AS h, service, t FROM "
        f"{all_spans} WHERE trace_id <> '' AND parent_id <> '') AS b ON c.h = b.h AND c.service <> b.service "
        f"AND b.t >= c.t - {REACH_NS} AND b.t <= c.t + {REACH_NS}"
        ") WHERE caller <> '' AND callee <> '' AND caller <> callee"
    )


def around(window: Window) -> Window:
    """Where the other end of a call may be that is in the window."""
    return Window(window.start_ns - REACH_NS, window.end_ns + REACH_NS)


def topology(question: Question, window: Window, limit: int) -> tuple[EdgeRow, ...]:
    found = calls(question.rows("spans", _SPANS, window), question.rows("spans", _SPANS, around(window)))
    relation = f"(SELECT *, 1 AS n FROM ({found}))"
    sql = by_quantile("caller, callee", relation, "true")
    rows = question.fetch(
        f"SELECT * FROM (SELECT * FROM ({sql}) ORDER BY requests DESC, caller, callee LIMIT {checked_limit(limit)}) "
        "ORDER BY caller, callee"
    )
    known = {row[:2] for row in question.fetch(f"SELECT DISTINCT caller, callee FROM {relation} WHERE known")}
    return tuple(
        EdgeRow(
            caller=caller, callee=callee, calls=n, errors=errors, p50_ms=milliseconds(p50), p95_ms=milliseconds(p95),
            external=(caller, callee) not in known,
        )
        for caller, callee, n, errors, p50, p95, _ in rows
    )  # fmt: skip
