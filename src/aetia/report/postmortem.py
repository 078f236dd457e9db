"""A postmortem from a journal alone: when, who was hurt, why, how it spread, what was ruled out, done, and is open.

Every sentence about the system names the evidence that it stands on, or is marked as unproven; every sentence about
the investigation names the lines of the journal that say so. Words that a person or a model chose are quoted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from aetia.model.diagnosis import Diagnosis, Evidence, Hypothesis, canonical
from aetia.model.journal import (
    Answered,
    Approval,
    Approved,
    Asked,
    Believed,
    Event,
    ModelCall,
    Steered,
    ToolAnswer,
    Traced,
    Warned,
)
from aetia.reason.journals import closed, opened
from aetia.report import wording

UNPROVEN = "unproven"
MOST = 40
"""Sentences of one section; the rest is counted."""
SECOND_NS = 1_000_000_000
_WISHES = {"exclude": "took out", "look_at": "asked to look at", "stop": "ended the investigation"}
_VERDICTS = {
    "open": "is open",
    "supported": "is supported",
    "refuted": "is refuted",
    "verified": "passed the checks that could be made",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """What is said; `evidence` are ids that the journal holds, `lines` lines of the journal, counted from 1."""

    text: str
    evidence: tuple[str, ...] = ()
    lines: tuple[int, ...] = ()
    unproven: bool = False

    @property
    def links(self) -> tuple[str, ...]:
        """Evidence, lines and the mark, as a reader sees them."""
        said = [*self.evidence, *(f"line {line}" for line in self.lines)]
        return (*said, UNPROVEN) if self.unproven else tuple(said)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    key: str
    title: str
    sentences: tuple[Sentence, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Postmortem:
    """Sections in reading order, and the evidence that any of them names, by id."""

    title: str
    sections: tuple[Section, ...]
    evidence: dict[str, Evidence]


def postmortem(events: Sequence[Event]) -> Postmortem:
    """The postmortem of an investigation; also of one that did not end, which then says so."""
    found = _Record(events)
    sections = [
        Section(key=key, title=title, sentences=_at_most(list(sentences), found))
        for key, title, sentences in (
            ("summary", "Summary", _summary(found)),
            ("answer", "What was asked", _answer(found)),
            ("timeline", "Timeline", _timeline(found)),
            ("impact", "Impact", _impact(found)),
            ("cause", "Cause", _cause(found)),
            ("path", "How it spread", _path(found)),
            ("ruled-out", "What was ruled out, and why", _ruled_out(found)),
            ("seen-before", "Seen before", _seen_before(found)),
            ("done", "What was done", _done(found)),
            ("open", "Open questions", _open(found)),
        )
    ]
    used = {item for section in sections for sentence in section.sentences for item in sentence.evidence}
    return Postmortem(
        title=f"Postmortem. {wording.headline(found.diagnosis)}",
        sections=tuple(section for section in sections if section.sentences),
        evidence={key: item for key, item in found.evidence.items() if key in used},
    )


class _Record:
    """The events by what is asked of them; `evidence` is what the prior and the tools gave, nothing else."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.prior, self.end, self.last = opened(events).prior, closed(events), len(events)
        self.question = opened(events).question
        self.diagnosis: Diagnosis = self.end.diagnosis if self.end is not None else self.prior
        self.lines = list(enumerate(events, start=1))
        self.evidence = {item.id: item for item in self.prior.evidence}
        self.answers: dict[int, tuple[int, Answered]] = {}
        for line, event in self.lines:
            if isinstance(event, Answered):
                self.answers[event.number] = (line, event)
                if isinstance(event.answer, ToolAnswer) and event.answer.evidence is not None:
                    self.evidence.setdefault(event.answer.evidence.id, event.answer.evidence)
        self.beliefs: dict[str, tuple[int, Believed]] = {
            event.entity: (line, event) for line, event in self.lines if isinstance(event, Believed)
        }

    def claim(
        self, text: str, evidence: Iterable[str | None] = (), lines: tuple[int, ...] = (), *, sure: bool = True
    ) -> Sentence:
        """A sentence about the system: proven by the evidence that the journal holds, or marked; `sure=False` marks it
        although there is evidence that bears on it."""
        held = tuple(dict.fromkeys(item for item in evidence if item is not None and item in self.evidence))
        return Sentence(text=wording.plain(text, 500), evidence=held, lines=lines, unproven=not (held and sure))

    @staticmethod
    def doubt(text: str, lines: tuple[int, ...] = ()) -> Sentence:
        """A sentence that nobody has proven."""
        return Sentence(text=wording.plain(text, 500), lines=lines, unproven=True)

    @staticmethod
    def told(text: str, *lines: int) -> Sentence:
        """A sentence about the investigation, which the journal itself says."""
        return Sentence(text=wording.plain(text, 500), lines=lines)


