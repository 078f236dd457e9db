"""Labels of Prometheus and Loki as places: which label names the service, the instance and the machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

SERVICE = (
    "service_name", "k8s_deployment_name", "k8s_statefulset_name", "k8s_daemonset_name", "deployment", "statefulset",
    "daemonset", "app_kubernetes_io_name", "label_app_kubernetes_io_name", "label_app", "service", "servicename",
    "app", "application",
)  # fmt: skip
"""Of labels with dots as underscores, most telling first."""
INSTANCE = (
    "k8s_pod_name", "pod", "pod_name", "kubernetes_pod_name", "service_instance_id", "instance_name", "instance",
    "container_id",
)  # fmt: skip
NODE = ("k8s_node_name", "node", "nodename", "node_name", "kubernetes_node", "host_name", "host", "hostname", "machine")
CONTAINER = ("k8s_container_name", "container", "container_name")
_SCRAPED = frozenset({"job", "instance", "endpoint", "__name__", "prometheus", "prometheus_replica"})
_NAMES_OF_OTHERS = ("kube_", "container_", "kubelet_", "cadvisor_")
"""Metrics that kube-state-metrics, cAdvisor and the kubelet export about workloads: `service` and `job` are theirs."""
_OF_MACHINES = ("node_", "machine_", "windows_")
"""Metrics of the node exporters: whatever the labels say, they belong to the machine."""
_NO_WORKLOAD = frozenset({"", "POD", "unknown_service", "None", "null"})
# A Deployment's pods are `NAME-HASH-SUFFIX`, a StatefulSet's `NAME-0`.
_POD = re.compile(r"(.+)-[bcdfghjklmnpqrstvwxz2456789]{6,10}-[bcdfghjklmnpqrstvwxz2456789]{5}|(.+)-\d{1,3}")


class Place(NamedTuple):
    """Where a series or a stream comes from, and the labels that say more than that."""

    service: str | None
    instance: str | None
    node: str | None
    rest: dict[str, str]


def place_of(labels: Mapping[str, str], name: str = "") -> Place:
    """The place of a series by its labels and, as exporters tell of others, by the metric's name."""
    plain = {key.replace(".", "_").lower(): key for key in labels}
    used: set[str] = set()

    def first(keys: tuple[str, ...]) -> str | None:
        for key in keys:
            held = plain.get(key)
            if held is not None and labels[held] not in _NO_WORKLOAD:
                used.add(held)
                return labels[held]
        return None

    node = first(NODE)
    if name.startswith(_OF_MACHINES):
        host = labels.get("instance", "")
        return Place(None, None, node or (_host(host) or None), _rest(labels, used))
    instance = first(INSTANCE)
    keys = SERVICE
    pod = _POD.fullmatch(instance or "")
    if name.startswith(_NAMES_OF_OTHERS) and (pod or first(CONTAINER)):
        keys = tuple(key for key in SERVICE if key not in ("service", "app", "application"))
    service = first(keys) or (pod[1] or pod[2] if pod else None) or first(CONTAINER)
    if service is None:
        service = (first(("exported_job", "job")) or "").rpartition("/")[2] or None
    return Place(service, instance, node, _rest(labels, used))


def _host(instance: str) -> str:
    """The machine of `host:port`; of an IPv6 address without the brackets."""
    host, _, port = instance.rpartition(":")
    return host.strip("[]") if host and port.isdecimal() else instance


def _rest(labels: Mapping[str, str], used: set[str]) -> dict[str, str]:
    """Labels that tell series of one place apart."""
    return {
        key: value for key, value in labels.items()
        if value and key not in used and key not in _SCRAPED and key.replace(".", "_").lower() not in SERVICE
    }  # fmt: skip
