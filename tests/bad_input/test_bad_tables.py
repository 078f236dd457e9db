"""Rows that cannot be right: what can be used is used, and the report says what was dropped or mended, and how much."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
import pytest

Ask = Callable[..., Any]
pc: Any = pyarrow.compute
NS, DAY_NS = 10**9, 86_400 * 10**9


def change(folder: Path, name: str, column: str, make: Callable[[Any], Any]) -> int:
    """Replace a column (times as integers) of a table; the number of its rows."""
    path = folder / f"{name}.parquet"
    table = pq.read_table(path)
    if column not in table.column_names:
        table = table.append_column(column, pa.nulls(table.num_rows))
    new = make(table[column].cast(pa.int64()) if column == "time" else table[column])
    pq.write_table(table.set_column(table.column_names.index(column), column, new).replace_schema_metadata(None), path)
    return table.num_rows


def every(step: int, rows: int) -> pa.Array[Any]:
    return pa.array(np.arange(rows) % step == 0)


# ---- times ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "divisor"),
    [("spans", NS), ("spans", 10**6), ("spans", 1000), ("logs", NS), ("logs", 1000), ("metrics", 10**6)],
)
def test_each_file_may_count_time_in_its_own_unit(
    folder: Path, table: str, divisor: int, diagnose: Ask, culprit: str
) -> None:
    change(folder, table, "time", lambda t: pc.divide(t, divisor))
    answer = diagnose(folder)
    assert answer.blamed == culprit and "clock" not in answer.missing


@pytest.mark.parametrize(
    "form",
    [
        lambda t: t.cast(pa.timestamp("ns")),
        lambda t: pc.divide(t, NS).cast(pa.int32()),
        lambda t: pc.divide(t, 1000).cast(pa.timestamp("us", "Asia/Shanghai")),
        lambda t: t.cast(pa.decimal128(38, 9)),
        lambda t: t.cast(pa.string()),
        lambda t: pc.divide(t.cast(pa.float64(), safe=False), 1e9),
        lambda t: pc.if_else(every(2, len(t)), pc.divide(t, 10**6), t),
        lambda t: pa.array([time.strftime("%Y-%m-%dT%H:%M:%S+08:00", time.gmtime(x // NS + 28_800)) for x in t.to_pylist()]),
    ],
    ids=["naive", "int32", "zone", "decimal", "text", "float", "two units", "iso with zone"],
)  # fmt: skip
def test_times_may_have_any_form(folder: Path, form: Callable[[Any], Any], diagnose: Ask, culprit: str) -> None:
    change(folder, "spans", "time", form)
    answer = diagnose(folder)
    assert answer.blamed == culprit and not [why for why in answer.dropped("spans") if "time" in why.split(";")[0]]
    assert answer.report["incident"]["window"][0] > 1.7e18


def test_a_table_eight_hours_off_is_pointed_out(folder: Path, diagnose: Ask) -> None:
    change(folder, "logs", "time", lambda t: pc.add(t, 8 * 3600 * NS).cast(pa.timestamp("ns")))
    answer = diagnose(folder)
    assert answer.code == 0 and "logs from the baseline and the incident window" in answer.missing
    assert "check their clock and time zone" in answer.missing


@pytest.mark.parametrize(
    ("table", "stray"),
    [("spans", 0), ("spans", NS * 1_600_000_000), ("logs", 5 - 2**63), ("metrics", 2**63 - 1000), ("metrics", 0)],
)
def test_a_time_far_from_all_others_stretches_nothing(
    folder: Path, table: str, stray: int, diagnose: Ask, culprit: str
) -> None:
    change(folder, table, "time", lambda t: pc.if_else(every(10**6, len(t)), stray, t).cast(pa.timestamp("ns", "UTC")))
    answer = diagnose(folder, "--since", "3m")
    assert answer.blamed == culprit
    assert answer.dropped(table)["a time far from all others; set the recorder's clock"] == 1
    assert answer.report["incident"]["window"][0] > 1.7e18


def test_rows_without_a_time_are_counted(folder: Path, diagnose: Ask, culprit: str) -> None:
    rows = change(folder, "logs", "time", lambda t: pc.if_else(every(2, len(t)), None, t).cast(pa.timestamp("ns")))
    answer = diagnose(folder)
    reason = "no readable time; give epoch numbers or ISO 8601 text"
    assert answer.blamed == culprit and answer.dropped("logs")[reason] == (rows + 1) // 2


# ---- spans ------------------------------------------------------------------------------------------------


def doubled(path: Path) -> None:
    table = pq.read_table(path)
    pq.write_table(pa.concat_tables([table, table]), path)


def test_duplicates_orphans_cycles_and_children_outside_are_counted(folder: Path, diagnose: Ask, culprit: str) -> None:
    path = folder / "spans.parquet"
    spans = pq.read_table(path)
    rows = spans.num_rows
    top = spans["parent_span_id"].is_null()
    parent = pc.if_else(top, spans["span_id"], spans["parent_span_id"])  # every root is its own parent
    parent = pc.if_else(pa.array(np.arange(rows) % 50 == 1), "gone", parent)
    spans = spans.set_column(spans.column_names.index("parent_span_id"), "parent_span_id", parent)
    start = spans["time"].cast(pa.int64())
    late = pc.and_(pc.invert(top), pa.array(np.arange(rows) % 40 == 3))
    shifted = pc.if_else(late, pc.add(start, 3600 * NS), start).cast(pa.timestamp("ns", "UTC"))
    spans = spans.set_column(spans.column_names.index("time"), "time", shifted)
    pq.write_table(pa.concat_tables([spans, spans.slice(0, 100)]), path)
    answer = diagnose(folder)
    assert answer.blamed == culprit
    counted = {why.split()[0].rstrip(","): count for why, count in answer.dropped("spans").items()}
    assert counted["duplicates"] == 100
    assert 0 < counted["orphans"] <= rows // 50 + 1
    assert counted["parents"] > rows // 50  # circles
    assert counted["children"] > 0
    text = "\n".join(f"{why}" for why in answer.dropped("spans"))
    assert "cut at the earliest span" in text and "whose parent is not in the data" in text


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda d: pc.if_else(every(5, len(d)), -5, d), "a negative duration; the clock of the recorder was set back"),
        (lambda d: pc.if_else(every(5, len(d)), 2**63 - 1, d), "durations beyond 30 days; cut to that"),
        (lambda d: pc.if_else(every(5, len(d)), float("nan"), d.cast(pa.float64())), "no readable duration"),
        (lambda d: pc.if_else(every(5, len(d)), float("inf"), d.cast(pa.float64())), "no readable duration"),
        (lambda d: pc.if_else(every(5, len(d)), None, d), "no readable duration"),
    ],
    ids=["negative", "endless", "NaN", "infinite", "missing"],
)  # fmt: skip
def test_durations_that_cannot_be_are_counted(
    folder: Path, make: Callable[[Any], Any], reason: str, diagnose: Ask, culprit: str
) -> None:
    rows = change(folder, "spans", "duration_ns", make)
    answer = diagnose(folder)
    assert answer.blamed == culprit and answer.dropped("spans")[reason] == (rows + 4) // 5


def test_one_trace_of_all_spans_deep_or_in_a_circle_ends(folder: Path, diagnose: Ask) -> None:
    path = folder / "spans.parquet"
    spans = pq.read_table(path)
    ids = [f"s{i}" for i in range(spans.num_rows)]
    for parents in ([None, *ids[:-1]], [ids[-1], *ids[:-1]], [None, *[ids[0]] * (len(ids) - 1)]):
        table = spans
        for column, values in (("trace_id", ["t"] * len(ids)), ("span_id", ids), ("parent_span_id", parents)):
            table = table.set_column(table.column_names.index(column), column, pa.array(values, pa.string()))
        pq.write_table(table, path)
        assert diagnose(folder).code in (0, 1)


def test_names_with_ids_in_them_are_one_operation(folder: Path, diagnose: Ask, culprit: str) -> None:
    change(folder, "spans", "name", lambda n: pa.array([f"{v} /order/{i}" for i, v in enumerate(n.to_pylist())]))
    answer = diagnose(folder)
    assert answer.blamed == culprit
    assert "/order/<*>" in str(answer.report["hypotheses"][0])


@pytest.mark.parametrize("column", ["name", "kind", "trace_id", "parent_span_id", "status", "peer", "instance"])
def test_a_column_of_lists_is_left_empty_and_counted(folder: Path, column: str, diagnose: Ask, culprit: str) -> None:
    rows = change(folder, "spans", column, lambda c: pa.array([[1, 2]] * len(c)))
    answer = diagnose(folder)
    assert answer.code == 0 and answer.blamed == culprit
    assert answer.dropped("spans")[f"{column} is a list or a structure, not text; left empty"] == rows


@pytest.mark.parametrize(
    "kind", [pa.map_(pa.string(), pa.string()), pa.struct([("a", pa.int64())])], ids=["map", "struct"]
)
def test_attributes_may_be_nested(folder: Path, kind: pa.DataType, diagnose: Ask, culprit: str) -> None:
    value = [("a", "1")] if pa.types.is_map(kind) else {"a": 1}
    change(folder, "spans", "attributes", lambda c: pa.array([value] * len(c), kind))
    change(folder, "metrics", "attributes", lambda c: pa.array([value] * len(c), kind))
    answer = diagnose(folder)
    assert answer.blamed == culprit and not answer.dropped("spans") and not answer.dropped("metrics")


# ---- metrics and logs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "a value that is NaN or infinite"), (float("-inf"), "a value that is NaN or infinite"),
        (1.7e308, "a value beyond 1e+100"), (-1.7e308, "a value beyond 1e+100"), (None, "no value"),
        (5e-324, None), (1e99, None),
    ],
)  # fmt: skip
def test_values_that_no_sensor_means_are_counted(
    folder: Path, tmp_path: Path, value: float | None, reason: str | None, ask: Ask
) -> None:
    rows = change(folder, "metrics", "value", lambda v: pc.if_else(every(3, len(v)), value, v))
    (folder / "spans.parquet").unlink()
    for name in ("a.json", "a.html", "a.md"):
        assert ask("diagnose", folder, "--since", "3m", "-o", tmp_path / name, "--quiet").code in (0, 1)
    report = json.loads((tmp_path / "a.json").read_text("utf-8"), parse_constant=pytest.fail)
    counted = {record["reason"]: record["rows"] for record in report["dropped"]}
    assert reason is None or counted[reason] == (rows + 2) // 3


def test_log_lines_of_ten_megabytes_are_cut_and_counted(folder: Path, diagnose: Ask, culprit: str) -> None:
    long = ["ERROR " + "x y " * 2_500_000, "z" * 10_000_000, '{"a":' * 100_000, "\n" * 10_000_000]
    change(folder, "logs", "body", lambda b: pa.array(long + b.to_pylist()[4:]))
    answer = diagnose(folder)
    assert answer.blamed == culprit
    assert answer.dropped("logs") == {"a body beyond 64 KiB was cut; the line itself was kept": 4}


# ---- little or nothing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["spans", "logs", "metrics"])
def test_a_missing_or_empty_modality_is_named(folder: Path, table: str, diagnose: Ask) -> None:
    path = folder / f"{table}.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    hollow = diagnose(folder)
    path.unlink()
    absent = diagnose(folder)
    word = {"spans": "traces", "logs": "logs", "metrics": "metrics"}[table] + ":"
    assert hollow.code == absent.code == 0 and word in hollow.missing and word in absent.missing
    assert hollow.report["hypotheses"] == absent.report["hypotheses"]


@pytest.mark.parametrize("keep", ["changes", "topology", "none", "rows"])
def test_a_source_without_one_usable_row_is_refused(folder: Path, keep: str, diagnose: Ask) -> None:
    for path in folder.glob("*.parquet"):
        if keep == "none":
            pq.write_table(pq.read_table(path).slice(0, 0), path)
        elif keep == "rows":
            change(folder, path.stem, "time", lambda t: pa.array(["?"] * len(t))) if path.stem != "topology" else None
        elif path.stem != keep:
            path.unlink()
    answer = diagnose(folder)
    assert answer.code == 2 and str(folder) in answer.err
    assert ("no readable time" if keep == "rows" else "holds no span, log line or metric point") in answer.err


@pytest.mark.parametrize("table", ["spans", "logs", "metrics"])
def test_a_single_row_is_too_little_and_says_so(folder: Path, table: str, diagnose: Ask) -> None:
    for path in folder.glob("*.parquet"):
        if path.stem == table:
            pq.write_table(pq.read_table(path).slice(0, 1), path)
        else:
            path.unlink()
    answer = diagnose(folder)
    assert answer.code == 1 and "a longer record: the data covers" in answer.missing


@pytest.mark.parametrize("edges", [[("a", "a")], [("gift-svc", "gift-svc")], [(None, "a")], []])
def test_a_topology_of_one_loop_is_harmless(
    folder: Path, edges: list[tuple[str | None, str]], diagnose: Ask, culprit: str
) -> None:
    table = pa.table({"caller": pa.array([a for a, _ in edges], pa.string()), "callee": [b for _, b in edges]})
    pq.write_table(table, folder / "topology.parquet")
    assert diagnose(folder).blamed == culprit


def test_names_in_any_alphabet_reach_every_report_safely(folder: Path, tmp_path: Path, ask: Ask) -> None:
    odd = ["注文サービス", "заказы", "خدمة", "🛒-svc", "a/b", "<b>x</b>", "x\x00y", "\u202eevil", "nai\u0308ve"]
    known: dict[str, str] = {}

    def renamed(values: Any) -> Any:
        texts = values.to_pylist()
        for text in texts:
            if text is not None and text not in known:
                known[text] = odd[len(known) % len(odd)] + (str(len(known)) if len(known) >= len(odd) else "")
        return pa.array([known.get(text, text) for text in texts], pa.string())

    for table, columns in {"spans": ("service", "name", "instance", "peer"), "logs": ("service", "instance"),
                           "metrics": ("service", "instance"), "topology": ("caller", "callee")}.items():  # fmt: skip
        for column in columns:
            change(folder, table, column, renamed)
    for name in ("r.json", "r.html", "r.md", "r.txt"):
        assert ask("diagnose", folder, "-o", tmp_path / name, "--quiet").code == 0
    page, text = ((tmp_path / name).read_text("utf-8") for name in ("r.html", "r.txt"))
    assert "<b>x" not in page and "&lt;b&gt;x" in page
    assert not {"\u202e", "\x00"} & {*page, *text}
    assert ask("recheck", tmp_path / "r.json", folder).code == 0
