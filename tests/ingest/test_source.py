"""Recognising, addressing, merging and importing sources."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ingest_samples import a_case, case_folder, jaeger, json_lines, otlp_traces, telemetry, write_all

from aetia import plugins
from aetia.ingest.case import CaseReader, export_case, write_case
from aetia.ingest.reader import Loaded, Match
from aetia.ingest.source import import_cases, list_cases, locate, open_sources, recognise
from aetia.model.case import Case
from aetia.model.errors import AmbiguousSource, CorruptSource, IngestError, UnknownPlugin, UnrecognisedSource

EXPECTED_READER = {
    "otlp_json": "otlp", "otlp_proto": "otlp", "jaeger": "jaeger", "clickhouse": "otel_clickhouse",
    "clickhouse_parquet": "otel_clickhouse", "metrics_long": "metrics_csv", "metrics_wide": "metrics_csv",
}  # fmt: skip


def suite(folder: Path) -> Path:
    for case_id in ("a", "b"):
        export_case(Loaded(case=a_case(case_id), telemetry=telemetry(3)), folder)
    return folder


@pytest.mark.parametrize("name", EXPECTED_READER)
def test_every_layout_is_recognised_by_what_is_in_it(tmp_path: Path, name: str) -> None:
    path = write_all(tmp_path)[name]
    assert recognise(path).name == EXPECTED_READER[name]
    renamed = path.rename(tmp_path / ("x.parquet" if name == "clickhouse_parquet" else "x"))
    assert recognise(renamed).name == EXPECTED_READER[name]
    assert sum(open_sources([str(renamed)]).telemetry.rows.values()) > 0


def test_a_folder_that_mixes_layouts_is_read_file_by_file(tmp_path: Path) -> None:
    files = write_all(tmp_path)
    (tmp_path / "README.md").write_text("notes")
    (tmp_path / "notes.txt").write_text("nothing of use")
    loaded = open_sources([str(tmp_path)])
    parts = [open_sources([str(path)]).telemetry.rows for path in files.values()]
    assert loaded.telemetry.rows == {name: sum(part[name] for part in parts) for name in loaded.telemetry.rows}
    left_out = [one for one in loaded.telemetry.dropped if one.table == "files"]
    assert [Path(one.source).name for one in left_out] == ["notes.txt"]


def test_several_sources_become_one_telemetry_with_the_labels_of_the_labelled_one(tmp_path: Path) -> None:
    files = write_all(tmp_path / "files")
    case = case_folder(tmp_path / "case")
    loaded = open_sources([str(files["metrics_long"]), str(case), str(files["jaeger"])])
    assert loaded.case.incident == a_case().incident
    assert loaded.telemetry.rows["spans"] == 40 + 2
    assert loaded.telemetry.rows["metrics"] == 40 + 2


def test_cases_with_different_windows_are_not_merged(tmp_path: Path) -> None:
    one = case_folder(tmp_path / "one")
    other = write_case(tmp_path / "other", Case(id="o", incident=a_case().baseline), telemetry(2))
    with pytest.raises(IngestError, match="different windows"):
        open_sources([str(one), str(other)])


def test_a_case_of_a_suite_is_addressed_by_path_and_id(tmp_path: Path) -> None:
    folder = suite(tmp_path / "suite")
    assert open_sources([f"{folder}:b"]).case.id == "b"
    name, path, cases = list_cases(str(folder))
    assert (name, path, [case.id for case in cases]) == ("case", folder, ["a", "b"])
    assert [case.id for case in list_cases(f"{folder}:a")[2]] == ["a"]


def test_a_path_with_a_colon_wins_over_a_case_id(tmp_path: Path) -> None:
    suite(tmp_path / "suite")
    plain = case_folder(tmp_path / "suite:b")
    assert locate(str(plain)) == (plain, None)
    assert open_sources([str(plain)]).case.id == "c1"


def test_a_missing_path_says_how_far_it_holds(tmp_path: Path) -> None:
    with pytest.raises(IngestError, match=f"does not exist; the path holds as far as {tmp_path}"):
        open_sources([str(tmp_path / "no" / "such")])
    with pytest.raises(IngestError, match=r"^no-such does not exist in /"):
        open_sources(["no-such"])
    with pytest.raises(IngestError, match="no source was given"):
        open_sources([])
    with pytest.raises(IngestError, match="does not exist"):
        open_sources(["a\0b"])


def test_an_unknown_folder_lists_what_it_holds_and_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UnrecognisedSource, match=r"it holds notes\.txt") as caught:
        open_sources([str(tmp_path)])
    assert "otlp" in str(caught.value)
    near = tmp_path / "near"
    near.mkdir()
    (near / "t.csv").write_text("Timestamp,TraceId,SpanId,SpanName\n1,a,b,c\n")
    with pytest.raises(UnrecognisedSource, match="otel_clickhouse still needs column duration"):
        open_sources([str(near / "t.csv")])
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UnrecognisedSource, match="it holds nothing"):
        open_sources([str(empty)])


class _Rival:
    def recognise(self, path: Path) -> Match | None:
        return Match(confidence=0.9, found=("a rival's file",), missing=("its index",))


def test_two_layouts_that_fit_alike_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_all(tmp_path)["jaeger"]
    known = list(plugins.all_plugins("reader"))
    rival = plugins.Plugin(kind="reader", name="rival", module="rival", factory=_Rival)
    monkeypatch.setattr(plugins, "all_plugins", lambda kind=None: iter([*known, rival]))
    with pytest.raises(AmbiguousSource) as caught:
        open_sources([str(path)])
    for words in ("jaeger (found Jaeger traces", "rival (found a rival's file; missing its index)"):
        assert words in str(caught.value)


@pytest.mark.parametrize("name", [*EXPECTED_READER, "case"])
def test_truncated_and_empty_files_are_one_clear_sentence(tmp_path: Path, name: str) -> None:
    files = {**write_all(tmp_path), "case": case_folder(tmp_path / "case") / "spans.parquet"}
    path = files[name]
    path.write_bytes(b"")
    with pytest.raises(CorruptSource, match=f"{path.name} is empty"):
        open_sources([str(path)])


def test_a_broken_gzip_or_parquet_names_the_file_and_the_mend(tmp_path: Path) -> None:
    zipped = tmp_path / "otlp.json.gz"
    zipped.write_bytes(gzip.compress(json_lines(otlp_traces()))[:-20])
    with pytest.raises(CorruptSource, match=r"otlp\.json\.gz is truncated or damaged.*again"):
        open_sources([str(zipped)])
    parquet = case_folder(tmp_path / "case") / "logs.parquet"
    parquet.write_bytes(parquet.read_bytes()[:-30])
    with pytest.raises(CorruptSource, match=r"logs\.parquet"):
        open_sources([str(parquet)])
    rest = open_sources([str(parquet.parent)]).telemetry
    assert rest.rows["spans"] > 0 and ["logs.parquet" in one.reason for one in rest.dropped] == [True]


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """Permissions do not bind root, so such a test runs as nobody."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


