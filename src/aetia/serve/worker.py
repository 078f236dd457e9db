"""The process that diagnoses: reads jobs as JSON lines from stdin, answers with JSON lines on stdout.

It works on the case folder of an incident and never on the live store, so that a diagnosis that crashes, hangs or takes
memory costs one answer and no telemetry. The last case stays in memory: an evidence check or a tool call asks the same
facts again. Started as `python -m aetia.serve.worker`; ends with its stdin, also in the middle of a job: then its
server is gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

import msgspec

from aetia.model.errors import AetiaError, UsageError
from aetia.model.journal import Steer, ToolCall

if TYPE_CHECKING:
    from aetia.api import Investigation
    from aetia.model.diagnosis import Diagnosis

LOCALIZER = "explain"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One line of stdin. `do` says what; a steer belongs to the diagnosis under way and is not answered."""

    number: int = 0
    do: str
    case: str = ""
    out: str = ""
    policy: str = "rules"
    seed: int = 0
    system: str = ""
    memory: str = ""
    steers: tuple[Steer, ...] = ()
    evidence: str | None = None
    call: ToolCall | None = None


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of stdout: an event of the journal, or the end of the job."""

    number: int
    event: msgspec.Raw = msgspec.Raw(b"")
    done: msgspec.Raw = msgspec.Raw(b"")
    failed: str = ""


class Worker:
    """Answers jobs one after the other; `say` sends a line."""

    def __init__(self, say: Callable[[Line], None]) -> None:
        self._say = say
        self._steers: SimpleQueue[Steer] = SimpleQueue()
        self._held: tuple[str, int, Investigation] | None = None

    def steer(self, wish: Steer) -> None:
        """A person's wish for the diagnosis under way; called from the thread that reads stdin."""
        self._steers.put(wish)

    def work(self, job: Job) -> None:
        """Do one job and send its end; what goes wrong is an answer too."""
        try:
            answer = {"diagnose": self._diagnose, "recheck": self._recheck, "tool": self._tool, "warm": _warm}[job.do](
                job
            )
        except AetiaError as error:
            self._say(Line(number=job.number, failed=str(error)))
        except Exception as error:  # noqa: BLE001 - one job must not end the worker; the server is told
            self._say(Line(number=job.number, failed=f"internal error ({type(error).__name__}: {error})."))
        else:
            self._say(Line(number=job.number, done=_raw(answer)))

    def _diagnose(self, job: Job) -> dict[str, Any]:
        from aetia.api import NO_POLICY, pursue
        from aetia.reason.journals import JournalFile, encoded
        from aetia.reason.memory import IncidentMemory

        self._drain()
        for wish in job.steers:
            self._steers.put(wish)
        out = Path(job.out)
        found = self._investigated(job.case, fresh=True)
        journal = out / "journal.jsonl.new"
        journal.unlink(missing_ok=True)
        if job.policy != NO_POLICY:
            with JournalFile(journal) as file:

                def tell(event: Any) -> None:
                    file.write(event)
                    self._say(Line(number=job.number, event=msgspec.Raw(encoded(event))))

                memory = IncidentMemory(Path(job.memory)) if job.memory else None
                found = pursue(
                    found, job.policy, seed=job.seed, tell=tell, steers=self._drain, memory=memory, system=job.system
                )
        self._write(out, found, journal)
        return _summary(found.diagnosis)

    def _write(self, out: Path, found: Investigation, journal: Path) -> None:
        """The diagnosis and its exhibits, each in one step; the journal last, since readers follow it."""
        from aetia.report.exhibits import Exhibits, collect

        shown = Exhibits() if found.view is None else collect(found.diagnosis, found.view)
        _replace(out / "diagnosis.json", _json(found.diagnosis))
        _replace(out / "exhibits.json", _json(shown))
        if journal.exists():
            journal.replace(out / "journal.jsonl")

    def _recheck(self, job: Job) -> list[dict[str, Any]]:
        from aetia.api import load_diagnosis
        from aetia.report.recheck import recheck

        held = load_diagnosis(Path(job.out) / "diagnosis.json")
        view = self._investigated(job.case).view
        if view is None:
            raise UsageError("the incident's telemetry holds no incident, so there is nothing to check.")
        if job.evidence is not None:
            chosen = tuple(item for item in held.evidence if item.id == job.evidence)
            if not chosen:
                raise UsageError(f"the diagnosis has no evidence {job.evidence}; its ids are in the diagnosis.")
            held = msgspec.structs.replace(held, evidence=chosen)
        return [
            {"id": item.evidence.id, "holds": item.holds, "why": item.why, "old": item.old, "new": item.new}
            for item in recheck(held, view)
        ]

    def _tool(self, job: Job) -> Any:
        from aetia.reason.toolbox import ViewTools

        view = self._investigated(job.case).view
        if view is None or job.call is None:
            raise UsageError("there is no incident in this telemetry; ask the tools of an incident that was diagnosed.")
        return ViewTools(view, shared=True).answer(job.call)

    def _investigated(self, case: str, *, fresh: bool = False) -> Investigation:
        """What the localizer says of a case; kept until another case, or a newer one in the same place, is asked."""
        from aetia.api import investigate

        version = (Path(case) / "case.json").stat().st_mtime_ns
        if fresh or self._held is None or self._held[:2] != (case, version):
            self._held = None  # two large cases at once would not fit
            self._held = (case, version, investigate(case, localizer=LOCALIZER))
        return self._held[2]

    def _drain(self) -> list[Steer]:
        found: list[Steer] = []
        with contextlib.suppress(Empty):
            while True:
                found.append(self._steers.get_nowait())
        return found


