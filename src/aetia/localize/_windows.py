"""Windows that forgive a late onset: a guard before the incident that is no baseline, and a look back into it.

Detectors and people notice late. Whatever lies right before the given onset may already be the fault, so it is
neither trusted as baseline nor thrown away: when the given window alone does not convince, the incident is also read
with the guard added to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from aetia import plugins
from aetia.model.diagnosis import Incident
from aetia.model.window import NS_PER_SECOND, Window, union_mask
from aetia.signals.frames import I64
from aetia.signals.keys import distinct
from aetia.signals.view import View

if TYPE_CHECKING:
    from aetia.detect.detector import Detector

GUARD_S = 120
KEEP_S = 60
"""Seconds of observed baseline that the guard must leave."""
MIN_REQUESTS = 1000
"""Requests in the guard without which nobody can say that all was well there."""
BIN_NS = 5 * NS_PER_SECOND
TABLES = ("spans", "logs", "metrics")


def guarded(view: View) -> View:
    """The view with the last GUARD_S seconds before the incident taken out of each baseline that can spare them."""
    return View(view.facts, view.baseline, view.incident, {t: _spare(view, t) for t in TABLES} | _rest(view))


def extended(view: View) -> View | None:
    """The guarded view with the incident begun up to GUARD_S seconds earlier; None when nothing was recorded there or
    the baseline reaches into it."""
    start = view.incident.start_ns
    earlier = Window(start - GUARD_S * NS_PER_SECOND, start)
    baselines = {t: _spare(view, t) for t in TABLES}
    if any(w.overlaps(earlier) for t in ("spans", "logs") for w in baselines[t]):
        return None
    times = _times(view, "spans") if len(view.spans) else _times(view, "logs")
    if not earlier.mask(times).any():
        return None
    return View(view.facts, view.baseline, Window(earlier.start_ns, view.incident.end_ns), baselines | _rest(view))


def harm_began_inside(view: View, incident: Incident) -> bool:
    """Whether SLIs are broken in the incident and none was in the guard before it, by enough requests to say so: then
    the given onset is right."""
    baseline, spans = _spare(view, "spans"), view.spans
    guard = Window(view.incident.start_ns - GUARD_S * NS_PER_SECOND, view.incident.start_ns)
    requests = int(guard.mask(spans.start_ns[spans.entry]).sum())
    if not incident.breaches or requests < MIN_REQUESTS:
        return False
    if len(baseline) != 1 or baseline[0].overlaps(guard):
        return False
    found = cast("Detector", plugins.create("detector", "sli")).detect(view.facts, baseline=baseline[0], incident=guard)
    return not any(item.breaches for item in found)


def _rest(view: View) -> dict[str, tuple[Window, ...]]:
    return {"changes": view.baseline_of("changes")}


def _times(view: View, table: str) -> I64:
    if table == "spans":
        return view.spans.start_ns
    return view.logs.time_ns if table == "logs" else view.metrics.bin_start_ns


def _spare(view: View, table: str) -> tuple[Window, ...]:
    """Baseline windows of a table without the guard, as far as KEEP_S observed seconds remain."""
    windows, start = view.baseline_of(table), view.incident.start_ns
    times = _times(view, table)
    step = max(view.metrics.step_ns, BIN_NS) if table == "metrics" else BIN_NS
    keep = max(KEEP_S * NS_PER_SECOND // step, 10 if table == "metrics" else 1)
    for guard_s in (GUARD_S, GUARD_S // 2, GUARD_S // 4):
        cut = tuple(part for w in windows for part in _without(w, Window(start - guard_s * NS_PER_SECOND, start)))
        inside = times[union_mask(cut, times)]
        if len(distinct(inside // step)) >= keep:
            return cut
    return windows


def _without(window: Window, guard: Window) -> list[Window]:
    """What is left of a window when a guard is cut out of it."""
    if not window.overlaps(guard):
        return [window]
    parts = [(window.start_ns, min(window.end_ns, guard.start_ns)), (max(window.start_ns, guard.end_ns), window.end_ns)]
    return [Window(a, b) for a, b in parts if b > a]
