"""Nezha's layout: cases, windows and telemetry from files written here, and from the real data where present."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aetia.ingest.datasets._nezha_tables import unwrap
from aetia.ingest.datasets.nezha import NezhaReader
from aetia.model.errors import CorruptSource, UnrecognisedSource, UsageError
from aetia.model.window import NS_PER_SECOND, Window

DAY, OTHER_DAY = "2023-01-29", "2023-01-30"
EIGHT = 1674979200 * NS_PER_SECOND  # 2023-01-29 08:00:00 UTC
MINUTE = 60 * NS_PER_SECOND
POD = "cart-api-5f55b6cf68-77cfw"
SPANS = "TraceID,SpanID,ParentID,PodName,OperationName,StartTimeUnixNano,EndTimeUnixNano,Duration\n"
LOGS = "Timestamp,TimeUnixNano,Node,PodName,Container,TraceID,SpanID,Log\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _span(trace: str, span: str, parent: str, start_ns: int, pod: str = POD) -> str:
    return f"{trace},{span},{parent},{pod},GET /cart,{start_ns},{start_ns + 5_000_000},5000\n"


def _log(time_ns: int, text: str, stamp: str = "2023-01-29T08:30:01.5Z") -> str:
    wrapped = json.dumps({"log": text, "stream": "stdout", "time": stamp}).replace('"', '""')
    return f'{stamp},{time_ns},10.0.0.1,{POD},server,t1,s1,"{wrapped}"\n'


def _metrics(day: str, minutes: range) -> str:
    rows = [
        f"{day} {8 + m // 60:02d}:{m % 60:02d}:09.5 +0000 UTC m=+{m}.1,1861000000,{POD},{10 + m},{'NaN' if m == 20 else 0.004}\n"
        for m in minutes
    ]
    return "Time,TimeStamp,PodName,CpuUsageRate(%),PodClientLatencyP90(s)\n" + "".join(rows)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One fault at 08:30:10, one at 08:31:10 of the first day, one early on the second day."""
    root = tmp_path / "shop"
    entry = {"inject_timestamp": "1", "inject_pod": POD}
    faults = [
        {**entry, "inject_time": f"{DAY} 08:30:10", "inject_type": "return"},
        {**entry, "inject_time": f"{DAY} 08:40:10", "inject_type": "cpu_contention"},
    ]
    _write(root / f"rca_data/{DAY}/{DAY}-fault_list.json", json.dumps({"08": faults}))
    late = {**entry, "inject_time": f"{OTHER_DAY} 08:02:00", "inject_type": "odd_kind"}
    _write(root / f"rca_data/{OTHER_DAY}/{OTHER_DAY}-fault_list.json", json.dumps({"08": [late]}))
    start = EIGHT + 30 * MINUTE
    inside = EIGHT + 27 * MINUTE + NS_PER_SECOND
    twice = _span("t1", "s1", "root", start + 11 * NS_PER_SECOND)
    _write(root / f"rca_data/{DAY}/trace/08_30_trace.csv", SPANS + _span("t0", "s0", "root", inside) + twice)
    _write(
        root / f"rca_data/{DAY}/trace/08_31_trace.csv",
        SPANS + twice + _span("t1", "s2", "s1", start + 12 * NS_PER_SECOND),
    )
    _write(root / f"rca_data/{DAY}/trace/08_50_trace.csv", SPANS + _span("t9", "s9", "root", start + 20 * MINUTE))
    _write(root / f"construct_data/{DAY}/trace/08_27_trace.csv", SPANS + _span("c", "c1", "root", inside + 5))
    logs = _log(start + 11 * NS_PER_SECOND, '16:30:11.000 ERROR c.CartImpl#532 "quoted" \\ → done\n')
    logs += _log(-6795364578871345152, "no level here\n", "2023-01-29T08:30:12.250")
    logs += "2023-01-29T08:30:01Z,1,2,three\n"
    _write(root / f"rca_data/{DAY}/log/08_30_log.csv", LOGS + logs)
    for day, minutes in ((DAY, range(60)), (OTHER_DAY, range(10))):
        _write(root / f"rca_data/{day}/metric/{POD}_metric.csv", _metrics(day, minutes))
    folder = root / f"rca_data/{DAY}/metric"
    clock = f"{DAY} 08:10:00 +0000 UTC m=+1,1"
    _write(folder / "front_service.csv", f"Time,TimeStamp,ServiceName,SuccessRate(%)\n{clock},Cart-API,99\n")
    _write(folder / "source_50.csv", f"time,timestamp,web_cart-api\n{clock},0.02\n")
    _write(folder / "destination_50.csv", f"time,timestamp,web_cart-api\n{clock},0.01\n")
    _write(folder / "dependency.csv", "Source,Target,Weight\nweb,cart-api,1\ncart-api,10.0.0.1,1\n")
    return root


