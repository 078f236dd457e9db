"""OTLP/HTTP as the protocol says: encodings, compression, limits, partial success, and what exporters are told."""

from __future__ import annotations

import contextlib
import functools
import gzip
import http.client
import json
import random
import socket
import threading
import time
import zlib
from pathlib import Path

import pyarrow as pa
import pytest
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from served import JSON, PROTOBUF, Served, logs, metrics, served, spans

from aetia.serve import protocol
from aetia.serve.bodies import decompress
from aetia.serve.problems import Refused


def rows(server: Served, signal: str = "spans") -> int:
    return server.get("/api/v1/store").json[signal]


def status_of(body: bytes) -> tuple[int, str]:
    """(code, message) of a google.rpc.Status."""
    assert body[0] == 0x08 and body[2] == 0x12
    length, at, shift = 0, 3, 0
    while True:
        length |= (body[at] & 0x7F) << shift
        shift += 7
        at += 1
        if body[at - 1] < 0x80:
            break
    return body[1], body[at : at + length].decode()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("identity", bytes),
        ("", bytes),
        ("gzip", gzip.compress),
        ("GZIP", lambda body: gzip.compress(body[:100]) + gzip.compress(body[100:])),
        ("zstd", lambda body: pa.compress(body, codec="zstd", asbytes=True)),
        ("deflate", zlib.compress),
        ("deflate", lambda body: zlib.compress(body)[2:-4]),
    ],
)
def test_what_is_acknowledged_can_be_queried_at_once(server: Served, encoding: str, pack) -> None:
    before = rows(server)
    answer = server.send("/v1/traces", pack(spans(5)), content_encoding=encoding)
    assert (answer.status, answer.headers["content-type"]) == (200, PROTOBUF)
    assert not ExportTraceServiceResponse.FromString(answer.body).HasField("partial_success")
    assert rows(server) == before + 5


def test_all_three_signals_are_taken(server: Served) -> None:
    before = rows(server, "logs"), rows(server, "metrics")
    assert server.send("/v1/logs", logs("ready", "steady")).status == 200
    assert server.send("/v1/metrics", metrics(1, 2, 3)).status == 200
    assert (rows(server, "logs"), rows(server, "metrics")) == (before[0] + 2, before[1] + 3)


def test_json_is_answered_with_json(server: Served) -> None:
    before = rows(server)
    request = ExportTraceServiceRequest.FromString(spans(4))
    body = json.loads(MessageToJson(request))
    for span in body["resourceSpans"][0]["scopeSpans"][0]["spans"]:  # ids are hexadecimal in OTLP, unlike in protobuf
        span["traceId"], span["spanId"] = (
            f"5b8aa5a2d2c872e8321cf37308d6{random.randrange(1 << 16):04x}",
            "051581bf3cb55c13",
        )
    answer = server.post("/v1/traces", body, content_type=f"{JSON}; charset=utf-8")
    assert (answer.status, answer.headers["content-type"], answer.json) == (200, JSON, {})
    assert rows(server) > before


def test_the_same_request_again_is_acknowledged_and_stored_once(server: Served) -> None:
    body, before = spans(7), rows(server)
    assert [server.send("/v1/traces", body).status for _ in range(3)] == [200, 200, 200]
    assert rows(server) == before + 7


def test_what_is_no_telemetry_is_refused_in_the_encoding_of_the_request(server: Served) -> None:
    binary = server.send("/v1/traces", b"\xff\xff junk")
    assert (binary.status, binary.headers["content-type"]) == (400, PROTOBUF)
    assert status_of(binary.body)[0] == 3
    text = server.send("/v1/traces", b"{", JSON)
    assert (text.status, text.headers["content-type"], text.json["code"]) == (400, JSON, 3)
    assert text.json["message"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content_type": "text/plain"}, 415),
        ({"content_type": ""}, 415),
        ({"content_type": PROTOBUF, "content_encoding": "br"}, 415),
        ({"content_type": PROTOBUF, "content_encoding": "gzip"}, 400),
        ({"content_type": PROTOBUF, "content_encoding": "zstd"}, 400),
        ({"content_type": PROTOBUF, "content_encoding": "deflate"}, 400),
    ],
)
def test_other_types_and_damaged_bodies_are_named(server: Served, headers: dict[str, str], status: int) -> None:
    assert server.post("/v1/logs", b"\x01\x02 not that", **headers).status == status


def test_a_part_that_cannot_be_kept_is_told_as_partial_success(server: Served) -> None:
    request = ExportTraceServiceRequest.FromString(spans(3))
    request.resource_spans[0].scope_spans[0].spans[1].trace_id = b"short"
    answer = server.send("/v1/traces", request.SerializeToString())
    partial = ExportTraceServiceResponse.FromString(answer.body).partial_success
    assert answer.status == 200 and partial.rejected_spans == 1 and partial.error_message


