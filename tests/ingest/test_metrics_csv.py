"""Plain metric CSV: long, wide by series, wide by entity."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ingest_samples import METRICS_LONG, METRICS_WIDE

from aetia.ingest.metrics_csv import MetricsCsvReader
from aetia.ingest.series_names import parse_labels, split_series
from aetia.model.errors import CorruptSource
from aetia.model.tables import Telemetry


def load(path: Path, text: str) -> Telemetry:
    path.write_text(text)
    match = MetricsCsvReader().recognise(path)
    assert match is not None
    assert match.confidence >= 0.5
    return MetricsCsvReader().load(path).telemetry


def points(telemetry: Telemetry) -> list[tuple[str | None, str, float]]:
    table = telemetry.metrics
    return list(zip(table["service"].to_pylist(), table["name"].to_pylist(), table["value"].to_pylist(), strict=True))


def test_long_metrics_have_places_and_labels(tmp_path: Path) -> None:
    telemetry = load(tmp_path / "m.csv", METRICS_LONG)
    assert points(telemetry) == [("cart", "cpu", 0.5), ("cart", "cpu", 0.7)]
    assert telemetry.metrics["attributes"].to_pylist() == ['{"zone":"eu"}', '{"zone":"us"}']
    assert telemetry.metrics["instance"].to_pylist() == ["cart-0", "cart-0"]
    assert [one.rows for one in telemetry.dropped] == [1]


def test_labels_in_braces_fill_the_places(tmp_path: Path) -> None:
    text = 'time;metric;value\n1700000000;"requests{service=""cart"",pod=""cart-0"",code=""200""}";3\n'
    telemetry = load(tmp_path / "m.csv", text)
    assert points(telemetry) == [("cart", "requests", 3.0)]
    assert telemetry.metrics["instance"].to_pylist() == ["cart-0"]
    assert telemetry.metrics["attributes"].to_pylist() == ['{"code":"200"}']


def test_a_wide_table_is_split_into_service_and_metric(tmp_path: Path) -> None:
    telemetry = load(tmp_path / "m.csv", METRICS_WIDE)
    assert points(telemetry)[:3] == [("cart", "cpu", 1.0), ("cart", "cpu", 5.0), ("cart", "mem_used", 2.0)]
    assert len(points(telemetry)) == 7
    assert telemetry.dropped == ()


def test_a_wide_table_by_entity_keeps_the_entity_of_each_line(tmp_path: Path) -> None:
    text = "Time,PodName,CpuUsage(m),Latency_p90\n2023-11-14 22:13:20,cart-0,1,2\n2023-11-14 22:14:20,cart-1,3,4\n"
    table = load(tmp_path / "m.csv", text).metrics
    assert table["instance"].to_pylist() == ["cart-0", "cart-1"] * 2
    assert table["name"].to_pylist() == ["CpuUsage(m)"] * 2 + ["Latency_p90"] * 2


def test_the_time_column_that_can_be_read_is_used(tmp_path: Path) -> None:
    table = load(tmp_path / "m.csv", "date,timestamp,name,value\nTuesday,1700000000,cpu,1\n").metrics
    assert table["time"].cast(pa.int64()).to_pylist() == [1_700_000_000 * 10**9]


def test_a_file_per_service_gives_its_name_to_the_service(tmp_path: Path) -> None:
    telemetry = load(tmp_path / "cart_metrics.csv", "time,cpu_usage,mem_usage\n1700000000,1,2\n")
    assert points(telemetry) == [("cart", "cpu_usage", 1.0), ("cart", "mem_usage", 2.0)]


def test_a_value_that_changes_its_type_late_is_still_read(tmp_path: Path) -> None:
    lines = "".join(f"{1_700_000_000 + k},cpu,{k},cart\n" for k in range(400_000))
    path = tmp_path / "m.csv.gz"
    path.write_bytes(
        gzip.compress(("time,name,value,service\n" + lines + "1700900000,cpu,none,cart\nbroken\n").encode(), 1)
    )
    telemetry = MetricsCsvReader().load(path).telemetry
    assert telemetry.metrics.num_rows == 400_000
    assert {(one.rows, one.reason) for one in telemetry.dropped} == {
        (1, "no value"), (1, "lines with the wrong number of fields"),
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "a\n", "a,b\nx,y\n", "time,trace_id,value\n1,a,2\n", "{}\n"])
def test_what_is_no_metric_file_is_not_claimed(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text(text)
    match = MetricsCsvReader().recognise(path)
    assert match is None or match.confidence < 0.5


def test_a_wide_file_without_numbers_says_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("time,a,b\n1700000000,x,y\n")
    with pytest.raises(CorruptSource, match="no column of numbers"):
        MetricsCsvReader().load(path)


# ---- names of series --------------------------------------------------------------------------------------

SERVICES = st.lists(
    st.from_regex(r"[a-z]{2,6}(?:[-_][a-z]{2,6}){0,2}", fullmatch=True), min_size=3, max_size=8, unique=True
)
METRICS = ["cpu_usage", "memory_bytes", "latency_p90", "error_rate", "disk_read_bytes"]


@settings(max_examples=60)
@given(SERVICES, st.sampled_from("_:./|"), st.booleans(), st.integers(0, 1000))
def test_a_full_table_of_services_and_metrics_is_taken_apart(
    services: list[str], separator: str, service_first: bool, seed: int
) -> None:
    # Where one service is another's name plus a metric-like tail, the table itself is ambiguous.
    services = [f"{name}{index}x" for index, name in enumerate(services)]
    pairs = [(service, metric) for service in services for metric in METRICS]
    columns = {separator.join(pair if service_first else pair[::-1]): pair for pair in pairs}
    names = list(columns)
    random.Random(seed).shuffle(names)
    split = split_series(names)
    assert {name: (split[name].service, split[name].metric) for name in names} == columns


@given(st.lists(st.text(max_size=20), max_size=12))
def test_any_column_names_are_taken_apart_without_loss(names: list[str]) -> None:
    split = split_series(names)
    assert set(split) == set(names)
    assert split == split_series(names[::-1])


def test_resources_of_one_system_are_no_services() -> None:
    split = split_series(["cpu_usage", "mem_usage", "disk_usage"])
    assert {one.service for one in split.values()} == {None}


def test_labels_are_read_with_quotes_commas_and_escapes() -> None:
    assert parse_labels('up{a="x,y",b=\'z\', c="say \\"hi\\""}') == ("up", {"a": "x,y", "b": "z", "c": 'say "hi"'})
    assert parse_labels("plain") == ("plain", {})
