"""A model on a script behind real HTTP on loopback, in the form of OpenAI's chat completions.

A role sees a request as a model would and answers with a turn, or behaves badly on the wire. Used to measure what
investigations make of good and of bad models, without a model.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

Request = dict[str, Any]


@dataclass
class Turn:
    """What goes back: a message with words or calls, or trouble on the wire."""

    text: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    """(tool, arguments as text)"""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    wait_s: float = 0.0
    drop: str = ""
    """`before` an answer, or in the `middle` of it."""
    usage: bool = True
    body: bytes | None = None


Role = Callable[[Request, int], Turn]


class Scripted:
    """The server; `requests` holds what it was asked, in the order in which it came."""

    def __init__(self, role: Role, *, latency_s: float = 0.0) -> None:
        self.requests: list[Request] = []
        self.headers: list[dict[str, str]] = []
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer._lock:
                    outer.requests.append(body)
                    outer.headers.append(dict(self.headers) | {":path": self.path})
                    number = len(outer.requests)
                turn = role(body, number)
                outer._stopping.wait(latency_s + turn.wait_s)
                outer._reply(self, body, turn)

            def log_message(self, format: str, *args: object) -> None:
                return

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request: object, client_address: object) -> None:
                return  # whoever was asked had gone

        self._stopping = threading.Event()
        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Scripted:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def _reply(self, handler: BaseHTTPRequestHandler, request: Request, turn: Turn) -> None:
        if turn.drop == "before":
            _reset(handler.connection)
            return
        body = turn.body if turn.body is not None else json.dumps(_completion(request, turn)).encode()
        handler.send_response(turn.status)
        for name, value in turn.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if turn.drop == "middle":
            handler.wfile.write(body[: len(body) // 2])
            handler.wfile.flush()
            _reset(handler.connection)
            return
        if turn.drop == "drip":
            for byte in body:
                handler.wfile.write(bytes([byte]))
                handler.wfile.flush()
                time.sleep(0.05)
            return
        handler.wfile.write(body)


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _completion(request: Request, turn: Turn) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": turn.text or None}
    if turn.calls:
        message["tool_calls"] = [
            {"id": f"call_{at}", "type": "function", "function": {"name": name, "arguments": text}}
            for at, (name, text) in enumerate(turn.calls)
        ]
    done: dict[str, Any] = {"id": "chat-1", "object": "chat.completion", "model": request.get("model"),
                            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}  # fmt: skip
    if turn.usage:
        done["usage"] = {"prompt_tokens": len(json.dumps(request)) // 4, "completion_tokens": 20}
    return done
