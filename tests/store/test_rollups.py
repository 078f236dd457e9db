"""Rollups live and die with their parts, are made where they are missing, and say what the rows say."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from store_requests import QUIET, T0, WORKER, files, fill, spans, stored

from aetia.model.window import Window
from aetia.store import commits
from aetia.store.commits import Commit
from aetia.store.compaction import HOUR_NS, compact
from aetia.store.duck import DuckBackend
from aetia.store.jobs import CompactJob
from aetia.store.layout import Layout
from aetia.store.rolling import Roller, rolled_part
from aetia.store.rollups import RELATIONS, SUFFIX, rollup_of
from aetia.store.settings import Settings
from aetia.store.store import Store
from plainly import rows

ALL = Window(T0 - HOUR_NS, T0 + 24 * HOUR_NS)


def rollups(folder: Path) -> list[Path]:
    return files(folder, f"spans/*/*/*{SUFFIX}")


def parts(folder: Path) -> list[Path]:
    return files(folder, "spans/*/*/*.parquet")


def services(store: Store) -> dict[str, int]:
    with closing(DuckBackend(store, store.path)) as backend:
        return {row.service: row.requests for row in backend.services(ALL)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two parts of spans, in two hours."""
    with Store.open(tmp_path / "data", settings=QUIET) as store:
        fill(store, range(6))
        store.append("spans", spans(7, at_ns=T0 + HOUR_NS)).result(5)
        store.compact()
    return tmp_path / "data"


@pytest.mark.parametrize("settings", [QUIET, WORKER], ids=["thread", "process"])
def test_compaction_makes_them_and_merging_makes_one_of_several(tmp_path: Path, settings: Settings) -> None:
    with Store.open(tmp_path, settings=settings) as store:
        for number in range(3):
            fill(store, range(number * 4, number * 4 + 4))
            store.compact()
            assert [rollup_of(part) for part in parts(tmp_path)] == rollups(tmp_path) and len(rollups(tmp_path)) == 1
        work = store.stats().background["roll_up"]
        assert work.rows > 48 and work.cpu_s > 0
        with store.reading() as snapshot:
            assert [part.rollup for part in snapshot.parts["spans"]] == rollups(tmp_path)
        assert services(store) == {"svc-0": 16, "svc-1": 16, "svc-2": 16}


def test_a_folder_without_them_gets_them(folder: Path) -> None:
    for path in rollups(folder):
        path.unlink()
    with Store.open(folder, settings=QUIET) as store:
        before = services(store)
        store.compact()
        assert len(rollups(folder)) == 2
        with store.reading() as snapshot:
            assert all(part.rollup for part in snapshot.parts["spans"])
        assert services(store) == before
        assert store.check(deep=True).findings == ()


def test_one_that_was_left_out_is_made_anew(folder: Path) -> None:
    first, _ = rollups(folder)
    first.write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    with Store.open(folder, settings=QUIET) as store:
        assert services(store) == {"svc-0": 8, "svc-1": 12, "svc-2": 8}
        store.compact()
        assert store.check(deep=True).findings == () and services(store)["svc-1"] == 12
        assert store.stats().problems == ()


def test_strays_and_other_versions_go_at_the_start(folder: Path) -> None:
    first, second = rollups(folder)
    stray = first.with_name(f"00000099_1_2_3_4{SUFFIX}")
    shutil.copyfile(first, stray)
    second.rename(second.with_suffix(".rollup0"))
    (folder / "cache.duckdb").write_bytes(b"of an earlier version")
    with Store.open(folder, read_only=True) as store:
        assert {Path(finding.path) for finding in store.check().findings} == {stray, second.with_suffix(".rollup0")}
        assert store.check().sound
    with Store.open(folder, settings=QUIET):
        assert rollups(folder) == [first] and not files(folder, "spans/*/*/*.rollup0")
        assert not (folder / "cache.duckdb").exists()


