"""A small shop told request by request, for tests that need one thing to break and everything else to stay as it was.

`web` calls `cart` (which asks the database `vault`), then `order`, which calls `stock` and `price`. A story changes the
calls of single requests; metrics are functions of time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from aetia.evidence.channel import Finding, Reading
from aetia.model import quantities as q
from aetia.model.diagnosis import canonical, digest
from aetia.model.tables import CHANGES, LOGS, METRICS, SPANS, TOPOLOGY, Telemetry
from aetia.model.window import Window
from aetia.plugins import create
from aetia.signals.view import Facts, View

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
BASE_S, TOTAL_S = 240, 360
ONSET = START + BASE_S * SECOND
BASELINE = Window(START, ONSET)
INCIDENT = Window(ONSET, START + TOTAL_S * SECOND)
SERVICES = ("web", "cart", "order", "stock", "price")
EDGES = (("web", "cart"), ("web", "order"), ("order", "stock"), ("order", "price"), ("cart", "vault"))
CONTAMINATED_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call: who serves it, its own time in ms, what it calls in turn, the time that the link takes, whether it
    fails, whether the server side was ever recorded, its log lines (severity, text) and its instance."""

    service: str
    name: str
    own: float = 5.0
    calls: tuple[Call, ...] = ()
    gap: float = 0.5
    failed: bool = False
    code: str = "500"
    answered: bool = True
    lines: tuple[tuple[str, str], ...] = ()
    instance: str | None = None
    internal: tuple[str, ...] = ()

    def to(self, service: str, **changes: Any) -> Call:
        """The same call with every call of `service` below it changed."""
        below = tuple(call.to(service, **changes) for call in self.calls)
        mine = replace(self, calls=below)
        return replace(mine, **changes) if self.service == service else mine

    def without(self, service: str) -> Call:
        """The same call with every call of `service` below it left out."""
        return replace(self, calls=tuple(call.without(service) for call in self.calls if call.service != service))


Story = Callable[[Call, float, int], Call | None]
"""(usual request, seconds since the onset, number) → the request as it went, or None when it never came."""


def usual(rng: np.random.Generator) -> Call:
    def own(mean: float) -> float:
        return float(mean * rng.uniform(0.8, 1.25))

    number = int(rng.integers(1000, 9999))
    vault = Call(service="vault", name="SELECT", own=own(3.0), answered=False)
    cart = Call(service="cart", name="Get", own=own(4.0), calls=(vault,), lines=(("INFO", f"cart {number} loaded"),))
    price = Call(service="price", name="Quote", own=own(4.0), lines=(("INFO", f"quote {number} given"),))
    stock = Call(service="stock", name="Reserve", own=own(5.0), lines=(("INFO", f"reserved item {number}"),))
    order = Call(
        service="order", name="Place", own=own(5.0), calls=(stock, price), lines=(("INFO", f"placed order {number}"),)
    )
    return Call(service="web", name="POST /order", own=own(4.0), calls=(cart, order))


