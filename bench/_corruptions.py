"""Failures of reasoning put into sound journals: every corruption makes one failure present, and changes nothing else.

A corruption takes the events of a finished journal and a generator of random numbers, and returns other events, or None
where the journal has nothing to corrupt in that way. Wordings are meant to be what a model may say, not what a check
looks for.
"""

from __future__ import annotations

import math
import re

from _corrupting import (
    CASES,
    FAR,
    PLAYED,
    Case,
    Events,
    Rng,
    believed,
    closed,
    corruption,
    entity_of,
    fact,
    held,
    moved,
    names,
    notes,
    odds,
    own_of,
    pick,
    put,
    question,
    replaced,
    swap,
    turn,
)
from aetia.model.diagnosis import Evidence
from aetia.model.entity import instance, service
from aetia.model.journal import Answered, Asked, Believed, Event, Opened, ToolAnswer, ToolCall, ToolError, Traced

__all__ = ["CASES", "Case", "Events"]

BLAMES = (
    "The root cause is {x}.", "Root cause: {x}", "{x} is the root cause of this incident.",
    "I conclude that {x} caused it.",
    "So the culprit is {x}.", "The fault began in {x}.", "Everything points to {x} as the origin.", "{x} is to blame.",
)  # fmt: skip


@corruption("RF-00", "finishes with another than the beliefs lead to")
def other_finish(events: Events, rng: Rng) -> Events | None:
    others = [
        name
        for name in names(events)[1:]
        if entity_of(events, name).service != entity_of(events, names(events)[0]).service
    ]
    if not others or closed(events).outcome != "answered":
        return None
    return put(events, *question(1, "finish", ToolAnswer(), service=pick(rng, others), evidence=[]))


@corruption("RF-00", "says one and answers another")
def other_words(events: Events, rng: Rng) -> Events | None:
    services = [item.entity.service for item in closed(events).diagnosis.hypotheses if item.entity.service]
    distinct = list(dict.fromkeys(services))
    if len(distinct) < 2:
        return None
    one, other = (distinct[int(k)] for k in rng.choice(len(distinct), 2, replace=False))
    args = {"verdict": "symptom", "blames": other, "evidence": [], "reason": "as the evidence says"}
    return put(events, *turn(1, pick(rng, BLAMES).format(x=one), ("finish", args)))


@corruption("RF-01", "a belief cites what does not exist")
def false_citation(events: Events, rng: Rng) -> Events | None:
    one = pick(rng, moved(events) or [e for e in events if isinstance(e, Believed) and e.because])
    return swap(events, one, replaced(one, because=(_false(one.because[0]), *one.because[1:]))) if one else None


def _false(key: str) -> str:
    digit = key[-1]
    return key[:-1] + ("0" if digit != "0" else "1")


@corruption("RF-01", "a model cites what does not exist")
def false_words(events: Events, rng: Rng) -> Events | None:
    key = _false(pick(rng, list(held(events)) or ["E0123456789abcdef"]))
    text = pick(rng, (f"According to {key} the errors began there.", f"The cpu rose ({key}).", ""))
    calls = [] if text else [("finish", {"verdict": "cause", "evidence": [key], "reason": "proven"})]
    return put(events, *turn(1, text, *calls))


@corruption("RF-01", "asks about a place that is none")
def false_place(events: Events, rng: Rng) -> Events | None:
    name = pick(rng, ("phantom-gateway", "billing-v3", "legacy-auth"))
    error = ToolError(
        category="validation", code="unknown_service", message=f"there is no service '{name}' in this telemetry."
    )
    return put(events, *question(1, "metric_anomalies", ToolAnswer(error=error), component=name))


RISES = ("rose", "increased", "went up", "climbed", "doubled", "surged", "is higher", "jumped", "spiked")
FALLS = ("fell", "decreased", "went down", "dropped", "halved", "declined", "is lower", "collapsed", "sank")


