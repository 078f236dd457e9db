"""What the server does with telemetry as it arrives: judge the SLIs, keep the incidents, diagnose them, tell of them.

One thread ticks. Batches come from the store's writer once they are durable; events of incidents go to the pages and to
the places that are notified; an incident that opens, comes back or closes is diagnosed, an open one again as evidence
arrives.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pyarrow as pa

from aetia.detect.live import LiveSli
from aetia.model.errors import AetiaError
from aetia.model.stored import Signal
from aetia.model.window import NS_PER_SECOND, Window
from aetia.serve.diagnosing import Diagnoses, Progress
from aetia.serve.history import recent
from aetia.serve.incidents import IncidentBook, IncidentEvent
from aetia.serve.itself import without_own
from aetia.serve.notify.outbox import Outbox
from aetia.serve.notify.places import make_places
from aetia.serve.notify.teller import Teller
from aetia.serve.sources import Sources

if TYPE_CHECKING:
    from aetia.serve.state import ServeState

log = logging.getLogger(__name__)
HISTORY_NS = 30 * 60 * NS_PER_SECOND
"""Stored spans that detection learns from at the start, so that a restart does not make it forget what is usual."""
DIAGNOSED_ON = {"opened": "opened", "reopened": "it came back", "closed": "it is over"}


class Live:
    """The life of a server's incidents; `start` and `close` are called once, from the same thread."""

    def __init__(self, state: ServeState, book: IncidentBook, diagnoses: Diagnoses | None, sli: LiveSli | None) -> None:
        self._state, self._book, self._diagnoses, self._sli = state, book, diagnoses, sli
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="aetia-live", daemon=True)
        self._endings = ExitStack()
        self._opened_s: dict[str, float] = {}

    def start(self) -> None:
        state = self._state
        if state.config.notify:
            self._notify()
        self._endings.callback(self._book.subscribe(self._happened))
        if self._diagnoses is not None:
            self._endings.callback(self._diagnoses.subscribe(self._stepped))
            self._diagnoses.start()
            self._endings.callback(self._diagnoses.close)
            for record in self._book.open_incidents():
                self._diagnoses.request(record.id, "the server started again")
        if self._sli is not None and state.store is not None:
            self._endings.callback(state.store.subscribe(self._arrived))
        if state.config.sources and state.store is not None:
            sources = state.extras["sources"] = Sources(state.config.sources, state.store, state.folder)
            sources.start()
            self._endings.callback(sources.close)
        self._thread.start()

    def close(self) -> None:
        """End the loop, keep what it learned, then end what it feeds."""
        self._stop.set()
        self._thread.join(10.0)
        if self._sli is not None:
            sli = self._sli
            self._guarded(lambda: sli.save(time.time_ns()))
        self._endings.close()

    def _notify(self) -> None:
        state = self._state
        targets, least = make_places(state.config.notify)
        outbox = Outbox(state.folder / "notify", targets)
        teller = Teller(outbox, least, self._last_answer, base_url=state.config.server.public_url or state.url)
        outbox.start()
        teller.start()
        state.extras["outbox"] = outbox
        self._endings.callback(outbox.close)
        self._endings.callback(teller.close)
        self._endings.callback(self._book.subscribe(teller.hear))

    def _last_answer(self, incident: str):
        return self._diagnoses.diagnosis(incident) if self._diagnoses is not None else None

    # ---- what comes in ------------------------------------------------------------------------------------

    def _arrived(self, signal: Signal, table: pa.Table) -> None:
        """From the store's writer: must be quick."""
        if self._sli is None:
            return
        table = without_own(table)
        if signal == "spans":
            self._sli.add(table)
        else:
            self._sli.alive(table)

    def _happened(self, event: IncidentEvent) -> None:
        """From whoever changed the book."""
        self._state.hub.tell("incidents", "incident", event, keep=True)
        why = DIAGNOSED_ON.get(event.what)
        if why is not None and self._diagnoses is not None:
            self._diagnoses.request(event.record.id, why)

    def _stepped(self, step: Progress) -> None:
        self._state.hub.tell(f"journal/{step.incident}", "step", step.event, key=f"{step.revision}.{step.seq}")

    # ---- the clock ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._remember()
        pause = self._state.config.detection.step_s
        while not self._stop.wait(pause):
            self._guarded(self._tick)

    def _tick(self) -> None:
        now = time.time_ns()
        candidates = self._sli.tick(now) if self._sli is not None else ()
        self._book.observe(candidates, now)
        if self._diagnoses is not None:
            clock = time.monotonic()
            still = {record.id for record in self._book.open_incidents()}
            self._opened_s = {key: self._opened_s.get(key, clock) for key in still}
            self._diagnoses.refine(clock, self._opened_s)

    def _remember(self) -> None:
        """Feed detection with what is stored of the last half hour."""
        store, sli = self._state.store, self._sli
        if store is None or sli is None:
            return

        def learn() -> None:
            now = time.time_ns()
            window = Window(now - HISTORY_NS, now)
            with store.reading(window, ("spans",)) as snapshot:
                sli.learn(map(without_own, recent(snapshot, window)), now)

        self._guarded(learn)

    def _guarded(self, work: Callable[[], object]) -> None:
        """Detection must not end because of one bad moment; what went wrong is logged."""
        try:
            work()
        except (AetiaError, OSError) as error:
            log.error("detection: %s", error)
        except Exception:
            log.exception("detection failed; it goes on with the next tick")


def make_live(state: ServeState) -> Live:
    """The live parts of a server by its configuration; sets `state.book` and `state.diagnoses`."""
    config, place = state.config, state.folder / "incidents"
    state.book = IncidentBook(place, config.incidents)
    if config.diagnosis.enabled:
        state.diagnoses = Diagnoses(place, state.book, state.backend, config.diagnosis)
    sli = LiveSli(config.detection, folder=state.folder / "detection") if config.detection.enabled else None
    if sli is not None:
        state.extras["detection"] = sli
    return Live(state, state.book, state.diagnoses, sli)
