"""Children of a span: what a request waited for, each part next to what it usually takes.

Starts at the slowest or the slowest failed request of a service in the incident, or at a span that an earlier answer
named, so that a trace is read from the top down to where its time went. Source: RCLAgent (arXiv 2508.20370), tool
list of section 15.2 of the agents survey. Rows: the span itself (`self`), then its children, those with most time above
what is usual first. Cost: O(spans) comparisons.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa

from aetia.evidence._edges import is_waiting
from aetia.evidence._places import service_or_external
from aetia.model.diagnosis import Claim
from aetia.model.entity import Entity
from aetia.model.entity import service as service_entity
from aetia.model.quantities import quantity
from aetia.plugins import plugin
from aetia.reason.toolbox import MOST_ROWS, Found, NoAnswer, Tool, known_as, said, service_code, unknown
from aetia.reason.tools._parts import health, need, number, operations, strongest_first
from aetia.signals.frames import F64, I64, KIND_CLIENT, KIND_PRODUCER
from aetia.signals.ids import hash_ids, mix
from aetia.signals.view import View

NS_PER_MS = 1e6
FULL = 0.3
"""One request is an example, not a measurement."""
LITTLE_MS = 1.0


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`service`: whose worst request to look at; may be left out where `span` is given.
    `operation`: only requests of this operation of the service.
    `span`: id of a span from the `span` of an earlier row, to go one level deeper.
    `which`: the slowest request of the incident, or the slowest of those that failed.
    """

    service: str = ""
    operation: str | None = None
    span: str | None = None
    which: Literal["slowest", "failed"] = "slowest"


@plugin(
    "tool", needs=("spans",), summary="what a request waited for: children of a span or of a service's worst request",
    source="RCLAgent (arXiv 2508.20370)", cost="O(spans)",
)  # fmt: skip
class TraceChildren(Tool[Args]):
    """A span and its children with durations, own times and what both usually are."""

    Args = Args

    def look(self, view: View, args: Args) -> Found:
        need(view, "spans")
        row = _named(view, args.span) if args.span else _worst(view, args)
        below = np.flatnonzero(view.spans.parent == row)
        children = _strongest_first(view, below)[: MOST_ROWS - 1]
        rows = (_row(view, row, "self", row), *(_row(view, int(child), "child", row) for child in children))
        return _judged(view, row, rows, total=1 + len(below))


def _above_usual(view: View, rows: I64) -> F64:
    """Duration above what is usual for the operation, ms; all of it where nothing is known of what is usual."""
    usual = np.append(np.nan_to_num(operations(view).p50_ms[:, 0]), 0.0)
    return view.spans.duration_ns[rows] / NS_PER_MS - usual[view.spans.operation[rows]]


def _strongest_first(view: View, rows: I64) -> I64:
    """Rows by time above what is usual; equals by start and id, whatever their order in the table."""
    key = strongest_first(_above_usual(view, rows))
    return rows[np.lexsort((view.spans.key[rows], view.spans.start_ns[rows], key))]


def _worst(view: View, args: Args) -> int:
    """The row of the slowest request of a service in the incident; the smallest id of equals."""
    if not args.service:
        raise NoAnswer("bad_arguments", "neither a service nor a span was named.", "name one of them")
    spans, code = view.spans, service_code(view, args.service)
    chosen = view.span_masks[1] & (spans.service == code)
    if args.operation is not None:
        wanted = _operation(view, code, args.operation)
        chosen &= spans.operation == wanted
    if args.which == "failed":
        chosen &= spans.error
    rows = np.flatnonzero(chosen)
    if len(rows) == 0:
        what = "failed request" if args.which == "failed" else "request"
        raise NoAnswer(
            "no_such_trace", f"{said(args.service)} has no {what} of this kind in the incident.",
            "ask for the slowest one, or about another service", category="permanent",
        )  # fmt: skip
    rows = rows[spans.duration_ns[rows] == spans.duration_ns[rows].max()]
    return int(rows[np.lexsort((spans.start_ns[rows], spans.key[rows]))[0]])


def _operation(view: View, service: int, name: str) -> int:
    own = {text: code for code, (owner, text) in enumerate(view.names.operations) if owner == service}
    found = known_as(name, tuple(own))
    if found is None:
        raise unknown("operation", name, tuple(own))
    return own[found]


def _named(view: View, label: str) -> int:
    """The row of the span with that id, the longest of several."""
    trace, _, span = label.encode(errors="replace").decode().rpartition("/")
    (first, _), (second, _) = (hash_ids(pa.chunked_array([[text]], pa.string())) for text in (trace, span))
    rows = np.flatnonzero(view.spans.key == mix(first ^ mix(second))[0]) if trace and span else np.zeros(0, np.int64)
    if len(rows) == 0:
        raise NoAnswer("unknown_span", f"there is no span {said(label)!r} in this telemetry.",
                       "take the `span` of a row of an earlier answer")  # fmt: skip
    return int(rows[np.argmax(view.spans.duration_ns[rows])])


def _label(view: View, row: int) -> str:
    table, at = view.facts.telemetry.spans, int(view.spans.source_row[row])
    trace, span = table["trace_id"][at].as_py(), table["span_id"][at].as_py()
    return f"{trace}/{span}" if trace and span else ""