@corruption("RF-02", "a claim reverses its metric")
def reversed_claim(events: Events, rng: Rng) -> Events | None:
    known = [i for i in held(events).values() if i.claim.direction in ("up", "down")]
    item = pick(rng, known)
    if item is None:
        return None
    up = item.claim.direction == "up"
    verb = pick(rng, FALLS if up else RISES)
    what = item.claim.what.replace("_", " ")
    return put(events, *turn(1, f"The {what} of {item.about.name} {verb} ({item.id})."))


@corruption("RF-02", "a belief moves against its evidence")
def reversed_belief(events: Events, rng: Rng) -> Events | None:
    known = held(events)
    sound = [
        e for e in moved(events)
        if all(k in known and known[k].about.name == e.entity and known[k].strength > 0 for k in e.because)
        and abs(odds(e.after) - odds(e.before)) > 0.2
        and {known[k].polarity for k in e.because} == {"for" if e.after > e.before else "against"}
    ]  # fmt: skip
    one = pick(rng, sound)
    if one is None:
        return None
    back = 1 / (1 + math.exp(-(2 * odds(one.before) - odds(one.after))))
    return swap(events, one, replaced(one, after=back))


_TRAFFIC = re.compile("request|traffic|throughput|calls|rate|load")
"""What a caller does do to its callee."""


@corruption("RF-03", "a caller is blamed for what its callee shows")
def blamed_caller(events: Events, rng: Rng) -> Events | None:
    seen = notes(events)
    pairs = [
        (caller, item) for item in held(events).values() if item.polarity == "for" and item.strength >= 0.2
        for caller in names(events)
        if entity_of(events, caller).level == "service" and item.about.level == "service"
        and seen.calls(caller, item.about.name) and not _TRAFFIC.search(item.claim.what)
    ]  # fmt: skip
    one = pick(rng, pairs)
    if one is None:
        return None
    caller, item = one
    return put(events, believed(caller, 0.2, 0.6, (item.id,), f"{item.claim.what} is bad"))


@corruption("RF-04", "a hop is called timely and the cause came later")
def late_hop(events: Events, rng: Rng) -> Events | None:
    rows = [e for e in events if isinstance(e, Traced) and e.evidence is not None]
    known = held(events)
    for one in (rows[int(k)] for k in rng.permutation(len(rows))):
        item = known.get(one.evidence or "")
        found = item.result.get("rows") if item is not None else None
        row = next(
            (
                r
                for r in found or ()
                if isinstance(r, dict) and (r.get("source"), r.get("target")) == (one.source, one.target)
            ),
            None,
        )
        if item is None or row is None or row.get("target_began_s") is None:
            continue
        late = row | {"source_began_s": float(row["target_began_s"]) + 240.0}
        other = replaced(item, result=item.result | {"rows": [late if r is row else r for r in found]})
        changed = [_with_evidence(event, other) for event in events]
        return [replaced(e, in_time=True, in_direction=True) if e is one else e for e in changed]
    return None


def _with_evidence(event: Event, item: Evidence) -> Event:
    answer = event.answer if isinstance(event, Answered) and isinstance(event.answer, ToolAnswer) else None
    if answer is None or answer.evidence is None or answer.evidence.id != item.id:
        return event
    return replaced(event, answer=replaced(answer, evidence=item))


@corruption("RF-04", "a belief rises in who was seen to come too late")
def late_leader(events: Events, rng: Rng) -> Events | None:
    name = names(events)[0] if names(events) else None
    target = next((n for n in names(events)[1:]), None)
    if name is None or target is None or not (own := own_of(events, name)):
        return None
    kept = [e for e in events if not (isinstance(e, Traced) and e.source == name)]
    hop = Traced(source=name, target=target, in_time=False, in_direction=True, reason="it began later", at_s=1.0)
    return put(kept, hop, believed(name, 0.4, 0.7, (own[0].id,)))


