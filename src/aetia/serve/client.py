"""A small client for a server of ours on this machine: what the command line uses when a server owns the folder."""

from __future__ import annotations

import ssl
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from aetia.model.errors import ServeError, UsageError
from aetia.model.window import Window

SECONDS = 600.0
_REFUSED = {401, 403}


class Client:
    """Asks one server. Raises UsageError for a question that it refuses, ServeError where it does not answer."""

    def __init__(self, url: str, token: str = "") -> None:
        self._url, self._token = url, token
        # Nothing in between: the server is on this machine, whatever proxy the environment names.
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if url.startswith("https:"):
            handlers.append(urllib.request.HTTPSHandler(context=_own_certificate()))
        self._opener = urllib.request.build_opener(*handlers)

    def ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """The JSON answer to one question."""
        with self._send(method, path, body) as answer:
            return msgspec.json.decode(answer.read())

    def export(self, window: Window, out: Path) -> None:
        """Fetch the case of a window and unpack it into a folder."""
        query = urllib.parse.urlencode({"start": window.start_ns, "end": window.end_ns})
        with (
            self._send("GET", f"/api/v1/export?{query}", None) as answer,
            tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch,
            tarfile.open(fileobj=answer, mode="r|") as archive,
        ):
            archive.extractall(scratch, filter="data")
            (Path(scratch) / "case").rename(out)

    def _send(self, method: str, path: str, body: Any) -> IO[bytes]:
        headers = {"accept": "application/json"}
        data = None
        if method == "POST":
            headers["content-type"] = "application/json"
            data = msgspec.json.encode({} if body is None else body)
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(self._url + path, data, headers, method=method)
        try:
            return cast("IO[bytes]", self._opener.open(request, timeout=SECONDS))
        except urllib.error.HTTPError as error:
            raise UsageError(_said(error)) from None
        except (urllib.error.URLError, OSError) as error:
            reason = getattr(error, "reason", error)
            raise ServeError(f"the server at {self._url} does not answer: {reason}; is it still running?") from None


def _said(error: urllib.error.HTTPError) -> str:
    """The sentence of an answer that is no success."""
    try:
        message = str(msgspec.json.decode(error.read())["error"]["message"])
    except (msgspec.DecodeError, KeyError, TypeError, OSError):
        message = f"the server answered {error.code}."
    mend = " Give a token with --token or AETIA_TOKEN." if error.code in _REFUSED else ""
    return message + mend


def _own_certificate() -> ssl.SSLContext:
    """Of a server on this machine: its certificate bears another name, and the connection never leaves the machine. The
    folder's lock, which only its owner can write, says that it is the right server."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
