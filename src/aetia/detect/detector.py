"""The contract of detectors: facts in, incidents out."""

from __future__ import annotations

from typing import Protocol

from aetia.model.diagnosis import Incident
from aetia.model.window import Window
from aetia.signals.view import Facts


class Detector(Protocol):
    """Finds windows in which users are hurt. Same facts in, same incidents out; facts are never changed.

    Breaches that name evidence need a detector that can `measure` it again, as channels do (see `SliDetector`).
    """

    def detect(
        self,
        facts: Facts,
        *,
        baseline: Window | None = None,
        incident: Window | None = None,
        sli: dict[str, object] | None = None,
    ) -> list[Incident]:
        """Incidents in order of onset; empty when no entry point is hurt.

        With `incident` given, the detector only measures which SLIs broke in it (the incident is returned even
        when none did, with `given=True`). With `baseline` given it is used as it is; otherwise it is found.
        `sli` is the case's own declaration of SLIs (metric names or entry operations).
        """
        ...
