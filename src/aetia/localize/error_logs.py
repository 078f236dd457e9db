"""Error lines: the service that prints most error lines beyond its usual rate."""

from __future__ import annotations

import numpy as np

from aetia.localize._frames import by_name, missing, observed_seconds, services
from aetia.localize.localizer import Localization, ranked
from aetia.model.diagnosis import Incident
from aetia.plugins import plugin
from aetia.signals.frames import SEVERITY_ERROR
from aetia.signals.view import View


@plugin(
    "localizer",
    summary="error lines beyond the usual rate",
    needs=("logs",),
    source="the log rule of common practice (severity counts), as in arXiv 2510.04711",
    cost="O(lines)",
)
class ErrorLogs:
    """Inputs: logs with a severity. Score: error and fatal lines of the service per second in the incident
    less those in the baseline. Higher is more suspicious."""

    def localize(self, view: View, incident: Incident, *, seed: int = 0) -> Localization:
        logs, n = view.logs, services(view)
        base, now = view.log_masks
        if len(logs) == 0 or not now.any():
            return ranked({}, nothing=missing(view, ("logs",)) or "no logs in the incident window")
        bad = (logs.severity >= SEVERITY_ERROR) & (logs.service >= 0)
        rate = [
            np.bincount(logs.service[bad & mask], minlength=n) / observed_seconds(logs.time_ns, mask)
            for mask in (base, now)
        ]
        return ranked(by_name(view, rate[1] - rate[0]), nothing="no service prints more error lines than before")