def told(
    story: Story | None = None, *, per_second: float = 1.0, surge: float = 1.0, seed: int = 0
) -> dict[str, pa.Table]:
    """Spans and logs of a story: `per_second` requests, `surge` times as many from the onset on."""
    rng = np.random.default_rng(seed)
    spans: list[dict[str, Any]] = []
    logs: list[dict[str, Any]] = []
    counts = rng.poisson(per_second, TOTAL_S), rng.poisson(per_second * surge, TOTAL_S)
    seconds = [s for s in range(TOTAL_S) for _ in range(counts[s >= BASE_S][s])]
    for number, second in enumerate(seconds):
        at = START + second * SECOND + int(rng.integers(0, SECOND // 2))
        request = usual(rng)
        if story is not None:
            changed = story(request, second - BASE_S, number)
            if changed is None:
                continue
            request = changed
        _record(request, f"{number:032x}", at, spans, logs)
    return {"spans": table(SPANS, spans), "logs": table(LOGS, logs)}


def _record(request: Call, trace: str, at: int, spans: list[dict[str, Any]], logs: list[dict[str, Any]]) -> None:
    def span(parent: str | None, service: str, name: str, kind: str, **more: Any) -> dict[str, Any]:
        row = {"trace_id": trace, "span_id": f"{len(spans):016x}", "parent_span_id": parent, "service": service,
               "name": name, "kind": kind, "status": "ok", "status_code": "200"} | more  # fmt: skip
        spans.append(row)
        return row

    def serve(call: Call, parent: str | None, begin: int) -> int:
        """Record the server side from `begin` on; returns its end."""
        name = call.instance or f"{call.service}-1"
        row = span(parent, call.service, call.name, "server", time=begin, instance=name)
        cursor = begin + int(call.own * 4e5)
        for inner in call.internal:
            span(row["span_id"], call.service, inner, "internal", time=cursor, duration_ns=50_000, instance=name)
            cursor += 60_000
        for below in call.calls:
            cursor = ask(below, row["span_id"], call.service, name, cursor)
        end = cursor + int(call.own * 6e5)
        row["duration_ns"] = end - begin
        if call.failed:
            row |= {"status": "error", "status_code": call.code}
        for position, (severity, text) in enumerate(call.lines):
            logs.append({"time": begin + 1000 * (position + 1), "trace_id": trace, "span_id": row["span_id"],
                         "service": call.service, "instance": name, "severity": severity, "body": text})  # fmt: skip
        return end

    def ask(call: Call, parent: str, caller: str, instance: str, begin: int) -> int:
        """Record the client side around the server side; returns its end."""
        row = span(parent, caller, f"call {call.name}", "client", time=begin, instance=instance, peer=call.service)
        end = begin + int((call.own + call.gap) * 1e6)
        if call.answered:
            end = serve(call, row["span_id"], begin + int(call.gap * 5e5)) + int(call.gap * 5e5)
        row["duration_ns"] = end - begin
        if call.failed:
            row |= {"status": "error", "status_code": call.code}
        return end + 10_000

    serve(request, None, at)


Level = Callable[[float], float | None]
"""Seconds since the onset → value, None where nothing is recorded."""


def gauges(
    *columns: tuple[str, dict[str, Any], Level], step_s: int = 10, noise: float = 0.02, seed: int = 0
) -> pa.Table:
    """Metrics as (name, {"service": …, "instance": …}, level over time), each with relative noise."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for name, place, level in columns:
        for second in range(0, TOTAL_S, step_s):
            value = level(second - BASE_S)
            if value is not None:
                exact = value * (1.0 + noise * rng.standard_normal())
                rows.append({"time": START + second * SECOND, "name": name, "value": exact, "type": "gauge"} | place)
    return table(METRICS, rows)


def steady(level: float) -> Level:
    return lambda _: level


def stepped(before: float, after: float, *, at: float = 0.0) -> Level:
    """`before` until `at` seconds after the onset, `after` from then on."""
    return lambda second: after if second >= at else before


def everybody(
    name: str, level: Level, *, nodes: bool = False, **but: Level
) -> Iterator[tuple[str, dict[str, Any], Level]]:
    """One metric for one instance of every service; keywords give some services another level."""
    for service in SERVICES:
        place = {"service": service, "instance": f"{service}-1", "node": f"node-{service}" if nodes else None}
        yield name, place, but.get(service, level)


def table(schema: pa.Schema, rows: list[dict[str, Any]]) -> pa.Table:
    arrays, given = [], set[str]().union(*rows)
    for item in schema:
        kind = pa.int64() if item.name == "time" else item.type
        values = [row.get(item.name) for row in rows] if item.name in given else None
        arrays.append((pa.nulls(len(rows), kind) if values is None else pa.array(values, kind)).cast(item.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def changes(*rows: tuple[str, str, float]) -> pa.Table:
    """(kind, service, seconds since the onset) per change."""
    return table(
        CHANGES,
        [{"time": ONSET + int(s * SECOND), "kind": k, "service": n, "description": f"{k} of {n}"} for k, n, s in rows],
    )


def call_graph() -> pa.Table:
    return table(TOPOLOGY, [{"caller": a, "callee": b} for a, b in EDGES])


def look(window: Window = INCIDENT, **tables: pa.Table) -> View:
    return View(Facts(Telemetry(**tables)), (BASELINE,), window)


def read(channel: str, view: View) -> Reading:
    """The channel's reading, its measurements checked against what the findings claim to have seen."""
    made = create("channel", channel)
    reading = made.observe(view)
    for finding in reading.findings:
        first = made.measure(view, **finding.args)
        again = create("channel", channel).measure(View(view.facts, view.baseline, view.incident), **finding.args)
        assert digest(canonical(first)) == digest(canonical(again))
        assert says_what_it_measured(finding, first), (finding.claim.text, first)
    return reading


def says_what_it_measured(finding: Finding, result: dict[str, Any]) -> bool:
    """Whether the numbers of a claim's sentence are those that its query returns, so that a recheck proves the words."""
    text, unit = finding.claim.text, result.get("unit", "")
    if not any(char.isdigit() for char in text) or not isinstance(result.get("incident"), float):
        return True
    said = {q.quantity(result["incident"], unit), q.number(result["incident"]), q.percent(result["incident"])}
    said |= {q.number(value) for value in result.values() if isinstance(value, int)}
    return any(words in text for words in said)


def measured(channel: str, view: View, finding: Finding) -> dict[str, Any]:
    return create("channel", channel).measure(view, **finding.args)


def blamed(reading: Reading) -> list[str]:
    """Who is spoken of, strongest first: service, or node, or instance."""
    return [f.entity.service or f.entity.node or f.entity.name for f in reading.findings]


def from_onset(change: Callable[[Call], Call], *, every: int = 1, since: float = 0.0) -> Story:
    """A story in which every `every`-th request from `since` seconds after the onset on is changed."""
    return lambda call, second, number: change(call) if second >= since and number % every == 0 else call
