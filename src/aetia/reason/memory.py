"""The memory of incidents on disk: one SQLite file; what counts as a precedent is decided in `precedents.py`.

Every call opens and closes the file, so that many processes may share it. Text from telemetry is stored quoted and cut,
and nothing that is read back is ever an instruction to anybody.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import msgspec

from aetia.model.diagnosis import Diagnosis, Evidence, Hypothesis, Precedent, digest
from aetia.model.errors import AetiaError, ReportError
from aetia.model.journal import Answered, Believed, Event, ToolAnswer
from aetia.reason.fingerprints import LONGEST_NAME, OBSERVED, component, fingerprint, path_members, quoted, quotes
from aetia.reason.journals import closed, encoded, opened
from aetia.reason.precedents import (
    Fix,
    Memory,
    Provenance,
    Question,
    Reminder,
    Situation,
    Vouched,
    precedents,
    remind,
)
from aetia.reason.situations import joined

FILE = "memory.db"
APPLICATION_ID, VERSION = 0xAE71A, 1
PATIENCE_S = 30.0
"""How long a writer waits for another one."""
MOST_FIXES = 20
LEADING = 5
"""Candidates of a diagnosis for which precedents are looked up."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS memories (
    id TEXT PRIMARY KEY, role TEXT NOT NULL, fault_class TEXT, happened_ns INTEGER NOT NULL, record BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS blocks ON memories (role, fault_class);
