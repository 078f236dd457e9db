"""OTLP/HTTP: traces, metrics and logs as the OpenTelemetry protocol says, acknowledged once they are durable.

Protobuf and JSON; gzip, zstd and deflate. What the store takes only in part is answered with `partial_success`, what
it cannot take now with 429 or 503 and Retry-After, which exporters obey.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from aetia.model.errors import AetiaError
from aetia.model.stored import Signal
from aetia.serve.answers import JSON, PROTOBUF, encoded, media_type, status_response
from aetia.serve.bodies import IN_THREAD, Grow, InFlight, read_body, unpacked
from aetia.serve.config import MIB
from aetia.serve.problems import Refused, refusal
from aetia.serve.security.identity import caller, require

if TYPE_CHECKING:
    from aetia.serve.state import ServeState

PATHS: dict[str, Signal] = {"/v1/traces": "spans", "/v1/metrics": "metrics", "/v1/logs": "logs"}
_REJECTED = {"spans": "rejectedSpans", "metrics": "rejectedDataPoints", "logs": "rejectedLogRecords"}


class Receiver:
    """The three paths of OTLP/HTTP over one store."""

    def __init__(self, state: ServeState) -> None:
        self._state, self._limits = state, state.config.limits
        self._flight = InFlight(round(self._limits.in_flight_mib * MIB))

    def routes(self) -> list[Route]:
        return [Route(path, self.receive, methods=["POST"], name=path) for path in PATHS]

    @property
    def in_flight_bytes(self) -> int:
        return self._flight.held

    def reserved(self) -> AbstractContextManager[Grow]:
        """A share of the memory for bodies, see `InFlight.reserved`."""
        return self._flight.reserved()

    async def receive(self, request: Request) -> Response:
        """One export request."""
        signal = PATHS[request.url.path]
        kind = media_type(request.headers.get("content-type"))
        try:
            require(caller.get(), "ingest")
            with self._flight.reserved() as grow:
                return await self._store(request, signal, kind, grow)
        except Refused as refused:
            answer = refused
        except AetiaError as error:
            answer = refusal(error)
        self._state.watch.refused(signal)
        return status_response(answer, kind)

    async def _store(self, request: Request, signal: Signal, kind: str, grow: Grow) -> Response:
        if kind not in (PROTOBUF, JSON):
            raise Refused(
                "unsupported_media_type", f"Content-Type '{kind[:60]}' is not taken; send {PROTOBUF} or {JSON}."
            )
        limits = self._limits
        body = await read_body(request, most=round(limits.body_mib * MIB), seconds=limits.body_seconds, grow=grow)
        encoding = request.headers.get("content-encoding", "")
        body = await unpacked(body, encoding, most=round(limits.decompressed_mib * MIB), grow=grow)
        lost, why = 0, ""
        if kind == JSON:
            body, lost, why = await _converted(signal, body, grow)
        rejected, reason = await self.take(signal, body, lost=lost, why=why)
        return success(signal, kind, rejected, reason)

    async def take(self, signal: Signal, body: bytes, *, lost: int = 0, why: str = "") -> tuple[int, str]:
        """Keep a decompressed protobuf body, of which `lost` items are gone already because of `why`; how many were
        rejected in all and why. Raises Refused and AetiaError."""
        receipt = await self._durable(signal, body)
        rejected = lost + receipt.rejected
        self._state.watch.received(
            signal, len(body), rows=receipt.rows, rejected=rejected, duplicate=bool(receipt.duplicate)
        )
        return rejected, "; ".join(text for text in (why, receipt.reason) if text)

    async def _durable(self, signal: Signal, body: bytes) -> Any:
        """The store's receipt. The write goes on when we stop waiting; a second one of the same body is recognised."""
        future = asyncio.wrap_future(self._state.owned_store().append(signal, body))
        done, _ = await asyncio.wait([future], timeout=self._limits.durable_seconds)
        if not done:
            future.add_done_callback(_forget)
            raise Refused("unavailable", "the telemetry is not on the disk yet; send it again.", retry_after_s=5.0)
        return future.result()


async def _converted(signal: Signal, body: bytes, grow: Grow) -> tuple[bytes, int, str]:
    """OTLP/JSON as protobuf. The binary form is smaller, but the parsed JSON in between is not."""
    from aetia.ingest.otlp_columns import to_protobuf

    grow(len(body))
    try:
        if len(body) > IN_THREAD // 4:
            return await asyncio.to_thread(to_protobuf, signal, body)
        return to_protobuf(signal, body)
    except RecursionError:
        raise Refused("bad_request", "the JSON is nested too deeply.") from None


def success(signal: Signal, kind: str, rejected: int, reason: str) -> Response:
    """An Export…ServiceResponse in the encoding of the request; `partial_success` only where there is one."""
    if kind == JSON:
        # int64 is a text in the JSON of protobuf
        partial = {_REJECTED[signal]: str(rejected), "errorMessage": reason} if rejected or reason else {}
        return Response(encoded({"partialSuccess": partial} if partial else {}), media_type=JSON)
    return Response(message(signal, rejected, reason), media_type=PROTOBUF)


def message(signal: Signal, rejected: int, reason: str) -> bytes:
    """An Export…ServiceResponse as protobuf."""
    if not rejected and not reason:
        return b""
    if signal == "spans":
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces

        return traces.ExportTraceServiceResponse(
            partial_success=traces.ExportTracePartialSuccess(rejected_spans=rejected, error_message=reason)
        ).SerializeToString()
    if signal == "metrics":
        from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics

        return metrics.ExportMetricsServiceResponse(
            partial_success=metrics.ExportMetricsPartialSuccess(rejected_data_points=rejected, error_message=reason)
        ).SerializeToString()
    from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs

    return logs.ExportLogsServiceResponse(
        partial_success=logs.ExportLogsPartialSuccess(rejected_log_records=rejected, error_message=reason)
    ).SerializeToString()


def _forget(future: asyncio.Future[Any]) -> None:
    """Take the exception of a write that nobody waits for any more, so that nothing complains about it."""
    if not future.cancelled():
        future.exception()
