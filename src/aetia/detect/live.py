"""Detection on a stream: batches of spans in, candidates for incidents out, every few seconds.

The requests of the last half hour go through the same search as those of a case (`detect/sli.py`), compared with the
healthy recent past and with what is usual at this hour of the week. docs/detection.md says what counts as what.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aetia.detect._entries import entries
from aetia.detect._live_entries import COLUMNS, ROW_BYTES, EntryStream, Taken
from aetia.detect._live_harm import breach_of, weighed_share
from aetia.detect._live_past import Past, Saved
from aetia.detect._live_tracks import Episode, Look, Tracks
from aetia.detect._live_usual import Base, HoursOfWeek, at_this_hour, blocks_of
from aetia.detect._live_window import RollingWindow
from aetia.detect._requests import MAX_LOAD_FACTOR, Stream, find_in_stream
from aetia.detect.objectives import Budgets, Objective
from aetia.detect.severity import level_of
from aetia.model.diagnosis import SliBreach
from aetia.model.entity import Entity
from aetia.model.stored import SPANS
from aetia.model.tables import Telemetry
from aetia.model.window import Window
from aetia.signals.frames import F64, Bool
from aetia.signals.view import Facts

SECOND = 1_000_000_000
MIB = 1 << 20
PIECE_ROWS = 200_000
"""Spans that are looked at in one go: a tick that comes late must not need more memory than one in time."""
ARRIVING = 3
"""Bins over which it is looked at how much arrives, whatever the times say."""


class LiveSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds; the defaults fit exporters that send every 5 to 10 s."""

    step_s: int = 5
    window_s: int = 1800
    """Requests that are kept, and the reference with them."""
    scan_s: int = 480
    """The latest part of it, which is searched for harm."""
    warmup_s: int = 120
    """Healthy time without which nothing is judged, unless a baseline was saved before."""
    refresh_s: int = 60
    guard_s: int = 120
    """The latest time that is never part of the reference: harm that is not found yet may lie there."""
    grace_s: int = 30
    short_grace_s: int = 10
    keep_s: int = 300
    """How long ids are remembered for parents and duplicates that come late."""
    most_requests: int = 1_500_000
    queue_mib: float = 128
    """Memory of spans that wait to be looked at; beyond it the oldest are left out."""
    waiting_mib: float = 64
    """Memory of spans that wait for their parents; beyond it those that waited longest are judged without."""
    looks_to_open: int = 2
    false_alarms_days: float = 7.0
    """Days over which chance alone may raise one alarm in 20."""
    remember_s: int = 120
    """How long an episode that is over is gone on with when the harm comes back."""
    baseline_s: int = 600
    """The healthy time before an incident that it is compared with, at most."""
    save_s: int = 300
    ignore_services: tuple[str, ...] = ()
    """Services whose requests are never judged."""
    objectives: tuple[Objective, ...] = ()


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """Broken SLIs of related entry points that belong to one incident, as they are now.

    `key` stays the same as long as the harm lasts; `merged` are keys of others that turned out to belong to it.
    `window` goes from the onset to the end, or to now while `ended_ns` is None. `share` is the weighed share of all
    users' requests that is hurt (the last five minutes of it), `level` the word for it, `reach` the services that the
    hurt entry points use.
    """

    key: str
    onset_ns: int
    ended_ns: int | None
    window: Window
    baseline: Window
    breaches: tuple[SliBreach, ...]
    level: Literal["critical", "major", "minor", "unknown"]
    share: float | None
    reach: tuple[str, ...] = ()
    merged: tuple[str, ...] = ()
    within_objective: bool = False
    """Objectives were given for all of these entry points, and the harm breaks none of them."""


class LiveStats(msgspec.Struct, frozen=True, kw_only=True):
    """For the server's own metrics."""

    requests: int
    waiting: int
    """Spans that wait for their parents."""
    hurried: int
    """Spans that could not wait as long as they should."""
    queued: int
    """Spans that wait to be looked at."""
    dropped: int
    """Spans that were left out."""
    late: int
    duplicates: int
    delay_s: float
    entry_points: int
    warm: bool