@corruption("RF-05", "a hop that no call makes")
def no_edge(events: Events, rng: Rng) -> Events | None:
    pair = _strangers(events, rng)
    return (
        put(events, Traced(source=pair[0], target=pair[1], in_time=None, in_direction=True, at_s=1.0)) if pair else None
    )


@corruption("RF-05", "words that join what no call joins")
def no_edge_words(events: Events, rng: Rng) -> Events | None:
    pair = _strangers(events, rng)
    if pair is None:
        return None
    forms = (
        "{a} → {b}",
        "the path is {a} -> {b}",
        "{a} calls {b}, which fails",
        "{b} is called by {a}",
        "{a} depends on {b}",
    )
    return put(events, *turn(1, f"Trouble passed on: {pick(rng, forms).format(a=pair[0], b=pair[1])}."))


def _strangers(events: Events, rng: Rng) -> tuple[str, str] | None:
    seen = notes(events)
    whole = [n for n in sorted(seen.whole) if seen.in_graph(n)]
    pairs = [(a, b) for a in whole for b in sorted(seen.neighbours) if a != b and seen.joined(a, b) is False]
    return pick(rng, pairs)


@corruption("RF-06", "the answer names an instance that nothing tells apart")
def no_instance(events: Events, rng: Rng) -> Events | None:
    place = entity_of(events, names(events)[0]) if names(events) else None
    if place is None or place.service is None:
        return None
    args = {"service": place.service, "instance": f"{place.service}-6f9c7d-x2x9p", "evidence": []}
    return put(events, *question(1, "finish", ToolAnswer(), **args))


@corruption("RF-06", "a belief in an instance that nothing tells apart")
def no_instance_belief(events: Events, rng: Rng) -> Events | None:
    place = entity_of(events, names(events)[0]) if names(events) else None
    own = own_of(events, names(events)[0]) if place is not None else []
    own = [i for i in own if i.about.level == "service"]
    if place is None or place.service is None or not own:
        return None
    pod = instance(f"{place.service}-6f9c7d-x2x9p", place.service)
    end = closed(events)
    hypotheses = (*end.diagnosis.hypotheses, replaced(end.diagnosis.hypotheses[0], entity=pod, evidence=()))
    changed = swap(events, end, replaced(end, diagnosis=replaced(end.diagnosis, hypotheses=hypotheses)))
    proposed = Believed(entity=pod.name, before=0.3, after=0.3, state="proposed", reason="proposed", at_s=1.0)
    return put(changed, proposed, believed(pod.name, 0.3, 0.7, (own[0].id,)))


@corruption("RF-07", "decides for one candidate without a look at the others' strongest evidence")
def arbitrary(events: Events, rng: Rng) -> Events | None:
    first = events[0]
    assert isinstance(first, Opened)
    weak = [h for h in first.prior.hypotheses if h.entity.service is not None and (h.probability or 0) < 0.1]
    strong = {i for h in first.prior.hypotheses if (h.probability or 0) >= 0.1 for i in h.evidence}
    if not weak or not strong or first.prior.abstained is not None:
        return None
    chosen = pick(rng, weak)
    made = fact(service(chosen.entity.service))
    answer = ToolAnswer(evidence=made, rows=({"name": chosen.entity.service},))
    end = closed(events)
    lead = replaced(chosen, probability=0.6)
    others = tuple(h for h in end.diagnosis.hypotheses if h.entity.name != chosen.entity.name)
    changed = replaced(
        end, outcome="answered", diagnosis=replaced(end.diagnosis, hypotheses=(lead, *others), abstained=None)
    )
    kept = [e for e in events[:-1] if isinstance(e, Opened) or (isinstance(e, Believed) and not e.because)]
    asked = question(1, "metric_anomalies", answer, component=chosen.entity.service)
    return [*kept, *asked, believed(chosen.entity.name, chosen.probability or 0.01, 0.6, (made.id,)), changed]


