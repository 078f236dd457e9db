"""What the HTML page shows beside the diagnosis: call graph, two traces, changed log templates."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from aetia.model.diagnosis import Diagnosis
from aetia.report import wording
from aetia.report.timelines import BINS, Timeline, timelines
from aetia.signals.critical_path import critical_path
from aetia.signals.frames import I64, SEVERITY_WARN, Bool, SpanFrame
from aetia.signals.view import View

GRAPH_NODES = 22
TRACE_ROWS = 40
TEMPLATE_ROWS = 10
MIN_EXPECTED = 5.0
"""A template that was expected fewer times than this in the incident may be absent by chance (p > 0.006)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphNode:
    name: str
    root: bool = False
    on_path: bool = False
    entry: bool = False
    external: bool = False
    probability: float | None = None
    rank: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphEdge:
    """A call from node `caller` to node `callee` (positions). `spread`: the fault travelled along it, from
    the callee back to the caller when `backwards`."""

    caller: int
    callee: int
    calls: int
    spread: bool = False
    backwards: bool = True
    failed_before: float | None = None
    failed: float | None = None
    """Share of the calls that failed, in the baseline and in the incident; None where none was recorded as a span."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallGraph:
    nodes: tuple[GraphNode, ...]
    edges: tuple[GraphEdge, ...]
    hidden: int
    """Services that are not drawn because they are far from the fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRow:
    """One span, in ns from the start of the trace; `critical` lists when the request waited for it."""

    service: str
    operation: str
    depth: int
    start_ns: int
    duration_ns: int
    error: bool
    blamed: bool
    critical: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleTrace:
    kind: Literal["bad", "good"]
    rows: tuple[TraceRow, ...]
    hidden: int
    start_ns: int
    duration_ns: int
    errors: int
    trace_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedTemplate:
    """A log template that appeared or vanished: `count` lines in the incident, `expected` by the baseline's
    rate; `counts` from the baseline on, per bin of `step_ns` since `start_ns`."""

    text: str
    services: tuple[str, ...]
    severity: int
    count: int
    expected: float
    appeared: bool
    start_ns: int = 0
    step_ns: int = 0
    counts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibits:
    graph: CallGraph | None = None
    traces: tuple[ExampleTrace, ...] = ()
    templates: tuple[ChangedTemplate, ...] = ()
    timelines: tuple[Timeline, ...] = ()


def collect(diagnosis: Diagnosis, view: View) -> Exhibits:
    """Everything the page draws that is not in the diagnosis itself."""
    return Exhibits(
        graph=call_graph(diagnosis, view),
        traces=example_traces(diagnosis, view),
        templates=changed_templates(view),
        timelines=timelines(diagnosis, view),
    )


def call_graph(diagnosis: Diagnosis, view: View, limit: int = GRAPH_NODES) -> CallGraph | None:
    """The services around the fault, at most `limit`; None when no call graph is known."""
    calls, hops = _calls(view), {(hop.source, hop.target) for hop in diagnosis.propagation}
    known = {name for pair in calls for name in pair} | {name for pair in hops for name in pair}
    if not calls and not hops:
        return None
    entries = _hurt_services(diagnosis)
    roots = [name for root in wording.roots(diagnosis) if (name := _graph_name(root.entity)) and name in known]
    chosen = _near([*roots, *(name for pair in sorted(hops) for name in pair), *entries], entries, calls, known, limit)
    position = {name: index for index, name in enumerate(chosen)}
    nodes = _nodes(chosen, diagnosis, view, hops=hops, roots=set(roots), entries=entries)
    edges: list[GraphEdge] = []
    failing = _failing_calls(view)
    for (caller, callee), count in sorted(calls.items()):
        if caller in position and callee in position:
            back, forth = (callee, caller) in hops, (caller, callee) in hops
            before, now = failing.get((caller, callee), (None, None))
            edges.append(
                GraphEdge(
                    caller=position[caller],
                    callee=position[callee],
                    calls=count,
                    spread=back or forth,
                    backwards=back,
                    failed_before=before,
                    failed=now,
                )
            )
    drawn = {frozenset((chosen[edge.caller], chosen[edge.callee])) for edge in edges if edge.spread}
    for source, target in sorted(hops):
        if frozenset((source, target)) not in drawn and source != target:
            edges.append(GraphEdge(caller=position[target], callee=position[source], calls=0, spread=True))
    return CallGraph(nodes=nodes, edges=tuple(edges), hidden=len(known) - len(chosen))


