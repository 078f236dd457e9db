"""Words and numbers that all reports share: units, times, entities, verdicts, sparklines."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, NamedTuple, TypeGuard, cast

from aetia.model.diagnosis import Diagnosis, DroppedRows, Evidence, Hypothesis, Incident, Precedent, Severity, SliBreach
from aetia.model.entity import Entity
from aetia.model.faults import CLASS_TITLES
from aetia.model.quantities import duration_ns, number, percent, quantity
from aetia.model.window import Window

SPARKS = "▁▂▃▄▅▆▇█"
GAP = "·"
MARK = "╎"
LIKELY = 0.3
"""Probability below which an answer is called a suspect and not a cause."""
_LEVEL_NAMES = {"external": "external dependency", "edge": "link"}
_ROWS = {
    "spans": "span", "logs": "log line", "metrics": "metric point", "changes": "change", "topology": "call edge",
}  # fmt: skip
_DIRECTIONS = {
    "up": "rose by", "down": "fell by", "new": "appeared:", "gone": "vanished:", "changed": "changed by",
}  # fmt: skip


def plain(text: object, limit: int = 200) -> str:
    """One line of printable text: control and direction-changing characters become spaces, long text is cut.

    Names come from telemetry, so a name may hold terminal escapes or a megabyte of text.
    """
    raw = str(text)[: limit * 4]
    clean = "".join(" " if unicodedata.category(char)[0] == "C" else char for char in raw)
    clean = " ".join(clean.split())
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def p_value(value: float) -> str:
    """A probability under the null hypothesis, with a floor that keeps it readable."""
    if not math.isfinite(value):
        return "p unknown"
    return "p < 1e-12" if value < 1e-12 else f"p = {value:.1e}" if value < 0.001 else f"p = {value:.3f}"


def significance(found: SliBreach) -> str:
    """How sure it is that an SLI broke; alerts come without a test."""
    return "said by an alert" if found.statistic == "alert" else p_value(found.p_value)


def moment(time_ns: int | None, *, day: bool = True) -> str:
    """A UTC time to the second; epochs that no calendar holds are printed as they are."""
    if time_ns is None:
        return "unknown"
    try:
        at = datetime.fromtimestamp(time_ns / 1e9, tz=UTC)
    except (OverflowError, OSError, ValueError):
        return f"{time_ns} ns"
    return at.strftime("%Y-%m-%d %H:%M:%S UTC" if day else "%H:%M:%S")


def window(span: Window) -> str:
    """`2023-01-29 10:00:00 to 10:05:00 UTC (5 min)`."""
    start, end = moment(span.start_ns), moment(span.end_ns)
    if start[:10] == end[:10]:
        end = end[11:]
    return f"{start.removesuffix(' UTC')} to {end} ({duration_ns(span.end_ns - span.start_ns)})"


def level(entity: Entity) -> str:
    return _LEVEL_NAMES.get(entity.level, entity.level)


def entity_title(entity: Entity, limit: int = 80) -> str:
    """The entity's name, cut to one line."""
    return plain(entity.name, limit)


def entity_place(entity: Entity) -> str:
    """What the entity is and where it sits: `instance of cart, on node-3`."""
    words = level(entity)
    if entity.service and entity.level in ("instance", "operation") and entity.service != entity.name:
        words += f" of {plain(entity.service, 60)}"
    elif entity.level == "edge" and entity.service:
        words += f", blamed on {plain(entity.service, 60)}"
    if entity.instance and entity.level in ("service", "operation"):
        words += f", with {plain(entity.instance, 60)} its only instance"
    if entity.node and entity.level != "node":
        words += f", on {plain(entity.node, 60)}"
    if entity.operation and entity.level == "edge":
        words += f", {plain(entity.operation, 60)}"
    return words


