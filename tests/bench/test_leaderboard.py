"""The leaderboard: what a reader has to see is there, in every format."""

from __future__ import annotations

import os
from html.parser import HTMLParser
from pathlib import Path

import pytest

from aetia.bench.intervals import Estimate
from aetia.bench.leaderboard import interval, report, value
from aetia.bench.result import BenchResult, Row, read_result, write_result
from aetia.bench.scoring import Failure
from aetia.bench.summary import summarise
from aetia.model.errors import BenchError, UsageError


def row(case: str, localizer: str, rank: int | None, system: str = "shop", **more: object) -> Row:
    values: dict[str, object] = {
        "kind": "fault", "outcome": "answered", "cluster": f"{system}|{case}", "suite": "s", "system": system, "case": case,
        "localizer": localizer, "ranks": (rank,), "correct": rank == 1, "fault": "cpu", "fault_class": "B", "seconds": 0.5,
        "confidence": 0.8, "truth": ("a",),
    }  # fmt: skip
    return Row(**{**values, **more})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def result() -> BenchResult:
    failure = Failure(kind="exception", type="ValueError", message="<script>bad | worse</script>")
    rows: list[Row] = []
    for system in ("shop", "bank"):
        for k in range(6):
            rows.append(row(f"c{k}", "ours", 1 if k else 3, system))
            rows.append(row(f"c{k}", "rival", 1 if k < 2 else None, system))
            rows.append(
                row(f"c{k}", "ours", 1 if k > 1 else 2, system, onset="detected", opened=True, onset_error_s=4.0)
            )
            rows.append(row(f"c{k}", "ours", 2, system, perturbation="late=60"))
        rows.append(row("calm", "ours", None, system, kind="no_fault", ranks=(), correct=False, opened=True))
        rows.append(row("calm", "rival", None, system, kind="no_fault", ranks=(), outcome="failed", failure=failure))
    return summarise(rows, settings={"seed": 0}, draws=200)


def test_systems_come_first_and_the_pool_last(result: BenchResult) -> None:
    text = report(result)
    assert (
        text.index("## bank (s)")
        < text.index("## shop (s)")
        < text.index("## All systems pooled")
        < text.index("## Failures")
    )
    assert [item.system for item in result.pooled] == ["all"] * 4


def test_given_and_detected_stand_side_by_side(result: BenchResult) -> None:
    text = report(result)
    header = next(line for line in text.splitlines() if "AC@1 (given)" in line)
    assert "AC@1 (detected)" in header
    line = next(line for line in text.splitlines() if line.startswith("| ours | .83"))
    assert ".67 [" in line


def test_intervals_pairs_false_incidents_and_losses_are_shown(result: BenchResult) -> None:
    text = report(result)
    assert "Paired with the best rival" in text
    assert "| ours | given | rival | 6 |" in text
    assert "Where silence is right" in text
    assert "| late=60 | ours | given | 6 | .00 [" in text
    assert "-.83" in text
    assert "B: resource pressure" in text


def test_failures_are_listed_and_cannot_break_the_page(result: BenchResult) -> None:
    markdown, page = report(result), report(result, format="html")
    assert "ValueError: <script>bad \\| worse</script>" in markdown
    assert "<script" not in page
    assert "&lt;script&gt;bad | worse" in page


def test_the_page_stands_alone_and_is_well_formed(result: BenchResult) -> None:
    class Tags(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []
            self.outside: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.outside += [v or "" for k, v in attrs if k in ("src", "href")]
            if tag not in ("meta", "line", "circle"):
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            if tag not in ("line", "circle"):
                assert self.open.pop() == tag

    tags = Tags()
    page = report(result, format="html")
    tags.feed(page)
    assert tags.open == [] and tags.outside == []
    assert page.count("<svg") == 3


def test_the_console_table_keeps_to_its_width(result: BenchResult) -> None:
    text = report(result, format="text", width=120)
    assert "ours" in text
    assert max(len(line) for line in text.splitlines()) <= 120


def test_written_results_read_back_and_join(result: BenchResult, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_result(result, path)
    assert read_result(path) == result
    more = summarise([row(f"c{k}", "third", None) for k in range(6)], draws=50)
    joined = report(path, more)
    assert "| third | .00" in joined and "| ours | .83" in joined
    assert list(tmp_path.iterdir()) == [path]


def test_written_results_are_open_to_whom_the_umask_lets_in(result: BenchResult, tmp_path: Path) -> None:
    for mask in (0o022, 0o007):
        before = os.umask(mask)
        try:
            write_result(result, tmp_path / "run.json")
        finally:
            os.umask(before)
        assert (tmp_path / "run.json").stat().st_mode & 0o777 == 0o666 & ~mask


def test_results_go_into_a_new_folder_and_a_place_that_cannot_hold_them_is_named(
    result: BenchResult, tmp_path: Path
) -> None:
    write_result(result, tmp_path / "deep" / "er" / "run.json")
    assert read_result(tmp_path / "deep" / "er" / "run.json") == result
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "run.json", tmp_path / "deep"):
        with pytest.raises(BenchError, match=f"{place.name}.* cannot be written"):
            write_result(result, place)


def test_what_is_not_a_result_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text('{"results": 3}', encoding="utf-8")
    with pytest.raises(BenchError, match=r"other\.json: is not a bench result"):
        report(path)
    for content in (
        "{}",
        '{"results": [], "cases": []}',
        '{"schema": "aetia.diagnosis/1", "results": [], "cases": []}',
    ):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(BenchError, match=r"other\.json: is not a bench result .*; give a file written by"):
            report(path)
    with pytest.raises(BenchError, match=r"gone\.json"):
        report(tmp_path / "gone.json")
    with pytest.raises(UsageError, match="report format"):
        report(summarise([]), format="pdf")  # type: ignore[arg-type]


def test_numbers_are_written_as_shares() -> None:
    assert [value(v) for v in (0.5, 1.0, -0.25, None, 0.0)] == [".50", "1.00", "-.25", "–", ".00"]
    assert interval(Estimate(0.5, 0.25, 0.75)) == ".50 [.25, .75]"
    assert interval(Estimate()) == "–"


def test_the_order_of_rows_changes_nothing(result: BenchResult) -> None:
    again = summarise(list(reversed(result.cases)), settings={"seed": 0}, draws=200)
    assert again == result


def test_a_case_that_cannot_be_perturbed_counts_for_nobody() -> None:
    rows = [row("c0", "ours", 1), row("c1", "ours", None, outcome="unapplied")]
    only = summarise(rows, draws=50).results[0]
    assert (only.n, only.unapplied, only.ac1.value) == (1, 1, 1.0)