RETURN_CASE = f"shop/{DAY}T08:30-cart-api-return"


def test_layout_is_recognised_by_its_files_and_nothing_else(root: Path, tmp_path: Path) -> None:
    match = NezhaReader().recognise(root)
    assert match is not None
    assert match.confidence > 0.9
    (tmp_path / "nezha_tt").mkdir()
    assert NezhaReader().recognise(tmp_path / "nezha_tt") is None
    with pytest.raises(UnrecognisedSource, match="rca_data"):
        NezhaReader().cases(tmp_path / "nezha_tt")


def test_cases_carry_windows_and_truth_from_the_injection_second(root: Path) -> None:
    cases = NezhaReader().cases(root)
    assert [case.id for case in cases] == [
        RETURN_CASE, f"shop/{DAY}T08:40-cart-api-cpu_contention", f"shop/{OTHER_DAY}T08:02-cart-api-odd_kind",
    ]  # fmt: skip
    case = cases[0]
    onset = EIGHT + 30 * MINUTE + 10 * NS_PER_SECOND
    assert case.truth is not None
    assert (case.truth[0].service, case.truth[0].instance, case.truth[0].onset_ns) == ("cart-api", POD, onset)
    assert [(c.truth[0].fault, c.truth[0].fault_class) for c in cases if c.truth] == [
        ("early_return", "C"), ("cpu", "B"), (None, None),
    ]  # fmt: skip
    assert case.incident == Window(onset, EIGHT + 34 * MINUTE)
    assert case.baseline_windows("metrics") == (Window(EIGHT - 30 * MINUTE, EIGHT + 30 * MINUTE),)
    assert case.baseline_windows("spans") == (Window(EIGHT + 25 * MINUTE, EIGHT + 28 * MINUTE),)


def test_a_day_without_fault_free_minute_or_history_borrows_from_the_day_before(root: Path) -> None:
    case = NezhaReader().cases(root)[-1]
    assert case.baseline_windows("spans") == (Window(EIGHT + 25 * MINUTE, EIGHT + 28 * MINUTE),)
    before, same_day = case.baseline_windows("metrics")
    assert before.end_ns <= EIGHT + 60 * MINUTE
    assert same_day.end_ns == EIGHT + 24 * 60 * MINUTE + 2 * MINUTE
    assert "extended with the end of 2023-01-29" in (case.source or "")
    metrics = NezhaReader().load(root, case.id).telemetry.metrics
    assert min(metrics["time"].cast(pa.int64()).to_pylist()) == before.start_ns + NS_PER_SECOND // 2
    assert metrics.num_rows == 2 * 10 + (60 + 59 + 3)


def test_spans_come_from_the_files_around_the_fault_and_the_fault_free_minute_once(root: Path) -> None:
    loaded = NezhaReader().load(root, RETURN_CASE)
    rows = {row["span_id"]: row for row in loaded.telemetry.spans.drop_columns(["time"]).to_pylist()}
    assert loaded.telemetry.spans.num_rows == 3
    assert set(rows) == {"c1", "s1", "s2"}
    assert (rows["s1"]["parent_span_id"], rows["s2"]["parent_span_id"]) == (None, "s1")
    assert (rows["s1"]["service"], rows["s1"]["instance"], rows["s1"]["duration_ns"]) == ("cart-api", POD, 5_000_000)
    assert any("fault-free window" in record.reason for record in loaded.telemetry.dropped)