"""
_DECODER = msgspec.json.Decoder(Memory)
_RANK: dict[Vouched, int] = {"nobody": 0, "checks": 1, "person": 2}


def default_folder() -> Path:
    """`$XDG_DATA_HOME/aetia`, or its usual place in the home folder."""
    home = os.environ.get("XDG_DATA_HOME") or ""
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".local" / "share") / "aetia"


def memories_of(
    events: Sequence[Event], *, situation: Situation | None = None, confirmed_by: str = "", source: str = "",
    now_ns: int = 0,
) -> tuple[Memory, ...]:  # fmt: skip
    """What a finished journal teaches: one memory for each root cause that it names. Pure.

    `confirmed_by` names the person who says that it was right. Without one the memory is a precedent only when the
    diagnosis was verified and its evidence is in the journal, unaltered. `source` is the voice it counts as; by default
    that of the person, of the system, or of the telemetry. The `situation` comes before that of the journal, and adds
    to it. Raises ReportError when the journal names no root cause.
    """
    end, first = closed(events), opened(events)
    prior, around = first.prior, joined(first.situation, situation)
    if end is None:
        raise ReportError("the journal did not end, so there is nothing to remember; finish the investigation first.")
    diagnosis = end.diagnosis
    roots = [diagnosis.hypotheses[at] for at in diagnosis.roots or (0,) if at < len(diagnosis.hypotheses)]
    if diagnosis.abstained is not None or not roots:
        raise ReportError("the journal names no root cause, so there is nothing to remember.")
    # The prior says by which relation a hop came about that the engine saw.
    told = {(hop.source, hop.target): hop.relation for hop in prior.propagation}
    hops = tuple(
        msgspec.structs.replace(hop, relation=told.get((hop.source, hop.target), "called by"))
        if hop.relation == OBSERVED else hop for hop in diagnosis.propagation
    )  # fmt: skip
    diagnosis = msgspec.structs.replace(diagnosis, propagation=hops)
    journal = hashlib.sha256(b"\n".join(encoded(event) for event in events)).hexdigest()[:16]
    held, settled = _unaltered(events), _settled(events)
    again = not confirmed_by and _comes_out_again(events, end.diagnosis)
    made: list[Memory] = []
    for root in roots:
        verified = root.verdict == "verified" and root.entity.name in settled
        proven = end.outcome == "answered" and verified and bool(held & set(root.evidence)) and again
        vouched: Vouched = "person" if confirmed_by else "checks" if proven else "nobody"
        origin = Provenance(journal=journal, vouched=vouched, by=quoted(confirmed_by, LONGEST_NAME),
                            source=_source(diagnosis, around, confirmed_by, source))  # fmt: skip
        made.append(_memory(diagnosis, root, around, origin, now_ns))
    return tuple(made)


def question_of(diagnosis: Diagnosis, hypothesis: Hypothesis, situation: Situation | None = None) -> Question:
    """The question for precedents of an incident, should this hypothesis be its root cause. Pure."""
    return Question(
        fingerprint=fingerprint(diagnosis, hypothesis), incident=_incident(diagnosis, situation),
        component=component(hypothesis.entity), at_ns=_happened(diagnosis), situation=situation or Situation(),
    )  # fmt: skip


class IncidentMemory:
    """The memory in a folder. Reading never creates it. Every method raises ReportError, with the place and the mend,
    when the file cannot be used."""

    def __init__(self, folder: Path | None = None) -> None:
        self.path = (folder if folder is not None else default_folder()) / FILE

    def remember(
        self, events: Sequence[Event], *, situation: Situation | None = None, confirmed_by: str = "", source: str = "",
    ) -> tuple[Memory, ...]:  # fmt: skip
        """Keep what a finished journal teaches, see `memories_of`. The same incident with the same cause is one memory
        however often it is investigated: who vouches for it most remains, and its fixes stay."""
        made = memories_of(
            events, situation=situation, confirmed_by=confirmed_by, source=source, now_ns=time.time_ns()
        )  # fmt: skip
        kept: list[Memory] = []
        with self._write() as held:
            for memory in made:
                old = self._get(held, memory.id)
                if old is not None:
                    weaker = _RANK[memory.provenance.vouched] < _RANK[old.provenance.vouched]
                    memory = old if weaker else msgspec.structs.replace(memory, fixes=old.fixes)
                self._put(held, memory)
                kept.append(memory)
        return tuple(kept)

    def recall(
        self, diagnosis: Diagnosis, hypothesis: Hypothesis, situation: Situation | None = None
    ) -> list[Reminder]:
        """Incidents of the same structure, weightiest first; those of weight 0 are no precedents."""
        question = question_of(diagnosis, hypothesis, situation)
        wanted = question.fingerprint
        with self._read() as held:
            rows = held.execute(
                "SELECT record FROM memories WHERE role = ? AND (fault_class IS ? OR fault_class IS NULL OR ? IS NULL)",
                (wanted.role, wanted.fault_class, wanted.fault_class),
            ).fetchall() if held else []  # fmt: skip
        kept = [self._decode(row[0]) for row in rows]
        # A memory has the name of its incident from the system that it was kept under: asked under another it is still
        # the same incident, and no precedent for itself.
        others = [memory for memory in kept if memory.incident != _incident(diagnosis, memory.situation)]
        return remind(question, others)

    def precedents(self, diagnosis: Diagnosis, situation: Situation | None = None) -> tuple[Precedent, ...]:
        """What an investigation of this diagnosis is told of earlier incidents: a few, of those that a person confirmed
        or the checks verified, for its leading candidates."""
        leading = diagnosis.hypotheses[:LEADING]
        return precedents([(item, self.recall(diagnosis, item, situation)) for item in leading])

    def all(self) -> list[Memory]:
        """Every memory, newest incident first."""
        with self._read() as held:
            query = "SELECT record FROM memories ORDER BY happened_ns DESC, id"
            rows = held.execute(query).fetchall() if held else []
        return [self._decode(row[0]) for row in rows]

    def get(self, id: str) -> Memory:
        """The memory of that id, or of the only one that begins so."""
        found = [memory for memory in self.all() if memory.id.startswith(id)] if id else []
        exact = [memory for memory in found if memory.id == id]
        if len(found) == 1 or exact:
            return (exact or found)[0]
        many = f"{len(found)} memories begin with {quoted(id, 40)!r}" if found else f"no memory is {quoted(id, 40)!r}"
        raise ReportError(f"{many} in {self.path}; `aetia memory list` shows the ids.")

    def forget(self, id: str) -> Memory:
        """Remove one memory, and return what it was."""
        memory = self.get(id)
        with self._write() as held:
            held.execute("DELETE FROM memories WHERE id = ?", (memory.id,))
        return memory

    def confirm(self, id: str, by: str) -> Memory:
        """A person says that a diagnosis was right: it becomes a precedent in that person's voice."""
        name = quoted(by, LONGEST_NAME)
        if not name:
            raise ReportError("a confirmation needs the name of who gives it.")
        return self._change(id, lambda memory: msgspec.structs.replace(
            memory, provenance=msgspec.structs.replace(memory.provenance, vouched="person", by=name,
                                                       source=f"person {name}")))  # fmt: skip

    def record_fix(self, id: str, action: str, worked: bool, *, by: str = "") -> Memory:
        """Write down what was done about an incident and whether it helped."""
        fix = Fix(action=quoted(action), worked=worked, at_ns=time.time_ns(), by=quoted(by, LONGEST_NAME))
        return self._change(
            id, lambda memory: msgspec.structs.replace(memory, fixes=(*memory.fixes, fix)[-MOST_FIXES:])
        )

    def _change(self, id: str, change: Callable[[Memory], Memory]) -> Memory:
        """Read and write one memory in one transaction."""
        wanted = self.get(id).id
        with self._write() as held:
            memory = self._get(held, wanted)
            if memory is None:
                raise ReportError(f"memory {wanted} was forgotten meanwhile.")
            changed = change(memory)
            self._put(held, changed)
        return changed

    def _get(self, held: sqlite3.Connection, id: str) -> Memory | None:
        row = held.execute("SELECT record FROM memories WHERE id = ?", (id,)).fetchone()
        return self._decode(row[0]) if row else None

    @staticmethod
    def _put(held: sqlite3.Connection, memory: Memory) -> None:
        mark = memory.fingerprint
        held.execute(
            "INSERT OR REPLACE INTO memories VALUES (?, ?, ?, ?, ?)",
            (memory.id, mark.role, mark.fault_class, memory.happened_ns, msgspec.json.encode(memory)),
        )

    def _decode(self, record: bytes) -> Memory:
        try:
            return _DECODER.decode(record)
        except msgspec.DecodeError as error:
            raise self._damaged(str(error)) from error

    @contextlib.contextmanager
    def _read(self) -> Generator[sqlite3.Connection | None]:
        """A connection that changes nothing; None where there is no memory yet."""
        with self._sentences():
            if not self.path.exists():
                yield None
                return
            with contextlib.closing(sqlite3.connect(self.path, timeout=PATIENCE_S, isolation_level=None)) as held:
                held.execute("PRAGMA query_only = ON")
                if not held.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    yield None  # a writer has just made the file
                    return
                self._check(held)
                yield held

    @contextlib.contextmanager
    def _write(self) -> Generator[sqlite3.Connection]:
        """A transaction that no other writer interleaves with; creates the file, readable by its owner alone."""
        with self._sentences():
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            with contextlib.closing(sqlite3.connect(self.path, timeout=PATIENCE_S, isolation_level=None)) as held:
                held.execute("BEGIN IMMEDIATE")
                if not held.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    for statement in _SCHEMA.split(";"):
                        held.execute(statement)
                    held.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    held.execute(f"PRAGMA user_version = {VERSION}")
                self._check(held)
                try:
                    yield held
                except BaseException:
                    held.execute("ROLLBACK")
                    raise
                held.execute("COMMIT")

    def _check(self, held: sqlite3.Connection) -> None:
        owner = held.execute("PRAGMA application_id").fetchone()[0]
        version = held.execute("PRAGMA user_version").fetchone()[0]
        if owner != APPLICATION_ID:
            raise self._damaged("another program wrote it")
        if version != VERSION:
            raise ReportError(
                f"{self.path} has form {version} and this version of Aetia reads {VERSION}; update Aetia."
            )

    @contextlib.contextmanager
    def _sentences(self) -> Generator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            busy = "locked" in str(error) or "busy" in str(error)
            mend = "try again when the other process is done" if busy else "check the path, its permissions and space"
            raise ReportError(f"{self.path} cannot be used: {error}; {mend}.") from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from error
        except OSError as error:
            raise ReportError(
                f"{self.path} cannot be used: {error.strerror}; check the path, its permissions and space."
            ) from error

    def _damaged(self, why: str) -> ReportError:
        return ReportError(
            f"{self.path} is no memory of incidents, or it is damaged ({why}); move it away to begin anew."
        )