def test_an_empty_request_is_a_success(server: Served) -> None:
    answer = server.send("/v1/metrics", b"")
    assert answer.status == 200 and ExportMetricsServiceResponse.FromString(answer.body) is not None


def test_get_is_no_way_to_send(server: Served) -> None:
    answer = server.get("/v1/traces")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


SMALL = {"limits": {"body_mib": 0.01, "decompressed_mib": 0.02, "in_flight_mib": 0.05, "body_seconds": 0.5,
                    "header_seconds": 0.5}}  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory):
    """A server with narrow limits."""
    with served(tmp_path_factory.mktemp("small") / "data", SMALL) as one:
        yield one


def test_a_body_beyond_the_limit_is_refused_with_a_status_that_ends_the_retries(small: Served) -> None:
    answer = small.send("/v1/traces", b"\x0a" * 20_000)
    assert answer.status == 413 and status_of(answer.body)[0] == 8


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "deflate"])
def test_a_bomb_is_refused_before_it_is_unpacked(small: Served, encoding: str) -> None:
    packed = {"gzip": gzip.compress, "deflate": zlib.compress,
              "zstd": lambda body: pa.compress(body, codec="zstd", asbytes=True)}[encoding](bytes(5_000_000))  # fmt: skip
    assert len(packed) < 10_000
    assert small.send("/v1/traces", packed, content_encoding=encoding).status == 413


def test_chunks_without_a_length_are_counted(small: Served) -> None:
    with socket.create_connection((small.host, small.port), timeout=10) as line:
        line.sendall(
            f"POST /v1/traces HTTP/1.1\r\nhost: localhost:{small.port}\r\ncontent-type: {PROTOBUF}\r\n"
            "transfer-encoding: chunked\r\n\r\n".encode()
        )
        for _ in range(20):
            line.sendall(b"400\r\n" + b"x" * 1024 + b"\r\n")
        line.sendall(b"0\r\n\r\n")
        assert line.recv(100).startswith(b"HTTP/1.1 413")


def test_a_slow_body_ends_with_408_and_a_slow_head_with_the_connection(small: Served) -> None:
    with socket.create_connection((small.host, small.port), timeout=10) as line:
        line.sendall(
            f"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: {PROTOBUF}\r\ncontent-length: 9\r\n\r\nx"
            "".encode()
        )
        assert line.recv(100).startswith(b"HTTP/1.1 408")
    with socket.create_connection((small.host, small.port), timeout=10) as line:
        line.sendall(b"POST /v1/traces HTTP/1.1\r\nhost:")
        assert line.recv(100) == b""


def test_a_head_without_end_is_cut_off(small: Served) -> None:
    with socket.create_connection((small.host, small.port), timeout=10) as line:
        line.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n")
        with pytest.raises(OSError):  # whichever of the writes meets the closed connection
            for number in range(2000):
                line.sendall(b"x-%d: " % number + b"y" * 1000 + b"\r\n")
            assert line.recv(100).startswith(b"HTTP/1.1 431")
            raise OSError


def test_all_bodies_together_are_bounded(small: Served) -> None:
    held = [socket.create_connection((small.host, small.port), timeout=10) for _ in range(6)]
    try:
        for line in held:
            line.sendall(
                f"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: {PROTOBUF}\r\n"
                "content-length: 10000\r\n\r\n".encode()
                + b"x" * 9_900
            )
        time.sleep(0.1)
        answer = small.send("/v1/traces", spans(60))
        assert answer.status == 429 and int(answer.headers["retry-after"]) >= 1
    finally:
        for line in held:
            line.close()


def test_a_full_queue_asks_senders_to_wait_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    with served(tmp_path / "data", {"store": {"queue_bytes": 20_000}}) as one:
        told: list[int] = []

        def send() -> None:
            for _ in range(20):
                answer = one.send("/v1/traces", spans(200))
                told.append(answer.status)
                if answer.status != 200:
                    assert int(answer.headers["retry-after"]) >= 1

        senders = [threading.Thread(target=send) for _ in range(6)]
        for thread in senders:
            thread.start()
        for thread in senders:
            thread.join()
        assert set(told) == {200, 429}
        assert rows(one) == 200 * told.count(200)


def test_a_full_disk_is_no_reason_to_go_slower_but_to_come_back(tmp_path: Path) -> None:
    """429 and 503 are both codes that exporters repeat; they tell a person which of the two it is."""
    with served(tmp_path / "data", {"store": {"min_free_bytes": 1 << 60}}) as one:
        for _ in range(2):  # refused by the writer, then at once
            answer = one.send("/v1/traces", spans(2))
            assert answer.status == 503 and int(answer.headers["retry-after"]) >= 1
            assert "no space left" in status_of(answer.body)[1]
        change = one.post("/api/v1/changes", {"kind": "deploy", "service": "pay"})
        assert (change.status, change.json["error"]["kind"]) == (503, "store_full")


