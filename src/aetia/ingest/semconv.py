"""OpenTelemetry's semantic conventions, as far as the model's columns need them (current and older names)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SERVICE_KEYS = (
    "service.name", "k8s.deployment.name", "k8s.statefulset.name", "k8s.daemonset.name", "k8s.container.name",
    "container.name", "app", "job",
)  # fmt: skip
INSTANCE_KEYS = ("k8s.pod.name", "service.instance.id", "container.id", "container.name", "pod", "host.name")
VERSION_KEYS = ("service.version",)
ENVIRONMENT_KEYS = ("deployment.environment.name", "deployment.environment")
NODE_KEYS = ("k8s.node.name", "host.name", "node", "host.id")
CODE_KEYS = (
    "http.response.status_code", "http.status_code", "rpc.grpc.status_code", "rpc.response.status_code",
    "grpc.status_code", "status.code.grpc",
)  # fmt: skip
PEER_KEYS = (
    "peer.service", "server.address", "net.peer.name", "http.host", "db.system.name", "db.system",
    "messaging.destination.name", "messaging.system", "rpc.service", "net.peer.ip", "network.peer.address",
)  # fmt: skip
EXCEPTION_TYPE_KEYS = ("exception.type", "error.kind", "error.object")
EXCEPTION_MESSAGE_KEYS = ("exception.message", "message", "error.message")
TEMPORALITY_KEY = "aetia.temporality"
# Resource attributes that say where a process runs, not which of its series a point belongs to.
PLACE_PREFIXES = (
    "service.", "telemetry.", "process.", "os.", "host.", "cloud.", "k8s.pod.", "k8s.node.", "k8s.deployment.",
    "k8s.replicaset.", "k8s.namespace.", "container.image", "container.id", "deployment.", "webengine.",
)  # fmt: skip
_CALLING_KINDS = frozenset({"client", "producer", "Client", "Producer", "SPAN_KIND_CLIENT", "SPAN_KIND_PRODUCER", 3, 4})


def first(attributes: Mapping[str, Any], keys: Sequence[str]) -> str | None:
    """The first attribute of the list that has a value, as text."""
    for key in keys:
        value = attributes.get(key)
        if value is not None and value != "":
            return str(value)
    return None


def service_of(resource: Mapping[str, Any]) -> str | None:
    """The service of a resource; the SDK's `unknown_service` yields to the workload's name."""
    name = first(resource, SERVICE_KEYS[:1])
    if name is None or name.startswith("unknown_service"):
        return first(resource, SERVICE_KEYS[1:]) or name
    return name


def place_of(resource: Mapping[str, Any]) -> tuple[str | None, str | None, str | None]:
    """(service, instance, node) of a resource."""
    return service_of(resource), first(resource, INSTANCE_KEYS), first(resource, NODE_KEYS)


def peer_of(kind: str | int | None, attributes: Mapping[str, Any]) -> str | None:
    """The remote end that a client or producer span names; a server span's own address is no peer."""
    return first(attributes, PEER_KEYS) if kind in _CALLING_KINDS else None


def code_of(attributes: Mapping[str, Any]) -> str | None:
    """The HTTP or gRPC code among a span's attributes."""
    return first(attributes, CODE_KEYS)


def exception_line(attributes: Mapping[str, Any]) -> str | None:
    """What a log would say of an exception that a span recorded as an event: `KeyError: 'sku-17'`; None without any.

    OpenTelemetry's `exception.type` and `exception.message`, or OpenTracing's `error.kind` and `message`.
    """
    kind, message = first(attributes, EXCEPTION_TYPE_KEYS), first(attributes, EXCEPTION_MESSAGE_KEYS)
    if kind is None:
        return None
    said = message.strip().splitlines()[0] if message and message.strip() else ""
    return f"{kind}: {said}" if said and not said.startswith(kind) else said or kind


def series_labels(resource: Mapping[str, Any]) -> dict[str, Any]:
    """The resource attributes that tell series of one process apart (a container, a device), not its place."""
    return {key: value for key, value in resource.items() if not key.startswith(PLACE_PREFIXES)}
