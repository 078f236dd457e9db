"""Log templates of a component that appeared, vanished or changed their rate, with severity.

Rates are compared beyond what the component's traffic explains. Source: log rules of SimpleRCA (RCABench), as rates;
tool list of section 15.2 of the agents survey. Rows: one per template, severe and sure ones first. Cost: O(templates)
once the lines are counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np

from aetia.evidence._load import covered_seconds, traffic_ratio
from aetia.evidence._memo import once
from aetia.model.diagnosis import Claim
from aetia.model.quantities import number as words_of
from aetia.plugins import plugin
from aetia.reason.toolbox import MOST_ROWS, Found, NoAnswer, Tool, said
from aetia.reason.tools._parts import SURE_P, Component, component, need, number, seconds_in, strongest_first
from aetia.signals.frames import F64, I64, SEVERITY_ERROR, SEVERITY_WARN
from aetia.signals.logs import TemplateCounts, template_counts
from aetia.signals.stats import poisson_rate_p
from aetia.signals.view import View

SEVERITIES = ("unset", "trace", "debug", "info", "warn", "error", "fatal")
CHANGED = float(np.log(1.5))
FULL_CHANGE = float(np.log(5.0))
FULL_P = 4.0
WEIGHTS = {"error": 1.0, "warn": 0.5, "other": 0.25}
FULL, CLEARED = 0.5, 0.15
NOVEL_LINES = 3


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`component`: the service or instance whose lines are wanted.
    `least`: only templates of this severity or worse.
    """

    component: str
    least: Literal["any", "warn", "error"] = "any"


@plugin(
    "tool", needs=("logs",), summary="log templates of a component that appeared, vanished or changed their rate",
    source="log rules of SimpleRCA (RCABench), as rates", cost="O(templates)",
)  # fmt: skip
class LogTemplates(Tool[Args]):
    """Templates with rates in both windows."""

    Args = Args

    def look(self, view: View, args: Args) -> Found:
        need(view, "logs")
        one = component(view, args.component)
        if one.kind == "node":
            raise NoAnswer("bad_arguments", f"{said(one.name)} is a node, and logs are told apart by service.",
                           "name a service or an instance that runs on it")  # fmt: skip
        table = _table(view, one.kind)
        mine = np.flatnonzero(table.counts.entity == one.code)
        if len(mine) == 0:
            raise NoAnswer("no_data", f"{said(one.name)} printed nothing in these windows.",
                           "ask about another component", category="permanent")  # fmt: skip
        telling = _telling(view, table, mine, args.least)
        kept = np.flatnonzero(telling > 0)
        first = strongest_first(telling)
        texts = [view.logs.templates[int(t)].text for t in table.counts.template[mine].tolist()]
        order = sorted(kept.tolist(), key=lambda k: (first[k], texts[k]))
        found = tuple(_row(view, table, int(mine[k]), float(telling[k])) for k in order[:MOST_ROWS])
        return _judged(view, one, len(kept), len(mine), found)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """All k pairs of a service (or instance) and a template, arrays (k,): `p` that lines became as many more or fewer
    by chance, `log_ratio` of their rates, both beyond what traffic explains; `first_ns` of the incident, -1 none."""

    counts: TemplateCounts
    p: F64
    log_ratio: F64
    first_ns: I64


def _table(view: View, by: Literal["service", "instance"]) -> _Table:
    return once(view, f"templates by {by}", lambda v: _count(v, by))


def _count(view: View, by: Literal["service", "instance"]) -> _Table:
    logs = view.logs
    base, incident = view.log_masks
    counts = template_counts(logs, base, incident, by=by)
    seconds = covered_seconds(logs.time_ns, base), covered_seconds(logs.time_ns, incident)
    entity = logs.service if by == "service" else logs.instance
    owner = counts.entity if by == "service" else view.topology.instance_service[counts.entity]
    load = np.append(traffic_ratio(view), np.nan)[owner]
    exposure = seconds[1] * np.where(np.isfinite(load), np.clip(load, 0.01, 100.0), 1.0)
    before, during = counts.baseline.astype(np.float64), counts.incident.astype(np.float64)
    first_s, second_s = np.float64(max(seconds[0], 1e-9)), np.maximum(exposure, 1e-9)
    p = np.minimum(poisson_rate_p(before, first_s, during, second_s), poisson_rate_p(during, second_s, before, first_s))
    width = max(len(logs.templates), 1)
    rows = np.flatnonzero(incident & (entity >= 0) & (logs.template >= 0))
    key = entity[rows].astype(np.int64) * width + logs.template[rows]
    keys, first = np.unique(key, return_index=True)  # lines come in order of time
    wanted = counts.entity.astype(np.int64) * width + counts.template
    at = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
    seen = counts.incident > 0
    first_ns = np.full(len(counts), -1, np.int64)
    first_ns[seen] = logs.time_ns[rows[first[at[seen]]]]
    ratio = np.log((during + 0.5) / second_s) - np.log((before + 0.5) / first_s)
    return _Table(counts=counts, p=p, log_ratio=ratio, first_ns=first_ns)