def test_a_body_that_the_queue_can_never_hold_is_not_sent_again(tmp_path: Path) -> None:
    with served(tmp_path / "data", {"store": {"queue_bytes": 2_000}}) as one:
        answer = one.send("/v1/traces", spans(200))
        assert answer.status == 400 and "send smaller ones" in status_of(answer.body)[1]


def test_decompression_stops_at_the_limit() -> None:
    with pytest.raises(Refused) as caught:
        decompress(gzip.compress(bytes(1 << 20)), "gzip", 1000)
    assert caught.value.status == 413
    assert decompress(gzip.compress(b"x" * 1000), "gzip", 1000) == b"x" * 1000
    for cut in (1, 5, 11):
        with pytest.raises(Refused) as caught:
            decompress(gzip.compress(b"some telemetry")[:-cut], "gzip", 1000)
        assert caught.value.status == 400


def mutated(rng: random.Random, body: bytes) -> bytes:
    out = bytearray(body)
    for _ in range(rng.randrange(1, 6)):
        what = rng.randrange(4)
        at = rng.randrange(len(out)) if out else 0
        if what == 0 and out:
            out[at] = rng.randrange(256)
        elif what == 1:
            del out[at : at + rng.randrange(1, 40)]
        elif what == 2:
            out[at:at] = rng.randbytes(rng.randrange(1, 20))
        else:
            out[at:at] = out[at : at + rng.randrange(1, 200)]
    return bytes(out)


def test_nothing_that_is_sent_makes_the_server_fail(server: Served) -> None:
    """Random and mutated bodies, encodings and types; 300 requests. bench/serve/fuzz_receiver.py sends more."""
    rng = random.Random(7)
    good = {"/v1/traces": spans(3, attributes={"a": "b"}), "/v1/logs": logs("x", "y"), "/v1/metrics": metrics(1, 2)}
    kinds = [PROTOBUF, PROTOBUF, PROTOBUF, JSON, "application/json;charset=latin-1", "text/plain", ""]
    packs = [("", bytes), ("gzip", gzip.compress), ("zstd", lambda b: pa.compress(b, codec="zstd", asbytes=True)),
             ("deflate", zlib.compress), ("gzip", bytes), ("snappy", bytes)]  # fmt: skip
    seen: set[int] = set()
    for _ in range(300):
        path = rng.choice(list(good))
        body = mutated(rng, good[path]) if rng.random() < 0.8 else rng.randbytes(rng.randrange(300))
        kind = rng.choice(kinds)
        if kind.startswith(JSON) and rng.random() < 0.8:
            body = mutated(
                rng, b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":1,"traceId":"00","x":[[{}]]}]}]}]}'
            )
        name, pack = rng.choice(packs)
        packed = pack(body)
        if rng.random() < 0.1:
            packed = mutated(rng, packed)
        seen.add(server.send(path, packed, kind, content_encoding=name).status)
    assert seen <= {200, 400, 413, 415} and {200, 400, 415} <= seen


@pytest.fixture(scope="module", params=[True, False], ids=["httptools", "h11"])
def plain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """A server on each of the parsers, with narrow limits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "protocol_class", functools.partial(protocol.protocol_class, fast=request.param))
        patch.setattr("aetia.serve.run.protocol_class", protocol.protocol_class)
        with served(tmp_path_factory.mktemp("plain") / "data", SMALL) as one:
            yield one


def status(line: socket.socket) -> int:
    """The status of one whole answer, which may come in pieces."""
    answer = http.client.HTTPResponse(line)
    answer.begin()
    answer.read()
    return answer.status


def test_both_parsers_keep_a_connection_and_bound_its_heads(plain: Served) -> None:
    body = spans(2)
    head = f"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: {PROTOBUF}\r\n"
    with socket.create_connection((plain.host, plain.port), timeout=10) as line:
        for _ in range(3):
            line.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            assert status(line) == 200
        line.sendall(b"POST /v1/traces HTTP/1.1\r\nhos")  # the next head is never finished
        assert line.recv(100) == b""
    with socket.create_connection((plain.host, plain.port), timeout=10) as line, contextlib.suppress(OSError):
        for number in range(300):
            line.sendall(b"GET / HTTP/1.1\r\n" if not number else b"x-%d: " % number + b"y" * 1000 + b"\r\n")
        answer = b"".join(iter(lambda: line.recv(2000), b""))  # to the end: the connection is closed
        assert answer[:12] in (b"HTTP/1.1 431", b"HTTP/1.1 400")


def test_an_early_answer_does_not_break_what_is_still_being_sent(plain: Served) -> None:
    with socket.create_connection((plain.host, plain.port), timeout=10) as line:
        line.sendall(b"POST /v1/traces HTTP/1.1\r\nhost: evil.example\r\ncontent-length: 200000\r\n\r\n")
        assert status(line) == 403
        line.sendall(b"x" * 200_000)
        line.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert line.recv(2000).startswith(b"HTTP/1.1 200")
