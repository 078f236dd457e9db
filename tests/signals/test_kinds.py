"""Metric names from many ecosystems are recognised by their whole words."""

import pytest

from aetia.signals.kinds import failed_outcome, quantile_name, recognise, words_of

# name, unit, what, bad, unit shown, scale
TABLE = [
    ("container_cpu_usage_seconds_total", None, "cpu", 1, "cores", 1.0),
    ("container_cpu_cfs_throttled_periods_total", None, "saturation", 1, "", 1.0),
    ("container_cpu_cfs_throttled_seconds_total", None, "saturation", 1, "ms", 1000.0),
    ("container_memory_working_set_bytes", None, "memory", 1, "bytes", 1.0),
    ("container_memory_failcnt", None, "memory", 1, "", 1.0),
    ("container_spec_memory_limit_bytes", None, "memory", 0, "bytes", 1.0),
    ("container_fs_writes_bytes_total", None, "disk", 0, "bytes", 1.0),
    ("container_fs_usage_bytes", None, "disk", 1, "bytes", 1.0),
    ("container_network_receive_bytes_total", None, "network", 0, "bytes", 1.0),
    ("container_network_transmit_packets_dropped_total", None, "network", 1, "", 1.0),
    ("container_network_receive_errors_total", None, "network", 1, "", 1.0),
    ("kube_pod_container_status_restarts_total", None, "restarts", 1, "count", 1.0),
    ("kube_pod_container_status_ready", None, "restarts", -1, "count", 1.0),
    ("kube_deployment_status_replicas_available", None, "restarts", -1, "count", 1.0),
    ("node_cpu_seconds_total", None, "cpu", 1, "cores", 1.0),
    ("node_memory_MemAvailable_bytes", None, "memory", -1, "bytes", 1.0),
    ("node_memory_MemTotal_bytes", None, "memory", 0, "bytes", 1.0),
    ("node_load1", None, "cpu", 1, "", 1.0),
    ("node_disk_io_time_seconds_total", None, "disk", 1, "ms", 1000.0),
    ("node_filesystem_avail_bytes", None, "disk", -1, "bytes", 1.0),
    ("node_netstat_Tcp_RetransSegs", None, "network", 1, "", 1.0),
    ("node_timex_offset_seconds", None, "clock", 0, "ms", 1000.0),
    ("istio_requests_total", None, "traffic", 0, "", 1.0),
    ("istio_request_duration_milliseconds", None, "latency", 1, "ms", 1.0),
    ("istio_request_bytes", None, "network", 0, "bytes", 1.0),
    ("istio_tcp_sent_bytes_total", None, "network", 0, "bytes", 1.0),
    ("envoy_cluster_upstream_rq_time", None, "latency", 1, "", 1.0),
    ("envoy_cluster_upstream_rq_5xx", None, "errors", 1, "", 1.0),
    ("envoy_cluster_upstream_rq_timeout", None, "errors", 1, "", 1.0),
    ("envoy_cluster_upstream_rq_total", None, "traffic", 0, "", 1.0),
    ("envoy_cluster_upstream_rq_pending_overflow", None, "saturation", 1, "", 1.0),
    ("envoy_cluster_upstream_cx_active", None, "pool", 1, "count", 1.0),
    ("envoy_cluster_upstream_rq_retry", None, "errors", 1, "", 1.0),
    ("http.server.request.duration", "s", "latency", 1, "ms", 1000.0),
    ("http.server.active_requests", "{request}", "saturation", 1, "count", 1.0),
    ("rpc.server.duration", "ms", "latency", 1, "ms", 1.0),
    ("http_requests_total", None, "traffic", 0, "", 1.0),
    ("http_request_duration_seconds", None, "latency", 1, "ms", 1000.0),
    ("grpc_server_handling_seconds", None, "latency", 1, "ms", 1000.0),
    ("jvm.gc.duration", "s", "gc", 1, "ms", 1000.0),
    ("jvm_gc_pause_seconds", None, "gc", 1, "ms", 1000.0),
    ("process.runtime.jvm.gc.duration", "ms", "gc", 1, "ms", 1.0),
    ("jvm.memory.used", "By", "memory", 1, "bytes", 1.0),
    ("jvm.memory.used_after_last_gc", "By", "memory", 1, "bytes", 1.0),
    ("jvm_memory_pool_used_bytes", None, "memory", 1, "bytes", 1.0),
    ("jvm.thread.count", "{thread}", "threads", 1, "count", 1.0),
    ("jvm.cpu.recent_utilization", "1", "cpu", 1, "share", 1.0),
    ("tomcat_threads_busy_threads", None, "threads", 1, "count", 1.0),
    ("executor.queued", None, "saturation", 1, "", 1.0),
    ("executor_queue_remaining_tasks", None, "saturation", 1, "", 1.0),
    ("go_goroutines", None, "threads", 1, "count", 1.0),
    ("hikaricp_connections_pending", None, "pool", 1, "count", 1.0),
    ("hikaricp_connections_idle", None, "pool", -1, "count", 1.0),
    ("hikaricp_connections_max", None, "pool", 0, "count", 1.0),
    ("db.client.connections.usage", "{connection}", "pool", 1, "count", 1.0),
    ("db.client.connections.wait_time", "ms", "pool", 1, "ms", 1.0),
    ("db.client.operation.duration", "s", "latency", 1, "ms", 1000.0),
    ("kafka_consumer_lag", None, "saturation", 1, "", 1.0),
    ("rabbitmq_queue_messages_ready", None, "saturation", 1, "", 1.0),
    ("queue.length", None, "saturation", 1, "", 1.0),
    ("container.restarts", None, "restarts", 1, "count", 1.0),
    ("k8s.container.restarts", "{restart}", "restarts", 1, "count", 1.0),
    ("container.memory.oom_kills", None, "restarts", 1, "count", 1.0),
    ("k8s.pod.cpu_limit_utilization", "1", "cpu", 1, "share", 1.0),
    ("k8s.pod.memory.major_page_faults", None, "memory", 1, "", 1.0),
    ("system.cpu.utilization", "1", "cpu", 1, "share", 1.0),
    ("system.network.dropped", "{packet}", "network", 1, "count", 1.0),
    ("hubble_drop_total", None, "network", 1, "", 1.0),
    ("hubble_http_request_duration_seconds", None, "latency", 1, "ms", 1000.0),
    ("up", None, "restarts", -1, "count", 1.0),
    ("process_uptime_seconds", None, "restarts", -1, "count", 1.0),
    ("CpuUsageRate(%)", None, "cpu", 1, "share", 0.01),
    ("CpuUsage(m)", None, "cpu", 1, "cores", 0.001),
    ("MemoryUsage(Mi)", None, "memory", 1, "bytes", 2.0**20),
    ("MemoryUsageRate(%)", None, "memory", 1, "share", 0.01),
    ("PodServerLatencyP95(s)", None, "latency", 1, "ms", 1000.0),
    ("PodSuccessRate(%)", None, "success", -1, "share", 0.01),
    ("PodWorkload(Ops)", None, "traffic", 0, "", 1.0),
    ("NetworkP90(ms)", None, "network", 1, "ms", 1.0),
    ("NetworkReceiveBytes", None, "network", 0, "bytes", 1.0),
    ("NodeCpuUsageRate(%)", None, "cpu", 1, "share", 0.01),
    ("cpu", None, "cpu", 1, "", 1.0),
    ("mem", None, "memory", 1, "", 1.0),
    ("latency-50", None, "latency", 1, "", 1.0),
    ("adservice_latency-90", None, "latency", 1, "", 1.0),
    ("error", None, "errors", 1, "", 1.0),
    ("workload", None, "traffic", 0, "", 1.0),
    ("diskio", None, "disk", 0, "", 1.0),
    ("socket", None, "network", 0, "", 1.0),
    ("latency_average", None, "latency", 1, "", 1.0),
    ("availability", None, "success", -1, "", 1.0),
    ("requests", None, "traffic", 0, "", 1.0),
    ("faults", None, "errors", 1, "", 1.0),
    ("weather_forecast_temperature", None, "other", 0, "", 1.0),
    ("demoted_members", None, "other", 0, "", 1.0),
]


