"""What a text says of places: whom it calls the cause or not, and whom it joins by a call.

Rules of English over known names, no judge. Names become signs first, so that the rules need not know what they look
like; a sentence in doubt ("might", "whether", a question) says nothing, and one with a negation says the opposite.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set

from aetia.reason.checks._notes import sentences

_WORD = re.compile(r"[\w./:@-]*\w")
_QUOTES = re.compile(r"[`*\"“”]|(?<!\w)'|'(?!\w)")
_FEW = r"(?:(?!of )[\w'-]+ ){0,4}?"
"""Words between the parts of a statement: it does not cross punctuation, and what is *of* a place is not the place."""
_CAUSE = (
    r"(?:cause|culprit|offender|origin|suspect|source of (?:it|this|the \w+)"
    r"|(?:root[ -]cause|faulty|failing|broken|guilty) (?:service|component|node))\b"
)
_ANSWER = r"(?:verdict|answer|conclusion|diagnosis|finding)\b"
_IS = (
    r"(?:(?:is|was|are|were|has been|lies|remains|(?:seem|appear)(?:s|ed) to be|turn(?:s|ed) out to be)(?:n't)?"
    r"|(?:ha[sd] to|must) be|:|=+>?)"
)
_NOUNS = r"(?:faults?|problems?|trouble|defect|incident|failures?|outage|issue|errors|cascade)"
_ALL = rf"(?:it|this|that|all|them|everything|the (?:\w+ )?{_NOUNS})\b"
_TROUBLE = rf"(?:{_NOUNS}|(?:it|this) all|everything)"
_BEGAN = r"(?:beg[aiu]ns?|start(?:s|ed)?|originate[sd]?|stem(?:s|med)?|occurred|arose|lies|sits)"
_MADE = r"(?:caus|trigger|start|provok|introduc)(?:e|ed|es|s)"
_ACCUSING = tuple(
    re.compile(form, re.I)
    for form in (
        rf"\b{_CAUSE}(?: (?:of|for|behind|in) [^.;:]{{1,60}}?)?(?: identified| found)? ?{_IS} {_FEW}§(\d+)",
        rf"\b{_ANSWER} ?{_IS} {_FEW}§(\d+)",
        rf"§(\d+) {_IS} {_FEW}(?:{_CAUSE}|to blame\b|at fault\b|guilty\b|responsible(?: for {_ALL}|[.;,!]|$))",
        rf"§(\d+) {_IS} {_FEW}behind {_ALL}",
        rf"§(\d+) {_IS} {_FEW}where (?:it|this|all|everything) (?:began|broke|failed|started|went wrong)\b",
        rf"§(\d+) {_FEW}(?:{_MADE}|set off|brought down) {_ALL}",
        r"§(\d+) (?:that |which )?(?:broke|failed|fell over|went wrong|died) first\b",
        rf"\b{_TROUBLE} {_FEW}{_BEGAN} (?:in|at|from|with|inside) {_FEW}§(\d+)",
        rf"\b(?:problem|fault|defect|root cause) {_IS} {_FEW}(?:in|with|inside) {_FEW}§(\d+)",
        rf"\b{_NOUNS} {_FEW}(?:trac(?:es?|ed)|goes|go|leads?|led|comes?|came) back to {_FEW}§(\d+)",
        rf"\bpoints? (?:to|at) {_FEW}§(\d+)(?: as |[.;!]|$)",
        rf"\b{_NOUNS} {_FEW}{_MADE} by {_FEW}§(\d+)",
        rf"\b(?:attribute|ascribe)[sd]? {_FEW}to {_FEW}§(\d+)",
        rf"§(\d+) as {_FEW}(?:root cause|culprit)\b",
        r"\b(?:I|we) (?:blame|accuse) §(\d+)",
    )
)
_NOT = re.compile(r"\b(?:not|never|no|neither|nor|cannot)\b|n't\b", re.I)
_DOUBT = re.compile(
    r"\b(?:if|whether|unless|may|might|could|would|perhaps|maybe|possibly|unclear|suppose|either|or)\b|\?\s*$", re.I
)
_CALLS = (
    r"(?:→|-+>|=+>|(?:which )?(?:calls?|called|depends on|(?:is|was) called by|talks to|invokes?|queries)(?: the)?)"
)
_JOINS = re.compile(rf"§(\d+) ?{_CALLS} ?§(\d+)", re.I)


def accused(text: str, names: Set[str]) -> Iterator[tuple[str, bool]]:
    """(place, whether it is called the cause or called none) of a text's plain statements, in their order."""
    for sentence in sentences(text):
        if _DOUBT.search(sentence):
            continue
        marked, found = _marked(sentence, names)
        said: dict[int, tuple[str, bool]] = {}
        for form in _ACCUSING:
            for match in form.finditer(marked):
                said.setdefault(match.start(1), (found[int(match[1])], _NOT.search(match[0]) is None))
        yield from (said[at] for at in sorted(said))


def joined(text: str, names: Set[str]) -> Iterator[tuple[str, str]]:
    """Pairs of places that a text joins by an arrow or a call."""
    for sentence in sentences(text):
        marked, found = _marked(sentence, names)
        yield from ((found[int(match[1])], found[int(match[2])]) for match in _JOINS.finditer(marked))


def _marked(sentence: str, names: Set[str]) -> tuple[str, list[str]]:
    """The sentence with § and a number for every known name, and the names by number."""
    found: list[str] = []

    def mark(match: re.Match[str]) -> str:
        if match[0] not in names:
            return match[0]
        found.append(match[0])
        return f"§{len(found) - 1}"

    plain = _QUOTES.sub("", sentence.replace("’", "'"))
    return re.sub(r"\s+", " ", _WORD.sub(mark, plain)), found
