"""Metric samples: per instance, node and service, following the simulated requests, the load and the faults."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from aetia.lab.sim.engine import CLIENT, CONSUMER, SERVER
from aetia.lab.sim.scenario import Scenario
from aetia.lab.sim.spans import SpanChunk, coded
from aetia.lab.sim.state import F64, State, inside
from aetia.lab.sim.state import Bool as Mask
from aetia.model.tables import METRICS, TEXT, TIME

OTEL = {
    "cpu": "container.cpu.usage",
    "cpu_limit": "k8s.container.cpu_limit_utilization",
    "throttled": "container.cpu.throttled_time",
    "memory": "container.memory.working_set",
    "memory_limit": "k8s.container.memory_limit_utilization",
    "threads": "process.thread.count",
    "blocked": "process.thread.blocked",
    "receive": "k8s.pod.network.receive",
    "transmit": "k8s.pod.network.transmit",
    "retransmit": "k8s.pod.network.errors",
    "gc": "runtime.gc.pause_time",
    "heap": "runtime.heap.used",
    "pool_used": "db.client.connections.usage",
    "pool_max": "db.client.connections.max",
    "pool_pending": "db.client.connections.pending_requests",
    "restarts": "k8s.container.restarts",
    "uptime": "process.uptime",
    "disk_io": "container.disk.io_time",
    "requests": "http.server.request.count",
    "errors": "http.server.request.errors",
    "latency": "http.server.request.duration.p95",
    "node_cpu": "system.cpu.utilization",
    "node_memory": "system.memory.utilization",
    "node_disk": "system.disk.utilization",
    "node_load": "system.cpu.load_average.1m",
}
PROMETHEUS = {
    "cpu": "container_cpu_usage_seconds_total",
    "cpu_limit": "container_cpu_limit_utilization_ratio",
    "throttled": "container_cpu_cfs_throttled_seconds_total",
    "memory": "container_memory_working_set_bytes",
    "memory_limit": "container_memory_limit_utilization_ratio",
    "threads": "process_threads",
    "blocked": "process_threads_blocked",
    "receive": "container_network_receive_bytes_total",
    "transmit": "container_network_transmit_bytes_total",
    "retransmit": "container_network_tcp_retransmits_total",
    "gc": "runtime_gc_pause_seconds_total",
    "heap": "runtime_heap_used_bytes",
    "pool_used": "db_pool_connections_active",
    "pool_max": "db_pool_connections_max",
    "pool_pending": "db_pool_connections_pending",
    "restarts": "kube_pod_container_status_restarts_total",
    "uptime": "process_uptime_seconds",
    "disk_io": "container_fs_io_time_seconds_total",
    "requests": "http_requests_total",
    "errors": "http_request_errors_total",
    "latency": "http_request_duration_p95_milliseconds",
    "node_cpu": "node_cpu_utilization_ratio",
    "node_memory": "node_memory_utilization_ratio",
    "node_disk": "node_disk_io_utilization_ratio",
    "node_load": "node_load1",
}
UNITS = {
    "cpu": "{cpu}",
    "cpu_limit": "1",
    "throttled": "s",
    "memory": "By",
    "memory_limit": "1",
    "receive": "By",
    "transmit": "By",
    "gc": "s",
    "heap": "By",
    "uptime": "s",
    "disk_io": "s",
    "latency": "ms",
    "node_cpu": "1",
    "node_memory": "1",
    "node_disk": "1",
}
COUNTERS = {"throttled", "receive", "transmit", "retransmit", "gc", "restarts", "disk_io", "requests", "errors"}
LATENCY_EDGES = np.concatenate([[0.0], np.geomspace(0.5, 40_000, 60)])


@dataclass(slots=True)
class Block:
    """One metric of all entities of one sort: values (entities, samples), NaN where nothing is sampled."""

    key: str
    values: F64
    of: str


class MetricWriter:
    """Collects what metrics need from the spans, on bins of one second, then writes all samples at the end."""

    def __init__(self, scenario: Scenario, state: State, power: F64) -> None:
        self.scenario, self.state = scenario, state
        system = scenario.system
        self.power = power[np.array(system.instance_service)]
        shape = (len(system.instances), state.bins)
        self.busy, self.served, self.sent = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        self.open_s = np.zeros(shape)
        self.step = max(1, round(scenario.metric_step_s))
        self.samples = state.bins // self.step
        services = (len(system.services), state.bins)
        self.requests, self.errors = np.zeros(services), np.zeros(services)
        self.latency = np.zeros((len(system.services), self.samples + 1, len(LATENCY_EDGES)), np.int32)

    def add(self, chunk: SpanChunk) -> None:
        """Count one chunk of spans."""
        rows, bins = chunk.rows, self.state.bins
        second = np.minimum(rows.start_s.astype(np.int64), bins - 1)
        at = rows.instance.astype(np.int64) * bins + second
        server = (chunk.kind == SERVER) | (chunk.kind == CONSUMER)
        client = chunk.kind == CLIENT
        took = rows.end_s - rows.start_s
        for target, mask, weight in (
            (self.busy, server, rows.own_s),
            (self.served, server, None),
            (self.sent, client, None),
            (self.open_s, server, took),
        ):
            target += np.bincount(at[mask], None if weight is None else weight[mask], target.size).reshape(target.shape)
        of_service = chunk.service[server].astype(np.int64) * bins + second[server]
        self.requests += np.bincount(of_service, None, self.requests.size).reshape(self.requests.shape)
        self.errors += np.bincount(of_service, chunk.failed[server], self.errors.size).reshape(self.errors.shape)
        cell = np.searchsorted(LATENCY_EDGES, took[server] * 1e3, side="right") - 1
        slot = np.minimum(second[server] // self.step, self.samples)
        flat = (chunk.service[server] * self.latency.shape[1] + slot) * len(LATENCY_EDGES) + cell
        self.latency += np.bincount(flat, None, self.latency.size).reshape(self.latency.shape).astype(np.int32)

    def _mean(self, values: F64) -> F64:
        """Means over each sampling interval, shape (entities, samples)."""
        used = values[:, : self.samples * self.step]
        return used.reshape(len(values), self.samples, self.step).mean(2)

    def table(self) -> pa.Table:
        """All samples as a metrics table, sorted by metric, entity and time."""
        return pa.concat_tables(list(self.tables())).unify_dictionaries()

    def tables(self) -> Iterator[pa.Table]:
        """One table per metric name, each sorted by entity and time."""
        rng = np.random.default_rng([self.scenario.seed, 6])
        for block in (*self._instances(rng), *self._services(), *self._nodes(rng)):
            yield self._rows(block, rng)

    @property
    def size(self) -> int:
        """Samples when nothing is missing: 17 series per instance, 3 per service, 4 per node."""
        entities = 17 * len(self.busy) + 3 * len(self.requests) + 4 * len(self.scenario.system.nodes)
        return entities * self.samples

    def _dead(self) -> Mask:
        """Where an instance was down at the moment of sampling."""
        at = (np.arange(self.samples) + 1.0) * self.step
        dead = np.zeros((len(self.busy), self.samples), np.bool_)
        for instance, intervals in self.state.down.items():
            dead[instance] = inside(intervals, np.asarray(at, np.float64))
        return dead

    def _instances(self, rng: np.random.Generator) -> list[Block]:
        state, system = self.state, self.scenario.system
        shape = (len(self.busy), self.samples)

        def noisy(values: F64, relative: float) -> F64:
            return values * np.clip(rng.normal(1.0, relative, shape), 0.2, 3.0)

        services = [system.services[i] for i in system.instance_service]
        limit_bytes = np.array([s.memory_limit_bytes for s in services])[:, None]
        pool_max = np.array([float(s.pool_size) for s in services])[:, None]
        runtime_gc = np.array(
            [{"jvm": 0.012, "go": 0.002, "python": 0.003, "node": 0.006}[s.runtime] for s in services]
        )[:, None]
        # Work stretched by others' cpu use is not more cpu of its own; the stolen share is what the container shows.
        idle = 0.02
        stolen = self._mean(state.stolen)
        stretch = 1.0 / (1.0 - np.clip(stolen, 0.0, 0.95))
        used = np.clip(idle + self._mean(self.busy) / stretch / self.power[:, None] + stolen, 0.0, 1.0)
        used = np.clip(noisy(used, 0.06), 0.0, 1.0)
        served, sent, open_ = self._mean(self.served), self._mean(self.sent), self._mean(self.open_s)
        wander = np.cumsum(rng.normal(0, 0.002, shape), axis=1)
        memory = np.array([s.memory_bytes for s in services])[:, None] * (1 + wander + 0.03 * used) + self._mean(
            state.memory
        )
        memory = np.minimum(memory, 0.995 * limit_bytes)
        gc = runtime_gc * (0.3 + used) + self._mean(state.gc_share)
        pool, pending = self._pool(open_, pool_max, rng)
        cores = np.round(0.25 + 2 * rng.random((len(services), 1)), 2)
        throttled = np.clip(used - 0.85, 0, None) * 3 + 0.002
        transmit = served * 2100 + sent * 650 + 300
        lost = self._lossy(sent)
        disk = np.clip(0.01 + served * 0.0005 + self._mean(state.disk_busy), 0, 1)
        blocked = self._mean(state.blocked)
        blocks = {
            "cpu": used * cores,
            "cpu_limit": used,
            "throttled": noisy(throttled, 0.3),
            "memory": memory,
            "memory_limit": memory / limit_bytes,
            "threads": np.rint(12 + open_ * 1.1 + blocked + rng.integers(-1, 2, shape)),
            "blocked": np.rint(blocked + rng.poisson(0.1, shape)),
            "receive": noisy(served * 700 + sent * 1900 + 300, 0.08),
            "transmit": noisy(transmit, 0.08),
            "retransmit": rng.poisson(lost + 0.02) * 1.0,
            "gc": noisy(gc, 0.2),
            "heap": noisy(memory * 0.7, 0.05),
            "pool_used": pool,
            "pool_max": pool_max + np.zeros(shape),
            "pool_pending": pending,
            "disk_io": noisy(disk, 0.15),
        }
        blocks["restarts"], blocks["uptime"] = self._lives(shape, rng)
        dead = self._dead()
        return [Block(key, np.where(dead, np.nan, values), "instance") for key, values in blocks.items()]

    def _lives(self, shape: tuple[int, int], rng: np.random.Generator) -> tuple[F64, F64]:
        """Restarts per second and seconds since the last one, shape (instances, samples)."""
        restarts = np.zeros(shape)
        uptime = np.arange(1, self.samples + 1) * float(self.step) + rng.uniform(3600, 900_000, (shape[0], 1))
        for instance, times in self.state.restarts.items():
            for back in times:
                slot = min(int(back // self.step), self.samples - 1)
                restarts[instance, slot] += 1.0 / self.step
                after = np.arange(slot, self.samples)
                uptime[instance, after] = (after + 1) * self.step - back
        return restarts, uptime

    def _pool(self, open_: F64, size: F64, rng: np.random.Generator) -> tuple[F64, F64]:
        used = np.clip(np.rint(open_ * 0.5 + rng.poisson(0.6, open_.shape)), 0, size)
        pending = rng.poisson(0.02, open_.shape).astype(np.float64)
        at = (np.arange(self.samples) + 1.0) * self.step
        for instance, rule in self.state.pools.items():
            active = (at >= rule.start) & (at < rule.end)
            leak = np.clip((at - rule.start) / max(rule.ramp_s, 1e-9), 0, 1) * size[instance]
            used[instance] = np.where(
                active, np.minimum(size[instance], np.maximum(used[instance], np.rint(leak))), used[instance]
            )
            full = active & (at >= rule.start + rule.ramp_s)
            pending[instance] += full * np.rint(1 + open_[instance])
        return used, pending

    def _lossy(self, sent: F64) -> F64:
        """Expected retransmissions per second of each instance on lossy links."""
        out = np.zeros_like(sent)
        at = (np.arange(self.samples) + 0.5) * self.step
        for (caller, callee), rules in self.state.link_rules.items():
            for rule in rules:
                active = (at >= rule.start) & (at < rule.end)
                ends = [*self.state.instances_of(caller), *self.state.instances_of(callee)]
                hit = [i for i in ends if rule.instances is None or i in rule.instances]
                out[hit] += active * rule.loss * np.maximum(sent[hit], 0.5)
        return out

    def _services(self) -> list[Block]:
        counts = self.latency[:, : self.samples]
        below = counts.cumsum(2)
        total = below[:, :, -1]
        cell = (below >= 0.95 * total[:, :, None]).argmax(2)
        p95 = np.where(total > 0, LATENCY_EDGES[np.minimum(cell + 1, len(LATENCY_EDGES) - 1)], np.nan)
        return [
            Block("requests", self._mean(self.requests), "service"),
            Block("errors", self._mean(self.errors), "service"),
            Block("latency", p95, "service"),
        ]

    def _nodes(self, rng: np.random.Generator) -> list[Block]:
        system, state = self.scenario.system, self.state
        n, shape = len(system.nodes), (len(system.nodes), self.samples)
        placed = np.array(system.instance_node)
        share = np.clip(self._mean(self.busy) / self.power[:, None], 0, 1.2) * 0.12
        cpu = np.zeros(shape)
        np.add.at(cpu, placed, share + 0.1 * self._mean(state.stolen))
        cpu = np.clip(0.06 + cpu + self._mean(state.node_stolen) + rng.normal(0, 0.012, shape), 0.01, 1.0)
        memory = np.clip(rng.uniform(0.35, 0.7, (n, 1)) + np.cumsum(rng.normal(0, 0.001, shape), 1), 0.1, 0.97)
        disk = np.clip(0.05 + self._mean(state.node_disk) + np.abs(rng.normal(0, 0.02, shape)), 0, 1)
        load = cpu * 8 * np.clip(rng.normal(1, 0.08, shape), 0.5, 2)
        return [
            Block("node_cpu", cpu, "node"),
            Block("node_memory", memory, "node"),
            Block("node_disk", disk, "node"),
            Block("node_load", load, "node"),
        ]

    def _rows(self, block: Block, rng: np.random.Generator) -> pa.Table:
        scenario, system = self.scenario, self.scenario.system
        names = OTEL if system.metric_style == "otel" else PROMETHEUS
        counter = block.key in COUNTERS or (block.key == "cpu" and system.metric_style == "prometheus")
        values = self._accumulate(block, rng) if counter else block.values
        n = len(values)
        # Every exporter has its own phase; a sample belongs to the interval that ends with it.
        phase = rng.uniform(-0.3, 0.0, (n, 1)) * min(self.step, 5)
        time_s = (np.arange(self.samples) + 1.0) * self.step + phase
        entity = np.repeat(np.arange(n), self.samples)
        flat = values.ravel()
        keep = np.isfinite(flat)
        entity, flat = entity[keep], flat[keep]
        time_ns = scenario.start_ns + np.rint(time_s.ravel()[keep] * 1e6).astype(np.int64) * 1000
        rows = len(entity)
        nothing = coded(np.zeros(rows, np.int32), [None])
        services, nodes = [s.name for s in system.services], list(system.nodes)
        of_instance = block.of == "instance"
        columns: dict[str, Any] = {
            "time": pa.array(time_ns).cast(TIME),
            "name": coded(np.zeros(rows, np.int32), [names[block.key]]),
            "value": pa.array(flat),
            "unit": coded(
                np.zeros(rows, np.int32), ["s" if counter and block.key == "cpu" else UNITS.get(block.key, "1")]
            ),
            "type": coded(np.zeros(rows, np.int32), ["counter" if counter else "gauge"]),
            "service": coded(np.array(system.instance_service)[entity] if of_instance else entity, services)
            if block.of != "node"
            else nothing,
            "instance": coded(entity, list(system.instances)) if of_instance else nothing,
            "node": coded(np.array(system.instance_node)[entity] if of_instance else entity, nodes)
            if block.of != "service"
            else nothing,
            "attributes": nothing,
        }
        kinds = {f.name: f.type for f in METRICS}
        fields = [
            pa.field(c, kinds[c] if c in ("time", "value") else pa.dictionary(pa.int32(), TEXT)) for c in METRICS.names
        ]
        return pa.Table.from_arrays([columns[c] for c in METRICS.names], schema=pa.schema(fields))

    def _accumulate(self, block: Block, rng: np.random.Generator) -> F64:
        """Rates per second to running totals that begin anywhere and fall to zero when the process restarts."""
        rates = np.nan_to_num(block.values) * self.step
        total = np.cumsum(rates, axis=1) + np.round(
            rng.uniform(0, 50, (len(rates), 1)) * (rates.mean(1, keepdims=True) + 0.01) * 100
        )
        if block.key == "restarts":
            total = np.cumsum(np.rint(rates), axis=1) + rng.poisson(0.2, (len(rates), 1))
        elif block.of == "instance":
            for instance, times in self.state.restarts.items():
                for back in times:
                    slot = min(int(back // self.step), self.samples - 1)
                    total[instance, slot:] -= total[instance, slot] - rates[instance, slot]
        return np.where(np.isnan(block.values), np.nan, total)
