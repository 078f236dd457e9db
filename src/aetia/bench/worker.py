"""One worker process: loads a case once, asks every localizer about it, each under its own guard.

Started by the runner as `python -m aetia.bench.worker`; tasks come in on stdin, messages leave on the
original stdout, whatever an algorithm prints goes nowhere. A localizer sees a view and its incident, never
the case.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Generator
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec
import numpy as np

from aetia import plugins
from aetia.bench import perturb
from aetia.bench.messages import Answered, Begin, Finished, Lead, Ready, Task, Unable, frame, read_task
from aetia.bench.methods import Method, parse_method
from aetia.bench.scoring import Answer, Failure, FailureKind
from aetia.ingest.reader import Loaded, Reader
from aetia.localize.localizer import Localization
from aetia.model.case import Case
from aetia.model.diagnosis import Incident
from aetia.model.errors import CorruptSource
from aetia.model.tables import Telemetry
from aetia.model.window import Window
from aetia.signals.view import Facts, View

if TYPE_CHECKING:
    from aetia.detect._proof import Proof

TEXT_LIMIT = 500
MEASURED_SLI = frozenset({"affected", "entries"})


class TimeLimit(BaseException):
    """Raised inside a call that ran too long; not an Exception, so that algorithms do not swallow it."""


class Guard:
    """The one border behind which anything may go wrong: turns what was raised into a typed failure."""

    def __init__(self, kind: FailureKind) -> None:
        self._kind: FailureKind = kind
        self.failure: Failure | None = None
        self.unapplied: str | None = None

    def __enter__(self) -> Guard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None or isinstance(error, KeyboardInterrupt | GeneratorExit):
            return False
        if isinstance(error, perturb.Unapplied):
            self.unapplied = str(error)
            return True
        what: FailureKind = "timeout" if isinstance(error, TimeLimit) else self._kind
        name = "TimeLimit" if isinstance(error, TimeLimit) else type(error).__name__
        message = " ".join(str(error).split())[:TEXT_LIMIT]
        self.failure = Failure(kind=what, type=name, message=message, where=_where(trace) if what != "timeout" else "")
        return True


def _where(trace: TracebackType | None) -> str:
    frames = traceback.extract_tb(trace)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


@contextlib.contextmanager
def time_limit(seconds: float) -> Generator[None]:
    """Interrupt the main thread after some wall time. Code that never returns to Python is killed by the
    runner."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise TimeLimit(f"no answer within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def reset_peak() -> None:
    """Start a new measurement of the resident peak, where the kernel allows it (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_rss_mb() -> float:
    """Resident peak since the last reset in MiB; since the start of the process where there is no reset."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20) if sys.platform == "darwin" else peak / 1024


@dataclasses.dataclass(slots=True)
class Prepared:
    """A loaded case without its truth: the view, the incident (None: none was detected), and what the detector proves
    of it, for policies alone and as far as it can."""

    view: View | None
    incident: Incident | None
    proof: Proof | None = None
    said: dict[str, tuple[Answered, object]] = dataclasses.field(default_factory=dict[str, tuple[Answered, object]])
    """What each localizer answered so far, for the policies on top of it."""


def perform(task: Task, send: Callable[[Any], None]) -> None:
    """Run one task, sending a message for everything that happens."""
    send(Begin("load", task.case))
    with Guard("load") as guard:
        prepared = _prepare(task, send)
        for name in task.localizers:
            if prepared.view is None or prepared.incident is None:
                send(Answered(localizer=name, answer=Answer(no_incident=True), seconds=0.0, peak_rss_mb=peak_rss_mb()))
                continue
            send(_ask(parse_method(name), prepared, task, send))
    if guard.failure is not None or guard.unapplied is not None:
        send(Unable(failure=guard.failure, unapplied=guard.unapplied))
    send(Finished())