def _summary(found: _Record) -> Iterator[Sentence]:
    diagnosis, headline = found.diagnosis, wording.headline(found.diagnosis)
    if diagnosis.abstained is not None or not diagnosis.hypotheses:
        yield found.doubt(headline, (found.last,))
    else:
        causes = wording.roots(diagnosis)
        proven = all(_backed(found, root) for root in causes)
        ids = [item for root in causes for item in root.evidence]
        yield found.claim(headline, ids, sure=proven)
        for root in causes:
            line = found.beliefs[root.entity.name][0] if root.entity.name in found.beliefs else found.last
            sure = f", believed to {wording.percent(root.probability)}" if root.probability is not None else ""
            verdict = _VERDICTS[root.verdict]
            yield found.told(f"{_name(root)} {verdict}{sure}{'' if root.verdict == 'verified' else ', not verified'}.",
                             line)  # fmt: skip
    if diagnosis.severity is not None:
        yield found.claim(f"Severity: {wording.severity(diagnosis.severity)}.", (diagnosis.impact.evidence,))
    if found.end is None:
        yield found.told(
            "The journal ends before the investigation does; this is what was known until then.", found.last
        )
    else:
        why = f" ({_quote(found.end.reason)})" if found.end.reason else ""
        paid = f" for {found.end.cost:.4g}" if found.end.cost else ""
        took = wording.duration_ns(found.end.at_s * 1e9)
        calls = "1 call" if found.end.calls == 1 else f"{found.end.calls} calls"
        spent = f"{took}, {calls} and {wording.number(found.end.tokens)} tokens{paid}"
        yield found.told(f"The investigation ended after {spent}: {found.end.outcome}{why}.", found.last)


def _answer(found: _Record) -> Iterator[Sentence]:
    """A person's question and what a model answered; evidence bears on its words, and nobody has proven that they
    follow from it."""
    if not found.question:
        return
    yield found.told(f"A person asked {_quote(found.question)}.", 1)
    said = found.end.answer if found.end is not None else ()
    for sentence in said:
        yield found.claim(f"The language model answered {_quote(sentence.text)}.", sentence.evidence, (found.last,),
                          sure=False)  # fmt: skip
    if not said:
        yield found.told("There is no answer that evidence backs.", found.last)


def _timeline(found: _Record) -> Iterator[Sentence]:
    diagnosis = found.diagnosis
    told: list[tuple[int, int, Sentence]] = []

    def at(time_ns: int, text: str, evidence: Iterable[str | None] = ()) -> None:
        told.append((time_ns, len(told), found.claim(f"{wording.moment(time_ns)}: {text}", evidence)))

    for root in wording.roots(diagnosis):
        if root.onset_ns is not None:
            at(root.onset_ns, _begins(root, root.onset_ns, diagnosis), root.evidence)
    cited = {item for root in wording.roots(diagnosis) for item in (*root.evidence, *root.against)}
    for item in found.evidence.values():
        if item.claim.onset_ns is not None and item.id in cited:
            at(item.claim.onset_ns, _stop(wording.claim(item)), (item.id,))
    for hop in diagnosis.propagation:
        if hop.onset_ns is not None:
            at(hop.onset_ns, f"it reaches {hop.target} from {hop.source}.", (hop.evidence,) if hop.evidence else ())
    if diagnosis.incident is not None:
        for breach in diagnosis.incident.breaches:
            at(breach.onset_ns, f"users are hurt at {breach.entry.name}: {wording.breach(breach)}.", (breach.evidence,))
        whose = "was given" if diagnosis.incident.given else "was found"
        at(diagnosis.incident.window.end_ns, f"end of the incident's window, which {whose}.",
           (diagnosis.impact.evidence,))  # fmt: skip
    if diagnosis.severity is not None and diagnosis.severity.until_ns is not None:
        words = "it still goes on, and the data end." if diagnosis.severity.lasts else "it is over."
        at(diagnosis.severity.until_ns, words, (diagnosis.impact.evidence,))
    yield from (sentence for _, _, sentence in sorted(told, key=lambda item: item[:2]))


def _begins(root: Hypothesis, onset_ns: int, diagnosis: Diagnosis) -> str:
    """That a root begins to fail; where users were hurt before, its first sign, as a cause does not follow its
    effect."""
    incident = diagnosis.incident
    if incident is None or not incident.breaches or onset_ns - incident.onset_ns < SECOND_NS:
        return f"{_name(root)} begins to fail."
    return f"first sign of {_name(root)}, which fails by now at the latest: users were hurt before."


