"""OTLP/gRPC: the three export services on a port of their own, acknowledged once they are durable. An extra (grpcio).

Requests are raw bytes and go the way of OTLP/HTTP. A call is served as a stream, which looks the same on the wire: its
token is checked, and room for its message found, before the message is read; others wait with their window of flow
control full. Errors carry RetryInfo where the sender is to come back, as OTLP asks for.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.util
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from aetia.model.errors import AetiaError, ServeError
from aetia.model.stored import Signal
from aetia.serve.config import MIB
from aetia.serve.problems import Kind, Refused, internal, refusal
from aetia.serve.receiver import Receiver, message
from aetia.serve.security.identity import LOCAL, NOBODY, Identity, require

if TYPE_CHECKING:
    from aetia.serve.state import ServeState

log = logging.getLogger(__name__)
SERVICES: dict[str, Signal] = {
    "opentelemetry.proto.collector.trace.v1.TraceService": "spans",
    "opentelemetry.proto.collector.metrics.v1.MetricsService": "metrics",
    "opentelemetry.proto.collector.logs.v1.LogsService": "logs",
}
MISSING = "OTLP over gRPC needs a package that is not installed here; `pip install 'aetia[grpc]'` adds it."
GRACE_S = 5.0
"""Seconds that calls under way get when the server ends."""
_CODES: dict[Kind, str] = {
    "bad_request": "INVALID_ARGUMENT", "unauthorised": "UNAUTHENTICATED", "forbidden": "PERMISSION_DENIED",
    "timeout": "DEADLINE_EXCEEDED", "conflict": "FAILED_PRECONDITION", "too_large": "RESOURCE_EXHAUSTED",
    "busy": "RESOURCE_EXHAUSTED", "store_full": "UNAVAILABLE", "store_error": "UNAVAILABLE",
    "unavailable": "UNAVAILABLE",
}  # fmt: skip
DETAILS = "grpc-status-details-bin"


class GrpcReceiver:
    """The three services over the receiver of a server."""

    def __init__(self, state: ServeState) -> None:
        self._state, self._limits = state, state.config.limits
        self.most_bytes = round(self._limits.body_mib * MIB)
        self._room = asyncio.Semaphore(max(1, int(self._limits.in_flight_mib // self._limits.body_mib)))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Serve while the server runs. Raises ServeError where the port cannot be had."""
        import grpc
        import grpc.aio

        lib = cast("Any", grpc)  # its own annotations are partial
        server = cast("Any", grpc.aio).server(
            options=(
                ("grpc.max_receive_message_length", self.most_bytes), ("grpc.so_reuseport", 0),
                ("grpc.max_concurrent_streams", 1000), ("grpc.max_metadata_size", self._limits.head_kib * 1024),
            ),
            maximum_concurrent_rpcs=self._limits.connections,
        )  # fmt: skip
        for name, signal in SERVICES.items():
            export = lib.stream_unary_rpc_method_handler(self._export(signal))
            server.add_generic_rpc_handlers((lib.method_handlers_generic_handler(name, {"Export": export}),))
        config = self._state.config.server
        address = f"[{config.host}]:{config.grpc_port}" if ":" in config.host else f"{config.host}:{config.grpc_port}"
        try:
            if config.tls_certificate:
                pair = (Path(config.tls_key).read_bytes(), Path(config.tls_certificate).read_bytes())
                server.add_secure_port(address, lib.ssl_server_credentials([pair]))
            else:
                server.add_insecure_port(address)
        except (RuntimeError, OSError) as error:
            raise ServeError(
                f"cannot listen on {address} for gRPC: {error}; choose another with --grpc-port."
            ) from None
        await server.start()
        try:
            yield
        finally:
            await server.stop(GRACE_S)

    def _export(self, signal: Signal) -> Callable[..., Awaitable[bytes]]:
        """The method Export of one service."""

        async def export(requests: Any, context: Any) -> bytes:
            began = time.perf_counter()
            answer, refused = await self._tried(signal, context)
            status = 200 if refused is None else refused.status
            self._state.watch.request(f"grpc {signal}", status, time.perf_counter() - began)
            if refused is None:
                return answer
            self._state.watch.refused(signal)
            await context.abort(_code(refused), refused.problem.message, _details(refused))
            raise AssertionError("abort does not return")

        return export

    async def _tried(self, signal: Signal, context: Any) -> tuple[bytes, Refused | None]:
        """The answer, or why there is none."""
        try:
            return await self._answer(signal, context), None
        except Refused as error:
            return b"", error
        except AetiaError as error:
            return b"", refusal(error)
        except Exception:
            log.exception("a call over gRPC failed: %s", signal)
            return b"", internal()

    async def _answer(self, signal: Signal, context: Any) -> bytes:
        require(self._identity(context), "ingest")
        limits = self._limits
        try:
            async with asyncio.timeout(limits.body_seconds):
                await self._room.acquire()
        except TimeoutError:
            raise Refused("busy", "too much telemetry is being received at this moment.", retry_after_s=1.0) from None
        try:
            with self._receiver.reserved() as grow:
                body = await _message_of(context, limits.body_seconds)
                grow(len(body))
                rejected, reason = await self._receiver.take(signal, body)
        finally:
            self._room.release()
        return message(signal, rejected, reason)

    @functools.cached_property
    def _receiver(self) -> Receiver:
        """Of the application, so that both count the same bodies."""
        return self._state.extras["receiver"]

    def _identity(self, context: Any) -> Identity:
        """Who calls: a token in the metadata `authorization`, or this machine where no token is asked for."""
        said = dict(context.invocation_metadata() or ()).get("authorization", "")
        return self._state.tokens.bearer(said) or (LOCAL if self._state.local else NOBODY)


