"""Decides what is worth telling: which events of an incident become a notice, and for which places."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Literal

from aetia.model.diagnosis import Diagnosis
from aetia.model.errors import AetiaError
from aetia.serve.incidents.records import IncidentEvent, IncidentRecord
from aetia.serve.notify.notice import NoticeType, make_notice
from aetia.serve.notify.outbox import Outbox

log = logging.getLogger(__name__)
LeastSeverity = Literal["any", "minor", "major", "critical"]
RANK = {"any": 0, "unknown": 0, "minor": 1, "major": 2, "critical": 3}
SURER = 0.25
"""An answer that stays the same is told again when it is surer, or less sure, by so much."""
MOST_REMEMBERED = 1000
Told = tuple[int, str | None, str | None, float]
"""What was said last of an incident: rank of its severity, root cause, fault class, probability."""


class Teller:
    """Takes events of incidents (`hear`, from any thread) and sends notices through an outbox, in a thread of its own.

    `places` says per target from which severity on it wants to know. `diagnosis` gives the last answer of an incident.
    """

    def __init__(
        self, outbox: Outbox, places: Mapping[str, LeastSeverity], diagnosis: Callable[[str], Diagnosis | None], *,
        base_url: str = "", clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:  # fmt: skip
        self._outbox, self._places, self._diagnosis = outbox, dict(places), diagnosis
        self._base_url, self._clock_ns = base_url, clock_ns
        self._events: SimpleQueue[IncidentEvent | None] = SimpleQueue()
        self._told: dict[str, Told] = {}
        self._thread = threading.Thread(target=self._serve, name="aetia-teller", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Tell what was heard so far, and end."""
        self._events.put(None)
        if self._thread.is_alive():
            self._thread.join(5.0)

    def hear(self, event: IncidentEvent) -> None:
        self._events.put(event)

    def _serve(self) -> None:
        while (event := self._events.get()) is not None:
            try:
                self._tell(event)
            except (AetiaError, OSError):
                log.exception("incident %s could not be told", event.record.id)

    def _tell(self, event: IncidentEvent) -> None:
        record = event.record
        kind = self._worth(event)
        places = tuple(name for name, least in self._places.items() if RANK[record.severity] >= RANK[least])
        if kind is None or not places:
            return
        self._told[record.id] = _state(record)
        while len(self._told) > MOST_REMEMBERED:
            del self._told[next(iter(self._told))]
        notice = make_notice(
            record, self._diagnosis(record.id), type=kind, sequence=self._outbox.sequence(record.id) + 1,
            now_ns=self._clock_ns(), alerts=tuple(alert.name for alert in record.alerts), base_url=self._base_url,
        )  # fmt: skip
        self._outbox.send(notice, places)

    def _worth(self, event: IncidentEvent) -> NoticeType | None:
        record, told = event.record, self._told.get(event.record.id)
        if event.what == "opened":
            return "incident.opened"
        if event.what in ("closed", "merged"):
            return "incident.closed" if event.what == "closed" else "incident.merged"
        if event.what == "reopened":
            return "incident.updated"
        now = _state(record)
        if event.what == "diagnosed":
            new = told is None or now[1:3] != told[1:3] or abs(now[3] - told[3]) >= SURER
            return "incident.diagnosed" if new else None
        worse = told is not None and now[0] > told[0]
        return "incident.updated" if worse else None


def _state(record: IncidentRecord) -> Told:
    found = record.diagnosis
    rank = RANK[record.severity]
    return (rank, None, None, -1.0) if found is None else (
        rank, found.root or found.abstained, found.fault_class, found.probability or 0.0,
    )  # fmt: skip