def _impact(found: _Record) -> Iterator[Sentence]:
    """What the detector measured, with the evidence that measures it again; a journal without that is marked."""
    impact, incident, severity = found.diagnosis.impact, found.diagnosis.incident, found.diagnosis.severity
    first = () if impact.evidence in found.evidence else (1,)
    if impact.requests:
        share = wording.percent(impact.affected / impact.requests)
        text = (
            f"{wording.number(impact.affected)} of {wording.number(impact.requests)} requests ({share}) were hurt at "
            f"{wording.joined(impact.entries)}"
        )
        yield found.claim(_stop(text), (impact.evidence,), first)
    if severity is not None:
        yield found.claim(f"Severity: {wording.severity(severity)}.", (impact.evidence,), first)
        yield from (found.claim(f"{fact.text[:1].upper()}{fact.text[1:]}.", fact.evidence) for fact in severity.facts)
    for breach in incident.breaches if incident is not None else ():
        proof = found.evidence.get(breach.evidence or "")
        # What a detector was led to a short harm by is not what its query returns.
        same = proof is None or proof.result.get("p_value") == canonical(breach.p_value)
        chance = f", {wording.p_value(breach.p_value)}" if same else ""
        yield found.claim(f"At {breach.entry.name} {wording.breach(breach)}{chance}.", (breach.evidence,),
                          () if proof is not None else (1,))  # fmt: skip


def _cause(found: _Record) -> Iterator[Sentence]:
    if found.diagnosis.abstained is not None:
        return
    for root in wording.roots(found.diagnosis):
        known = [item for item in (*root.evidence, *root.against) if item in found.evidence]
        for key in dict.fromkeys(known):
            against = "Against it: " if key in root.against else ""
            yield found.claim(f"{against}{_stop(wording.claim(found.evidence[key]))}", (key,))
        for answer in wording.triage(root) or ():
            yield found.claim(f"{_name(root)}: {answer.text}.", answer.evidence)
        gone = [key for key in (*root.evidence, *root.against) if key not in found.evidence]
        if gone:
            yield found.doubt(f"{_name(root)} is also said to stand on {', '.join(gone)}, which the journal lacks.")
        if not known:
            yield found.doubt(_stop(root.reason or f"{_name(root)} ranks first by its score alone"))


def _path(found: _Record) -> Iterator[Sentence]:
    """The hops of the answer; what was observed of each by the investigation, and when it was not."""
    observed = {(event.source, event.target): (line, event) for line, event in found.lines if isinstance(event, Traced)}
    for hop in found.diagnosis.propagation:
        line, seen = observed.get((hop.source, hop.target), (None, None))
        words = "" if seen is None else f" ({_hop(seen)})"
        ids = (hop.evidence, seen.evidence if seen is not None else None)
        sure = seen is None or (seen.in_time is not None and seen.in_direction is not None)
        yield found.claim(f"From {hop.source} to {hop.target}{words}.", ids, (line,) if line else (), sure=sure)


def _ruled_out(found: _Record) -> Iterator[Sentence]:
    told: set[str] = set()
    for name, (line, event) in found.beliefs.items():
        if event.state == "refuted":
            told.add(name)
            because = dict.fromkeys(
                item for _, other in found.lines
                if isinstance(other, Believed) and other.entity == name and other.after < other.before
                for item in other.because
            )  # fmt: skip
            why = f": {_quote(event.reason)}" if event.reason else ""
            yield found.claim(
                f"{name}{why}; belief {wording.percent(event.after)}.", (*because, *event.because), (line,)
            )
    for item in found.diagnosis.rejected:
        if item.entity.name not in told:
            # What its reason quotes is evidence; that the root explains it is the localizer's reckoning.
            seen = [
                key
                for key, fact in found.evidence.items()
                if len(fact.claim.text) > 20 and fact.claim.text in item.reason
            ]
            yield found.claim(_stop(wording.rejection(item)), (*item.against, *item.evidence, *seen), sure=not seen)
    for line, event in found.lines:
        if isinstance(event, Steered) and event.steer.wish == "exclude":
            yield found.doubt(
                f"{event.steer.entity}: a person took it out; nothing was measured that says so.", (line,)
            )


def _seen_before(found: _Record) -> Iterator[Sentence]:
    """What a memory of incidents said as the investigation began; nothing about this incident follows from it."""
    yield from (found.told(_stop(line), 1) for line in wording.seen_before(found.diagnosis))