def fault(hypothesis: Hypothesis) -> str:
    """`exception (C, logical error)`; empty when neither fault nor class is known."""
    short = CLASS_TITLES[hypothesis.fault_class].split(" (")[0] if hypothesis.fault_class else ""
    named = plain(hypothesis.fault.replace("_", " "), 60) if hypothesis.fault else ""
    if not hypothesis.fault_class:
        return named
    aside = f"class {hypothesis.fault_class}"
    return f"{named} ({aside}, {short})" if named and named != short else f"{short} ({aside})"


def claim(evidence: Evidence) -> str:
    """The evidence in one sentence: its own text, or one made from the claim's fields."""
    if evidence.claim.text:
        return plain(evidence.claim.text, 400)
    said = evidence.claim
    amount = quantity(said.magnitude, said.unit)
    return f"{entity_title(evidence.about)}: {plain(said.what, 80)} {_DIRECTIONS[said.direction]} {amount}"


def comparison(evidence: Evidence) -> str:
    """`12 ms → 340 ms` from the query's result; empty when the evidence compares no two plain numbers."""
    before, after = evidence.result.get("baseline"), evidence.result.get("incident")
    if not _is_number(before) or not _is_number(after):
        return ""
    chart = series(evidence)
    unit = plain(evidence.result.get("unit") or (chart.unit if chart else ""), 24)
    return f"{quantity(before, unit)} → {quantity(after, unit)}"


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


LARGEST = 1e200
"""Larger values cannot be drawn: their differences and squares leave the range of a float."""


class Chart(NamedTuple):
    """A signal to draw: one value per step, None where nothing was recorded."""

    start_ns: int
    step_ns: int
    unit: str
    values: tuple[float | None, ...]


def series(evidence: Evidence) -> Chart | None:
    """The chart in the evidence's result; None when it has none that can be drawn."""
    found: Any = evidence.result.get("series")
    if not isinstance(found, dict):
        return None
    held = cast("dict[str, Any]", found)
    start, step, values = held.get("start_ns"), held.get("step_ns"), held.get("values")
    if not (_is_number(start) and _is_number(step) and step > 0 and isinstance(values, list | tuple)):
        return None
    clean = tuple(float(v) if _is_number(v) and abs(v) < LARGEST else None for v in cast("list[Any]", values))
    if sum(value is not None for value in clean) < 2:
        return None
    return Chart(int(cast(float, start)), int(step), plain(held.get("unit") or "", 24), clean)


