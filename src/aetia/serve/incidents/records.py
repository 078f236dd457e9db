"""Incidents as values: what is kept of one, what happened to it, and what is asked for in lists."""

from __future__ import annotations

import secrets
import time
from typing import Literal

import msgspec

from aetia.model.diagnosis import SliBreach
from aetia.model.errors import UsageError
from aetia.model.window import Window

State = Literal["open", "closed", "merged"]
Source = Literal["sli", "alert", "manual"]
Level = Literal["critical", "major", "minor", "unknown"]
What = Literal["opened", "updated", "closed", "reopened", "merged", "diagnosed", "noted"]


class UnknownIncident(UsageError):
    """No incident has this id."""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert of another system, one row per fingerprint; `ends_ns` is None while it fires."""

    fingerprint: str
    name: str
    service: str | None
    status: Literal["firing", "resolved"]
    starts_ns: int
    ends_ns: int | None = None
    labels: dict[str, str] = {}


class DiagnosisSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What the latest diagnosis said. `root` names the root cause in words, None where it abstained; `causes` are the
    services of the root causes, `hurt` those whose entry points are hurt."""

    revision: int
    at_ns: int
    root: str | None = None
    causes: tuple[str, ...] = ()
    hurt: tuple[str, ...] = ()
    fault_class: str | None = None
    probability: float | None = None
    abstained: str | None = None


class Note(msgspec.Struct, frozen=True, kw_only=True):
    at_ns: int
    text: str
    by: str = ""


class IncidentRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One incident.

    `window` goes from the onset to the end or, while it is open, to when it was last seen; `baseline` is the healthy
    time that it is compared with. `severity` is the worst level it has reached, `share` the weighed share of all
    users' requests that is hurt now. `keys` are those of the candidates that it came from, `reach` the services that
    the hurt entry points use. `ended_ns` may be set while it is open: the harm is over, and it is waited whether it
    comes back. `within_objective`: objectives were given, and the harm so far breaks none.
    """

    id: str
    state: State
    sources: tuple[Source, ...]
    title: str
    severity: Level
    onset_ns: int
    opened_ns: int
    updated_ns: int
    ended_ns: int | None
    window: Window
    baseline: Window
    closed_ns: int | None = None
    share: float | None = None
    breaches: tuple[SliBreach, ...] = ()
    alerts: tuple[Alert, ...] = ()
    reach: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    reopened: int = 0
    merged_into: str | None = None
    diagnosis: DiagnosisSummary | None = None
    """The latest answer."""
    within_objective: bool = False
    notes: tuple[Note, ...] = ()
    version: int = 1


class IncidentEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to an incident; `record` is the incident after it. `number` counts all events."""

    number: int
    at_ns: int
    what: What
    record: IncidentRecord


class IncidentFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which incidents are listed; what is not given does not matter. `service` is that of a breach, an alert or a
    reached service, `window` has to overlap that of the incident."""

    states: tuple[State, ...] = ()
    sources: tuple[Source, ...] = ()
    levels: tuple[Level, ...] = ()
    service: str | None = None
    window: Window | None = None


class IncidentPage(msgspec.Struct, frozen=True, kw_only=True):
    """Incidents, the latest first; `cursor` goes on from here, empty at the end. `total` meet the filter."""

    rows: tuple[IncidentRecord, ...]
    total: int
    cursor: str = ""


def new_id(now_ns: int) -> str:
    """A sortable id: `i-20261121-174502-3f2a`, the time in UTC."""
    return time.strftime("i-%Y%m%d-%H%M%S-", time.gmtime(now_ns // 1_000_000_000)) + secrets.token_hex(2)


def services_of(record: IncidentRecord) -> set[str]:
    """The services whose entry points are hurt or that alerts name."""
    found = {breach.entry.service or breach.entry.name for breach in record.breaches}
    return found | {alert.service for alert in record.alerts if alert.service}


def title_of(breaches: tuple[SliBreach, ...], alerts: tuple[Alert, ...]) -> str:
    """What is broken, in words: the worst breach, and how many more there are."""
    if breaches:
        worst = max(breaches, key=lambda b: (b.affected, b.entry.name))
        words = {"success": "requests fail", "latency": "requests are slow", "throughput": "requests stay away"}
        entries = {breach.entry.name for breach in breaches}
        more = f" and {len(entries) - 1} more entry point{'s' if len(entries) > 2 else ''}" if len(entries) > 1 else ""
        return f"{worst.entry.name}{more}: {words[worst.sli]}"
    if alerts:
        first = min(alerts, key=lambda a: (a.starts_ns, a.fingerprint))
        more = f" and {len(alerts) - 1} more" if len(alerts) > 1 else ""
        return f"Alert {first.name}{f' on {first.service}' if first.service else ''}{more}"
    return "Incident"
