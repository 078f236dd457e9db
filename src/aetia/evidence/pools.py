"""Pools: connections and workers that ran out, with requests waiting for them.

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
    summary="connection and worker pools that filled up",
    source="label-free study on Nezha, section 4.4, with block-wise baselines",
    cost="O(series x bins)",
)
class Pools(Pressure):
    """Pools also fill when what they lead to is slow, so they count for less than what they wait for."""

    meaning: ClassVar[Meaning] = {
        "pool": ("B", "pool_exhaustion", 0.8),
    }
    calm = "no pool filled up"
