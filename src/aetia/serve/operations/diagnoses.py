"""What is said about an incident: the diagnosis, its evidence, the investigation behind it, the postmortem."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from aetia.model.diagnosis import Diagnosis
from aetia.model.journal import Steer, ToolCall
from aetia.report.course import Step, course
from aetia.serve.diagnosing import Diagnoses, Summary
from aetia.serve.operations.incidents import IncidentId, IncidentParams
from aetia.serve.operations.registry import Raw, operation
from aetia.serve.problems import Refused
from aetia.serve.security.identity import caller
from aetia.serve.wishes import Wish

if TYPE_CHECKING:
    from aetia.serve.state import ServeState

FORMATS = {"json": "application/json", "text": "text/plain", "markdown": "text/markdown", "html": "text/html"}
REPORT_POLICY = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'self'; sandbox",
    "x-frame-options": "SAMEORIGIN",
}
"""A report brings its own style sheet and nothing that runs; the pages of the server may show it in a frame."""
_EXAMPLE = {"incident_id": "i-20261121-174502-3f2a"}
Format = Annotated[Literal["json", "text", "markdown", "html"], Meta(description="what to make of it")]
Page = Annotated[Literal["text", "markdown", "html"], Meta(description="what to make of it")]


class DiagnosisParams(IncidentParams, frozen=True, kw_only=True):
    format: Format = "json"


class PostmortemParams(IncidentParams, frozen=True, kw_only=True):
    format: Page = "markdown"


class RevisionsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Every answer that was given about an incident, in order."""

    revisions: tuple[Summary, ...]


class Rechecked(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of evidence, asked again: whether it still holds, why not, and what was and is measured."""

    id: str
    holds: bool
    why: str
    old: Any = None
    new: Any = None


class RecheckParams(IncidentParams, frozen=True, kw_only=True):
    evidence_id: Annotated[
        Annotated[str, Meta(max_length=200)] | None, Meta(description="this piece alone; all of them without it")
    ] = None


class RecheckAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`hold` of the `checked` pieces of evidence still hold."""

    checked: int
    hold: int
    evidence: tuple[Rechecked, ...]


class JournalParams(IncidentParams, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=10_000, description="most events")] = 1000
    after: Annotated[int, Meta(ge=-1, description="events after this number")] = -1


class JournalAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Steps of the investigation under way, else of the last one. `after` and `cursor` count events from 0."""

    revision: int
    total: int
    events: tuple[msgspec.Raw, ...]
    truncated: bool
    cursor: int


class SteerParams(IncidentParams, frozen=True, kw_only=True):
    wish: Annotated[
        Literal["exclude", "look_at", "stop"], Meta(description="rule a component out, look at it, or stop")
    ]
    entity: Annotated[str, Meta(max_length=500, description="the component; empty for stop")] = ""


class WishesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What people wished and have not taken back, in the order in which they did."""

    wishes: tuple[Wish, ...]


class WithdrawParams(IncidentParams, frozen=True, kw_only=True):
    number: Annotated[int, Meta(ge=1, le=1_000_000, description="`number` of the wish")]


class CourseAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The steps of the fault in order of time."""

    steps: tuple[Step, ...]


class SteerAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What was done, in words."""

    done: str


class AskParams(IncidentParams, frozen=True, kw_only=True):
    tool: Annotated[str, Meta(min_length=1, max_length=100, description="name of the tool, see docs/tools.md")]
    args: Annotated[dict[str, Any], Meta(description="its arguments")] = msgspec.field(default_factory=dict[str, Any])


@operation(path="/incidents/{incident_id}/diagnosis", scope="read", summary="The diagnosis of an incident",
           example={**_EXAMPLE, "format": "text"}, produces=tuple(FORMATS.values()))  # fmt: skip
def diagnosis(state: ServeState, params: DiagnosisParams) -> Raw:
    """The latest answer, as JSON (docs/diagnosis.schema.json) or as a report for people."""
    found = _latest(state.diagnosing(), params.incident_id)
    if params.format == "json":
        from aetia.report.interchange import to_json

        return Raw(to_json(found, indent=0), FORMATS["json"])
    if params.format == "html":
        from aetia.report.html import to_html

        return Raw(to_html(found), FORMATS["html"], REPORT_POLICY)
    if params.format == "markdown":
        from aetia.report.markdown import to_markdown

        return Raw(to_markdown(found), FORMATS["markdown"])
    from aetia.report.text import to_text

    return Raw(to_text(found, width=100), FORMATS["text"])


