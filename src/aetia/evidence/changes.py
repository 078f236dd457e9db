"""Changes: a deploy, configuration, scaling, restart or flag change on the candidate shortly before the onset.

A change alone proves nothing; it raises what else speaks against the candidate. Score: 0.5, halved for every
10 minutes that lie between the change and the onset. Cost: O(changes).
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aetia.evidence._places import service_or_external
from aetia.evidence.channel import Finding, Reading
from aetia.model.diagnosis import Claim
from aetia.model.errors import SignalError
from aetia.model.window import NS_PER_SECOND
from aetia.plugins import plugin
from aetia.signals.view import View

FULL = 0.5
HALF_LIFE_S = 600.0
BEFORE_S = 3600.0
AFTER_S = 60.0


@plugin(
    "channel",
    needs=("changes",),
    summary="deploys, configuration, scaling and flag changes shortly before the onset",
    source="change correlation as on-call engineers do it",
    cost="O(changes)",
)
class Changes:
    """Recent changes, as amplifiers of other evidence."""

    def observe(self, view: View) -> Reading:
        onset = view.incident.start_ns
        findings: list[Finding] = []
        for change in recorded(view):
            age = (onset - change["time_ns"]) / NS_PER_SECOND
            code = view.names.service_code(change["service"] or "")
            if change["kind"] == "alert" or code < 0 or not -AFTER_S <= age <= BEFORE_S:
                continue
            score = FULL * 0.5 ** (max(age, 0.0) / HALF_LIFE_S)
            when = f"{abs(age):.0f} s {'before' if age >= 0 else 'after'} the onset"
            findings.append(
                Finding(
                    entity=service_or_external(view, code),
                    score=score,
                    fault_class="C",
                    fault=_fault(change["kind"]),
                    args={k: change[k] for k in ("service", "kind", "time_ns")},
                    onset_ns=change["time_ns"],
                    claim=Claim(
                        what=change["kind"],
                        direction="new",
                        magnitude=1.0,
                        unit="changes",
                        onset_ns=change["time_ns"],
                        text=f"{change['kind']} of {change['service']} {when}: "
                        + (change["description"] or "no description"),
                    ),
                )
            )
        findings.sort(key=lambda f: (-f.score, f.entity.name))
        return Reading(
            findings=tuple(findings), silent=None if findings else "no change was recorded shortly before the onset"
        )

    def measure(self, view: View, **args: Any) -> dict[str, Any]:
        for change in recorded(view):
            if all(change[key] == value for key, value in args.items()):
                return {"baseline": 0, "incident": 1, "description": change["description"], "unit": "changes"}
        raise SignalError(f"no such change in this telemetry: {args}.")


def recorded(view: View) -> list[dict[str, Any]]:
    """All rows of the changes table, in time order: time_ns, kind, service, description."""
    table = view.facts.telemetry.changes
    if table.num_rows == 0:
        return []
    rows: list[dict[str, Any]] = table.select(["kind", "service", "description"]).to_pylist()
    times: list[int] = pc.cast(table["time"], pa.int64()).to_numpy().tolist()
    for row, time_ns in zip(rows, times, strict=True):
        row["time_ns"] = time_ns
    return sorted(rows, key=lambda r: (r["time_ns"], r["kind"] or "", r["service"] or ""))


def _fault(kind: str | None) -> str:
    return {"deploy": "bad_release", "config": "bad_config", "flag": "bad_config"}.get(kind or "", "bad_config")
