"""`bench/check_power.py`: failures put into sound journals are seen, and nothing is seen where none was put in."""

# The scripts lie outside of the package; conftest.py makes them importable.
# pyright: reportMissingImports=false

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import cast

import pytest

import check_power
from _corruptions import CASES
from aetia import api, plugins
from aetia.ingest.reader import Loaded
from aetia.lab.sim.suites import generate
from aetia.lab.sim.system import make_system
from aetia.model.journal import Warned
from aetia.reason.checks.registry import TITLES
from aetia.reason.journals import JournalFile
from aetia.reason.policy import Policy
from aetia.reason.run import run
from aetia.reason.toolbox import ViewTools


@pytest.fixture(scope="module")
def journals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two investigations by rules."""
    folder = tmp_path_factory.mktemp("journals")
    for number, fault in enumerate(("exception", "latency")):
        case, telemetry = next(generate(1, [make_system(10, 3)], 5 + number, faults=[fault], two_roots=0.0))
        found = api.investigate(Loaded(case=case, telemetry=telemetry))
        assert found.view is not None
        with JournalFile(folder / f"{number}.jsonl") as file:
            rules = cast("Policy", plugins.create("policy", "rules"))
            run(found.diagnosis, rules, ViewTools(found.view), name="rules", tell=file.write)
    (folder / "cut-off.jsonl").write_bytes((folder / "0.jsonl").read_bytes()[:400])
    return folder


def test_every_check_has_a_failure_that_it_is_to_see() -> None:
    assert {case.code for case in CASES} == set(TITLES)
    assert len({case.name for case in CASES}) == len(CASES)


def test_failures_that_were_put_in_are_seen_and_sound_journals_are_silent(journals: Path) -> None:
    found = list(check_power.sound([journals], 10, 1))
    assert [path.name for path, _ in found] == ["0.jsonl", "1.jsonl"]  # one that was cut off is no finished journal
    seen: Counter[str] = Counter()
    for path, events in found:
        assert not any(isinstance(event, Warned) for event in events)
        assert check_power.warned(events) == []
        for case in CASES:
            one = check_power.tried(case, path, events, Counter(), 1)
            assert one == check_power.tried(case, path, events, Counter(), 1)
            seen[case.code] += one is not None and one[0]
    assert sum(count > 0 for count in seen.values()) >= 12, seen
