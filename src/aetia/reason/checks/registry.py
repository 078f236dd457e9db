"""All checks, in the order of their codes. One instance watches one investigation."""

from __future__ import annotations

from collections.abc import Sequence

from aetia.reason.checks._notes import Notes
from aetia.reason.checks._watch import Watch
from aetia.reason.checks.beliefs import Anchoring, Contradiction, NoBeliefUpdate
from aetia.reason.checks.causality import InvalidInference, SpuriousEdge, TemporalMisordering, UnjustifiedInstance
from aetia.reason.checks.conduct import Divergence, Repetition, RoleConfusion, Speculation
from aetia.reason.checks.evidence import (
    ArbitrarySelection,
    ConfusedProvenance,
    FabricatedEvidence,
    Insufficiency,
    MetricInterpretation,
)
from aetia.reason.checks.numbers import ArithmeticMistake

_ALL: tuple[type[Watch], ...] = (
    Divergence, FabricatedEvidence, MetricInterpretation, ConfusedProvenance, TemporalMisordering, SpuriousEdge,
    UnjustifiedInstance, ArbitrarySelection, Insufficiency, NoBeliefUpdate, RoleConfusion, Speculation, Repetition,
    Anchoring, InvalidInference, Contradiction, ArithmeticMistake,
)  # fmt: skip
TITLES: dict[str, str] = {check.code: check.title for check in _ALL}
"""Code → name of the failure, RF-00 to RF-16."""


def default_checks(codes: Sequence[str] | None = None) -> tuple[Watch, ...]:
    """Fresh checks for one investigation; `codes` picks some. They share one digest of the journal."""
    notes = Notes()
    return tuple(check(notes) for check in _ALL if codes is None or check.code in codes)