def test_log_bodies_are_unwrapped_and_nonsense_times_are_replaced(root: Path) -> None:
    loaded = NezhaReader().load(root, RETURN_CASE)
    logs = loaded.telemetry.logs
    assert logs["body"].to_pylist() == ['ERROR c.CartImpl#532 "quoted" \\ → done', "no level here"]
    assert logs["severity"].to_pylist() == ["error", None]
    times = [value - EIGHT - 30 * MINUTE for value in logs["time"].cast(pa.int64()).to_pylist()]
    assert times == [11 * NS_PER_SECOND, 12 * NS_PER_SECOND + NS_PER_SECOND // 4]
    assert [(record.table, record.rows) for record in loaded.telemetry.dropped if record.table == "logs"] == [
        ("logs", 1)
    ]


def test_metrics_keep_their_names_units_and_the_printed_time(root: Path) -> None:
    telemetry = NezhaReader().load(root, RETURN_CASE).telemetry
    metrics = telemetry.metrics
    kinds = {
        (row["name"], row["unit"], row["service"], row["instance"])
        for row in metrics.drop_columns(["time"]).to_pylist()
    }
    assert kinds == {
        ("CpuUsageRate(%)", "%", "cart-api", POD), ("PodClientLatencyP90(s)", "s", "cart-api", POD),
        ("SuccessRate(%)", "%", "cart-api", None), ("edge_client_latency_p50", "s", "cart-api", None),
        ("edge_server_latency_p50", "s", "cart-api", None),
    }  # fmt: skip
    assert pc.min(metrics["time"].cast(pa.int64())).as_py() == EIGHT + 9 * NS_PER_SECOND + NS_PER_SECOND // 2
    assert metrics.num_rows == 60 + 59 + 3  # one NaN
    edges = metrics.filter(pc.equal(metrics["name"].cast(pa.string()), "edge_client_latency_p50"))
    assert json.loads(edges["attributes"][0].as_py()) == {"caller": "web", "callee": "cart-api"}
    assert telemetry.topology.select(["caller", "callee"]).to_pylist() == [{"caller": "web", "callee": "cart-api"}]


def test_unknown_cases_and_broken_labels_say_so(root: Path) -> None:
    with pytest.raises(UsageError, match="no case 'x'"):
        NezhaReader().load(root, "x")
    with pytest.raises(UsageError, match="3 cases"):
        NezhaReader().load(root)
    _write(root / f"rca_data/{DAY}/{DAY}-fault_list.json", '{"08": [{"inject_pod": 1}]}')
    with pytest.raises(CorruptSource, match="fault_list"):
        NezhaReader().cases(root)


@given(st.lists(st.one_of(st.none(), st.text()), max_size=6))
def test_any_wrapped_text_comes_back_as_it_was(texts: list[str | None]) -> None:
    lines = [
        None if text is None else json.dumps({"log": text, "stream": "x"}, separators=(",", ":")) for text in texts
    ]
    back = unwrap(pa.chunked_array([pa.array(lines, pa.string())])).to_pylist()
    assert back == [None if text is None else text for text in texts]


def test_a_broken_wrapper_costs_only_its_own_line() -> None:
    lines = ['{"log":"good","x":1}', '{"log":"cut', "plain text", '{"log":"a"},{"log":"b"}']
    assert unwrap(pa.chunked_array([lines])).to_pylist() == ["good", None, "plain text", None]


def test_damaged_files_cost_rows_or_raise_what_is_documented(root: Path, survive_damage: Callable[..., int]) -> None:
    assert survive_damage(NezhaReader(), root, 40) > 40


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "count", "faults"),
    [
        ("nezha_tt", 45, {"exception": 13, "early_return": 11, "network_delay": 14, "cpu": 7}),
        ("nezha_ob", 56, {"cpu": 26, "network_delay": 16, "exception": 7, "early_return": 7}),
    ],
)
def test_real_data_have_the_published_cases(
    real_data: Callable[[str], Path], name: str, count: int, faults: dict[str, int]
) -> None:
    cases = NezhaReader().cases(real_data(name))
    assert len({case.id for case in cases}) == len(cases) == count
    seen = [truth.fault for case in cases for truth in case.truth or ()]
    assert {fault: seen.count(fault) for fault in set(seen)} == faults
    assert all(case.incident and case.baseline and case.baseline_windows("spans") for case in cases)


@pytest.mark.data
def test_a_real_case_has_all_three_signals(real_data: Callable[[str], Path]) -> None:
    root = real_data("nezha_tt")
    loaded = NezhaReader().load(root, f"{root.name}/2023-01-29T09:21-ts-basic-service-return")
    telemetry = loaded.telemetry
    assert min(telemetry.spans.num_rows, telemetry.logs.num_rows) > 5000
    assert len(telemetry.metrics["service"].unique()) == 47  # 46 services and the null of the front-end file
    # The error lines whose nanoseconds are Go's zero time are kept, at the time that stands beside it.
    assert pc.min(telemetry.logs["time"].cast(pa.int64())).as_py() > EIGHT


@pytest.mark.data
def test_a_real_case_without_logs_has_edges_and_spans_of_the_next_day(real_data: Callable[[str], Path]) -> None:
    root = real_data("nezha_ob")
    case = next(case for case in NezhaReader().cases(root) if "2022-08-22T05:27" in case.id)
    telemetry = NezhaReader().load(root, case.id).telemetry
    assert telemetry.logs.num_rows == 0
    assert telemetry.topology.num_rows == 14
    names = set(telemetry.metrics["name"].unique().to_pylist())
    assert {"edge_client_latency_p50", "edge_server_latency_p50", "CpuUsageRate(%)"} <= names
    baseline = case.baseline_windows("spans")[0]
    inside = baseline.mask(telemetry.spans["time"].cast(pa.int64()).to_numpy())
    assert inside.sum() > 10000
