"""Log novelty: severe templates of a service that are new or burst, and benign ones that were never printed before.

Works without spans. A caller that logs its callee's failure is a victim, so such evidence is not the service's own
as long as a callee can explain it. Source: log rules of SimpleRCA (RCABench), normalised to rates. Score:
significance of the rate's rise times its size; higher = more suspicious. Cost: O(lines).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aetia.evidence._load import covered_seconds, traffic_ratio
from aetia.evidence._memo import once
from aetia.evidence._mentions import mentioned, mentions_another
from aetia.evidence._places import service_or_external
from aetia.evidence._timeline import rate_over_time
from aetia.evidence._victims import explained_rows, severe_lines, slow_answers, unanswered_calls
from aetia.evidence.channel import Finding, Reading
from aetia.model.diagnosis import Claim
from aetia.model.errors import SignalError
from aetia.model.quantities import number
from aetia.plugins import plugin
from aetia.signals.frames import F64, I64, SEVERITY_ERROR, SEVERITY_WARN, Bool
from aetia.signals.keys import dense_groups
from aetia.signals.stats import poisson_rate_p
from aetia.signals.view import View

FULL_LOG_P = 4.0
MIN_LINES = 3
FULL_LOG_RISE = float(np.log(5.0))
WEIGHT = {"error": 1.0, "warn": 0.5, "benign": 0.25}
DISCOUNT = 0.3
ELSEWHERE = re.compile(
    r"\b(downstream|upstream|remote|peer|time[ds]?[ -]?out|deadline exceeded|unavailable|unreachable|refused|"
    r"connect(ion)? (reset|failed|closed|error)|broken pipe|cancel+ed|call(s|ed|ing)? to|no route|unknown host|"
    r"name resolution|retry|retrying|circuit|bad gateway)\b",
    re.IGNORECASE,
)
"""What a service says when somebody it calls, or who called it, is in trouble."""
ACCUSED = 0.9
"""How far a service is blamed that others name when they say such a thing."""
VOLUME = 0.5
"""Share of a score that depends on the number of lines, against the most talkative template that rose."""
PER_SERVICE = 2
MIN_SCORE = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rates:
    """Lines per (service, template) in both windows and the seconds that the windows cover."""

    service: I64
    template: I64
    base: I64
    incident: I64
    base_seconds: float
    incident_seconds: float


@plugin(
    "channel",
    needs=("logs",),
    summary="severe log templates that are new or burst, benign ones never printed before",
    source="log rules of SimpleRCA (RCABench), as rates",
    cost="O(lines)",
)
class LogNovelty:
    """Rise of template rates per service beyond what its traffic explains."""

    def observe(self, view: View) -> Reading:
        if len(view.logs) == 0:
            return Reading(silent="no logs")
        rates = _rates(view)
        if rates.base_seconds == 0 or rates.incident_seconds == 0:
            return Reading(silent="no log lines in the baseline or none in the incident")
        score = _scores(view, rates)
        kept: dict[int, int] = {}
        findings: list[Finding] = []
        for row in np.argsort(-score, kind="stable").tolist():
            service = int(rates.service[row])
            if score[row] < MIN_SCORE:
                break
            if kept.get(service, 0) < PER_SERVICE:
                kept[service] = kept.get(service, 0) + 1
                findings.append(_finding(view, rates, row, float(score[row])))
        findings += _accused(view, rates)
        findings.sort(key=lambda f: (-f.score, f.entity.name))
        return Reading(findings=tuple(findings), silent=None if findings else "no log template is new or bursts")

    def measure(self, view: View, **args: Any) -> dict[str, Any]:
        rates, names = _rates(view), view.names
        for row in range(len(rates.service)):
            text = view.logs.templates[int(rates.template[row])].text
            if names.services[int(rates.service[row])] == args["service"] and text == args["template"]:
                return {
                    "baseline": float(rates.base[row] / max(rates.base_seconds, 1e-9) * 60.0),
                    "incident": float(rates.incident[row] / max(rates.incident_seconds, 1e-9) * 60.0),
                    "baseline_lines": int(rates.base[row]),
                    "incident_lines": int(rates.incident[row]),
                    "unit": "lines/min",
                    "series": _chart(view, int(rates.service[row]), int(rates.template[row])),
                }
        raise SignalError(
            f"{args['service']} prints no line like “{args['template']}” in the windows of this telemetry."
        )


def _chart(view: View, service: int, template: int) -> dict[str, Any]:
    """Lines of one template of one service per minute over time."""
    logs = view.logs
    own = (logs.service == service) & (logs.template == template)
    return rate_over_time(view, logs.time_ns[own], "lines/min", 60.0)


def _rates(view: View) -> _Rates:
    def build(v: View) -> _Rates:
        logs = v.logs
        base, incident = v.log_masks
        used = np.flatnonzero((base | incident) & (logs.service >= 0) & ~_victim_lines(v))
        width = np.int64(max(len(logs.templates), 1))
        key, pair = dense_groups(logs.service[used] * width + logs.template[used])
        return _Rates(
            service=key // width,
            template=key % width,
            base=np.bincount(pair[base[used]], minlength=len(key)),
            incident=np.bincount(pair[incident[used]], minlength=len(key)),
            base_seconds=covered_seconds(logs.time_ns, base),
            incident_seconds=covered_seconds(logs.time_ns, incident),
        )

    return once(view, "log rates", build)


def _victim_lines(view: View) -> Bool:
    """Lines of spans below which another service complains too or answers far too late."""
    logs = view.logs
    if len(view.spans) == 0:
        return np.zeros(len(logs), np.bool_)
    explained = explained_rows(view, severe_lines(view) | slow_answers(view), unanswered_calls(view))
    return np.append(explained, False)[logs.span]  # the last place serves lines of no span


def _scores(view: View, rates: _Rates) -> F64:
    templates = view.logs.templates
    weight = np.array([_weight(templates[t].severity, templates[t].exception) for t in rates.template.tolist()])
    benign = weight == WEIGHT["benign"]
    weight = np.where(benign & (rates.base > 0), 0.0, weight)
    pairs = zip(rates.template.tolist(), rates.service.tolist(), strict=True)
    named = np.array([mentions_another(view, template, service) for template, service in pairs], np.bool_)
    away = np.array([ELSEWHERE.search(templates[t].text) is not None for t in rates.template.tolist()], np.bool_)
    return _strength(view, rates) * np.where(named | away, weight * DISCOUNT, weight)


def _strength(view: View, rates: _Rates) -> F64:
    """Significance times size of each rise, and its volume against the largest, whatever the line says, (rows,)."""
    load = traffic_ratio(view)[rates.service]
    exposure = rates.incident_seconds * np.where(np.isfinite(load), np.maximum(load, 1.0), 1.0)
    p = poisson_rate_p(rates.base, rates.base_seconds, rates.incident, exposure)
    sure = np.clip(-np.log10(np.maximum(p, 1e-300)) / FULL_LOG_P, 0.0, 1.0)
    expected = (rates.base + 0.5) / rates.base_seconds * exposure
    rise = np.clip(np.log((rates.incident + 0.5) / expected) / FULL_LOG_RISE, 0.0, 1.0)
    score = np.where(rates.incident >= MIN_LINES, sure * rise, 0.0)
    lines = np.log1p(np.maximum(rates.incident - expected, 0.0)) * (score > 0)
    return score * (1.0 - VOLUME + VOLUME * lines / max(float(lines.max(initial=0.0)), 1e-9))


def _accused(view: View, rates: _Rates) -> list[Finding]:
    """Services that others name when they say that somebody does not answer."""
    strength = _strength(view, rates)
    best: dict[int, int] = {}
    for row in np.flatnonzero(ACCUSED * strength >= MIN_SCORE).tolist():
        template = int(rates.template[row])
        if ELSEWHERE.search(view.logs.templates[template].text) is None:
            continue
        for code in mentioned(view, template):
            if code != int(rates.service[row]) and (code not in best or strength[row] > strength[best[code]]):
                best[code] = row
    out: list[Finding] = []
    for code, row in sorted(best.items()):
        found = _finding(view, rates, row, ACCUSED * float(strength[row]))
        out.append(replace(found, entity=service_or_external(view, code), fault_class="E", fault="partition"))
    return out


def _weight(severity: int, exception: str | None) -> float:
    if severity >= SEVERITY_ERROR or exception is not None:
        return WEIGHT["error"]
    return WEIGHT["warn"] if severity == SEVERITY_WARN else WEIGHT["benign"]


def _finding(view: View, rates: _Rates, row: int, score: float) -> Finding:
    template = view.logs.templates[int(rates.template[row])]
    service = view.names.services[int(rates.service[row])]
    before = rates.base[row] / rates.base_seconds * 60.0
    after = rates.incident[row] / rates.incident_seconds * 60.0
    onset = _first(view, int(rates.service[row]), int(rates.template[row]))
    return Finding(
        entity=service_or_external(view, int(rates.service[row])),
        score=score,
        fault_class="C",
        fault="exception",
        own=False,
        args={"service": service, "template": template.text},
        onset_ns=onset,
        claim=Claim(
            what="log template",
            direction="new" if rates.base[row] == 0 else "up",
            magnitude=round(after, 3),
            unit="lines/min",
            onset_ns=onset,
            text=f"{service} prints “{template.text[:160]}” {number(after)} times a minute, {number(before)} before",
        ),
    )


def _first(view: View, service: int, template: int) -> int:
    logs = view.logs
    hit = view.log_masks[1] & (logs.service == service) & (logs.template == template)
    return int(logs.time_ns[np.argmax(hit)])