@pytest.mark.parametrize(("name", "unit", "what", "bad", "shown", "scale"), TABLE, ids=[row[0] for row in TABLE])
def test_a_metric_is_recognised_by_its_name_and_unit(name, unit, *, what, bad, shown, scale):
    kind = recognise(name, unit)
    assert (kind.what, kind.bad, kind.unit) == (what, bad, shown)
    assert kind.scale == pytest.approx(scale)


@pytest.mark.parametrize(
    ("name", "statistic"),
    [
        ("PodServerLatencyP95(s)", "p95"), ("latency-50", "p50"), ("latency_average", "mean"), ("edge_client_latency_p50", "p50"),
        ("http_server_requests_seconds_max", "max"), ("memory_usage", "value"), ("rt_p999", "p999"),
    ],
)  # fmt: skip
def test_the_statistic_is_read_from_the_name(name, statistic):
    assert recognise(name).statistic == statistic


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        ("node_cpu_seconds_total", "node"), ("NodeCpuUsageRate(%)", "node"), ("k8s.node.cpu.usage", "node"), ("system.cpu.load_average.1m", "node"),
        ("container_cpu_usage_seconds_total", "container"), ("k8s.pod.memory.usage", "container"), ("PodWorkload(Ops)", "container"),
        ("http_requests_total", "service"), ("jvm.system.cpu.utilization", "service"),
    ],
)  # fmt: skip
def test_metrics_of_the_machine_are_told_from_those_of_a_container(name, scope):
    assert recognise(name).scope == scope


