"""Aetia's own layout: cases and suites, read back as written, also by other tools' hands."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ingest_samples import SECOND, T0, a_case, case_folder, telemetry

from aetia.ingest import case as case_module
from aetia.ingest.case import CaseReader, export_case, folder_name, new_folder, trace_hash, write_case
from aetia.ingest.reader import Loaded
from aetia.model.case import Case, Truth
from aetia.model.errors import CorruptSource, IngestError
from aetia.model.tables import ANALYSIS_COLUMNS, Telemetry
from aetia.model.window import Window


def test_a_written_case_is_read_back_as_it_was(tmp_path: Path) -> None:
    folder = case_folder(tmp_path / "c1")
    loaded = CaseReader().load(folder, full=True)
    assert loaded.case == a_case()
    original = telemetry()
    for name, rows in original.rows.items():
        assert rows > 0
        assert loaded.telemetry.table(name).equals(original.table(name))
    assert CaseReader().load(folder).telemetry.spans.column_names == list(ANALYSIS_COLUMNS["spans"])


def test_a_case_that_another_tool_wrote_is_normalised(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    spans = pa.table(
        {
            "time": pa.array([T0 // 1000, T0 // 1000 + 1], pa.int64()),
            "service": ["a", " b"],
            "duration_ns": pa.array([5, 7], pa.int32()),
            "kind": ["SPAN_KIND_SERVER", "2"],
            "attributes": pa.array([[("k", "v")], []], pa.map_(pa.string(), pa.string())),
            "surplus": [1, 2],
        }
    )
    pq.write_table(spans, folder / "spans.parquet")
    text = {
        "id": "x", "incident": None, "truth": [{"service": "a", "fault": 7, "edge": {"caller": "a", "callee": "b"}}],
        "baseline": [T0, T0 + SECOND], "baselines": {"metrics": [[T0, T0 + 5]], "logs": [T0, T0 + 6]}, "odd": {"x": [1]},
    }  # fmt: skip
    (folder / "case.json").write_text(json.dumps(text))
    loaded = CaseReader().load(folder, full=True)
    assert loaded.case.incident is None
    assert loaded.case.truth == (Truth(service="a", edge=("a", "b")),)
    assert loaded.case.baseline_windows("metrics") == (Window(T0, T0 + 5),)
    assert loaded.case.baseline_windows("logs") == (Window(T0, T0 + 6),)
    assert loaded.case.baseline_windows("spans") == (Window(T0, T0 + SECOND),)
    table = loaded.telemetry.spans
    assert table["time"].cast(pa.int64()).to_pylist() == [T0, T0 + 1000]
    assert table["service"].to_pylist() == ["a", "b"]
    assert table["kind"].to_pylist() == ["server", "server"]
    assert table["attributes"].to_pylist() == ['{"k":"v"}', "{}"]


def test_small_integers_in_a_case_are_nanoseconds(tmp_path: Path) -> None:
    pq.write_table(pa.table({"time": [0, 1000], "name": ["m", "m"], "value": [1, 2]}), tmp_path / "metrics.parquet")
    table = CaseReader().load(tmp_path).telemetry.metrics
    assert table["time"].cast(pa.int64()).to_pylist() == [0, 1000]


def test_truth_is_null_empty_or_known(tmp_path: Path) -> None:
    for truth in (None, (), (Truth(service="a"),)):
        folder = write_case(tmp_path / "c", Case(id="c", truth=truth), Telemetry(), overwrite=True)
        assert CaseReader().load(folder).case.truth == truth


def test_a_suite_lists_its_cases_by_id_and_gives_one_by_name(tmp_path: Path) -> None:
    for case_id in ("b", "a"):
        export_case(Loaded(case=a_case(case_id), telemetry=telemetry(3)), tmp_path)
    reader = CaseReader()
    assert [case.id for case in reader.cases(tmp_path)] == ["a", "b"]
    assert reader.load(tmp_path, "b").case.id == "b"
    with pytest.raises(IngestError, match=r"choose one as .*:CASE \(a, b\)"):
        reader.load(tmp_path)
    with pytest.raises(IngestError, match="no case 'z'; it has a, b"):
        reader.load(tmp_path, "z")


def test_a_larger_window_than_memory_keeps_whole_traces(tmp_path: Path) -> None:
    folder = write_case(tmp_path / "big", a_case(), telemetry(2000))
    loaded = CaseReader(span_budget=1000).load(folder)
    counts = loaded.telemetry.spans["trace_id"].combine_chunks().value_counts()
    assert set(counts.field("counts").to_pylist()) == {2}
    assert loaded.telemetry.sampled == 0.25
    assert 700 < loaded.telemetry.spans.num_rows < 1300
    again = CaseReader(span_budget=1000).load(folder).telemetry.spans
    assert again.equals(loaded.telemetry.spans)


@settings(max_examples=20)
@given(st.lists(st.text(max_size=12), min_size=1, max_size=40))
def test_equal_trace_ids_have_equal_hashes_in_every_batch(ids: list[str]) -> None:
    column = pa.chunked_array([pa.array(ids), pa.array(ids[::-1])])
    hashes = trace_hash(column)
    assert len(hashes) == 2 * len(ids)
    assert np.array_equal(hashes[: len(ids)], hashes[len(ids) :][::-1])
    assert np.array_equal(trace_hash(column.dictionary_encode()), hashes)


def test_trace_hashes_are_uniform_even_for_counted_ids() -> None:
    share = trace_hash(pa.chunked_array([pa.array([f"t{k:06d}" for k in range(20_000)])])) / 2.0**64
    counts, _ = np.histogram(share, bins=20, range=(0, 1))
    assert counts.min() > 850
    assert counts.max() < 1150


def test_damage_inside_a_page_is_noticed(tmp_path: Path) -> None:
    folder = case_folder(tmp_path / "c1")
    path = folder / "spans.parquet"
    raw = bytearray(path.read_bytes())
    raw[200] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(CorruptSource, match=r"spans\.parquet is truncated or damaged|spans\.parquet could not be read"):
        CaseReader().load(path)
    telemetry = CaseReader().load(folder).telemetry
    assert telemetry.rows["spans"] == 0 and telemetry.rows["logs"] > 0
    assert [(one.table, one.source) for one in telemetry.dropped] == [("files", str(path))]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not the JSON"), ("[]", "no JSON object"), ('{"truth": 3}', "'truth' must be a list"),
        ('{"baseline": [2]}', "'baseline' must be"), ('{"incident": [5, 1]}', "ends before it starts"),
        ('{"incident": ["x", 1]}', "no time"), ('{"baselines": []}', None), ('{"baselines": [1]}', "must map"),
        ('{"truth": ["a"]}', "must be an object"), ("", "empty"),
    ],
)  # fmt: skip
def test_a_wrong_case_file_is_named_with_the_key(tmp_path: Path, text: str, message: str | None) -> None:
    (tmp_path / "case.json").write_text(text)
    if message is None:
        assert CaseReader().cases(tmp_path)[0].baselines == {}
        return
    with pytest.raises(CorruptSource, match=message) as caught:
        CaseReader().cases(tmp_path)
    assert "case.json" in str(caught.value)


def test_windows_in_seconds_or_iso_text_are_understood(tmp_path: Path) -> None:
    text = {"baseline": ["2023-11-14T22:13:20Z", "2023-11-14 22:13:21"], "incident": [1_700_000_001, 1_700_000_002.5]}
    (tmp_path / "case.json").write_text(json.dumps(text))
    (case,) = CaseReader().cases(tmp_path)
    assert case.baseline == Window(T0, T0 + SECOND)
    assert case.incident == Window(T0 + SECOND, T0 + 2 * SECOND + SECOND // 2)


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(IngestError, match="no space left"):
        write_case(tmp_path / "c1", a_case(), telemetry(2))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_not_overwritten_unless_asked(tmp_path: Path) -> None:
    folder = case_folder(tmp_path / "c1")
    with pytest.raises(IngestError, match="exists already"):
        write_case(folder, a_case("c2"), telemetry(1))
    assert CaseReader().cases(folder)[0].id == "c1"
    write_case(folder, a_case("c2"), telemetry(1), overwrite=True)
    assert CaseReader().cases(folder)[0].id == "c2"
    assert [entry.name for entry in tmp_path.iterdir()] == ["c1"]


def test_an_interrupted_replacement_keeps_the_old_folder(tmp_path: Path) -> None:
    folder = case_folder(tmp_path / "c1")
    with pytest.raises(KeyboardInterrupt), new_folder(folder, overwrite=True):
        raise KeyboardInterrupt
    assert CaseReader().cases(folder)[0].id == "c1"
    assert [entry.name for entry in tmp_path.iterdir()] == ["c1"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.text(max_size=300))
def test_every_case_id_makes_a_usable_folder_name(tmp_path: Path, case_id: str) -> None:
    case_id = case_id.encode("utf-8", "ignore").decode()
    folder = tmp_path / folder_name(case_id)
    assert folder.parent == tmp_path
    folder.mkdir(exist_ok=True)
    assert folder.is_dir()


def test_free_memory_is_a_positive_number_of_bytes() -> None:
    assert 1 << 20 < case_module.free_memory_bytes() < 1 << 50


def test_two_cases_of_one_name_are_told_apart_by_their_folder(tmp_path: Path) -> None:
    first, second = case_folder(tmp_path / "a"), case_folder(tmp_path / "b")
    for wanted in (None, a_case().id):
        with pytest.raises(IngestError, match=f"{first} and {second} are both called"):
            CaseReader().load(tmp_path, wanted)
    assert CaseReader().load(second).case.id == a_case().id


def test_the_group_of_a_case_is_kept_and_one_without_writes_none(tmp_path: Path) -> None:
    for name, group in (("a", "late"), ("b", None)):
        case = Case(
            id=name, baseline=Window(T0, T0 + SECOND), incident=Window(T0 + SECOND, T0 + 2 * SECOND), group=group
        )
        folder = write_case(tmp_path / name, case, telemetry())
        assert CaseReader().load(folder).case.group == group
        assert ("group" in json.loads((folder / "case.json").read_bytes())) == (group is not None)
