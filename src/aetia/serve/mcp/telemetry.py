"""How services, topology, signals, traces, logs and changes are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from aetia.serve.mcp.tools import Shaped, Told
from aetia.serve.mcp.values import Json, instant, plain
from aetia.serve.mcp.wording import counted, listed, many, ms, name, sentence, share
from aetia.serve.operations.attributes import AttributeKeysAnswer
from aetia.serve.operations.changes import ChangesAnswer
from aetia.serve.operations.cohorts import CompareAnswer
from aetia.serve.operations.logs import LogsAnswer, TemplatesAnswer
from aetia.serve.operations.metrics import MetricAnswer, MetricsAnswer
from aetia.serve.operations.services import OperationsAnswer, RedAnswer, ServicesAnswer, TopologyAnswer
from aetia.serve.operations.store import StoreAnswer
from aetia.store.backend import MetricSeries

Text = Annotated[str, Meta(min_length=1, max_length=500)]


def services(answer: ServicesAnswer, own: Any) -> Shaped:
    """Those with most errors first."""
    rows = sorted(answer.services, key=lambda row: (-row.errors, -row.requests, row.service))
    return Shaped([plain(row) for row in rows], total=len(rows))


def say_services(told: Told) -> str:
    if not told.rows:
        return "No service has spans in the window."
    failing = [row for row in told.rows if row["errors"]]
    slow = max(told.rows, key=lambda row: row["p99_ms"] or 0.0)
    worst = f"most errors: {name(failing[0]['service'])} with {failing[0]['errors']:,} of {failing[0]['requests']:,}" \
        f" requests ({share(failing[0]['error_share'])})" if failing else ""  # fmt: skip
    return sentence(
        f"{counted(len(told.rows), 'service')} with {sum(row['requests'] for row in told.rows):,} requests, "
        f"{len(failing)} with errors", worst,
        f"highest p99: {name(slow['service'])} with {ms(slow['p99_ms'])}",
    )  # fmt: skip


def operations(answer: OperationsAnswer, own: Any) -> Shaped:
    return Shaped([plain(row) for row in answer.operations])


def say_operations(told: Told) -> str:
    if not told.rows:
        return "No spans in the window."
    worst = max(told.rows, key=lambda row: row["errors"])
    slow = max(told.rows, key=lambda row: row["p99_ms"] or 0.0)
    failing = f"most errors among these: {name(worst['name'])} of {name(worst['service'])} with {worst['errors']:,}" \
        f" ({share(worst['error_share'])})" if worst["errors"] else "none of these has errors"  # fmt: skip
    return sentence(f"{many(len(told.rows), 'operation', more=told.more)}, most requests first", failing,
                    f"highest p99 among these: {name(slow['name'])} with {ms(slow['p99_ms'])}")  # fmt: skip


def stored(answer: StoreAnswer, own: Any) -> Shaped:
    return Shaped([plain(item) for item in answer.extents], total=len(answer.extents))


def say_stored(told: Told) -> str:
    held = [f"{row['rows']:,} {row['signal']}" for row in told.rows if row["rows"]]
    ends = [row["window"][1] for row in told.rows if row["window"]]
    return sentence(
        f"stored: {listed(held) or 'nothing yet'}", f"the latest is of {instant(max(ends))}" if ends else ""
    )


class TopologyArgs(msgspec.Struct, frozen=True, kw_only=True):
    service: Annotated[Text, Meta(description="only calls from or to this service")] | None = None


def topology(answer: TopologyAnswer, own: TopologyArgs) -> Shaped:
    """Those with most errors first."""
    held = [row for row in answer.edges if own.service in (None, row.caller, row.callee)]
    held.sort(key=lambda row: (-row.errors, -row.calls, row.caller, row.callee))
    return Shaped([plain(row) for row in held], total=len(held))


def say_topology(told: Told) -> str:
    if not told.rows:
        return "No calls between services in the window."
    names = {row["caller"] for row in told.rows} | {row["callee"] for row in told.rows}
    first = told.rows[0]
    worst = f"most errors: {name(first['caller'])} → {name(first['callee'])} with {first['errors']:,} of" \
        f" {first['calls']:,} calls" if first["errors"] else "no call failed"  # fmt: skip
    asked = told.own.service
    if asked is None:
        return sentence(f"{counted(len(told.rows), 'edge')} between {counted(len(names), 'service')}", worst)
    callers = sum(row["callee"] == asked for row in told.rows)
    return sentence(f"{name(asked)} is called by {callers} and calls {len(told.rows) - callers}", worst)


def red(answer: RedAnswer, own: Any) -> Shaped:
    """A row per bin."""
    held = answer.red
    bins = zip(held.requests, held.errors, held.p50_ms, held.p95_ms, held.p99_ms, strict=True)
    rows = [
        {"time_ns": held.start_ns + index * held.step_ns, "requests": requests, "errors": errors, "p50_ms": p50,
         "p95_ms": p95, "p99_ms": p99}
        for index, (requests, errors, p50, p95, p99) in enumerate(bins)
    ]  # fmt: skip
    facts = {"step_ns": held.step_ns, "service": answer.service, "operation": answer.operation}
    return Shaped(rows, facts, len(rows), nothing=not any(held.requests))


def say_red(told: Told) -> str:
    rows = [row for row in told.rows if row["requests"]]
    if not rows:
        return "No requests in the window."
    requests, errors = sum(row["requests"] for row in rows), sum(row["errors"] for row in rows)
    worst = max(rows, key=lambda row: row["errors"] / row["requests"])
    slow = max(rows, key=lambda row: row["p95_ms"] or 0.0)
    usual = sorted(row["p95_ms"] or 0.0 for row in rows)[len(rows) // 2]
    failing = f"worst {share(worst['errors'] / worst['requests'])} at {instant(worst['time_ns'])}" if errors else ""
    return sentence(
        f"{requests:,} requests, {errors:,} failed ({share(errors / requests)})", failing,
        f"p95 is {ms(usual)} in the median bin and at most {ms(slow['p95_ms'])} at {instant(slow['time_ns'])}",
    )  # fmt: skip


def metrics(answer: MetricsAnswer, own: Any) -> Shaped:
    return Shaped([plain(row) for row in answer.metrics])


def say_metrics(told: Told) -> str:
    if not told.rows:
        return "No metrics in the window."
    return sentence(f"{many(len(told.rows), 'metric', more=told.more)}, by name; view series shows one")


def series(answer: MetricAnswer, own: Any) -> Shaped:
    """A row per series: least, greatest, mean and last value, and the points from the first to the last known one."""
    rows = [_points(item) for item in answer.series]
    grid = {"step_ns": answer.series[0].step_ns} if answer.series else {}
    return Shaped(rows, {"name": answer.name, **grid})


def _points(item: MetricSeries) -> Json:
    row: Json = {"service": item.service, "instance": item.instance, "node": item.node, "labels": item.labels}
    at = [index for index, value in enumerate(item.values) if value is not None]
    if not at:
        return row
    known = [value for value in item.values if value is not None]
    return row | {
        "least": min(known), "greatest": max(known), "mean": sum(known) / len(known), "last": known[-1],
        "points_begin_ns": item.start_ns + at[0] * item.step_ns, "points": list(item.values[at[0] : at[-1] + 1]),
    }  # fmt: skip


def say_series(told: Told) -> str:
    known = [row for row in told.rows if "greatest" in row]
    if not known:
        return "No points in the window."
    top = max(known, key=lambda row: row["greatest"] - row["least"])
    whose = top.get("service") or top.get("instance") or top.get("node") or "one without a service"
    return sentence(
        f"{many(len(told.rows), 'series', more=told.more)} of {name(told.answer.name)}",
        f"widest range: {name(whose)} from {top['least']:.4g} to {top['greatest']:.4g}, mean {top['mean']:.4g}",
    )  # fmt: skip


def cohorts(answer: CompareAnswer, own: Any) -> Shaped:
    rows = [plain(row) for row in answer.differences]
    facts = {"inside": answer.inside, "outside": answer.outside, "tested": answer.tested,
             "false_discoveries": answer.false_discoveries, "incomplete": answer.incomplete,
             "looked_at": answer.looked_at}  # fmt: skip
    return Shaped(rows, facts, len(rows))


def say_cohorts(told: Told) -> str:
    found: CompareAnswer = told.answer
    if not found.inside or not found.outside:
        which = "none" if not found.inside else "all"
        return sentence(f"{which} of the {found.inside + found.outside:,} requests are in the selection, so there is"
                        " nothing to compare", "give low_ms, high_ms or failed another value")  # fmt: skip
    sure = [row for row in told.rows if row["sure"]]
    head = f"{found.inside:,} requests selected, {found.outside:,} others"
    tested = f"{len(sure)} of {found.tested} values differ surely"
    if not sure:
        return sentence(head, tested)
    first = next((row for row in sure if row["effect"] > 0), sure[0])  # what is there says more than what lacks
    shares = f"in {share(first['share_inside'])} of the selected and {share(first['share_outside'])} of the others"
    return sentence(head, tested, f"first: {name(first['key'])} = {name(first['value'])} {shares}")


class LinesArgs(msgspec.Struct, frozen=True, kw_only=True):
    service: Annotated[Text, Meta(description="of this service alone")] | None = None
    contains: Annotated[Text, Meta(description="lines that hold this text")] | None = None
    severity: Annotated[Text, Meta(description="of this severity, such as error")] | None = None
    trace_id: Annotated[Text, Meta(description="of this trace")] | None = None


def line_filters(own: LinesArgs, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Filters as the operation takes them."""
    made = [f"{field}:=:{value}" for field, value in (
        ("service", own.service), ("severity", own.severity), ("trace_id", own.trace_id)) if value]  # fmt: skip
    made += [f"body:contains:{own.contains}"] if own.contains else []
    return with_filters(given, made)


