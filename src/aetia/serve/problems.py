"""What a caller is told when a request fails: one shape for every error, so that a client can mend its call.

`{"error": {"kind", "message", "retryable", "asked", "searched", "try"}}`. `kind` is for programs, `message` is one
sentence that names the mend, `asked` is what was understood of the question, `searched` where the answer was looked
for, `try` what to ask instead. The receiver answers in OTLP's own shape, see `receiver.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Literal

import msgspec

from aetia.model.errors import (
    AetiaError,
    GivenUp,
    IngestError,
    ServeError,
    SignalError,
    StoreCorrupt,
    StoreError,
    StoreFull,
    UsageError,
)

Kind = Literal[
    "bad_request", "unauthorised", "forbidden", "not_found", "method_not_allowed", "timeout", "conflict", "too_large",
    "unsupported_media_type", "unanswerable", "busy", "store_full", "store_error", "deadline", "unavailable",
    "internal",
]  # fmt: skip
STATUS: dict[Kind, int] = {
    "bad_request": 400, "unauthorised": 401, "forbidden": 403, "not_found": 404, "method_not_allowed": 405,
    "timeout": 408, "conflict": 409, "too_large": 413, "unsupported_media_type": 415, "unanswerable": 422,
    "busy": 429, "store_full": 503, "store_error": 503, "deadline": 504, "unavailable": 503, "internal": 500,
}  # fmt: skip
MOST_SAID = 600


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a request failed, for a program and for a person. `asked` are the arguments as they were understood,
    `searched` says where was looked, `try` what to ask instead, `retry_after_s` when the same request may succeed."""

    kind: Kind
    message: str
    retryable: bool = msgspec.field(default=False)
    asked: dict[str, Any] = {}
    searched: str = ""
    try_: str = msgspec.field(default="", name="try")
    retry_after_s: float | None = None


class ErrorAnswer(msgspec.Struct, frozen=True):
    """The body of every answer that is no success."""

    error: Problem


class Refused(Exception):
    """A request that is answered with a problem instead of a result."""

    def __init__(
        self, kind: Kind, message: str, *, asked: Mapping[str, Any] | None = None, searched: str = "", try_: str = "",
        retry_after_s: float | None = None, headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.problem = Problem(
            kind=kind, message=cut(message), retryable=retry_after_s is not None, asked=dict(asked or {}),
            searched=searched, try_=try_, retry_after_s=retry_after_s,
        )  # fmt: skip
        self.headers = dict(headers or {})

    @property
    def status(self) -> int:
        return STATUS[self.problem.kind]

    def asking(self, asked: Mapping[str, Any]) -> Refused:
        """The same with what was asked, where that is not said yet."""
        if not self.problem.asked:
            self.problem = msgspec.structs.replace(self.problem, asked=dict(asked))
        return self


def cut(text: str, most: int = MOST_SAID) -> str:
    """A sentence of at most that many characters, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def refusal(error: AetiaError) -> Refused:
    """A deliberate error of a lower room as an answer."""
    message = str(error)
    if isinstance(error, StoreFull):
        kind: Kind = "busy" if error.full == "queue" else "store_full"
        return Refused(kind, message, retry_after_s=error.retry_after_s)
    if isinstance(error, StoreCorrupt):
        return Refused("store_error", message, try_="run `aetia store check` on the server")
    if isinstance(error, StoreError):
        return Refused("store_error", message)
    if isinstance(error, GivenUp):
        return Refused("deadline", message)
    from aetia.serve.incidents.records import UnknownIncident

    if isinstance(error, UnknownIncident):
        return Refused("not_found", message)
    if isinstance(error, ServeError):
        return Refused("unavailable", message, retry_after_s=2.0)
    if isinstance(error, UsageError | IngestError):
        return Refused("bad_request", message)
    if isinstance(error, SignalError):
        return Refused("unanswerable", message)
    return Refused("internal", message)


def internal() -> Refused:
    """For what nobody foresaw; the cause stands in the server's log and is nobody else's business."""
    return Refused("internal", "the server failed at this request; its log has the cause.")


def phrase(status: int) -> str:
    """`413` → `Content Too Large`."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
