"""Contract batteries: what every reader, detector, channel and localizer has to keep, ready to run on your own.

`check(plugin)` runs the battery of a registered algorithm's kind, `check_channel(factory)` and its siblings run on a
class that is not registered; `checks(kind)` lists the single checks for those who want one test for each. All raise
ContractBroken (an AssertionError) or whatever the algorithm itself raises. `ordinary()`, `awkward()` and their
siblings are the telemetry that the batteries use.
"""

from __future__ import annotations

from aetia.contracts.batteries import (
    BUDGET_S,
    Check,
    check,
    check_channel,
    check_detector,
    check_localizer,
    check_policy,
    check_reader,
    check_tool,
    checks,
    factory_of,
)
from aetia.contracts.readers import reads_its_own_layout
from aetia.contracts.rules import ContractBroken
from aetia.contracts.situations import (
    Situation,
    awkward,
    early_answer,
    host_trouble,
    many,
    mesh_trouble,
    ordinary,
    permuted,
    quiet,
    renamed,
)

__all__ = [
    "BUDGET_S",
    "Check",
    "ContractBroken",
    "Situation",
    "awkward",
    "check",
    "check_channel",
    "check_detector",
    "check_localizer",
    "check_policy",
    "check_reader",
    "check_tool",
    "checks",
    "early_answer",
    "factory_of",
    "host_trouble",
    "many",
    "mesh_trouble",
    "ordinary",
    "permuted",
    "quiet",
    "reads_its_own_layout",
    "renamed",
]