def _calls(view: View) -> dict[tuple[str, str], int]:
    names, topology = view.names.services, view.topology
    found: dict[tuple[str, str], int] = {}
    for caller, callee, count in zip(
        topology.caller.tolist(), topology.callee.tolist(), topology.calls.tolist(), strict=True
    ):
        pair = names[caller], names[callee]
        found[pair] = found.get(pair, 0) + count
    return found


def _failing_calls(view: View) -> dict[tuple[str, str], tuple[float | None, float | None]]:
    """Share of failed calls per (caller, callee), in the baseline and in the incident, of calls whose callee has
    spans."""
    spans, names = view.spans, view.names.services
    rows = np.flatnonzero((spans.parent >= 0) & (spans.service >= 0))
    caller, callee = spans.service[spans.parent[rows]].astype(np.int64), spans.service[rows].astype(np.int64)
    crossing = (caller != callee) & (caller >= 0)
    rows, key = rows[crossing], (caller * len(names) + callee)[crossing]
    pairs, code = np.unique(key, return_inverse=True)
    shares: list[list[float | None]] = []
    for mask in view.span_masks:
        inside = mask[rows]
        count = np.bincount(code[inside], minlength=len(pairs))
        failed = np.bincount(code[inside & spans.error[rows]], minlength=len(pairs))
        shares.append([f / n if n else None for f, n in zip(failed.tolist(), count.tolist(), strict=True)])
    found = zip(pairs.tolist(), *shares, strict=True)
    return {(names[pair // len(names)], names[pair % len(names)]): (before, now) for pair, before, now in found}


def _graph_name(entity: object) -> str | None:
    return getattr(entity, "service", None) or getattr(entity, "name", None)


def _hurt_services(diagnosis: Diagnosis) -> tuple[str, ...]:
    breaches = diagnosis.incident.breaches if diagnosis.incident else ()
    return tuple(dict.fromkeys(found.entry.service for found in breaches if found.entry.service))


def _near(
    wanted: list[str],
    entries: tuple[str, ...],
    calls: dict[tuple[str, str], int],
    known: set[str],
    limit: int,
) -> list[str]:
    """The wanted services, shortest call paths to them from the hurt entries, then busy neighbours."""
    after: dict[str, list[str]] = {}
    around: dict[str, list[tuple[int, str]]] = {}
    for (caller, callee), count in sorted(calls.items()):
        after.setdefault(caller, []).append(callee)
        around.setdefault(caller, []).append((count, callee))
        around.setdefault(callee, []).append((count, caller))
    wanted = [name for name in dict.fromkeys(wanted) if name in known]
    chosen = dict.fromkeys(wanted[:limit])
    for name in _on_paths(entries, wanted, after):
        if len(chosen) < limit:
            chosen.setdefault(name)
    queue = deque(chosen or sorted(known, key=lambda name: (-sum(c for c, _ in around.get(name, [])), name))[:1])
    chosen.update(dict.fromkeys(queue))
    while queue and len(chosen) < limit:
        for _, name in sorted(around.get(queue.popleft(), []), key=lambda item: (-item[0], item[1])):
            if name not in chosen and len(chosen) < limit:
                chosen[name] = None
                queue.append(name)
    return list(chosen)


def _on_paths(entries: Iterable[str], targets: Iterable[str], after: dict[str, list[str]]) -> Iterable[str]:
    """Services on a shortest call path from an entry to a target, by breadth-first search."""
    found: dict[str, None] = {}
    goals = set(targets)
    for entry in entries:
        came: dict[str, str | None] = {entry: None}
        queue = deque([entry])
        while queue:
            name = queue.popleft()
            for callee in after.get(name, []):
                if callee not in came:
                    came[callee] = name
                    queue.append(callee)
        for goal in sorted(goals & came.keys()):
            step: str | None = goal
            while step is not None:
                found.setdefault(step)
                step = came[step]
    return found


def _nodes(
    chosen: list[str],
    diagnosis: Diagnosis,
    view: View,
    *,
    hops: set[tuple[str, str]],
    roots: set[str],
    entries: Iterable[str],
) -> tuple[GraphNode, ...]:
    ranks: dict[str, tuple[int, float | None]] = {}
    for rank, item in enumerate(diagnosis.hypotheses, start=1):
        ranks.setdefault(_graph_name(item.entity) or "", (rank, item.probability))
    touched = {name for pair in hops for name in pair}
    external, hurt = view.topology.external, set(entries)
    nodes: list[GraphNode] = []
    for name in chosen:
        code = view.names.service_code(name)
        rank, probability = ranks.get(name, (None, None))
        nodes.append(
            GraphNode(
                name=name,
                root=name in roots,
                on_path=name in touched,
                entry=name in hurt,
                external=bool(0 <= code < len(external) and external[code]),
                probability=probability,
                rank=rank,
            )
        )
    return tuple(nodes)


def example_traces(diagnosis: Diagnosis, view: View) -> tuple[ExampleTrace, ...]:
    """A typical bad request of the incident that passes the root cause, and a good one of the same kind."""
    spans = view.spans
    if len(spans) == 0:
        return ()
    blamed = {name for root in wording.roots(diagnosis) if (name := _graph_name(root.entity))}
    codes = [code for name in sorted(blamed) if (code := view.names.service_code(name)) >= 0]
    baseline, incident = view.span_masks
    tops = np.flatnonzero((spans.parent < 0) & incident)
    if len(tops) == 0:
        return ()
    bad = _bad_top(spans, tops, codes)
    same = np.flatnonzero((spans.parent < 0) & baseline & (spans.operation == spans.operation[bad]))
    traces = [_example("bad", view, bad, blamed)]
    if len(same):
        traces.append(_example("good", view, _good_top(spans, same, codes), blamed))
    return tuple(traces)


def _touching(spans: SpanFrame, codes: list[int], only: Bool | None = None) -> Bool:
    """Tops (as a mask over rows) whose trace has a span of one of the services, among the rows of `only`."""
    rows = np.isin(spans.service, codes) | np.isin(spans.peer, codes)
    touched = np.zeros(len(spans), np.bool_)
    touched[spans.root[rows if only is None else rows & only]] = True
    return touched


def _failing(spans: SpanFrame) -> Bool:
    failed = np.zeros(len(spans), np.bool_)
    failed[spans.root[spans.error]] = True
    return failed


def _bad_top(spans: SpanFrame, tops: I64, codes: list[int]) -> int:
    """Of the traces through the blamed services: one of median length that failed, else a slow one (p95)."""
    for keep in (_touching(spans, codes, spans.error), _touching(spans, codes)):
        if keep[tops].any():
            tops = tops[keep[tops]]
            break
    failed = _failing(spans)[tops]
    if failed.any():
        return _quantile_row(spans, tops[failed], 0.5)
    return _quantile_row(spans, tops, 0.95)


def _good_top(spans: SpanFrame, tops: I64, codes: list[int]) -> int:
    """The trace of median length without an error, through the blamed services when there is one."""
    for keep in (~_failing(spans), _touching(spans, codes)):
        if keep[tops].any():
            tops = tops[keep[tops]]
    return _quantile_row(spans, tops, 0.5)


def _quantile_row(spans: SpanFrame, rows: I64, q: float) -> int:
    order = rows[np.lexsort((rows, spans.duration_ns[rows]))]
    return int(order[min(int(q * len(order)), len(order) - 1)])


def _example(kind: Literal["bad", "good"], view: View, top: int, blamed: set[str]) -> ExampleTrace:
    spans = view.spans
    rows = np.flatnonzero(spans.root == top)
    path = critical_path(spans, top)
    waited: dict[int, list[tuple[int, int]]] = {}
    start = int(spans.start_ns[top])
    for row, begin, end in zip(path.row.tolist(), path.start_ns.tolist(), path.end_ns.tolist(), strict=True):
        if end > begin:
            waited.setdefault(row, []).append((begin - start, end - start))
    ordered = _in_tree_order(spans, rows)
    kept = _most_telling(spans, ordered, waited)
    ends = spans.start_ns[rows] + np.maximum(spans.duration_ns[rows], 0)
    return ExampleTrace(
        kind=kind,
        rows=tuple(_trace_row(view, row, start, waited, blamed) for row in kept),
        hidden=len(ordered) - len(kept),
        start_ns=start,
        duration_ns=int(max(spans.duration_ns[top], ends.max() - start, 1)),
        errors=int(spans.error[rows].sum()),
        trace_id=_trace_id(view, top),
    )


def _trace_id(view: View, row: int) -> str:
    """Of the trace that a span belongs to; empty where the table has none."""
    column = view.facts.telemetry.spans.column("trace_id")
    return column[int(view.spans.source_row[row])].as_py() or "" if len(view.spans.source_row) else ""


def _in_tree_order(spans: SpanFrame, rows: I64) -> list[int]:
    """Rows of one trace, each parent before its children, siblings by start; iterative, for any depth."""
    children: dict[int, list[int]] = {}
    tops: list[int] = []
    for row, parent in zip(rows.tolist(), spans.parent[rows].tolist(), strict=True):
        (children.setdefault(parent, []) if parent >= 0 else tops).append(row)
    ordered: list[int] = []
    stack = tops[::-1]
    while stack:
        row = stack.pop()
        ordered.append(row)
        stack.extend(sorted(children.get(row, []), key=lambda i: (int(spans.start_ns[i]), i), reverse=True))
    return ordered


def _most_telling(spans: SpanFrame, ordered: list[int], waited: dict[int, list[tuple[int, int]]]) -> list[int]:
    """At most TRACE_ROWS rows: errors and the longest waits first, then the longest spans; order kept."""
    if len(ordered) <= TRACE_ROWS:
        return ordered
    worth = {
        row: (
            bool(spans.error[row]) or spans.parent[row] < 0,
            sum(end - begin for begin, end in waited.get(row, [])),
            int(spans.duration_ns[row]),
        )
        for row in ordered
    }
    kept = set(sorted(ordered, key=lambda row: worth[row], reverse=True)[:TRACE_ROWS])
    return [row for row in ordered if row in kept]


def _trace_row(
    view: View, row: int, start: int, waited: dict[int, list[tuple[int, int]]], blamed: set[str]
) -> TraceRow:
    spans, names = view.spans, view.names
    service = names.services[spans.service[row]] if spans.service[row] >= 0 else "unknown"
    code = int(spans.operation[row])
    return TraceRow(
        service=service,
        operation=names.operations[code][1] if code >= 0 else "",
        depth=int(spans.depth[row]),
        start_ns=int(spans.start_ns[row]) - start,
        duration_ns=int(spans.duration_ns[row]),
        error=bool(spans.error[row]),
        blamed=service in blamed,
        critical=tuple(waited.get(row, [])),
    )


def changed_templates(view: View) -> tuple[ChangedTemplate, ...]:
    """Templates that appeared in the incident or vanished from it, worst severity and largest count first."""
    logs = view.logs
    if len(logs) == 0 or not logs.templates:
        return ()
    kinds = len(logs.templates)
    baseline, incident = view.log_masks
    before = np.bincount(logs.template[baseline & (logs.template >= 0)], minlength=kinds)
    after = np.bincount(logs.template[incident & (logs.template >= 0)], minlength=kinds)
    seconds = sum(window.seconds for window in view.baseline_of("logs"))
    if before.sum() == 0 or seconds <= 0:
        return ()
    expected = before * (view.incident.seconds / seconds)
    appeared, vanished = (before == 0) & (after > 0), (after == 0) & (expected >= MIN_EXPECTED)
    severity = np.array([item.severity for item in logs.templates])
    found: list[ChangedTemplate] = []
    for mask, weight in ((appeared, after), (vanished, expected)):
        codes = np.flatnonzero(mask)
        best = codes[np.lexsort((codes, -weight[codes], -np.maximum(severity[codes], SEVERITY_WARN - 1)))]
        for code in best[:TEMPLATE_ROWS].tolist():
            found.append(_changed(view, code, int(after[code]), float(expected[code]), appeared=bool(appeared[code])))
    return tuple(found)


def _changed(view: View, code: int, count: int, expected: float, *, appeared: bool) -> ChangedTemplate:
    logs, names = view.logs, view.names
    services = np.unique(logs.service[logs.template == code])
    template = logs.templates[code]
    start = min(window.start_ns for window in view.baseline_of("logs"))
    step = -(-(view.incident.end_ns - start) // BINS)
    at = (logs.time_ns[logs.template == code] - start) // step
    counts = np.bincount(at[(at >= 0) & (at < BINS)], minlength=BINS)
    return ChangedTemplate(
        text=template.text,
        services=tuple(names.services[i] for i in services.tolist() if i >= 0),
        severity=template.severity,
        count=count,
        expected=expected,
        appeared=appeared,
        start_ns=start,
        step_ns=step,
        counts=tuple(counts.tolist()),
    )