class LiveSli:
    """SLIs of entry points on a stream of spans. `add` is for the writer's thread, all else for one other thread."""

    def __init__(self, settings: LiveSettings | None = None, *, folder: Path | None = None) -> None:
        self.settings = settings = settings or LiveSettings()
        self._queue: deque[tuple[pa.Table, int]] = deque()
        self._lock = threading.Lock()
        self._queued = self._queued_bytes = self._dropped = 0
        self._alive = False
        self._stream = EntryStream(
            grace_ns=settings.grace_s * SECOND, short_grace_ns=settings.short_grace_s * SECOND,
            keep_ns=settings.keep_s * SECOND, most_waiting=int(settings.waiting_mib * MIB) // ROW_BYTES,
        )  # fmt: skip
        self._window = RollingWindow(
            step_ns=settings.step_s * SECOND, bins=settings.window_s // settings.step_s, most=settings.most_requests
        )
        self._tracks = Tracks(settings.looks_to_open, settings.remember_s * SECOND)
        self._past = Past(settings.refresh_s * SECOND, settings.warmup_s * SECOND, settings.guard_s * SECOND)
        self._budgets = Budgets(settings.objectives)
        self._folder = folder
        self._saved_ns = 0
        if folder is not None:
            self._restore(Saved.read(folder))

    # --- in -----------------------------------------------------------------------------------------------

    def add(self, spans: pa.Table) -> None:
        """Queue a batch of stored spans, in any order; cheap. Beyond `queue_mib` the oldest are dropped."""
        table = spans.select([name for name in COLUMNS if name in spans.column_names])
        size = table.nbytes
        with self._lock:
            self._queue.append((table, size))
            self._queued += table.num_rows
            self._queued_bytes += size
            while self._queued_bytes > self.settings.queue_mib * MIB and len(self._queue) > 1:
                gone, size = self._queue.popleft()
                self._queued -= gone.num_rows
                self._queued_bytes -= size
                self._dropped += gone.num_rows

    def alive(self, table: pa.Table | None = None) -> None:
        """Say that other telemetry (logs, metrics) arrived: when no spans come any more it is the requests that are
        missing, not the telemetry. Rows of services that are not judged are no witnesses."""
        self._alive = self._alive or table is None or self._tells(table)

    def _tells(self, table: pa.Table) -> bool:
        if "service" not in table.column_names:
            return table.num_rows > 0
        services = pc.unique(table.column("service")).to_pylist()
        return any(name not in self.settings.ignore_services for name in services)

    def learn(self, tables: Iterable[pa.Table], now_ns: int) -> None:
        """Take in stored spans of the last half hour, so that a restart knows what is usual: in tables of a few seconds
        to minutes in order of time, which are read one at a time. Before the first tick."""
        for table in tables:
            if table.num_rows:
                last_ns = int(pc.max(table.column("time").cast(pa.int64())).as_py())
                self._take_in([table], min(last_ns, now_ns), now_ns, recorded=True)

    def _drain(self) -> list[pa.Table]:
        with self._lock:
            tables = [table for table, _ in self._queue]
            self._queue.clear()
            self._queued = self._queued_bytes = 0
        return tables

    # --- out ----------------------------------------------------------------------------------------------

    def tick(self, now_ns: int) -> tuple[Candidate, ...]:
        """Take in what was added and say which incidents there are, those that are over lately included; every 5 s."""
        self._take_in(self._drain(), now_ns, now_ns)
        operations = self._stream.operations
        self._past.refresh(self._window, operations, self._tracks, now_ns)
        base = self._past.base
        look = self._look(base, now_ns) if base is not None else None
        if look is not None:
            harms = find_in_stream(look.data, look.usual, self._as_stream(look))
            self._tracks.update(look, harms, self.related)
        self._tracks.promise(self._budgets.burning(), now_ns, self.related)
        found = tuple(self._candidate(look, episode, now_ns) for episode in self._tracks.episodes)
        if self._folder is not None and now_ns - self._saved_ns >= self.settings.save_s * SECOND:
            self.save(now_ns)
        return found

    def _take_in(self, tables: list[pa.Table], at_ns: int, now_ns: int, *, recorded: bool = False) -> None:
        """Requests of new spans into the window; `at_ns` is when they came, for what waits for them."""
        stream = self._stream
        parts = [self._judged(stream.take(table, at_ns)) for table in _pieces(tables)]
        taken = parts[0] if len(parts) == 1 else Taken.together(parts)
        heard, self._alive = self._alive or len(taken.end_ns) > 0, False
        sizes = len(stream.operations), len(stream.sources)
        self._window.add(taken, now_ns, *sizes, heard=heard, recorded=recorded)
        self._budgets.add(taken.entries, stream.operations, now_ns)

    def _judged(self, taken: Taken) -> Taken:
        """What a tick brought, without the spans of services that are not judged: what they send tells nothing of
        others either."""
        names = self.settings.ignore_services
        if not names:
            return taken
        ignored = np.array([name in names for name in self._stream.services.names] or [False])
        silent = np.array([name.partition("\0")[0] in names for name in self._stream.sources.names] or [False])
        told = ~silent[taken.source]
        entries = taken.entries.take(~ignored[taken.entries.service])
        return Taken(entries, taken.end_ns[told], taken.source[told])

    def related(self, one: Entity, other: Entity) -> bool:
        """Whether two entry points belong to one service, or their requests reach a service in common."""
        return one.service == other.service or bool(self._reach(one) & self._reach(other))

    def stats(self) -> LiveStats:
        """How the stream is doing."""
        base = self._past.base
        return LiveStats(
            requests=self._window.rows, waiting=self._stream.waiting, hurried=self._stream.hurried,
            queued=self._queued, dropped=self._dropped,
            late=self._window.late, duplicates=self._stream.duplicates, delay_s=self._window.delay_ns / 1e9,
            entry_points=0 if base is None else len(base.grouping.entities), warm=base is not None,
        )  # fmt: skip

    # --- a look -------------------------------------------------------------------------------------------

    def _look(self, base: Base, now_ns: int) -> Look | None:
        window, step = self._window, self._window.step_ns
        bins, whole = window.observed(window.newest - self.settings.scan_s * SECOND // step + 1, now_ns)
        if len(bins) < 6:
            return None
        base = at_this_hour(base, self._past.hours, now_ns, step)
        group = base.grouping.of(self._stream.operations)
        groups = len(base.grouping.entities)
        count = window.counts(group, groups, bins)
        latest = np.arange(window.newest - ARRIVING + 1, window.newest + 1)
        return Look(
            now_ns=now_ns, data=window.entries(group, base.grouping.entities, bins, whole), count=count, base=base,
            usual=replace(base.usual, load=_load(count.sum(axis=0), whole, base.level)),
            arriving=window.arrivals(group, groups, latest).mean(axis=1),
        )  # fmt: skip

    def _as_stream(self, look: Look) -> Stream:
        looks = round(self.settings.false_alarms_days * 86_400 / self.settings.step_s)
        return Stream(looks=looks, count=look.count, least=look.base.least)

    def _candidate(self, look: Look | None, episode: Episode, now_ns: int) -> Candidate:
        tracks = [self._tracks.tracks[key] for key in episode.tracks]
        onset = min(track.onset_ns for track in tracks)
        lasting = any(track.ended_ns is None for track in tracks)
        ended = None if lasting else max(track.ended_ns or 0 for track in tracks)
        end = max(ended or now_ns, onset + 1)
        breaches = [
            breach_of(look, track, track.ended_ns or now_ns) if look is not None else track.promised for track in tracks
        ]
        share = weighed_share(look, tracks, onset, end) if look is not None else None
        reach = {code for track in tracks for code in self._reach(track.entity)}
        met = [self._budgets.within(track.entity, track.sli, track.onset_ns) for track in tracks]
        return Candidate(
            key=episode.key, onset_ns=onset, ended_ns=ended, window=Window(onset, end),
            baseline=self._baseline(onset), breaches=_best([breach for breach in breaches if breach is not None]),
            level=level_of(share), share=share,
            reach=tuple(sorted(self._stream.services.names[code] for code in reach)), merged=tuple(episode.merged),
            within_objective=all(one is True for one in met),
        )  # fmt: skip

    def _baseline(self, onset_ns: int) -> Window:
        """The healthy time before an onset: since the last harm, at most `baseline_s`, at least a minute."""
        end = onset_ns - self._window.step_ns
        start = max(end - self.settings.baseline_s * SECOND, self._past.first_ns)
        before = [last for _, _, last in self._past.harmed if last <= end]
        start = max([start, *before])
        return Window(min(start, end - 60 * SECOND), end)

    def _reach(self, one: Entity) -> set[int]:
        operations, services = self._stream.operations, self._stream.services
        own = {services.code(one.service)} if one.service else set[int]()
        codes = [at for at, item in enumerate(operations.entities) if item == one or item.service == one.name]
        return own.union(*(self._stream.reach(code) for code in codes))

    # --- across restarts ----------------------------------------------------------------------------------

    def save(self, now_ns: int) -> None:
        """Write what is usual, and what is broken, to the folder, so that a restart goes on from there."""
        if self._folder is None:
            return
        self._saved_ns = now_ns
        self._past.saved(self._tracks, now_ns).write(self._folder)

    @property
    def hours(self) -> HoursOfWeek:
        """What is usual at each hour of the week."""
        return self._past.hours

    def rebuild(self, tables: Iterable[pa.Table], harmed: Sequence[Window] = ()) -> None:
        """Learn the hours of the week again from stored spans, in tables of an hour or more in order of time; what lies
        in `harmed` (incidents) is not usual."""
        self._past.hours = HoursOfWeek()
        for table in tables:
            data = entries(Facts(Telemetry(spans=table)))
            for name, block in blocks_of(data, harmed) if data is not None else ():
                self._past.hours.learn(name, block)

    def _restore(self, saved: Saved | None) -> None:
        if saved is not None:
            self._past.restore(saved)
            self._tracks.tracks = {(track.entity, track.sli): track for track in saved.tracks}
            self._tracks.episodes = saved.episodes


def _best(breaches: list[SliBreach]) -> tuple[SliBreach, ...]:
    return tuple(sorted(breaches, key=lambda b: (-b.affected, b.entry.name, b.sli)))


def _pieces(tables: list[pa.Table]) -> Iterator[pa.Table]:
    """All rows, in the columns of the stream, in tables of bounded size; at least one."""
    schema = pa.schema([SPANS.field(name) for name in COLUMNS])
    held: list[pa.Table] = []
    rows = 0
    for table in tables:
        for low in range(0, table.num_rows, PIECE_ROWS):
            part = table.slice(low, PIECE_ROWS)
            if held and rows + part.num_rows > PIECE_ROWS:
                yield pa.concat_tables(held)
                held, rows = [], 0
            held.append(_as_stored(part, schema))
            rows += part.num_rows
    yield pa.concat_tables(held or [schema.empty_table()])


def _as_stored(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table in the columns of the stream; missing ones are null."""
    if table.schema.equals(schema):
        return table
    have = set(table.column_names)
    columns = [
        table.column(f.name).cast(f.type) if f.name in have else pa.nulls(table.num_rows, f.type) for f in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _load(total: F64, whole: Bool, level: float) -> F64:
    """Load of each bin relative to the usual one; bins that are not complete go on from the last complete one."""
    smooth = np.convolve(total, np.ones(3), "same") / np.convolve(np.ones(len(total)), np.ones(3), "same")
    load = np.clip(smooth / max(level, 1.0), 1.0, MAX_LOAD_FACTOR)
    known = np.flatnonzero(whole)
    if len(known):
        load[known[-1] :] = np.maximum(load[known[-1] :], load[max(known[-1] - 1, 0)])
    return load


__all__ = ["Candidate", "LiveSettings", "LiveSli", "LiveStats", "Objective"]