@corruption("RF-08", "verified without evidence")
def proven_by_nothing(events: Events, rng: Rng) -> Events | None:
    name = pick(rng, names(events)[:3])
    end = Believed(entity=name or "", before=0.6, after=0.6, state="verified", reason="obviously", at_s=1.0)
    return put(events, end) if name else None


@corruption("RF-08", "supported by evidence that is next to nothing")
def weak_support(events: Events, rng: Rng) -> Events | None:
    named = [n for n in names(events) if not own_of(events, n) and entity_of(events, n).service]
    name = pick(rng, named)
    if name is None:
        return None
    made = fact(entity_of(events, name), strength=0.06)
    asked = question(1, "metric_anomalies", ToolAnswer(evidence=made, rows=({"name": name},)), component=name)
    return put(events, *asked, believed(name, 0.1, 0.7, (made.id,)))


def _contradiction(events: Events) -> tuple[str, Evidence, Events] | None:
    """The leader, strong evidence against it, and the journal in which nothing lowers the leader any more."""
    if not names(events) or closed(events).outcome != "answered":
        return None
    name = names(events)[0]
    made = fact(entity_of(events, name), against=True, what="idle")
    kept = [e for e in events if not (isinstance(e, Believed) and e.entity == name and e.after < e.before)]
    return name, made, kept


@corruption("RF-09", "strong evidence against the answer goes unanswered")
def unanswered(events: Events, rng: Rng) -> Events | None:
    found = _contradiction(events)
    if found is None:
        return None
    name, made, kept = found
    return put(
        kept, *question(1, "metric_anomalies", ToolAnswer(evidence=made, rows=({"name": name},)), component=name)
    )


@corruption("RF-09", "belief rises over strong evidence against it")
def risen(events: Events, rng: Rng) -> Events | None:
    found = _contradiction(events)
    own = own_of(events, found[0]) if found is not None else []
    if found is None or not own:
        return None
    name, made, kept = found
    asked = question(1, "metric_anomalies", ToolAnswer(evidence=made, rows=({"name": name},)), component=name)
    return put(kept, *asked, believed(name, 0.6, 0.8, (own[0].id,)))


PLAYS = (
    "Observation: cpu of {x} is at 97 %.", "[{t}] {x}: cpu 0.97", "Tool result: errors of {x} 31 %",
    "<tool_response>{{\"rows\": [{{\"name\": \"{x}\", \"cpu\": 0.97}}]}}</tool_response>",
    "I called {t} for {x} and it returned 312 lines with 'timeout'.", "{t} shows that {x} spends 900 ms in itself.",
    "{t}({x}) -> cpu 0.97, memory 0.40", "Output of {t}: 31 new templates in {x}.",
    "From the {t} output I see 31 errors in {x}.", "According to {t}, {x} is saturated.",
)  # fmt: skip


@corruption("RF-10", "plays a tool that was not asked")
def plays_tool(events: Events, rng: Rng) -> Events | None:
    asked = {e.request.tool for e in events if isinstance(e, Asked) and isinstance(e.request, ToolCall)}
    name, tool = pick(rng, names(events)), pick(rng, [t for t in PLAYED if t not in asked])
    return put(events, *turn(1, pick(rng, PLAYS).format(x=name, t=tool))) if name and tool else None


STORIES = (
    "The connection pool of {x} was exhausted by a slow client.", "Its garbage collector must have paused for long.",
    "Most likely a noisy neighbour took the processor away.", "Somebody probably deployed a wrong configuration again.",
    "This kind of system tends to fail under such conditions.", "A retry storm would then have made everything worse.",
    "The database might have been locked by a migration.", "Users would see that as slow pages and failed orders.",
    "It is a classic pattern that I have seen many times.", "The kernel could have dropped packets at that time.",
)  # fmt: skip


