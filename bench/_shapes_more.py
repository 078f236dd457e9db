"""Two further shapes of `shapes.py`: RCABench's datapacks, and alerts with a call graph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as _compute
import pyarrow.parquet as _parquet

from _shapes_draw import Made
from _shapes_sample import F64, Calls, binned, served
from aetia.ingest.case import write_case
from aetia.model.tables import CHANGES, TIME, Telemetry
from aetia.model.window import NS_PER_SECOND

pc: Any = _compute
pq: Any = _parquet
RCABENCH_FAULTS = {
    "crash": "PodFailure", "restart_loop": "ContainerKill", "cpu": "CPUStress", "memory_leak": "MemoryStress",
    "exception": "JVMException", "wrong_code": "HTTPResponseReplaceCode", "early_return": "JVMReturn",
    "latency": "JVMLatency", "network_delay": "NetworkDelay", "network_loss": "NetworkLoss",
    "partition": "NetworkPartition", "dns": "DNSError", "gc": "JVMGarbageCollector",
}  # fmt: skip
EXPORT_S = 60
"""Seconds between two exports of a runtime's histograms."""


# ---- RCABench ---------------------------------------------------------------------------------------------


def write_rcabench(out: Path, made: Made) -> None:
    """One datapack: spans, logs, gauges, sums and histograms of a normal and an abnormal period."""
    fault, telemetry, start = made.scenario.faults[0], made.telemetry, made.scenario.start_ns
    folder = out / f"ts0-{fault.service or (fault.edge or ('',))[-1]}-{fault.fault.replace('_', '-')}-{made.number:04d}"
    folder.mkdir(parents=True)
    middle = start + round(made.scenario.baseline_s * NS_PER_SECOND)
    requests = pc.starts_with(_text(telemetry.metrics, "name"), "http.")
    metrics = telemetry.metrics.filter(pc.invert(requests))
    counter = pc.equal(metrics["type"].cast(pa.string()), "counter")
    tables = {
        "traces": _traces(telemetry.spans), "logs": _logs(telemetry.logs),
        "metrics": _points(metrics.filter(pc.invert(counter))), "metrics_sum": _points(metrics.filter(counter)),
        "metrics_histogram": _histograms(made),
    }  # fmt: skip
    for name, table in tables.items():
        before = pc.less(table["time"].cast(pa.int64()), middle)
        pq.write_table(table.filter(before), folder / f"normal_{name}.parquet")
        pq.write_table(table.filter(pc.invert(before)), folder / f"abnormal_{name}.parquet")
    end = start + round(made.scenario.total_s * NS_PER_SECOND)
    times = {"NORMAL_START": start, "NORMAL_END": middle, "ABNORMAL_START": middle, "ABNORMAL_END": end}
    env = {"TIMEZONE": "UTC", **{key: str(value // NS_PER_SECOND) for key, value in times.items()}}
    service = made.case.truth[0].service if made.case.truth else None
    injection = {"fault_type": RCABENCH_FAULTS[fault.fault], "ground_truth": {"service": [service]}}
    (folder / "env.json").write_text(json.dumps(env), encoding="utf-8")
    (folder / "injection.json").write_text(json.dumps(injection), encoding="utf-8")


def _text(table: pa.Table, name: str) -> Any:
    return table[name].cast(pa.string())


def _traces(spans: pa.Table) -> pa.Table:
    code = _text(spans, "status_code")
    return pa.table(
        {
            "time": spans["time"], "trace_id": spans["trace_id"], "span_id": spans["span_id"],
            "parent_span_id": pc.fill_null(spans["parent_span_id"], ""), "service_name": _text(spans, "service"),
            "span_name": _text(spans, "name"), "duration": spans["duration_ns"].cast(pa.uint64()),
            "attr.span_kind": pc.utf8_capitalize(_text(spans, "kind")),
            "attr.status_code": pc.utf8_capitalize(_text(spans, "status")),
            "attr.k8s.pod.name": _text(spans, "instance"),
            # Codes of gRPC calls have one or two digits and are not recorded as HTTP codes.
            "attr.http.response.status_code": pc.if_else(
                pc.equal(pc.utf8_length(code), 3), code, pa.scalar(None, pa.string())
            ).cast(pa.uint16()),
        }
    )  # fmt: skip


def _logs(logs: pa.Table) -> pa.Table:
    return pa.table(
        {
            "time": logs["time"], "trace_id": pc.fill_null(_text(logs, "trace_id"), ""),
            "span_id": pc.fill_null(_text(logs, "span_id"), ""), "level": pc.utf8_upper(_text(logs, "severity")),
            "service_name": _text(logs, "service"), "message": _text(logs, "body"),
            "attr.k8s.pod.name": _text(logs, "instance"),
        }
    )  # fmt: skip


def _points(metrics: pa.Table) -> pa.Table:
    """What the cluster measures names a deployment and no service; what the program measures names both."""
    name, service = _text(metrics, "name"), _text(metrics, "service")
    cluster = pc.or_(pc.starts_with(name, "container."), pc.starts_with(name, "k8s."))
    return pa.table(
        {
            "time": metrics["time"], "metric": name, "value": metrics["value"],
            "service_name": pc.if_else(cluster, pa.scalar("", pa.string()), service),
            "attr.k8s.node.name": _text(metrics, "node"),
            "attr.k8s.namespace.name": pa.array(["ts"] * metrics.num_rows),
            "attr.k8s.deployment.name": service, "attr.k8s.pod.name": _text(metrics, "instance"),
            "attr.k8s.container.name": pc.if_else(cluster, service, pa.scalar(None, pa.string())),
        }
    )  # fmt: skip


def _histograms(made: Made) -> pa.Table:
    """Running count and sum of request durations in s per service, least and largest of each export."""
    services = [service.name for service in made.scenario.system.services]
    start, bins = made.scenario.start_ns, int(made.scenario.total_s // EXPORT_S)
    requests = served(made.telemetry.spans, start, services)
    wide = binned(requests, len(services), bins, EXPORT_S)
    lowest, highest = _extremes(requests, len(services), bins)
    total = np.cumsum(np.nan_to_num(wide.average * wide.requests), axis=1)
    place, slot = np.nonzero(wide.requests > 0)
    times = start + (slot + 1) * EXPORT_S * NS_PER_SECOND
    return pa.table(
        {
            "time": pa.array(times).cast(TIME), "metric": ["http.server.request.duration"] * len(place),
            "service_name": [services[i] for i in place], "count": np.cumsum(wide.requests, axis=1)[place, slot],
            "sum": total[place, slot], "min": lowest[place, slot], "max": highest[place, slot],
        }
    )  # fmt: skip


def _extremes(requests: Calls, places: int, bins: int) -> tuple[F64, F64]:
    slot = (requests.end_s / EXPORT_S).astype(np.int64)
    keep = slot < bins
    cell = requests.place[keep] * bins + slot[keep]
    lowest, highest = np.full(places * bins, np.inf), np.zeros(places * bins)
    np.minimum.at(lowest, cell, requests.took_s[keep])
    np.maximum.at(highest, cell, requests.took_s[keep])
    return lowest.reshape(places, bins), highest.reshape(places, bins)


# ---- alerts -----------------------------------------------------------------------------------------------

EVAL_S = 30
FALSE_PER_HOUR = 0.3
"""Alerts per service and hour that mean nothing."""


def write_alerts(out: Path, made: Made) -> None:
    """Alerts of the usual rules, one line when a rule begins to hold, and the call graph."""
    scenario = made.scenario
    services = [service.name for service in scenario.system.services]
    rng = np.random.default_rng([scenario.seed, 46])
    found = _request_alerts(made, services) + _resource_alerts(made)
    for service in services:
        for _ in range(int(rng.poisson(FALSE_PER_HOUR * scenario.total_s / 3600))):
            found.append((float(rng.uniform(0, scenario.total_s)), service, "HighLatency: p95 above threshold"))
    found.sort()
    changes = pa.table(
        {
            "time": pa.array([scenario.start_ns + round(at * 1e9) for at, *_ in found], pa.int64()).cast(TIME),
            "kind": ["alert"] * len(found), "service": [service for _, service, _ in found],
            "description": [text for *_, text in found], "attributes": pa.nulls(len(found), pa.string()),
        },
        schema=CHANGES,
    )  # fmt: skip
    write_case(out / made.case.id, made.case, Telemetry(changes=changes, topology=made.telemetry.topology))


Alert = tuple[float, str, str]


def _rises(holds: np.ndarray, places: list[str], text: str, every_s: float) -> list[Alert]:
    """One alert wherever a rule (places, evaluations) begins to hold."""
    before = np.concatenate([np.zeros((len(holds), 1), np.bool_), holds[:, :-1]], axis=1)
    return [(float((slot + 1) * every_s), places[place], text) for place, slot in np.argwhere(holds & ~before)]


def _request_alerts(made: Made, services: list[str]) -> list[Alert]:
    """Rules on the requests of the last evaluation: thresholds are those of a service's usual behaviour."""
    bins = int(made.scenario.total_s // EVAL_S)
    usual = int(made.scenario.baseline_s // EVAL_S)
    wide = binned(served(made.telemetry.spans, made.scenario.start_ns, services), len(services), bins, EVAL_S)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = wide.errors / wide.requests
    p95 = np.nan_to_num(wide.quantiles["p95"])
    level = np.quantile(p95[:, :usual], 0.9, axis=1)[:, None]
    rate = np.median(wide.requests[:, :usual], axis=1)[:, None]
    enough = wide.requests >= 5
    return [
        *_rises(enough & (p95 > 1.5 * level + 0.02), services, "HighLatency: p95 above threshold", EVAL_S),
        *_rises(enough & (np.nan_to_num(share) > 0.05), services, "HighErrorRate: more than 5 % of requests", EVAL_S),
        *_rises((rate >= 10) & (wide.requests < 0.1 * rate), services, "NoTraffic: requests stopped", EVAL_S),
    ]


def _resource_alerts(made: Made) -> list[Alert]:
    """Rules on the instances' own metrics."""
    rows = made.telemetry.metrics
    at = (rows["time"].cast(pa.int64()).to_numpy() - made.scenario.start_ns) / NS_PER_SECOND
    names, owners = _text(rows, "name"), _text(rows, "service")
    out: list[Alert] = []
    rules = (
        (("k8s.container.cpu_limit_utilization", "container_cpu_limit_utilization_ratio"), 0.85, "HighCpu: above 85 %"),
        (("k8s.container.memory_limit_utilization", "container_memory_limit_utilization_ratio"), 0.9,
         "HighMemory: above 90 % of the limit"),
    )  # fmt: skip
    for metric, limit, text in rules:
        out += _first_above(rows, names, owners, at, metric, limit, text)
    restarts = ("k8s.container.restarts", "kube_pod_container_status_restarts_total")
    mask = pc.is_in(names, value_set=pa.array(restarts)).to_numpy()
    order = np.flatnonzero(mask)
    instance, value = np.array(_text(rows, "instance").to_pylist(), object)[order], rows["value"].to_numpy()[order]
    grew = (np.diff(value) > 0) & (instance[1:] == instance[:-1])
    for row in order[1:][grew]:
        out.append((float(at[row]), str(owners[int(row)].as_py()), "PodRestarted: a container restarted"))
    return out


def _first_above(
    rows: pa.Table, names: Any, owners: Any, at: F64, metric: tuple[str, ...], limit: float, text: str
) -> list[Alert]:
    """One alert per service and minute in which an instance begins to be above the limit."""
    order = np.flatnonzero(pc.is_in(names, value_set=pa.array(metric)).to_numpy())
    high = rows["value"].to_numpy()[order] > limit
    instance = np.array(_text(rows, "instance").to_pylist(), object)[order]
    begins = high.copy()
    begins[1:] &= ~(high[:-1] & (instance[1:] == instance[:-1]))
    found = {(int(at[row] // 60), str(owners[int(row)].as_py())): float(at[row]) for row in order[begins]}
    return [(when, service, text) for (_, service), when in found.items()]
