"""What is too old or too much. Whole parts go, oldest first; the journal never does."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Sequence
from pathlib import Path

from aetia.model.stored import SIGNALS
from aetia.store.catalog import Part
from aetia.store.layout import Layout
from aetia.store.seen import SUFFIX as IDS_SUFFIX
from aetia.store.settings import Settings

NS = 10**9


def expired(parts: Sequence[Part], held: Collection[int], settings: Settings, now_ns: int) -> list[Part]:
    """The parts to drop, given oldest first. Age counts from receipt, so that an old recording which is sent today
    is kept as long as what happens today."""
    chosen: dict[Path, Part] = {}
    for part in parts:
        age = settings.age_of(part.signal)
        if age is not None and part.received_s + age < now_ns / NS and part.number not in held:
            chosen[part.path] = part
    for signal in SIGNALS:
        limit = settings.max_bytes_by_signal.get(signal)
        if limit is not None:
            _trim([part for part in parts if part.signal == signal], limit, held, chosen)
    if settings.max_bytes is not None:
        _trim(sorted(parts, key=lambda part: (part.hour, part.start_ns)), settings.max_bytes, held, chosen)
    return list(chosen.values())


def _trim(parts: Sequence[Part], limit: int, held: Collection[int], chosen: dict[Path, Part]) -> None:
    """Choose further parts, from the front, until the rest is within the limit."""
    size = sum(part.bytes + part.rollup_bytes for part in parts if part.path not in chosen)
    for part in parts:
        if size <= limit:
            return
        if part.path not in chosen and part.number not in held:
            chosen[part.path] = part
            size -= part.bytes + part.rollup_bytes


def remove_empty_folders(layout: Layout) -> None:
    """Hours and days without a file."""
    for signal in SIGNALS:
        for folder, _, _ in os.walk(layout.signal(signal), topdown=False):
            if Path(folder) != layout.signal(signal):
                with contextlib.suppress(OSError):  # not empty
                    Path(folder).rmdir()


def remove_old_digests(layout: Layout, settings: Settings, now_ns: int) -> None:
    """Files of requests that need not be remembered any longer."""
    for path in layout.journal.glob(f"*{IDS_SUFFIX}"):
        if path.stat().st_mtime + settings.dedupe_seconds < now_ns / NS:
            path.unlink(missing_ok=True)