def _done(found: _Record) -> Iterator[Sentence]:
    for line, event in found.lines:
        if isinstance(event, Asked):
            yield _asked(found, line, event)
        elif isinstance(event, Steered):
            whom = f" {event.steer.entity}" if event.steer.entity else ""
            yield found.told(f"A person {_WISHES[event.steer.wish]}{whom}.", line)
        elif isinstance(event, Believed) and event.after != event.before:
            way = "rose" if event.after > event.before else "fell"
            moved = f"{wording.percent(event.before)} to {wording.percent(event.after)}"
            text = f"The belief in {event.entity} {way} from {moved}: {_quote(event.reason)}."
            yield found.claim(text, event.because, (line,))
    yield found.told("The journal holds no repair.", found.last)


def _asked(found: _Record, line: int, event: Asked) -> Sentence:
    """One question and what came back."""
    request, (at, answered) = event.request, found.answers.get(event.number, (None, None))
    lines = (line,) if at is None else (line, at)
    answer = answered.answer if answered is not None else None
    if isinstance(request, Approval):
        granted = isinstance(answer, Approved) and answer.granted
        by = f" by {_quote(answer.by)}" if isinstance(answer, Approved) and answer.by else ""
        said = f"{'granted' if granted else 'denied'}{by}"
        return found.told(f"Agent {request.agent} asked for leave: {_quote(request.question)}; {said}.", *lines)
    if isinstance(request, ModelCall):
        return found.told(f"Agent {request.agent} asked a language model{_why(request.why)}.{_came(answer)}", *lines)
    args = ", ".join(f"{key} {value}" for key, value in request.args.items())
    text = (
        f"Agent {request.agent} asked {request.tool}{' of ' + args if args else ''}{_why(request.why)}.{_came(answer)}"
    )
    item = answer.evidence if isinstance(answer, ToolAnswer) else None
    return (
        found.told(text, *lines)
        if item is None
        else found.claim(f"{text} {_stop(wording.claim(item))}", (item.id,), lines)
    )


def _came(answer: object) -> str:
    error = getattr(answer, "error", None)
    if answer is None:
        return " No answer came."
    return f" It failed: {_quote(error.message)}." if error is not None else ""


def _open(found: _Record) -> Iterator[Sentence]:
    diagnosis = found.diagnosis
    if found.end is not None and found.end.outcome in ("out of budget", "stopped", "failed"):
        yield found.doubt(
            f"What more would have been found: it ended early, {_quote(found.end.reason)}.", (found.last,)
        )
    roots = {root.entity.name for root in wording.roots(diagnosis)} if diagnosis.abstained is None else set[str]()
    for item in diagnosis.hypotheses[:6]:
        if item.entity.name not in roots and item.verdict in ("open", "supported"):
            sure = f" ({wording.percent(item.probability)})" if item.probability is not None else ""
            yield found.doubt(f"Whether {_name(item)} took part{sure} was not settled.")
    for line, event in found.lines:
        if isinstance(event, Traced) and (event.in_time is None or event.in_direction is None):
            yield found.doubt(f"From {event.source} to {event.target}: {_hop(event)}.", (line,))
        elif isinstance(event, Warned):
            yield found.told(f"Check {event.check} warned agent {event.agent}: {_quote(event.text)}.", line)
    yield from (found.doubt(f"Missing: {_stop(item)}") for item in diagnosis.missing)
    if diagnosis.silent:
        yield found.doubt(f"No sign came from {wording.joined(sorted(diagnosis.silent), 20)}.", (found.last,))


def _at_most(sentences: list[Sentence], found: _Record) -> tuple[Sentence, ...]:
    more = len(sentences) - MOST
    rest = (found.told(f"And {more} more, which the journal holds.", found.last),) if more > 0 else ()
    return (*sentences[:MOST], *rest)


def _backed(found: _Record, root: Hypothesis) -> bool:
    return root.verdict in ("supported", "verified") and any(item in found.evidence for item in root.evidence)


def _hop(event: Traced) -> str:
    seen = {True: "", False: "not ", None: ""}
    time = "whether in time was not observed" if event.in_time is None else f"{seen[event.in_time]}in time"
    way = "its direction was not observed" if event.in_direction is None else f"{seen[event.in_direction]}in direction"
    return f"{time}, {way}{': ' + _quote(event.reason) if event.reason else ''}"


def _name(item: Hypothesis) -> str:
    return f"{wording.entity_title(item.entity)} ({wording.level(item.entity)})"


def _why(why: str) -> str:
    return f" for {_quote(why)}" if why else ""


def _quote(text: str) -> str:
    """Words that somebody else chose."""
    return f"“{wording.plain(text, 200).rstrip('. ')}”"


def _stop(text: str) -> str:
    return f"{text.rstrip('. ')}."
