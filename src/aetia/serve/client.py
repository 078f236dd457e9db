"""A client of our own server: what the command line asks it, and what went wrong in one sentence."""

from __future__ import annotations

import ssl
import tarfile
import tempfile
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec

from aetia.model.errors import ServeError, UsageError
from aetia.model.window import Window
from aetia.net import Answer, Client, NetError, Params
from aetia.serve.answers import JSON
from aetia.serve.problems import ErrorAnswer

ANSWER_S, WORK_S = 120.0, 600.0
"""Seconds for an answer, and for one that the server has to work for: checks, compaction, exports."""
MOST_BYTES, MOST_EXPORTED = 256 << 20, 1 << 40
T = TypeVar("T")


class Remote:
    """One server, asked with a token where it wants one. `ours` says that the address is that of the owner of a folder
    on this machine, as its lock names it.

    Raises UsageError for what the server refuses, ServeError where it does not answer or cannot.
    """

    def __init__(self, url: str, token: str = "", *, ours: bool = False) -> None:
        self._url = url
        self._client = Client(
            timeout_s=ANSWER_S, most_bytes=MOST_BYTES, allow_private=True, trust=_any_certificate() if ours else None,
            headers={"Authorization": f"Bearer {token}"} if token else {},
        )  # fmt: skip

    def get(self, path: str, params: Params | None = None) -> bytes:
        """The body of an answer."""
        return self._answer("GET", path, params=params).body

    def read(self, kind: type[T], path: str, params: Params | None = None) -> T:
        """The answer as a value of ours."""
        return self._decoded(self.get(path, params), kind)

    def work(self, path: str, body: Any = None) -> dict[str, Any]:
        """Ask the server to do something; the answer as plain values."""
        return self._decoded(self._answer("POST", path, body=body, timeout_s=WORK_S).body, dict[str, Any])

    def export(self, window: Window, out: Path) -> None:
        """Fetch the telemetry of a window as a case into a new folder."""
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
            with tempfile.TemporaryFile(dir=scratch) as file:
                bounds = {"start": str(window.start_ns), "end": str(window.end_ns)}
                self._answer("GET", "/api/v1/export", params=bounds, timeout_s=WORK_S, into=file)
                file.seek(0)
                with tarfile.open(fileobj=file) as archive:
                    archive.extractall(scratch, filter="data")
            (Path(scratch) / "case").rename(out)

    def _answer(
        self, method: str, path: str, *, params: Params | None = None, body: Any = None, timeout_s: float = ANSWER_S,
        into: IO[bytes] | None = None,
    ) -> Answer:  # fmt: skip
        headers = {"Accept": "*/*"} | ({"Content-Type": JSON} if method == "POST" else {})
        sent = None if method == "GET" else msgspec.json.encode({} if body is None else body)
        try:
            answer = self._client.request(
                method, self._url + path, headers=headers, params=params, body=sent, timeout_s=timeout_s, into=into,
                most_bytes=MOST_BYTES if into is None else MOST_EXPORTED, refusals=True,
            )  # fmt: skip
        except NetError as error:
            if error.category != "unreachable":
                raise ServeError(str(error)) from None
            raise ServeError(
                f"no server answers at {self._url}; start one with `aetia serve`, or name another by --url."
            ) from None
        if answer.status != HTTPStatus.OK:
            raise _refused(answer)
        return answer

    def _decoded(self, body: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.MsgspecError as error:
            raise ServeError(f"{self._url} is no server of this version of Aetia ({error}).") from None


def _refused(answer: Answer) -> ServeError | UsageError:
    """What the server says in its own shape of errors."""
    try:
        problem = msgspec.json.decode(answer.body, type=ErrorAnswer).error
        said = problem.message + (f" Try: {problem.try_}." if problem.try_ else "")
    except msgspec.MsgspecError:
        said = f"the server answered {answer.status}."
    if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        said += " Give a token with --token or AETIA_TOKEN."
    return ServeError(said) if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR else UsageError(said)


def _any_certificate() -> ssl.SSLContext:
    """Of a server on this machine: its certificate bears another name, and the connection never leaves the machine. The
    folder's lock, which only its owner can write, says that it is the right server."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
