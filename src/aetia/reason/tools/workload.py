"""Workload: what a service and its neighbours serve, lose and do for each request, before and now.

Tells apart, mostly from metrics, who of a caller and a callee changed: a callee that lost more calls than its caller
lost requests was cut off; a callee that is asked as before and does less for each request returns early. Bytes that a
service receives for each request it serves are requests plus the answers of those that it calls, so they shrink when
it no longer calls them. Source: offered-load rule of algorithms section 13.2 (PAVE). Rows: the service itself first,
then its neighbours, those that lost or shrank most first. Cost: O(series + spans).
"""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from aetia.evidence._edges import calls_of, service_entries
from aetia.evidence._memo import once, once_for_facts
from aetia.evidence._series import believed
from aetia.model.diagnosis import Claim
from aetia.model.quantities import percent, quantity
from aetia.plugins import plugin
from aetia.reason.toolbox import Found, NoAnswer, Tool, said, service_code
from aetia.reason.tools._parts import entity_of, number
from aetia.signals.frames import F64
from aetia.signals.view import Facts, View

RECEIVED = re.compile(r"receiv|(^|[^a-z])(rx|in(bound|gress)?)([^a-z]|$)", re.IGNORECASE)
OF_PACKETS = re.compile(r"packet|error|drop|retrans|lost|fail|segment", re.IGNORECASE)
FLOWS = ("rate", "value")
"""Statistics of a metric that counts per second: a counter's rate, or a gauge that is one already."""
MIN_BINS = 4
"""Bins of either window from which a mean has a spread."""
FLOOR = 0.03
"""Standard error of a mean that is not undercut, as a share of it."""
FULL = 0.5


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`service`: the service.
    `of`: whether to look at the services that it calls, or at those that call it, beside itself.
    """

    service: str
    of: Literal["callees", "callers"] = "callees"


@plugin(
    "tool", summary="what a service and its neighbours serve, lose and do for each request, before and now",
    source="offered-load rule (PAVE)", cost="O(series + spans)",
)  # fmt: skip
class Workload(Tool[Args]):
    """Requests, failures and received bytes per request of a service and of its neighbours in both windows."""

    Args = Args

    def look(self, view: View, args: Args) -> Found:
        service = service_code(view, args.service)
        graph = view.topology
        near = graph.callees_of(service) if args.of == "callees" else graph.callers_of(service)
        codes = [code for code in np.unique(near).tolist() if code != service]
        rows = [_row(view, code) for code in [service, *codes]]
        if all(row["baseline_per_s"] is None for row in rows):
            raise NoAnswer("no_data", f"no requests of {said(args.service)} or its {args.of} were recorded.",
                           "ask metric_anomalies", category="permanent")  # fmt: skip
        rows[1:] = sorted(rows[1:], key=lambda row: (-max(row["lost"] or 0.0, row["less"] or 0.0), row["name"]))
        return _judged(view, rows)


class _Mean(NamedTuple):
    """Means of both windows, and how surely (0..1) the incident's is the smaller one."""

    before: float
    after: float
    fell: float


NOTHING = _Mean(float("nan"), float("nan"), 0.0)


def _row(view: View, code: int) -> dict[str, Any]:
    requests = _requests(view, code)
    served = _mean(view, requests)
    with np.errstate(divide="ignore", invalid="ignore"):
        each = _mean(view, np.where(requests > 0, _received(view, code) / requests, np.nan))
        failing = _mean(view, np.where(requests > 0, _failures(view, code) / requests, np.nan))
    fell = 1.0 - served.after / served.before if served.before > 0 else float("nan")
    took = _mean(view, _took(view, code))
    return {
        "name": view.names.services[code], "baseline_per_s": number(served.before),
        "incident_per_s": number(served.after), "lost": number(max(fell, 0.0) * served.fell),
        "baseline_failed": number(failing.before), "incident_failed": number(failing.after),
        "baseline_ms": number(took.before), "incident_ms": number(took.after),
        "baseline_received_per_request": number(each.before), "incident_received_per_request": number(each.after),
        "less": number(max(1.0 - each.after / each.before, 0.0) * each.fell if each.before > 0 else float("nan")),
    }  # fmt: skip


def _mean(view: View, values: F64) -> _Mean:
    """Means of a row of bins (b,) in both windows; a fall is as sure as its distance in standard errors."""
    sides = [values[mask] for mask in view.bin_masks]
    before, after = (side[np.isfinite(side)] for side in sides)
    if min(len(before), len(after)) < MIN_BINS:
        return NOTHING
    usual, now = float(before.mean()), float(after.mean())
    spread = float(before.std(ddof=1))
    error = max(spread * np.sqrt(1.0 / len(before) + 1.0 / len(after)), FLOOR * abs(usual), 1e-12)
    return _Mean(usual, now, float(believed(max(usual - now, 0.0) / error, 0.0)) if now < usual else 0.0)


def _requests(view: View, code: int) -> F64:
    """Requests that a service serves, per second and metric bin (b,): by its own traffic metric, else its instances',
    else its spans, else the calls to it; NaN where nothing tells."""
    frame = view.metrics
    rows = _flows(view, code, "traffic")
    own = [row for row in rows if frame.series[row].instance < 0]
    if rows:
        return _sum(frame.values[own[:1] or rows])
    return _counted(view)[code]


