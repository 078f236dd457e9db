"""From codes to entities, with the finest level that is known."""

from __future__ import annotations

import numpy as np

from aetia.evidence._memo import once
from aetia.model import entity
from aetia.model.entity import Entity
from aetia.signals.frames import I64
from aetia.signals.view import View


def instances_per_service(view: View) -> I64:
    """Number of instances of each service, shape (services,)."""

    def count(v: View) -> I64:
        owner = v.topology.instance_service
        return np.bincount(owner[owner >= 0], minlength=len(v.names.services))

    return once(view, "instances per service", count)


def place(view: View, *, service: int = -1, instance: int = -1, node: int = -1) -> Entity | None:
    """The entity of some codes: an instance only where the service has several, a node only without a service."""
    names, topology = view.names, view.topology
    if service < 0 and 0 <= instance < len(topology.instance_service):
        service = int(topology.instance_service[instance])
    if instance >= 0 and (service < 0 or instances_per_service(view)[service] > 1):
        owner = names.services[service] if service >= 0 else None
        host = int(topology.instance_node[instance]) if instance < len(topology.instance_node) else -1
        return entity.instance(names.instances[instance], owner, names.nodes[host] if host >= 0 else None)
    if service >= 0:
        return service_or_external(view, service)
    return entity.node(names.nodes[node]) if node >= 0 else None


def service_or_external(view: View, code: int) -> Entity:
    """A service entity, or an external one when no telemetry of its own exists."""
    name = view.names.services[code]
    external = view.topology.external
    return entity.external(name) if code < len(external) and external[code] else entity.service(name)
