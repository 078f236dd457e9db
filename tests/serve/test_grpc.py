"""OTLP over gRPC, with grpcio's own client and the messages of the specification."""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from served import Served, logs, metrics, served, spans

from aetia.cli.main import main
from aetia.model.errors import ServeError, StoreFull
from aetia.serve.grpc_receiver import DETAILS
from aetia.serve.security.tokens import Tokens

RESPONSES = {"trace.v1.Trace": ExportTraceServiceResponse, "metrics.v1.Metrics": ExportMetricsServiceResponse,
             "logs.v1.Logs": ExportLogsServiceResponse}  # fmt: skip


@dataclass(frozen=True)
class Over:
    """A server and a channel to its gRPC port."""

    one: Served
    channel: grpc.Channel

    def export(self, body: bytes, service: str = "trace.v1.Trace", **how: Any) -> Any:
        call = self.channel.unary_unary(
            f"/opentelemetry.proto.collector.{service}Service/Export", request_serializer=bytes,
            response_deserializer=RESPONSES[service].FromString,
        )  # fmt: skip
        return call(body, timeout=20, **how)

    def error(self, body: bytes, **how: Any) -> grpc.RpcError:
        with pytest.raises(grpc.RpcError) as caught:
            self.export(body, **how)
        return caught.value

    def rows(self, signal: str = "spans") -> int:
        return self.one.get("/api/v1/store", **self.headers).json[signal]

    @property
    def headers(self) -> dict[str, str]:
        token = self.one.state.extras.get("reader", "")
        return {"authorization": f"Bearer {token}"} if token else {}


def free_port() -> int:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        return line.getsockname()[1]


@contextlib.contextmanager
def over(folder: Path, content: dict[str, Any] | None = None) -> Iterator[Over]:
    port = free_port()
    content = dict(content or {})
    content["server"] = {**content.get("server", {}), "grpc_port": port}
    with served(folder, content) as one, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Over(one, channel)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Over]:
    with over(tmp_path_factory.mktemp("grpc") / "data", {"limits": {"body_mib": 1, "in_flight_mib": 4}}) as found:
        yield found


def retry_s(error: grpc.RpcError) -> float | None:
    """Seconds of the RetryInfo in the details of an error, None without one."""
    held = dict(error.trailing_metadata() or ())
    if DETAILS not in held:
        return None
    fields = dict(_fields(held[DETAILS]))
    packed = Packed.FromString(fields[3])
    assert packed.type_url == "type.googleapis.com/google.rpc.RetryInfo"
    assert fields[2].decode() == error.details()
    return Duration.FromString(dict(_fields(packed.value))[1]).ToTimedelta().total_seconds()


def _fields(body: bytes) -> Iterator[tuple[int, Any]]:
    """(number, content) of a message with small numbers and texts."""
    at = 0
    while at < len(body):
        key, at = body[at], at + 1
        size, shift = 0, 0
        while True:
            byte, at = body[at], at + 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if key & 7 == 0:
            yield key >> 3, size
        else:
            yield key >> 3, body[at : at + size]
            at += size


def test_all_three_signals_are_durable_when_they_are_acknowledged(line: Over) -> None:
    before = line.rows("spans"), line.rows("logs"), line.rows("metrics")
    assert not line.export(spans(5)).HasField("partial_success")
    line.export(logs("a", "b"), "logs.v1.Logs")
    line.export(metrics(1, 2, 3), "metrics.v1.Metrics")
    assert (line.rows("spans"), line.rows("logs"), line.rows("metrics")) == (
        before[0] + 5, before[1] + 2, before[2] + 3)  # fmt: skip


def test_gzip_is_taken_and_the_same_request_is_stored_once(line: Over) -> None:
    before, body = line.rows(), spans(7)
    for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate, grpc.Compression.NoCompression):
        line.export(body, compression=compression)
    assert line.rows() == before + 7


