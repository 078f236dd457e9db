"""`aetia diagnose`: telemetry in, root cause out."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from msgspec import structs

from aetia import plugins
from aetia.cli.modelling import Modelling, Ready, pursued
from aetia.cli.output import Format, check_new, check_place, emit, format_for
from aetia.cli.progress import StageProgress
from aetia.cli.recall import Recall
from aetia.model.errors import IngestError, UsageError

if TYPE_CHECKING:
    from aetia.api import Investigation
    from aetia.model.diagnosis import Diagnosis

TIME = Parameter(allow_leading_hyphen=True)  # -30m..now is a time, not a flag


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Pursuit:
    """How the answer is investigated further.

    Parameters
    ----------
    policy:
        Who investigates further what the localizer found; `aetia plugins` lists them, none leaves it at that. Default:
        rules after the localizer explain, else none.
    journal:
        Write what the policy asked, saw and believed to this file; `aetia replay` repeats it.
    policy_file:
        What the policy learned was trained to. Default: AETIA_POLICY_FILE.
    """

    policy: str | None = None
    journal: Path | None = None
    policy_file: Path | None = None

    def after(self, localizer: str) -> str | None:
        """The policy that follows a localizer: the one that was named, else the usual one; None where there is none."""
        from aetia.api import NO_POLICY, usual_policy

        chosen = self.policy or usual_policy(localizer)
        return None if chosen == NO_POLICY else chosen

    @property
    def options(self) -> dict[str, Any]:
        """What the policy is made with."""
        return {} if self.policy_file is None else {"file": str(self.policy_file)}


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """Systems that keep telemetry, to fetch it from.

    Parameters
    ----------
    sources:
        Fetch from a system that keeps telemetry, KIND=URL; may be repeated. KIND is prometheus, jaeger, tempo, loki
        or clickhouse. Times then count from now, and a baseline before the incident is fetched, too.
    keep:
        With --from, also write what was fetched as a case to this new folder; aetia recheck needs it.
    """

    sources: Annotated[tuple[str, ...], Parameter(name="--from", negative=())] = ()
    keep: Path | None = None


def diagnose(
    source: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    /,
    *,
    baseline: Annotated[str | None, TIME] = None,
    incident: Annotated[str | None, TIME] = None,
    since: Annotated[str | None, TIME] = None,
    at: Annotated[str | None, TIME] = None,
    localizer: str = "explain",
    live: Live | None = None,
    pursuit: Pursuit | None = None,
    modelling: Modelling | None = None,
    recall: Recall | None = None,
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

    pursuit, live = pursuit or Pursuit(), live or Live()
    ready = _checked(output, policy := pursuit.after(localizer), pursuit, modelling or Modelling(), recall or Recall())
    _check_sources(source, live)
    keep_freed_memory()
    times = {"baseline": baseline, "incident": incident, "since": since, "at": at}
    with StageProgress(quiet=quiet) as progress:
        found = _found(source, live, times, localizer, seed, progress)
    if policy is not None and ready is not None:
        found = _pursued(found, policy, pursuit, ready, recall or Recall(), seed, quiet)
    return _tell(found, format_for(format, output), output, quiet)


def _check_sources(source: tuple[str, ...], live: Live) -> None:
    if not source and not live.sources:
        raise UsageError("no SOURCE was given; name a folder or a file with telemetry, or --from KIND=URL.")
    if live.keep is not None:
        if not live.sources:
            raise UsageError("--keep needs --from: what was read from files is kept already.")
        check_new(live.keep)


def _found(
    source: tuple[str, ...], live: Live, times: dict[str, str | None], localizer: str, seed: int,
    progress: StageProgress,
) -> Investigation:  # fmt: skip
    """What the localizer says of files, or of what is fetched now."""
    from aetia.api import gather, investigate

    if not live.sources:
        return investigate(source, **times, localizer=localizer, seed=seed, progress=progress)
    got = gather(live.sources, source, **times, progress=progress)
    if live.keep is not None:
        from aetia.ingest.case import write_case

        write_case(live.keep, got.loaded.case, got.loaded.telemetry)
    found = investigate(
        got.loaded, baseline=got.baseline, incident=got.incident, at=got.at, localizer=localizer, seed=seed,
        progress=progress,
    )  # fmt: skip
    return replace(found, diagnosis=structs.replace(found.diagnosis, source=got.names))


def _checked(
    output: Path | None, policy: str | None, pursuit: Pursuit, modelling: Modelling, recall: Recall
) -> Ready | None:
    """Refuse what cannot end well before anything is read; the model and the limits, where there is a policy."""
    check_place(output)
    if policy is None:
        if pursuit.journal is not None:
            raise UsageError("--journal needs --policy: there is nothing to write down without an investigation.")
        if pursuit.policy_file is not None:
            raise UsageError("--policy-file needs --policy learned: nothing is investigated without a policy.")
        if modelling != Modelling():
            raise UsageError("options of the model and --deadline need --policy: nothing is investigated without one.")
        if recall != Recall():
            raise UsageError("--no-memory and --system need --policy: only an investigation is told of others.")
        return None
    check_new(pursuit.journal)
    found = plugins.find("policy", policy)
    if "scorer" in found.needs:
        from aetia.reason.making import make_policy

        make_policy(found.name, pursuit.options)
    elif pursuit.policy_file is not None:
        raise UsageError(f"--policy-file is for policies that were trained, and {found.name} is not one of them.")
    return modelling.ready(found)


def _tell(found: Investigation, form: Format, output: Path | None, quiet: bool) -> int:
    """Write the report; returns the exit code."""
    from aetia.api import NO_TELEMETRY

    if found.diagnosis.abstained == NO_TELEMETRY:
        raise IngestError(_nothing_usable(found.diagnosis))
    emit(found.diagnosis, found.view, form, output, quiet=quiet)
    return 1 if found.diagnosis.abstained is not None else 0


def _pursued(
    found: Investigation, policy: str, pursuit: Pursuit, ready: Ready, recall: Recall, seed: int, quiet: bool
) -> Investigation:
    """The investigation of a policy, shown on a terminal where it was asked for, and written down where a journal is
    wanted."""
    from aetia.report.live import LiveTree
    from aetia.report.wishes import Wishes

    shown = pursuit.policy is not None and not quiet  # the usual one ends before anybody could follow it
    with LiveTree() if shown else nullcontext() as tree:
        return pursued(
            found, policy, ready, seed=seed, journal=pursuit.journal, quiet=quiet, recall=recall,
            options=pursuit.options,
            tell=tree.tell if tree is not None else None,
            steers=Wishes(tree.names, tree.say) if tree is not None else tuple,
        )[0]  # fmt: skip


def _nothing_usable(diagnosis: Diagnosis) -> str:
    """Which sources held nothing, and why what they held was dropped."""
    from aetia.report import wording

    sources = wording.joined([wording.plain(source) for source in diagnosis.source])
    why = "; ".join(wording.dropped(record).rstrip(".") for record in diagnosis.dropped[:4])
    if why:
        return f"{sources} holds no telemetry that can be used: {why}."
    return f"{sources} holds no span, log line or metric point; name a folder or a file with telemetry."