def sparkline(values: Sequence[float | None], width: int = 32, mark: int | None = None) -> str:
    """Block characters, lowest to highest value; a gap is a dot. Longer series are averaged to `width`.

    `mark` is the index of the first value of the incident; a bar is drawn before it.
    """
    bins = min(width, len(values))
    if bins == 0:
        return ""
    edges = [index * len(values) // bins for index in range(bins + 1)]
    parts = [[value for value in values[a:b] if value is not None] for a, b in pairwise(edges)]
    means = [sum(part) / len(part) if part else None for part in parts]
    known = [value for value in means if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    # Halves, because the difference of the largest two floats is infinite; a share of it, because the inverse
    # of the smallest is.
    room = high / 2 - low / 2
    drawn = [
        GAP if value is None else SPARKS[round((value / 2 - low / 2) / room * (len(SPARKS) - 1)) if room > 0 else 0]
        for value in means
    ]
    if mark is not None and 0 < mark < len(values):
        drawn.insert(next(index for index, edge in enumerate(edges) if edge >= mark), MARK)
    return "".join(drawn)


def incident_index(chart: Chart, incident: Incident | None) -> int | None:
    """Index of the chart's first value in the incident; None when the chart does not cross its start."""
    if incident is None:
        return None
    index = -((chart.start_ns - incident.window.start_ns) // chart.step_ns)
    return int(index) if 0 < index < len(chart.values) else None


def breach(found: SliBreach) -> str:
    """`success fell from 99.8 % to 61 %`; success that is told by counting failures is called that."""
    unit = {"latency": "ms", "success": "share", "throughput": "req/s"}[found.sli] if found.unit is None else found.unit
    verb = "rose" if found.incident > found.baseline else "fell"
    sli = "failures" if found.sli == "success" and found.incident > found.baseline else found.sli
    statistic = plain(found.statistic, 60) if found.statistic not in (found.sli, "share", "rate") else ""
    name = f"{sli} ({statistic})" if statistic else sli
    return f"{name} {verb} from {quantity(found.baseline, unit)} to {quantity(found.incident, unit)}"


def hurt_requests(found: SliBreach) -> str:
    """`263 of 364`; a dash where the SLI is a metric and no request was recorded."""
    return f"{number(found.affected)} of {number(found.requests)}" if found.requests else "–"


def severity(found: Severity) -> str:
    """The level, and what a person asks next: whether it still goes on. `major, over since …`."""
    if found.lasts is None:
        course = "" if found.until_ns is None else f", last seen {moment(found.until_ns)}"
    elif found.lasts:
        course = f", still going on at the end of the data ({moment(found.until_ns, day=False)} UTC)"
    else:
        course = f", over since {moment(found.until_ns)}"
    heading = f" and {found.trend}" if found.lasts and found.trend not in (None, "steady") else ""
    why = f": {plain(found.facts[0].text)}" if found.level == "unknown" and found.facts and not course else ""
    return f"{found.level}{course}{heading}{why}"


class Answer(NamedTuple):
    """One of the three questions about a candidate: what is known, and the evidence that says so."""

    text: str
    evidence: tuple[str, ...]


def triage(item: Hypothesis) -> tuple[Answer, Answer, Answer] | None:
    """Detection, triage and localization of a candidate; None where nobody has assessed it."""
    told = item.assessment
    if told is None:
        return None
    abnormal = {True: "abnormal", False: "not abnormal", None: "whether it is abnormal is open"}[told.abnormal]
    kind = fault(item) or (CLASS_TITLES[told.fault_class] if told.fault_class else "no class of fault is known")
    if told.severity is not None:
        kind += f", severity there {percent(told.severity)}"
    origin = {True: "began there", False: "began elsewhere", None: "whether it began there is open"}[told.origin]
    if told.origin is None and told.origin_by:
        origin = "shows what can only have begun there"
    if told.conflicts:
        origin += f" ({plain('; '.join(told.conflicts))})"
    return Answer(abnormal, told.abnormal_by), Answer(kind, told.triage_by), Answer(origin, told.origin_by)


def assessed(diagnosis: Diagnosis) -> list[tuple[Hypothesis, tuple[Answer, Answer, Answer]]]:
    """The candidates that were assessed, in their order."""
    told = ((item, triage(item)) for item in diagnosis.hypotheses)
    return [(item, answers) for item, answers in told if answers is not None]


def channels(diagnosis: Diagnosis, ids: Iterable[str]) -> str:
    """Where evidence comes from, by the names of the channels, tools and detectors."""
    held = {item.id: item for item in diagnosis.evidence}
    return joined(dict.fromkeys(plain(held[key].query.channel, 24) for key in ids if key in held), 4)


def rejection(item: Hypothesis) -> str:
    """`cart (service): its callee explains it`."""
    why = item.reason or "explained by the root cause"
    return f"{entity_title(item.entity)} ({level(item.entity)}): {plain(why, 300)}"


def roots(diagnosis: Diagnosis) -> tuple[Hypothesis, ...]:
    """The joint answer: the hypotheses that `roots` names, or the first when it names none."""
    chosen = tuple(diagnosis.hypotheses[i] for i in diagnosis.roots if 0 <= i < len(diagnosis.hypotheses))
    return chosen or diagnosis.hypotheses[:1]


def evidence_of(diagnosis: Diagnosis, hypothesis: Hypothesis) -> tuple[Evidence, ...]:
    """The evidence for a hypothesis, strongest first; ids that the diagnosis does not hold are left out."""
    held = {item.id: item for item in diagnosis.evidence}
    return tuple(sorted((held[i] for i in hypothesis.evidence if i in held), key=lambda item: -item.strength))


def decisive(diagnosis: Diagnosis, limit: int = 6) -> tuple[Evidence, ...]:
    """The strongest evidence of the joint answer that can be drawn, each once."""
    seen: dict[str, Evidence] = {}
    for root in roots(diagnosis):
        for item in evidence_of(diagnosis, root):
            if series(item) is not None:
                seen.setdefault(item.id, item)
    return tuple(sorted(seen.values(), key=lambda item: -item.strength)[:limit])


def headline(diagnosis: Diagnosis) -> str:
    """The answer in one sentence."""
    if diagnosis.abstained is not None or not diagnosis.hypotheses:
        why = plain(diagnosis.abstained or "no hypothesis was left", 400)
        return f"No root cause is named: {why.rstrip('.')}."
    causes = roots(diagnosis)
    named = " and ".join(f"{entity_title(root.entity)} ({level(root.entity)})" for root in causes)
    faults = ", ".join(dict.fromkeys(filter(None, (fault(root) for root in causes))))
    sure = [root.probability for root in causes if root.probability is not None]
    if sure and max(sure) < LIKELY:
        return f"No cause stands out. First suspect: {named}{', ' + faults if faults else ''}."
    return f"Root cause{'s' if len(causes) > 1 else ''}: {named}{', ' + faults if faults else ''}."


def path(diagnosis: Diagnosis) -> list[list[str]]:
    """The propagation as chains of names, root first: hops that continue one another are joined."""
    chains: list[list[str]] = []
    for hop in diagnosis.propagation:
        for chain in chains:
            if chain[-1] == hop.source and hop.target not in chain:
                chain.append(hop.target)
                break
        else:
            chains.append([hop.source, hop.target])
    return [[plain(name, 60) for name in chain] for chain in chains]


def seen_before(diagnosis: Diagnosis) -> list[str]:
    """A line for each precedent, those of the answer first: what it was and when, how alike, what was done about it."""
    named = {root.entity.name for root in roots(diagnosis)} if diagnosis.abstained is None else set[str]()
    told = sorted(diagnosis.precedents, key=lambda item: item.candidate not in named)
    return [precedent(item, of_answer=item.candidate in named) for item in told]


def precedent(item: Precedent, *, of_answer: bool) -> str:
    """`cart: memory leak (class B), 2026-03-01, 72 % alike (aetia memory show M84…): “rolled back” helped`."""
    known = f"class {plain(item.fault_class, 2)}" if item.fault_class else ""
    named = plain(item.fault.replace("_", " "), 60) if item.fault else ""
    what = f"{named} ({known})" if named and known else named or known or "a fault of unknown kind"
    alike = f"{percent(item.likeness)} alike{'' if of_answer else f' if the cause is {plain(item.candidate, 60)}'}"
    done = joined(f"“{plain(one.action, 160)}” {'helped' if one.worked else 'did not help'}" for one in item.remedies)
    return (
        f"{plain(item.component, 60)}: {what}, {moment(item.happened_ns)[:10]}, {alike}"
        f" (aetia memory show {plain(item.id, 40)}): {done or 'nobody wrote down what was done'}"
    )


def dropped(record: DroppedRows) -> str:
    """`spans: 1 200 rows, negative duration (a.parquet)`; one file needs no number, since its reason names it."""
    unit = {"files": "file", "messages": "message"}.get(record.table, "row")
    rows = f"{number(record.rows)} {unit}{'' if record.rows == 1 else 's'}"
    place = "" if not record.source or record.source in record.reason else f" ({plain(record.source, 80)})"
    one = record.rows == 0 or (unit == "file" and record.rows == 1)
    what = "" if one else f"{rows}, " if unit == "row" else f"{number(record.rows)}, "
    return f"{plain(record.table, 20)}: {what}{plain(record.reason, 300)}{place}"


def cost(diagnosis: Diagnosis) -> str:
    """`1.2 s, 120 000 spans, 4 000 log lines`."""
    rows = [
        f"{number(count)} {_ROWS.get(table, table)}{'' if count == 1 else 's'}"
        for table, count in diagnosis.cost.rows.items()
        if count
    ]
    paid = f" for {diagnosis.cost.money:.4g}" if diagnosis.cost.money else ""
    tokens = [f"{number(diagnosis.cost.tokens)} tokens{paid}"] if diagnosis.cost.tokens else []
    return ", ".join([duration_ns(diagnosis.cost.seconds * 1e9), *rows, *tokens])


def joined(items: Iterable[str], limit: int = 6) -> str:
    """A list in a sentence; what is beyond the limit is counted."""
    found = list(items)
    more = f" and {len(found) - limit} more" if len(found) > limit else ""
    return ", ".join(found[:limit]) + more


def key_facts(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    """Label and value of what a reader asks first: how sure, since when, who was hurt, compared with what."""
    facts: list[tuple[str, str]] = []
    causes = roots(diagnosis) if diagnosis.abstained is None else ()
    if causes:
        sure = [percent(root.probability) for root in causes if root.probability is not None]
        if sure:
            facts.append(("probability", " · ".join(sure)))
        places = [entity_place(root.entity) for root in causes]
        if places != [level(root.entity) for root in causes]:  # The headline has told the level.
            facts.append(("where", "; ".join(places)))
        onsets = [root.onset_ns for root in causes if root.onset_ns is not None]
        if onsets:
            facts.append(("since", _since(min(onsets), diagnosis)))
    if diagnosis.incident is not None:
        how = " (given)" if diagnosis.incident.given else " (detected)"
        facts.append(("incident", window(diagnosis.incident.window) + how))
        facts.append(("baseline", _baseline(diagnosis)))
    if diagnosis.severity is not None:
        facts.append(("severity", severity(diagnosis.severity)))
    if diagnosis.impact.entries:
        hurt = diagnosis.impact
        share = f" ({percent(hurt.affected / hurt.requests)})" if hurt.requests else ""
        counts = f"{number(hurt.affected)} of {number(hurt.requests)} requests{share} at " if hurt.requests else ""
        unknown = "" if hurt.requests else "; no requests are recorded, so nobody can say how many"
        facts.append(("impact", f"{counts}{joined(plain(name, 60) for name in hurt.entries)}{unknown}"))
    elif causes and diagnosis.severity is None and diagnosis.incident is not None and not diagnosis.incident.breaches:
        facts.append(("impact", "no harm to users was measured in this window"))
    if diagnosis.case:
        facts.append(("case", plain(diagnosis.case)))
    return facts


def _since(onset_ns: int, diagnosis: Diagnosis) -> str:
    """The onset, and how long before (or after) users were hurt it came."""
    words = moment(onset_ns)
    if diagnosis.incident is None or not diagnosis.incident.breaches:
        return words
    lead = diagnosis.incident.onset_ns - onset_ns
    if abs(lead) < 1e9:
        return f"{words}, as users were hurt"
    if lead < 0:
        # A cause does not follow its effect: its first sign does, where signs are rarer than requests.
        return f"{words} at the latest, {duration_ns(-lead)} after users were hurt"
    return f"{words}, {duration_ns(lead)} before users were hurt"


def _baseline(diagnosis: Diagnosis) -> str:
    """The time that the evidence compares with. It leaves out the end of the baseline, as harm may begin before it is
    noticed, and tables whose healthy time was recorded at another time have their own."""
    assert diagnosis.incident is not None
    whole = diagnosis.incident.baseline
    used: dict[tuple[Window, ...], list[str]] = {}
    for item in diagnosis.evidence[:1]:
        for table in ("spans", "logs", "metrics"):
            spans = item.query.baselines.get(table)
            if spans and diagnosis.cost.rows.get(table, 0):
                used.setdefault(tuple(spans), []).append(table)
    if len(used) > 1:
        return "; ".join(f"{' and '.join(tables)}: {joined(map(window, spans))}" for spans, tables in used.items())
    left_out = whole.end_ns - max((span.end_ns for spans in used for span in spans), default=whole.end_ns)
    return window(whole) + (f", its last {duration_ns(left_out)} left out" if left_out >= 1e9 else "")
