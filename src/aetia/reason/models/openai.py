"""Any server that speaks OpenAI's chat completions with tool calling, one on this machine included.

`OpenAIModel` answers within the time it is given or says in a `ToolError` why not: it never raises for what a server
does. Rate limits and failures of the server are tried again, after the time that `Retry-After` names where it does.
The key comes from the environment variable AETIA_MODEL_KEY alone. Nothing is sent to any other place: redirections are
not followed and proxies are not used.
"""

from __future__ import annotations

import email.utils
import http.client
import os
import random
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

import msgspec

from aetia.model.errors import UsageError
from aetia.model.journal import ErrorCategory, ModelAnswer, ModelCall, ToolError
from aetia.reason.models.wire import body_of, estimated, read_completion
from aetia.reason.redact import Redactor

KEY = "AETIA_MODEL_KEY"
MOST_TRIES = 4
FIRST_PAUSE_S = 0.5
MOST_BYTES = 4 << 20
"""A longer answer is cut off: no turn of a model fills it."""
_BY_STATUS: dict[int, ErrorCategory] = {
    400: "validation", 401: "auth", 403: "auth", 408: "timeout", 413: "validation", 422: "validation", 429: "quota",
}  # fmt: skip
_TELLS = {
    "auth": f"set {KEY} to a key that the server accepts", "quota": "ask fewer questions, or later",
    "validation": "check the name of the model and that it can call tools", "timeout": "give more time",
    "transient": "ask again later", "permanent": "check the URL and the name of the model",
    "dependency": "check that the server runs and the URL is right",
}  # fmt: skip


@dataclass(slots=True)
class Account:
    """What a model has cost so far; `seconds` is the sum over its turns, which may have run side by side."""

    turns: int = 0
    tries: int = 0
    failed: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, answer: ModelAnswer, tries: int, seconds: float) -> None:
        with self.lock:
            self.turns += 1
            self.tries += tries
            self.failed += answer.error is not None
            self.tokens_in += answer.tokens_in
            self.tokens_out += answer.tokens_out
            self.seconds += seconds


class _Reply(NamedTuple):
    status: int
    retry_after: str | None
    body: bytes


