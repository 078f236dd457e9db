"""The runner: real worker processes, real time-outs, real case folders, toy algorithms."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aetia.bench import run
from aetia.bench.record import record_path
from aetia.bench.result import BenchResult, Row, read_result
from aetia.ingest.case import write_case
from aetia.model.case import Case
from aetia.model.errors import BenchError, UnknownPlugin
from aetia.model.tables import Telemetry
from aetia.parallel import VARIABLE, thread_count

DETECTOR = {"detector": "toy_sli", "jobs": 2}
ALL = (
    "toy_oracle", "toy_crash", "toy_empty", "toy_abstain", "toy_tie", "toy_wrong_type", "toy_writer", "toy_printer", "toy_spy",
)  # fmt: skip


@pytest.fixture(scope="module")
def both(toys: Path, suite: Path, tmp_path_factory: pytest.TempPathFactory) -> BenchResult:
    """Every toy that returns, with the onset given and detected."""
    path = tmp_path_factory.mktemp("both") / "run.json"
    result = run(suite, ALL, onset=("given", "detected"), json_path=path, **DETECTOR)  # type: ignore[arg-type]
    assert read_result(path) == result
    return result


def rows(result: BenchResult, localizer: str, onset: str = "given") -> dict[str, Row]:
    return {row.case: row for row in result.cases if row.localizer == localizer and row.onset == onset}


def test_an_oracle_finds_every_root(both: BenchResult) -> None:
    for onset in ("given", "detected"):
        result = both.find("toy_oracle", onset=onset)
        assert (result.n, result.cases, result.failed) == (2, 4, 0)
        assert result.ac1.value == result.exact_set.value == result.mrr.value == 1.0
        assert result.fault_free.n == 1
        assert result.absorbed.named == 1


def test_a_case_without_a_fault_is_a_false_incident_only_for_those_who_answer(both: BenchResult) -> None:
    assert both.find("toy_oracle", onset="given").fault_free.answered == 0
    assert both.find("toy_tie", onset="given").fault_free.answered == 1
    detected = both.find("toy_tie", onset="detected")
    assert (detected.fault_free.answered, detected.fault_free.opened) == (0, 0)
    assert rows(both, "toy_tie", "detected")["d-calm"].outcome == "no_incident"


def test_a_detected_onset_is_measured_against_the_truth(both: BenchResult) -> None:
    row = rows(both, "toy_oracle", "detected")["a-store"]
    assert row.opened
    assert row.onset_error_s == pytest.approx(0.002)
    assert rows(both, "toy_oracle", "given")["a-store"].onset_error_s is None


def test_a_crash_is_a_typed_failure_and_a_miss(both: BenchResult) -> None:
    row = rows(both, "toy_crash")["a-store"]
    assert row.failure is not None
    assert (row.failure.kind, row.failure.type) == ("exception", "KeyError")
    assert row.failure.where.startswith("toy_crash.py:")
    result = both.find("toy_crash", onset="given")
    assert (result.failed, result.ac5.value, result.n) == (4, 0.0, 2)
    assert result.failures[0].cases == ("a-store", "b-cart", "c-absorbed", "d-calm")


def test_silence_with_and_without_a_reason_is_told_apart(both: BenchResult) -> None:
    empty, abstained = both.find("toy_empty", onset="given"), both.find("toy_abstain", onset="given")
    assert (empty.empty, empty.abstained, empty.ac5.value) == (4, 0, 0.0)
    assert (abstained.empty, abstained.abstained, abstained.absorbed.silent) == (0, 4, 1)


def test_naming_everything_alike_wins_nothing(both: BenchResult) -> None:
    result = both.find("toy_tie", onset="given")
    assert result.ac1.value == 0.0
    assert set(rows(both, "toy_tie")["a-store"].ranks) == {3}


def test_what_is_not_a_localization_is_an_invalid_answer(both: BenchResult) -> None:
    row = rows(both, "toy_wrong_type")["a-store"]
    assert row.failure is not None and row.failure.kind == "invalid"


def test_a_localizer_that_writes_to_the_view_fails_and_spoils_nothing(both: BenchResult) -> None:
    row = rows(both, "toy_writer")["a-store"]
    assert row.failure is not None and "read-only" in row.failure.message
    assert both.find("toy_oracle", onset="given").ac1.value == 1.0


def test_printing_does_not_disturb_the_protocol(both: BenchResult) -> None:
    assert both.find("toy_printer", onset="given").failed == 0


def test_neither_the_case_nor_its_truth_is_reachable_from_what_a_localizer_gets(both: BenchResult) -> None:
    for onset in ("given", "detected"):
        for row in rows(both, "toy_spy", onset).values():
            assert row.top in (("clean",), ())
    assert rows(both, "toy_spy")["a-store"].top == ("clean",)


def test_costs_are_measured_apart(both: BenchResult) -> None:
    row = rows(both, "toy_oracle")["a-store"]
    assert row.seconds is not None and row.load_seconds is not None and row.facts_seconds is not None
    assert 0 < row.seconds < 5
    assert row.peak_rss_mb is not None and 20 < row.peak_rss_mb < 4000
    assert rows(both, "toy_oracle", "detected")["d-calm"].seconds is None


@pytest.mark.parametrize(("given", "jobs", "limit", "threads"), [
    (None, 2, 2, 1), (None, 1, 2, None), (None, 2, 1, None), ("3", 2, 2, 3),
])  # fmt: skip
def test_workers_that_run_at_once_have_one_thread_each_unless_told_otherwise(
    toys: Path,
    suite: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: str | None,
    jobs: int,
    limit: int,
    threads: int | None,
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if given is not None:
        monkeypatch.setenv(VARIABLE, given)
    result = run(suite, "toy_threads", detector="toy_sli", jobs=jobs, limit=limit)
    messages = {row.failure.message for row in result.cases if row.failure is not None}
    assert messages == {f"{threads or thread_count()} threads"}
    assert result.settings["jobs"] == jobs


def test_the_paired_comparison_names_the_best_rival(both: BenchResult) -> None:
    pair = both.find("toy_crash", onset="given").paired
    assert pair is not None
    assert (pair.rival, pair.wins, pair.losses) == ("toy_oracle", 0, 2)
    assert pair.ac1_difference.value == -1.0


def test_hanging_and_dying_localizers_are_killed_alone(toys: Path, suite: Path) -> None:
    start = time.monotonic()
    result = run(
        suite, ["toy_hang", "toy_stuck", "toy_exit", "toy_oracle"], limit=1, jobs=1, timeout_s=0.4, detector="toy_sli"
    )
    assert time.monotonic() - start < 30
    kinds = {row.localizer: row.failure.kind if row.failure else None for row in result.cases}
    assert kinds == {"toy_hang": "timeout", "toy_stuck": "timeout", "toy_exit": "died", "toy_oracle": None}
    assert result.find("toy_oracle").ac1.value == 1.0
    assert result.find("toy_stuck").seconds_p50 == pytest.approx(0.4)


def test_a_broken_case_fails_for_everybody_and_stops_nobody(
    toys: Path, tmp_path: Path, case_of: Callable[..., Case], telemetry_of: Callable[..., Telemetry]
) -> None:
    for name in ("good", "torn"):
        write_case(tmp_path / "s" / name, case_of(name, "store"), telemetry_of("store"))
    (tmp_path / "s" / "torn" / "spans.parquet").write_bytes(b"PAR1 this is no parquet file")
    result = run(tmp_path / "s", ["toy_oracle", "toy_tie"], detector="toy_sli", jobs=1)  # type: ignore[arg-type]
    torn = [row for row in result.cases if row.case == "torn"]
    assert len(result.cases) == 4
    assert all(row.outcome == "failed" and row.failure is not None and row.failure.kind == "load" for row in torn)
    assert result.find("toy_oracle").ac1.value == 0.5


def test_each_perturbation_is_a_variant_with_its_own_rows(toys: Path, suite: Path) -> None:
    result = run(
        suite,
        "toy_oracle",
        perturb=("none", "without=spans", "hide_root_spans"),
        detector="toy_sli",
        jobs=2,
        limit=None,
    )
    assert result.find("toy_oracle", perturbation="none").ac1.value == 1.0
    assert result.find("toy_oracle", perturbation="without=spans").ac1.value == 0.0
    hidden = result.find("toy_oracle", perturbation="hide_root_spans")
    assert (hidden.n, hidden.unapplied, hidden.ac1.value) == (2, 1, 0.0)


def test_an_interrupted_run_goes_on_where_it_stopped(
    toys: Path, suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aetia.bench.record.package_hash", lambda: "same code")
    path = tmp_path / "out.json"
    script = (
        "import os, sys\nfrom aetia.bench import record, run\nrecord.package_hash = lambda: 'same code'\n"
        "def stop(state):\n    if state.done >= 2:\n        os._exit(9)\n"
        "run(sys.argv[1], 'toy_oracle', jobs=1, detector='toy_sli', json_path=sys.argv[2], progress=stop)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    died = subprocess.run([sys.executable, "-c", script, str(suite), str(path)], env=environment, check=False)
    record = record_path(path)
    assert died.returncode == 9 and not path.exists()
    assert record is not None and len(record.read_bytes().splitlines()) == 2
    with record.open("ab") as file:
        file.write(b'{"kind":"fault","outcome":"answ')  # the line that was being written
    ran: list[str] = []
    result = run(
        suite, "toy_oracle", jobs=1, detector="toy_sli", json_path=path,
        progress=lambda state: ran.append(state.row.case) if state.row else None,
    )  # fmt: skip
    assert ran == ["c-absorbed", "d-calm"]
    assert len(result.cases) == 4
    assert len(record.read_bytes().splitlines()) == 4
    assert len(json.loads(path.read_bytes())["cases"]) == 4
    again: list[str] = []
    run(
        suite, "toy_oracle", jobs=1, detector="toy_sli", json_path=path,
        progress=lambda state: again.append(state.row.case) if state.row else None,
    )  # fmt: skip
    assert again == []


def test_a_changed_localizer_is_run_again(toys: Path, suite: Path, tmp_path: Path) -> None:
    path, module = tmp_path / "out.json", toys / "toy_empty.py"
    text = module.read_text(encoding="utf-8")
    first = run(suite, "toy_empty", limit=1, jobs=1, detector="toy_sli", json_path=path)
    module.write_text(text.replace("Localization()", "Localization(abstained='now with a reason')"), encoding="utf-8")
    try:
        second = run(suite, "toy_empty", limit=1, jobs=1, detector="toy_sli", json_path=path)
    finally:
        module.write_text(text, encoding="utf-8")
    assert (first.cases[0].outcome, second.cases[0].outcome) == ("empty", "abstained")


def test_a_damaged_record_is_refused_with_its_line(toys: Path, suite: Path, tmp_path: Path) -> None:
    (tmp_path / "out.rows.jsonl").write_bytes(b"{}\n")
    with pytest.raises(BenchError, match=r"out\.rows\.jsonl, line 1"):
        run(suite, "toy_oracle", detector="toy_sli", json_path=tmp_path / "out.json")


def test_what_cannot_run_at_all_is_said_before_anything_runs(toys: Path, suite: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownPlugin, match="toy_nobody"):
        run(suite, "toy_nobody", detector="toy_sli")
    with pytest.raises(BenchError, match="neither a suite"):
        run(tmp_path / "nowhere", "toy_oracle", detector="toy_sli")
    with pytest.raises(BenchError, match="perturbation"):
        run(suite, "toy_oracle", detector="toy_sli", perturb="sooner=3")
    with pytest.raises(BenchError, match="timeout"):
        run(suite, "toy_oracle", detector="toy_sli", timeout_s=0)
