"""What channels say when nothing happened: readings of placebo incidents cut from the baseline."""

from __future__ import annotations

from aetia.signals.view import View


def noise_floor(view: View) -> dict[str, float]:
    """Per channel, the score that it gives to somebody in a fault-free placebo window; empty when none can be cut."""
    return {}
