"""Detection on a stream: batches of spans in, candidates for incidents out, every few seconds.

The requests of the last half hour go through the same search as those of a case (`detect/sli.py`), compared with the
healthy recent past and with what is usual at this hour of the week. docs/detection.md says what counts as what.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import pyarrow as pa

from aetia.detect._entries import entries
from aetia.detect._live_entries import COLUMNS, EntryStream, Taken
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
    most_queued: int = 5_000_000
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
    queued: int
    dropped: int
    late: int
    duplicates: int
    delay_s: float
    entry_points: int
    warm: bool


class LiveSli:
    """SLIs of entry points on a stream of spans. `add` is for the writer's thread, all else for one other thread."""

    def __init__(self, settings: LiveSettings | None = None, *, folder: Path | None = None) -> None:
        self.settings = settings = settings or LiveSettings()
        self._queue: deque[pa.Table] = deque()
        self._lock = threading.Lock()
        self._queued = self._dropped = 0
        self._alive = False
        self._stream = EntryStream(
            grace_ns=settings.grace_s * SECOND, short_grace_ns=settings.short_grace_s * SECOND,
            keep_ns=settings.keep_s * SECOND,
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
        """Queue a batch of stored spans, in any order; cheap. Beyond `most_queued` rows the oldest are dropped."""
        table = spans.select([name for name in COLUMNS if name in spans.column_names])
        with self._lock:
            self._queue.append(table)
            self._queued += table.num_rows
            while self._queued > self.settings.most_queued and len(self._queue) > 1:
                gone = self._queue.popleft().num_rows
                self._queued -= gone
                self._dropped += gone

    def alive(self) -> None:
        """Say that other telemetry (logs, metrics) arrived: when no spans come any more it is the requests that are
        missing, not the telemetry."""
        self._alive = True

    def _drain(self) -> tuple[pa.Table, bool]:
        with self._lock:
            tables = list(self._queue)
            self._queue.clear()
            self._queued = 0
        heard, self._alive = self._alive or bool(tables), False
        schema = pa.schema([SPANS.field(name) for name in COLUMNS])
        return pa.concat_tables([_as_stored(table, schema) for table in tables] or [schema.empty_table()]), heard

    # --- out ----------------------------------------------------------------------------------------------

    def tick(self, now_ns: int) -> tuple[Candidate, ...]:
        """Take in what was added and say which incidents there are, those that are over lately included; every 5 s."""
        table, heard = self._drain()
        taken = self._judged(self._stream.take(table, now_ns))
        operations = self._stream.operations
        self._window.add(taken, now_ns, len(operations), len(self._stream.sources), heard=heard)
        self._budgets.add(taken.entries, operations, now_ns)
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

    def _judged(self, taken: Taken) -> Taken:
        """What a tick brought, without the requests of services that are not judged."""
        if not self.settings.ignore_services:
            return taken
        ignored = np.array([name in self.settings.ignore_services for name in self._stream.services.names], np.bool_)
        wanted = ~ignored[taken.entries.service]
        return taken._replace(entries=taken.entries.take(wanted))

    def related(self, one: Entity, other: Entity) -> bool:
        """Whether two entry points belong to one service, or their requests reach a service in common."""
        return one.service == other.service or bool(self._reach(one) & self._reach(other))

    def stats(self) -> LiveStats:
        """How the stream is doing."""
        base = self._past.base
        return LiveStats(
            requests=self._window.rows, waiting=self._stream.waiting, queued=self._queued, dropped=self._dropped,
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
