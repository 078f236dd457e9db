"""Diagnoses of incidents: a copy of the telemetry around each, a worker that diagnoses it, and who listens meanwhile.

`DIR/incidents/ID/` is all of it: `case/` (a case like any other: `aetia diagnose`, `replay` and `recheck` read it),
`diagnosis.json`, `journal.jsonl`, `exhibits.json`, `wishes.json` and `revisions.jsonl`, one line for each answer that
was given. The copy outlives the retention of the store, so evidence can be checked for as long as the incident is kept.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from aetia.ingest.case import write_case
from aetia.model.case import Case
from aetia.model.diagnosis import Diagnosis
from aetia.model.errors import AetiaError, UsageError
from aetia.model.journal import Steer, ToolCall
from aetia.model.window import NS_PER_SECOND, Window
from aetia.report.interchange import load_diagnosis
from aetia.serve.incidents.records import DiagnosisSummary
from aetia.serve.itself import without_own
from aetia.serve.wishes import Wish, Wishes
from aetia.serve.worker import Job
from aetia.serve.workers import DiagnosisProcess

if TYPE_CHECKING:
    from aetia.store.backend import Backend

LONGEST_BASELINE_NS = 15 * 60 * NS_PER_SECOND
"""Of health before the onset; a channel learns little from more, and reading it takes longer."""
LONGEST_INCIDENT_NS = 30 * 60 * NS_PER_SECOND
SHORTEST_INCIDENT_NS = 10 * NS_PER_SECOND
REFINE_AFTER_S = (20.0, 60.0, 180.0, 600.0, 1800.0)
"""Seconds after the first answer at which an open incident is diagnosed again: early answers rest on half a minute of
harm, and what arrives later (late spans, slow metrics) moves them."""


class DiagnosisSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How incidents are diagnosed."""

    policy: str = "rules"
    """Who investigates what the localizer found; `none` leaves it at that."""
    system: str = ""
    """Name of the system, as for `aetia memory remember`: its own incidents count in full."""
    most_spans: int = 400_000
    """Spans that one diagnosis reads; beyond it, whole traces are sampled."""
    timeout_s: float = 60.0
    """A diagnosis that takes longer is stopped and said to have failed."""
    memory: bool = True
    """Whether earlier incidents are remembered."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One answer about an incident: which (counted from 1), when, why it was asked for, and what it said; `failed` says
    why there is none."""

    revision: int
    at_ns: int
    why: str = ""
    roots: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    """Services of the root causes."""
    hurt: tuple[str, ...] = ()
    """Services whose entry points are hurt."""
    level: str | None = None
    fault_class: str | None = None
    fault: str | None = None
    probability: float | None = None
    abstained: str | None = None
    severity: str | None = None
    seconds: float = 0.0
    failed: str = ""

    @property
    def brief(self) -> DiagnosisSummary:
        """What the incident's record keeps of it."""
        return DiagnosisSummary(
            revision=self.revision, at_ns=self.at_ns, root=" and ".join(self.roots) or None,
            causes=self.causes, hurt=self.hurt, fault_class=self.fault_class, probability=self.probability,
            abstained=f"the diagnosis failed: {self.failed}" if self.failed else self.abstained,
        )  # fmt: skip


class Open(Protocol):
    """What a diagnosis wants to know of an incident."""

    @property
    def id(self) -> str: ...
    @property
    def window(self) -> Window: ...
    @property
    def baseline(self) -> Window | None: ...


