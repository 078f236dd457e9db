"""Writes simulated incidents in the columns, units, sampling and gaps of other data sets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as _compute
import pyarrow.csv as _csv
from numpy.typing import NDArray

from _shapes_draw import BIN_S, FAMILIES, Family, Made
from _shapes_more import write_alerts, write_rcabench
from _shapes_sample import F64, Binned, asked, binned, called, per_service, rolling, served
from aetia.ingest.case import write_case
from aetia.lab.sim.metrics import OTEL, PROMETHEUS
from aetia.model.tables import LOGS, METRICS, SPANS, Telemetry
from aetia.model.window import NS_PER_SECOND, Window

pc: Any = _compute
csv: Any = _csv
RCAEVAL_FAULTS = {
    "cpu": "cpu", "memory_leak": "mem", "disk": "disk", "network_delay": "delay", "network_loss": "loss",
    "pool_exhaustion": "socket",
}  # fmt: skip
DISK_BYTES_PER_S = 5e6
HIDDEN_SHARE = 0.4


def _services(made: Made) -> list[str]:
    return [service.name for service in made.scenario.system.services]


# ---- RCAEval ----------------------------------------------------------------------------------------------


def _wide(made: Made, *, full: bool) -> dict[str, Any]:
    """Columns `<service>_<metric>` of one-second samples: cpu in percent of a core, memory in bytes, latency in s.

    Only services that ever fail have an error column, and none is written for what was never requested.
    """
    scenario, services = made.scenario, _services(made)
    seconds = int(scenario.total_s)

    def metric(key: str) -> F64:
        return per_service(made.telemetry.metrics, OTEL[key], services, scenario.start_ns, seconds)

    spans, start = made.telemetry.spans, scenario.start_ns
    seen = rolling(served(spans, start, services), asked(spans, start, services), len(services), seconds)
    series = {"cpu": 100.0 * metric("cpu"), "mem": metric("memory")}
    if full:
        series["diskio"] = DISK_BYTES_PER_S * metric("disk_io")
        series["socket"] = np.rint(2.0 + metric("pool_used") + metric("pool_pending") + 0.5 * metric("threads"))
    series["workload" if full else "load"] = seen.load
    series |= {"error": seen.errors, "latency-50": seen.p50_s, "latency-90": seen.p90_s}
    columns: dict[str, Any] = {"time": pa.array(scenario.start_ns // NS_PER_SECOND + np.arange(seconds))}
    for name, values in series.items():
        for row, service in enumerate(services):
            known = np.isfinite(values[row])
            if known.any() and (name != "error" or np.any(values[row] > 0)):
                columns[f"{service}_{name}"] = pa.array(values[row], mask=~known)
    return columns


def _rcaeval_folder(out: Path, made: Made) -> Path:
    fault = made.scenario.faults[0]
    label = f"{fault.service}_{RCAEVAL_FAULTS[fault.fault]}"
    folder = out / made.scenario.system.name / label / str(made.number)
    folder.mkdir(parents=True)
    onset = made.scenario.start_ns / NS_PER_SECOND + made.scenario.baseline_s
    (folder / "inject_time.txt").write_text(f"{int(onset)}\n", encoding="utf-8")
    return folder


def write_re1(out: Path, made: Made) -> None:
    """Metrics only, in one wide `data.csv`."""
    csv.write_csv(pa.table(_wide(made, full=False)), _rcaeval_folder(out, made) / "data.csv")


def write_re2(out: Path, made: Made) -> None:
    """Metrics, logs and traces."""
    _write_re2(out, made, frozenset())


def write_re2_hidden(out: Path, made: Made) -> None:
    """The same with 40 % of the services behind the gateways without spans."""
    system = made.scenario.system
    inner = [service.name for service in system.services if service.layer > 0]
    rng = np.random.default_rng([system.seed, 44])
    hidden = rng.choice(np.array(inner), size=round(HIDDEN_SHARE * len(system.services)), replace=False)
    _write_re2(out, made, frozenset(str(name) for name in hidden))


def _write_re2(out: Path, made: Made, hidden: frozenset[str]) -> None:
    folder = _rcaeval_folder(out, made)
    csv.write_csv(pa.table(_wide(made, full=True)), folder / "simple_metrics.csv")
    rng = np.random.default_rng([made.scenario.seed, 45])
    csv.write_csv(_re2_logs(made.telemetry.logs, rng), folder / "logs.csv")
    spans = made.telemetry.spans
    shown = pc.invert(pc.is_in(spans["service"].cast(pa.string()), value_set=pa.array(sorted(hidden), pa.string())))
    csv.write_csv(_re2_spans(spans.filter(shown)), folder / "traces.csv")


def _clock(times: Any) -> Any:
    return pc.strftime(times, format="%H:%M")


def _re2_logs(logs: pa.Table, rng: np.random.Generator) -> pa.Table:
    """Levels in mixed case, one in eight of them missing."""
    level = logs["severity"].cast(pa.string())
    styled = pc.if_else(pa.array(rng.random(len(level)) < 0.5), pc.utf8_upper(level), level)
    nothing = pa.nulls(logs.num_rows, pa.string())
    return pa.table(
        {
            "time": _clock(logs["time"]), "timestamp": logs["time"].cast(pa.int64()),
            "container_name": logs["service"].cast(pa.string()), "message": logs["body"].cast(pa.string()),
            "level": pc.if_else(pa.array(rng.random(len(level)) < 0.12), pa.scalar(None, pa.string()), styled),
            "req_path": nothing, "error": nothing, "cluster_id": nothing, "log_template": nothing,
        }
    )  # fmt: skip


def _re2_spans(spans: pa.Table) -> pa.Table:
    name = spans["name"].cast(pa.string())
    start = spans["time"].cast(pa.int64())
    return pa.table(
        {
            "time": _clock(spans["time"]), "traceID": spans["trace_id"], "spanID": spans["span_id"],
            "serviceName": spans["service"].cast(pa.string()),
            "methodName": pc.replace_substring_regex(name, ".*/", ""), "operationName": name,
            "startTimeMillis": pc.divide(start, 1_000_000), "startTime": pc.divide(start, 1000),
            "duration": pc.divide(spans["duration_ns"], 1000), "statusCode": spans["status_code"].cast(pa.string()),
            "parentSpanID": spans["parent_span_id"],
        }
    )  # fmt: skip


# ---- PetShop ----------------------------------------------------------------------------------------------


def _petshop_rows(values: Binned, places: list[dict[str, Any]], times: NDArray[np.int64]) -> pa.Table:
    """Rows of every metric of some places, each a dict of service and attributes."""
    with np.errstate(invalid="ignore"):
        availability = 100.0 * (1 - values.errors / np.where(values.requests > 0, values.requests, np.nan))
    sums = np.where(values.requests > 0, values.requests, np.nan)
    series = {
        "requests_sum": (sums, "1"), "errors_sum": (np.where(values.requests > 0, values.errors, np.nan), "1"),
        "availability_average": (availability, "%"), "latency_average": (values.average, "s"),
        **{f"latency_{name}": (table, "s") for name, table in values.quantiles.items()},
    }  # fmt: skip
    tables: list[pa.Table] = []
    for name, (table, unit) in series.items():
        place, slot = np.nonzero(np.isfinite(table))
        n = len(place)
        columns: dict[str, Any] = {
            "time": times[slot], "name": [name] * n, "value": table[place, slot], "unit": [unit] * n,
            "type": ["gauge"] * n, "service": [places[i]["service"] for i in place], "instance": pa.nulls(n),
            "node": pa.nulls(n), "attributes": [places[i]["attributes"] for i in place],
        }  # fmt: skip
        tables.append(pa.table(columns, schema=METRICS))
    return pa.concat_tables(tables)


def _petshop(out: Path, made: Made, *, edges: bool, graph: bool) -> None:
    """Five-minute bins, stamped with their start; dependencies without telemetry are seen by their callers alone."""
    scenario, spans = made.scenario, made.telemetry.spans
    bins, start = int(scenario.total_s // BIN_S), scenario.start_ns
    times = start + np.arange(bins) * BIN_S * NS_PER_SECOND
    topology = made.telemetry.topology
    pairs = sorted({(str(row["caller"]), str(row["callee"])) for row in topology.to_pylist()})
    services = _services(made)
    outside = sorted({callee for _, callee in pairs} - set(services))
    node = binned(served(spans, start, services), len(services), bins, BIN_S)
    parts = [_petshop_rows(node, [{"service": name, "attributes": None} for name in services], times)]
    seen = called(spans, start, pairs)
    to = np.array([outside.index(callee) if callee in outside else -1 for _, callee in pairs])
    remote = seen._replace(place=to[seen.place]).only(to[seen.place] >= 0)
    if outside:
        places = [{"service": name, "attributes": None} for name in outside]
        parts.append(_petshop_rows(binned(remote, len(outside), bins, BIN_S), places, times))
    if edges:
        named = [
            {"service": callee, "attributes": json.dumps({"caller": caller, "callee": callee})}
            for caller, callee in pairs
        ]
        parts.append(_petshop_rows(binned(seen, len(pairs), bins, BIN_S), named, times))
    telemetry = Telemetry(metrics=pa.concat_tables(parts)) if not graph else Telemetry(
        metrics=pa.concat_tables(parts), topology=topology
    )  # fmt: skip
    onset = start + int(scenario.baseline_s) * NS_PER_SECOND
    case = msgspec.structs.replace(
        made.case, baseline=Window(start, onset), incident=Window(onset, start + bins * BIN_S * NS_PER_SECOND)
    )
    write_case(out / case.id, case, telemetry)


def write_petshop(out: Path, made: Made) -> None:
    """Nodes, edges and the call graph."""
    _petshop(out, made, edges=True, graph=True)


def write_petshop_nodes(out: Path, made: Made) -> None:
    """Nodes and the call graph."""
    _petshop(out, made, edges=False, graph=True)


def write_petshop_nograph(out: Path, made: Made) -> None:
    """Nodes alone."""
    _petshop(out, made, edges=False, graph=False)


# ---- pods and nodes ---------------------------------------------------------------------------------------

POD_METRICS = ("cpu", "memory", "receive", "transmit", "restarts", "node_cpu", "node_memory", "node_disk", "node_load")


def _pod_metrics(made: Made) -> pa.Table:
    names = pa.array([PROMETHEUS[key] for key in POD_METRICS])
    metrics = made.telemetry.metrics
    return metrics.filter(pc.is_in(metrics["name"].cast(pa.string()), value_set=names))


def write_pods(out: Path, made: Made) -> None:
    """One-minute metrics of pods and nodes."""
    write_case(out / made.case.id, made.case, Telemetry(metrics=_pod_metrics(made)))


def write_pods_spans(out: Path, made: Made) -> None:
    """The same with spans."""
    telemetry = Telemetry(metrics=_pod_metrics(made), spans=made.telemetry.spans)
    write_case(out / made.case.id, made.case, telemetry)


# ---- one kind of telemetry --------------------------------------------------------------------------------


def _without(table: pa.Table, schema: pa.Schema, *names: str) -> pa.Table:
    for name in names:
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, pa.nulls(table.num_rows, schema.field(name).type))
    return table


def write_bare_spans(out: Path, made: Made) -> None:
    """Spans that say neither what side of a call they are nor how it went nor whom they called."""
    spans = _without(made.telemetry.spans, SPANS, "kind", "status", "status_code", "peer", "attributes", "events")
    write_case(out / made.case.id, made.case, Telemetry(spans=spans))


def write_logs_only(out: Path, made: Made) -> None:
    """Log lines of services without trace ids and templates."""
    logs = _without(made.telemetry.logs, LOGS, "trace_id", "span_id", "template", "attributes")
    write_case(out / made.case.id, made.case, Telemetry(logs=logs))


def names_cause(shape: str, made: Made) -> bool:
    """Whether the true cause is named in this shape at all: dependencies without telemetry are named by peers,
    edges and graphs alone, machines by metrics alone."""
    fault = made.scenario.faults[0]
    return not (fault.external and shape in NO_EXTERNALS) and not (fault.node and shape in NO_NODES)


NO_EXTERNALS = ("pods", "bare_spans", "logs_only")
NO_NODES = ("bare_spans", "logs_only", "alerts")
Writer = Callable[[Path, Made], None]
SHAPES: dict[str, tuple[Family, Writer]] = {
    "re1": (FAMILIES["re1"], write_re1), "re2": (FAMILIES["re2"], write_re2),
    "re2_hidden": (FAMILIES["re2"], write_re2_hidden), "petshop": (FAMILIES["petshop"], write_petshop),
    "petshop_nodes": (FAMILIES["petshop"], write_petshop_nodes),
    "petshop_nograph": (FAMILIES["petshop"], write_petshop_nograph), "pods": (FAMILIES["pods"], write_pods),
    "pods_spans": (FAMILIES["pods"], write_pods_spans), "bare_spans": (FAMILIES["plain"], write_bare_spans),
    "logs_only": (FAMILIES["plain"], write_logs_only), "alerts": (FAMILIES["plain"], write_alerts),
    "rcabench": (FAMILIES["rcabench"], write_rcabench),
}  # fmt: skip
