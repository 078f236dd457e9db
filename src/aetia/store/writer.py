"""The one thread that writes: it takes what waits, decodes it, journals it with one fsync, publishes it, answers."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pyarrow as pa

from aetia.model.errors import IngestError, StoreError, StoreFull, UsageError
from aetia.model.stored import Signal
from aetia.store.catalog import Catalog
from aetia.store.decoding import Batch, Decoder
from aetia.store.hot import REQUEST_BYTES, Chunk, HotSegment, chunks_of
from aetia.store.journal import RECORD_BYTES, Kind, digest_of
from aetia.store.seen import Seen
from aetia.store.segments import SegmentFile
from aetia.store.settings import Settings

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FIRST_RETRY_S, _LONGEST_RETRY_S = 1.0, 30.0
_FREE_CHECK_S = 1.0
Subscriber = Callable[[Signal, pa.Table], None]


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a request that is durable: rows stored, items refused and why, or that it was stored before."""

    rows: int
    rejected: int = 0
    reason: str = ""
    duplicate: bool = False


@dataclass(slots=True)
class _Item:
    signal: Signal
    kind: Kind
    body: bytes
    received_ns: int
    future: Future[Receipt]
    digest: bytes = b""


@dataclass(slots=True)
class _Decoded:
    """The items of one signal in a group that can be stored, and their tables."""

    signal: Signal
    items: list[_Item]
    batch: Batch


