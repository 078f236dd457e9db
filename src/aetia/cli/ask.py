"""`aetia ask`: a question about an incident, answered by a language model from evidence alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from aetia.cli.diagnose import TIME
from aetia.cli.progress import StageProgress
from aetia.model.errors import IngestError

if TYPE_CHECKING:
    from aetia.api import Investigation
    from aetia.model.diagnosis import Diagnosis, Evidence
    from aetia.model.journal import Event
    from aetia.reason.models.openai import OpenAIModel
    from aetia.reason.run import Model

    Said = tuple[tuple[str, list[Evidence]], ...]


def ask(
    question: str,
    source: Annotated[tuple[str, ...], Parameter(negative=())],
    /,
    *,
    model_url: str | None = None,
    model: str | None = None,
    baseline: Annotated[str | None, TIME] = None,
    incident: Annotated[str | None, TIME] = None,
    since: Annotated[str | None, TIME] = None,
    at: Annotated[str | None, TIME] = None,
    deadline: float = 120.0,
    pseudonyms: Annotated[bool, Parameter(negative=())] = False,
    record: Path | None = None,
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
    model_url:
        Base URL of a server with OpenAI's chat completions. Default: AETIA_MODEL_URL. The key is AETIA_MODEL_KEY.
    model:
        Name of the model there. Default: AETIA_MODEL.
    baseline:
        Time to compare with, as for `aetia diagnose`.
    incident:
        Time in which users were hurt.
    since:
        The incident began this long before the end of the data.
    at:
        A time inside the incident.
    deadline:
        Seconds that the investigation and the answer may take.
    pseudonyms:
        Replace the names of services, instances and nodes before anything is sent.
    record:
        Write the model's turns to this new file.
    quiet:
        No progress on stderr.
    """
    from aetia.api import investigate
    from aetia.reason.models.configured import required

    client = required(model_url, model)
    with StageProgress(quiet=quiet) as progress:
        found = investigate(source, baseline=baseline, incident=incident, since=since, at=at, progress=progress)
        progress(f"asking {client.name}")
        said, failures, diagnosis = _answer(question, found, _dressed(client, found, pseudonyms, record), deadline)
    _print(said, failures, diagnosis)
    if not quiet:
        _account(client)
    return 0 if said else 1


def _account(client: OpenAIModel) -> None:
    spent = client.account
    words = f"{spent.turns} turns of the model, {spent.tokens_in} tokens in, {spent.tokens_out} out"
    print(f"aetia: {words}", file=sys.stderr)


def _answer(question: str, found: Investigation, model: Model, deadline: float) -> tuple[Said, list[str], Diagnosis]:
    """The sentences with the evidence that they cite, what failed, and the diagnosis."""
    from aetia import plugins
    from aetia.api import NO_TELEMETRY, pursue
    from aetia.model.journal import Warned
    from aetia.reason.answering import Answering, evidence_of
    from aetia.reason.policy import Limits

    if found.diagnosis.abstained == NO_TELEMETRY:
        raise IngestError(f"{', '.join(found.diagnosis.source)} holds no telemetry that can be used.")
    policy = Answering(plugins.create("policy", "llm"), question)
    events: list[Event] = []
    pursued = pursue(found, policy, limits=Limits(deadline_s=deadline), model=model, tell=events.append)
    held = evidence_of(events)
    said = tuple((item.text, [held[key] for key in item.evidence]) for item in policy.sentences)
    return said, [event.text for event in events if isinstance(event, Warned)], pursued.diagnosis


def _dressed(client: OpenAIModel, found: Investigation, pseudonyms: bool, record: Path | None) -> Model:
    """The model behind what was asked for: pseudonyms outside, so that a recording holds none of the names."""
    model: Model = client
    if record is not None:
        from aetia.reason.models.recorded import Recording

        model = Recording(model, record)
    if pseudonyms:
        from aetia.reason.models.pseudonymous import Pseudonymous
        from aetia.reason.redact import Pseudonyms

        names = found.facts.names
        model = Pseudonymous(model, Pseudonyms([*names.services, *names.instances, *names.nodes]))
    return model


def _print(said: Said, failures: list[str], diagnosis: Diagnosis) -> None:
    """The sentences with numbers, and below them what the numbers stand for."""
    from aetia.report import wording

    if not said:
        why = f" ({wording.plain(failures[-1].rstrip('.'))})" if failures else ""
        print(f"There is no answer that evidence backs{why}. The diagnosis says:")
        print(wording.headline(diagnosis))
        return
    numbers: dict[str, int] = {}
    facts = {item.id: item for _, evidence in said for item in evidence}
    for text, evidence in said:
        marks = "".join(f"[{numbers.setdefault(item.id, len(numbers) + 1)}]" for item in evidence)
        print(f"{wording.plain(text, 400)} {marks}")
    print()
    for key, number in numbers.items():
        print(f"[{number}] {key}  {wording.claim(facts[key])}")
