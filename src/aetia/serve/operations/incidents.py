"""Incidents: list, read, open, close, merge, annotate."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from aetia.serve.incidents.files import EVENTS
from aetia.serve.incidents.records import IncidentEvent, IncidentFilter, IncidentRecord, Level, Source, State, What
from aetia.serve.operations._asking import Cursor, Instant, Name, WindowParams, window_of
from aetia.serve.operations.registry import operation
from aetia.serve.problems import Refused
from aetia.serve.security.identity import caller

if TYPE_CHECKING:
    from aetia.serve.state import ServeState

EARLIER_EVENTS = "events.1.jsonl"
IncidentId = Annotated[str, Meta(min_length=1, max_length=80, description="id of the incident")]
Words = Annotated[str, Meta(max_length=10_000)]


class IncidentsParams(WindowParams, frozen=True, kw_only=True):
    state: Annotated[tuple[State, ...], Meta(max_length=3, description="open, closed or merged; several")] = ()
    source: Annotated[tuple[Source, ...], Meta(max_length=3, description="how it was noticed; several")] = ()
    severity: Annotated[tuple[Level, ...], Meta(max_length=4, description="worst level it reached; several")] = ()
    service: Annotated[Name, Meta(description="whose entry points are hurt, or that these use")] = None
    limit: Annotated[int, Meta(ge=1, le=1000, description="most rows of one answer")] = 50
    cursor: Cursor = ""


class IncidentsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Incidents, the latest first; `total` meet the filter."""

    incidents: tuple[IncidentRecord, ...]
    total: int
    truncated: bool
    cursor: str


class IncidentParams(msgspec.Struct, frozen=True, kw_only=True):
    incident_id: IncidentId


class OpenIncidentParams(msgspec.Struct, frozen=True, kw_only=True):
    title: Annotated[str, Meta(min_length=1, max_length=300, description="what is broken, in words")]
    start: Annotated[Instant | None, Meta(description="since when; default ten minutes ago")] = None
    end: Annotated[Instant | None, Meta(description="until when, for one that is over; default it goes on")] = None
    severity: Annotated[Level, Meta(description="how bad it is")] = "unknown"
    services: Annotated[
        tuple[Annotated[str, Meta(max_length=500)], ...], Meta(max_length=100, description="where it hurts, if known")
    ] = ()


class CloseIncidentParams(IncidentParams, frozen=True, kw_only=True):
    note: Annotated[Words, Meta(description="why, for the record")] = ""


class MergeIncidentParams(IncidentParams, frozen=True, kw_only=True):
    into: Annotated[str, Meta(min_length=1, max_length=80, description="id of the incident that it is part of")]


class NoteIncidentParams(IncidentParams, frozen=True, kw_only=True):
    text: Annotated[str, Meta(min_length=1, max_length=10_000, description="what to remember")]


class EventsParams(IncidentParams, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=1000, description="most events, the latest")] = 200


