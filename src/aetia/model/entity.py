"""What can be to blame: a place in the system, at the finest level the evidence allows."""

from __future__ import annotations

from typing import Literal

import msgspec

Level = Literal["service", "instance", "node", "operation", "edge", "external", "agent", "tool", "step"]


class Entity(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A component with its place in the hierarchy.

    `service` is the service that answers for the entity when a ranking is made at service level: itself,
    the owner of an instance or an operation, the blamed end of an edge, the name of an external. It is
    None only for a node. An edge also has `caller` and `callee`.
    """

    level: Level
    name: str
    service: str | None = None
    instance: str | None = None
    node: str | None = None
    operation: str | None = None
    caller: str | None = None
    callee: str | None = None

    def __str__(self) -> str:
        return f"{self.level} {self.name}"


def service(name: str) -> Entity:
    return Entity(level="service", name=name, service=name)


def external(name: str) -> Entity:
    return Entity(level="external", name=name, service=name)


def instance(name: str, of_service: str | None, node: str | None = None) -> Entity:
    return Entity(level="instance", name=name, service=of_service, instance=name, node=node)


def node(name: str) -> Entity:
    return Entity(level="node", name=name, node=name)


def operation(of_service: str, name: str) -> Entity:
    return Entity(level="operation", name=f"{of_service} {name}", service=of_service, operation=name)


def edge(caller: str, callee: str, blamed: str | None = None, operation: str | None = None) -> Entity:
    """The link from `caller` to `callee`; `blamed` (default: the callee) answers for it."""
    return Entity(
        level="edge",
        name=f"{caller} → {callee}",
        service=blamed or callee,
        caller=caller,
        callee=callee,
        operation=operation,
    )
