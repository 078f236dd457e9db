"""Random ranking: the floor that every other ranker has to beat."""

from __future__ import annotations

import numpy as np

from aetia.localize.localizer import Localization, ranked
from aetia.model.diagnosis import Incident
from aetia.plugins import plugin
from aetia.signals.view import View


@plugin(
    "localizer",
    summary="a seeded permutation of all services",
    source="the random selection of the BARO and RCAEval studies",
    cost="O(services)",
)
class RandomLocalizer:
    """Inputs: the names of the services. Every permutation is equally likely; the score is 1 at the first
    place and falls evenly. Cost: one shuffle."""

    def localize(self, view: View, incident: Incident, *, seed: int = 0) -> Localization:
        names = sorted(view.names.services)
        order = np.random.default_rng(seed).permutation(len(names))
        scores = {names[k]: 1.0 - place / len(names) for place, k in enumerate(order.tolist())}
        return ranked(scores, nothing="no service in the telemetry")
