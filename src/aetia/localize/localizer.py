"""The contract of localizers: a view and its incident in, ranked hypotheses out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from aetia.model import entity
from aetia.model.diagnosis import Evidence, Hop, Hypothesis, Incident
from aetia.signals.view import View


@dataclass(frozen=True, slots=True, kw_only=True)
class Localization:
    """What a localizer answers; `hypotheses` are sorted, most suspicious first, at most one per service, node
    or external. Empty `hypotheses` need a reason in `abstained`."""

    hypotheses: tuple[Hypothesis, ...] = ()
    roots: tuple[int, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    propagation: tuple[Hop, ...] = ()
    rejected: tuple[Hypothesis, ...] = ()
    abstained: str | None = None
    missing: tuple[str, ...] = ()
    silent: dict[str, str] = field(default_factory=dict)


class Localizer(Protocol):
    """Same view and seed in, same answer out; the view is never changed."""

    def localize(self, view: View, incident: Incident, *, seed: int = 0) -> Localization: ...


def ranked(scores: Mapping[str, float], *, nothing: str = "no service scored above zero") -> Localization:
    """A localization from a score per service name; services with a score of zero or less are left out."""
    order = sorted((-score, name) for name, score in scores.items() if score > 0)
    hypotheses = tuple(Hypothesis(entity=entity.service(name), score=float(-negative)) for negative, name in order)
    return Localization(
        hypotheses=hypotheses, roots=(0,) if hypotheses else (), abstained=None if hypotheses else nothing
    )
