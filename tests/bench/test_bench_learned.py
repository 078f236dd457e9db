"""A trained policy in the bench: its weights are part of what a result depends on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aetia.bench import run
from aetia.bench.runner import _policies
from aetia.contracts.policies import small_scorer
from aetia.model.errors import PolicyError
from aetia.reason.observations import NAMES
from aetia.reason.scorers import linear, save


def test_other_weights_are_another_method_and_none_are_an_error(
    toys: Path, suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer, record = tmp_path / "scorer.json", tmp_path / "run.json"
    monkeypatch.setenv("AETIA_POLICY_FILE", str(scorer))
    with pytest.raises(PolicyError, match="cannot be read"):
        run(suite, "toy_tie", policies="learned", detector="toy_sli", jobs=1)
    marks: list[set[str]] = []
    for network in (small_scorer(), small_scorer(), linear(np.ones(len(NAMES)))):
        save(scorer, network)
        found = run(suite, "toy_tie", policies="learned", detector="toy_sli", jobs=1, json_path=record)
        rows = [row for row in found.cases if row.policy == "learned"]
        assert rows and all(row.failure is None for row in rows)
        marks.append({row.fingerprint for row in rows})
    assert marks[0] == marks[1] and not marks[0] & marks[2]


def test_all_policies_are_those_that_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AETIA_POLICY_FILE", raising=False)
    assert "rules" in _policies("all") and "learned" not in _policies("all")
    save(tmp_path / "scorer.json", small_scorer())
    monkeypatch.setenv("AETIA_POLICY_FILE", str(tmp_path / "scorer.json"))
    assert "learned" in _policies("all")