def test_words_are_split_at_case_signs_and_digits_and_units_are_left_out():
    assert words_of("PodServerLatencyP95(s)") == ("pod", "server", "latency", "p95")
    assert words_of("container.cpu_usage-secondsTotal") == ("container", "cpu", "usage", "seconds", "total")
    assert words_of("JVMMemoryUsed{area=heap}") == ("jvm", "memory", "used")


def test_labels_refine_the_meaning():
    assert recognise("http_requests_total", labels={"code": "503"}).what == "errors"
    assert recognise("http_requests_total", labels={"code": "200"}).what == "traffic"
    assert recognise("rpc_duration_seconds", labels={"quantile": "0.95"}).statistic == "p95"
    assert recognise("node_cpu_seconds_total", labels={"mode": "idle"}).bad == -1
    assert recognise("request.size", "By", "histogram").what == "network"


@pytest.mark.parametrize(
    ("labels", "failed"),
    [
        ({"code": "500"}, True), ({"status": "404"}, False), ({"http.response.status_code": "7"}, False), ({"grpc_code": "Unavailable"}, True),
        ({"grpc_code": "OK"}, False), ({"rpc.grpc.status_code": "14"}, True), ({"rpc.grpc.status_code": "0"}, False), ({"status": "5xx"}, True),
        ({"outcome": "SUCCESS"}, False), ({"outcome": "SERVER_ERROR"}, True), ({"outcome": "CLIENT_ERROR"}, False), ({"error": "true"}, True),
        ({"error": "false"}, False), ({"pool": "a"}, None), ({}, None), ({"code": ""}, None),
    ],
)  # fmt: skip
def test_outcome_labels_say_whether_a_request_failed(labels, failed):
    assert failed_outcome(labels) is failed


def test_quantile_labels_become_names():
    assert [quantile_name(text) for text in ("0.5", "0.95", "0.999", "1", "abc", "7")] == [
        "p50",
        "p95",
        "p999",
        "p100",
        None,
        None,
    ]


def test_min_in_a_name_is_the_minimum_and_in_a_unit_minutes() -> None:
    least = recognise("http.server.request.duration_min")
    assert (least.what, least.statistic, least.scale) == ("latency", "min", 1.0)
    assert recognise("http.server.request.duration_min", unit="s").scale == 1e3
    assert recognise("response.delay", unit="min").scale == 6e4