class EventRow(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to an incident, and what it was after it. `number` counts the events of all incidents."""

    number: int
    at_ns: int
    what: What
    state: State
    severity: Level
    title: str


class EventsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to one incident, in order."""

    events: tuple[EventRow, ...]
    truncated: bool


@operation(path="/incidents", scope="read", summary="Incidents", example={"state": ["open"]})
def incidents(state: ServeState, params: IncidentsParams) -> IncidentsAnswer:
    """The latest first. Without `start` and `end` of all times."""
    window = None if params.start is None and params.end is None else window_of(state, params)
    chosen = IncidentFilter(
        states=params.state, sources=params.source, levels=params.severity, service=params.service, window=window
    )
    page = state.incidents().list(chosen, limit=params.limit, cursor=params.cursor)
    return IncidentsAnswer(incidents=page.rows, total=page.total, truncated=bool(page.cursor), cursor=page.cursor)


@operation(path="/incidents", scope="write", method="POST", summary="Open an incident, and diagnose it",
           example={"title": "checkout is slow", "start": "-20m"})  # fmt: skip
def open_incident(state: ServeState, params: OpenIncidentParams) -> IncidentRecord:
    """For what a person has noticed; it is diagnosed at once. With `end` it is an incident of the past, and closed."""
    window = window_of(state, WindowParams(start=params.start or "-10m", end=params.end))
    now = time.time_ns()
    if window.end_ns > now:
        raise Refused("bad_request", "end: an incident cannot end in the future; leave end out while it goes on.")
    book, by = state.incidents(), caller.get().name
    record = book.open_manually(
        params.title, now, onset_ns=window.start_ns, severity=params.severity, by=by, services=params.services
    )
    if params.end is not None:
        record = book.close(record.id, window.end_ns, by=by, note="opened for a time that was over")
    return record


@operation(path="/incidents/{incident_id}", scope="read", summary="One incident",
           example={"incident_id": "i-20261121-174502-3f2a"})  # fmt: skip
def incident(state: ServeState, params: IncidentParams) -> IncidentRecord:
    """What is known of it, and what the latest diagnosis said in brief."""
    return state.incidents().get(params.incident_id)


@operation(path="/incidents/{incident_id}/close", scope="write", method="POST", summary="Close an incident",
           example={"incident_id": "i-20261121-174502-3f2a", "note": "rolled back"})  # fmt: skip
def close_incident(state: ServeState, params: CloseIncidentParams) -> IncidentRecord:
    """Harm that goes on does not open it again; what comes later opens another."""
    return state.incidents().close(params.incident_id, time.time_ns(), by=caller.get().name, note=params.note)


@operation(path="/incidents/{incident_id}/merge", scope="write", method="POST",
           summary="Make an incident part of another",
           example={"incident_id": "i-20261121-174502-3f2a", "into": "i-20261121-174011-09ab"})  # fmt: skip
def merge_incident(state: ServeState, params: MergeIncidentParams) -> IncidentRecord:
    """Answers with the one that remains."""
    return state.incidents().merge(params.incident_id, params.into, time.time_ns(), by=caller.get().name)


@operation(path="/incidents/{incident_id}/notes", scope="write", method="POST", summary="Write a note into an incident",
           example={"incident_id": "i-20261121-174502-3f2a", "text": "called the payment provider"})  # fmt: skip
def note_incident(state: ServeState, params: NoteIncidentParams) -> IncidentRecord:
    """It appears with the name of whoever wrote it."""
    return state.incidents().note(params.incident_id, params.text, time.time_ns(), by=caller.get().name)


@operation(path="/incidents/{incident_id}/events", scope="read", summary="What happened to an incident",
           example={"incident_id": "i-20261121-174502-3f2a"})  # fmt: skip
def incident_events(state: ServeState, params: EventsParams) -> EventsAnswer:
    """Opened, updated, diagnosed, closed …, as far back as the log of events reaches; live at `/stream`."""
    record = state.incidents().get(params.incident_id)
    found = [
        EventRow(
            number=event.number, at_ns=event.at_ns, what=event.what, state=event.record.state,
            severity=event.record.severity, title=event.record.title,
        )
        for event in _events(state.folder / "incidents", record.id)
    ]  # fmt: skip
    return EventsAnswer(events=tuple(found[-params.limit :]), truncated=len(found) > params.limit)


def _events(folder: Path, incident_id: str) -> Iterator[IncidentEvent]:
    """The events of one incident in the log and in the one before it; half a line at the end is left out."""
    decoder, mark = msgspec.json.Decoder(IncidentEvent), f'"{incident_id}"'.encode()
    for path in (folder / EARLIER_EVENTS, folder / EVENTS):
        try:
            with path.open("rb") as file:
                for line in file:
                    if mark in line and line.endswith(b"\n"):
                        event = decoder.decode(line)
                        if event.record.id == incident_id:
                            yield event
        except FileNotFoundError:
            continue