def _row(view: View, row: int, role: str, top: int) -> dict[str, Any]:
    spans, names = view.spans, view.names
    code = int(spans.operation[row])
    usual, usual_own = _usual(view, code)
    service = int(spans.service[row])
    return {
        "role": role,
        "span": _label(view, row),
        "service": names.services[service] if service >= 0 else None,
        "operation": names.operations[code][1] if code >= 0 else None,
        "to": _far_end(view, row),
        "at_ms": number((spans.start_ns[row] - spans.start_ns[top]) / NS_PER_MS),
        "duration_ms": number(spans.duration_ns[row] / NS_PER_MS),
        "usual_ms": usual,
        "own_ms": number(spans.exclusive_ns[row] / NS_PER_MS),
        "usual_own_ms": usual_own,
        "failed": bool(spans.error[row]),
    }


def _usual(view: View, code: int) -> tuple[float | None, float | None]:
    """Median duration and mean own time of an operation in the baseline, ms."""
    table = operations(view)
    if code < 0 or table.count[code, 0] == 0:
        return None, None
    return number(table.p50_ms[code, 0]), number(table.exclusive_ms[code, 0] / table.count[code, 0])


def _far_end(view: View, row: int) -> str | None:
    """The service that a call reaches: that of its child elsewhere, else the one it names."""
    spans = view.spans
    below: I64 = spans.service[np.flatnonzero(spans.parent == row)].astype(np.int64)
    away = below[(below >= 0) & (below != spans.service[row])]
    code = int(away.min()) if len(away) else int(spans.peer[row])
    return view.names.services[code] if code >= 0 else None


def _own_and_calls(view: View, row: int) -> tuple[float, I64]:
    """Time above what is usual that the service spent itself, in this span and in those below that do not leave it, ms;
    and the rows of the calls on the way out, those that took most above what is usual first."""
    spans, service, waits = view.spans, view.spans.service, is_waiting(view)
    trace = np.flatnonzero(spans.trace == spans.trace[row])
    level, own, calls = np.array([row]), 0.0, np.zeros(0, np.int64)
    while len(level):
        inside = (service[level] == service[row]) & (~waits[level] | (level == row))
        calls = np.concatenate([calls, level[~inside]])
        level = level[inside]
        operation = spans.operation[level]
        table = operations(view)
        usual = np.divide(table.exclusive_ms[:, 0], table.count[:, 0], out=np.zeros(len(table.count)),
                          where=table.count[:, 0] > 0)  # fmt: skip
        own += float((spans.exclusive_ns[level] / NS_PER_MS - np.append(usual, 0.0)[operation]).sum())
        level = trace[np.isin(spans.parent[trace], level)]
    return own, _strongest_first(view, calls)


def _judged(view: View, row: int, rows: tuple[dict[str, Any], ...], *, total: int) -> Found:
    top = rows[0]
    code = int(view.spans.service[row])
    about: Entity = service_or_external(view, code) if code >= 0 else service_entity("")
    if code < 0:
        return Found(rows=rows, total=total)
    extra = float(_above_usual(view, np.array([row]))[0])
    own, calls = _own_and_calls(view, row)
    usual = "never seen before" if top["usual_ms"] is None else f"{quantity(top['usual_ms'], 'ms')} usually"
    text = (
        f"a request {said(top['operation'] or '')} of {said(about.name)} took {quantity(top['duration_ms'], 'ms')}"
        f"{' and failed' if top['failed'] else ''}, {usual}"
    )
    below_failed = bool(view.spans.error[calls].any())
    share = min(max(own / extra, 0.0), 1.0) if extra > LITTLE_MS else 0.0
    polarity, strength = "for", 0.0
    hurt = float(health(view, "service").trouble[code]) > 0.0  # one outlier of a service that is well says nothing
    if top["failed"]:
        answered = view.spans.kind[row] not in (KIND_CLIENT, KIND_PRODUCER)
        polarity, strength = ("against", FULL) if below_failed else ("for", FULL if answered else 0.0)
        text += "; a call that left it failed too" if below_failed else "; no call that left it failed"
    elif extra > LITTLE_MS:
        polarity, strength = ("for", FULL * share) if share >= 0.5 else ("against", FULL * (1.0 - share))
        text += f"; {quantity(max(own, 0.0), 'ms')} of the extra time is its own"
        if len(calls) and share < 0.5:
            out, more = _row(view, int(calls[0]), "call", row), float(_above_usual(view, calls[:1])[0])
            where = out["to"] or out["service"] or ""
            text += f", {quantity(max(more, 0.0), 'ms')} is {said(out['operation'] or '')} of {said(where)}"
    claim = Claim(what="one request", direction="up" if extra > 0 else "down", magnitude=round(extra, 4), unit="ms",
                  onset_ns=int(view.spans.start_ns[row]), text=text)  # fmt: skip
    return Found(
        rows=rows, total=total, about=about, claim=claim, polarity="for" if polarity == "for" else "against",
        strength=strength if hurt else 0.0,
    )  # fmt: skip