@operation(path="/incidents/{incident_id}/exhibits", scope="read", summary="What a page draws beside a diagnosis",
           example=_EXAMPLE, produces=(FORMATS["json"],))  # fmt: skip
def exhibits(state: ServeState, params: IncidentParams) -> Raw:
    """Call graph, example traces, log templates and time lines, as they were when the diagnosis was made."""
    return Raw(state.diagnosing().exhibits(params.incident_id).decode(), FORMATS["json"])


@operation(path="/incidents/{incident_id}/course", scope="read", summary="How the fault spread, in order of time",
           example=_EXAMPLE)  # fmt: skip
def fault_course(state: ServeState, params: IncidentParams) -> CourseAnswer:
    """Where it began, whom it reached when, and where users were hurt, by the latest diagnosis."""
    return CourseAnswer(steps=course(_latest(state.diagnosing(), params.incident_id)))


@operation(path="/incidents/{incident_id}/revisions", scope="read", summary="All answers about an incident so far",
           example=_EXAMPLE)  # fmt: skip
def revisions(state: ServeState, params: IncidentParams) -> RevisionsAnswer:
    """Early answers rest on half a minute of harm; later ones on more."""
    return RevisionsAnswer(revisions=tuple(state.diagnosing().revisions(params.incident_id)))


@operation(path="/incidents/{incident_id}/diagnose", scope="write", method="POST", summary="Diagnose an incident again",
           example=_EXAMPLE)  # fmt: skip
def diagnose_incident(state: ServeState, params: IncidentParams) -> SteerAnswer:
    """Copies the telemetry anew; the answer comes as another revision."""
    state.incidents().get(params.incident_id)
    state.diagnosing().request(params.incident_id, "asked for")
    return SteerAnswer(done="a new investigation begins")


@operation(path="/incidents/{incident_id}/recheck", scope="read", method="POST",
           summary="Run the evidence of a diagnosis again", example=_EXAMPLE)  # fmt: skip
def recheck(state: ServeState, params: RecheckParams) -> RecheckAnswer:
    """On the copy of the telemetry that the diagnosis was made from."""
    held = state.diagnosing().recheck(params.incident_id, params.evidence_id)
    found = tuple(msgspec.convert(item, Rechecked) for item in held)
    return RecheckAnswer(checked=len(found), hold=sum(item.holds for item in found), evidence=found)


@operation(path="/incidents/{incident_id}/journal", scope="read", summary="The steps of an investigation",
           example=_EXAMPLE)  # fmt: skip
def journal(state: ServeState, params: JournalParams) -> JournalAnswer:
    """What was asked, seen and believed. The same events come live at `/incidents/{incident_id}/stream`."""
    revision, events = state.diagnosing().journal(params.incident_id)
    first = params.after + 1
    taken = events[first : first + params.limit]
    return JournalAnswer(
        revision=revision, total=len(events), events=tuple(msgspec.Raw(event) for event in taken),
        truncated=first + len(taken) < len(events), cursor=first + len(taken) - 1,
    )  # fmt: skip


@operation(path="/incidents/{incident_id}/postmortem", scope="read", summary="A draft of the postmortem",
           example=_EXAMPLE, produces=tuple(FORMATS[name] for name in ("text", "markdown", "html")))  # fmt: skip
def postmortem(state: ServeState, params: PostmortemParams) -> Raw:
    """Timeline, impact, cause, path, what was ruled out: each sentence with its evidence or marked as unproven."""
    from aetia.reason.journals import read_journal
    from aetia.report import postmortem as telling
    from aetia.report import postmortems

    path = state.diagnosing().place(params.incident_id) / "journal.jsonl"
    if not path.exists():
        raise _no_answer(params.incident_id, "investigation that ended")
    found = telling.postmortem(read_journal(path))
    if params.format == "html":
        return Raw(postmortems.to_html(found), FORMATS["html"], REPORT_POLICY)
    if params.format == "text":
        return Raw(postmortems.to_text(found, width=100), FORMATS["text"])
    return Raw(postmortems.to_markdown(found), FORMATS["markdown"])


