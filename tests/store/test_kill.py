"""A process that is killed under load, for real; `bench/kill_ingest.py` does the same fifty times."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "bench" / "kill_ingest.py"


def test_nothing_acknowledged_is_lost_and_nothing_stored_twice(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("kill_ingest", SCRIPT)
    assert spec is not None and spec.loader is not None
    kill_ingest = sys.modules["kill_ingest"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(kill_ingest)
    acknowledged = 0
    for seconds in (0.3, 2.0):
        _, cpu_s = kill_ingest.round_of(tmp_path, seconds)
        assert cpu_s < kill_ingest.START_LIMIT_S
        noted, found, _ = kill_ingest.verify(tmp_path)
        assert found >= noted > acknowledged
        acknowledged = noted
