"""The smallest sample of each layout that a registered reader reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from aetia.contracts import ordinary, shop
from aetia.ingest.case import write_case
from aetia.model.case import Case, Truth

T0 = 1_700_000_000


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def case(root: Path) -> Path:
    truth = (Truth(service="orders", fault_class="C", fault="exception"),)
    for name in ("b", "a"):
        labels = Case(id=name, system="shop", baseline=shop.BASELINE, incident=shop.INCIDENT, truth=truth)
        write_case(root / "suite" / name, labels, ordinary().telemetry)
    return root / "suite"


def otlp(root: Path) -> Path:
    attributes = [{"key": "service.name", "value": {"stringValue": "cart"}}]
    span = {"traceId": "ab" * 16, "spanId": "cd" * 8, "name": "Get", "kind": 2, "startTimeUnixNano": f"{T0}000000000",
            "endTimeUnixNano": f"{T0}005000000"}  # fmt: skip
    document = {"resourceSpans": [{"resource": {"attributes": attributes}, "scopeSpans": [{"spans": [span]}]}]}
    return write(root / "traces.jsonl", json.dumps(document) + "\n")


def jaeger(root: Path) -> Path:
    span = {"traceID": "1f", "spanID": "2f", "operationName": "Get", "references": [], "startTime": T0 * 10**6,
            "duration": 5000, "processID": "p1", "tags": []}  # fmt: skip
    trace = {"traceID": "1f", "spans": [span], "processes": {"p1": {"serviceName": "cart", "tags": []}}}
    return write(root / "jaeger.json", json.dumps({"data": [trace]}))


def metrics_csv(root: Path) -> Path:
    rows = [f"{T0 + 10 * k},cpu_usage,cart,{k}.5" for k in range(20)]
    return write(root / "metrics.csv", "\n".join(["time,name,service,value", *rows]) + "\n")


def otel_clickhouse(root: Path) -> Path:
    times = pa.array([T0 * 10**9 + k for k in range(4)]).cast(pa.timestamp("ns"))
    table = pa.table(
        {"Timestamp": times, "TraceId": ["t"] * 4, "SpanId": list("abcd"), "ParentSpanId": ["", "a", "a", "b"],
         "SpanName": ["op"] * 4, "SpanKind": ["SPAN_KIND_SERVER"] * 4, "ServiceName": ["cart"] * 4,
         "Duration": [5, 4, 3, 2], "StatusCode": ["STATUS_CODE_UNSET"] * 4}
    )  # fmt: skip
    root.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, root / "otel_traces.parquet")
    return root / "otel_traces.parquet"


def rcaeval(root: Path) -> Path:
    folder = root / "online-boutique" / "cartservice_cpu" / "1"
    folder.mkdir(parents=True)
    seconds = list(range(T0, T0 + 120))
    names = ("cartservice_cpu", "frontend_cpu", "cartservice_mem", "frontend_latency-90")
    columns = {"time": seconds} | {name: [float(k % 7) for k in range(120)] for name in names}
    pa_csv.write_csv(pa.table(columns), folder / "data.csv")
    write(folder / "inject_time.txt", str(T0 + 60))
    return root


def rcabench(root: Path) -> Path:
    folder = root / "ts0-cpu"
    folder.mkdir(parents=True)

    def times(*seconds: int) -> pa.Array:
        return pa.array([(T0 + s) * 10**9 for s in seconds]).cast(pa.timestamp("ns", tz="UTC"))

    for period, at in (("normal", 10), ("abnormal", 310)):
        spans = {
            "time": times(at), "trace_id": ["t1"], "span_id": [f"{at}a"], "parent_span_id": [""],
            "service_name": ["cart"], "span_name": ["GET /cart"], "duration": pa.array([5_000_000], pa.uint64()),
            "attr.span_kind": ["Server"], "attr.status_code": ["Unset"],
        }  # fmt: skip
        pq.write_table(pa.table(spans), folder / f"{period}_traces.parquet")
    injection = {"fault_type": 4, "display_config": "{}", "ground_truth": {"service": ["cart"]}}
    write(folder / "injection.json", json.dumps(injection))
    stamps = {"NORMAL_START": T0, "NORMAL_END": T0 + 300, "ABNORMAL_START": T0 + 300, "ABNORMAL_END": T0 + 600}
    write(folder / "env.json", json.dumps({key: str(value) for key, value in stamps.items()}))
    return root


def nezha(root: Path) -> Path:
    day, pod, eight = "2023-01-29", "cart-api-6f4c-x1", 1_674_979_200 * 10**9
    start = eight + 30 * 60 * 10**9 + 11 * 10**9
    faults = {
        "08": [{"inject_timestamp": "1", "inject_pod": pod, "inject_time": f"{day} 08:30:10", "inject_type": "return"}]
    }
    write(root / f"shop/rca_data/{day}/{day}-fault_list.json", json.dumps(faults))
    header = "TraceID,SpanID,ParentID,PodName,OperationName,StartTimeUnixNano,EndTimeUnixNano,Duration\n"
    span = f"t1,s1,root,{pod},GET /cart,{start},{start + 5_000_000},5000\n"
    write(root / f"shop/rca_data/{day}/trace/08_30_trace.csv", header + span)
    rows = [f"{day} 08:{m:02d}:09.5 +0000 UTC m=+{m}.1,1861000000,{pod},{10 + m}\n" for m in range(60)]
    write(
        root / f"shop/rca_data/{day}/metric/{pod}_metric.csv",
        "Time,TimeStamp,PodName,CpuUsageRate(%)\n" + "".join(rows),
    )
    return root / "shop"


SAMPLES: dict[str, Callable[[Path], Path]] = {
    "case": case, "otlp": otlp, "jaeger": jaeger, "metrics_csv": metrics_csv, "otel_clickhouse": otel_clickhouse,
    "rcaeval": rcaeval, "rcabench": rcabench, "nezha": nezha,
}  # fmt: skip