class Writer:
    """Bounded queue, writer thread, open segment. `append` may be called from any thread and never blocks."""

    def __init__(
        self, folder: Path, settings: Settings, catalog: Catalog, seen: Seen, decoder: Decoder, next_number: int,
        closed: Callable[[], None],
    ) -> None:  # fmt: skip
        self._folder = folder
        self._settings = settings
        self._catalog = catalog
        self._seen = seen
        self._decoder = decoder
        self._next_number = next_number
        self._closed_segment = closed
        self._open: HotSegment | None = None
        self._queue: deque[_Item] = deque()
        self._queued_bytes = 0
        self._several = False
        """Whether the last group had more than one request: several senders are at work, and it pays to wait."""
        self._changed = threading.Condition()
        self._stopping = False
        self._rolls_asked = self._rolls_done = 0
        self._refusal: StoreError | None = None
        self._refuse_until = 0.0
        self._retry_s = _FIRST_RETRY_S
        self._free_checked = 0.0
        self._room = 0
        self.subscribers: tuple[Subscriber, ...] = ()
        self.problems = 0
        """Callbacks of subscribers that failed."""
        self._thread = threading.Thread(target=self._run, name="aetia-writer", daemon=True)
        self._thread.start()

    # ---- the callers' side --------------------------------------------------------------------------------

    def append(self, signal: Signal, kind: Kind, body: bytes) -> Future[Receipt]:
        """Queue a request. Raises StoreFull when there is no room, StoreError when closed or the disk is
        broken, UsageError for one that the queue can never hold."""
        waiting = self._queued_bytes + len(self._queue) * REQUEST_BYTES
        if self._catalog.hot_bytes() + waiting > self._settings.hot_bytes:
            raise StoreFull("Compaction is behind by more than the store may hold in memory; send again later.", 2.0)
        item = _Item(signal, kind, body, time.time_ns(), Future())
        size = len(body) + RECORD_BYTES
        with self._changed:
            if self._stopping:
                raise StoreError("The store is closed.")
            if self._refusal is not None and time.monotonic() < self._refuse_until:
                raise self._refused()
            if self._queued_bytes + size > self._settings.queue_bytes:
                if size > self._settings.queue_bytes:
                    raise UsageError(f"A request of {len(body):,} bytes is larger than the queue; send smaller ones.")
                raise StoreFull("The queue of the store is full; send again later.", 1.0)
            self._queue.append(item)
            self._queued_bytes += size
            self._changed.notify_all()
        return item.future

    def _refused(self) -> StoreError:
        assert self._refusal is not None
        message = str(self._refusal)
        if isinstance(self._refusal, StoreFull):
            return StoreFull(message, max(self._refuse_until - time.monotonic(), 0.1), full=self._refusal.full)
        return StoreError(message)

    @property
    def queued_bytes(self) -> int:
        return self._queued_bytes

    @property
    def refusal(self) -> str:
        """Why the store takes nothing, or nothing."""
        refusal = self._refusal
        return "" if refusal is None else str(refusal)

    def roll(self) -> None:
        """Close the open segment, so that it can be compacted; returns when it is closed."""
        with self._changed:
            self._rolls_asked += 1
            ticket = self._rolls_asked
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._rolls_done >= ticket or self._stopping)

    def close(self) -> None:
        """Write what waits, then end. Later appends raise StoreError."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()

    # ---- the thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            group = self._take()
            if group:
                self._store(group)
            elif self._stopping:
                self._close_segment()
                return
            asked = self._rolls_asked
            segment = self._open
            if segment is not None and (asked > self._rolls_done or self._due(segment)):
                self._close_segment()
            if asked > self._rolls_done:
                with self._changed:
                    self._rolls_done = asked
                    self._changed.notify_all()

    def _due(self, segment: HotSegment) -> bool:
        old = segment.file.age_seconds >= self._settings.segment_seconds
        return old or segment.weight >= self._settings.segment_bytes

    def _take(self) -> list[_Item]:
        """All that waits, up to the size of a group; waits itself until there is something to do."""
        with self._changed:
            if not (self._queue or self._stopping or self._rolls_asked > self._rolls_done):
                segment = self._open
                left = None if segment is None else self._settings.segment_seconds - segment.file.age_seconds
                self._changed.wait(left if left is None else max(left, 0.0))
            if self._several or len(self._queue) > 1:
                full = self._settings.group_bytes
                self._changed.wait_for(
                    lambda: self._stopping or self._queued_bytes >= full, self._settings.linger_seconds
                )
            group: list[_Item] = []
            size = 0
            while self._queue and size < self._settings.group_bytes:
                item = self._queue.popleft()
                size += len(item.body)
                self._queued_bytes -= len(item.body) + RECORD_BYTES
                if item.future.set_running_or_notify_cancel():
                    group.append(item)
            self._several = len(group) > 1
            return group

    def _store(self, group: Sequence[_Item]) -> None:
        try:
            self._store_new(group)
        except Exception as error:  # noqa: BLE001 - the thread must outlive whatever a request makes of it
            _answer_failed(group, StoreError(f"The request could not be stored: {type(error).__name__}: {error}"))

    def _store_new(self, group: Sequence[_Item]) -> None:
        fresh, twins = self._sort_out(group)
        try:
            decoded = self._decode(fresh)
            if any(one.items for one in decoded):
                self._journal(decoded)
        except OSError as error:
            self._fail(fresh, error)
        for item, first in twins:
            if (why := first.future.exception()) is not None:
                item.future.set_exception(why)
            else:
                item.future.set_result(Receipt(rows=0, duplicate=True))

    def _sort_out(self, group: Sequence[_Item]) -> tuple[list[_Item], list[tuple[_Item, _Item]]]:
        """The items that are new; and those that repeat one of them. Items stored earlier are answered."""
        self._seen.forget(time.time_ns())
        for item in group:
            item.digest = digest_of(item.signal, item.body)
        first: dict[bytes, _Item] = {}
        twins: list[tuple[_Item, _Item]] = []
        for item, known in zip(group, self._seen.holds([item.digest for item in group]), strict=True):
            if known:
                item.future.set_result(Receipt(rows=0, duplicate=True))
            elif item.digest in first:
                twins.append((item, first[item.digest]))
            else:
                first[item.digest] = item
        return list(first.values()), twins

    def _decode(self, items: Sequence[_Item]) -> list[_Decoded]:
        """The items by signal. Those that cannot be parsed are answered and left out."""
        by_signal: dict[Signal, list[_Item]] = {}
        for item in items:
            by_signal.setdefault(item.signal, []).append(item)
        out: list[_Decoded] = []
        for signal, listed in by_signal.items():
            try:
                out.append(_Decoded(signal, listed, self._decoder.decode(signal, [item.body for item in listed])))
            except Exception:  # noqa: BLE001 - find the body that the decoder cannot stand, and keep the others
                out += self._one_by_one(signal, listed)
        for one in out:
            for number, why in one.batch.failed.items():
                one.items[number].future.set_exception(IngestError(why))
        return out

    def _one_by_one(self, signal: Signal, items: Sequence[_Item]) -> list[_Decoded]:
        out: list[_Decoded] = []
        for item in items:
            try:
                out.append(_Decoded(signal, [item], self._decoder.decode(signal, [item.body])))
            except Exception as error:  # noqa: BLE001 - answered to whoever sent it
                item.future.set_exception(IngestError(f"The request cannot be decoded: {type(error).__name__}."))
        return out

    def _journal(self, decoded: Sequence[_Decoded]) -> None:
        """Write, publish, answer. Raises OSError when the disk refuses; then nothing was stored."""
        self._check_free(sum(len(item.body) for one in decoded for item in one.items))
        segment = self._open or self._new_segment()
        chosen = [
            (one, number, item)
            for one in decoded
            for number, item in enumerate(one.items)
            if number not in one.batch.failed
        ]
        if not chosen:
            return
        offsets = segment.file.append(
            [(i.signal, i.kind, i.received_ns, i.digest, one.batch.bodies[n]) for one, n, i in chosen]
        )
        chunks: list[tuple[Signal, Chunk]] = []
        place = 0
        for one in decoded:
            count = len(one.items) - len(one.batch.failed)
            chunks += chunks_of(one.signal, one.batch, segment.file, offsets[place : place + count])
            place += count
        for _, _, item in chosen:
            self._seen.add(item.digest, item.received_ns)
        segment.requests += len(chosen)
        self._catalog.publish(segment, chunks)
        self._refusal, self._retry_s = None, _FIRST_RETRY_S
        for one, number, item in chosen:
            rejected, reason = one.batch.rejected[number]
            item.future.set_result(Receipt(rows=one.batch.rows[number], rejected=rejected, reason=reason))
        self._tell(chunks)

    def _tell(self, chunks: Sequence[tuple[Signal, Chunk]]) -> None:
        for callback in self.subscribers:
            for signal, chunk in chunks:
                try:
                    callback(signal, chunk.table)
                except Exception:  # noqa: BLE001 - a listener's mistake must not stop the store
                    self.problems += 1

    # ---- segments and failures --------------------------------------------------------------------------------

    def _new_segment(self) -> HotSegment:
        segment = HotSegment(SegmentFile.create(self._folder, self._next_number))
        self._next_number += 1
        self._open = segment
        self._catalog.add_segment(segment)
        return segment

    def _close_segment(self) -> None:
        segment, self._open = self._open, None
        if segment is None:
            return
        segment.digests = self._seen.close_segment()
        if not segment.requests:  # the disk refused the first group
            self._catalog.drop_segment(segment)
            with contextlib.suppress(OSError):
                segment.file.path.unlink()
            return
        segment.closed = True
        self._closed_segment()

    def _check_free(self, size: int) -> None:
        """Raises OSError when that much more would take the room that compaction needs."""
        now = time.monotonic()
        if now - self._free_checked >= _FREE_CHECK_S or self._room < size:
            found = os.statvfs(self._folder)
            self._room = found.f_bavail * found.f_frsize - self._settings.min_free_bytes
            self._free_checked = now
        self._room -= size
        if self._room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _fail(self, items: Sequence[_Item], error: OSError) -> None:
        """Answer the group, refuse for a while, and begin a new segment afterwards: what the kernel keeps of a file
        whose fsync failed is not known."""
        why = os.strerror(error.errno).lower() if error.errno else str(error)
        message = f"{self._folder} cannot be written: {why}; what is stored is served"
        if error.errno in NO_SPACE:
            problem: StoreError = StoreFull(
                f"{message}. Free space, or keep less (retention).", self._retry_s, full="disk"
            )
        else:
            problem = StoreError(f"{message}. Mend the disk; the store tries again by itself.")
        with self._changed:
            self._refusal = problem
            self._refuse_until = time.monotonic() + self._retry_s
        self._retry_s = min(self._retry_s * 2, _LONGEST_RETRY_S)
        self._free_checked = 0.0
        self._close_segment()
        _answer_failed(items, problem)


def _answer_failed(items: Sequence[_Item], problem: StoreError) -> None:
    for item in items:
        if not item.future.done():
            item.future.set_exception(problem)