async def _message_of(context: Any, seconds: float) -> bytes:
    """The one message of a call. Raises Refused for none, and for one that does not arrive in time."""
    try:
        async with asyncio.timeout(seconds):
            body = await context.read()
    except TimeoutError:
        raise Refused("timeout", f"the message did not arrive within {seconds:g} s.", retry_after_s=1.0) from None
    if not isinstance(body, bytes):
        raise Refused("bad_request", "the call holds no message.")
    return body


def _code(refused: Refused) -> Any:
    import grpc

    return getattr(grpc.StatusCode, _CODES.get(refused.problem.kind, "INTERNAL"))


def _details(refused: Refused) -> tuple[tuple[str, bytes], ...]:
    """google.rpc.Status with RetryInfo, without which a sender must not repeat RESOURCE_EXHAUSTED. Written by hand: its
    module is not among ours."""
    after = refused.problem.retry_after_s
    if after is None:
        return ()
    from google.protobuf.any_pb2 import Any as Packed
    from google.protobuf.duration_pb2 import Duration

    delay = Duration()
    delay.FromNanoseconds(round(after * 1e9))
    info = _field(1, delay.SerializeToString())
    packed = Packed(type_url="type.googleapis.com/google.rpc.RetryInfo", value=info).SerializeToString()
    code = b"\x08" + bytes((int(_code(refused).value[0]),))
    return ((DETAILS, code + _field(2, refused.problem.message.encode()) + _field(3, packed)),)


def _field(number: int, content: bytes) -> bytes:
    """A field of a message that holds bytes."""
    size, length = bytearray(), len(content)
    while length > 0x7F:
        size.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes((number << 3 | 2,)) + bytes(size) + bytes((length,)) + content


def mount(state: ServeState) -> None:
    """Add the services to a server that is being put together, where its configuration asks for them. Raises
    ServeError without the package, and where the port is taken."""
    port = state.config.server.grpc_port
    if not port:
        return
    if importlib.util.find_spec("grpc") is None:
        raise ServeError(MISSING)
    from aetia.serve.run import bind

    bind(state.config.server.host, port).close()  # says at the start, and in our words, that the port is taken
    state.extras.setdefault("during", []).append(lambda: GrpcReceiver(state).running())
