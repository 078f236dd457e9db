"""Sends what no exporter would send to a real server, and asks its API whatever its description allows and forbids.

`--receiver N` sends N requests: random and mutated protobuf and JSON, true and false encodings, types and lengths.
`--api N` runs schemathesis with N examples per operation, boundary values included. A status of 500 is a failure, and
so is an answer that does not fit the description. The server has to answer /readyz at the end.

Run: `.venv/bin/python bench/fuzz_serve.py --receiver 20000 --api 100`.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import http.client
import os
import random
import sys
import tempfile
import time
import warnings
import zlib
from collections import Counter
from pathlib import Path

import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "serve"))

from served import Served, logs, metrics, served, spans, trace

PROTOBUF, JSON = "application/x-protobuf", "application/json"
KINDS = (PROTOBUF, PROTOBUF, PROTOBUF, JSON, JSON, "application/json;charset=latin-1", "text/plain", "", "a/b;;;=")
SAMPLES = {
    "/v1/traces": b'{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"a"}}]},'
    b'"scopeSpans":[{"spans":[{"traceId":"5b8aa5a2d2c872e8321cf37308d69df2","spanId":"051581bf3cb55c13","name":"x",'
    b'"kind":2,"startTimeUnixNano":"1795284968757354932","endTimeUnixNano":"1795284968757354933","status":{"code":2},'
    b'"attributes":[{"key":"k","value":{"arrayValue":{"values":[{"intValue":"7"},{"doubleValue":"NaN"}]}}}]}]}]}]}',
    "/v1/logs": b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1","severityNumber":9,'
    b'"body":{"kvlistValue":{"values":[{"key":"a","value":{"bytesValue":"AAE="}}]}}}]}]}]}',
    "/v1/metrics": b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","histogram":{"dataPoints":[{'
    b'"count":"3","sum":1.5,"bucketCounts":["1","2"],"explicitBounds":[1]}],"aggregationTemporality":2}}]}]}]}',
}


def mutated(rng: random.Random, body: bytes) -> bytes:
    """The bytes with a few of them changed, gone, repeated or new."""
    out = bytearray(body)
    for _ in range(rng.randrange(1, 8)):
        at = rng.randrange(len(out)) if out else 0
        match rng.randrange(5):
            case 0 if out:
                out[at] ^= 1 << rng.randrange(8)
            case 1:
                del out[at : at + rng.randrange(1, 60)]
            case 2:
                out[at:at] = rng.randbytes(rng.randrange(1, 30))
            case 3:
                out[at:at] = out[at : at + rng.randrange(1, 300)] * rng.randrange(1, 20)
            case _:
                out[at : at + 1] = rng.choice(
                    (b"\xff" * 10, b"\x00", b"{" * 200, b"[" * 2000, b"\x80" * 12, b'"', b"-9e999")
                )
    return bytes(out)


def packed(rng: random.Random, body: bytes) -> tuple[str, bytes]:
    """(what is said to be the encoding, the bytes)."""
    name = rng.choice(("", "identity", "gzip", "zstd", "deflate", "br", "gzip, gzip", "\x7f"))
    if rng.random() < 0.1:
        return name, body
    out = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": _zstd}.get(name, bytes)(body)
    return name, mutated(rng, out) if rng.random() < 0.15 else out


def _zstd(body: bytes) -> bytes:
    return pa.compress(body, codec="zstd", asbytes=True)


def fuzz_receiver(one: Served, count: int, seed: int) -> Counter[int]:
    """Statuses of so many requests on connections that are kept where the server keeps them."""
    rng = random.Random(seed)
    good = {"/v1/traces": spans(5, attributes={"a": "b"}), "/v1/logs": logs("x", "y"), "/v1/metrics": metrics(1, 2)}
    seen: Counter[int] = Counter()
    line = http.client.HTTPConnection(one.host, one.port, timeout=30)
    for _ in range(count):
        path, kind = rng.choice(list(good)), rng.choice(KINDS)
        base = SAMPLES[path] if kind.startswith(JSON) and rng.random() < 0.9 else good[path]
        body = mutated(rng, base) if rng.random() < 0.9 else rng.randbytes(rng.randrange(600))
        encoding, sent = packed(rng, body)
        try:
            line.request("POST", path, sent, {"content-type": kind, "content-encoding": encoding})
            answer = line.getresponse()
            answer.read()
            seen[answer.status] += 1
            if answer.status >= 500 and answer.status != 503:
                Path("fuzz-failure.bin").write_bytes(sent)
                print(f"{answer.status} for {path} {kind!r} {encoding!r}; the body is in fuzz-failure.bin")
        except (http.client.HTTPException, OSError, ValueError):
            seen[0] += 1
            line.close()
            line = http.client.HTTPConnection(one.host, one.port, timeout=30)
    line.close()
    return seen


def fuzz_api(one: Served, examples: int) -> int:
    """How many operations failed a check of schemathesis."""
    from hypothesis import HealthCheck, given, settings

    from aetia.serve.openapi import describe
    from aetia.serve.operations import all_operations

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import schemathesis
        from schemathesis.specs.openapi.checks import positive_data_acceptance

        schema = schemathesis.openapi.from_dict(describe(all_operations()))
        failed = 0
        for found in schema.get_all_operations():
            operation = found.ok()

            def check(case: schemathesis.Case) -> None:
                case.call_and_validate(base_url=one.url, excluded_checks=[positive_data_acceptance])

            test = given(operation.as_strategy())(check)
            test = settings(
                max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck)
            )(test)
            try:
                test()
            except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - every kind of failure is one, and is printed
                failed += 1
                print(f"{operation.label}: {error}")
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--receiver", type=int, default=20_000, help="requests with telemetry")
    parser.add_argument("--api", type=int, default=100, help="examples per operation of the API")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        one = stack.enter_context(served(Path(folder) / "data", {}))
        one.send("/v1/traces", spans(200, attributes={"http.route": "/pay"}))
        one.send(
            "/v1/traces",
            trace(
                [("front", "GET /", -1, 0, 9), ("pay", "POST /pay", 0, 1, 7)],
                bytes.fromhex("5b8aa5a2d2c872e8321cf37308d69df2"),
            )[1],
        )
        one.send("/v1/logs", logs("paid 5 euro", "no money"))
        began = time.monotonic()
        seen = fuzz_receiver(one, given.receiver, given.seed)
        print(f"receiver: {dict(sorted(seen.items()))} in {time.monotonic() - began:.0f} s")
        failed = fuzz_api(one, given.api) if given.api else 0
        print(f"api: {failed} operations failed with {given.api} examples each")
        alive = one.get("/readyz").status == 200
        rss = one.get("/api/v1/self").json["rss_bytes"]
        print(f"alive: {alive}, {rss / 1e6:.0f} MB, process {os.getpid()}")
    return 0 if alive and not failed and not [s for s in seen if s >= 500 and s != 503] else 1


if __name__ == "__main__":
    sys.exit(main())
