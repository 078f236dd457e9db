"""What kind of fault a candidate shows: the deepest class that its evidence supports, and the fault's name.

Faults look like each other's consequences: a process that dies is also unreachable and slow, one that runs out of
memory pauses, fails and restarts. So the classes are asked in causal order, and slowness comes last.
"""

from __future__ import annotations

from collections.abc import Mapping

from aetia.evidence.channel import Finding
from aetia.model.faults import FaultClass

Scores = Mapping[tuple[str, FaultClass], float]
CLEAR = 0.3
"""Score from which a finding can speak for its class at all."""
FULL_POOL = 0.5
"""Pools fill up behind anything slow: only a clearly full one is a cause."""
LEAK = 0.05
"""Memory that rose this much before a restart makes the restart its consequence."""


def verdict(findings: Mapping[str, tuple[Finding, ...]]) -> tuple[FaultClass | None, str | None]:
    """(class, fault) of one candidate from the findings of each channel on it."""
    best: dict[tuple[str, FaultClass], Finding] = {}
    for channel, items in findings.items():
        for item in items:
            if item.fault_class is None:
                continue
            key = (channel, item.fault_class)
            if key not in best or item.score > best[key].score:
                best[key] = item
    if not best:
        return None, None
    chosen = _decide(best, findings)
    return chosen.fault_class, chosen.fault


def _decide(best: Mapping[tuple[str, FaultClass], Finding], findings: Mapping[str, tuple[Finding, ...]]) -> Finding:
    def score(channel: str, fault_class: FaultClass) -> float:
        found = best.get((channel, fault_class))
        return found.score if found else 0.0

    changed = best.get(("changes", "C"))
    logical = max(score("errors", "C"), score("span_events", "C"))
    pressure, internals, pool = (
        max(score("resources", "B"), score("hosts", "B")),
        score("runtime", "F"),
        score("pools", "B"),
    )
    death = max(("restarts", "silence", "errors"), key=lambda channel: score(channel, "A"))
    if score(death, "A") >= CLEAR:
        leak = [f for f in findings.get("resources", ()) if f.fault == "memory" and f.score >= LEAK]
        return leak[0] if leak and death == "restarts" else best[death, "A"]
    if changed is not None and max(logical, score("latency", "D")) >= CLEAR:
        return changed
    if pressure >= CLEAR and pressure >= internals:
        return max((best[c, "B"] for c in ("resources", "hosts") if (c, "B") in best), key=lambda f: f.score)
    if internals >= CLEAR:
        return best["runtime", "F"]
    unanswered, gap = score("errors", "E"), score("edge_gap", "D")
    if max(unanswered, gap) >= CLEAR and max(unanswered, gap) >= logical:
        return best["errors", "E"] if unanswered > gap else best["edge_gap", "D"]
    if pool >= FULL_POOL:
        return best["pools", "B"]
    if logical >= CLEAR:
        return _logical(best)
    rest = [item for (channel, _), item in best.items() if channel != "changes"]
    return max(rest or list(best.values()), key=lambda f: f.score)


def _logical(best: Mapping[tuple[str, FaultClass], Finding]) -> Finding:
    """Exceptions are told from bare wrong codes by what the service printed."""
    printed = [
        best[c, "C"] for c in ("span_events", "log_novelty") if (c, "C") in best and best[c, "C"].fault == "exception"
    ]
    spoken = [f for f in printed if f.score >= CLEAR]
    if spoken:
        return max(spoken, key=lambda f: f.score)
    return max((best[c, "C"] for c in ("errors", "span_events") if (c, "C") in best), key=lambda f: f.score)
