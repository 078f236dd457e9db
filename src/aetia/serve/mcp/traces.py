"""How traces are told, from the search down to the attributes of one span."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from aetia.serve.mcp.telemetry import with_filters
from aetia.serve.mcp.tools import Shaped, Told
from aetia.serve.mcp.values import Json, plain
from aetia.serve.mcp.wording import counted, listed, many, ms, name, sentence, share
from aetia.serve.operations.compare_traces import CompareTracesAnswer
from aetia.serve.operations.traces import TraceAnswer, TracesAnswer
from aetia.serve.operations.waterfall import FAILED, Waterfall
from aetia.serve.problems import Refused

Text = Annotated[str, Meta(min_length=1, max_length=500)]
NS = 1e6


class SearchArgs(msgspec.Struct, frozen=True, kw_only=True):
    service: Annotated[Text, Meta(description="with a span of this service")] | None = None
    operation: Annotated[Text, Meta(description="that has this name")] | None = None
    min_ms: Annotated[float, Meta(ge=0, description="and lasted longer than this")] | None = None
    failed: Annotated[bool, Meta(description="and failed")] = False


def search_filters(own: SearchArgs, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Filters as the operation takes them: one span has to meet them all."""
    made = [f"{field}:=:{value}" for field, value in (("service", own.service), ("name", own.operation)) if value]
    made += [f"duration_ms:>:{own.min_ms:g}"] if own.min_ms is not None else []
    made += ["status:=:error"] if own.failed else []
    return with_filters(given, made)


def search(answer: TracesAnswer, own: Any) -> Shaped:
    return Shaped([plain(row) for row in answer.traces])


def say_search(told: Told) -> str:
    if not told.rows:
        return "No trace of the window meets the filters."
    slow = max(told.rows, key=lambda row: row["duration_ms"])
    failed = sum(row["errors"] > 0 for row in told.rows)
    return sentence(
        f"{many(len(told.rows), 'trace', more=told.more)}, {failed} of these with errors",
        f"slowest of these: {slow['trace_id']} with {ms(slow['duration_ms'])}, {name(slow['service'])}"
        f" {name(slow['name'])}, {counted(slow['spans'], 'span')}, {slow['errors']} failed",
    )  # fmt: skip


def parts(answer: Waterfall, own: Any) -> Shaped:
    """One trace summed up: a row per service and operation, what the trace waited for longest first."""
    sums: dict[tuple[int, int], list[int]] = {}
    columns = zip(answer.service, answer.name, answer.flags, answer.duration, answer.self_time, answer.critical,
                  strict=True)  # fmt: skip
    for service, operation, flags, duration, alone, critical in columns:
        held = sums.setdefault((service, operation), [0, 0, 0, 0, 0])
        held[0] += 1
        held[1] += flags & FAILED
        held[2] = max(held[2], duration)
        held[3] += alone
        held[4] += critical
    ordered = sorted(sums.items(), key=lambda item: (-item[1][4], -item[1][3], item[0]))
    rows: list[Json] = [
        {"service": answer.services[service], "operation": answer.names[operation], "spans": held[0],
         "failed": held[1], "longest_ms": held[2] / NS, "self_ms": held[3] / NS, "critical_ms": held[4] / NS}
        for (service, operation), held in ordered
    ]  # fmt: skip
    return Shaped(rows, _head(answer), len(rows))


def _head(answer: Waterfall) -> Json:
    return {"trace": {"trace_id": answer.trace_id, "start_ns": answer.start_ns, "duration_ns": answer.duration_ns,
                      "spans": answer.total, "failed": answer.errors, "services": len(answer.services),
                      "depth": max(answer.depth, default=0)}}  # fmt: skip


def say_parts(told: Told) -> str:
    answer: Waterfall = told.answer
    first = told.rows[0]
    whole = answer.duration_ns / NS
    return sentence(
        f"trace {answer.trace_id} took {ms(whole)}: {counted(answer.total, 'span')} of"
        f" {counted(len(answer.services), 'service')}, {answer.errors} failed",
        f"it waited longest for {name(first['service'])} {name(first['operation'])}: {ms(first['critical_ms'])}"
        f" ({share(first['critical_ms'] / whole if whole else 0.0)})",
        "only the longest spans were looked at" if answer.truncated else "",
    )  # fmt: skip


def path(answer: Waterfall, own: Any) -> Shaped:
    """The critical path as segments in order of time; neighbours of one service and operation are one row."""
    rows: list[Json] = []
    for row, start, end in answer.path:
        service, operation = answer.services[answer.service[row]], answer.names[answer.name[row]]
        if rows and (rows[-1]["service"], rows[-1]["operation"]) == (service, operation) and \
                abs(rows[-1]["to_ms"] - start / NS) < 1e-3:  # fmt: skip
            rows[-1]["to_ms"], rows[-1]["ms"] = end / NS, rows[-1]["ms"] + (end - start) / NS
        else:
            rows.append({"service": service, "operation": operation, "span_id": answer.ids[row],
                         "from_ms": start / NS, "to_ms": end / NS, "ms": (end - start) / NS,
                         "failed": bool(answer.flags[row] & FAILED)})  # fmt: skip
    return Shaped(rows, _head(answer), len(rows))


