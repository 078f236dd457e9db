"""What a metric means, told from the words of its name."""

from __future__ import annotations

import re
from typing import NamedTuple


class Kind(NamedTuple):
    """Meaning of a metric; `scale` turns its values into `unit`."""

    what: str
    bad: int
    unit: str
    scale: float
    statistic: str
    scope: str


_RULES = (("cpu", "cpu", 1), ("mem", "memory", 1), ("memory", "memory", 1), ("latency", "latency", 1), ("duration", "latency", 1),
          ("success", "success", -1), ("error", "errors", 1), ("errors", "errors", 1), ("network", "network", 0),
          ("disk", "disk", 0), ("workload", "traffic", 0), ("requests", "traffic", 0), ("restarts", "restarts", 1))


def recognise(name: str, unit: str | None = None, type: str | None = None) -> Kind:
    """The meaning of a metric name."""
    words = set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()))
    for word, what, bad in _RULES:
        if word in words:
            return Kind(what, bad, unit or "", 1.0, "mean", "service")
    return Kind("other", 0, unit or "", 1.0, "mean", "service")