def test_a_folder_without_permission_says_so(tmp_path: Path, unprivileged: None) -> None:
    del unprivileged
    closed = Path("/proc/1/fd") if os.geteuid() == 65534 else tmp_path / "closed"
    if os.geteuid() != 65534:
        closed.mkdir(mode=0)
    with pytest.raises(IngestError, match="permission denied"):
        open_sources([str(closed)])


# ---- import -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXPECTED_READER)
def test_any_source_becomes_a_suite_with_the_same_rows(tmp_path: Path, name: str) -> None:
    path = write_all(tmp_path / "in")[name]
    steps: list[tuple[str, int, int]] = []
    (folder,) = import_cases(None, str(path), tmp_path / "out", lambda *step: steps.append(step))
    assert folder.parent == tmp_path / "out"
    assert (folder / "case.json").is_file()
    original = open_sources([str(path)], full=True).telemetry
    assert open_sources([str(tmp_path / "out")], full=True).telemetry.rows == original.rows
    assert steps[-1] == ("done", 1, 1)


def test_a_reader_can_be_named_for_an_import(tmp_path: Path) -> None:
    folder = suite(tmp_path / "suite")
    assert [path.name for path in import_cases("case", folder, tmp_path / "out")] == ["a", "b"]
    assert [case.id for case in CaseReader().cases(tmp_path / "out")] == ["a", "b"]
    (only,) = import_cases("case", f"{folder}:b", tmp_path / "one")
    assert only.name == "b"
    with pytest.raises(UnknownPlugin, match="no reader called 'nothing'"):
        import_cases("nothing", folder, tmp_path / "x")


def test_cases_whose_ids_differ_only_in_odd_signs_are_both_imported(tmp_path: Path) -> None:
    for index, case_id in enumerate(("a/b", "a:b")):
        write_case(tmp_path / "suite" / str(index), a_case(case_id), telemetry(2))
    folders = import_cases(None, tmp_path / "suite", tmp_path / "out")
    assert [folder.name for folder in folders] == ["a_b", "a_b-2"]
    for case_id in ("a/b", "a:b"):
        assert open_sources([f"{tmp_path / 'out'}:{case_id}"]).case.id == case_id


def test_a_failed_import_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = suite(tmp_path / "suite")
    with pytest.raises(IngestError, match="exists already"):
        import_cases(None, folder, folder)
    write = pq.write_table
    calls: list[object] = []

    def fills_up(*args: object, **kwargs: object) -> None:
        calls.append(args)
        if len(calls) > 6:
            raise OSError(28, os.strerror(28))
        write(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(pq, "write_table", fills_up)
    with pytest.raises(IngestError, match="no space left"):
        import_cases(None, folder, tmp_path / "out")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["suite"]


def test_a_jaeger_export_of_two_files_is_one_telemetry(tmp_path: Path) -> None:
    for name in ("one.json", "two.json"):
        (tmp_path / name).write_text(json.dumps(jaeger()))
    assert recognise(tmp_path).name == "jaeger"
    assert open_sources([str(tmp_path)]).telemetry.rows["spans"] == 4
