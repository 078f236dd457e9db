"""The questions of `aetia.store.backend`, asked of any backend and compared with a plain reading of the same rows.

Each check takes a backend that was filled with a sample, and the sample. `CHECKS` are for `sample()`, `EMPTY_CHECKS`
for `empty()`; a test module walks them:

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_answers(check, filled_backend):
        check(filled_backend, sample())
"""

from __future__ import annotations

import battery_red
import battery_rows
import battery_traces
from checking import CHECKS, EMPTY_CHECKS, Check

__all__ = ["CHECKS", "EMPTY_CHECKS", "Check", "battery_red", "battery_rows", "battery_traces"]
