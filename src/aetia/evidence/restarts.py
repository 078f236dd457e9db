"""Restarts: counters of restarts that moved, and instances that were replaced.

Score: 0.9 for a counted restart, 0.6 for a replaced instance; higher = more suspicious. Cost: O(series + rows).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from aetia.evidence._places import place
from aetia.evidence._presence import Presence, presence
from aetia.evidence._series import Shifts, measure_series, series_name, shifts
from aetia.evidence.channel import Finding, Reading
from aetia.model.diagnosis import Claim
from aetia.model.entity import instance
from aetia.model.errors import SignalError
from aetia.plugins import plugin
from aetia.signals.view import View

COUNTED = 0.9
REPLACED = 0.6


@plugin(
    "channel",
    summary="restart counters that moved, instances that were replaced",
    source="infrastructure-death class of PAVE (RCABench)",
    cost="O(series + rows)",
)
class Restarts:
    """Signs that an instance died and came back, or was replaced."""

    def observe(self, view: View) -> Reading:
        moved = shifts(view)
        findings = [
            finding
            for row, series in enumerate(view.metrics.series)
            if series.what == "restarts" and (finding := _counted(view, row, moved)) is not None
        ]
        findings += _replaced(view, presence(view))
        findings.sort(key=lambda f: (-f.score, f.entity.name))
        return Reading(findings=tuple(findings), silent=None if findings else "no restart was counted, no instance replaced")

    def measure(self, view: View, **args: Any) -> dict[str, Any]:
        if "metric" in args:
            return measure_series(view, args)
        if args["instance"] not in view.names.instances:
            raise SignalError(f"no instance {args['instance']} in this telemetry.")
        seen = presence(view)
        code = view.names.instances.index(args["instance"])
        return {
            "baseline": int(seen.base[code]), "incident": int(seen.incident[code]), "unit": "rows",
            "first_seen_ns": int(seen.first_ns[code]), "last_seen_ns": int(seen.last_ns[code]),
        }  # fmt: skip


def _counted(view: View, row: int, moved: Shifts) -> Finding | None:
    series = view.metrics.series[row]
    in_base, in_incident = view.bin_masks
    before, after = view.metrics.values[row, in_base], view.metrics.values[row, in_incident]
    before, after = before[np.isfinite(before)], after[np.isfinite(after)]
    if len(after) == 0 or after.max() <= (before.max() if len(before) else 0.0):
        return None
    where = place(view, service=series.service, instance=series.instance, node=series.node)
    if where is None:
        return None
    onset = int(view.metrics.bin_start_ns[in_incident][np.argmax(np.nan_to_num(view.metrics.values[row, in_incident]))])
    return Finding(
        entity=where, score=COUNTED, fault_class="A", fault="restart_loop", args=series_name(view, row), onset_ns=onset,
        claim=Claim(
            what="restarts", direction="up", magnitude=float(after.max()), unit=series.unit or "restarts", onset_ns=onset,
            text=f"{series.raw} of {where} rose in the incident",
        ),
    )  # fmt: skip


def _replaced(view: View, seen: Presence) -> list[Finding]:
    """Instances that appeared in the incident while a sibling of the same service stopped."""
    owner = view.topology.instance_service
    fresh = np.flatnonzero((seen.base == 0) & (seen.incident > 0) & (seen.first_ns >= view.incident.start_ns))
    gone = np.flatnonzero((seen.base > 0) & (seen.incident == 0))
    out: list[Finding] = []
    for code in fresh.tolist():
        service = int(owner[code])
        if service < 0 or not (owner[gone] == service).any():
            continue
        name, of = view.names.instances[code], view.names.services[service]
        onset = int(seen.first_ns[code])
        out.append(
            Finding(
                entity=instance(name, of), score=REPLACED, fault_class="A", fault="restart_loop", args={"instance": name},
                onset_ns=onset,
                claim=Claim(
                    what="replaced instance", direction="new", magnitude=1.0, unit="instances", onset_ns=onset,
                    text=f"instance {name} of {of} is new in the incident and replaces one that stopped",
                ),
            )
        )  # fmt: skip
    return out
