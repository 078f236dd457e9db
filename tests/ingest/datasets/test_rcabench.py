"""RCABench's datapacks, written here in the standardised columns."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aetia.ingest.datasets._rcabench_truth import fault_of, read_truths
from aetia.ingest.datasets.rcabench import RCABenchReader
from aetia.model.errors import CorruptSource, UnrecognisedSource, UsageError
from aetia.model.faults import FAULT_TO_CLASS
from aetia.model.window import NS_PER_SECOND, Window

T0 = 1_750_000_000


def _times(*seconds: float) -> pa.Array:
    return pa.array([round((T0 + s) * NS_PER_SECOND) for s in seconds]).cast(pa.timestamp("ns", tz="UTC"))


def _parquet(path: Path, columns: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def _datapack(folder: Path, *, injection: dict[str, Any]) -> Path:
    for period, at in (("normal", 10), ("abnormal", 310)):
        _parquet(
            folder / f"{period}_traces.parquet",
            {
                "time": _times(at, at + 1), "trace_id": ["t1", "t1"], "span_id": [f"{at}a", f"{at}b"],
                "parent_span_id": ["", f"{at}a"], "service_name": ["loadgenerator", "cart"],
                "span_name": ["HTTP GET", "GET /cart"], "duration": pa.array([9_000_000, 5_000_000], pa.uint64()),
                "attr.span_kind": ["Client", "Server"], "attr.status_code": ["Error", "Unset"],
                "attr.http.response.status_code": pa.array([503, 200], pa.uint16()),
                "attr.k8s.pod.name": [None, "cart-6f4c-x1"], "attr.http.request.method": ["GET", "GET"],
            },
        )  # fmt: skip
        _parquet(
            folder / f"{period}_logs.parquet",
            {
                "time": _times(at), "trace_id": ["t1"], "span_id": [""], "level": ["SEVERE"],
                "service_name": ["cart"], "message": ["it broke"], "attr.k8s.pod.name": ["cart-6f4c-x1"],
            },
        )  # fmt: skip
        _parquet(
            folder / f"{period}_metrics.parquet",
            {
                "time": _times(at, at, at, at), "metric": ["container.cpu.usage", "k8s.ready", "node.load", "hubble"],
                "value": [0.5, 1.0, 2.0, float("nan")], "service_name": [None, "", None, "web"],
                "attr.k8s.container.name": ["cart", None, None, None],
                "attr.k8s.deployment.name": ["cart-deployment", None, None, None],
                "attr.k8s.statefulset.name": [None, "mysql", None, None],
                "attr.k8s.node.name": ["worker1", None, "worker1", None],
                "attr.k8s.pod.name": ["cart-6f4c-x1", "mysql-0", None, None],
                "attr.source_workload": ["a\"b", None, None, "x"],
            },
        )  # fmt: skip
        _parquet(
            folder / f"{period}_metrics_histogram.parquet",
            {
                "time": _times(at), "metric": ["jvm.gc.duration"], "service_name": ["cart"], "count": [4.0],
                "sum": [0.2], "min": [0.01], "max": [0.1], "attr.jvm.gc.name": ["G1"],
            },
        )  # fmt: skip
        _parquet(
            folder / f"{period}_metrics_sum.parquet",
            {"time": _times(at), "metric": ["requests"], "service_name": ["cart"], "value": [7.0]},
        )
    (folder / "injection.json").write_text(json.dumps(injection))
    env = {"NORMAL_START": str(T0), "NORMAL_END": T0 + 300, "ABNORMAL_START": f"{T0 + 300}", "ABNORMAL_END": T0 + 600}
    (folder / "env.json").write_text(json.dumps(env))
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    one = {"fault_type": 17, "ground_truth": {"service": ["cart"], "pod": ["cart-6f4c-x1"], "span": ["GET /cart"]}}
    two = {
        "fault_type": ["CPUStress", "JVMException"],
        "ground_truth": [{"service": ["cart"]}, {"service": ["web"], "pod": ["other-1", "web-1"]}],
    }
    _datapack(tmp_path / "data" / "set-a" / "pack-1", injection=one)
    _datapack(tmp_path / "data" / "set-a" / "pack-2" / "converted", injection=two)
    return tmp_path


def test_datapacks_are_found_from_every_folder_above_them(root: Path) -> None:
    reader = RCABenchReader()
    everything = ["set-a/pack-1", "set-a/pack-2"]
    for path in (root, root / "data", root / "data" / "set-a"):
        assert reader.recognise(path) is not None
        assert [case.id for case in reader.cases(path)] == everything
    assert [case.id for case in reader.cases(root / "data" / "set-a" / "pack-2")] == everything[1:]
    assert reader.recognise(root / "absent") is None
    with pytest.raises(UnrecognisedSource, match="datapack"):
        reader.cases(root / "absent")
    with pytest.raises(UsageError, match="2 datapacks"):
        reader.load(root)


def test_windows_and_truth_come_from_the_json_files(root: Path) -> None:
    one, two = RCABenchReader().cases(root)
    normal, onset, end = (second * NS_PER_SECOND for second in (T0, T0 + 300, T0 + 600))
    assert (one.baseline, one.incident) == (Window(normal, onset), Window(onset, end))
    assert one.truth is not None and two.truth is not None
    truth = one.truth[0]
    assert (truth.service, truth.instance, truth.operation) == ("cart", "cart-6f4c-x1", "GET /cart")
    assert (truth.fault, truth.fault_class, truth.onset_ns) == ("network_delay", "D", onset)
    assert [(t.service, t.instance, t.fault) for t in two.truth] == [
        ("cart", None, "cpu"),
        ("web", "web-1", "exception"),
    ]


def test_both_periods_are_read_into_each_table(root: Path) -> None:
    telemetry = RCABenchReader().load(root, "set-a/pack-1").telemetry
    spans = telemetry.spans.drop_columns(["time"]).to_pylist()
    assert len(spans) == 4
    assert [(s["service"], s["kind"], s["status"], s["status_code"], s["instance"]) for s in spans[:2]] == [
        ("loadgenerator", "client", "error", "503", None), ("cart", "server", "unset", "200", "cart-6f4c-x1"),
    ]  # fmt: skip
    assert [s["parent_span_id"] for s in spans] == [None, "10a", None, "310a"]
    assert telemetry.logs.select(["severity", "body"]).to_pylist() == [{"severity": "error", "body": "it broke"}] * 2
    assert [(d.table, d.rows) for d in telemetry.dropped] == [("metrics", 1), ("metrics", 1)]  # NaN


def test_metrics_find_their_owner_and_keep_what_else_identifies_them(root: Path) -> None:
    metrics = RCABenchReader().load(root, "set-a/pack-1").telemetry.metrics
    rows = {row["name"]: row for row in metrics.drop_columns(["time"]).to_pylist()}
    owners = {name: (row["service"], row["instance"], row["node"], row["type"]) for name, row in rows.items()}
    assert owners == {
        "container.cpu.usage": ("cart", "cart-6f4c-x1", "worker1", "gauge"),
        "k8s.ready": ("mysql", "mysql-0", None, "gauge"),
        "node.load": (None, None, "worker1", "gauge"),
        "requests": ("cart", None, None, "counter"),
        "jvm.gc.duration_count": ("cart", None, None, "counter"),
        "jvm.gc.duration_sum": ("cart", None, None, "counter"),
        "jvm.gc.duration_min": ("cart", None, None, "gauge"),
        "jvm.gc.duration_max": ("cart", None, None, "gauge"),
    }
    assert json.loads(rows["container.cpu.usage"]["attributes"]) == {"source_workload": 'a"b'}
    assert json.loads(rows["jvm.gc.duration_max"]["attributes"]) == {"jvm.gc.name": "G1"}
    assert rows["k8s.ready"]["attributes"] is None


def test_span_attributes_are_read_only_when_asked_for(root: Path) -> None:
    reader = RCABenchReader()
    assert "attributes" not in reader.load(root, "set-a/pack-1").telemetry.spans.column_names
    spans = reader.load(root, "set-a/pack-1", full=True).telemetry.spans
    assert json.loads(spans["attributes"][0].as_py()) == {
        "http.request.method": "GET",
        "http.response.status_code": "503",
    }


def test_a_damaged_file_costs_itself_and_damaged_labels_are_an_error(root: Path) -> None:
    pack = root / "data" / "set-a" / "pack-1"
    (pack / "normal_logs.parquet").write_bytes(b"PAR1 cut")
    telemetry = RCABenchReader().load(pack).telemetry
    assert telemetry.logs.num_rows == 1
    assert any(record.source == "normal_logs.parquet" for record in telemetry.dropped)
    (pack / "env.json").unlink()
    case = RCABenchReader().cases(pack)[0]
    assert case.baseline is None and case.incident is None
    (pack / "injection.json").write_text("{")
    with pytest.raises(CorruptSource, match=r"injection\.json"):
        RCABenchReader().cases(pack)


def test_every_fault_word_is_in_the_vocabulary() -> None:
    words = [fault_of(number) for number in range(31)]
    assert sum(word is None for word in words) == 1  # duplicated packets have no word
    assert all(word in FAULT_TO_CLASS for word in words if word is not None)
    assert (fault_of("JVMGarbageCollector"), fault_of("26"), fault_of("jvm_garbage_collector")) == ("gc",) * 3
    assert (fault_of(31), fault_of("Unheard"), fault_of(-1)) == (None, None, None)


@pytest.mark.parametrize(
    "injection", [{}, {"ground_truth": None}, {"ground_truth": "cart"}, {"ground_truth": {"service": []}}]
)
def test_injections_without_a_service_leave_the_truth_open(injection: dict[str, Any]) -> None:
    assert read_truths(injection, None) is None


def test_damaged_files_cost_rows_or_raise_what_is_documented(root: Path, survive_damage: Callable[..., int]) -> None:
    assert survive_damage(RCABenchReader(), root, 40) > 40
