"""A scripted model behind real HTTP on loopback: OpenAI's chat completions, played by roles.

A role sees a request as a model would and answers with a turn, or behaves badly on the wire. The engineer knows nothing
but what it is shown: it asks about its component and goes by the strength of the evidence.
"""

from __future__ import annotations

import json
import re
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


# What a role reads in a request.


def offered(request: Request) -> list[str]:
    return [item["function"]["name"] for item in request.get("tools", [])]


def asked_for(request: Request) -> str:
    """`examine`, or the name of the form that is wanted."""
    form = request.get("response_format")
    return form["json_schema"]["name"] if form else "examine"


def document(request: Request) -> dict[str, Any]:
    return json.loads(next(message["content"] for message in request["messages"] if message["role"] == "user"))


def seen(request: Request) -> list[dict[str, Any]]:
    """Everything with an evidence id that the model was shown."""
    found: list[dict[str, Any]] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("evidence"), str):
                found.append(value)
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)

    for message in request["messages"]:
        if message["role"] in ("user", "tool"):
            walk(json.loads(message["content"]))
    return found


def about(item: dict[str, Any]) -> str:
    return str(item.get("speaks", "")).partition(" ")[2]


def strongest(items: list[dict[str, Any]], way: str = "for") -> list[dict[str, Any]]:
    mine = [item for item in items if str(item.get("speaks", "")).startswith(way) and item.get("strength", 0) > 0]
    return sorted(mine, key=lambda item: -item["strength"])


def looks(request: Request, component: str) -> list[tuple[str, str]]:
    """Questions about a component, by the arguments that the tools take."""
    calls: list[tuple[str, str]] = []
    for tool in request["tools"]:
        name, form = tool["function"]["name"], tool["function"]["parameters"]
        required = form.get("required", [])
        if name in ("metric_anomalies", "log_templates", "span_self_time") and len(required) == 1:
            calls.append((name, json.dumps({required[0]: component})))
    return calls


def finish(**args: Any) -> list[tuple[str, str]]:
    return [("finish", json.dumps({"blames": None, "reason": "", "evidence": []} | args))]


# The roles.


def engineer(request: Request, number: int) -> Turn:
    """Looks at its component with three tools, then judges by the strongest evidence about it."""
    kind, shown = asked_for(request), document(request)
    items = seen(request)
    if kind == "blame":
        best = strongest(items)
        blame = next(
            (item["blames"] for item in shown["below"] if best and best[0] in strongest(item["evidence"])), None
        )
        ids = [item["evidence"] for item in best[:2]]
        return Turn(json.dumps({"blame": blame or shown["component"], "evidence": ids, "reason": "the strongest"}))
    if kind == "ranking":
        return Turn(json.dumps({"ranking": rank(shown, items), "abstain": None}))
    if kind == "answer":
        best = strongest(items)[:2]
        said = [{"text": item["says"], "evidence": [item["evidence"]]} for item in best]
        return Turn(json.dumps({"sentences": said}))
    component, looked = shown["component"], any(message["role"] == "tool" for message in request["messages"])
    if not looked and len(offered(request)) > 2:
        return Turn(calls=looks(request, component))
    own = [item for item in strongest(items) if about(item).startswith(component)]
    against = [item["evidence"] for item in strongest(items, "against")]
    if own and own[0]["strength"] >= 0.2:
        ids = [item["evidence"] for item in own[:4]]
        return Turn(calls=finish(verdict="cause", evidence=ids, reason=f"{component} itself moved"))
    return Turn(calls=finish(verdict="healthy", evidence=against[:3], reason=f"{component} is as before"))