@operation(path="/incidents/{incident_id}/steer", scope="write", method="POST", summary="Steer an investigation",
           example={**_EXAMPLE, "wish": "look_at", "entity": "payment"})  # fmt: skip
def steer(state: ServeState, params: SteerParams) -> SteerAnswer:
    """Told to the investigation under way, else to a new one."""
    state.incidents().get(params.incident_id)
    if params.wish != "stop" and not params.entity:
        raise Refused("bad_request", "entity: name the component that is meant.")
    diagnoses, wish = state.diagnosing(), Steer(wish=params.wish, entity=params.entity)
    _known(diagnoses, params)
    return SteerAnswer(done=diagnoses.steer(params.incident_id, wish, caller.get().name))


@operation(path="/incidents/{incident_id}/wishes", scope="read", summary="What people wished of an investigation",
           example=_EXAMPLE)  # fmt: skip
def wishes(state: ServeState, params: IncidentParams) -> WishesAnswer:
    """Components to leave out and to look at. Every investigation of the incident is told them, after a restart too."""
    return WishesAnswer(wishes=state.diagnosing().wishes(params.incident_id))


@operation(path="/incidents/{incident_id}/wishes/{number}", scope="write", method="DELETE", summary="Take a wish back",
           example={**_EXAMPLE, "number": 1})  # fmt: skip
def withdraw_wish(state: ServeState, params: WithdrawParams) -> SteerAnswer:
    """A new investigation begins without it."""
    gone = state.diagnosing().withdraw(params.incident_id, params.number)
    if gone is None:
        raise Refused("not_found", f"incident {params.incident_id[:80]} has no wish {params.number}.",
                      try_=f"/api/v1/incidents/{params.incident_id[:80]}/wishes lists them")  # fmt: skip
    return SteerAnswer(done=f"{gone.wish.replace('_', ' ')} {gone.entity} is taken back; a new investigation begins")


@operation(path="/incidents/{incident_id}/ask", scope="read", method="POST",
           summary="Ask a tool of the investigation about an incident",
           example={**_EXAMPLE, "tool": "overview", "args": {}}, produces=(FORMATS["json"],))  # fmt: skip
def ask_tool(state: ServeState, params: AskParams) -> Raw:
    """The tools that rules and models use, on the telemetry of the incident; see docs/tools.md for them and for the
    answer."""
    found = state.diagnosing().tool(params.incident_id, ToolCall(tool=params.tool, args=params.args))
    return Raw(msgspec.json.encode(found).decode(), FORMATS["json"])


def _known(diagnoses: Diagnoses, params: SteerParams) -> None:
    """A wish about a name that nothing has would do nothing: raises Refused (400) that says which names are near."""
    found = diagnoses.diagnosis(params.incident_id)
    if found is None or not params.entity:
        return
    named = [item.entity for item in (*found.hypotheses, *found.rejected)] + [item.about for item in found.evidence]
    names = {name for entity in named for name in (entity.name, entity.service, entity.instance, entity.node) if name}
    names |= {name for hop in found.propagation for name in (hop.source, hop.target)}
    names |= set(diagnoses.services(params.incident_id))
    if params.entity not in names:
        near = difflib.get_close_matches(params.entity, sorted(names), 3, 0.5)
        raise Refused("bad_request", f"no component of this incident is called '{params.entity[:80]}'.",
                      try_=", ".join(near) or "a name of the diagnosis or of its map")  # fmt: skip


def _latest(diagnoses: Diagnoses, incident_id: str) -> Diagnosis:
    found = diagnoses.diagnosis(incident_id)
    if found is None:
        raise _no_answer(incident_id, "diagnosis yet")
    return found


def _no_answer(incident_id: IncidentId, what: str) -> Refused:
    return Refused(
        "not_found", f"incident {incident_id[:80]} has no {what}.",
        try_=f"follow /api/v1/incidents/{incident_id[:80]}/stream, or ask again in a few seconds",
    )  # fmt: skip
