"""Drawings of the HTML page as inline SVG: call graph, chart of a signal, trace waterfall. Colours are CSS classes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from aetia.model.diagnosis import Incident
from aetia.report import wording
from aetia.report.exhibits import CallGraph, ExampleTrace, GraphEdge, GraphNode, TraceRow
from aetia.report.layout import layered

NODE_W, NODE_H, GAP_X, GAP_Y, MARGIN = 144, 38, 56, 16, 14
CHART_W, CHART_H, LEFT, RIGHT, TOP, BOTTOM = 520, 170, 62, 10, 12, 24
PLOT_W, PLOT_H = CHART_W - LEFT - RIGHT, CHART_H - TOP - BOTTOM
GRAPH_W = 1040
"""A graph narrower than this is centred and not blown up."""
ROW_H, LABEL_W, BAR_W, TIME_W = 20, 330, 520, 84


def text(value: object, limit: int = 120) -> str:
    """Telemetry text for HTML: one line, cut, escaped."""
    return escape(wording.plain(value, limit), quote=True)


def call_graph(graph: CallGraph) -> str:
    """The services around the fault; callers left, callees right; the way of the fault is drawn on top."""
    drawn = layered(len(graph.nodes), [(edge.caller, edge.callee) for edge in graph.edges])
    width = 2 * MARGIN + drawn.layers * NODE_W + (drawn.layers - 1) * GAP_X
    height = 2 * MARGIN + (drawn.height - 1) * (NODE_H + GAP_Y) + NODE_H
    shown = max(width, GRAPH_W)
    parts = [
        f'<svg class="graph" viewBox="{(width - shown) / 2:.0f} 0 {shown} {height:.0f}" role="group"'
        ' aria-label="Call graph around the root cause">',
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
        ' orient="auto-start-reverse"><path d="M0 0 L8 4 L0 8 z" class="tip"/></marker>'
        '<marker id="arrow-hot" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="5" markerHeight="5"'
        ' orient="auto-start-reverse"><path d="M0 0 L8 4 L0 8 z" class="tip hot"/></marker></defs>',
    ]
    routed = sorted(zip(graph.edges, drawn.routes, strict=True), key=lambda item: item[0].spread)
    parts.extend(_edge(edge, route, graph) for edge, route in routed)
    parts.extend(_node(node, *place) for node, place in zip(graph.nodes, drawn.place, strict=True))
    return "".join([*parts, "</svg>"])


def _corner(layer: int, row: float) -> tuple[float, float]:
    return MARGIN + layer * (NODE_W + GAP_X), MARGIN + row * (NODE_H + GAP_Y)


def _edge(edge: GraphEdge, route: Sequence[tuple[int, float]], graph: CallGraph) -> str:
    points: list[tuple[float, float]] = []
    for index, (layer, row) in enumerate(route):
        x, y = _corner(layer, row)
        rightwards = route[-1][0] >= route[0][0]
        if index == 0:
            points.append((x + (NODE_W if rightwards else 0), y + NODE_H / 2))
        elif index == len(route) - 1:
            points.append((x + (0 if rightwards else NODE_W), y + NODE_H / 2))
        else:
            points += [(x, y + NODE_H / 2), (x + NODE_W, y + NODE_H / 2)][:: 1 if rightwards else -1]
    caller, callee = graph.nodes[edge.caller].name, graph.nodes[edge.callee].name
    title = f"{text(caller)} calls {text(callee)}" + (f", {wording.number(edge.calls)} times" if edge.calls else "")
    if not edge.spread:
        return f'<path class="edge" d="{_curve(points)}" marker-end="url(#arrow)"><title>{title}</title></path>'
    if edge.backwards:
        points.reverse()
        caller, callee = callee, caller
    title += f"; the fault spread from {text(caller)} to {text(callee)}"
    return f'<path class="edge hot" d="{_curve(points)}" marker-end="url(#arrow-hot)"><title>{title}</title></path>'


def _curve(points: Sequence[tuple[float, float]]) -> str:
    """Smooth path through the points: flat at each of them."""
    (x, y), *rest = points
    steps = [f"M{x:.1f} {y:.1f}"]
    for nx, ny in rest:
        bend = max(abs(nx - x) / 2, 12) * (1 if nx >= x else -1)
        steps.append(f"C{x + bend:.1f} {y:.1f} {nx - bend:.1f} {ny:.1f} {nx:.1f} {ny:.1f}")
        x, y = nx, ny
    return " ".join(steps)


def _node(node: GraphNode, layer: int, row: float) -> str:
    x, y = _corner(layer, row)
    marks = (("root", node.root), ("touched", node.on_path), ("hurt", node.entry), ("external", node.external))
    classes = " ".join(["node", *(name for name, held in marks if held)])
    notes = [
        "root cause" if node.root else "",
        wording.percent(node.probability) if node.probability is not None and node.rank else "",
        "users hurt here" if node.entry else "",
        "external" if node.external else "",
    ]
    note = " · ".join(filter(None, notes))
    label = text(f"{node.name}{', ' + note if note else ''}")
    middle = y + NODE_H / 2
    name_y = middle - 2 if note else middle + 4
    body = (
        f'<g class="{classes}" aria-label="{label}"><title>{label}</title>'
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{NODE_W}" height="{NODE_H}" rx="8"/>'
        f'<text x="{x + NODE_W / 2:.1f}" y="{name_y:.1f}" class="name">{text(node.name, 21)}</text>'
        + (f'<text x="{x + NODE_W / 2:.1f}" y="{middle + 12:.1f}" class="note">{text(note, 30)}</text>' if note else "")
        + "</g>"
    )
    return f'<a href="#rank-{node.rank}">{body}</a>' if node.rank else body


@dataclass(frozen=True, slots=True)
class _Scale:
    """From times and values to the pixels of a chart."""

    first: float
    last: float
    low: float
    high: float

    def x(self, time_ns: float) -> float:
        return LEFT + PLOT_W * min(max((time_ns - self.first) / (self.last - self.first), 0.0), 1.0)

    def y(self, value: float) -> float:
        clipped = min(max(value, self.low), self.high)
        return TOP + PLOT_H * (1 - (clipped - self.low) / (self.high - self.low))


def chart(title: str, found: wording.Chart, incident: Incident | None) -> str:
    """A signal over time with the band of its baseline (5th to 95th percentile) and the incident shaded."""
    known = [value for value in found.values if value is not None]
    low, high = min(known), max(known)
    if high - low >= 0.3 * high:
        low = min(low, 0.0)  # a signal that moves little in proportion to its level would be a flat line
    end = found.start_ns + len(found.values) * found.step_ns
    scale = _Scale(found.start_ns, end, low, max(high, low + _least_room(low, high)))
    extremes = f"lowest {wording.quantity(min(known), found.unit)}, highest {wording.quantity(high, found.unit)}"
    label = text(f"{title}; {extremes}", 300)
    return "".join(
        [
            f'<svg class="chart" viewBox="0 0 {CHART_W} {CHART_H}" role="img" aria-label="{label}">',
            *_background(found, incident, scale),
            *_axes(found, scale),
            *_signal(found, scale),
            "</svg>",
        ]
    )


def _least_room(low: float, high: float) -> float:
    """The smallest range that an axis can show: far above the resolution of a float of that size."""
    size = max(abs(low), abs(high))
    return max(1e-9 * size, 1e-200) if high > low else max(1.0, 1e-2 * size)


def _background(found: wording.Chart, incident: Incident | None, scale: _Scale) -> Iterator[str]:
    if incident is not None and incident.window.end_ns > scale.first and incident.window.start_ns < scale.last:
        left, right = scale.x(incident.window.start_ns), scale.x(incident.window.end_ns)
        yield f'<rect class="shade" x="{left:.1f}" y="{TOP}" width="{right - left:.1f}" height="{PLOT_H}"/>'
        yield f'<line class="onset" x1="{left:.1f}" x2="{left:.1f}" y1="{TOP}" y2="{TOP + PLOT_H}"/>'
    band = _band(found, incident)
    if band is not None:
        bottom, middle, top = (scale.y(value) for value in band)
        height = max(bottom - top, 1.5)
        yield f'<rect class="band" x="{LEFT}" y="{top:.1f}" width="{PLOT_W}" height="{height:.1f}"/>'
        yield f'<line class="median" x1="{LEFT}" x2="{LEFT + PLOT_W}" y1="{middle:.1f}" y2="{middle:.1f}"/>'


def _axes(found: wording.Chart, scale: _Scale) -> Iterator[str]:
    for tick in _ticks(scale.low, scale.high):
        y, named = scale.y(tick), text(wording.quantity(tick, found.unit), 14)
        yield f'<line class="grid" x1="{LEFT}" x2="{LEFT + PLOT_W}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="tick end" x="{LEFT - 6}" y="{y + 4:.1f}">{named}</text>'
    begin, end = (wording.moment(int(at), day=False) for at in (scale.first, scale.last))
    yield f'<text class="tick" x="{LEFT}" y="{CHART_H - 6}">{begin}</text>'
    yield f'<text class="tick end" x="{LEFT + PLOT_W}" y="{CHART_H - 6}">{end} UTC</text>'


def _signal(found: wording.Chart, scale: _Scale) -> Iterator[str]:
    """The line itself, and one invisible strip per point that shows its value under the pointer."""
    times = [found.start_ns + index * found.step_ns for index in range(len(found.values))]
    points = [
        (scale.x(at + found.step_ns / 2), scale.y(value)) if value is not None else None
        for at, value in zip(times, found.values, strict=True)
    ]
    yield f'<path class="line" d="{_polyline(points)}"/>'
    half = PLOT_W / len(points) / 2
    for at, value, point in zip(times, found.values, points, strict=True):
        if point is not None:
            title = f"{wording.moment(at, day=False)}: {text(wording.quantity(value, found.unit), 24)}"
            yield f'<rect class="hit" x="{point[0] - half:.1f}" y="{TOP}" width="{2 * half:.1f}" height="{PLOT_H}">'
            yield f"<title>{title}</title></rect>"


def _band(found: wording.Chart, incident: Incident | None) -> tuple[float, float, float] | None:
    """5th percentile, median and 95th percentile of the points before the incident; None below four points."""
    if incident is None:
        return None
    before = sorted(
        value
        for index, value in enumerate(found.values)
        if value is not None and incident.baseline.contains(found.start_ns + index * found.step_ns)
    )
    if len(before) < 4:
        return None
    low, middle, high = (before[round(q * (len(before) - 1))] for q in (0.05, 0.5, 0.95))
    return low, middle, high


def _ticks(low: float, high: float) -> Iterator[float]:
    """Three to five round numbers between the limits; `high` lies above `low`."""
    step = 10 ** math.floor(math.log10((high - low) / 2))
    while (high - low) / step > 4:
        step *= 2 if (high - low) / step <= 8 else 5
    # Counted, because a step may be too small to change a large number.
    first = math.ceil(low / step)
    yield from (index * step for index in range(first, first + 8) if index * step <= high + step * 1e-9)


def _polyline(points: Sequence[tuple[float, float] | None]) -> str:
    """A path that breaks where a point is missing; a point alone becomes a short dash."""
    steps: list[str] = []
    pen = False
    for index, point in enumerate(points):
        if point is None:
            pen = False
            continue
        x, y = point
        alone = not pen and (index + 1 == len(points) or points[index + 1] is None)
        steps.append(f"M{x - 2:.1f} {y:.1f}H{x + 2:.1f}" if alone else f"{'L' if pen else 'M'}{x:.1f} {y:.1f}")
        pen = True
    return "".join(steps)


def waterfall(trace: ExampleTrace, longest_ns: int) -> str:
    """Spans of one trace as bars on a common scale; what the request waited for is solid, the rest pale."""
    width, height = LABEL_W + BAR_W + TIME_W, ROW_H * (len(trace.rows) + 1) + 6
    label = f"{trace.kind} trace, {len(trace.rows)} spans, {wording.duration_ns(trace.duration_ns)}"
    parts = [f'<svg class="waterfall" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">']
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, at = LABEL_W + BAR_W * share, wording.duration_ns(longest_ns * share) if share else "0"
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{ROW_H - 4}" y2="{height}"/>')
        parts.append(f'<text class="tick mid" x="{x:.1f}" y="{ROW_H - 8}">{at}</text>')
    parts.extend(_bar(row, ROW_H * (index + 1), longest_ns) for index, row in enumerate(trace.rows))
    return "".join([*parts, "</svg>"])


def _bar(row: TraceRow, y: float, longest_ns: int) -> str:
    scale = BAR_W / max(longest_ns, 1)
    indent = min(row.depth, 14) * 10
    room = max(int((LABEL_W - indent - 12) / 6.4), 8)
    x, width = LABEL_W + row.start_ns * scale, max(row.duration_ns * scale, 1.5)
    x = min(max(x, LABEL_W), LABEL_W + BAR_W)
    width = min(width, LABEL_W + BAR_W - x + 1.5)
    name = f"{row.service} {row.operation}"
    waited = sum(end - begin for begin, end in row.critical)
    title = f"{name}, {wording.duration_ns(row.duration_ns)}, {wording.duration_ns(waited)} on the critical path"
    classes = "span" + (" error" if row.error else "") + (" blamed" if row.blamed else "")
    mark = "✕ " if row.error else ""
    solid = "".join(
        f'<rect class="waited" x="{LABEL_W + begin * scale:.1f}" y="{y + 5:.1f}"'
        f' width="{max((end - begin) * scale, 0.8):.1f}" height="10"/>'
        for begin, end in row.critical
        if begin * scale <= BAR_W
    )
    lasted = wording.duration_ns(row.duration_ns)
    return (
        f'<g class="{classes}"><title>{text(title, 300)}</title>'
        f'<text class="label" x="{indent}" y="{y + 14:.1f}">{mark}{text(name, room)}</text>'
        f'<rect class="bar" x="{x:.1f}" y="{y + 5:.1f}" width="{width:.1f}" height="10" rx="2"/>{solid}'
        f'<text class="tick" x="{LABEL_W + BAR_W + 8}" y="{y + 14:.1f}">{lasted}</text></g>'
    )