def _prepare(task: Task, send: Callable[[Any], None]) -> Prepared:
    """Load, perturb, build the shared frames, find the incident; says `Ready` or raises what went wrong."""
    clock = time.perf_counter
    start = clock()
    reader: Reader = plugins.create("reader", task.reader)
    loaded: Loaded = reader.load(Path(task.path), task.case)
    for record in loaded.telemetry.dropped:
        if record.table == "files":
            # A diagnosis uses what is left; a measurement on half a case would measure something else.
            raise CorruptSource(record.reason)
    load_seconds = clock() - start
    case, telemetry = perturb.apply(task.perturbation, loaded.case, loaded.telemetry, seed=task.seed)
    start = clock()
    facts = _build(telemetry)
    facts_seconds = clock() - start
    start = clock()
    incidents = _incidents(task, case, facts)
    detect_seconds = clock() - start
    chosen = choose(incidents)
    view = _view(task, case, facts, chosen)
    freeze(facts)
    truth = loaded.case.incident
    send(
        Ready(
            load_seconds=load_seconds, facts_seconds=facts_seconds, detect_seconds=detect_seconds,
            opened=chosen is not None and _opened(task, chosen), onset_ns=chosen.onset_ns if chosen else None,
            incident=(chosen.window.start_ns, chosen.window.end_ns) if chosen else None,
            spurious=sum(not truth.overlaps(item.window) for item in incidents) if truth else 0,
        )
    )  # fmt: skip
    asks = any(parse_method(name).policy is not None for name in task.localizers)
    return Prepared(view, chosen, _proof(task, case, facts, chosen) if asks and chosen is not None else None)


def _build(telemetry: Telemetry) -> Facts:
    """Facts with every frame built, so that no localizer pays for what all of them share."""
    facts = Facts(telemetry)
    for name in ("names", "spans", "logs", "metrics", "topology"):
        getattr(facts, name)
    return facts


def declared_sli(sli: dict[str, object]) -> dict[str, object]:
    """What a case declares about its SLIs. Which of them broke was measured by whoever labelled the case and stays
    with the truth."""
    return {key: value for key, value in sli.items() if key not in MEASURED_SLI}


def _incidents(task: Task, case: Case, facts: Facts) -> list[Incident]:
    detector = plugins.create("detector", task.detector)
    if task.onset == "detected":
        return detector.detect(facts, sli=declared_sli(case.sli))
    if case.incident is None:
        raise perturb.Unapplied(f"case '{case.id}' has no incident window; run it with onset 'detected'.")
    return detector.detect(facts, baseline=case.baseline, incident=case.incident, sli=declared_sli(case.sli))


def _proof(task: Task, case: Case, facts: Facts, incident: Incident) -> Proof | None:
    """The breaches with their evidence, found again by whoever found them; None where a detector cannot show them."""
    prove = getattr(plugins.create("detector", task.detector), "prove", None)
    if prove is None:
        return None
    return prove(
        facts, incident, baseline=None if task.onset == "detected" else case.baseline, sli=declared_sli(case.sli)
    )


def _opened(task: Task, incident: Incident) -> bool:
    return task.onset == "detected" or bool(incident.breaches)


def choose(incidents: list[Incident]) -> Incident | None:
    """The incident that hurts most requests, the earliest of equals; None when there is none."""
    if not incidents:
        return None
    return max(incidents, key=lambda item: (sum(b.affected for b in item.breaches), -item.onset_ns))


def _view(task: Task, case: Case, facts: Facts, incident: Incident | None) -> View | None:
    """The view of the incident; with a detected onset nothing of the case's own windows enters it."""
    if incident is None:
        return None
    if task.onset == "detected":
        return View(facts, (incident.baseline,), incident.window)
    baseline: tuple[Window, ...] = (case.baseline,) if case.baseline is not None else (incident.baseline,)
    return View(facts, baseline, incident.window, case.baselines)


def freeze(facts: Facts) -> None:
    """Make all arrays of the frames read-only: a localizer that writes to them fails instead of spoiling the
    view for the next one."""
    for frame_ in (facts.spans, facts.logs, facts.metrics, facts.topology):
        for field in dataclasses.fields(frame_):
            value = getattr(frame_, field.name)
            if isinstance(value, np.ndarray):
                value.flags.writeable = False