def test_a_part_that_cannot_be_kept_is_told_as_partial_success(line: Over) -> None:
    request = ExportTraceServiceRequest.FromString(spans(3))
    request.resource_spans[0].scope_spans[0].spans[1].trace_id = b"short"
    partial = line.export(request.SerializeToString()).partial_success
    assert partial.rejected_spans == 1 and partial.error_message


def test_what_is_no_telemetry_is_an_invalid_argument_that_nobody_repeats(line: Over) -> None:
    error = line.error(b"\xff\xff junk")
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT and error.details() and retry_s(error) is None


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_message_beyond_the_limit_is_refused_packed_or_not(line: Over, compression: grpc.Compression) -> None:
    error = line.error(bytes(3 << 20), compression=compression)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and retry_s(error) is None


def test_a_service_that_is_not_there_is_unimplemented(line: Over) -> None:
    call = line.channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Import")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"", timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_many_senders_at_once_are_served_without_a_refusal(line: Over) -> None:
    before, failed = line.rows(), []

    def send() -> None:
        for _ in range(5):
            try:
                line.export(spans(20))
            except grpc.RpcError as error:
                failed.append(error)

    senders = [threading.Thread(target=send) for _ in range(16)]
    for one in senders:
        one.start()
    for one in senders:
        one.join()
    assert not failed and line.rows() == before + 16 * 5 * 20


def test_a_full_queue_asks_to_come_back_and_loses_nothing(tmp_path: Path) -> None:
    with over(tmp_path / "data", {"store": {"queue_bytes": 20_000}}) as line:
        told: list[bool] = []

        def send() -> None:
            for _ in range(15):
                try:
                    line.export(spans(200))
                    told.append(True)
                except grpc.RpcError as error:
                    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and (retry_s(error) or 0) > 0
                    told.append(False)

        senders = [threading.Thread(target=send) for _ in range(6)]
        for one in senders:
            one.start()
        for one in senders:
            one.join()
        assert set(told) == {True, False} and line.rows() == 200 * told.count(True)


def test_a_full_disk_is_unavailable(line: Over, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise StoreFull("the disk is full.", 30.0, full="disk")

    monkeypatch.setattr(line.one.state.store, "append", full)
    error = line.error(spans(1))
    assert error.code() is grpc.StatusCode.UNAVAILABLE and retry_s(error) == 30.0


def test_a_token_is_asked_for_before_the_message_is_read(tmp_path: Path) -> None:
    held = Tokens(tmp_path / "data")
    (tmp_path / "data").mkdir()
    sends, reads = held.create(["ingest"])[0], held.create(["read"])[0]

    def as_(token: str) -> Sequence[tuple[str, str]]:
        return (("authorization", f"Bearer {token}"),)

    with over(tmp_path / "data", {"server": {"auth": "tokens"}}) as line:
        line.one.state.extras["reader"] = reads
        assert line.error(spans(1)).code() is grpc.StatusCode.UNAUTHENTICATED
        assert line.error(spans(1), metadata=as_("wrong")).code() is grpc.StatusCode.UNAUTHENTICATED
        assert line.error(spans(1), metadata=as_(reads)).code() is grpc.StatusCode.PERMISSION_DENIED
        line.export(spans(2), metadata=as_(sends))
        assert line.rows() == 2


def test_a_port_that_is_taken_and_a_missing_package_are_said_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(ServeError, match="another process listens there"), \
                served(tmp_path / "data", {"server": {"grpc_port": taken}}):  # fmt: skip
            pass
        assert main(["serve", "--port", "0", "--grpc-port", str(taken), "--data", str(tmp_path / "data")]) == 2
        assert f"port {taken}" in capsys.readouterr().err
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "grpc" else real(name, *rest))
    with pytest.raises(ServeError, match=r"pip install 'aetia\[grpc\]'"), \
            served(tmp_path / "other", {"server": {"grpc_port": free_port()}}):  # fmt: skip
        pass
