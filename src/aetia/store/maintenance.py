"""What the store does by itself: compaction of closed segments, merging of small parts, rollups where they are missing,
retention. One thread, one worker process, one step at a time; nothing here is on the way of a request."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from aetia.model.patience import given_up, stopping
from aetia.store import commits
from aetia.store._duck_sql import REACH_NS
from aetia.store.catalog import Catalog, Part
from aetia.store.commits import Commit
from aetia.store.hot import HotSegment
from aetia.store.jobs import CompactJob, Done, Failed, MergeJob, RollUpJob
from aetia.store.layout import Layout
from aetia.store.merging import next_merge
from aetia.store.retention import expired, remove_empty_folders, remove_old_digests
from aetia.store.rollups import rollup_of
from aetia.store.seen import SUFFIX as IDS_SUFFIX
from aetia.store.seen import write_entries
from aetia.store.segments import sync_folder
from aetia.store.settings import Settings
from aetia.store.tending import InProcess, InThread

_ATTEMPTS = 3
"""After so many failures a segment is compacted without its attributes, and kept aside."""
_RETENTION_EVERY_S = 60.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0


class Maintenance:
    """The background of a store that is open for writing."""

    def __init__(self, layout: Layout, settings: Settings, catalog: Catalog, next_job: int) -> None:
        self._layout = layout
        self._settings = settings
        self._catalog = catalog
        self._next_job = next_job
        self._worker = InProcess() if settings.worker_process else InThread()
        self._changed = threading.Condition()
        self._stopping = False
        self._asked = 0
        self._retain_at: int | None = None
        self._dropped: list[Part] = []
        self._answered = 0
        self._paused_until = 0.0
        self._pause_s = _FIRST_PAUSE_S
        self._retention_due = 0.0
        self._stuck: tuple[Commit, list[Part], HotSegment | None] | None = None
        self._held: set[int] = set()
        """Numbers of merges whose inputs are still read by somebody."""
        self._without: set[Path] = set()
        """Parts whose rollup cannot be made; they are read as rows."""
        self.failure = ""
        """Why the last job failed, until one succeeds."""
        self.cpu_s = {"compact": 0.0, "merge": 0.0, "roll_up": 0.0}
        self.rows = {"compact": 0, "merge": 0, "roll_up": 0}
        self._thread = threading.Thread(target=self._run, name="aetia-maintenance", daemon=True)
        self._thread.start()

    @property
    def worker_pid(self) -> int | None:
        return self._worker.pid

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def drain(self, timeout_s: float) -> bool:
        """Compact what is closed and merge what should be merged now; whether it was done in time."""
        with stopping(self.wake), self._changed:
            self._asked += 1
            ticket = self._asked
            self._paused_until = 0.0
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._answered >= ticket or self._stopping or given_up(), timeout_s)

    def retain(self, now_ns: int, timeout_s: float) -> list[Part]:
        """Drop the parts that are too old or too many by that time; returns them."""
        with self._changed:
            self._retain_at = now_ns
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._retain_at is None or self._stopping, timeout_s)
            return self._dropped

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._worker.close()
        self._thread.join()

    # ---- the thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            with self._changed:
                asked = self._asked
            busy = self._next_step(asked > self._answered)
            if busy:
                continue
            with self._changed:
                self._answered = max(self._answered, asked)
                self._changed.notify_all()
                if not self._stopping and self._asked == asked and self._retain_at is None:
                    self._changed.wait(1.0)

    def _next_step(self, asked: bool) -> bool:
        """Do one thing; whether there was one to do."""
        try:
            return self._one_step(asked)
        except OSError as error:
            self._failed(f"{self._layout.folder} cannot be written: {error}")
        except Exception as error:  # noqa: BLE001 - the journal is safe; what fails is tried again and reported
            self._failed(f"compaction failed: {type(error).__name__}: {error}")
        return False

    def _one_step(self, asked: bool) -> bool:
        now = time.monotonic()
        if self._retain_at is not None or now >= self._retention_due:
            self._retention_due = now + _RETENTION_EVERY_S
            self._dropped = self._retain(self._retain_at or time.time_ns())
            self._retain_at = None
        if now < self._paused_until or not (self._settings.compact or asked):
            return False
        if self._stuck is not None:
            self._complete(*self._stuck)
            return True
        segment = next((one for one in self._catalog.segments() if one.closed), None)
        if segment is not None:
            return self._compact(segment)
        found = next_merge(self._catalog.parts(), self._held, self._settings, time.time(), eager=asked)
        if found:
            return self._merge(found)
        lacking = [part for part in self._catalog.parts("spans") if not part.rollup and part.path not in self._without]
        return self._roll_up(lacking[-1]) if lacking else False

    def _failed(self, why: str) -> None:
        self.failure = why
        self._paused_until = time.monotonic() + self._pause_s
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)

    def _succeeded(self, kind: str, done: Done) -> None:
        self.failure, self._pause_s = "", _FIRST_PAUSE_S
        self.cpu_s[kind] += done.cpu_s - done.rollup_cpu_s
        self.rows[kind] += sum(done.rows.values())
        self.cpu_s["roll_up"] += done.rollup_cpu_s
        self.rows["roll_up"] += done.rows.get("spans", 0)

    def _rolled_near(self, start_ns: int, end_ns: int, *, but: str = "") -> tuple[str, ...]:
        """The parts with a rollup whose spans may call, or be called by, those of that time."""
        return tuple(
            name
            for part in self._catalog.parts("spans")
            if part.rollup and part.start_ns - REACH_NS < end_ns and start_ns - REACH_NS < part.end_ns
            if (name := str(part.path.relative_to(self._layout.folder))) != but
        )

    # ---- compaction -----------------------------------------------------------------------------------------

    def _compact(self, segment: HotSegment) -> bool:
        number = self._number()
        name = str(segment.file.path.relative_to(self._layout.folder))
        job = CompactJob(
            number=number, folder=str(self._layout.folder), scratch=f"{self._layout.scratch.name}/{number:08d}",
            segment=name, length=segment.file.length, skipped=tuple(segment.skipped),
            full=segment.attempts < _ATTEMPTS, row_group_rows=self._settings.row_group_rows,
            most_hours=self._settings.most_hours, limits=self._settings.limits,
            rolled=self._rolled_near(*_reach(segment)), roll_up=not segment.attempts,
        )  # fmt: skip
        answer = self._worker.run(job)
        if isinstance(answer, Failed):
            self._drop_scratch(job.scratch)
            if not self._stopping:
                segment.attempts += 1 if not answer.errno else 0
                self._failed(f"{name} could not be compacted: {answer.problem}")
            return False
        try:
            self._report(segment, job, answer)
            write_entries(segment.file.path.with_suffix(IDS_SUFFIX), segment.digests)
        except OSError:
            self._drop_scratch(job.scratch)
            raise
        commit = Commit(number=number, outputs=answer.outputs, removed=(name,))
        self._commit(commit, (), segment)
        self._succeeded("compact", answer)
        return True

    def _report(self, segment: HotSegment, job: CompactJob, done: Done) -> None:
        """Say what did not come out as it went in."""
        path = segment.file.path
        for problem in done.problems:
            self._catalog.note(path, f"requests could not be decoded at compaction ({problem})", "its copy is kept")
        hot = {signal: rows for signal, rows in segment.rows.items() if rows}
        same = hot == {signal: rows for signal, rows in done.rows.items() if rows}
        if not same:
            self._catalog.note(path, f"had {hot} rows before compaction and {done.rows} after", "its copy is kept")
        if not job.full:
            self._catalog.note(path, "was compacted without attributes: with them it failed", "its copy is kept")
        if done.problems or not same or not job.full:
            self._layout.damaged.mkdir(exist_ok=True)
            shutil.copyfile(path, self._layout.damaged / path.name)

    # ---- merging --------------------------------------------------------------------------------------------

    def _merge(self, found: Sequence[Part]) -> bool:
        number = self._number()
        first = found[0]
        names = tuple(str(part.path.relative_to(self._layout.folder)) for part in found)
        job = MergeJob(
            number=number, folder=str(self._layout.folder), scratch=f"{self._layout.scratch.name}/{number:08d}",
            signal=first.signal, hour=first.hour, parts=names, starts=tuple(part.start_ns for part in found),
            received_s=max(part.received_s for part in found), row_group_rows=self._settings.row_group_rows,
            rolled=() if first.signal != "spans" else
            self._rolled_near(min(part.start_ns for part in found), max(part.end_ns for part in found)),
        )  # fmt: skip
        answer = self._worker.run(job)
        if isinstance(answer, Failed):
            self._drop_scratch(job.scratch)
            if answer.bad_part:
                self._catalog.exclude(self._layout.folder / answer.bad_part, f"cannot be read: {answer.problem}")
                return True
            if not self._stopping:
                self._failed(f"parts of {first.signal}/{first.hour} could not be merged: {answer.problem}")
            return False
        commit = Commit(number=number, outputs=answer.outputs, removed=names)
        self._commit(commit, found, None)
        self._succeeded("merge", answer)
        return True

    # ---- rollups --------------------------------------------------------------------------------------------

    def _roll_up(self, part: Part) -> bool:
        """Make the rollup of a part that has none; a part for which that fails goes without."""
        name = str(part.path.relative_to(self._layout.folder))
        scratch = f"{self._layout.scratch.name}/{self._number():08d}"
        rolled = self._rolled_near(part.start_ns, part.end_ns, but=name)
        job = RollUpJob(folder=str(self._layout.folder), scratch=scratch, part=name, rolled=rolled)
        answer = self._worker.run(job)
        try:
            made = rollup_of(self._layout.folder / scratch / part.path.name)
            if isinstance(answer, Failed) or not made.exists():
                if not self._stopping:
                    failed = isinstance(answer, Failed)
                    self._without |= set() if failed and answer.errno else {part.path}
                    problem = answer.problem if isinstance(answer, Failed) else answer.unrolled
                    self._failed(f"{name} could not be rolled up and is read as rows: {problem}")
                return False
            made.rename(rollup_of(part.path))
            sync_folder(part.path.parent)
            self._catalog.set_rollup(part.path, usable=True)
            done = msgspec.structs.replace(answer, rows={"spans": part.rows})
            self._succeeded("roll_up", done)
            return True
        finally:
            self._drop_scratch(scratch)

    # ---- commits --------------------------------------------------------------------------------------------

    def _commit(self, commit: Commit, inputs: Sequence[Part], segment: HotSegment | None) -> None:
        try:
            commits.begin(self._layout, commit)
        except OSError:
            self._drop_scratch(f"{self._layout.scratch.name}/{commit.number:08d}")
            raise
        self._complete(commit, list(inputs), segment)

    def _complete(self, commit: Commit, inputs: list[Part], segment: HotSegment | None) -> None:
        """What follows the marker; when the disk fails in between, it is tried again before anything else."""
        self._stuck = (commit, inputs, segment)
        commits.place(self._layout, commit)
        added = [part for _, part in commits.parts(self._layout, commit)]
        if segment is not None:
            self._catalog.swap(added=added, compacted=segment)
            segment.file.path.unlink(missing_ok=True)
            commits.end(self._layout, commit)
        else:
            self._held.add(commit.number)
            self._catalog.swap(added=added, removed=inputs, then=lambda: self._let_go(commit))
        self._stuck = None
        self._drop_scratch(f"{self._layout.scratch.name}/{commit.number:08d}")

    def _let_go(self, commit: Commit) -> None:
        commits.end(self._layout, commit)
        self._held.discard(commit.number)

    def _number(self) -> int:
        number = self._next_job
        self._next_job += 1
        return number

    def _drop_scratch(self, scratch: str) -> None:
        shutil.rmtree(self._layout.folder / scratch, ignore_errors=True)

    # ---- retention ------------------------------------------------------------------------------------------

    def _retain(self, now_ns: int) -> list[Part]:
        dropped = expired(self._catalog.parts(), self._held, self._settings, now_ns)
        if dropped:
            self._catalog.swap(added=(), removed=dropped)
        remove_empty_folders(self._layout)
        remove_old_digests(self._layout, self._settings, now_ns)
        return dropped


def _reach(segment: HotSegment) -> tuple[int, int]:
    """The times `[start_ns, end_ns)` of the spans of a segment."""
    chunks = segment.chunks["spans"]
    return min((one.start_ns for one in chunks), default=0), max((one.end_ns for one in chunks), default=0)
