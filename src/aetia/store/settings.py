"""What can be set about the embedded store; every default suits one machine of two cores."""

from __future__ import annotations

import msgspec

from aetia.ingest.otlp_columns import Limits
from aetia.model.stored import Signal

MIB = 1 << 20
DAY_SECONDS = 86_400


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of the store. Sizes are bytes, times seconds."""

    queue_bytes: int = 64 * MIB
    """Bodies that wait to be written; beyond it `append` raises StoreFull."""
    group_bytes: int = 4 * MIB
    """Bodies that share one fsync."""
    linger_seconds: float = 0.05
    """While several senders are at work, a group waits so long for more: decoding eight requests together costs a third
    of decoding them one by one."""
    segment_bytes: int = 64 * MIB
    segment_seconds: float = 30.0
    """A segment of the journal is closed at this size or age, and then compacted. Each request counts for 1.5 KiB
    more than its bytes."""
    hot_bytes: int = 160 * MIB
    """Journal that waits for compaction; beyond it `append` raises StoreFull. It bounds the memory of the hot tables
    and the time of a start."""
    dedupe_seconds: float = 3600.0
    """A request that comes again within this time is acknowledged without being stored again."""
    dedupe_entries: int = 4_000_000
    """So many requests are remembered at most (24 bytes each), the oldest are forgotten first."""
    compact: bool = True
    """Whether segments are compacted and parts merged in the background."""
    worker_process: bool = True
    """Whether that happens in a process of its own, so that requests need not wait for it."""
    row_group_rows: int = 32_768
    part_rows: int = 1_500_000
    part_bytes: int = 128 * MIB
    """Parts of one hour are merged up to this many rows or bytes."""
    most_hours: int = 48
    """Hours that one segment may be spread over; rows of further ones go to the hour of their receipt."""
    max_age_seconds: float | None = 7 * DAY_SECONDS
    """Parts are kept so long after their receipt; None: for ever."""
    max_age_by_signal: dict[Signal, float] = {}
    max_bytes: int | None = 20_480 * MIB
    """Bytes of all parts; the oldest go first. None: no limit."""
    max_bytes_by_signal: dict[Signal, int] = {}
    min_free_bytes: int = 64 * MIB
    """The store refuses when the disk has less: compaction needs room to work."""
    limits: Limits = Limits()
    """What a request may hold; the same for all that is decoded of one folder."""
    redact: bool = True
    """Whether secrets are taken out of attributes and log bodies before anything is written."""

    def age_of(self, signal: Signal) -> float | None:
        """How long parts of a signal are kept, in seconds; None: for ever."""
        return self.max_age_by_signal.get(signal, self.max_age_seconds)
