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
RESET_SHARE = 0.5


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
        findings = [found for row in _may_have_restarted(view) if (found := _counted(view, row, moved)) is not None]
        findings += _replaced(view, presence(view))
        findings.sort(key=lambda f: (-f.score, f.entity.name))
        return Reading(
            findings=tuple(findings), silent=None if findings else "no restart was counted, no instance replaced"
        )

    def measure(self, view: View, **args: Any) -> dict[str, Any]:
        if "metric" in args:
            return measure_series(view, args)
        if args["instance"] not in view.names.instances:
            raise SignalError(f"no instance {args['instance']} in this telemetry.")
        seen = presence(view)
        code = view.names.instances.index(args["instance"])
        return {
            "baseline": int(seen.base[code]),
            "incident": int(seen.incident[code]),
            "unit": "rows",
            "first_seen_ns": int(seen.first_ns[code]),
            "last_seen_ns": int(seen.last_ns[code]),
        }


def _may_have_restarted(view: View) -> list[int]:
    """Series of restarts that rose into the incident, or of uptimes that fell anywhere: most are flat, and quick to
    rule out together."""
    rows = np.array([row for row, series in enumerate(view.metrics.series) if series.what == "restarts"], np.int64)
    if len(rows) == 0:
        return []
    in_base, in_incident = view.bin_masks
    values = view.metrics.values[rows]
    values = np.where(np.isfinite(values), values, -np.inf)
    before, after = values[:, in_base].max(axis=1, initial=-np.inf), values[:, in_incident].max(axis=1, initial=-np.inf)
    highest = np.maximum.accumulate(values, axis=1)
    fell = ((values < highest) & np.isfinite(values)).any(axis=1)
    falling = np.array([view.metrics.series[row].bad < 0 for row in rows.tolist()], np.bool_)
    return rows[np.where(falling, fell, after > before)].tolist()


def _counted(view: View, row: int, moved: Shifts) -> Finding | None:
    series = view.metrics.series[row]
    in_base, in_incident = view.bin_masks
    before, after = view.metrics.values[row, in_base], view.metrics.values[row, in_incident]
    if not np.isfinite(before).any() or not np.isfinite(after).any():
        return None
    if series.bad < 0:  # an uptime: it only ever falls by a restart
        path = np.concatenate([before[np.isfinite(before)][-1:], after[np.isfinite(after)]])
        steps = np.diff(path)
        if steps.min(initial=0.0) >= 0 or path[1:].min() > RESET_SHARE * path[0]:
            return None
        first = int(np.argmin(steps))
        now = view.metrics.bin_start_ns[in_incident][np.isfinite(after)][first]
    elif np.nanmax(after) <= np.nanmax(before):
        return None
    else:
        now = view.metrics.bin_start_ns[in_incident][np.nanargmax(after)]
    where = place(view, service=series.service, instance=series.instance, node=series.node)
    if where is None:
        return None
    onset = int(now)
    return Finding(
        entity=where,
        score=COUNTED,
        fault_class="A",
        fault="restart_loop",
        args=series_name(view, row),
        onset_ns=onset,
        claim=Claim(
            what="restarts",
            direction="down" if series.bad < 0 else "up",
            magnitude=float(np.nanmax(after)),
            unit=series.unit or "restarts",
            onset_ns=onset,
            text=f"{series.raw} of {where} {'fell back' if series.bad < 0 else 'rose'} in the incident",
        ),
    )


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
                entity=instance(name, of),
                score=REPLACED,
                fault_class="A",
                fault="restart_loop",
                args={"instance": name},
                onset_ns=onset,
                claim=Claim(
                    what="replaced instance",
                    direction="new",
                    magnitude=1.0,
                    unit="instances",
                    onset_ns=onset,
                    text=f"instance {name} of {of} is new in the incident and replaces one that stopped",
                ),
            )
        )
    return out
