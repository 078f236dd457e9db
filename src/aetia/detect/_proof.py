"""Evidence that users are hurt: each broken SLI, and all harm of an incident, as a query that anyone can run again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import msgspec

from aetia.detect._entries import Entries, entries
from aetia.detect._harm import WEIGHTS, harm
from aetia.detect._measure import figures
from aetia.detect._once import once
from aetia.detect._requests import Sli
from aetia.detect._weak import (
    ALERT,
    ERROR_LINES,
    Breakage,
    alerts,
    hurt_share,
    line_numbers,
    metric_numbers,
    owner,
    sli_series,
    weak_breakages,
)
from aetia.detect.severity import KINDS, severity_of, where
from aetia.model.diagnosis import Claim, Evidence, Impact, Incident, Query, Severity, SliBreach, make_evidence
from aetia.model.entity import Entity
from aetia.model.errors import SignalError
from aetia.model.quantities import number, percent, quantity
from aetia.model.window import Window
from aetia.signals.view import Facts, View

DETECTOR = "sli"
_TABLES = {"requests": "spans", "metric": "metrics", "alert": "changes", "error lines": "logs"}


class Proof(NamedTuple):
    """An incident whose breaches name their evidence, that evidence, who was hurt, and how badly."""

    incident: Incident
    evidence: tuple[Evidence, ...]
    impact: Impact | None
    severity: Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """An incident as it was detected; `healthy` is what its requests were compared with."""

    facts: Facts
    incident: Incident
    reference: Window | None
    declared: frozenset[str]
    healthy: tuple[Window, ...]

    def query(self, source: str, window: Window, args: dict[str, Any]) -> Query:
        given = {"source": source, **args}
        if self.declared:
            given["declared"] = sorted(self.declared)
        if source in ("metric", "error lines") and self.reference is None:
            given["usual"] = "found"
        baselines = self.healthy if source == "requests" else (self.incident.baseline,)
        return Query(
            kind="detector", channel=DETECTOR, args=given, incident=window, baselines={_TABLES[source]: baselines}
        )

    def run(self, query: Query) -> dict[str, Any]:
        assert query.incident is not None
        (windows,) = query.baselines.values()
        return measured(View(self.facts, windows, query.incident), **query.args)


def proof(facts: Facts, incident: Incident, reference: Window | None, declared: frozenset[str]) -> Proof:
    """Prove an incident from what detection has read. `reference` is the healthy time that metrics and error lines were
    compared with; without one they were compared with what they usually are."""
    if not incident.breaches:
        return Proof(incident, (), None, severity_of(None, None))
    of = _Found(
        facts=facts, incident=incident, reference=reference, declared=declared,
        healthy=_healthy(facts, incident, declared),
    )  # fmt: skip
    weak = any(_source(breach) != "requests" for breach in incident.breaches)
    ends = {item.breach: item.end_ns for item in weak_breakages(facts, reference, declared)} if weak else {}
    evidence: dict[str, Evidence] = {}
    breaches: list[SliBreach] = []
    for breach in incident.breaches:
        found = _proven(of, breach, ends.get(breach, incident.window.end_ns))
        evidence[found.id] = found
        breaches.append(msgspec.structs.replace(breach, evidence=found.id))
    whole = _whole(of)
    evidence[whole.id] = whole
    told = whole.result
    names = dict.fromkeys(b.entry.name for b in sorted(breaches, key=lambda b: (-b.affected, b.entry.name)))
    impact = Impact(
        entries=tuple(names), requests=told.get("requests") or 0, affected=told.get("affected") or 0, evidence=whole.id
    )
    proven = msgspec.structs.replace(incident, breaches=tuple(breaches))
    return Proof(proven, tuple(evidence.values()), impact, severity_of(told, whole.id))


def measured(view: View, *, what: str, source: str, declared: list[str] | None = None, **args: Any) -> dict[str, Any]:
    """The numbers of one query of this module again. `what` is `sli` or `harm`, `source` what tells of it. Raises
    SignalError for places that the view does not have, and TypeError or KeyError for arguments that make no sense."""
    facts, names = view.facts, frozenset(declared or ())
    if what == "harm":
        slis = [cast("tuple[str, str | None, Sli, str]", tuple(item)) for item in args["slis"]]
        if source == "requests":
            data = _data(facts, names)
            groups: list[tuple[int, Sli, str]] = [
                (_group(data, service, operation), sli, statistic) for service, operation, sli, statistic in slis
            ]
            return harm(data, groups, view.baseline_of("spans"), view.incident)
        return _weak_harm(facts, slis, source, _reference(view, source, **args), names)
    service, sli, statistic = args["service"], cast("Sli", args["sli"]), args["statistic"]
    if source == "requests":
        data = _data(facts, names)
        found = figures(data, view.baseline_of("spans"), view.incident)
        return found.numbers(_group(data, service, args.get("operation")), sli, statistic)
    if source == "metric":
        reference = _reference(view, source, **args)
        return metric_numbers(facts, reference, names, (service, sli, statistic), view.incident)
    if source == "error lines":
        return line_numbers(facts, _reference(view, source, **args), service, view.incident)
    times = [time for time, name in alerts(facts) if name == service and view.incident.contains(time)]
    return {"alerts": len(times)}


def around(data: Entries, window: Window) -> tuple[Window, ...]:
    """All of the data outside of a window."""
    begin, end = int(data.bin_start_ns[0]), int(data.bin_start_ns[-1]) + data.step_ns
    return (Window(min(begin, window.start_ns), window.start_ns), Window(window.end_ns, max(end, window.end_ns)))


def _data(facts: Facts, declared: frozenset[str]) -> Entries:
    data = entries(facts, declared)
    if data is None:
        raise SignalError("the telemetry holds no requests of an entry point")
    return data


def _group(data: Entries, service: str | None, operation: str | None) -> int:
    places = once(data, "places", lambda: {(e.service, e.operation): g for g, e in enumerate(data.entities)})
    if (service, operation) not in places:
        raise SignalError(f"there is no entry point {service} {operation or ''}".rstrip())
    return places[service, operation]


def _reference(view: View, source: str, *, usual: str = "baseline", **_: Any) -> Window | None:
    """The healthy time of a weak SLI; None where it was found without one."""
    windows = view.baseline_of(_TABLES[source])
    return windows[0] if usual == "baseline" and windows else None


def _source(breach: SliBreach) -> str:
    if breach.unit is None:
        return "requests"
    return {ALERT: "alert", ERROR_LINES: "error lines"}.get(breach.statistic, "metric")


def _healthy(facts: Facts, incident: Incident, declared: frozenset[str]) -> tuple[Window, ...]:
    """What requests were compared with: the baseline, or all else where that showed nothing over the whole window."""
    told = [breach for breach in incident.breaches if _source(breach) == "requests"]
    if not told:
        return (incident.baseline,)
    data = _data(facts, declared)
    found = figures(data, (incident.baseline,), incident.window)
    if all(found.is_broken(_group(data, b.entry.service, b.entry.operation), b.sli, b.statistic) for b in told):
        return (incident.baseline,)
    return around(data, incident.window)


def _proven(of: _Found, breach: SliBreach, end_ns: int) -> Evidence:
    """One breach with the query that measures it again; `end_ns` is when a weak SLI was whole again."""
    source = _source(breach)
    args: dict[str, Any] = {"what": "sli", "service": breach.entry.service, "sli": breach.sli,
                            "statistic": breach.statistic}  # fmt: skip
    if breach.entry.operation is not None:
        args["operation"] = breach.entry.operation
    window = of.incident.window
    if source != "requests":
        window = Window(breach.onset_ns, breach.onset_ns + 1 if source == "alert" else end_ns)
    query = of.query(source, window, args)
    result = of.run(query)
    return _evidence(breach.entry, query, result, _claim(breach, source, result))


def _whole(of: _Found) -> Evidence:
    """All harm of the incident with the query that counts it again."""
    worst = max(of.incident.breaches, key=lambda b: b.affected)
    source = _source(worst)
    slis = ((b.entry.service, b.entry.operation, b.sli, b.statistic)
            for b in of.incident.breaches if _source(b) == source)  # fmt: skip
    query = of.query(source, of.incident.window, {"what": "harm", "slis": [list(item) for item in dict.fromkeys(slis)]})
    result = of.run(query)
    text = "; ".join(_harm_words(result))
    claim = Claim(what="harm to users", direction="up", magnitude=result.get("share") or 0.0, unit="share", text=text)
    return _evidence(worst.entry, query, result, claim)


def _evidence(about: Entity, query: Query, result: dict[str, Any], claim: Claim) -> Evidence:
    """A symptom: it says nothing about who is to blame, so it has no strength."""
    return make_evidence(about=about, claim=claim, polarity="for", strength=0.0, query=query, result=result, own=False)


def _claim(breach: SliBreach, source: str, result: dict[str, Any]) -> Claim:
    name = breach.entry.name
    if source == "alert":
        times = "an alert" if result["alerts"] == 1 else f"{result['alerts']} alerts"
        return Claim(what="alert", direction="new", magnitude=float(result["alerts"]), unit="count",
                     text=f"{times} about {name}")  # fmt: skip
    before, now, unit = result["baseline"], result["incident"], result["unit"]
    up = (now or 0.0) > before
    what = "failures" if breach.sli == "success" and up else breach.sli
    statistic = "" if breach.statistic in ("share", "rate", breach.sli) else f" ({breach.statistic})"
    text = (
        f"{what}{statistic} at {name} {'rose' if up else 'fell'} from {quantity(before, unit)} to {quantity(now, unit)}"
    )
    if source == "requests":
        text += f": {_of_requests(breach.sli, result)}"
    ratio = (now or 0.0) / before if before else (now or 0.0)
    return Claim(what=breach.sli, direction="up" if up else "down", magnitude=ratio, unit="ratio", text=text)


def _of_requests(sli: Sli, result: dict[str, Any]) -> str:
    if sli == "throughput":
        return f"{number(result['requests'])} requests came, {number(result['expected'])} were to be expected"
    how = "failed" if sli == "success" else f"took longer than {quantity(result['limit'], 'ms')}"
    return f"{number(result['affected'])} of {number(result['requests'])} requests {how}"


def _harm_words(result: dict[str, Any]) -> Iterator[str]:
    places = where(result)
    if result.get("requests"):
        kinds = [f"{number(result[kind])} {words}" for kind, words in KINDS.items() if result[kind]]
        share = percent(result["share"])
        yield f"{number(result['affected'])} of {number(result['requests'])} requests ({share}) at {places} were hurt"
        yield ", ".join(kinds)
        yield f"that is {percent(result['of_all'])} of all {number(result['all_requests'])} requests"
    else:
        yield f"an SLI broke at {places}"


def _weak_harm(
    facts: Facts, slis: list[tuple[str, str | None, Sli, str]], source: str, reference: Window | None,
    declared: frozenset[str],
) -> dict[str, Any]:  # fmt: skip
    """Harm without requests: how many places, whether a broken SLI is still broken where the data end, and the share of
    requests that is hurt at least, where the metrics tell it (all entry points weigh the same)."""
    wanted = {(name, sli, statistic) for name, _, sli, statistic in slis}
    broken = {name for name, _, _ in wanted}
    found: dict[str, Any] = {"broken": len(broken), "entry_points": None, "weighed": None, "lasts": None,
                             "until_ns": None}  # fmt: skip
    if source == "alert":
        return found
    again = [item for item in weak_breakages(facts, reference, declared)
             if (b := item.breach) is not None and (b.entry.name, b.sli, b.statistic) in wanted]  # fmt: skip
    if source == "metric":
        series = facts.metrics.series
        frame = facts.metrics
        end = int(frame.bin_start_ns[-1]) + frame.step_ns
        found["entry_points"] = len({owner(facts, series[rows[0]]) for rows in sli_series(facts, declared)})
        found["weighed"] = _weighed(facts, again, declared, found["entry_points"])
    else:
        end = int(facts.logs.time_ns[-1]) + 1
    if again:
        last = max(item.end_ns for item in again)
        lasts = last + again[0].step_ns >= end
        found |= {"lasts": lasts, "until_ns": end if lasts else last, "data_end_ns": end}
    return found


def _weighed(facts: Facts, found: list[Breakage], declared: frozenset[str], places: int) -> float | None:
    shares: dict[str, float] = {}
    kinds: dict[Sli, str] = {"success": "failed", "latency": "slow", "throughput": "missing"}
    for item in found:
        b = item.breach
        assert b is not None
        share = hurt_share(facts, declared, (b.entry.name, b.sli, b.statistic), b.baseline, b.incident)
        if share is not None:
            shares[b.entry.name] = max(shares.get(b.entry.name, 0.0), WEIGHTS[kinds[b.sli]] * share)
    return sum(shares[name] for name in sorted(shares)) / places if shares and places else None
