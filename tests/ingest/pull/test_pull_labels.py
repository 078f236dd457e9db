"""Labels as places, as exporters and collectors really write them."""

from __future__ import annotations

import pytest

from aetia.ingest.pull.labels import place_of

POD = "cart-6fd9c8b7d5-x2x4z"


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("http_requests_total", {"service": "cart", "pod": POD, "node": "w1", "job": "cart"}, ("cart", POD, "w1")),
        ("http_requests_total", {"job": "shop/cart", "instance": "10.0.0.7:8080"}, ("cart", "10.0.0.7:8080", None)),
        ("target.value", {"service.name": "cart", "k8s.pod.name": POD, "service": "x"}, ("cart", POD, None)),
        ("up", {"app_kubernetes_io_name": "cart", "pod": "cart-0", "job": "pods"}, ("cart", "cart-0", None)),
        # cAdvisor and kube-state-metrics tell of workloads; job and service are their own.
        ("container_cpu_usage_seconds_total",
         {"job": "kubelet", "service": "kubelet", "instance": "10.0.0.9:10250", "pod": POD, "container": "istio-proxy",
          "node": "w1"}, ("cart", POD, "w1")),
        ("kube_pod_container_status_restarts_total",
         {"job": "kube-state-metrics", "service": "ksm", "pod": "solo", "container": "cart"}, ("cart", "solo", None)),
        ("kube_deployment_status_replicas", {"service": "ksm", "deployment": "cart"}, ("cart", None, None)),
        ("container_memory_bytes", {"service": "cart", "node": "w1"}, ("cart", None, "w1")),
        # Node exporters tell of machines, whatever their pods are called.
        ("node_load1", {"job": "node-exporter", "instance": "10.0.0.9:9100", "pod": "node-exporter-abcde"},
         (None, None, "10.0.0.9")),
        ("node_load1", {"instance": "[fd00::9]:9100"}, (None, None, "fd00::9")),
        ("node_load1", {"node": "w1", "instance": "10.0.0.9:9100"}, (None, None, "w1")),
        ("", {"service_name": "unknown_service", "container": "cart"}, ("cart", None, None)),
        ("", {"filename": "/var/log/syslog"}, (None, None, None)),
    ],
)  # fmt: skip
def test_places(name: str, labels: dict[str, str], expected: tuple[str | None, str | None, str | None]) -> None:
    assert place_of(labels, name)[:3] == expected


def test_only_labels_that_tell_series_apart_are_left() -> None:
    labels = {"__name__": "x", "job": "a", "service": "cart", "app": "cart", "pod": POD, "code": "500", "empty": ""}
    assert place_of(labels, "x").rest == {"code": "500"}


def test_a_label_without_a_name_names_no_place() -> None:
    assert place_of({"": "x"}) == (None, None, None, {"": "x"})
