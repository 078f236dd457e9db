"""Log novelty: the service that prints kinds of lines which it never printed before."""

from __future__ import annotations

import numpy as np

from aetia.localize._frames import by_name, missing, services
from aetia.localize.localizer import Localization, ranked
from aetia.model.diagnosis import Incident
from aetia.plugins import plugin
from aetia.signals.view import View


@plugin(
    "localizer",
    summary="templates never printed in the baseline",
    needs=("logs",),
    source="novelty part of common log diagnosis (LogCluster, Lin et al., ICSE-SEIP 2016)",
    cost="O(lines)",
)
class LogNovelty:
    """Inputs: logs with templates. Score: sum over the templates that the service printed in the incident and
    never in the baseline of log(1 + lines); the logarithm keeps one chatty template from deciding. Higher is
    more suspicious."""

    def localize(self, view: View, incident: Incident, *, seed: int = 0) -> Localization:
        reason = missing(view, ("logs",))
        if reason:
            return ranked({}, nothing=reason)
        logs, n = view.logs, services(view)
        base, now = view.log_masks
        known = (logs.service >= 0) & (logs.template >= 0)
        key = logs.service.astype(np.int64) * max(len(logs.templates), 1) + logs.template
        printed, lines = np.unique(key[now & known], return_counts=True)
        new = ~np.isin(printed, np.unique(key[base & known]))
        owner = printed[new] // max(len(logs.templates), 1)
        score = np.bincount(owner, np.log1p(lines[new]), minlength=n).astype(np.float64)
        return ranked(by_name(view, score), nothing="no template is new")