def say_path(told: Told) -> str:
    if not told.rows:
        return "The trace has no critical path."
    top = max(told.rows, key=lambda row: row["ms"])
    order = list(dict.fromkeys(row["service"] for row in told.rows))
    return sentence(
        f"the critical path has {counted(len(told.rows), 'segment')} over {listed([name(item) for item in order])}",
        f"the longest is {name(top['service'])} {name(top['operation'])} with {ms(top['ms'])}, from"
        f" {ms(top['from_ms'])} on",
    )  # fmt: skip


class SpansArgs(msgspec.Struct, frozen=True, kw_only=True):
    service: Annotated[Text, Meta(description="spans of this service alone")] | None = None
    failed: Annotated[bool, Meta(description="failed spans alone")] = False


_BRIEF = ("span_id", "parent_span_id", "service", "name", "kind", "time_ns", "duration_ns", "status", "status_message")


def spans(answer: TraceAnswer, own: SpansArgs) -> Shaped:
    """Spans without their attributes, in order of start."""
    held = [span for span in answer.spans if own.service in (None, span.service)]
    held = [span for span in held if not own.failed or (span.status or "").lower() == "error"]
    if own.service is not None and not held and not own.failed:
        known = listed(sorted({span.service for span in answer.spans}), 10)
        where = f"trace {answer.trace_id}, {counted(len(answer.spans), 'span')}"
        raise Refused("not_found", f"the trace has no span of '{own.service[:80]}'.", searched=where,
                      try_=f"one of {known}")  # fmt: skip
    rows = [{key: value for key, value in plain(span).items() if key in _BRIEF} for span in held]
    return Shaped(rows, {"trace_id": answer.trace_id, "spans": answer.total, "looked_at": len(answer.spans)}, len(rows))


def say_spans(told: Told) -> str:
    failed = sum((row["status"] or "").lower() == "error" for row in told.rows)
    rest = f"only the first {len(told.answer.spans):,} of {told.answer.total:,} spans were looked at" \
        if told.answer.truncated else ""  # fmt: skip
    return sentence(
        f"{counted(len(told.rows), 'span')} of {told.answer.total:,}, in order of start; {failed} failed", rest
    )


class SpanArgs(msgspec.Struct, frozen=True, kw_only=True):
    span_id: Annotated[Text, Meta(description="id of one span of the trace")]


def span(answer: TraceAnswer, own: SpanArgs) -> Shaped:
    """One span with all that is known of it: a row per attribute."""
    found = next((item for item in answer.spans if item.span_id == own.span_id), None)
    if found is None:
        raise Refused(
            "not_found", f"the trace has no span '{own.span_id[:80]}'.",
            searched=f"the first {counted(len(answer.spans), 'span')} of trace {answer.trace_id}",
            try_="view spans has the ids",
        )  # fmt: skip
    held = plain(found)
    rows = [{"of": place, "key": key, "value": value} for place in ("attributes", "resource")
            for key, value in sorted(held.pop(place).items())]  # fmt: skip
    for place in ("events", "links"):
        rows += [{"of": place, "value": item} for item in _listed(held.pop(place))]
    return Shaped(rows, {"span": held}, len(rows))


def _listed(text: str | None) -> list[Any]:
    """Events or links, which are kept as JSON."""
    try:
        found = msgspec.json.decode(text or "[]")
    except msgspec.DecodeError:
        return [text]
    return list(found) if isinstance(found, list) else [found]  # pyright: ignore[reportUnknownArgumentType]


def say_span(told: Told) -> str:
    found = next(item for item in told.answer.spans if item.span_id == told.own.span_id)
    return sentence(
        f"{found.kind or 'span'} {name(found.name)} of {name(found.service)} took {ms(found.duration_ns / NS)}, status"
        f" {found.status or 'unset'}{': ' + name(found.status_message) if found.status_message else ''}",
        f"{len(found.attributes)} attributes, {len(found.resource)} of the resource",
    )  # fmt: skip


def pair(answer: CompareTracesAnswer, own: Any) -> Shaped:
    rows: list[Json] = []
    for item in answer.paths:
        row = plain(item)
        row["path"] = " > ".join(f"{service} {operation}".strip() for service, operation in item.path[-4:])
        rows.append({key: value for key, value in row.items() if key not in ("service", "operation")})
    return Shaped(rows, {"this": plain(answer.this), "other": plain(answer.other)})


def say_pair(told: Told) -> str:
    answer: CompareTracesAnswer = told.answer
    first = answer.paths[0] if answer.paths else None
    longer = "longer" if answer.duration_ms >= 0 else "shorter"
    return sentence(
        f"this trace took {ms(answer.this.duration_ms)}, {ms(abs(answer.duration_ms))} {longer} than the other",
        f"the wait differs most at {name(first.service)} {name(first.operation)}: {ms(first.critical_ms)}"
        if first else "",
    )  # fmt: skip