def remember(
    events: Sequence[Event], *, folder: Path | None = None, situation: Situation | None = None, confirmed_by: str = "",
) -> tuple[Memory, ...]:  # fmt: skip
    """Keep what a finished journal teaches in the memory of a folder; see `IncidentMemory.remember`."""
    return IncidentMemory(folder).remember(events, situation=situation, confirmed_by=confirmed_by)


def _memory(diagnosis: Diagnosis, root: Hypothesis, situation: Situation, origin: Provenance, now_ns: int) -> Memory:
    incident, blamed = _incident(diagnosis, situation), component(root.entity)
    members = path_members(diagnosis, root)
    near = situation.neighbours.get(blamed)
    return Memory(
        id=f"M{digest([incident, blamed, root.fault_class])[:12]}",
        incident=incident,
        fingerprint=fingerprint(diagnosis, root),
        component=blamed,
        fault_class=root.fault_class,
        fault=quoted(root.fault, LONGEST_NAME) if root.fault else None,
        summary=_summary(root, len(diagnosis.propagation)),
        provenance=origin,
        happened_ns=_happened(diagnosis),
        remembered_ns=now_ns,
        situation=Situation(
            system=quoted(situation.system, LONGEST_NAME),
            versions={name: quoted(situation.versions[name]) for name in members if name in situation.versions},
            neighbours={blamed: near} if near is not None else {},
        ),
        quotes=quotes(diagnosis, root),
    )


