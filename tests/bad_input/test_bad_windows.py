"""Windows and case.json in every wrong form: refused with the place and the mend, or used as far as they go."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Ask = Callable[..., Any]
NS, DAY_NS = 10**9, 86_400 * 10**9

REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "no time": (("--incident", "a..b"), "'a' is not a point in time; write 2023-"),
    "no window": (("--incident", "now"), "'now' is not a window; write A..B"),
    "empty text": (("--baseline", ""), "'' is not a window"),
    "reversed": (("--incident", "-1m..-2m"), "does not end after it starts; swap its sides"),
    "no zone": (("--incident", "2025-10-25T06:44:07..now"), "has no time zone; add Z"),
    "outside": (("--incident", "2030-01-01T00:00:00Z..+1h"), "lies outside the data, which covers 2025-10-25"),
    "baseline outside": (("--baseline", "2024-01-01T00:00:00Z..+1h"), "give --baseline inside it"),
    "overlap": (("--incident", "-2m..now", "--baseline", "start..-1m"), "overlaps the incident"),
    "future": (("--incident", "-1m..9999-12-31T00:00:00Z"), "more than a century away"),
    "since nothing": (("--since", "0s"), "begins at or after the end of the data"),
    "since forever": (("--since", "1" + "0" * 400 + "s"), "longer than a century"),
    "since ages": (("--since", "99999999d"), "longer than a century"),
    "at outside": (("--at", "2030-01-01T00:00:00Z"), "lies outside the data"),
    "at nothing": (("--at", "9" * 30), "is not a point in time"),
    "two of them": (("--since", "2m", "--at", "now"), "exclude one another"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_windows_that_cannot_be_answered_are_refused(written: Path, name: str, ask: Ask) -> None:
    tokens, words = REFUSED[name]
    answer = ask("diagnose", written / "spans.parquet", *tokens, "--quiet")
    assert answer.code == 2 and words in answer.err


def test_the_case_s_own_baseline_is_told_from_one_that_was_given(written: Path, ask: Ask) -> None:
    answer = ask("diagnose", written, "--since", "5m")
    assert answer.code == 2 and "the case's own baseline" in answer.err and "give --baseline A..B" in answer.err


def edited(case: Path, **changes: Any) -> Path:
    path = case / "case.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}))
    return case


def windows(case: Path) -> tuple[int, int, int, int]:
    held = json.loads((case / "case.json").read_text("utf-8"))
    return (*held["baseline"], *held["incident"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"), ("{hello", "is not the JSON it should be"), ("[]", "is no JSON object"), ("3", "is no JSON object"),
        ("[" * 100_000, "is not the JSON"), ('{"id": "\\ud800"}', "is not the JSON"), ('{"baseline": NaN}', "is not the JSON"),
        ('{"baseline": [2, 1]}', "'baseline' ends before it starts; swap"),
        ('{"incident": [true, false]}', "holds a value that is no time"),
        ('{"incident": [1, 2, 3]}', "'incident' must be [start_ns, end_ns] or null"),
        ('{"incident": {"start": 1}}', "'incident' must be [start_ns, end_ns] or null"),
        ('{"incident": [1, 1e300]}', "holds a value that is no time"),
        ('{"incident": [5, 5]}', "is empty; give --incident A..B"),
        ('{"truth": "x"}', "'truth' must be a list of root causes"), ('{"truth": [1]}', "must be an object"),
        ('{"truth": [{"service": 5}]}', "'service' of a root cause in 'truth' has the wrong type"),
        ('{"truth": [{"fault": "cpu"}]}', "names no place"),
        ('{"baselines": {"spans": 5}}', "'baselines.spans' must be a list"), ('{"baselines": [1]}', "must map table names"),
    ],
)  # fmt: skip
def test_a_broken_case_file_is_refused_with_its_key(labelled: Path, text: str, words: str, ask: Ask) -> None:
    (labelled / "case.json").write_text(text)
    answer = ask("diagnose", labelled)
    assert answer.code == 2 and words in answer.err
    assert "case.json" in answer.err or "window" in words or "--incident" in words


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_case_file_as_some_shells_write_it_is_read(
    labelled: Path, encoding: str, diagnose: Ask, culprit: str
) -> None:
    path = labelled / "case.json"
    path.write_bytes(path.read_text("utf-8").encode(encoding))
    assert diagnose(labelled).report["case"] == "case-0000"


def test_extra_keys_odd_labels_and_missing_windows_are_no_obstacle(labelled: Path, diagnose: Ask, culprit: str) -> None:
    for changes in (
        {"foo": {"bar": 1}, "system": 5, "label": 7, "source": [], "sli": [1]}, {"truth": []}, {"truth": None},
        {"id": "../../x"}, {"id": "y" * 9999}, {"sli": {"metric": 5, "operation": ["x", None]}},
        {"incident": None}, {"baseline": None}, {"baseline": None, "incident": None},
    ):  # fmt: skip
        answer = diagnose(edited(labelled, **changes))
        assert (answer.code, answer.blamed) == (0, culprit), changes


def test_windows_may_be_in_any_unit_or_iso_text(labelled: Path, diagnose: Ask) -> None:
    a, b, c, d = windows(labelled)
    wanted = diagnose(labelled).report["incident"]
    for baseline, incident in (
        ([a // NS, b // NS], [c // NS, d // NS]), ([a / 1e6, b / 1e6], [c // 1000, d // 1000]), ([a // 10**6, b], [c, d]),
        (["2025-10-25T06:41:07Z", "2025-10-25T06:44:07Z"], ["2025-10-25T14:44:07+08:00", "2025-10-25T06:47:17"]),
    ):  # fmt: skip
        found = diagnose(edited(labelled, baseline=baseline, incident=incident)).report["incident"]
        assert (found["baseline"], found["window"]) == (wanted["baseline"], wanted["window"])


def test_a_window_beyond_the_data_is_cut_and_said_to_be(labelled: Path, diagnose: Ask, culprit: str) -> None:
    a, b, c, d = windows(labelled)
    answer = diagnose(edited(labelled, baseline=[a - DAY_NS, b], incident=[c, d + DAY_NS]))
    assert answer.blamed == culprit
    assert answer.missing.count("it was cut to 2025-10-25") == 2
    first, last = answer.report["incident"]["window"]
    assert last - first < 200 * NS


def test_a_short_baseline_is_said_to_be_short(labelled: Path, diagnose: Ask) -> None:
    a, b, *_ = windows(labelled)
    answer = diagnose(edited(labelled, baseline=[b - 2 * NS, b]))
    assert answer.code == 1 and "baseline is too small to compare with: 2 s" in answer.report["abstained"]
    assert "a longer baseline: 2 s of health" in answer.missing
    answer = diagnose(edited(labelled, baseline=[b - 20 * NS, b]))
    assert answer.code in (0, 1) and "a longer baseline: 20 s of health" in answer.missing
    assert "a longer baseline" not in diagnose(edited(labelled, baseline=[a, b])).missing


def test_baselines_of_single_tables_outside_the_data_are_pointed_out(labelled: Path, diagnose: Ask) -> None:
    answer = diagnose(edited(labelled, baselines={"spans": [[1, 2]]}))
    assert "spans from the baseline window: those given cover" in answer.missing
    every = {table: [[1, 2]] for table in ("spans", "logs", "metrics")}
    answer = diagnose(edited(labelled, baselines=every))
    assert answer.code == 1 and "baseline window holds no telemetry" in answer.report["abstained"]
