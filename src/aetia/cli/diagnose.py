"""`aetia diagnose`: telemetry in, root cause out."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from aetia import plugins
from aetia.cli.output import Format, check_place, emit, format_for
from aetia.cli.progress import StageProgress
from aetia.model.errors import IngestError, UsageError

if TYPE_CHECKING:
    from aetia.api import Investigation
    from aetia.model.diagnosis import Diagnosis
    from aetia.model.journal import Event
    from aetia.reason.run import Model

TIME = Parameter(allow_leading_hyphen=True)  # -30m..now is a time, not a flag


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Pursuit:
    """How the answer is investigated further.

    Parameters
    ----------
    policy:
        Who investigates further what the localizer found, such as rules; `aetia plugins` lists them.
    journal:
        Write what the policy asked, saw and believed to this file; `aetia replay` repeats it.
    model_url:
        Base URL of a server with OpenAI's chat completions, for the policy llm. Default: AETIA_MODEL_URL.
    model:
        Name of the model there. Default: AETIA_MODEL.
    """

    policy: str | None = None
    journal: Path | None = None
    model_url: str | None = None
    model: str | None = None


def diagnose(
    source: Annotated[tuple[str, ...], Parameter(negative=())],
    /,
    *,
    baseline: Annotated[str | None, TIME] = None,
    incident: Annotated[str | None, TIME] = None,
    since: Annotated[str | None, TIME] = None,
    at: Annotated[str | None, TIME] = None,
    localizer: str = "explain",
    pursuit: Pursuit | None = None,
    format: Annotated[Format | None, Parameter(name="--format")] = None,
    output: Annotated[Path | None, Parameter(name=("--output", "-o"))] = None,
    seed: int = 0,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Name the root cause of an incident, with evidence.

    Exit code 0: a root cause was named. 1: the evidence does not suffice; the report says what is missing.
    2: the input cannot be used.

    Parameters
    ----------
    source:
        Folders, files, cases or dataset:case with traces, metrics and logs.
    baseline:
        Time to compare with, as A..B. Found when not given.
    incident:
        Time in which users were hurt, as A..B. Found when not given. A and B are ISO 8601 with a zone, an
        epoch, now, start, or an offset from the end of the data such as -30m.
    since:
        The incident began this long before the end of the data (30m), or at this time, and still lasts.
    at:
        A time inside the incident; chooses among several.
    localizer:
        Method that names the root cause; `aetia plugins` lists them.
    format:
        text, json, markdown or html. Default: by the suffix of the output file, else text.
    output:
        Write the report to this file instead of stdout.
    seed:
        Seed of everything that is random.
    quiet:
        No progress on stderr.
    """
    from aetia.allocator import keep_freed_memory
    from aetia.api import investigate

    pursuit = pursuit or Pursuit()
    model = _checked(output, pursuit)
    keep_freed_memory()
    with StageProgress(quiet=quiet) as progress:
        found = investigate(
            source, baseline=baseline, incident=incident, since=since, at=at, localizer=localizer, seed=seed,
            progress=progress,
        )  # fmt: skip
    if pursuit.policy is not None:
        found = _pursued(found, pursuit.policy, pursuit.journal, model, seed, quiet)
    return _tell(found, format_for(format, output), output, quiet)


def _checked(output: Path | None, pursuit: Pursuit) -> Model | None:
    """Refuse what cannot end well before anything is read; the model, where one is configured for a policy."""
    check_place(output)
    if pursuit.policy is None:
        if pursuit.journal is not None:
            raise UsageError("--journal needs --policy: there is nothing to write down without an investigation.")
        return None
    found = plugins.find("policy", pursuit.policy)
    from aetia.reason.models import configured

    wanted = configured.required if "model" in found.needs else configured.configured
    return wanted(pursuit.model_url, pursuit.model)


def _tell(found: Investigation, form: Format, output: Path | None, quiet: bool) -> int:
    """Write the report; returns the exit code."""
    from aetia.api import NO_TELEMETRY

    if found.diagnosis.abstained == NO_TELEMETRY:
        raise IngestError(_nothing_usable(found.diagnosis))
    emit(found.diagnosis, found.view, form, output, quiet=quiet)
    return 1 if found.diagnosis.abstained is not None else 0


def _pursued(
    found: Investigation, policy: str, journal: Path | None, model: Model | None, seed: int, quiet: bool
) -> Investigation:
    """The investigation of a policy, shown on a terminal and written down where a journal is wanted."""
    from aetia.api import pursue
    from aetia.reason.journals import JournalFile
    from aetia.report.live import LiveTree
    from aetia.report.wishes import Wishes

    with (
        JournalFile(journal) if journal is not None else nullcontext() as file,
        LiveTree() if not quiet else nullcontext() as tree,
    ):

        def tell(event: Event) -> None:
            for listener in (file.write if file is not None else None, tree.tell if tree is not None else None):
                if listener is not None:
                    listener(event)

        steers = Wishes(tree.names, tree.say) if tree is not None else tuple
        return pursue(found, policy, seed=seed, model=model, tell=tell, steers=steers)


def _nothing_usable(diagnosis: Diagnosis) -> str:
    """Which sources held nothing, and why what they held was dropped."""
    from aetia.report import wording

    sources = wording.joined([wording.plain(source) for source in diagnosis.source])
    why = "; ".join(wording.dropped(record).rstrip(".") for record in diagnosis.dropped[:4])
    if why:
        return f"{sources} holds no telemetry that can be used: {why}."
    return f"{sources} holds no span, log line or metric point; name a folder or a file with telemetry."
