"""`aetia bench` from the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aetia.cli.bench import app
from aetia.cli.main import main
from aetia.ingest.case import write_case
from aetia.model.case import Case
from aetia.model.diagnosis import Diagnosis
from aetia.model.errors import UsageError
from aetia.model.tables import Telemetry
from aetia.report.interchange import to_json


def call(*tokens: str) -> int:
    return app(list(tokens), result_action="return_value", exit_on_error=False)


def test_run_writes_json_and_leaderboards_and_report_reads_them(
    suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, markdown, page = tmp_path / "r.json", tmp_path / "r.md", tmp_path / "r.html"
    code = call(
        "run", str(suite), "--localizer", "random,nsigma", "--jobs", "1", "--json", str(out), "--markdown", str(markdown),
        "--html", str(page), "--limit", "2", "--perturb", "none", "--perturb", "late=60,without=logs", "--onset", "given",
    )  # fmt: skip
    assert code == 0
    assert "shop (tiny)".upper() in capsys.readouterr().out
    written = json.loads(out.read_bytes())
    assert {row["perturbation"] for row in written["results"]} == {"none", "late=60,without=logs"}
    assert len(written["cases"]) == 8
    assert {"value", "low", "high"} == set(written["results"][0]["ac1"])
    for key in ("suite", "system", "localizer", "policy", "onset", "n", "ac1", "ac3", "ac5", "avg5", "mrr", "exact_set",
                "fault_class_f1", "seconds_p50", "seconds_p95", "peak_rss_mb", "failed", "empty", "abstained"):  # fmt: skip
        assert key in written["results"][0]
    assert markdown.read_text(encoding="utf-8").startswith("# Leaderboard")
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert call("report", str(out), "--format", "markdown", "-o", str(tmp_path / "again.md")) == 0
    assert (tmp_path / "again.md").read_text(encoding="utf-8") == markdown.read_text(encoding="utf-8")


def test_the_json_of_a_diagnosis_is_no_leaderboard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    diagnosis = tmp_path / "diagnosis.json"
    diagnosis.write_text(to_json(Diagnosis(localizer="explain", incident=None)), encoding="utf-8")
    assert main(["bench", "report", str(diagnosis)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert f"{diagnosis}: is not a bench result" in captured.err and "`aetia bench run --json`" in captured.err


def test_a_suite_without_any_fault_is_reported(
    tmp_path: Path, case_of: Callable[..., Case], telemetry_of: Callable[..., Telemetry],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    write_case(tmp_path / "calm" / "a", case_of("a", None, label="no_fault"), telemetry_of(None))
    write_case(tmp_path / "calm" / "b", case_of("b", None, label="deploy"), telemetry_of(None))
    out = tmp_path / "r.json"
    assert call("run", str(tmp_path / "calm"), "--localizer", "random,nsigma", "--jobs", "1", "--json", str(out)) == 0
    assert "0 cases with a fault, 2 without" in capsys.readouterr().out
    by_name = {result["localizer"]: result for result in json.loads(out.read_bytes())["results"]}
    for result in by_name.values():
        assert result["n"] == 0 and result["fault_free"]["n"] == 2 and result["paired"] is None
        for metric in ("ac1", "ac3", "ac5", "avg5", "mrr", "exact_set", "fault_class_f1"):
            assert result[metric] == {"value": None, "low": None, "high": None}
    assert by_name["random"]["fault_free"]["false_incident_rate"]["value"] == 1.0
    assert by_name["nsigma"]["fault_free"]["false_incident_rate"]["value"] == 0.0


def test_list_names_the_suites(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list", "--json") == 0
    assert {line["name"] for line in json.loads(capsys.readouterr().out)} >= {"nezha-tt", "nezha-ob", "sim"}


@pytest.mark.parametrize("command", ["run", "report"])
def test_nothing_named_is_bad_usage(command: str) -> None:
    with pytest.raises(UsageError, match="named"):
        call(command)


def test_the_bench_loads_nothing_until_it_is_used() -> None:
    code = (
        "import sys, aetia.bench, aetia.cli.bench; print([m for m in ('numpy', 'pyarrow', 'rich') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "numpy" not in said.stdout and "pyarrow" not in said.stdout