def _ask(method: Method, prepared: Prepared, task: Task, send: Callable[[Any], None]) -> Answered:
    """One localizer, or a policy on what it said, on one view; whatever either raises is its failure."""
    assert prepared.view is not None and prepared.incident is not None
    send(Begin("localize", method.text))
    if method.localizer not in prepared.said:
        prepared.said[method.localizer] = _localize(method.localizer, prepared.view, prepared.incident, task)
        send(Begin("localize", method.text))  # a policy has its time for itself
    answered, said = prepared.said[method.localizer]
    if method.policy is None:
        return answered
    if answered.answer.failure is not None or not isinstance(said, Localization):
        return msgspec.structs.replace(answered, localizer=method.text)
    return _investigate(method, said, answered.seconds, prepared, task)


def _localize(name: str, view: View, incident: Incident, task: Task) -> tuple[Answered, object]:
    """The answer of a localizer as it is scored, and as it was said."""
    answer, said = Answer(), None
    reset_peak()
    start = time.perf_counter()
    with Guard("exception") as guard, time_limit(task.timeout_s):
        localizer = plugins.create("localizer", name)
        said = localizer.localize(view, incident, seed=task.seed)
        answer = to_answer(said)
    seconds = time.perf_counter() - start
    if guard.failure is not None:
        answer = Answer(failure=guard.failure)
    return Answered(localizer=name, answer=answer, seconds=seconds, peak_rss_mb=peak_rss_mb()), said


def _investigate(method: Method, said: Localization, seconds: float, prepared: Prepared, task: Task) -> Answered:
    """The answer of a policy; its seconds are those of the localizer and its own."""
    assert prepared.view is not None and prepared.incident is not None
    from aetia.bench.investigation import answer_of, checked_claims, investigate

    answer, investigated, found, took = Answer(), None, None, None
    leads: tuple[Lead, ...] = ()
    reset_peak()
    start = time.perf_counter()
    with Guard("exception") as guard, time_limit(task.timeout_s):
        found = investigate(method, said, prepared.view, prepared.incident, task, prepared.proof)
        answer = plain(answer_of(found.diagnosis, prepared.view))
        took = time.perf_counter() - start
        leads = tuple(msgspec.structs.replace(lead, answer=plain(lead.answer)) for lead in found.leads())
    seconds += took if took is not None else time.perf_counter() - start
    peak = peak_rss_mb()
    if guard.failure is not None or found is None:
        answer = Answer(failure=guard.failure)
    else:
        investigated = found.investigated
        with Guard("exception"), time_limit(task.timeout_s):  # claims that cannot be checked are not confirmed
            investigated = checked_claims(found, prepared.view)
    return Answered(
        localizer=method.text, answer=answer, seconds=seconds, peak_rss_mb=peak, investigated=investigated,
        leads=leads,
    )  # fmt: skip


def to_answer(said: object) -> Answer:
    """The part of a localization that is scored; everything that is not one is an invalid answer."""
    if not isinstance(said, Localization):
        return Answer(failure=Failure(kind="invalid", type=type(said).__name__, message="is not a Localization"))
    slim = tuple(msgspec.structs.replace(item, evidence=(), against=(), reason="") for item in said.hypotheses)
    return plain(Answer(hypotheses=slim, roots=tuple(int(index) for index in said.roots), abstained=said.abstained))


def plain(answer: Answer) -> Answer:
    """The answer as it is written down; raises TypeError when that cannot be done."""
    # Numbers of numpy's types in a hypothesis only show when it is written down; that is the localizer's
    # failure.
    return msgspec.msgpack.decode(msgspec.msgpack.encode(answer, enc_hook=_number), type=Answer)


def _number(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"an answer holds a {type(value).__name__}, which is not a plain value")


def main() -> None:
    """Serve tasks until the runner closes the pipe."""
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the runner's to handle
    stdin: BinaryIO = sys.stdin.buffer

    def send(message: Any) -> None:
        data = memoryview(frame(message))
        while data:
            data = data[out.write(data) or 0 :]

    while (task := read_task(stdin)) is not None:
        perform(task, send)


if __name__ == "__main__":
    main()