class Book(Protocol):
    """Where incidents are kept, see `aetia.serve.incidents`."""

    def get(self, incident: str, /) -> Open: ...
    def attach_diagnosis(self, incident: str, summary: DiagnosisSummary, /) -> Any: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One step of a diagnosis under way: `event` is JSON of the journal, `seq` counts them from 0 in a revision."""

    incident: str
    revision: int
    seq: int
    event: bytes


Listener = Callable[[Progress], None]


class _Node(msgspec.Struct, frozen=True):
    name: str


class _Graph(msgspec.Struct, frozen=True):
    nodes: tuple[_Node, ...] = ()


class _Shown(msgspec.Struct, frozen=True):
    """What is asked of the exhibits here."""

    graph: _Graph | None = None


@dataclass(slots=True)
class _Order:
    incident: str
    why: str
    steers: tuple[Steer, ...] = ()


@dataclass(slots=True)
class _Running:
    """What is known of the diagnosis under way."""

    incident: str = ""
    revision: int = 0
    events: list[bytes] = field(default_factory=list[bytes])


class Diagnoses:
    """Diagnoses incidents one after the other, in a thread of its own; all methods may be called from any thread."""

    def __init__(self, folder: Path, book: Book, backend: Backend, settings: DiagnosisSettings | None = None) -> None:
        self._folder, self._book, self._backend = folder, book, backend
        self._settings = settings or DiagnosisSettings()
        self._worker = DiagnosisProcess()
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._orders: deque[_Order] = deque()
        self._wishes = Wishes()
        self._listeners: list[Listener] = []
        self._running = _Running()
        self._later: dict[str, list[float]] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="aetia-diagnoses", daemon=True)

    def start(self) -> None:
        """Begin to work; the worker gets ready meanwhile."""
        self._thread.start()

    def close(self) -> None:
        """Stop; a diagnosis under way is given up and is made again after the next start."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        self._worker.close()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def request(self, incident: str, why: str = "asked for", steers: tuple[Steer, ...] = ()) -> None:
        """Diagnose an incident as soon as it is its turn; what waits for the same incident already is enough."""
        with self._wake:
            waiting = next((order for order in self._orders if order.incident == incident), None)
            if waiting is None:
                self._orders.append(_Order(incident, why, steers))
            else:
                waiting.steers += steers
            self._wake.notify_all()

    def refine(self, now_s: float, open_incidents: Mapping[str, float]) -> None:
        """Ask again for open incidents whose time has come: {id: seconds on the clock of `now_s` when it opened}."""
        due: list[str] = []
        with self._lock:
            for gone in [key for key in self._later if key not in open_incidents]:
                del self._later[gone]
            for incident, opened_s in open_incidents.items():
                left = self._later.setdefault(incident, [opened_s + after for after in REFINE_AFTER_S])
                passed = [at for at in left if at <= now_s]
                if passed:
                    del left[: len(passed)]
                    due.append(incident)
        for incident in due:
            self.request(incident, "more evidence arrived")

    def steer(self, incident: str, wish: Steer, by: str = "") -> str:
        """A person's wish: told to the investigation under way, else to a new one, together with the earlier wishes.
        Returns in words what was done."""
        if wish.wish != "stop":
            self._wishes.add(self.place(incident), wish, time.time_ns(), by)
        with self._lock:
            under_way = self._running.incident == incident
        if under_way and self._worker.steer((wish,)):
            return "told to the investigation under way"
        if wish.wish == "stop":
            return "no investigation is under way"
        self.request(incident, f"steered: {wish.wish.replace('_', ' ')} {wish.entity}")
        return "a new investigation begins"

    def wishes(self, incident: str) -> tuple[Wish, ...]:
        """What every investigation of the incident is told, in the order in which it was wished."""
        return self._wishes.of(self.place(incident))

    def withdraw(self, incident: str, number: int) -> Wish | None:
        """Take a wish back and investigate anew without it, after the investigation under way; None where there is no
        wish of this number."""
        gone = self._wishes.withdraw(self.place(incident), number)
        if gone is not None:
            self.request(incident, f"taken back: {gone.wish.replace('_', ' ')} {gone.entity}")
        return gone

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Hear every step of every diagnosis, from its thread; returns what ends it."""
        with self._lock:
            self._listeners.append(listener)

        def end() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return end

    def journal(self, incident: str) -> tuple[int, list[bytes]]:
        """(revision, its events as JSON): of the diagnosis under way, else of the last one."""
        path = self.place(incident) / "journal.jsonl"
        with self._lock:
            if self._running.incident == incident:
                return self._running.revision, list(self._running.events)
        revision = len(self.revisions(incident))
        return revision, path.read_bytes().splitlines() if path.exists() else []

    def diagnosis(self, incident: str) -> Diagnosis | None:
        """The last answer; None before the first."""
        path = self.place(incident) / "diagnosis.json"
        return load_diagnosis(path) if path.exists() else None

    def exhibits(self, incident: str) -> bytes:
        """What a page draws beside the diagnosis, as JSON (`report.exhibits.Exhibits`)."""
        path = self.place(incident) / "exhibits.json"
        return path.read_bytes() if path.exists() else b"{}"

    def services(self, incident: str) -> tuple[str, ...]:
        """The services that the last answer's call graph draws."""
        graph = msgspec.json.decode(self.exhibits(incident), type=_Shown).graph
        return tuple(node.name for node in graph.nodes) if graph is not None else ()

    def revisions(self, incident: str) -> list[Summary]:
        """Every answer that was given, in order."""
        path = self.place(incident) / "revisions.jsonl"
        if not path.exists():
            return []
        decoder = msgspec.json.Decoder(Summary)
        return [decoder.decode(line) for line in path.read_bytes().splitlines() if line.endswith(b"}")]

    def recheck(self, incident: str, evidence: str | None = None) -> list[dict[str, Any]]:
        """Run the evidence of the last answer again, all or one piece: id, whether it holds, old and new result.

        Raises UsageError where there is no diagnosis yet, ServeError where the worker failed.
        """
        place = self._answered(incident)
        job = Job(do="recheck", case=str(place / "case"), out=str(place), evidence=evidence)
        return self._worker.run(job, timeout_s=self._settings.timeout_s)

    def tool(self, incident: str, call: ToolCall) -> dict[str, Any]:
        """What a tool of the investigation answers about an incident (a `ToolAnswer` as plain values)."""
        job = Job(do="tool", case=str(self._answered(incident) / "case"), call=call)
        return self._worker.run(job, timeout_s=self._settings.timeout_s)

    def place(self, incident: str) -> Path:
        """The folder of an incident. Raises whatever the book raises for an unknown one, so that no text from a
        request becomes a path."""
        return self._folder / self._book.get(incident).id

    def _answered(self, incident: str) -> Path:
        place = self.place(incident)
        if not (place / "diagnosis.json").exists():
            raise UsageError(f"incident {incident} has no diagnosis yet; ask again in a few seconds.")
        return place

    def _serve(self) -> None:
        with contextlib.suppress(AetiaError):  # the first job starts a process of its own, and says what is wrong
            self._worker.run(Job(do="warm"), timeout_s=self._settings.timeout_s)
        while (order := self._next()) is not None:
            began = time.monotonic()
            try:
                summary = self._diagnose(order)
            except (AetiaError, OSError) as error:
                if self._closed:
                    return
                summary = Summary(
                    revision=len(self.revisions(order.incident)) + 1, at_ns=time.time_ns(), why=order.why,
                    seconds=round(time.monotonic() - began, 3), failed=str(error),
                )  # fmt: skip
            self._keep(order.incident, summary)

    def _next(self) -> _Order | None:
        with self._wake:
            self._running = _Running()
            while not self._orders and not self._closed:
                self._wake.wait()
            if self._closed:
                return None
            return self._orders.popleft()

    def _diagnose(self, order: _Order) -> Summary:
        """Copy the telemetry, run the worker on it, and say what it found."""
        place = self.place(order.incident)
        revision = len(self.revisions(order.incident)) + 1
        with self._lock:
            self._running = _Running(order.incident, revision)
        began = time.monotonic()
        self._copy(place, self._book.get(order.incident))
        settings = self._settings
        wished = tuple(wish.steer for wish in self._wishes.of(place))
        job = Job(
            do="diagnose", case=str(place / "case"), out=str(place), policy=settings.policy, system=settings.system,
            memory=str(self._folder.parent / "memory") if settings.memory else "",
            steers=(*wished, *order.steers),
        )  # fmt: skip
        found = self._worker.run(job, timeout_s=settings.timeout_s, on_event=self._hear)
        return Summary(
            revision=revision, at_ns=time.time_ns(), why=order.why, roots=tuple(found["roots"]),
            causes=tuple(found["causes"]), hurt=tuple(found["hurt"]), level=found["level"],
            fault_class=found["fault_class"], fault=found["fault"], probability=found["probability"],
            abstained=found["abstained"], severity=found["severity"], seconds=round(time.monotonic() - began, 3),
        )  # fmt: skip

    def _copy(self, place: Path, incident: Open) -> None:
        """The telemetry around the incident as a case, in place of an earlier copy."""
        start = incident.window.start_ns
        end = min(max(incident.window.end_ns, start + SHORTEST_INCIDENT_NS), start + LONGEST_INCIDENT_NS)
        health = incident.baseline or Window(start - LONGEST_BASELINE_NS, start)
        health = Window(max(health.start_ns, health.end_ns - LONGEST_BASELINE_NS), health.end_ns)
        whole = Window(min(health.start_ns, start), max(end, health.end_ns))
        telemetry = self._backend.telemetry(whole, most_spans=self._settings.most_spans)
        case = Case(
            id=incident.id, system=self._settings.system or "unknown", baseline=health, incident=Window(start, end),
            source="aetia serve",
        )  # fmt: skip
        system = {name: without_own(telemetry.table(name)) for name in ("spans", "logs", "metrics")}
        write_case(place / "case", case, replace(telemetry, **system), overwrite=True)

    def _hear(self, event: bytes) -> None:
        with self._lock:
            running = self._running
            step = Progress(
                incident=running.incident, revision=running.revision, seq=len(running.events), event=event
            )  # fmt: skip
            running.events.append(event)
            listeners = list(self._listeners)
        for listener in listeners:
            listener(step)

    def _keep(self, incident: str, summary: Summary) -> None:
        """Append the answer to the incident's history and tell the book."""
        try:
            place = self.place(incident)
            place.mkdir(parents=True, exist_ok=True)
            line = msgspec.json.encode(summary) + b"\n"
            with os.fdopen(
                os.open(place / "revisions.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb"
            ) as f:
                f.write(line)
        except (AetiaError, OSError):
            return  # the incident is gone, or the disk is full; the book says the latter on its own writes
        self._book.attach_diagnosis(incident, summary.brief)
