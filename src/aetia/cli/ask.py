"""`aetia ask`: a question about an incident, answered by a language model from evidence alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from aetia.cli.diagnose import TIME
from aetia.cli.modelling import Modelling, pursued
from aetia.cli.progress import StageProgress
from aetia.cli.recall import Recall
from aetia.model.errors import IngestError, UsageError

if TYPE_CHECKING:
    from aetia.model.diagnosis import Diagnosis
    from aetia.model.journal import Event

POLICY = "llm"


def ask(
    question: str,
    source: Annotated[tuple[str, ...], Parameter(negative=())],
    /,
    *,
    baseline: Annotated[str | None, TIME] = None,
    incident: Annotated[str | None, TIME] = None,
    since: Annotated[str | None, TIME] = None,
    at: Annotated[str | None, TIME] = None,
    modelling: Modelling | None = None,
    recall: Recall | None = None,
    journal: Path | None = None,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Answer a question about an incident; every sentence cites evidence.

    Asks the model that is configured, and none without. Exit code 0: answered. 1: the model gave no sentence that
    evidence backs. 2: no model is configured, or the input cannot be used.

    Parameters
    ----------
    question:
        What you want to know, such as "why did checkout fail?".
    source:
        The telemetry, as for `aetia diagnose`.
    baseline:
        Time to compare with, as for `aetia diagnose`.
    incident:
        Time in which users were hurt.
    since:
        The incident began this long before the end of the data.
    at:
        A time inside the incident.
    journal:
        Write what was asked, seen and answered to this new file; `aetia replay` repeats it.
    quiet:
        No progress on stderr.
    """
    from aetia.api import NO_TELEMETRY, investigate
    from aetia.cli.output import check_new

    question = question.encode("utf-8", "replace").decode()  # an argument may hold bytes that are no text
    if not question.strip():
        raise UsageError('what do you want to know? Ask a question, such as "why did checkout fail?".')
    ready = (modelling or Modelling()).ready()
    check_new(journal)
    with StageProgress(quiet=quiet) as progress:
        found = investigate(source, baseline=baseline, incident=incident, since=since, at=at, progress=progress)
        if found.diagnosis.abstained == NO_TELEMETRY:
            raise IngestError(f"{', '.join(found.diagnosis.source)} holds no telemetry that can be used.")
        progress("asking the model")
        found, events = pursued(
            found, POLICY, ready, question=question, journal=journal, quiet=quiet, recall=recall or Recall()
        )  # fmt: skip
    return tell(events, found.diagnosis)


def tell(events: Sequence[Event], diagnosis: Diagnosis) -> int:
    """Print the sentences with numbers, and below them what the numbers stand for; returns the exit code."""
    from aetia.model.journal import Warned
    from aetia.reason.answering import evidence_of
    from aetia.reason.journals import closed
    from aetia.report import wording

    end = closed(events)
    if end is None or not end.answer:
        failures = [event.text for event in events if isinstance(event, Warned)]
        why = f" ({wording.plain(failures[-1].rstrip('.'))})" if failures else ""
        print(f"There is no answer that evidence backs{why}. The diagnosis says:")
        print(wording.headline(diagnosis))
        _seen_before(diagnosis)
        return 1
    held = evidence_of(events)
    numbers: dict[str, int] = {}
    for sentence in end.answer:
        marks = "".join(f"[{numbers.setdefault(key, len(numbers) + 1)}]" for key in sentence.evidence)
        print(f"{wording.plain(sentence.text, 400)} {marks}")
    print()
    for key, number in numbers.items():
        print(f"[{number}] {key}  {wording.claim(held[key])}")
    _seen_before(diagnosis)
    return 0


def _seen_before(diagnosis: Diagnosis) -> None:
    """Precedents, apart from the answer: they are no evidence for it."""
    from aetia.report import wording

    lines = wording.seen_before(diagnosis)
    if lines:
        print("\nSeen before:")
    for line in lines:
        print(f"• {line}")
