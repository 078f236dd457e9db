"""How incidents, diagnoses and investigations are told."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from aetia.serve.incidents.records import IncidentRecord
from aetia.serve.mcp.tools import Shaped, Told
from aetia.serve.mcp.values import Json, instant, plain
from aetia.serve.mcp.wording import counted, listed, many, name, sentence, share
from aetia.serve.operations.diagnoses import JournalAnswer, RecheckAnswer, RevisionsAnswer
from aetia.serve.operations.incidents import EventsAnswer, IncidentsAnswer
from aetia.serve.problems import Refused


def incidents(answer: IncidentsAnswer, own: Any) -> Shaped:
    return Shaped([_brief(record) for record in answer.incidents], total=answer.total)


def _brief(record: IncidentRecord) -> Json:
    held = plain(record)
    kept = ("id", "state", "severity", "title", "onset_ns", "ended_ns", "share", "sources", "merged_into", "diagnosis")
    entries = [breach.entry.name for breach in record.breaches]
    return {key: held[key] for key in kept} | {"hurt": list(dict.fromkeys(entries)), "alerts": len(record.alerts)}


def say_incidents(told: Told) -> str:
    if not told.rows:
        return "No incident meets the filter."
    going = sum(row["state"] == "open" for row in told.rows)
    first = told.rows[0]
    return sentence(
        f"{counted(told.total or len(told.rows), 'incident')} in all, {going} open among those shown",
        f"the latest is {first['id']} ({first['state']}, {first['severity']}): {name(first['title'])} since"
        f" {instant(first['onset_ns'])}; {_cause(first['diagnosis'])}",
    )


def _cause(diagnosis: Json | None) -> str:
    if diagnosis is None:
        return "not diagnosed yet"
    if not diagnosis["root"]:
        return f"no cause named ({diagnosis['abstained'] or 'open'})"
    surely = "" if diagnosis["probability"] is None else f", probability {diagnosis['probability']:.2f}"
    return f"cause {name(diagnosis['root'])} ({diagnosis['fault_class'] or 'class unknown'}{surely})"


def incident(answer: IncidentRecord, own: Any) -> Shaped:
    """The breaches as rows; the rest beside them."""
    held = plain(answer)
    rows = held.pop("breaches")
    for row in rows:
        row["entry"] = row["entry"]["name"]
    return Shaped(rows, {"incident": held}, len(rows))


def say_incident(told: Told) -> str:
    record: IncidentRecord = told.answer
    hurt = f", {share(record.share)} of all users' requests hurt" if record.share is not None else ""
    return sentence(
        f"incident {record.id} is {record.state}, severity {record.severity}{hurt}; began {instant(record.onset_ns)}",
        _cause(None if record.diagnosis is None else plain(record.diagnosis)),
        f"{counted(len(record.breaches), 'broken SLI')}, {counted(len(record.alerts), 'alert')}",
    )


def events(answer: EventsAnswer, own: Any) -> Shaped:
    return Shaped([plain(row) for row in answer.events], {"earlier_left_out": answer.truncated}, len(answer.events))


def say_events(told: Told) -> str:
    if not told.rows:
        return "No event of the incident is kept."
    last = told.rows[-1]
    kinds = Counter(row["what"] for row in told.rows)
    return sentence(listed([f"{count} {what}" for what, count in kinds.most_common()]),
                    f"the last: {last['what']} at {instant(last['at_ns'])}, {last['state']}")  # fmt: skip


def diagnosis(answer: Json, own: Any) -> Shaped:
    """Hypotheses as rows, the most suspicious first."""
    rows = [_hypothesis(rank, item) for rank, item in enumerate(answer["hypotheses"], start=1)]
    severity = answer.get("severity") or {}
    facts: Json = {
        "roots": [answer["hypotheses"][index]["entity"]["name"] for index in answer["roots"]],
        "severity": severity.get("level"),
        "impact": answer["impact"],
        "propagation": [f"{hop['source']} → {hop['target']} ({hop['relation']})" for hop in answer["propagation"]],
        "facts": [fact["text"] for fact in severity.get("facts", ())],
        "abstained": answer["abstained"], "missing": answer["missing"],
        "ruled_out": [item["entity"]["name"] for item in answer["rejected"]],
        "evidence": len(answer["evidence"]), "silent": answer["silent"],
    }  # fmt: skip
    return Shaped(rows, facts, len(rows))


def _hypothesis(rank: int, item: Json) -> Json:
    kept = ("probability", "score", "fault_class", "fault", "onset_ns", "verdict", "reason", "evidence", "against")
    return {"rank": rank, "entity": item["entity"]["name"], "level": item["entity"]["level"]} | {
        key: item.get(key) for key in kept
    }


def say_diagnosis(told: Told) -> str:
    found: Json = told.answer
    if found["abstained"] is not None:
        return sentence(f"no root cause is named: {found['abstained']}",
                        f"missing: {listed(found['missing'])}" if found["missing"] else "")  # fmt: skip
    roots = [found["hypotheses"][index] for index in found["roots"]] or found["hypotheses"][:1]
    said = [_root(item) for item in roots]
    impact, severity = found["impact"], (found.get("severity") or {}).get("level", "unknown")
    path = [found["propagation"][0]["source"], *(hop["target"] for hop in found["propagation"])] \
        if found["propagation"] else []  # fmt: skip
    return sentence(
        f"root cause: {' and '.join(said)}",
        f"{impact['affected']:,} of {impact['requests']:,} requests at {listed([name(e) for e in impact['entries']])}"
        f" were hurt, severity {severity}" if impact["entries"] else f"severity {severity}",
        f"it spread {listed([name(hop) for hop in path])}" if path else "",
        f"{counted(len(found['evidence']), 'piece')} of evidence; {len(found['rejected'])} candidates were ruled out",
    )  # fmt: skip


def _root(item: Json) -> str:
    surely = "" if item.get("probability") is None else f", probability {item['probability']:.2f}"
    what = item.get("fault") or item.get("fault_class") or "class unknown"
    return f"{item['entity']['level']} {name(item['entity']['name'])} ({what}{surely})"


class EvidenceArgs(msgspec.Struct, frozen=True, kw_only=True):
    about: str | None = None
    """A component."""


def evidence(answer: Json, own: EvidenceArgs) -> Shaped:
    """Facts as rows, those that say most of who is to blame first."""
    held = [item for item in answer["evidence"] if own.about in (None, item["about"]["name"])]
    if not held and own.about is not None and answer["evidence"]:
        raise _nothing_about(own.about, {item["about"]["name"] for item in answer["evidence"]})
    held.sort(key=lambda item: (-item["strength"], item["id"]))
    rows = [
        {"id": item["id"], "about": item["about"]["name"], "polarity": item["polarity"], "strength": item["strength"],
         "says": item["claim"]["text"] or item["claim"]["what"], "channel": item["query"]["channel"],
         "onset_ns": item["claim"].get("onset_ns"), "fault_class": item.get("fault_class")}
        for item in held
    ]  # fmt: skip
    return Shaped(rows, total=len(rows))


def _nothing_about(about: str, known: set[str]) -> Refused:
    from aetia.reason.toolbox import nearest

    near = nearest(about, sorted(known))
    return Refused(
        "not_found", f"no evidence is about '{about[:80]}'.", searched=f"evidence about {listed(sorted(known), 10)}",
        try_=" or ".join(f"about={item}" for item in near) or "leave about out",
    )  # fmt: skip


def say_evidence(told: Told) -> str:
    speaks = sum(row["polarity"] == "for" for row in told.rows)
    first = told.rows[0] if told.rows else None
    return sentence(
        f"{counted(len(told.rows), 'piece')} of evidence, {speaks} for and {len(told.rows) - speaks} against those it"
        " is about",
        f"the strongest, of {name(first['about'])}: {first['says']}" if first else "",
    )  # fmt: skip


def revisions(answer: RevisionsAnswer, own: Any) -> Shaped:
    return Shaped([plain(item) for item in answer.revisions], total=len(answer.revisions))


def say_revisions(told: Told) -> str:
    if not told.rows:
        return "The incident was not diagnosed yet."
    last = told.rows[-1]
    said = f"failed: {last['failed']}" if last["failed"] else listed(last["roots"]) or f"none ({last['abstained']})"
    return sentence(f"{counted(len(told.rows), 'answer')} so far", f"the last named {said}")


def steps(answer: JournalAnswer, own: Any) -> Shaped:
    rows = [_step(msgspec.json.decode(event)) for event in answer.events]
    return Shaped(rows, {"revision": answer.revision}, answer.total)


def _step(event: Json) -> Json:
    """An event without what other views tell better: whole diagnoses and the rows of answers."""
    kind = event["type"]
    if kind == "opened":
        suspects = [item["entity"]["name"] for item in event["prior"]["hypotheses"][:5]]
        kept = {key: event.get(key) for key in ("policy", "question", "deadline_s", "max_calls")}
        return {"type": kind, **kept, "suspects": suspects}
    if kind == "closed":
        return {key: value for key, value in event.items() if key != "diagnosis"}
    if kind == "asked":
        return {"type": kind, "number": event["number"], "at_s": event["at_s"], **_request(event["request"])}
    if kind == "answered":
        return {"type": kind, "number": event["number"], "at_s": event["at_s"], **_answer(event["answer"])}
    return event


def _request(request: Json) -> Json:
    return {key: request.get(key) for key in ("tool", "args", "agent", "why", "question")}


def _answer(answer: Json) -> Json:
    held, error = answer.get("evidence"), answer.get("error")
    says = {} if held is None else {"evidence": held["id"], "says": held["claim"]["text"]}
    failed = {} if error is None else {"error": error["message"]}
    return {"rows": len(answer.get("rows", ())), "text": answer.get("text"), **says, **failed}


def say_steps(told: Told) -> str:
    return sentence(f"{counted(told.total or 0, 'step')} in the investigation of revision {told.answer.revision}")


def paragraphs(answer: str, own: Any) -> Shaped:
    """A page of text as its paragraphs."""
    rows = [{"text": part.strip()} for part in answer.split("\n\n") if part.strip()]
    return Shaped(rows, total=len(rows))


def say_postmortem(told: Told) -> str:
    return sentence(f"draft of the postmortem in {counted(len(told.rows), 'paragraph')}",
                    "what lacks evidence is marked in the text")  # fmt: skip


def rechecked(answer: RecheckAnswer, own: Any) -> Shaped:
    """What does not hold any more comes first."""
    rows = sorted((plain(item) for item in answer.evidence), key=lambda row: (row["holds"], row["id"]))
    for row in rows:
        if row["holds"]:
            row.pop("new")
    return Shaped(rows, {"checked": answer.checked, "hold": answer.hold}, len(rows))


def say_rechecked(told: Told) -> str:
    found: RecheckAnswer = told.answer
    fell = [row["id"] for row in told.rows if not row["holds"]]
    return sentence(f"{found.hold} of {counted(found.checked, 'piece')} of evidence still hold",
                    f"these do not: {listed(fell)}" if fell else "")  # fmt: skip


def asked(answer: Json, own: Any) -> Shaped:
    """What a tool of the investigation saw. Raises Refused for its own errors, which say what to ask instead."""
    error = answer.get("error")
    if error is not None:
        kind = "not_found" if error["code"].startswith("unknown") else "unanswerable"
        raise Refused(kind, error["message"], searched="the telemetry copied for the incident",
                      try_=error.get("instruction", ""))  # fmt: skip
    held = answer.get("evidence")
    facts: Json = {}
    if held is not None:
        facts = {"evidence": {"id": held["id"], "about": held["about"]["name"], "polarity": held["polarity"],
                              "strength": held["strength"], "says": held["claim"]["text"]}}  # fmt: skip
    rows = answer.get("rows", [])
    return Shaped(rows, facts | {"cut": answer.get("truncated", False)}, len(rows))


def say_asked(told: Told) -> str:
    held = told.answer.get("evidence")
    cut = "the tool saw more than it tells" if told.answer.get("truncated") else ""
    claim = f"{held['claim']['text']} (evidence {held['id']}, strength {held['strength']:.2g})" if held else ""
    return sentence(f"{many(len(told.rows), 'row', more=False)} from {told.args['tool']}", claim, cut)
