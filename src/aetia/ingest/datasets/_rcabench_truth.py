"""True root causes from a datapack's `injection.json`."""

from __future__ import annotations

from typing import Any, cast

from aetia.model.case import Truth
from aetia.model.faults import class_of

# In the order of the benchmark's numbers; faults without a word of their own are None.
_FAULTS: dict[str, str | None] = {
    "PodKill": "pod_kill", "PodFailure": "pod_failure", "ContainerKill": "container_kill",
    "MemoryStress": "memory", "CPUStress": "cpu", "HTTPRequestAbort": "request_abort",
    "HTTPResponseAbort": "request_abort", "HTTPRequestDelay": "latency", "HTTPResponseDelay": "latency",
    "HTTPResponseReplaceBody": "wrong_value", "HTTPResponsePatchBody": "wrong_value",
    "HTTPRequestReplacePath": "wrong_value", "HTTPRequestReplaceMethod": "wrong_value",
    "HTTPResponseReplaceCode": "wrong_code", "DNSError": "dns", "DNSRandom": "dns", "TimeSkew": "clock_skew",
    "NetworkDelay": "network_delay", "NetworkLoss": "network_loss", "NetworkDuplicate": None,
    "NetworkCorrupt": "network_corrupt", "NetworkBandwidth": "bandwidth", "NetworkPartition": "partition",
    "JVMLatency": "latency", "JVMReturn": "wrong_value", "JVMException": "exception",
    "JVMGarbageCollector": "gc", "JVMCPUStress": "cpu", "JVMMemoryStress": "heap",
    "JVMMySQLLatency": "slow_dependency", "JVMMySQLException": "exception",
}  # fmt: skip
_BY_NUMBER = tuple(_FAULTS.values())
_BY_NAME = {name.lower(): fault for name, fault in _FAULTS.items()}


def fault_of(kind: object) -> str | None:
    """Our word for the benchmark's fault number or name; None when unknown."""
    text = str(kind).strip()
    if text.isascii() and text.isdigit():
        number = int(text[:4])
        return _BY_NUMBER[number] if number < len(_BY_NUMBER) else None
    return _BY_NAME.get(text.lower().replace("_", "").replace("-", "").replace(" ", ""))


def read_truths(injection: dict[str, Any], onset_ns: int | None) -> tuple[Truth, ...] | None:
    """One truth per faulty service of `ground_truth`, which is an object or a list of objects; None without it.

    Lists of pods, containers and spans go to the service whose name they begin with, or to the only one.
    """
    given = injection.get("ground_truth")
    objects = [cast(dict[str, Any], item) for item in _listed(given) if isinstance(item, dict)]
    kinds = _listed(injection.get("fault_type"))
    truths: list[Truth] = []
    for index, item in enumerate(objects):
        kind = item.get("fault_type", kinds[index] if index < len(kinds) else (kinds[0] if kinds else None))
        fault = fault_of(kind) if kind is not None else None
        truths += _truths(item, fault, onset_ns)
    return tuple(dict.fromkeys(truths)) or None


def _truths(item: dict[str, Any], fault: str | None, onset_ns: int | None) -> list[Truth]:
    services = _names(item, "service") or _names(item, "container")
    pods, operations = _names(item, "pod"), _names(item, "span") or _names(item, "function")
    alone = len(services) == 1
    return [
        Truth(
            service=service, instance=_of(service, pods, alone),
            operation=operations[0] if alone and operations else None, fault_class=class_of(fault), fault=fault,
            onset_ns=onset_ns,
        )
        for service in services
    ]  # fmt: skip


def _of(service: str, names: list[str], alone: bool) -> str | None:
    own = [name for name in names if name.startswith(f"{service}-")]
    return (own or (names if alone else []) or [None])[0]


def _names(item: dict[str, Any], key: str) -> list[str]:
    return [str(name) for name in _listed(item.get(key)) if name not in (None, "")]


def _listed(value: object) -> list[Any]:
    if value is None:
        return []
    return cast(list[Any], value) if isinstance(value, list) else [value]