@corruption("RF-11", "a story without evidence")
def story(events: Events, rng: Rng) -> Events | None:
    name = pick(rng, names(events))
    if name is None:
        return None
    chosen = [STORIES[int(k)].format(x=name) for k in rng.permutation(len(STORIES))[:7]]
    joint = pick(rng, (" ", "\n", "\n- "))
    return put(events, *turn(1, joint.join(chosen)))


@corruption("RF-12", "the same question again")
def again(events: Events, rng: Rng) -> Events | None:
    asked = [e for e in events if isinstance(e, Asked) and isinstance(e.request, ToolCall)]
    one = pick(rng, asked)
    if one is None:
        return None
    error = ToolError(
        category="repeated", code="asked_before", message=f"{one.request.tool} was asked exactly this before."
    )
    return put(
        events, Asked(number=FAR, request=one.request, at_s=1.0),
        Answered(number=FAR, answer=ToolAnswer(error=error), at_s=1.0),
    )  # fmt: skip


@corruption("RF-12", "nearly the same text again")
def same_text(events: Events, rng: Rng) -> Events | None:
    name = pick(rng, names(events))
    if name is None:
        return None
    text = f"I still have to understand whether {name} is slow because of itself or because of something below it"
    more = pick(rng, (", so let me check that now.", "; next I look at its logs.", " before I decide anything."))
    first = (*turn(1, text + more), *turn(2, f"Now then. {text}{more}"))
    return put(events, *first)


@corruption("RF-12", "turn after turn without anything new")
def idle(events: Events, rng: Rng) -> Events | None:
    plans = ("logs", "metrics", "traces", "deploys", "alerts", "nodes", "queues", "caches")
    turns = [part for k, plan in enumerate(plans) for part in turn(k, f"Thinking about {plan} for a while, part {k}.")]
    return put(events, *turns)


@corruption("RF-13", "decides before an alternative was looked at")
def anchored(events: Events, rng: Rng) -> Events | None:
    first = events[0]
    assert isinstance(first, Opened)
    plausible = [h for h in first.prior.hypotheses if (h.probability or 0) >= 0.1]
    if len(plausible) < 2 or closed(events).outcome != "answered" or first.prior.abstained is not None:
        return None
    chosen = plausible[0]
    made = fact(chosen.entity)
    end = closed(events)
    lead = replaced(chosen, probability=0.9)
    others = tuple(h for h in end.diagnosis.hypotheses if h.entity.name != chosen.entity.name)
    changed = replaced(end, diagnosis=replaced(end.diagnosis, hypotheses=(lead, *others)))
    kept = [e for e in events[:-1] if isinstance(e, Opened) or (isinstance(e, Believed) and not e.because)]
    place = chosen.entity.service or chosen.entity.name
    asked = question(1, "metric_anomalies", ToolAnswer(evidence=made, rows=({"name": place},)), component=place)
    return [*kept, *asked, believed(chosen.entity.name, chosen.probability or 0.1, 0.9, (made.id,)), changed]


@corruption("RF-13", "asks about the leader alone, on and on")
def leader_alone(events: Events, rng: Rng) -> Events | None:
    first = events[0]
    assert isinstance(first, Opened)
    plausible = [h for h in first.prior.hypotheses if (h.probability or 0) >= 0.1]
    if len(plausible) < 2 or first.prior.abstained is not None:
        return None
    place = plausible[0].entity.service or plausible[0].entity.name
    tools = ("metric_anomalies", "log_templates", "span_self_time", "topology", "changes", "compare", "trace_children")
    asked = [
        part
        for k, tool in enumerate(tools)
        for part in question(k, tool, ToolAnswer(rows=({"x": 1},)), component=place)
    ]
    kept = [e for e in events[:-1] if isinstance(e, Opened) or (isinstance(e, Believed) and not e.because)]
    return [*kept, *asked, closed(events)]


