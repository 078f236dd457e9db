"""The book of incidents: candidates and alerts in, incidents out, kept on disk.

An incident opens with harm that is believed (`detect/live.py` decides that), with an alert, or by hand. It closes
when all of it has been over for a while; harm that comes back soon after goes on with it. Every change is on disk
before anyone hears of it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from aetia.detect.live import Candidate
from aetia.model.entity import Entity
from aetia.model.errors import UsageError
from aetia.model.window import Window
from aetia.serve.incidents.files import Files
from aetia.serve.incidents.records import (
    Alert,
    DiagnosisSummary,
    IncidentEvent,
    IncidentFilter,
    IncidentPage,
    IncidentRecord,
    Level,
    Note,
    Source,
    UnknownIncident,
    What,
    new_id,
    services_of,
    title_of,
)
from aetia.serve.incidents.rules import (
    closed_by_hand,
    cursor_of,
    entries_of,
    firing,
    joined,
    level_of_alert,
    meets,
    parsed,
    places_of,
    rank,
    titled,
    together,
    with_source,
    worst,
)

log = logging.getLogger(__name__)
SECOND = 1_000_000_000
MOST_ALERTS, MOST_NOTES = 200, 200
Listener = Callable[[IncidentEvent], None]


class BookSettings(msgspec.Struct, frozen=True, kw_only=True):
    """When incidents close, come back, merge and are forgotten; times in seconds."""

    close_after_s: float = 120.0
    """How long the harm must be over."""
    flapping_s: float = 1800.0
    """The second incident of the same entry points within so long is taken for the last one that opens: harm that comes
    back once more so soon goes on with it."""
    near_s: float = 60.0
    """Harm, alerts and incidents of related places that are no further apart in time belong together."""
    alert_near_s: float = 600.0
    """An alert may come so long before or after the harm that it tells of."""
    write_every_s: float = 30.0
    """An open incident whose numbers alone change is written so often."""
    most: int = 10_000
    keep_days: float = 400.0
    baseline_s: float = 600.0
    """Baseline of an incident that no SLI tells of."""


class IncidentBook:
    """All incidents of one folder (`DIR/incidents`); every method may be called from any thread.

    Raises StoreError where the folder cannot be written. `damaged` says which files could not be read, and why.
    """

    def __init__(self, folder: Path, settings: BookSettings | None = None) -> None:
        self.settings = settings or BookSettings()
        self._files = Files(folder)
        self._lock = threading.RLock()
        self._listeners: list[Listener] = []
        records, self.damaged = self._files.read()
        for complaint in self.damaged.values():
            log.warning("%s", complaint)
        self._records = {record.id: record for record in records}
        self._written = {record.id: record.updated_ns for record in records}
        self._number = self._files.last_number()
        self._pending: list[IncidentEvent] = []

    # --- asked --------------------------------------------------------------------------------------------

    def get(self, incident: str, /) -> IncidentRecord:
        """One incident; raises UnknownIncident."""
        with self._lock:
            found = self._records.get(incident)
        if found is None:
            raise UnknownIncident(f"no incident is called {incident[:80]!r}; list them to see which there are.")
        return found

    def all(self) -> tuple[IncidentRecord, ...]:
        """Every incident, the latest first."""
        with self._lock:
            return tuple(sorted(self._records.values(), key=rank, reverse=True))

    def list(self, filter: IncidentFilter | None = None, *, limit: int = 50, cursor: str = "") -> IncidentPage:
        """Incidents that meet a filter, the latest first; `cursor` is that of the page before. Raises UsageError for a
        limit that is not positive or a cursor of another list."""
        if limit < 1:
            raise UsageError(f"limit must be 1 or more, not {limit}")
        chosen = [record for record in self.all() if meets(record, filter or IncidentFilter())]
        start = 0
        if cursor:
            after = parsed(cursor)
            start = next((at for at, record in enumerate(chosen) if rank(record) < after), len(chosen))
        rows = tuple(chosen[start : start + limit])
        more = start + limit < len(chosen)
        return IncidentPage(rows=rows, total=len(chosen), cursor=cursor_of(rows[-1]) if more and rows else "")

    def open_incidents(self) -> tuple[IncidentRecord, ...]:
        """Those that are open, the latest first."""
        return tuple(record for record in self.all() if record.state == "open")

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Hear of every change once it is on disk, in the thread that made it, one after another; returns what ends
        it. A listener that raises is logged and goes on being told."""
        with self._lock:
            self._listeners.append(listener)

        def end() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return end

    # --- told ---------------------------------------------------------------------------------------------

    def observe(self, candidates: Sequence[Candidate], now_ns: int) -> tuple[IncidentEvent, ...]:
        """Take in what detection sees now, after every tick; opens, updates, merges and closes incidents."""
        with self._lock:
            keys = {key for candidate in candidates for key in (candidate.key, *candidate.merged)}
            told: dict[str, list[Candidate]] = {}
            self._settle(keys, now_ns, gone=True)
            for candidate in sorted(candidates, key=lambda c: c.onset_ns):
                ident = self._take(candidate, now_ns)
                if ident is not None:
                    told.setdefault(ident, []).append(candidate)
            for ident, parts in told.items():
                if self._records[ident].state != "merged":
                    self._update(self._records[ident], together(parts), now_ns)
            self._settle(keys, now_ns)
            self._retain(now_ns)
            return self._tell()

    def alert(self, alerts: Iterable[Alert], now_ns: int) -> tuple[IncidentEvent, ...]:
        """Take in alerts of another system, each by its fingerprint: a new one joins an open incident of its service
        and time, or opens one; a known one is brought up to date."""
        with self._lock:
            for alert in alerts:
                self._take_alert(alert, now_ns)
            self._settle(None, now_ns)
            return self._tell()

    def open_manually(
        self, title: str, now_ns: int, *, onset_ns: int | None = None, severity: Level = "unknown", by: str = "",
        services: Sequence[str] = (),
    ) -> IncidentRecord:  # fmt: skip
        """Open an incident by hand; it closes by hand, too."""
        with self._lock:
            onset = min(onset_ns if onset_ns is not None else now_ns, now_ns)
            record = self._new(
                "manual", onset, now_ns, title=title.strip() or "Incident", severity=severity, reach=tuple(services),
                notes=(Note(at_ns=now_ns, text="opened by hand", by=by),),
            )  # fmt: skip
            self._put(record, "opened", now_ns)
            self._tell()
            return record

    def close(self, incident: str, now_ns: int, *, by: str = "", note: str = "") -> IncidentRecord:
        """Close an incident now. Harm that goes on does not open it again; what comes later opens another."""
        with self._lock:
            record = self.get(incident)
            if record.state != "open":
                raise UsageError(f"incident {incident} is {record.state} already")
            self._close(
                record, record.ended_ns or now_ns, now_ns, Note(at_ns=now_ns, text=note or "closed by hand", by=by)
            )
            self._tell()
            return self.get(incident)

    def merge(self, incident: str, into: str, now_ns: int, *, by: str = "") -> IncidentRecord:
        """Make one incident part of another, which is returned."""
        with self._lock:
            one, other = self.get(incident), self.get(into)
            if one.id == other.id or "merged" in (one.state, other.state):
                raise UsageError(f"{incident} cannot become part of {into}: take two incidents that are not merged yet")
            self._merge(one, other, now_ns, by)
            self._tell()
            return self.get(into)

    def note(self, incident: str, text: str, now_ns: int, *, by: str = "") -> IncidentRecord:
        """Write a note into an incident."""
        with self._lock:
            record = self.get(incident)
            notes = (*record.notes, Note(at_ns=now_ns, text=text[:10_000], by=by))[-MOST_NOTES:]
            self._put(msgspec.structs.replace(record, notes=notes), "noted", now_ns)
            self._tell()
            return self.get(incident)

    def attach_diagnosis(self, incident: str, summary: DiagnosisSummary, /) -> IncidentRecord:
        """Keep what the latest diagnosis said."""
        with self._lock:
            record = msgspec.structs.replace(self.get(incident), diagnosis=summary)
            self._put(record, "diagnosed", summary.at_ns)
            self._tell()
            return record

    # --- candidates ---------------------------------------------------------------------------------------

    def _take(self, candidate: Candidate, now_ns: int) -> str | None:
        """The incident that a candidate belongs to, perhaps a new one; None where it is no incident any more."""
        keys = {candidate.key, *candidate.merged}
        mine = [r for r in self._records.values() if keys & set(r.keys) and r.state != "merged"]
        open_ones = [record for record in mine if record.state == "open"]
        if not open_ones and any(closed_by_hand(record) for record in mine):
            return None
        lasting = candidate.ended_ns is None
        open_ones = open_ones or (mine if lasting else []) or self._fitting(candidate)
        if not open_ones:
            known = mine or now_ns - (candidate.ended_ns or now_ns) >= self.settings.close_after_s * SECOND
            if known:
                return None
            record = self._from(candidate, now_ns)
            self._put(record, "opened", now_ns)
            return record.id
        open_ones.sort(key=lambda r: (r.state != "open", r.onset_ns, r.id))
        for other in open_ones[1:]:
            if other.state == "open":
                self._merge(other, self._records[open_ones[0].id], now_ns, "")
        return open_ones[0].id

    def _fitting(self, candidate: Candidate) -> list[IncidentRecord]:
        """Incidents that a candidate, which none came from yet, belongs to: open ones of related places and time, or
        the last closed one of the same entry points when it has just ended."""
        places = places_of(candidate)
        entries = {breach.entry for breach in candidate.breaches}
        near = self.settings.near_s * SECOND
        found: list[IncidentRecord] = []
        for record in self._records.values():
            end = record.ended_ns
            if record.state == "open" and places & (services_of(record) | set(record.reach)):
                slack = near if "sli" in record.sources else self.settings.alert_near_s * SECOND
                if end is None or candidate.onset_ns <= end + slack:
                    found.append(record)
            elif self._flaps(record, candidate, entries):
                found.append(record)
        open_ones = [record for record in found if record.state == "open"]
        return open_ones or sorted(found, key=lambda r: r.ended_ns or 0)[-1:]

    def _flaps(self, record: IncidentRecord, candidate: Candidate, entries: set[Entity]) -> bool:
        """Whether harm that comes again is one more beat of a closed incident, which was itself not the first."""
        long, end = self.settings.flapping_s * SECOND, record.ended_ns
        if record.state != "closed" or end is None or candidate.ended_ns is not None or closed_by_hand(record):
            return False
        if not (entries & entries_of(record) and end <= candidate.onset_ns <= end + long):
            return False
        return record.reopened > 0 or any(
            other.id != record.id and other.ended_ns is not None and entries & entries_of(other)
            and other.ended_ns <= record.onset_ns <= other.ended_ns + long
            for other in self._records.values()
        )  # fmt: skip

    def _from(self, candidate: Candidate, now_ns: int) -> IncidentRecord:
        return self._new(
            "sli", candidate.onset_ns, now_ns, title=title_of(candidate.breaches, ()), severity=candidate.level,
            share=candidate.share, breaches=candidate.breaches, reach=candidate.reach,
            keys=(candidate.key, *candidate.merged), window=candidate.window, baseline=candidate.baseline,
            ended_ns=candidate.ended_ns, within_objective=candidate.within_objective,
        )  # fmt: skip

    def _update(self, record: IncidentRecord, candidate: Candidate, now_ns: int) -> None:
        reopened = record.state == "closed"
        again = record.ended_ns is not None and candidate.ended_ns is None
        first = "sli" not in record.sources
        onset = candidate.onset_ns if first else min(record.onset_ns, candidate.onset_ns)
        breaches = joined(candidate.breaches, record.breaches)
        end = None if candidate.ended_ns is None or firing(record) else max(candidate.ended_ns, record.ended_ns or 0)
        baseline = candidate.baseline if onset == candidate.onset_ns else record.baseline
        changed = msgspec.structs.replace(
            record, state="open", closed_ns=None, sources=with_source(record.sources, "sli"), onset_ns=onset,
            updated_ns=now_ns, ended_ns=end, window=Window(onset, max(end or now_ns, onset + 1)), baseline=baseline,
            breaches=breaches, reach=tuple(sorted({*record.reach, *candidate.reach})), share=candidate.share,
            keys=tuple(dict.fromkeys((*record.keys, candidate.key, *candidate.merged))),
            severity=worst((record.severity, candidate.level)),
            title=title_of(breaches, record.alerts) if not titled(record) else record.title,
            reopened=record.reopened + reopened, within_objective=candidate.within_objective,
        )  # fmt: skip
        what: What = "reopened" if reopened else "updated"
        said = (record.severity, record.title, record.keys, record.ended_ns is None, {b.entry for b in record.breaches})
        says = (changed.severity, changed.title, changed.keys, changed.ended_ns is None, {b.entry for b in breaches})
        due = now_ns - self._written.get(record.id, 0) >= self.settings.write_every_s * SECOND and end is None
        if reopened or again or said != says or due:
            self._put(changed, what, now_ns)
        else:
            self._records[record.id] = changed

    # --- alerts -------------------------------------------------------------------------------------------

    def _take_alert(self, alert: Alert, now_ns: int) -> None:
        for record in list(self._records.values()):
            known = next((a for a in record.alerts if a.fingerprint == alert.fingerprint), None)
            if known is not None and record.state == "open":
                self._with_alert(record, alert, now_ns)
                return
            if known is not None and (alert.status == "resolved" or known.starts_ns == alert.starts_ns):
                return  # what is told again of an incident that is over
        if alert.status == "resolved":
            return
        fitting = [r for r in self.open_incidents() if self._alert_fits(r, alert)]
        if fitting:
            self._with_alert(fitting[0], alert, now_ns)
            return
        record = self._new(
            "alert", min(alert.starts_ns, now_ns), now_ns, title=title_of((), (alert,)),
            severity=level_of_alert(alert), alerts=(alert,),
        )  # fmt: skip
        self._put(record, "opened", now_ns)

    def _alert_fits(self, record: IncidentRecord, alert: Alert) -> bool:
        slack = self.settings.alert_near_s * SECOND
        in_time = record.onset_ns - slack <= alert.starts_ns <= (record.ended_ns or alert.starts_ns) + slack
        places = services_of(record) | set(record.reach)
        return in_time and (alert.service is None or not places or alert.service in places)

    def _with_alert(self, record: IncidentRecord, alert: Alert, now_ns: int) -> None:
        others = tuple(a for a in record.alerts if a.fingerprint != alert.fingerprint)
        alerts = (*others, alert)[-MOST_ALERTS:]
        changed = msgspec.structs.replace(
            record, alerts=alerts, sources=with_source(record.sources, "alert"), updated_ns=now_ns,
            title=record.title if record.breaches or titled(record) else title_of((), alerts),
            severity=record.severity if record.breaches else worst((record.severity, level_of_alert(alert))),
        )  # fmt: skip
        if alert.status == "firing":
            changed = msgspec.structs.replace(changed, ended_ns=None if not record.breaches else record.ended_ns)
        if changed.alerts != record.alerts:
            self._put(changed, "updated", now_ns)

    # --- ends ---------------------------------------------------------------------------------------------

    def _settle(self, keys: set[str] | None, now_ns: int, *, gone: bool = False) -> None:
        """Close what has been over for long enough. `keys` are those that detection still knows of; harm that it no
        longer tells of was last seen when the incident was (`gone`: close only such)."""
        hold = self.settings.close_after_s * SECOND
        for record in self.open_incidents():
            if "manual" in record.sources or (gone and keys is not None and keys & set(record.keys)):
                continue
            end, wait = record.ended_ns, hold
            if "sli" in record.sources and keys is not None and not keys & set(record.keys):
                end = end or record.window.end_ns
            resolved = [alert.ends_ns or now_ns for alert in record.alerts if alert.status == "resolved"]
            if firing(record):
                continue
            if "sli" not in record.sources:
                end = max(resolved, default=None)
                wait = 0.0
            elif record.alerts and end is not None:
                end = max([end, *(t for t in resolved if t <= now_ns)])
            if end is not None and now_ns - end >= wait:
                self._close(record, end, now_ns, None)

    def _close(self, record: IncidentRecord, end_ns: int, now_ns: int, note: Note | None) -> None:
        end = max(end_ns, record.onset_ns + 1)
        closed = msgspec.structs.replace(
            record, state="closed", ended_ns=end, closed_ns=now_ns, updated_ns=now_ns,
            window=Window(record.onset_ns, end), notes=record.notes if note is None else (*record.notes, note),
        )  # fmt: skip
        self._put(closed, "closed", now_ns)

    def _merge(self, one: IncidentRecord, into: IncidentRecord, now_ns: int, by: str) -> None:
        fingerprints = {alert.fingerprint for alert in into.alerts}
        onset = min(one.onset_ns, into.onset_ns)
        ended = None if None in (one.ended_ns, into.ended_ns) else max(one.ended_ns or 0, into.ended_ns or 0)
        both = msgspec.structs.replace(
            into, onset_ns=onset, ended_ns=ended, updated_ns=now_ns, breaches=joined(into.breaches, one.breaches),
            sources=tuple(dict.fromkeys((*into.sources, *one.sources))),
            alerts=into.alerts + tuple(a for a in one.alerts if a.fingerprint not in fingerprints),
            reach=tuple(sorted({*into.reach, *one.reach})), keys=tuple(dict.fromkeys((*into.keys, *one.keys))),
            baseline=one.baseline if one.onset_ns < into.onset_ns else into.baseline,
            window=Window(onset, max(one.window.end_ns, into.window.end_ns)),
            severity=worst((one.severity, into.severity)),
        )  # fmt: skip
        # The one that goes is written first: a crash in between leaves no incident twice, and what was lost comes
        # again with the next candidate or alert.
        gone = msgspec.structs.replace(one, state="merged", merged_into=into.id, updated_ns=now_ns, closed_ns=now_ns)
        self._put(gone, "merged", now_ns)
        self._put(both, "updated", now_ns)
        if by:
            self.note(into.id, f"{one.id} became part of this incident", now_ns, by=by)

    # --- kept ---------------------------------------------------------------------------------------------

    def _new(self, source: Source, onset_ns: int, now_ns: int, *, title: str, **more: object) -> IncidentRecord:
        ident = new_id(now_ns)
        while ident in self._records:
            ident = new_id(now_ns)
        fields: dict[str, object] = {
            "window": Window(onset_ns, max(now_ns, onset_ns + 1)), "severity": "unknown", "ended_ns": None,
            "baseline": Window(onset_ns - round(self.settings.baseline_s * SECOND), onset_ns),
        }  # fmt: skip
        return msgspec.convert(
            fields | more | {
                "id": ident, "state": "open", "sources": (source,), "title": title, "onset_ns": onset_ns,
                "opened_ns": now_ns, "updated_ns": now_ns,
            },
            IncidentRecord,
        )  # fmt: skip

    def _put(self, record: IncidentRecord, what: What, now_ns: int) -> None:
        """Write a record and its event; whoever listens hears of it when the change is whole."""
        self._files.write(record)
        self._number += 1
        event = IncidentEvent(number=self._number, at_ns=now_ns, what=what, record=record)
        self._files.append(event)
        self._records[record.id] = record
        self._written[record.id] = now_ns
        self._pending.append(event)

    def _tell(self) -> tuple[IncidentEvent, ...]:
        events, self._pending = tuple(self._pending), []
        for event in events:
            for listener in list(self._listeners):
                try:
                    listener(event)
                except Exception:
                    log.exception("a listener failed at event %d of incident %s", event.number, event.record.id)
        return events

    def _retain(self, now_ns: int) -> None:
        """Forget closed incidents beyond the age and the count that are kept, the oldest first."""
        oldest = now_ns - round(self.settings.keep_days * 86_400 * SECOND)
        done = sorted((r for r in self._records.values() if r.state != "open"), key=rank)
        surplus = max(len(self._records) - self.settings.most, 0)
        for at, record in enumerate(done):
            if at < surplus or record.updated_ns < oldest:
                self._files.remove(record.id)
                del self._records[record.id]
                self._written.pop(record.id, None)
