"""RCAEval's layout: column names, windows, truth and telemetry from files written here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aetia.ingest.datasets._column_names import split_columns
from aetia.ingest.datasets.rcaeval import RCAEvalReader
from aetia.model.errors import CorruptSource, UsageError
from aetia.model.window import NS_PER_SECOND, Window

T0 = 1_705_000_000


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _wide(columns: dict[str, list[float | str]]) -> str:
    rows = zip(*columns.values(), strict=True)
    body = "".join(f"{T0 + i},{','.join(map(str, row))}\n" for i, row in enumerate(rows))
    return f"time,{','.join(columns)}\n{body}"


METRICS = {
    "cart_cpu": [1.0, 2.0, 3.0, 2.0, 9.0, 9.5],
    "cart_latency-50": [0.01, "", 0.01, 0.02, 0.5, "inf"],
    "cart-db_cpu": [1.0] * 6,
    "cart-db_latency-50": [0.1] * 6,
    "frontend_cpu": [4.0] * 6,
    "frontend_container-cpu-usage-seconds-total": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
    "cart_container-cpu-usage-seconds-total": [1.0, 2.0, 1.5, 4.0, 5.0, 6.0],
    "cart_container-memory-usage-bytes": [5.0] * 6,
    "machine-7_node-load1": [0.5] * 6,
    "machine-7_node-memory-free-bytes": [0.5] * 6,
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data set of metrics only and one with all signals."""
    root = tmp_path / "data"
    for repetition in ("1", "2"):
        folder = root / "RE1-XX" / "cart_mem" / repetition
        _write(folder / "data.csv", _wide(METRICS))
        _write(folder / "inject_time.txt", f"{T0 + 3}\n")
    full = root / "RE3-XX" / "cart-db_f3" / "1"
    _write(full / "inject_time.txt", f"{T0 + 3}")
    _write(full / "metrics.csv", "time,other_cpu\n1,2\n")
    _write(full / "simple_metrics.csv", _wide(METRICS))
    _write(full / "cluster_info.json", "{}")
    _write(
        full / "logs.csv",
        "time,timestamp,container_name,message,level,req_path,error,cluster_id,log_template\n"
        f'00:01,{T0 * NS_PER_SECOND + 5},frontend,"first line\nsecond, line",INFO,,,1,first <*>\n'
        f"00:02,{(T0 + 4) * NS_PER_SECOND},cart,level=error it broke,,,,2,\n"
        f"00:02,{(T0 + 4) * NS_PER_SECOND},cart,slow,Warning,,,2,\n",
    )
    _write(
        full / "traces.csv",
        "time,traceID,spanID,serviceName,methodName,operationName,startTimeMillis,startTime,duration,statusCode,parentSpanID\n"
        f"00:01,0001,0000000000000011,frontendservice,Get,shop.Cart/Get,{T0}000,{T0}000250,1500,0.0,\n"
        f"00:01,0001,0000000000000012,cart,Get,,{T0}000,{T0}000300,900,14,0000000000000011\n"
        f"00:01,0002,0000000000000013,cart,Put,shop.Cart/Put,{T0}000,{T0}000400,-5,200,\n",
    )
    return root


def test_roots_data_sets_and_single_cases_are_all_accepted(root: Path) -> None:
    reader = RCAEvalReader()
    everything = ["RE1-XX/cart_mem/1", "RE1-XX/cart_mem/2", "RE3-XX/cart-db_f3/1"]
    assert [case.id for case in reader.cases(root)] == everything
    assert [case.id for case in reader.cases(root / "RE1-XX")] == everything[:2]
    assert [case.id for case in reader.cases(root / "RE1-XX" / "cart_mem" / "2")] == everything[1:2]
    assert all(reader.recognise(path) for path in (root, root / "RE3-XX", root / "RE3-XX" / "cart-db_f3" / "1"))
    assert reader.recognise(root / "RE3-XX" / "cart-db_f3" / "1" / "logs.csv") is None
    assert reader.recognise(root.parent / "absent") is None


def test_windows_meet_at_the_injection_and_the_folder_names_the_truth(root: Path) -> None:
    case, _, code = RCAEvalReader().cases(root)
    start, onset, end = (second * NS_PER_SECOND for second in (T0, T0 + 3, T0 + 6))
    assert (case.baseline, case.incident, case.system) == (Window(start, onset), Window(onset, end), "RE1-XX")
    assert case.truth is not None and code.truth is not None
    assert [(t.service, t.fault, t.fault_class, t.onset_ns) for t in case.truth + code.truth] == [
        ("cart", "memory", "B", onset), ("cart-db", "code_defect", "C", onset),
    ]  # fmt: skip


def test_wide_metrics_become_points_of_services_and_machines(root: Path) -> None:
    metrics = RCAEvalReader().load(root, "RE1-XX/cart_mem/1").telemetry.metrics
    rows = metrics.drop_columns(["time"]).to_pylist()
    assert {row["service"] for row in rows} == {"cart", "cart-db", "frontend", None}
    assert {row["node"] for row in rows if row["service"] is None} == {"machine-7"}
    assert metrics.num_rows == 6 * len(METRICS) - 2  # an empty and an infinite sample
    kinds = {(row["service"], row["name"]): (row["type"], row["unit"]) for row in rows}
    assert kinds["frontend", "container-cpu-usage-seconds-total"] == ("counter", None)
    assert kinds["cart", "container-cpu-usage-seconds-total"] == ("gauge", None)  # it falls: a rate by that name
    assert kinds["cart", "container-memory-usage-bytes"] == ("gauge", "bytes")
    assert kinds["cart", "latency-50"] == ("gauge", "s")


