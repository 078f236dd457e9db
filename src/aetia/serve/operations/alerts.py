"""Alerts of other systems: Alertmanager's webhook, and one for whatever can post JSON.

Each alert joins an open incident of its service and time, or opens one, once for its fingerprint however often it is
told. It is kept as a change too, so that a diagnosis of telemetry knows of it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from aetia.ingest.pull.labels import place_of
from aetia.model.errors import UsageError
from aetia.model.window import Window
from aetia.serve.incidents.records import Alert
from aetia.serve.operations._asking import LAST_NS, Instant, Name
from aetia.serve.operations.registry import operation
from aetia.serve.problems import Refused
from aetia.store.backend import ChangeRow
from aetia.timespec import parse_instant

if TYPE_CHECKING:
    from aetia.serve.state import ServeState

Status = Literal["firing", "resolved"]
Labels = Annotated[
    dict[Annotated[str, Meta(max_length=500)], Annotated[str, Meta(max_length=4000)]], Meta(max_length=200)
]
MOST_ALERTS = 1000
AHEAD_NS = 3600 * 10**9
NAMELESS = "alert"


class ManagedAlert(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One alert of Alertmanager's webhook."""

    status: Status
    labels: Labels = {}
    annotations: Labels = {}
    starts_at: Instant
    ends_at: Instant = ""
    fingerprint: Annotated[str, Meta(max_length=200)] = ""


class AlertmanagerParams(msgspec.Struct, frozen=True, kw_only=True):
    """Version 4 of the webhook; what is not named here is ignored."""

    version: Annotated[str, Meta(max_length=20, description="of the webhook's body; 4")] = "4"
    alerts: Annotated[tuple[ManagedAlert, ...], Meta(max_length=MOST_ALERTS, description="as Alertmanager groups them")]


class AlertParams(msgspec.Struct, frozen=True, kw_only=True):
    name: Annotated[str, Meta(min_length=1, max_length=300, description="of the alert, the same each time it fires")]
    status: Annotated[Status, Meta(description="whether it fires or is over")] = "firing"
    service: Annotated[Name, Meta(description="whom it is about")] = None
    severity: Annotated[str, Meta(max_length=40, description="in the words of the system that tells it")] = ""
    description: Annotated[str, Meta(max_length=2000, description="in words")] = ""
    start: Annotated[Instant | None, Meta(description="since when; default now")] = None
    end: Annotated[Instant | None, Meta(description="until when, of one that is over; default now")] = None
    fingerprint: Annotated[
        str, Meta(max_length=200, description="tells it from others; default: of name, service and labels")
    ] = ""
    labels: Annotated[Labels, Meta(description="more about it")] = {}


class AlertsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How many alerts were taken, and the incidents that they belong to."""

    taken: int
    incidents: tuple[str, ...]


_EXAMPLE = {
    "version": "4",
    "alerts": [{"status": "firing", "startsAt": "2026-01-01T10:00:00Z", "fingerprint": "c0ffee",
                "labels": {"alertname": "HighErrors", "service": "checkout"}}],
}  # fmt: skip


@operation(path="/alerts/alertmanager", scope="write", method="POST", summary="Alertmanager's webhook", open=True,
           example=_EXAMPLE)  # fmt: skip
def alertmanager(state: ServeState, params: AlertmanagerParams) -> AlertsAnswer:
    """Give this address as a `webhook_configs` receiver of Alertmanager, or of Grafana's alerting, which speaks the
    same. A group may be told again at any time."""
    now = time.time_ns()
    if params.version != "4":
        raise Refused("bad_request", f"version {params.version} of Alertmanager's webhook is not spoken here; 4 is.")
    told = [
        (_managed(item, now), item.annotations.get("summary") or item.annotations.get("description") or "")
        for item in params.alerts
    ]
    return _take(state, told, now)


@operation(path="/alerts", scope="write", method="POST", summary="Tell of an alert",
           example={"name": "HighErrors", "service": "checkout", "severity": "critical",
                    "description": "5 % of requests fail"})  # fmt: skip
def add_alert(state: ServeState, params: AlertParams) -> AlertsAnswer:
    """For whatever can post JSON. Tell it again with `status` resolved when it is over."""
    now = time.time_ns()
    labels = {**params.labels, **({"severity": params.severity} if params.severity else {})}
    over = params.status == "resolved"
    alert = Alert(
        fingerprint=params.fingerprint or _fingerprint({"alertname": params.name, "service": params.service or "",
                                                        **params.labels}),
        name=params.name, service=params.service or None, status=params.status,
        starts_ns=_instant(params.start, now, "start") or now,
        ends_ns=(_instant(params.end, now, "end") or now) if over else None, labels=labels,
    )  # fmt: skip
    return _take(state, [(alert, params.description)], now)


def _managed(item: ManagedAlert, now: int) -> Alert:
    place = place_of({key: value for key, value in item.labels.items() if key not in ("alertname", "severity")})
    ends = _instant(item.ends_at or None, now, "endsAt") if item.status == "resolved" else None
    return Alert(
        fingerprint=item.fingerprint or _fingerprint(item.labels), name=item.labels.get("alertname") or NAMELESS,
        service=place.service, status=item.status, starts_ns=_instant(item.starts_at, now, "startsAt") or now,
        ends_ns=(ends or now) if item.status == "resolved" else None, labels=item.labels,
    )  # fmt: skip


def _take(state: ServeState, told: list[tuple[Alert, str]], now: int) -> AlertsAnswer:
    """Keep the alerts as changes, then let them join or open incidents. Told twice, both know them."""
    if state.store is not None and told:
        rows = [_change(alert, words) for alert, words in told if alert.status == "firing"]
        if rows:
            state.store.append_changes(rows).result(timeout=state.config.limits.durable_seconds)
    book = state.incidents()
    book.alert([alert for alert, _ in told], now)
    known = {alert.fingerprint for alert, _ in told}
    found = [record.id for record in book.all() if known & {alert.fingerprint for alert in record.alerts}]
    return AlertsAnswer(taken=len(told), incidents=tuple(found[:MOST_ALERTS]))


def _change(alert: Alert, words: str) -> ChangeRow:
    severity = alert.labels.get("severity", "")
    text = " ".join(part for part in (severity, alert.name) if part)
    attributes = {**alert.labels, "fingerprint": alert.fingerprint}
    return ChangeRow(
        time_ns=alert.starts_ns, kind="alert", service=alert.service,
        description=f"{text}: {words}"[:2000] if words else text,
        attributes=msgspec.json.encode(attributes, order="sorted").decode(),
    )  # fmt: skip


def _fingerprint(labels: Mapping[str, str]) -> str:
    """Of the labels, whatever their order."""
    items: Iterable[tuple[str, str]] = sorted(labels.items())
    return hashlib.blake2b(msgspec.json.encode(list(items)), digest_size=8).hexdigest()


def _instant(text: str | None, now: int, name: str) -> int | None:
    """A time; None where none is given. Raises Refused."""
    if text is None:
        return None
    try:
        at = parse_instant(text, Window(0, now))
    except (UsageError, OverflowError) as error:
        raise Refused("bad_request", f"{name}: {error}") from None
    if not 0 < at <= min(now + AHEAD_NS, LAST_NS):
        raise Refused("bad_request", f"{name}: give a time after 1970 that is not in the future.")
    return at
