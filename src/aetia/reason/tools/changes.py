"""Changes: what was deployed, configured, scaled, flagged or restarted near the onset.

Source: tool list of section 15.2 of the agents survey. Rows: one per recorded change from `within_s` seconds before the
incident to its end, nearest to the onset first. Cost: O(changes).
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from aetia.evidence.changes import AFTER_S, BEFORE_S, FULL, HALF_LIFE_S, recorded
from aetia.model.diagnosis import Claim
from aetia.plugins import plugin
from aetia.reason.toolbox import Found, NoAnswer, Tool, said
from aetia.reason.tools._parts import component, number
from aetia.signals.view import View

CLEARED = 0.1


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`service`: only changes of this service; all when left out.
    `within_s`: how long before the start of the incident to look, in seconds.
    """

    service: str | None = None
    within_s: Annotated[float, msgspec.Meta(gt=0, le=7 * 86_400)] = BEFORE_S


@plugin(
    "tool", needs=("changes",), summary="deploys, configuration, scaling, flags and restarts near the onset",
    source="agents survey, section 15.2", cost="O(changes)",
)  # fmt: skip
class Changes(Tool[Args]):
    """Recorded changes with their distance from the onset."""

    Args = Args

    def look(self, view: View, args: Args) -> Found:
        every = [item for item in recorded(view) if item["kind"] != "alert"]
        one = component(view, args.service) if args.service is not None else None
        if not every:
            raise NoAnswer("no_data", "no changes were recorded.", "ask another tool", category="permanent")
        rows = [_row(view, item) for item in every if one is None or item["service"] == one.name]
        until = view.incident.seconds
        near = [row for row in rows if -args.within_s <= row["after_onset_s"] <= until]
        words = ("kind", "service", "description")
        near.sort(key=lambda row: (abs(row["after_onset_s"]), *(row[key] or "" for key in words)))
        if not near:
            if one is None:
                return Found(rows=(), total=0)
            text = f"no change of {said(one.name)} was recorded in the {args.within_s:.0f} s before the onset or since"
            claim = Claim(what="changes", direction="changed", magnitude=0.0, unit="changes", text=text)
            return Found(rows=(), total=0, about=one.entity, claim=claim, polarity="against", strength=CLEARED)
        return _judged(view, near)


def _row(view: View, item: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": item["kind"],
        "service": item["service"],
        "after_onset_s": number((item["time_ns"] - view.incident.start_ns) / 1e9),
        "time_ns": item["time_ns"],
        "description": item["description"],
    }


def _judged(view: View, near: list[dict[str, Any]]) -> Found:
    named = [row for row in near if row["service"] in view.names.services]
    if not named:
        return Found(rows=tuple(near), total=len(near))
    before = [row for row in named if row["after_onset_s"] <= AFTER_S]
    best = (before or named)[0]
    age = -best["after_onset_s"]
    strength = FULL * 0.5 ** (max(age, 0.0) / HALF_LIFE_S) if before and age <= BEFORE_S else 0.0
    when = f"{abs(age):.0f} s {'before' if age >= 0 else 'after'} the onset"
    text = f"{said(best['kind'] or 'change')} of {said(best['service'])} {when}: "
    text += said(best["description"] or "no description", 160)
    claim = Claim(what=best["kind"] or "change", direction="new", magnitude=1.0, unit="changes", text=text,
                  onset_ns=best["time_ns"])  # fmt: skip
    about = component(view, best["service"]).entity
    return Found(rows=tuple(near), total=len(near), about=about, claim=claim, strength=strength)
