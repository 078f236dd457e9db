"""Network trouble that hosts and containers count themselves: retransmissions, drops and interface errors.

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
    summary="retransmissions, drops and network errors that rose",
    source="label-free study on Nezha, section 4.4, with block-wise baselines",
    cost="O(series x bins)",
)
class Network(Pressure):
    """Both ends of a lossy link count it, so this supports what calls and spans say of the link."""

    meaning: ClassVar[Meaning] = {
        "network": ("D", "network_loss", 0.7),
    }
    calm = "no network error or loss was counted"
    harmful_only = True
