"""The decisive facts of a case, and which of them an explanation names: the true root, its class, the path to users."""

from __future__ import annotations

from collections import defaultdict

from aetia.bench.scoring import Answer, Score


def decisive_facts(answer: Answer, score: Score) -> dict[str, bool]:
    """`root`: the m true roots are the first m names; `class`: their classes are named for them; `path`: edges of the
    propagation lead from the true roots to a service whose SLI broke. Facts that the case does not know are left out;
    without a fault there are none."""
    if score.kind != "fault":
        return {}
    facts = {"root": all(rank is not None and rank <= len(score.ranks) for rank in score.ranks)}
    if score.classes:
        facts["class"] = all(call.located and call.named == call.true for call in score.classes)
    if answer.entries:
        facts["path"] = facts["root"] and all(_leads(root, answer) for root in score.top[: len(score.ranks)])
    return facts


def _leads(root: str, answer: Answer) -> bool:
    """Whether the path leads from a root to a broken entry; a root that is the entry itself needs none."""
    following: dict[str, list[str]] = defaultdict(list)
    for source, target in answer.path:
        following[source].append(target)
    seen, waiting = {root}, [root]
    while waiting:
        name = waiting.pop()
        if name in answer.entries:
            return True
        fresh = [item for item in following[name] if item not in seen]
        seen.update(fresh)
        waiting += fresh
    return False
