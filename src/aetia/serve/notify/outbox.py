"""The outbox: every notice waits here, on disk, until each place has taken it or will never take it.

`DIR/notify/TARGET/INCIDENT.json` holds what one place knows of one incident: its thread, what waits, how often it was
tried. Notices about one incident reach a place in order; while a place cannot be reached, a later notice takes the
place of an earlier one that still waits, since every notice says all. A notice that was sent just before a crash may
be sent twice (its id is the same), never lost.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from aetia.net import NetError
from aetia.serve.notify.notice import Notice
from aetia.serve.notify.targets import Refused, Target, Thread

log = logging.getLogger(__name__)
FIRST_WAIT_S, LONGEST_WAIT_S = 2.0, 600.0
GIVE_UP_AFTER_S = 24 * 3600.0
KEPT_S = 7 * 24 * 3600.0
"""A thread is remembered for so long after its last notice."""
LASTING = ("incident.closed", "incident.merged")


class Delivery(msgspec.Struct, kw_only=True):
    """What one place knows of one incident. `failed` says why the last notice was given up."""

    target: str
    incident: str
    thread: Thread = {}
    waiting: list[Notice] = []
    tries: int = 0
    next_s: float = 0.0
    """Epoch seconds before which it is not tried again."""
    since_s: float = 0.0
    sent: int = 0
    """Sequence of the last notice that was taken."""
    failed: str = ""
    updated_s: float = 0.0


class Outbox:
    """Sends notices in a thread of its own. `send` returns at once and may be called from any thread."""

    def __init__(
        self, folder: Path, targets: Mapping[str, Target], *, clock: Callable[[], float] = time.time,
        seed: int | None = None,
    ) -> None:  # fmt: skip
        self._folder, self._targets, self._clock = folder, dict(targets), clock
        self._random = random.Random(seed)
        self._wake = threading.Condition()
        self._held: dict[tuple[str, str], Delivery] = {}
        self._closed = False
        self._load()
        self._thread = threading.Thread(target=self._serve, name="aetia-notify", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, within_s: float = 2.0) -> None:
        """Stop; what waits is sent after the next start."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        if self._thread.is_alive():
            self._thread.join(within_s)

    def send(self, notice: Notice, to: tuple[str, ...] | None = None) -> None:
        """Queue a notice for places by name (all of them without `to`); it is on disk when this returns."""
        now = self._clock()
        with self._wake:
            for name in self._targets if to is None else to:
                held = self._held.setdefault((name, notice.incident), Delivery(target=name, incident=notice.incident))
                if not held.waiting:
                    held.since_s = now
                held.waiting, held.updated_s = [notice], now
                self._save(held)
            self._wake.notify_all()

    def deliveries(self) -> tuple[Delivery, ...]:
        """How every delivery stands, newest first."""
        with self._wake:
            copies = [msgspec.structs.replace(item) for item in self._held.values()]
        return tuple(sorted(copies, key=lambda item: -item.updated_s))

    def sequence(self, incident: str) -> int:
        """The highest sequence that any place has, or waits for."""
        with self._wake:
            known = [item for (_, key), item in self._held.items() if key == incident]
        return max((max([item.sent, *(one.sequence for one in item.waiting)]) for item in known), default=0)

    def _serve(self) -> None:
        while True:
            with self._wake:
                held = self._due()
                while held is None and not self._closed:
                    self._wake.wait(self._pause())
                    held = self._due()
                if self._closed or held is None:
                    return
                notice, thread = held.waiting[0], dict(held.thread)
            self._try(held, notice, thread)

    def _due(self) -> Delivery | None:
        now = self._clock()
        due = [item for item in self._held.values() if item.waiting and item.next_s <= now]
        return min(due, key=lambda item: item.since_s) if due else None

    def _pause(self) -> float:
        times = [item.next_s for item in self._held.values() if item.waiting]
        return min(max(min(times) - self._clock(), 0.05), 60.0) if times else 60.0

    def _try(self, held: Delivery, notice: Notice, thread: Thread) -> None:
        problem: Exception | None = None
        try:
            thread = self._targets[held.target].send(notice, thread)
        except (NetError, Refused) as error:
            problem = error
        except Exception as error:  # one place must not keep the others from being told
            log.exception("notice %s to %s", notice.id, held.target)
            problem = Refused(f"internal error ({type(error).__name__}).")
        with self._wake:
            held.thread = thread
            if problem is None:
                self._taken(held, notice, "")
            elif isinstance(problem, NetError) and problem.retryable and not self._too_old(held):
                held.tries += 1
                wait = min(FIRST_WAIT_S * 2 ** (held.tries - 1), LONGEST_WAIT_S) * self._random.uniform(0.8, 1.2)
                held.next_s = self._clock() + max(wait, problem.retry_after_s or 0.0)
                held.failed = str(problem)
            else:
                log.warning("notice %s is given up for %s: %s", notice.id, held.target, problem)
                self._taken(held, notice, str(problem))
            self._save(held)
            self._forget()

    def _too_old(self, held: Delivery) -> bool:
        return self._clock() - held.since_s > GIVE_UP_AFTER_S

    def _taken(self, held: Delivery, notice: Notice, failed: str) -> None:
        held.waiting = [item for item in held.waiting if item.id != notice.id]
        held.sent = max(held.sent, notice.sequence)
        held.tries, held.next_s, held.failed = 0, 0.0, failed
        held.since_s = held.updated_s = self._clock()

    # ---- disk ---------------------------------------------------------------------------------------------

    def _place(self, held: Delivery) -> Path:
        return self._folder / held.target / f"{held.incident}.json"

    def _save(self, held: Delivery) -> None:
        path = self._place(held)
        scratch = path.with_name(f".{path.name}.new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(msgspec.json.encode(held))
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(path)
        except OSError as error:
            # It is still sent from memory; only a restart would forget it.
            log.warning("%s cannot be written: %s", path, error.strerror or error)

    def _load(self) -> None:
        decoder = msgspec.json.Decoder(Delivery)
        for name in self._targets:
            for path in sorted((self._folder / name).glob("*.json")):
                try:
                    held = decoder.decode(path.read_bytes())
                except (OSError, msgspec.MsgspecError) as error:
                    log.warning("%s is left out: %s", path, error)
                    continue
                if (held.target, f"{held.incident}.json") == (name, path.name):
                    self._held[name, held.incident] = held

    def _forget(self) -> None:
        """Drop what is over for long."""
        now = self._clock()
        for key, held in list(self._held.items()):
            if not held.waiting and now - held.updated_s > KEPT_S:
                del self._held[key]
                with contextlib.suppress(OSError):
                    self._place(held).unlink(missing_ok=True)
