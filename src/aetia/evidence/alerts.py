"""Alerts: what another system already complained about, per service.

Alerts tell of symptoms, so a service whose callees alert too is explained by them. Score: saturating count of alerts
in the incident beyond the baseline's rate, earlier first; higher = more suspicious. Cost: O(alerts).
"""

from __future__ import annotations

import math
from typing import Any

from aetia.evidence._places import service_or_external
from aetia.evidence.changes import recorded
from aetia.evidence.channel import Finding, Reading
from aetia.model.diagnosis import Claim
from aetia.model.errors import SignalError
from aetia.plugins import plugin
from aetia.signals.view import View

LATER_COSTS = 0.2
MIN_SCORE = 0.02


@plugin(
    "channel",
    needs=("changes",),
    summary="alerts on a service in the incident beyond their usual rate",
    source="alert correlation; explained along the call graph like any symptom",
    cost="O(alerts)",
)
class Alerts:
    """Alerts per service, as symptoms."""

    def observe(self, view: View) -> Reading:
        counts = _counts(view)
        if not counts:
            return Reading(silent="no alerts in the changes table")
        first = min(onset for _, _, onset in counts.values())
        length = max(view.incident.end_ns - view.incident.start_ns, 1)
        findings: list[Finding] = []
        for service, (excess, total, onset) in sorted(counts.items()):
            score = (1.0 - math.exp(-excess)) * (1.0 - LATER_COSTS * min((onset - first) / length, 1.0))
            code = view.names.service_code(service)
            if code < 0 or score < MIN_SCORE:
                continue
            findings.append(
                Finding(
                    entity=service_or_external(view, code),
                    score=0.6 * score,
                    own=False,
                    args={"service": service},
                    onset_ns=onset,
                    claim=Claim(
                        what="alerts",
                        direction="up",
                        magnitude=float(total),
                        unit="alerts",
                        onset_ns=onset,
                        text=f"{total} alert{'s' if total != 1 else ''} on {service} in the incident",
                    ),
                )
            )
        findings.sort(key=lambda f: (-f.score, f.entity.name))
        return Reading(findings=tuple(findings), silent=None if findings else "no more alerts than usual")

    def measure(self, view: View, **args: Any) -> dict[str, Any]:
        counts = _counts(view)
        if args["service"] not in counts:
            raise SignalError(f"no alert on {args['service']} in this telemetry.")
        excess, total, _ = counts[args["service"]]
        return {"baseline": round(total - excess, 4), "incident": total, "unit": "alerts"}


def _counts(view: View) -> dict[str, tuple[float, int, int]]:
    """Per service: alerts beyond the baseline's rate, alerts, time of the first one in the incident."""
    alerts = [row for row in recorded(view) if row["kind"] == "alert" and row["service"]]
    windows = view.baseline_of("changes")
    seconds = sum(w.seconds for w in windows)
    out: dict[str, tuple[float, int, int]] = {}
    for service in sorted({row["service"] for row in alerts}):
        times = [row["time_ns"] for row in alerts if row["service"] == service]
        now = [t for t in times if view.incident.contains(t)]
        before = sum(any(w.contains(t) for w in windows) for t in times)
        usual = before / seconds * view.incident.seconds if seconds else 0.0
        if now:
            out[service] = (max(len(now) - usual, 0.0), len(now), min(now))
    return out
