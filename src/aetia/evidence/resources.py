"""Resource pressure: cpu, memory, disk and throttling of instances, services and nodes.

Source: label-free study on Nezha, section 4.4, with block-wise baselines. Score: effect size times belief in z,
higher = more suspicious. Cost: O(series x bins).
"""

from __future__ import annotations

from typing import ClassVar

from aetia.evidence._pressure import Meaning, Pressure
from aetia.plugins import plugin


@plugin(
    "channel",
    needs=("metrics",),
    summary="cpu, memory, disk and throttling that rose beyond what the load explains",
    source="label-free study on Nezha, section 4.4, with block-wise baselines",
    cost="O(series x bins)",
)
class Resources(Pressure):
    """Physical resources. Memory is trusted less: it moves with every restart and release."""

    meaning: ClassVar[Meaning] = {
        "cpu": ("B", "cpu", 1.0),
        "memory": ("B", "memory", 0.8),
        "disk": ("B", "disk", 0.6),
        "saturation": ("B", "cpu", 0.7),
    }
    calm = "no resource moved beyond its baseline"