def _series(view: View, code: int, what: str) -> list[int]:
    """Rows of the series of a service and its instances with that meaning; of its calls none."""

    def build(facts: Facts) -> dict[tuple[int, str], list[int]]:
        found: dict[tuple[int, str], list[int]] = {}
        for row, series in enumerate(facts.metrics.series):
            if series.caller < 0:
                found.setdefault((series.service, series.what), []).append(row)
        return found

    return once_for_facts(view, "series by service and meaning", build).get((code, what), [])


def _flows(view: View, code: int, what: str) -> list[int]:
    """Those of them that count something per second."""
    return [row for row in _series(view, code, what) if view.metrics.series[row].statistic in FLOWS]


def _counted(view: View) -> F64:
    """Requests per second of every service and metric bin by spans, (services, b); NaN where there are none."""
    return once(view, "requests per bin by spans", _count)


def _count(view: View) -> F64:
    frame, spans, n = view.metrics, view.spans, len(view.names.services)
    bins = len(frame.bin_start_ns)
    if len(spans) == 0 or bins == 0:
        return np.full((n, bins), np.nan)
    calls = calls_of(view)
    served = np.flatnonzero(service_entries(view) & (spans.service >= 0))
    counts = [
        _in_bins(view, spans.start_ns[served], spans.service[served].astype(np.int64), n),
        _in_bins(view, spans.start_ns[calls.row], calls.callee.astype(np.int64), n),
    ]
    silent = counts[0].sum(axis=1) == 0
    rate = np.where(silent[:, None], counts[1], counts[0]) / max(frame.step_ns / 1e9, 1e-9)
    rate[rate.sum(axis=1) == 0] = np.nan
    return rate


def _in_bins(view: View, time_ns: Any, code: Any, n: int) -> F64:
    frame = view.metrics
    bins = len(frame.bin_start_ns)
    at = (time_ns - frame.bin_start_ns[0]) // frame.step_ns
    inside = (at >= 0) & (at < bins)
    return np.bincount(code[inside] * bins + at[inside], minlength=n * bins).reshape(n, bins).astype(np.float64)


def _received(view: View, code: int) -> F64:
    """Bytes received per second by all instances of a service (b,); NaN where no metric tells."""
    frame = view.metrics
    chosen: dict[str, list[int]] = {}
    for row in _flows(view, code, "network"):
        name = frame.series[row].raw
        if RECEIVED.search(name) and not OF_PACKETS.search(name):
            chosen.setdefault(name, []).append(row)
    return _sum(frame.values[chosen[min(chosen)]]) if chosen else _nothing(view)


def _failures(view: View, code: int) -> F64:
    """Failed requests per second of a service (b,), where a metric counts them."""
    frame = view.metrics
    rows = [row for row in _series(view, code, "errors")
            if frame.series[row].statistic == "rate" and frame.series[row].instance < 0]  # fmt: skip
    return frame.values[rows[0]] if rows else _nothing(view)


def _took(view: View, code: int) -> F64:
    """Time of the slow requests of a service in ms (b,), by its metric of the highest quantile; NaN: none tells."""
    frame = view.metrics
    rows = [(frame.series[row].statistic, row) for row in _series(view, code, "latency")
            if frame.series[row].instance < 0]  # fmt: skip
    return frame.values[max(rows)[1]] if rows else _nothing(view)


def _nothing(view: View) -> F64:
    return np.full(len(view.metrics.bin_start_ns), np.nan)


def _sum(values: F64) -> F64:
    known = np.isfinite(values)
    return np.where(known.any(axis=0), np.where(known, values, 0.0).sum(axis=0), np.nan)


def _judged(view: View, rows: list[dict[str, Any]]) -> Found:
    """The neighbour that lost or shrank most is what the fact is about."""
    worst = max(rows, key=lambda row: max(row["lost"] or 0.0, row["less"] or 0.0))
    lost, less = worst["lost"] or 0.0, worst["less"] or 0.0
    name = said(worst["name"])
    if max(lost, less) == 0.0:
        return Found(rows=tuple(rows), total=len(rows))
    if lost >= less:
        before, after = worst["baseline_per_s"], worst["incident_per_s"]
        text = f"{name} gets {quantity(after, '1/s')} requests, {quantity(before, '1/s')} before"
        failed = rows[0]["incident_failed"]
        text += f"; {said(rows[0]['name'])} fails {percent(failed)} of its own" if failed and worst != rows[0] else ""
        claim = Claim(what="requests", direction="down", magnitude=after - before, unit="1/s", text=text)
    else:
        before, after = worst["baseline_received_per_request"], worst["incident_received_per_request"]
        text = (
            f"{name} receives {quantity(after, 'bytes')} for each request it serves, {quantity(before, 'bytes')} before"
        )
        claim = Claim(what="received per request", direction="down", magnitude=after - before, unit="bytes", text=text)
    about = entity_of(view, "service", view.names.services.index(worst["name"]))
    strength = round(FULL * max(lost, less), 4)
    return Found(rows=tuple(rows), total=len(rows), about=about, claim=claim, strength=strength)
