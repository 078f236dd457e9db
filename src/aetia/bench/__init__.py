"""The bench: suites, metrics, runner, leaderboard. `run` and `report` are loaded on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aetia.bench.leaderboard import report
    from aetia.bench.runner import run

__all__ = ["report", "run"]


def __getattr__(name: str) -> Any:
    """`aetia.bench` itself imports nothing, so that the command line starts fast."""
    if name == "run":
        from aetia.bench.runner import run

        return run
    if name == "report":
        from aetia.bench.leaderboard import report

        return report
    raise AttributeError(f"module 'aetia.bench' has no attribute {name!r}")