def _telling(view: View, table: _Table, mine: I64, least: str) -> F64:
    """How much each template of a component says, 0..1: severity times significance times size; 0: no change."""
    counts, p, size = table.counts, table.p[mine], np.abs(table.log_ratio[mine])
    templates = [view.logs.templates[int(code)] for code in counts.template[mine].tolist()]
    severe = np.array([t.severity >= SEVERITY_ERROR or t.exception is not None for t in templates], np.bool_)
    warns = np.array([t.severity == SEVERITY_WARN for t in templates], np.bool_)
    weight = np.where(severe, WEIGHTS["error"], np.where(warns, WEIGHTS["warn"], WEIGHTS["other"]))
    changed = (p < SURE_P) & (size > CHANGED)
    changed |= severe & (counts.baseline[mine] == 0) & (counts.incident[mine] >= NOVEL_LINES)
    if least != "any":
        changed &= severe | (warns if least == "warn" else False)
    sure = np.clip(-np.log10(np.maximum(p, 1e-300)) / FULL_P, 0.1, 1.0)
    return np.where(changed, weight * sure * np.clip(size / FULL_CHANGE, 0.1, 1.0), 0.0)


def _row(view: View, table: _Table, at: int, telling: float) -> dict[str, Any]:
    counts = table.counts
    template = view.logs.templates[int(counts.template[at])]
    base, incident = view.log_masks
    logs = view.logs
    seconds = once(
        view, "seconds with lines",
        lambda _: (covered_seconds(logs.time_ns, base), covered_seconds(logs.time_ns, incident)),
    )  # fmt: skip
    lines = int(counts.baseline[at]), int(counts.incident[at])
    before, after = (n / length * 60.0 if length else None for n, length in zip(lines, seconds, strict=True))
    change = "new" if lines[0] == 0 else "gone" if lines[1] == 0 else None
    return {
        "change": change or ("up" if table.log_ratio[at] > 0 else "down"),
        "severity": SEVERITIES[template.severity],
        "template": template.text,
        "exception": template.exception,
        "baseline_per_min": None if before is None else number(before),
        "incident_per_min": None if after is None else number(after),
        "lines": int(counts.incident[at]),
        "first_s": seconds_in(view, int(table.first_ns[at])) if table.first_ns[at] >= 0 else None,
        "telling": number(telling),
    }


def _judged(view: View, one: Component, total: int, known: int, rows: tuple[dict[str, Any], ...]) -> Found:
    name = said(one.name)
    if not rows:
        claim = Claim(what="log templates", direction="changed", magnitude=0.0, unit="templates",
                      text=f"none of {known} log templates of {name} changed more than its traffic")  # fmt: skip
        return Found(rows=(), total=0, about=one.entity, claim=claim, polarity="against", strength=CLEARED)
    best = rows[0]
    rising = best["change"] in ("new", "up")
    onset = None if best["first_s"] is None else view.incident.start_ns + round(best["first_s"] * 1e9)
    before, after = (words_of(best[key]) for key in ("baseline_per_min", "incident_per_min"))
    text = f"{name} prints “{said(best['template'], 160)}” {after} times a minute, {before} before"
    text += f"; {total} of {known} templates changed"
    claim = Claim(what="log template", direction=best["change"], magnitude=best["incident_per_min"] or 0.0,
                  unit="lines/min", onset_ns=onset, text=text)  # fmt: skip
    strength = FULL * float(best["telling"]) if rising else 0.0
    return Found(rows=rows, total=total, about=one.entity, claim=claim, strength=strength)


def rising_by_service(view: View) -> F64:
    """How much the most telling template that rose says of each service, 0..1, shape (services,)."""
    out = np.zeros(len(view.names.services))
    if len(view.logs) == 0 or not len((table := _table(view, "service")).counts):
        return out
    every = np.arange(len(table.counts))
    telling = np.where(table.log_ratio > 0, _telling(view, table, every, "any"), 0.0)
    np.maximum.at(out, table.counts.entity, telling)
    return out
