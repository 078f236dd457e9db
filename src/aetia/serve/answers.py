"""Answers as bytes: JSON for the API, OTLP's own error shape for the receiver."""

from __future__ import annotations

import gzip
import math
from typing import Any

import msgspec
from starlette.responses import Response

from aetia.serve.problems import STATUS, ErrorAnswer, Refused

JSON = "application/json"
PROTOBUF = "application/x-protobuf"
WORTH_COMPRESSING = 32 * 1024
_ENCODER = msgspec.json.Encoder(enc_hook=lambda value: value.item())  # numpy scalars in evidence
_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 408: 4, 413: 8, 415: 3, 429: 8, 500: 13, 503: 14, 504: 4}
"""google.rpc.Code of an HTTP status: invalid argument, unauthenticated, permission denied, not found, …"""


def encoded(value: Any) -> bytes:
    """A value as JSON; numbers that are none become null."""
    return _ENCODER.encode(value)


def json_response(value: Any, status: int = 200) -> Response:
    return Response(encoded(value), status, media_type=JSON)


def problem_response(refused: Refused) -> Response:
    """An error of the API."""
    return Response(encoded(ErrorAnswer(refused.problem)), refused.status, _headers(refused), JSON)


def status_response(refused: Refused, content_type: str) -> Response:
    """An error of the receiver: a google.rpc.Status in the encoding of the request (JSON where that is unknown)."""
    code = _CODES.get(refused.status, 2)
    if content_type == PROTOBUF:
        return Response(_status_message(code, refused.problem.message), refused.status, _headers(refused), PROTOBUF)
    body = encoded({"code": code, "message": refused.problem.message})
    return Response(body, refused.status, _headers(refused), JSON)


def refused_response(refused: Refused, path: str, content_type: str) -> Response:
    """The error in the shape that the path's clients expect."""
    if path.startswith("/v1/"):
        return status_response(refused, content_type)
    return problem_response(refused)


def media_type(header: str | None) -> str:
    """`application/JSON; charset=utf-8` → `application/json`."""
    return (header or "").partition(";")[0].strip().lower()


def compressed(body: bytes, accepted: str | None) -> tuple[bytes, dict[str, str]]:
    """The body, smaller where that is worth it and the client takes it, and the headers that say so."""
    if len(body) < WORTH_COMPRESSING or "gzip" not in (accepted or ""):
        return body, {}
    return gzip.compress(body, 1, mtime=0), {"content-encoding": "gzip", "vary": "accept-encoding"}


def _headers(refused: Refused) -> dict[str, str]:
    after = refused.problem.retry_after_s
    return refused.headers | ({} if after is None else {"retry-after": str(max(1, math.ceil(after)))})


def _status_message(code: int, message: str) -> bytes:
    """google.rpc.Status: field 1 the code, field 2 the message. Written by hand: its module is not among ours."""
    text = message.encode()
    return b"\x08" + _varint(code) + b"\x12" + _varint(len(text)) + text


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def problem_schema() -> dict[int, str]:
    """Status codes of the API and when they come, for its description."""
    reasons: dict[int, list[str]] = {}
    for kind, status in STATUS.items():
        reasons.setdefault(status, []).append(kind)
    return {status: " or ".join(f"`{kind}`" for kind in kinds) for status, kinds in sorted(reasons.items())}