def test_traces_and_logs_follow_the_names_of_the_metrics(root: Path) -> None:
    telemetry = RCAEvalReader().load(root / "RE3-XX").telemetry
    spans = telemetry.spans.drop_columns(["time"]).to_pylist()
    assert [(s["service"], s["name"], s["duration_ns"], s["status"], s["status_code"]) for s in spans] == [
        ("frontend", "shop.Cart/Get", 1_500_000, "unset", "0"), ("cart", "Get", 900_000, "error", "14"),
    ]  # fmt: skip
    assert [s["parent_span_id"] for s in spans] == [None, "0000000000000011"]
    assert telemetry.spans["time"].cast(pa.int64()).to_pylist()[0] == T0 * NS_PER_SECOND + 250_000
    assert [(d.table, d.rows) for d in telemetry.dropped] == [("spans", 1)]
    logs = telemetry.logs.drop_columns(["time"]).to_pylist()
    assert [(row["service"], row["severity"]) for row in logs] == [
        ("frontend", "info"),
        ("cart", "error"),
        ("cart", "warn"),
    ]
    assert logs[0]["body"] == "first line\nsecond, line"
    assert logs[0]["template"] == "first <*>"
    assert telemetry.logs["time"].cast(pa.int64()).to_pylist()[0] == T0 * NS_PER_SECOND + 5


def test_long_metric_files_are_read_as_well(tmp_path: Path) -> None:
    folder = tmp_path / "RE2-XX" / "cart_delay" / "1"
    _write(folder / "inject_time.txt", str(T0 + 1))
    rows = "".join(f"{T0 + i},{name},{i}.5,cart-0\n" for i in range(3) for name in ("cart_cpu", "web_cpu"))
    _write(folder / "metrics.csv", "timestamp,metric_name,value,pod\n" + rows)
    metrics = RCAEvalReader().load(folder).telemetry.metrics
    assert {(r["service"], r["name"]) for r in metrics.drop_columns(["time"]).to_pylist()} == {
        ("cart", "cpu"),
        ("web", "cpu"),
    }
    assert metrics["value"].to_pylist()[:3] == [0.5, 0.5, 1.5]


def test_folders_without_a_known_label_have_no_truth(tmp_path: Path) -> None:
    _write(tmp_path / "set" / "something" / "1" / "inject_time.txt", str(T0 + 3))
    _write(tmp_path / "set" / "something" / "1" / "data.csv", _wide(METRICS))
    assert RCAEvalReader().cases(tmp_path)[0].truth is None


def test_errors_name_the_file_and_the_mend(root: Path) -> None:
    with pytest.raises(UsageError, match="3 cases"):
        RCAEvalReader().load(root)
    _write(root / "RE1-XX" / "cart_mem" / "1" / "inject_time.txt", "yesterday")
    with pytest.raises(CorruptSource, match=r"inject_time\.txt"):
        RCAEvalReader().cases(root)


names = st.text("abcdef-0123456789", min_size=1, max_size=8)
SERVICES = st.sets(st.sampled_from(["cart", "cart_db", "web", "web_db", "ts-order", "queue", "a_b_c"]), min_size=3)
MEASURES = st.sets(st.sampled_from(["cpu", "mem_usage", "latency-50", "cpu_system_total", "error"]), min_size=3)


@given(st.sets(names, min_size=1, max_size=6), st.sets(names, min_size=1, max_size=6))
def test_names_without_underscores_split_at_the_only_place(services: set[str], metrics: set[str]) -> None:
    grid = {f"{service}_{metric}": (service, metric) for service in services for metric in metrics}
    assert split_columns(grid) == grid


@given(SERVICES, MEASURES, st.randoms())
def test_underscores_on_both_sides_are_resolved_by_the_other_columns(
    services: set[str], metrics: set[str], rng
) -> None:
    grid = {f"{service}_{metric}": (service, metric) for service in services for metric in metrics}
    shuffled = list(grid)
    rng.shuffle(shuffled)
    assert split_columns(shuffled) == grid


@given(st.lists(st.text("ab_-", max_size=8), max_size=12))
def test_parts_always_join_to_the_column_again(columns: list[str]) -> None:
    for column, (entity, metric) in split_columns(columns).items():
        assert column == (metric if entity is None else f"{entity}_{metric}")


def test_damaged_files_cost_rows_or_raise_what_is_documented(root: Path, survive_damage: Callable[..., int]) -> None:
    assert survive_damage(RCAEvalReader(), root, 40) > 40


def test_columns_that_are_missing_cost_what_they_carried_and_no_more(root: Path) -> None:
    traces = root / "RE3-XX" / "cart-db_f3" / "1" / "traces.csv"
    text = traces.read_text(encoding="utf-8")
    for column, rows in (
        ("statusCode", 2),
        ("methodName", 2),
        ("parentSpanID", 2),
        ("serviceName", 0),
        ("duration", 0),
    ):
        traces.write_text(text.replace(column, f"other{column}", 1), encoding="utf-8")
        telemetry = RCAEvalReader().load(root / "RE3-XX").telemetry
        assert telemetry.spans.num_rows == rows, column
        assert sum(record.rows for record in telemetry.dropped if record.table == "spans") == 3 - rows
