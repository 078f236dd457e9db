"""What the name of a span tells where its kind or its peer was not recorded: that it is a call, and to whom."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from aetia.signals.frames import I8, I32, KIND_CLIENT, KIND_PRODUCER, KIND_UNKNOWN, Bool

_METHOD_ALONE = re.compile(r"(?:HTTP[ /])?(?:GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH)", re.IGNORECASE)
"""How HTTP clients are named that do not know the route; a server's name has one (OpenTelemetry, HTTP spans)."""
_RPC = re.compile(r"(?:Sent\.)?/?(?:[A-Za-z_]\w*\.)*([A-Za-z_]\w*)[/.]([A-Za-z_]\w*)")
"""`$package.$service/$method`, the name of both ends of an RPC; the dotted form is that of OpenCensus."""
_RPC_SLASH = re.compile(r"(?:Sent\.)?/?(?:[A-Za-z_]\w*\.)+[A-Za-z_]\w*/[A-Za-z_]\w*|Sent\.[\w.]+")
_SUFFIX = re.compile(r"(?:service|svc|server|api)$")


def is_call_name(name: str) -> bool:
    """Whether a span of this name, inside of a service, can only be a call to another one."""
    return _METHOD_ALONE.fullmatch(name) is not None or _RPC_SLASH.fullmatch(name) is not None


def callee_of_name(name: str, services: Sequence[str]) -> str | None:
    """The service that an RPC's name means: `hipstershop.CartService/GetCart` is for `cartservice` or `cart`."""
    found = _RPC.fullmatch(name) if _RPC_SLASH.fullmatch(name) else None
    if found is None:
        return None
    meant = _plain(found[1])
    exact = [service for service in services if _plain(service) == meant]
    fitting = exact or [service for service in services if _stem(_plain(service)) == _stem(meant)]
    return fitting[0] if len(fitting) == 1 else None


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _stem(plain: str) -> str:
    return _SUFFIX.sub("", plain) or plain


def told_kinds(kind: I8, parent: I32, service: I32, operation: I32, operations: Sequence[tuple[int, str]]) -> I8:
    """Kinds (n,) with the unknown ones completed: a span below one of the same service that is named like a call is a
    client span."""
    if not (kind == KIND_UNKNOWN).any():
        return kind
    calls = np.array([is_call_name(name) for _, name in operations] + [False], np.bool_)
    inner: Bool = (parent >= 0) & (service[parent] == service) & (kind == KIND_UNKNOWN)
    return np.where(inner & calls[operation], np.int8(KIND_CLIENT), kind)


def told_by_name(
    kind: I8, operation: I32, operations: Sequence[tuple[int, str]], arrived: Bool, peer: I32, services: Sequence[str]
) -> I32:
    """Peers (n,), completed for calls that no span below shows (`arrived` tells which do) by the name of their RPC."""
    code = {name: at for at, name in enumerate(services)}
    callees = [callee_of_name(name, services) for _, name in operations]
    meant = np.array([-1 if name is None or code[name] == owner else code[name]
                      for name, (owner, _) in zip(callees, operations, strict=True)] + [-1], np.int32)  # fmt: skip
    if (meant < 0).all():
        return peer
    asking = ((kind == KIND_CLIENT) | (kind == KIND_PRODUCER)) & (peer < 0) & ~arrived
    return np.where(asking, meant[operation], peer)
