"""Which incidents meet a filter, what belongs together, and in which order they come; nothing here changes anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aetia.detect.live import Candidate
from aetia.model.diagnosis import SliBreach
from aetia.model.entity import Entity
from aetia.model.errors import UsageError
from aetia.model.window import Window
from aetia.serve.incidents.records import Alert, IncidentFilter, IncidentRecord, Level, Source, services_of

WORSE: tuple[Level, ...] = ("unknown", "minor", "major", "critical")
_LEVELS: dict[str, Level] = {
    "critical": "critical", "page": "critical", "emergency": "critical", "fatal": "critical", "error": "major",
    "high": "major", "major": "major", "warning": "minor", "minor": "minor", "low": "minor", "info": "minor",
}  # fmt: skip


def rank(record: IncidentRecord) -> tuple[int, str]:
    """Order of incidents: by when they opened."""
    return record.opened_ns, record.id


def cursor_of(record: IncidentRecord) -> str:
    return f"{record.opened_ns:x}~{record.id}"


def parsed(cursor: str) -> tuple[int, str]:
    """The rank that a cursor stands for; raises UsageError for other texts."""
    opened, _, ident = cursor.partition("~")
    try:
        return int(opened, 16), ident
    except ValueError:
        raise UsageError(f"{cursor[:80]!r} is no cursor of this list; leave it out to begin") from None


def meets(record: IncidentRecord, wanted: IncidentFilter) -> bool:
    """Whether an incident is one that is asked for."""
    return (
        (not wanted.states or record.state in wanted.states)
        and (not wanted.sources or bool(set(wanted.sources) & set(record.sources)))
        and (not wanted.levels or record.severity in wanted.levels)
        and (wanted.service is None or wanted.service in services_of(record) | set(record.reach))
        and (wanted.window is None or wanted.window.overlaps(record.window))
    )


def worst(levels: Iterable[Level]) -> Level:
    return max(levels, key=WORSE.index)


def with_source(sources: tuple[Source, ...], one: Source) -> tuple[Source, ...]:
    return sources if one in sources else (*sources, one)


def firing(record: IncidentRecord) -> bool:
    return any(alert.status == "firing" for alert in record.alerts)


def titled(record: IncidentRecord) -> bool:
    """Whether a person gave the title."""
    return "manual" in record.sources


def closed_by_hand(record: IncidentRecord) -> bool:
    return record.state == "closed" and bool(record.notes) and record.notes[-1].at_ns == record.closed_ns


def level_of_alert(alert: Alert) -> Level:
    """The severity that an alert's label of that name means."""
    return _LEVELS.get(alert.labels.get("severity", "").lower(), "unknown")


def places_of(candidate: Candidate) -> set[str]:
    """The services that a candidate's entry points belong to and reach."""
    return {*candidate.reach, *(breach.entry.service or breach.entry.name for breach in candidate.breaches)}


def entries_of(record: IncidentRecord) -> set[Entity]:
    """The entry points that are hurt."""
    return {breach.entry for breach in record.breaches}


def joined(first: Sequence[SliBreach], then: Sequence[SliBreach]) -> tuple[SliBreach, ...]:
    """Breaches of both, those of the first where both have one."""
    known = {(breach.entry, breach.sli) for breach in first}
    return (*first, *(breach for breach in then if (breach.entry, breach.sli) not in known))


def together(candidates: Sequence[Candidate]) -> Candidate:
    """Candidates that belong to one incident, as one."""
    first = min(candidates, key=lambda c: (c.onset_ns, c.key))
    ends = [candidate.ended_ns for candidate in candidates]
    ended = None if None in ends else max(end or 0 for end in ends)
    breaches: tuple[SliBreach, ...] = ()
    for candidate in sorted(candidates, key=lambda c: c.ended_ns is not None):
        breaches = joined(breaches, candidate.breaches)
    keys = [key for candidate in candidates for key in (candidate.key, *candidate.merged)]
    shares = [candidate.share for candidate in candidates if candidate.share is not None]
    return Candidate(
        key=first.key, onset_ns=first.onset_ns, ended_ns=ended, baseline=first.baseline,
        window=Window(first.onset_ns, max(candidate.window.end_ns for candidate in candidates)),
        breaches=tuple(sorted(breaches, key=lambda b: (-b.affected, b.entry.name, b.sli))),
        level=worst(candidate.level for candidate in candidates), share=min(sum(shares), 1.0) if shares else None,
        reach=tuple(sorted({name for candidate in candidates for name in candidate.reach})),
        merged=tuple(dict.fromkeys(key for key in keys if key != first.key)),
        within_objective=all(candidate.within_objective for candidate in candidates),
    )  # fmt: skip