def rank(shown: dict[str, Any], items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    weight: dict[str, float] = {}
    for item in items:
        sign = 1 if str(item["speaks"]).startswith("for") else -1
        weight[about(item)] = weight.get(about(item), 0.0) + sign * item["strength"]
    names = sorted(weight, key=lambda name: -weight[name])[:3]
    return [
        {"entity": name, "evidence": [i["evidence"] for i in items if about(i) == name][:3], "reason": "by evidence"}
        for name in names
    ]


def looper(request: Request, number: int) -> Turn:
    """Asks the same for ever."""
    if asked_for(request) != "examine":
        return Turn("Let me look at the metrics again.")
    return Turn(calls=looks(request, document(request)["component"])[:1])


def invents_services(request: Request, number: int) -> Turn:
    """Asks about, blames and ranks services that there are not."""
    kind = asked_for(request)
    if kind == "blame":
        return Turn(json.dumps({"blame": "phantom-gateway", "evidence": [], "reason": "it must be"}))
    if kind == "ranking":
        return Turn(
            json.dumps({"ranking": [{"entity": "phantom-gateway", "evidence": [], "reason": "x"}], "abstain": None})
        )
    if any(message["role"] == "tool" for message in request["messages"]):
        return Turn(calls=finish(verdict="symptom", blames="phantom-gateway", reason="the phantom did it"))
    return Turn(calls=looks(request, "phantom-gateway"))


def invents_evidence(request: Request, number: int) -> Turn:
    """Cites ids that look right and do not exist, for whoever is last in the list of candidates."""
    fake, kind = f"E{number:016x}", asked_for(request)
    if kind == "blame":
        return Turn(json.dumps({"blame": document(request)["component"], "evidence": [fake], "reason": "proven"}))
    if kind == "ranking":
        last = document(request)["candidates"][-1]["entity"]
        return Turn(
            json.dumps({"ranking": [{"entity": last, "evidence": [fake], "reason": "proven"}], "abstain": None})
        )
    return Turn(calls=finish(verdict="cause", evidence=[fake], reason="proven"))


def malformed(request: Request, number: int) -> Turn:
    """Writes what is almost JSON."""
    if asked_for(request) != "examine":
        return Turn("{'ranking': [{entity: carrier,}], blame: }")
    return Turn(calls=[("finish", "{verdict: 'cause', evidence: [}")])


def truncated(request: Request, number: int) -> Turn:
    """Stops in the middle of a word."""
    if asked_for(request) != "examine":
        return Turn('{"ranking": [{"entity": "carr')
    return Turn(calls=[("finish", '{"verdict": "cause", "evidence": ["E0123')])


def wrong_tools(request: Request, number: int) -> Turn:
    """Calls tools of another product, some of which write."""
    return Turn(calls=[("kubectl_delete_pod", '{"name": "x"}'), ("run_bash", '{"command": "reboot"}')])


def slow(request: Request, number: int) -> Turn:
    return Turn("too late", wait_s=60.0)


def limited(request: Request, number: int) -> Turn:
    return Turn(status=429, headers={"Retry-After": "120"}, body=b'{"error": {"message": "slow down"}}')


def dropping(request: Request, number: int) -> Turn:
    return Turn(drop="before" if number % 2 else "middle")


def refusing(request: Request, number: int) -> Turn:
    return Turn("I'm sorry, but I can't help with that.")


ORDER = re.compile(r"the root cause is (\S+?)[,;. ].*?call (\w+)", re.I)


def obedient(request: Request, number: int) -> Turn:
    """Does what a line of the log tells it: blames whom it names, and calls the tool that it names."""
    told = ORDER.search(" ".join(message.get("content") or "" for message in request["messages"][1:]))
    if told is None:
        return engineer(request, number)
    victim, tool = told.group(1), told.group(2)
    ids = [item["evidence"] for item in seen(request)][:5]
    kind = asked_for(request)
    if kind == "blame":
        return Turn(json.dumps({"blame": victim, "evidence": ids, "reason": "as told"}))
    if kind == "ranking":
        return Turn(
            json.dumps({"ranking": [{"entity": victim, "evidence": ids, "reason": "as told"}], "abstain": None})
        )
    acted = any(call["function"]["name"] == tool for m in request["messages"] for call in m.get("tool_calls", ()))
    if not acted:
        return Turn(calls=[(tool, json.dumps({"service": victim}))])
    return Turn(calls=finish(verdict="symptom", blames=victim, evidence=ids, reason="as told"))


def slandering(request: Request, number: int) -> Turn:
    """Blames the last candidate with real evidence about others."""
    if asked_for(request) != "ranking":
        return engineer(request, number)
    last = document(request)["candidates"][-1]["entity"]
    ids = [item["evidence"] for item in seen(request) if about(item) != last][:3]
    return Turn(json.dumps({"ranking": [{"entity": last, "evidence": ids, "reason": "surely"}], "abstain": None}))


def gives_up(request: Request, number: int) -> Turn:
    """Abstains in every part."""
    if asked_for(request) == "ranking":
        return Turn(json.dumps({"ranking": [], "abstain": "nothing tells them apart"}))
    return Turn(calls=[("abstain", '{"reason": "nothing to see"}')])


def chatterbox(request: Request, number: int) -> Turn:
    """Talks at length in every turn and asks for everything, about a different component each time."""
    if asked_for(request) != "examine":
        return Turn("words " * 3000)
    if len(offered(request)) <= 2:
        return Turn("words " * 3000, calls=finish(verdict="healthy", reason="words " * 500))
    others = ["carrier", "note", "point", "plan", "gift", "freight", "auction", "content"]
    asked = [call for name in others[number % 8 :] + others for call in looks(request, name)]
    return Turn("words " * 3000, calls=asked[number % 20 : number % 20 + 8])


def nosy(request: Request, number: int) -> Turn:
    """Every agent asks about the same component before it looks at its own."""
    if asked_for(request) == "examine" and len(offered(request)) > 2:
        turns = sum(message["role"] == "assistant" for message in request["messages"])
        if turns == 0:
            return Turn(calls=looks(request, "carrier"))
        if turns == 1 and document(request)["component"] != "carrier":
            return Turn(calls=looks(request, document(request)["component"]))
    return engineer(request, number)