class OpenAIModel:
    """A model `name` behind a base URL such as `http://localhost:11434/v1`. Safe to ask from many threads.

    Raises UsageError when the URL is none of http or https, or carries a password.
    """

    def __init__(self, url: str, name: str, *, tries: int = MOST_TRIES) -> None:
        self._place, self._path = _place(url)
        self.name, self._tries = name, tries
        self._without: frozenset[str] = frozenset()
        self.account = Account()

    def answer(self, call: ModelCall, timeout_s: float) -> ModelAnswer:
        """The model's turn, or the error that was left when the tries or the time were used up."""
        began = time.monotonic()
        answer, tries = self._answer(call, began + timeout_s)
        self.account.add(answer, tries, time.monotonic() - began)
        return answer

    def _answer(self, call: ModelCall, until: float) -> tuple[ModelAnswer, int]:
        error = _error("timeout", "no_time", "no time was left to ask the model.")
        for attempt in range(1, self._tries + 1):
            left = until - time.monotonic()
            if left <= 0:
                return ModelAnswer(error=error), attempt - 1
            got = self._once(call, left)
            if isinstance(got, ModelAnswer):
                return got, attempt
            error = got
            pause = _pause(got, attempt)
            if not got.retryable or attempt == self._tries or pause >= until - time.monotonic():
                return ModelAnswer(error=error), attempt
            time.sleep(pause)
        return ModelAnswer(error=error), self._tries

    def _once(self, call: ModelCall, left_s: float) -> ModelAnswer | ToolError:
        without = self._without
        try:
            reply = self._send(body_of(call, self.name, without), left_s)
        except TimeoutError:
            return _error("timeout", "no_answer_in_time", f"the model gave no answer within {left_s:.1f} s.")
        except (OSError, http.client.HTTPException) as failed:
            text = f"the connection to {self._place.netloc} failed: {failed or type(failed).__name__}."
            refused = isinstance(failed, ConnectionRefusedError | socket.gaierror)
            return _error("dependency" if refused else "transient", "connection", text, retryable=True)
        if reply.status != 200:
            return self._refused(reply, call, without)
        answer = read_completion(reply.body)
        if answer is None:
            return _error("transient", "bad_body", "the server's answer is no chat completion.", retryable=True)
        if answer.tokens_in + answer.tokens_out:
            return answer
        return msgspec.structs.replace(answer, tokens_in=estimated(call), tokens_out=len(reply.body) // 4)

    def _refused(self, reply: _Reply, call: ModelCall, without: frozenset[str]) -> ToolError:
        """The error of an HTTP status; a field that this server does not know is left out from now on."""
        said = Redactor().text(reply.body[:2000].decode("utf-8", "replace"), 300)
        if reply.status in (400, 422):
            unknown = {name for name in ("response_format", "temperature", "max_tokens") if name in said} - without
            if "response_format" in unknown and call.response_format is None:
                unknown.discard("response_format")
            if unknown:
                self._without = without | unknown
                return _error("validation", "field_unknown", said, retryable=True, retry_after_s=0.0)
        category = _BY_STATUS.get(reply.status, "transient" if reply.status >= 500 else "permanent")
        return _error(
            category, f"http_{reply.status}", f"the model's server answered {reply.status}: {said}",
            retryable=category in ("transient", "quota", "timeout"), retry_after_s=_seconds(reply.retry_after),
        )  # fmt: skip

    def _send(self, body: bytes, left_s: float) -> _Reply:
        """One HTTP exchange that ends when the time does, however slowly the server drips. Raises TimeoutError."""
        until = time.monotonic() + left_s
        secure = self._place.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(self._place.hostname or "", self._place.port, timeout=left_s)
        connection.connect()
        line = connection.sock
        watchdog = threading.Timer(max(until - time.monotonic(), 0.0), _hang_up, (line,))
        watchdog.daemon = True
        watchdog.start()
        try:
            connection.request("POST", self._path, body, self._headers())
            response = connection.getresponse()
            data = response.read(MOST_BYTES)
            status, after = response.status, response.headers.get("Retry-After")
        except (OSError, http.client.HTTPException):
            if time.monotonic() >= until:
                raise TimeoutError from None
            raise
        finally:
            watchdog.cancel()
            connection.close()
            line.close()
        if time.monotonic() >= until:
            raise TimeoutError
        return _Reply(status, after, data)

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Connection": "close"}
        key = os.environ.get(KEY, "").strip()
        return headers | ({"Authorization": f"Bearer {key}"} if key else {})


def _place(url: str) -> tuple[SplitResult, str]:
    """The server and the path of chat completions below a base URL."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError("the URL of a model begins with http:// or https://, such as http://localhost:11434/v1.")
    if parts.username is not None or parts.password is not None:
        raise UsageError(f"a model's URL holds no password; put the key into the environment variable {KEY}.")
    path = parts.path.rstrip("/")
    path = path if path.endswith("/chat/completions") else f"{path}/chat/completions"
    return parts, f"{path}?{parts.query}" if parts.query else path


def _hang_up(line: socket.socket) -> None:
    """End a connection under whoever reads from it."""
    try:
        line.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it has ended by itself


def _pause(error: ToolError, attempt: int) -> float:
    """Seconds until the next try: what the server asks for, else twice as long each time, spread so that agents that
    were refused together do not return together."""
    if error.retry_after_s is not None:
        return error.retry_after_s
    return FIRST_PAUSE_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.0)


def _seconds(header: str | None) -> float | None:
    """The value of Retry-After: seconds, or a date."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        return max(email.utils.parsedate_to_datetime(header).timestamp() - time.time(), 0.0)
    except ValueError:
        return None


def _error(category: ErrorCategory, code: str, message: str, **more: Any) -> ToolError:
    return ToolError(category=category, code=code, message=message, instruction=_TELLS.get(category, ""), **more)