def test_retention_takes_them_with_their_parts(folder: Path) -> None:
    with Store.open(folder, settings=QUIET) as store:
        held = store.stats().signals["spans"].bytes
        assert held == sum(path.stat().st_size for path in [*parts(folder), *rollups(folder)])
        assert len(store.retain(T0 + 10 * 365 * 24 * HOUR_NS)) == 2
        assert parts(folder) == [] and rollups(folder) == []


def test_a_changed_one_is_found_and_costs_no_row(folder: Path) -> None:
    first, second = rollups(folder)
    shutil.copyfile(first, second)
    first.write_bytes(first.read_bytes()[:-9] + bytes(5) + b"PAR1")
    with Store.open(folder, settings=QUIET) as store:
        report = store.check(deep=True)
        assert report.sound and report.rows == 28
        problems = {Path(finding.path): finding.problem for finding in report.findings}
        assert "counts 24 spans, its part has 4" in problems[second] and "cannot be read" in problems[first]
        assert services(store)["svc-1"] == 12


@pytest.mark.parametrize("placed", [False, True])
def test_a_death_between_marker_and_place_loses_none(tmp_path: Path, *, placed: bool) -> None:
    with Store.open(tmp_path, settings=QUIET) as store:
        fill(store, range(6))
    (segment,) = files(tmp_path, "journal/*.seg")
    name, size = str(segment.relative_to(tmp_path)), segment.stat().st_size
    (tmp_path / "tmp" / "x").mkdir()
    done = compact(CompactJob(number=9, folder=str(tmp_path), scratch="tmp/x", segment=name, length=size))
    assert done.unrolled == "" and rollup_of(tmp_path / done.outputs[0].scratch).exists()
    commits.begin(Layout(tmp_path), Commit(number=9, outputs=done.outputs, removed=(name,)))
    if placed:  # only the rollup is in its place
        (output,) = done.outputs
        final = rollup_of(tmp_path / output.final)
        final.parent.mkdir(parents=True)
        rollup_of(tmp_path / output.scratch).rename(final)
    with Store.open(tmp_path, read_only=True) as store:
        assert sum(stored(store).values()) == 24 and sum(services(store).values()) == 24
    with Store.open(tmp_path, settings=QUIET) as store:
        assert len(rollups(tmp_path)) == 1 and sum(services(store).values()) == 24


def test_one_of_rollups_says_what_one_of_rows_says(tmp_path: Path) -> None:
    """Traces of all parts: whatever lies in several of them, the merged part has it all."""
    with Store.open(tmp_path, settings=msgspec.structs.replace(QUIET, part_rows=1)) as store:
        for number in range(5):
            for request in range(6):
                store.append("spans", spans(request, 2, at_ns=T0 + number * 10**10)).result(5)
            store.compact()
    several = parts(tmp_path)
    assert len(several) == 5
    merged = sorted(several)[:4]
    whole = tmp_path / "spans" / "00000077_1_2_3_4.parquet"
    pq.write_table(pa.concat_tables([pq.read_table(path) for path in merged]).sort_by("time"), whole)
    last = rolled_part(max(several))
    with closing(Roller(tmp_path, tmp_path / "spill")) as roller:
        roller.of_rows(whole, tmp_path / "rows.rollup1", whole.stem, [last])
        roller.of_rollups([rolled_part(path) for path in merged], tmp_path / "merged.rollup1", whole.stem, [last])
    of_rows, of_rollups = (pq.read_table(tmp_path / f"{name}.rollup1") for name in ("rows", "merged"))
    for relation, columns in RELATIONS.items():
        assert plain(of_rows, relation, columns) == plain(of_rollups, relation, columns), relation
    assert plain(of_rows, "border", RELATIONS["border"])


def plain(table: pa.Table, relation: str, columns: tuple[str, ...]) -> list[str]:
    found = [row for row in rows(table.select(["relation", "part", *columns])) if row["relation"] == relation]
    for row in found:
        row.update({"services": sorted(row["services"])} if row.get("services") else {})
    return sorted(str(sorted(row.items(), key=str)) for row in found)
