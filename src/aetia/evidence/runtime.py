"""Runtime internals: garbage collection, blocked threads, clocks.

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
    summary="garbage collection, blocked threads and clocks that left their baseline",
    source="label-free study on Nezha, section 4.4, with block-wise baselines",
    cost="O(series x bins)",
)
class Runtime(Pressure):
    """What happens inside the process and is seen from outside as slowness only."""

    meaning: ClassVar[Meaning] = {
        "gc": ("F", "gc", 0.9),
        "threads": ("F", "lock", 0.7),
        "clock": ("F", "clock_skew", 0.9),
    }
    calm = "no runtime metric left its baseline"
