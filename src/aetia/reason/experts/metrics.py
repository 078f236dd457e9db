"""The expert on metrics: resources, runtime, pools, and whether a component still tells anything of itself."""

from __future__ import annotations

from typing import Any

from aetia.model.faults import FaultClass
from aetia.model.journal import ToolAnswer, ToolCall
from aetia.reason.experts.verdict import Verdict, nothing

CLASSES: dict[str, FaultClass] = {
    "cpu": "B", "memory": "B", "disk": "B", "pool": "B", "saturation": "B", "gc": "F", "threads": "F", "restarts": "A",
    "errors": "C", "success": "C", "latency": "D", "traffic": "E", "network": "D",
}  # fmt: skip
INSIDE = ("cpu", "memory", "disk", "gc", "restarts")
"""Meanings that begin where they are measured; the others may come from what a component waits for."""
DEAD = 3
"""Series of one component that stopped together, from which on it is dead and not merely unscraped."""
SILENT = 0.05
ABNORMAL = 0.5


def questions(candidate: str) -> tuple[ToolCall, ...]:
    """What this expert asks of one candidate."""
    return (
        ToolCall(tool="metric_anomalies", args={"component": candidate}, agent="metrics", why="what moved inside?"),
    )


def verdict(candidate: str, answer: ToolAnswer) -> Verdict:
    """What the metrics say of the candidate."""
    if answer.evidence is None:
        return nothing(candidate, "metrics", (answer,))
    evidence = (answer.evidence.id,)
    if answer.evidence.polarity == "against":
        return Verdict(candidate=candidate, modality="metrics", abnormal=False, strength=answer.evidence.strength,
                       evidence=evidence, reason=answer.evidence.claim.text)  # fmt: skip
    if (gone := _gone(answer.rows)) is not None:
        return Verdict(
            candidate=candidate, modality="metrics", abnormal=True, strength=1.0, severity=1.0, own=True,
            fault_class=gone, onset_s=_since(answer.rows), evidence=evidence, reason=answer.evidence.claim.text,
        )  # fmt: skip
    harmful = [row for row in answer.rows if row["harmful"] and row["belief"] is not None]
    best = max(harmful, key=lambda row: row["belief"], default=None)
    if best is None or best["belief"] < ABNORMAL:
        return nothing(candidate, "metrics", (answer,))  # what speaks for trouble, however softly, is no sign of health
    return Verdict(
        candidate=candidate, modality="metrics", abnormal=True, strength=answer.evidence.strength,
        severity=best["belief"], own=best["meaning"] in INSIDE, fault_class=CLASSES.get(best["meaning"]),
        onset_s=best["since_s"], evidence=evidence, reason=answer.evidence.claim.text,
    )  # fmt: skip


def _gone(rows: tuple[dict[str, Any], ...]) -> FaultClass | None:
    """Death where several series of one component stopped together, silence where its requests did."""
    stopped: dict[str, int] = {}
    for row in rows:
        if row["stopped"]:
            stopped[str(row["of"])] = stopped.get(str(row["of"]), 0) + 1
    if max(stopped.values(), default=0) >= DEAD:
        return "A"
    still = (row["meaning"] == "traffic" and row["baseline"] and (row["incident"] or 0.0) <= SILENT * row["baseline"]
             for row in rows)  # fmt: skip
    return "E" if any(still) else None


def _since(rows: tuple[dict[str, Any], ...]) -> float | None:
    return min((row["since_s"] for row in rows if row["since_s"] is not None), default=None)