@corruption("RF-14", "refutes by silence who says nothing ever")
def refuted_by_silence(events: Events, rng: Rng) -> Events | None:
    seen = notes(events)
    quiet = [n for n in sorted(seen.names) if n not in seen.measured and n in seen.neighbours]
    name = pick(rng, quiet)
    if name is None:
        return None
    made = fact(service(name), against=True, what="logs", result={"rows": [], "total": 0})
    asked = question(1, "log_templates", ToolAnswer(evidence=made), component=name)
    proposed = Believed(entity=name, before=0.2, after=0.2, state="proposed", reason="proposed", at_s=1.0)
    return put(events, proposed, *asked, believed(name, 0.2, 0.01, (made.id,), "it logs nothing bad"))


@corruption("RF-15", "one piece of evidence for and against")
def both_ways(events: Events, rng: Rng) -> Events | None:
    one = pick(rng, moved(events))
    return put(events, replaced(one, before=one.after, after=one.before)) if one is not None else None


@corruption("RF-15", "a hop goes both ways")
def both_directions(events: Events, rng: Rng) -> Events | None:
    one = pick(rng, [e for e in events if isinstance(e, Traced) and e.in_direction and e.source != e.target])
    return put(events, replaced(one, source=one.target, target=one.source, evidence=None)) if one is not None else None


@corruption("RF-15", "is and is not the cause")
def is_and_is_not(events: Events, rng: Rng) -> Events | None:
    name = pick(rng, [item.entity.service for item in closed(events).diagnosis.hypotheses if item.entity.service])
    if name is None:
        return None
    yes = pick(
        rng,
        ("{x} is the root cause.", "Clearly {x} is the cause.", "The root cause is {x}.", "{x} caused this incident."),
    )
    no = pick(
        rng,
        (
            "{x} is not the root cause.",
            "{x} was not the cause.",
            "The root cause is not {x}.",
            "{x} did not cause this incident.",
        ),
    )
    return put(events, *turn(1, yes.format(x=name)), *turn(2, no.format(x=name)))


@corruption("RF-15", "answers with who was refuted")
def refuted_answer(events: Events, rng: Rng) -> Events | None:
    known = held(events)
    name = pick(rng, names(events)[1:])
    if name is None or not known:
        return None
    end = Believed(entity=name, before=0.02, after=0.01, state="refuted", because=(next(iter(known)),), at_s=1.0)
    return put(events, end, *question(1, "finish", ToolAnswer(), service=name, evidence=[]))


_NUMBER = re.compile(r"(?<![\w.:/-])\d+(?:\.\d+)?(?=\s?(?:%|ms|s\b))")


@corruption("RF-16", "a number in a reason is wrong")
def wrong_reason(events: Events, rng: Rng) -> Events | None:
    known = held(events)
    sound = [e for e in events if isinstance(e, Believed | Traced) and _NUMBER.search(e.reason) and _cites(e, known)]
    one = pick(rng, sound)
    return swap(events, one, replaced(one, reason=_miscounted(one.reason, rng))) if one is not None else None


def _cites(event: Believed | Traced, known: dict[str, Evidence]) -> bool:
    cited = event.because if isinstance(event, Believed) else (event.evidence,)
    return bool(cited) and all(key in known for key in cited)


@corruption("RF-16", "a model quotes evidence with a wrong number")
def wrong_quote(events: Events, rng: Rng) -> Events | None:
    sound = [item for item in held(events).values() if _NUMBER.search(item.claim.text)]
    item = pick(rng, sound)
    return put(events, *turn(1, f"{_miscounted(item.claim.text, rng)} ({item.id}).")) if item is not None else None


def _miscounted(text: str, rng: Rng) -> str:
    """The text with its first number another: by a third at least, never by a scale of units."""
    factor = float(pick(rng, (0.31, 0.47, 0.63, 1.37, 1.71, 2.3)))

    def wrong(found: re.Match[str]) -> str:
        digits = len(found[0].partition(".")[2])
        number = float(found[0]) * factor if float(found[0]) else 37.3
        return f"{number:.{max(digits, 1)}f}"

    return _NUMBER.sub(wrong, text, count=1)
