"""`check` says what is wrong and how to mend it; `export` makes a case of a window."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from store_requests import QUIET, T0, column, files, fill, logs, metrics, spans, stored

from aetia.ingest.case import CaseReader
from aetia.model.window import Window
from aetia.store.backend import ChangeRow
from aetia.store.compaction import HOUR_NS
from aetia.store.store import Store
from plainly import columns

DAY = Window(T0 - HOUR_NS, T0 + 24 * HOUR_NS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A part with requests 0 to 3, a segment with 4 and 5."""
    with Store.open(tmp_path / "data", settings=QUIET) as store:
        fill(store, range(4))
        store.append("logs", logs(1)).result(5)
        store.append("metrics", metrics(1)).result(5)
        store.append_changes([ChangeRow(time_ns=T0, kind="deploy", service="svc-1", description="v2")]).result(5)
        store.compact()
        fill(store, range(4, 6))
        store.append("spans", spans(6, exception=True)).result(5)
    return tmp_path / "data"


def spoil(path: Path, start: int, content: bytes) -> None:
    raw = bytearray(path.read_bytes())
    raw[start : start + len(content)] = content
    path.write_bytes(raw)


def test_a_sound_store_has_no_findings(folder: Path) -> None:
    with Store.open(folder, settings=QUIET) as store:
        fill(store, range(8, 10))
        report = store.check(deep=True)
    assert report.sound and report.findings == ()
    assert (report.parts, report.rows, report.segments, report.requests) == (4, 22, 2, 5)


def test_it_can_be_checked_without_owning_it(folder: Path) -> None:
    with Store.open(folder, read_only=True) as store:
        assert store.check(deep=True).sound


def test_a_changed_page_is_found_when_every_row_is_read(folder: Path) -> None:
    (part,) = files(folder, "spans/*/*/*.parquet")
    spoil(part, 60, b"\xff" * 8)
    with Store.open(folder, settings=QUIET) as store:
        assert store.check().sound
        report = store.check(deep=True)
        (finding,) = report.findings
        assert finding.path == str(part) and "cannot be read" in finding.problem and "backup" in finding.mend
        assert set(stored(store)) == {4, 5, 6}  # the part is left out from now on
        assert [one.level for one in store.check().findings] == ["error"]


def test_a_file_that_is_not_what_its_name_says_is_found(folder: Path) -> None:
    (part,) = files(folder, "spans/*/*/*.parquet")
    table = pq.read_table(part)
    pq.write_table(table.slice(1), part)
    with Store.open(folder, settings=QUIET) as store:
        assert "its name says 16" in store.check().findings[0].problem
    pq.write_table(table.drop(["service"]), part)
    with Store.open(folder, settings=QUIET) as store:
        assert "service" in store.check().findings[0].problem


def test_damage_strangers_and_leftovers_are_found(folder: Path) -> None:
    (segment,) = files(folder, "journal/*.seg")
    spoil(segment, 200, b"\0" * 8)
    (ids,) = files(folder, "journal/*.ids")
    spoil(ids, 20, b"\xff")
    stranger = files(folder, "spans/*/*")[0] / "notes.txt"
    stranger.write_text("mine")
    with Store.open(folder, settings=QUIET) as store:
        report = store.check()
        fill(store, range(20, 21))
    found = {(finding.level, Path(finding.path).name) for finding in report.findings}
    assert found >= {
        ("error", segment.name), ("warning", ids.name), ("warning", "notes.txt"), ("warning", "damaged"),
    }  # fmt: skip
    assert not report.sound and all(finding.mend for finding in report.findings)


# ---- export ----------------------------------------------------------------------------------------------------


def test_an_exported_window_is_a_case_with_all_rows_and_attributes(folder: Path, tmp_path: Path) -> None:
    with Store.open(folder, read_only=True) as store:
        done = store.export(DAY, tmp_path / "case")
        assert done.rows == store.stats().rows and done.problems == ()
    loaded = CaseReader().load(tmp_path / "case", full=True)
    spans_ = columns(loaded.telemetry.spans)
    assert sorted(spans_["attributes"]) == sorted(
        f'{{"request":"{n}"}}' for n in (*range(4), 4, 5, 6) for _ in range(4)
    )
    assert spans_["time"] == sorted(spans_["time"]) and len(set(spans_["span_id"])) == 28
    assert "Boom: in 6" in loaded.telemetry.logs["body"].to_pylist()
    assert loaded.telemetry.metrics["value"].to_pylist() == [1.0, 1.0]
    assert loaded.telemetry.changes["description"].to_pylist() == ["v2"]


def test_an_export_holds_no_row_outside_of_the_window(folder: Path, tmp_path: Path) -> None:
    window = Window(T0 + 2000, T0 + 5000)
    with Store.open(folder, settings=QUIET) as store:
        done = store.export(window, tmp_path / "case")
    assert done.rows == {"spans": 12, "logs": 0, "metrics": 0, "changes": 0}


def test_what_cannot_be_read_is_named_and_the_rest_is_exported(folder: Path, tmp_path: Path) -> None:
    (part,) = files(folder, "spans/*/*/*.parquet")
    spoil(part, 60, b"\xff" * 8)
    with Store.open(folder, settings=QUIET) as store:
        done = store.export(DAY, tmp_path / "case")
        assert done.rows["spans"] == 12 and part.name in done.problems[0]
        with store.reading() as snapshot:
            assert len(column(snapshot, "spans", "span_id")) == 12
