"""Times, durations, names and closed vocabularies, however loosely a source writes them."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aetia.ingest import normalise as n

UNITS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
REAL_TIMES = st.integers(1_000_000_000 * 10**9, 4_000_000_000 * 10**9)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def ns_of(column: Any) -> list[int | None]:
    return column.cast(pa.int64()).to_pylist()


@given(st.lists(REAL_TIMES, min_size=1, max_size=20), st.sampled_from(list(UNITS)))
def test_epoch_integers_of_any_unit_are_recognised_by_their_magnitude(times: list[int], unit: str) -> None:
    numbers = [time // UNITS[unit] for time in times]
    expected = [number * UNITS[unit] for number in numbers]
    assert n.guess_time_unit(numbers) == unit
    assert ns_of(n.parse_times(numbers)) == expected
    assert ns_of(n.parse_times([str(number) for number in numbers])) == expected


@given(REAL_TIMES)
def test_float_seconds_keep_what_a_float_can_hold(time: int) -> None:
    seconds = time / 1e9
    (parsed,) = ns_of(n.parse_times([seconds]))
    assert parsed is not None
    assert abs(parsed - time) <= 256  # one unit in the last place of a float64 near 4e9 s is 477 ns


@given(
    st.datetimes(dt.datetime(1971, 1, 1), dt.datetime(2199, 12, 31)),
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from([" ", "T"]),
    st.sampled_from(["Z", "+HH:MM", "+HHMM", "", " UTC"]),
)
def test_iso_text_means_the_same_instant_in_every_spelling(
    moment: dt.datetime, offset: int, separator: str, zone: str
) -> None:
    aware = moment.replace(tzinfo=dt.UTC)
    written = moment + dt.timedelta(minutes=offset) if zone.startswith("+") else moment
    text = written.strftime(f"%Y-%m-%d{separator}%H:%M:%S.%f")
    sign, minutes = "-" if offset < 0 else "+", abs(offset)
    text += zone.replace("+", sign).replace("HH", f"{minutes // 60:02d}").replace("MM", f"{minutes % 60:02d}")
    expected = (aware - EPOCH) // dt.timedelta(microseconds=1) * 1000
    assert ns_of(n.parse_times([text])) == [expected]


@given(st.text(max_size=30))
def test_any_text_is_a_time_or_null_and_never_an_error(text: str) -> None:
    parsed = n.parse_times([text, "2023-11-14T22:13:20Z"], "s")
    assert len(parsed) == 2
    assert ns_of(parsed)[1] == 1_700_000_000 * 10**9


def test_one_bad_date_spoils_no_other() -> None:
    texts = ["2023-02-29 00:00:00", "2024-02-29 00:00:00", "2023-13-01", "2023/11/14 22:13:20,5", "", None, "soon"]
    expected = [None, 1_709_164_800 * 10**9, None, 1_700_000_000_500_000_000, None, None, None]
    assert ns_of(n.parse_times(texts)) == expected


def test_dates_naive_and_zoned_timestamps_are_utc_instants() -> None:
    naive = pa.array([dt.datetime(2023, 11, 14, 22, 13, 20)], pa.timestamp("us"))
    zoned = pa.array([1_700_000_000], pa.timestamp("s", "Asia/Shanghai"))
    assert ns_of(n.parse_times(naive)) == ns_of(n.parse_times(zoned)) == [1_700_000_000 * 10**9]
    assert ns_of(n.parse_times(pa.array([dt.date(1970, 1, 2)]))) == [86_400 * 10**9]


@pytest.mark.parametrize(
    "values",
    [np.array([np.nan, np.inf, 1e300]), [2**63 - 1], pa.array([2**64 - 1], pa.uint64()), [True], [[1]], [{"a": 1}]],
)
def test_values_that_are_no_times_become_null(values: Any) -> None:
    parsed = n.parse_times(values, "s")
    assert parsed.null_count == len(parsed)


@given(st.integers(0, 10**15), st.sampled_from(list(UNITS)))
def test_durations_are_nanoseconds_whatever_their_unit(value: int, unit: str) -> None:
    value = value * 1000 // UNITS[unit]
    expected = [value * UNITS[unit]]
    assert n.parse_durations([value], unit).to_pylist() == expected  # type: ignore[arg-type]
    assert n.parse_durations([str(value)], unit).to_pylist() == expected  # type: ignore[arg-type]
    assert n.parse_durations([f"{value}{unit}"]).to_pylist() == expected
    assert n.parse_durations(pa.array([value], pa.duration(unit))).to_pylist() == expected


def test_durations_in_text_may_carry_a_fraction_and_garbage_is_null() -> None:
    assert n.parse_durations(["1.5ms", "2 s", "3µs", "long", ""]).to_pylist() == [
        1_500_000,
        2 * 10**9,
        3000,
        None,
        None,
    ]
    assert n.parse_durations([1.5, math.nan], "us").to_pylist() == [1500, None]


@pytest.mark.parametrize(
    ("given_level", "level"),
    [
        ("WARN", "warn"), ("warning", "warn"), (" [Error] ", "error"), ("9", "info"), ("17", "error"), ("30", "warn"),
        ("CRITICAL", "fatal"), ("INFO2", "info"), ("E", "error"), ("0", None), ("blue", None), ("99999999999", None),
    ],
)  # fmt: skip
def test_levels_in_words_and_numbers_have_one_name(given_level: str, level: str | None) -> None:
    assert n.severity_of(given_level) == level


@pytest.mark.parametrize(
    ("body", "level"),
    [
        ("ERROR cannot connect", "error"), ("[warn] slow", "warn"), ("2023-11-14 22:13:20.123  INFO [x] started", "info"),
        ('{"time":"x","level":"error","msg":"y"}', "error"), ("level=fatal msg=gone", "fatal"),
        ("E1114 22:13:20.123456 1 main.go:3] bad", "error"), ("no errors were found", None), ("information desk", None),
        ("Warning: disk is nearly full", "warn"), ("errors: none", None),
    ],
)  # fmt: skip
def test_a_missing_level_is_the_one_with_which_the_body_plainly_begins(body: str, level: str | None) -> None:
    table, _ = n.to_logs({"time": [1_700_000_000], "body": [body]})
    assert table["severity"].to_pylist() == [level]


def test_a_given_level_wins_over_the_body() -> None:
    table, _ = n.to_logs({"time": [1_700_000_000] * 2, "body": ["ERROR a", "ERROR b"], "severity": ["info", None]})
    assert table["severity"].to_pylist() == ["info", "error"]


def test_kinds_statuses_and_codes_have_one_spelling() -> None:
    columns = {
        "time": [1_700_000_000] * 5, "service": "a", "duration_ns": 1,
        "kind": ["SPAN_KIND_SERVER", "Client", "4", "internal", "odd"],
        "status": ["STATUS_CODE_ERROR", "Ok", "2", "", "Unset"],
        "status_code": ["200", "503.0", "UNAVAILABLE", "HTTP/1.1 404", "odd"],
    }  # fmt: skip
    columns["duration_ns"] = [1] * 5
    table, dropped = n.to_spans(columns)
    assert dropped == []
    assert table["kind"].to_pylist() == ["server", "client", "producer", "internal", None]
    assert table["status"].to_pylist() == ["error", "ok", "error", "unset", "unset"]
    assert table["status_code"].to_pylist() == ["200", "503", "14", "404", None]


def test_names_are_trimmed_in_any_alphabet_and_written_one_way() -> None:
    decomposed, composed = "cafe\u0301", "caf\u00e9"
    table, _ = n.to_metrics(
        {
            "time": [1_700_000_000] * 4,
            "name": "m",
            "value": [1.0] * 4,
            "service": [" 购物车 ", decomposed, composed, "  "],
        }
    )
    assert table["service"].to_pylist() == ["购物车", composed, composed, None]


def test_a_pod_s_name_gives_the_service_where_none_is_named() -> None:
    pods = ["ts-order-service-5f55b6cf68-77cfw", "cart-0", "plain-name-here", "shop-84cbf6c798-7njv6"]
    table, _ = n.to_metrics(
        {
            "time": [1_700_000_000] * 4,
            "name": "m",
            "value": [1.0] * 4,
            "instance": pods,
            "service": [None, None, None, "own"],
        }
    )
    assert table["service"].to_pylist() == ["ts-order-service", None, None, "own"]


def test_the_time_that_go_prints_is_understood() -> None:
    assert ns_of(n.parse_times(["2023-11-14 22:13:20.043078357 +0000 UTC m=+0.119240217"])) == [
        1_700_000_000_043_078_357
    ]


def test_ids_of_nothing_are_null() -> None:
    table, _ = n.to_spans(
        {"time": [1_700_000_000] * 3, "service": "a", "duration_ns": [1] * 3, "parent_span_id": ["", "0" * 16, " ab "]}
    )
    assert table["parent_span_id"].to_pylist() == [None, None, "ab"]


def test_unusable_rows_are_set_aside_and_counted_by_reason() -> None:
    spans, dropped = n.to_spans(
        {"time": [1, None, 1, 1], "service": ["a", "a", "", "a"], "duration_ns": [1, 1, 1, -1]}, source="f.csv"
    )
    assert spans.num_rows == 1
    assert [(one.rows, one.source) for one in dropped] == [(1, "f.csv")] * 3
    metrics, dropped = n.to_metrics(
        {"time": [1] * 5, "name": "m", "value": ["1", "NaN", "-inf", "", "x"], "service": "a"}
    )
    assert metrics["value"].to_pylist() == [1.0]
    assert sum(one.rows for one in dropped) == 4


def test_a_long_body_is_cut_and_said_to_be_cut() -> None:
    body = "ERROR " + "é" * 10_000_000
    table, (record,) = n.to_logs({"time": [1_700_000_000] * 2, "body": ["short", body]})
    kept = table["body"].to_pylist()[1]
    assert n.MAX_BODY_BYTES - 4 < len(kept.encode()) <= n.MAX_BODY_BYTES
    assert body.startswith(kept)
    assert record.rows == 1
    assert "cut" in record.reason
    assert table.num_rows == 2


def test_bytes_that_are_no_utf8_are_replaced() -> None:
    broken = pa.array([b"caf\xe9", b"ok"], pa.binary())
    unsafe = pa.StringArray.from_buffers(2, *broken.buffers()[1:])
    for column in (broken, unsafe):
        table, _ = n.to_logs({"time": [1_700_000_000] * 2, "body": column, "service": column})
        assert table["body"].to_pylist() == ["caf\ufffd", "ok"]
        assert table["service"].to_pylist() == ["caf\ufffd", "ok"]


def test_tables_have_the_columns_of_the_model_in_order_and_join_with_one_dictionary() -> None:
    from aetia.model.tables import ANALYSIS_COLUMNS, SPANS

    one, _ = n.to_spans({"time": [1_700_000_000], "service": ["a"], "duration_ns": [1]})
    other, _ = n.to_spans({"time": [1_700_000_000], "service": ["b"], "duration_ns": [1]}, full=False)
    assert one.column_names == SPANS.names
    assert other.column_names == list(ANALYSIS_COLUMNS["spans"])
    both = n.concat("spans", [one, other, SPANS.empty_table()])
    assert both["service"].to_pylist() == ["a", "b"]
    assert {chunk.dictionary.to_pylist() == ["a", "b"] for chunk in both["service"].chunks} == {True}
    assert n.concat("spans", []).schema == SPANS


@example([8.988465674311579e307, 8.98846567431158e307])
@given(st.lists(st.one_of(st.none(), st.text(max_size=8), st.integers(), st.floats(), st.booleans()), max_size=12))
def test_any_column_of_values_gives_a_table(values: list[Any]) -> None:
    columns = dict.fromkeys(("time", "service", "duration_ns", "kind", "status", "status_code", "trace_id"), values)
    table, dropped = n.to_spans(columns)
    assert table.num_rows + sum(one.rows for one in dropped) == len(values)
    assert pc.min(table["duration_ns"]).as_py() is None or pc.min(table["duration_ns"]).as_py() >= 0
