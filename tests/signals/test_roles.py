"""Calls told from names: kinds and peers that nobody recorded."""

from __future__ import annotations

import pyarrow as pa
import pytest

from aetia.model.tables import METRICS, SPANS, Telemetry
from aetia.signals.frames import KIND_CLIENT, KIND_UNKNOWN
from aetia.signals.roles import callee_of_name, is_call_name
from aetia.signals.view import Facts


@pytest.mark.parametrize("name", ["GET", "HTTP POST", "hipstershop.CartService/GetCart", "/a.b.C/Do", "Sent.x.Y.Do"])
def test_these_names_are_calls(name: str) -> None:
    assert is_call_name(name)


@pytest.mark.parametrize("name", ["GET /cart", "render", "SELECT orders", "cart/get", "", "GETTING", "Recv.x.Y.Do"])
def test_these_names_may_be_anything(name: str) -> None:
    assert not is_call_name(name)


@pytest.mark.parametrize(
    ("services", "callee"),
    [
        (["cartservice", "adservice"], "cartservice"),
        (["cart-service", "cart"], "cart-service"),
        (["cart", "ad"], "cart"),
        (["cart-svc", "cart-api"], None),  # two that fit are none
        (["ad"], None),
    ],
)
def test_an_rpc_names_its_callee(services: list[str], callee: str | None) -> None:
    assert callee_of_name("hipstershop.CartService/GetCart", services) == callee


def facts(name: str, *, kind: str | None = None) -> Facts:
    """One request of `web` with an inner span; `cartservice` is known from its metrics alone."""
    second = 1_000_000_000
    rows = [
        {"time": second, "trace_id": "t", "span_id": "a", "service": "web", "name": "GET /cart", "duration_ns": 90},
        {"time": second, "trace_id": "t", "span_id": "b", "parent_span_id": "a", "service": "web", "name": name,
         "duration_ns": 80, "kind": kind},
    ]  # fmt: skip
    metric = {"time": second, "name": "cpu", "value": 1.0, "type": "gauge", "service": "cartservice"}
    return Facts(
        Telemetry(
            spans=pa.Table.from_pylist(rows, schema=SPANS), metrics=pa.Table.from_pylist([metric], schema=METRICS)
        )
    )


def test_a_call_without_kind_and_peer_reaches_the_service_that_its_name_means() -> None:
    made = facts("hipstershop.CartService/GetCart")
    assert made.spans.kind[1] == KIND_CLIENT
    assert made.names.services[made.spans.peer[1]] == "cartservice"
    topology = made.topology
    assert [(made.names.services[a], made.names.services[b]) for a, b in
            zip(topology.caller.tolist(), topology.callee.tolist(), strict=True)] == [("web", "cartservice")]  # fmt: skip


def test_inner_work_and_recorded_kinds_stay_what_they_are() -> None:
    assert facts("render").spans.kind[1] == KIND_UNKNOWN
    assert facts("GET", kind="internal").spans.kind[1] not in (KIND_CLIENT, KIND_UNKNOWN)
    assert facts("GET").spans.peer[1] == -1