def _warm(job: Job) -> dict[str, Any]:
    """Import what a diagnosis needs, so that the first one does not wait for it."""
    del job
    from aetia import api, plugins
    from aetia.report import exhibits
    from aetia.signals.stats import normal_cdf

    for kind in ("detector", "channel", "localizer", "tool", "policy"):
        plugins.names(kind)
    plugins.create("localizer", LOCALIZER)
    normal_cdf(0.0)
    return {"ready": bool(api and exhibits)}


def _summary(diagnosis: Diagnosis) -> dict[str, Any]:
    """What an incident's record keeps of a diagnosis."""
    roots = [diagnosis.hypotheses[index] for index in diagnosis.roots] or list(diagnosis.hypotheses[:1])
    first = roots[0] if roots and diagnosis.abstained is None else None
    named = roots if first is not None else []
    breaches = diagnosis.incident.breaches if diagnosis.incident is not None else ()
    return {
        "roots": [item.entity.name for item in named],
        "causes": list(dict.fromkeys(item.entity.service or item.entity.name for item in named)),
        "hurt": list(dict.fromkeys(item.entry.service or item.entry.name for item in breaches)),
        "level": first.entity.level if first is not None else None,
        "fault_class": first.fault_class if first is not None else None,
        "fault": first.fault if first is not None else None,
        "probability": first.probability if first is not None else None,
        "abstained": diagnosis.abstained,
        "severity": diagnosis.severity.level if diagnosis.severity is not None else None,
        "seconds": diagnosis.cost.seconds,
    }


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value, enc_hook=lambda item: item.item())


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(_json(value))


def _replace(path: Path, content: bytes) -> None:
    """Write a file for its owner alone, in one step."""
    scratch = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)


def serve(source: BinaryIO, target: BinaryIO) -> NoReturn:
    """Answer jobs until the source ends, and the process with it. A thread reads, so that a steer reaches the diagnosis
    under way."""
    from aetia.allocator import keep_freed_memory

    keep_freed_memory()
    jobs: SimpleQueue[Job] = SimpleQueue()

    def say(line: Line) -> None:
        target.write(msgspec.json.encode(line) + b"\n")
        target.flush()

    worker = Worker(say)

    def read() -> None:
        decoder = msgspec.json.Decoder(Job)
        for line in source:
            job = decoder.decode(line)
            if job.do == "steer":
                for wish in job.steers:
                    worker.steer(wish)
            else:
                jobs.put(job)
        os._exit(0)

    threading.Thread(target=read, name="aetia-jobs", daemon=True).start()
    while True:
        worker.work(jobs.get())


def main() -> NoReturn:
    """The process: whatever prints must not end up between the lines."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal; the server says when to end
    target = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.stdin.buffer, target)


if __name__ == "__main__":
    main()
