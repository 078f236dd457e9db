"""Alerts: what another system already complained about, in both windows.

Alerts tell of symptoms, so they say where to look and little about causes. Source: tool list of section 15.2 of the
agents survey. Rows: one per service and description, most beyond their usual number first. Cost: O(alerts).
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import msgspec

from aetia.evidence.changes import recorded
from aetia.model.diagnosis import Claim
from aetia.plugins import plugin
from aetia.reason.toolbox import Found, NoAnswer, Tool, said
from aetia.reason.tools._parts import component, number, seconds_in
from aetia.signals.view import View

FULL, CLEARED = 0.3, 0.1


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`service`: only alerts on this service; all when left out."""

    service: str | None = None


@plugin(
    "tool", needs=("changes",), summary="alerts of other systems in both windows, per service",
    source="agents survey, section 15.2", cost="O(alerts)",
)  # fmt: skip
class Alerts(Tool[Args]):
    """Alerts with their number in both windows and the first of the incident."""

    Args = Args

    def look(self, view: View, args: Args) -> Found:
        every = [item for item in recorded(view) if item["kind"] == "alert"]
        one = component(view, args.service) if args.service is not None else None
        if not every:
            raise NoAnswer("no_data", "no alerts were recorded.", "ask another tool", category="permanent")
        rows = _rows(view, [item for item in every if one is None or item["service"] == one.name])
        if rows:
            return _judged(view, rows)
        if one is None:
            return Found(rows=(), total=0)
        claim = Claim(what="alerts", direction="changed", magnitude=0.0, unit="alerts",
                      text=f"no alert was on {said(one.name)}, while others alerted")  # fmt: skip
        return Found(rows=(), total=0, about=one.entity, claim=claim, polarity="against", strength=CLEARED)


def _rows(view: View, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    windows = view.baseline_of("changes")
    seconds = sum(window.seconds for window in windows)
    before: Counter[tuple[str, str]] = Counter()
    during: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], int] = {}
    for item in items:
        key = (item["service"] or "", item["description"] or "")
        before[key] += any(window.contains(item["time_ns"]) for window in windows)
        if view.incident.contains(item["time_ns"]):
            during[key] += 1
            first[key] = min(first.get(key, item["time_ns"]), item["time_ns"])
    rows = [
        {
            "service": service or None,
            "description": text or None,
            "baseline_alerts": before[service, text],
            "incident_alerts": during[service, text],
            "usual": number(before[service, text] / seconds * view.incident.seconds) if seconds else None,
            "first_s": seconds_in(view, start),
        }
        for (service, text), start in first.items()
    ]
    return sorted(rows, key=lambda row: ((row["usual"] or 0.0) - row["incident_alerts"], row["first_s"],
                                         row["service"] or "", row["description"] or ""))  # fmt: skip


def _judged(view: View, rows: list[dict[str, Any]]) -> Found:
    named = [row for row in rows if row["service"] in view.names.services]
    if not named:
        return Found(rows=tuple(rows), total=len(rows))
    best = named[0]
    count, usual = best["incident_alerts"], best["usual"] or 0.0
    text = f"{count} alert{'s' if count != 1 else ''} on {said(best['service'])} in the incident, {usual:.3g} usually"
    text += f": {said(best['description'], 160)}" if best["description"] else ""
    claim = Claim(what="alerts", direction="up", magnitude=float(count), unit="alerts", text=text,
                  onset_ns=view.incident.start_ns + round(best["first_s"] * 1e9))  # fmt: skip
    strength = FULL * (1.0 - math.exp(-max(count - usual, 0.0)))
    about = component(view, best["service"]).entity
    return Found(rows=tuple(rows), total=len(rows), about=about, claim=claim, strength=strength)