def with_filters(given: Mapping[str, Any], made: list[str]) -> Mapping[str, Any]:
    """The filters that were given and those made of other arguments; what is no list is left to its check."""
    own = given.get("filter", [])
    return {"filter": [*own, *made]} if isinstance(own, list) else {}


def lines(answer: LogsAnswer, own: Any) -> Shaped:
    return Shaped([plain(row) for row in answer.logs])


def say_lines(told: Told) -> str:
    if not told.rows:
        return "No log line of the window meets the filters."
    levels = Counter(row["severity"] or "without severity" for row in told.rows)
    said = listed([f"{count} {level}" for level, count in levels.most_common()])
    return sentence(f"{many(len(told.rows), 'line', more=told.more)}, newest first: {said}")


def templates(answer: TemplatesAnswer, own: Any) -> Shaped:
    rows = [
        {
            key: value for key, value in plain(row).items()
            if key != "counts" and (value != row.template or key == "template")
        }
        for row in answer.templates
    ]  # fmt: skip
    told = {"before": plain(answer.before), "compared": answer.compared, "complete": answer.complete}
    return Shaped(rows, told if max(answer.one_in) == 1 else {**told, "one_in": list(answer.one_in)})


def say_templates(told: Told) -> str:
    if not told.rows:
        return "No log lines in the window."
    kinds = Counter(row["change"] for row in told.rows)
    first = told.rows[0]
    if "unknown" in kinds:
        said = "the most severe first; nothing is stored of the window before, so none can be called new"
    else:
        each = listed([f"{count} {kind}" for kind, count in kinds.most_common()])
        said = f"those that changed most first: {each} compared with the window before"
    return sentence(
        f"{many(len(told.rows), 'template', more=told.more)}, {said}",
        f"first ({first['change']}, {first['count']:,} now, {first['before']:,} before, {name(first.get('service'))}):"
        f" {name(first['template'])}",
    )  # fmt: skip


def keys(answer: AttributeKeysAnswer, own: Any) -> Shaped:
    return Shaped([{"key": key} for key in answer.keys])


def say_keys(told: Told) -> str:
    return sentence(f"{many(len(told.rows), 'attribute key', more=told.more)}, by name")


def changes(answer: ChangesAnswer, own: Any) -> Shaped:
    return Shaped([_change(plain(row)) for row in answer.changes])


def _change(row: Json) -> Json:
    try:
        return row | {"attributes": msgspec.json.decode(row["attributes"] or "{}")}
    except msgspec.DecodeError:
        return row


def say_changes(told: Told) -> str:
    if not told.rows:
        return "No change was told in the window."
    kinds = Counter(row["kind"] for row in told.rows)
    last = told.rows[-1]
    return sentence(
        f"{many(len(told.rows), 'change', more=told.more)}, in order of time: "
        + listed([f"{count} {kind}" for kind, count in kinds.most_common()]),
        f"the last one here: {last['kind']} of {name(last['service'])} at {instant(last['time_ns'])},"
        f" {name(last['description'])}",
    )  # fmt: skip
