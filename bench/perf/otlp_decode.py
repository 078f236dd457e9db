"""Spans per second of CPU time of the OTLP decoder, and the ratio to the usual way: stock protobuf, a loop over spans,
attributes as a dictionary, JSON, Arrow.

Spans have 8 attributes, 3 of them unique; requests of 500 spans come one by one, as on an idle server, and in groups of
8, as under load. Exits with 1 when the decoder of groups is less than 4 times as fast as the usual way, when its values
differ; redaction has to stay within the same limit, and its cost is printed.

Run: `.venv/bin/python bench/perf/otlp_decode.py`.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from _measure import conditions, verdict
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from aetia.ingest.otlp_columns import Batch, decode
from aetia.ingest.redaction import Redactor

SPANS, GROUP = 500, 8
T0 = 1_760_000_000_000_000_000
METHODS, ROUTES = ("GET", "POST", "PUT"), ("/api/cart", "/api/cart/{id}", "/api/order", "/api/order/{id}", "/checkout")


def body(seed: int) -> bytes:
    """A request of 500 spans of five services."""
    rng = random.Random(seed)
    data = TracesData()
    for number in range(5):
        group = data.resource_spans.add()
        for key, value in (("service.name", f"svc-{number}"), ("k8s.pod.name", f"svc-{number}-7f9c8d5b6-x2x4z"),
                           ("k8s.node.name", "node-1"), ("service.version", "1.2.3")):  # fmt: skip
            group.resource.attributes.add(key=key).value.string_value = value
        scope = group.scope_spans.add()
        scope.scope.name = "opentelemetry.instrumentation.asgi"
        for _ in range(SPANS // 5):
            _fill(scope.spans.add(), rng)
    return data.SerializeToString()


def _fill(span: Any, rng: random.Random) -> None:
    start = T0 + rng.randrange(10**10)
    span.trace_id, span.span_id = rng.randbytes(16), rng.randbytes(8)
    if rng.random() < 0.8:
        span.parent_span_id = rng.randbytes(8)
    method, route = rng.choice(METHODS), rng.choice(ROUTES)
    span.name, span.kind = f"{method} {route}", rng.choice((1, 2, 3))
    span.start_time_unix_nano, span.end_time_unix_nano = start, start + rng.randrange(10**8)
    span.flags = 0x101
    code = rng.choice((200, 200, 200, 404, 500))
    if code == 500:
        span.status.code, span.status.message = 2, "internal error"
    unique = rng.getrandbits(64)
    for key, value in (
        ("http.request.method", method), ("http.route", route), ("http.response.status_code", code),
        ("server.address", f"svc-{unique % 5}"), ("network.protocol.version", "1.1"),
        ("url.path", f"{route}/{unique % 10**9}"), ("user.id", f"u-{unique:016x}"), ("request.size", unique % 10**7),
    ):  # fmt: skip
        pair = span.attributes.add(key=key).value
        if isinstance(value, int):
            pair.int_value = value
        else:
            pair.string_value = value


def naive(bodies: Sequence[bytes]) -> pa.Table:
    """The usual way."""
    columns: dict[str, list[Any]] = {
        name: [] for name in ("time", "trace_id", "span_id", "parent_span_id", "service", "name", "kind", "duration_ns",
                              "status", "status_message", "attributes")
    }  # fmt: skip
    for raw in bodies:
        for group in TracesData.FromString(raw).resource_spans:
            resource = {pair.key: _value(pair.value) for pair in group.resource.attributes}
            for scope in group.scope_spans:
                for span in scope.spans:
                    attributes = {pair.key: _value(pair.value) for pair in span.attributes}
                    row = (
                        span.start_time_unix_nano, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(),
                        resource.get("service.name"), span.name, span.kind,
                        span.end_time_unix_nano - span.start_time_unix_nano, span.status.code, span.status.message,
                        json.dumps(attributes),
                    )  # fmt: skip
                    for values, value in zip(columns.values(), row, strict=True):
                        values.append(value)
    return pa.table(columns)


def _value(value: Any) -> Any:
    which = value.WhichOneof("value")
    return None if which is None else getattr(value, which)


def differences(table: pa.Table, usual: pa.Table) -> list[str]:
    """Columns whose values differ from those of the usual way."""
    kinds = (None, "internal", "server", "client", "producer", "consumer")
    expected = {name: usual[name].to_pylist() for name in usual.column_names}
    expected["parent_span_id"] = [value or None for value in expected["parent_span_id"]]
    expected["status_message"] = [value or None for value in expected["status_message"]]
    expected["kind"] = [kinds[value] for value in expected["kind"]]
    expected["status"] = [("unset", "ok", "error")[value] for value in expected["status"]]
    expected["attributes"] = [
        {key: str(value) for key, value in json.loads(text).items()} for text in expected["attributes"]
    ]
    found = {name: table[name].to_pylist() for name in expected if name not in ("time", "attributes")}
    found["time"] = table["time"].cast(pa.int64()).to_pylist()
    found["attributes"] = [dict(pairs) for pairs in table["attributes"].to_pylist()]
    return [name for name, values in expected.items() if found[name] != values]


def rates_of(
    ways: dict[str, Callable[[Sequence[bytes]], object]], groups: Sequence[Sequence[bytes]], repeats: int
) -> dict[str, float]:
    """Spans per second of CPU time of each way, the best of some repetitions; the ways take turns, so that other
    programs disturb all alike."""
    best = dict.fromkeys(ways, 0.0)
    for _ in range(repeats):
        for name, work in ways.items():
            began = time.process_time()
            for group in groups:
                work(group)
            best[name] = max(best[name], sum(map(len, groups)) * SPANS / (time.process_time() - began))
    return best


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bodies", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    bodies = [body(seed) for seed in range(options.bodies)]
    print(conditions())
    print(f"{len(bodies)} requests of {SPANS} spans, {sum(map(len, bodies)) / len(bodies) / SPANS:.0f} bytes a span")
    usual = naive(bodies)
    batch: Batch = decode("spans", bodies, full=True)
    wrong = differences(batch.table, usual)
    if wrong:
        print(f"values differ from the usual way: {', '.join(wrong)}")
    redactor = Redactor()
    ways: dict[str, Callable[[Sequence[bytes]], object]] = {
        "usual way": naive,
        "promoted": lambda some: decode("spans", some),
        "promoted, redacted": lambda some: decode("spans", some, redactor=redactor),
        "full": lambda some: decode("spans", some, full=True),
    }
    checks: list[tuple[str, float, float]] = []
    for size in (1, GROUP):
        groups = [bodies[at : at + size] for at in range(0, len(bodies), size)]
        rates = rates_of(ways, groups, options.repeats)
        for name, value in rates.items():
            print(f"groups of {size}: {name:20s} {value:>10,.0f} spans/s, {value / rates['usual way']:.2f} x")
        if size == GROUP:
            checks = [
                ("usual way / promoted, time", rates["usual way"] / rates["promoted"], 0.25),
                ("usual way / promoted and redacted, time", rates["usual way"] / rates["promoted, redacted"], 0.25),
            ]
            print(f"cost of redaction: {rates['promoted'] / rates['promoted, redacted'] - 1:.1%}")
    return int(bool(wrong)) | verdict(checks)


if __name__ == "__main__":
    sys.exit(main())