def _summary(root: Hypothesis, hops: int) -> str:
    """One sentence of our own words; the names in it are quoted, since they come from telemetry."""
    fault = f"{root.fault_class or '?'} {quoted(root.fault or 'unknown', LONGEST_NAME).replace('_', ' ')}"
    sure = f", {root.probability:.1%} likely" if root.probability is not None else ""
    return (
        f"{root.entity.level} “{quoted(root.entity.name, LONGEST_NAME)}”: {fault}, {root.verdict}{sure}, "
        f"{len(root.evidence)} facts for it, {len(root.against)} against, hops: {hops}"
    )


def _incident(diagnosis: Diagnosis, situation: Situation | None) -> str:
    """One name for one incident: the same telemetry or system, the same minute."""
    where = (situation.system if situation is not None else "") or list(diagnosis.source)
    return digest([where, diagnosis.case, _happened(diagnosis) // (60 * 10**9)])


def _happened(diagnosis: Diagnosis) -> int:
    return diagnosis.incident.onset_ns if diagnosis.incident is not None else 0


def _source(diagnosis: Diagnosis, situation: Situation | None, confirmed_by: str, source: str) -> str:
    """The voice of a memory: who says so, else the system, since its telemetry is one witness; else the telemetry."""
    if source:
        return quoted(source)
    if confirmed_by:
        return f"person {quoted(confirmed_by, LONGEST_NAME)}"
    if situation is not None and situation.system:
        return f"system {quoted(situation.system, LONGEST_NAME)}"
    return quoted("telemetry " + " ".join(diagnosis.source))


def _unaltered(events: Sequence[Event]) -> set[str]:
    """Ids of the evidence that the prior and the tools gave and whose content still has its hash."""
    found = list(opened(events).prior.evidence)
    for event in events:
        if isinstance(event, Answered) and isinstance(event.answer, ToolAnswer) and event.answer.evidence is not None:
            found.append(event.answer.evidence)
    return {item.id for item in found if _identity(item) == item.id and digest(item.result) == item.digest}


def _settled(events: Sequence[Event]) -> set[str]:
    """Candidates that the checks had verified when the investigation ended; an answer about another is not theirs."""
    states = {event.entity: event.state for event in events if isinstance(event, Believed)}
    return {name for name, state in states.items() if state == "verified"}


def _identity(item: Evidence) -> str:
    return f"E{digest([msgspec.to_builtins(item.about), msgspec.to_builtins(item.query), item.digest, item.polarity])}"


def _comes_out_again(events: Sequence[Event], diagnosis: Diagnosis) -> bool:
    """Whether the answers of a journal lead to its diagnosis: a verdict that somebody wrote into it does not."""
    from aetia.reason.replay import replay

    try:
        return replay(events) == diagnosis
    except AetiaError:
        return False
