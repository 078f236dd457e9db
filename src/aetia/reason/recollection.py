"""A look at what earlier incidents like this one point to, when everything else is settled.

Precedents order questions and are no evidence. They are followed last, and what is found can only refute whom they
point to and moves no belief, so a forged or mistaken memory costs a few questions and never changes the answer. Source:
incident memory protected against poisoning, section 13 of the agents survey.
"""

from __future__ import annotations

from aetia.model.journal import ToolAnswer
from aetia.reason.experts import logs, metrics
from aetia.reason.experts.collaborate import collaborate
from aetia.reason.policy import Desk, Steps, key_of
from aetia.reason.precedents import pointed
from aetia.reason.way import ALTERNATIVES

MOST_POINTED = 2


def recollect(desk: Desk) -> Steps:
    """Ask metrics and logs about candidates that precedents point to and that nobody has examined. The first of the
    ranking were settled together and stay as they are."""
    settled = {name for name, _ in desk.ledger.ranked()[: 1 + ALTERNATIVES]}
    before = {key_of(call) for call, _ in desk.answered}
    wanted: dict[str, str] = {}
    for name in pointed(desk.precedents):
        service = desk.ledger.entries[name].entity.service if name in desk.ledger.entries else None
        if service is None or name in settled or name in desk.excluded:
            continue
        if not before & {key_of(call) for call in (*metrics.questions(service), *logs.questions(service))}:
            wanted.setdefault(service, name)
    for service, name in list(wanted.items())[:MOST_POINTED]:
        answers = yield (*metrics.questions(service), *logs.questions(service))
        told = [answer if isinstance(answer, ToolAnswer) else ToolAnswer() for answer in answers]
        joint = collaborate(service, (metrics.verdict(service, told[0]), logs.verdict(service, told[1])))
        if joint.evidence and not joint.abnormal:
            reason = f"an earlier incident points to it, and {joint.reason}"
            desk.ledger.settle(name, "refuted", joint.evidence, reason[:400])
