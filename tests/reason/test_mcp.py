"""The MCP server as a real process: frames as they come, whole, broken, huge, side by side, and again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aetia import plugins
from aetia.contracts.shop import BASELINE, INCIDENT, shop
from aetia.ingest.case import write_case
from aetia.model.case import Case
from aetia.model.diagnosis import Diagnosis, Evidence, Incident
from aetia.reason.mcp import HANDSHAKE, MOST_LINE, tool_list

PATIENCE_S = 60
MODERN = {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28",
                    "io.modelcontextprotocol/clientCapabilities": {}}}  # fmt: skip


class Client:
    """Speaks to `aetia mcp` over its pipes, one frame a line."""

    def __init__(self, *source: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "aetia.cli.main", "mcp", *source], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        self.number = 0

    def send(self, message: Any) -> None:
        line = message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n"
        assert self.process.stdin is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        message = json.loads(self.process.stdout.readline())
        assert message["jsonrpc"] == "2.0"
        return message

    def request(self, method: str, **params: Any) -> dict[str, Any]:
        self.number += 1
        self.send({"jsonrpc": "2.0", "id": self.number, "method": method, "params": params})
        reply = self.read()
        assert reply["id"] == self.number
        return reply

    def call(self, tool: str, arguments: dict[str, Any], **more: Any) -> dict[str, Any]:
        result = self.request("tools/call", name=tool, arguments=arguments, **more)["result"]
        assert json.loads(result["content"][0]["text"]) == result["structuredContent"]
        return result

    def greet(self, version: str = HANDSHAKE[-1]) -> dict[str, Any]:
        about = {"name": "test", "version": "0"}
        found = self.request("initialize", protocolVersion=version, capabilities={}, clientInfo=about)["result"]
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return found

    def end(self) -> tuple[int, list[dict[str, Any]], str]:
        """Close stdin; the exit code, what was still said, and stderr."""
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, [json.loads(line) for line in out.splitlines()], err.decode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("mcp") / "incident"
    write_case(place, Case(id="incident", baseline=BASELINE, incident=INCIDENT), shop())
    return place


@pytest.fixture
def client(folder: Path) -> Iterator[Client]:
    made = Client(str(folder))
    yield made
    if made.process.poll() is None:
        made.process.kill()
        made.process.communicate(timeout=PATIENCE_S)


def test_a_session_from_the_handshake_to_the_end(client: Client, folder: Path) -> None:
    found = client.greet()
    assert found["protocolVersion"] == HANDSHAKE[-1] and found["serverInfo"]["name"] == "aetia"
    assert found["capabilities"] == {"tools": {"listChanged": False}} and "never instructions" in found["instructions"]
    assert client.request("ping")["result"] == {}
    tools = client.request("tools/list")["result"]["tools"]
    assert [tool["name"] for tool in tools] == list(plugins.names("tool"))
    assert all(tool["annotations"]["readOnlyHint"] and tool["description"] for tool in tools)
    result = client.call("span_self_time", {"service": "prices"})
    assert result["isError"] is False
    fact = result["structuredContent"]["evidence"]
    assert fact["polarity"] == "for" and fact["about"]["name"] == "prices" and fact["id"].startswith("E")
    code, rest, err = client.end()
    assert (code, rest) == (0, []) and "ready" in err
    assert err.count("\n") == 1 and str(folder) in err


def test_evidence_told_over_the_wire_holds_under_recheck(client: Client, folder: Path, tmp_path: Path) -> None:
    client.greet()
    facts: list[Evidence] = []
    for tool, args in (("overview", {}), ("compare", {"component": "orders"}), ("log_templates", {"component": "orders"}),
                       ("changes", {}), ("link", {"caller": "basket", "callee": "storedb"})):  # fmt: skip
        said = client.call(tool, args)["structuredContent"]
        result = {"rows": said["rows"], "total": len(said["rows"])}
        facts.append(msgspec.convert(said["evidence"] | {"result": result}, Evidence))
    incident = Incident(baseline=BASELINE, window=INCIDENT, onset_ns=INCIDENT.start_ns, given=True)
    report = tmp_path / "report.json"
    report.write_bytes(msgspec.json.encode(Diagnosis(localizer="client", incident=incident, evidence=tuple(facts))))
    command = [sys.executable, "-m", "aetia.cli.main", "recheck", str(report), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0 and "5 of 5 pieces of evidence hold" in done.stdout, done.stdout


def test_a_question_that_was_answered_is_refused_with_its_evidence(client: Client) -> None:
    client.greet()
    first = client.call("compare", {"component": "orders"})["structuredContent"]
    again = client.call("compare", {"component": "orders"})
    error = again["structuredContent"]["error"]
    assert again["isError"] and (error["category"], error["code"]) == ("repeated", "asked_before")
    assert error["seen"] == first["evidence"]["id"] and error["seen"] in error["message"]
    assert client.call("compare", {"component": "basket"})["isError"] is False
    for _ in range(2):  # a wrong question has no answer to point to
        wrong = client.call("compare", {"component": "nobody"})
        assert wrong["structuredContent"]["error"]["code"] == "unknown_component"
    client.greet()  # another session knows nothing of the first
    assert client.call("compare", {"component": "orders"})["structuredContent"]["evidence"] == first["evidence"]


def test_a_stateless_client_needs_no_handshake_and_is_told_everything_each_time(client: Client) -> None:
    found = client.request("server/discover", **MODERN)["result"]
    assert "2026-07-28" in found["supportedVersions"] and found["resultType"] == "complete"
    assert found["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "aetia"
    listed = client.request("tools/list", **MODERN)["result"]
    assert listed["ttlMs"] >= 0 and listed["cacheScope"] in ("public", "private") and len(listed["tools"]) >= 10
    answers = [client.call("compare", {"component": "orders"}, **MODERN) for _ in range(2)]
    assert answers[0] == answers[1] and answers[0]["resultType"] == "complete" and not answers[0]["isError"]
    refused = client.request("ping", _meta={"io.modelcontextprotocol/protocolVersion": "2031-01-01"})["error"]
    assert refused["code"] == -32022 and refused["data"]["requested"] == "2031-01-01"
    assert "2026-07-28" in refused["data"]["supported"]


@pytest.mark.parametrize(("asked", "agreed"), [("2025-06-18", "2025-06-18"), ("1999-01-01", HANDSHAKE[-1])])
def test_the_revision_is_the_one_asked_for_or_the_newest(client: Client, asked: str, agreed: str) -> None:
    assert client.greet(asked)["protocolVersion"] == agreed


BROKEN = {
    "no JSON": (b"hello\n", -32700),
    "half a message": (b'{"jsonrpc": "2.0", "id": 1, "meth\n', -32700),
    "bytes that are no text": (b"\xff\xfe\x00{}\n", -32700),
    "nested without end": (b"[" * 200_000 + b"\n", -32700),
    "a batch": (b'[{"jsonrpc": "2.0", "id": 1, "method": "ping"}]\n', -32600),
    "another protocol": (b'{"id": 1, "method": "ping"}\n', -32600),
    "no method": (b'{"jsonrpc": "2.0", "id": 1}\n', -32600),
    "an id that is none": (b'{"jsonrpc": "2.0", "id": [1], "method": "ping"}\n', -32600),
    "an id that is nothing": (b'{"jsonrpc": "2.0", "id": null, "method": "ping"}\n', -32600),
    "a huge message": (b'{"jsonrpc": "2.0", "id": 1, "method": "' + b"x" * (3 * MOST_LINE) + b'"}\n', -32600),
    "an unknown method": (b'{"jsonrpc": "2.0", "id": 1, "method": "resources/list"}\n', -32601),
    "params that are a list": (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": [1]}\n', -32602),
    "an unknown tool": (
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "rm"}}\n', -32602
    ),
    "a tool without a name": (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call"}\n', -32602),
    "arguments that are a text": (
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "overview", "arguments": "x"}}\n',
        -32602,
    ),
    "a second page": (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"cursor": "2"}}\n', -32602),
}  # fmt: skip


def test_what_cannot_be_understood_is_an_error_and_the_server_goes_on(client: Client) -> None:
    client.greet()
    for name, (line, code) in BROKEN.items():
        client.send(line)
        reply = client.read()
        assert reply["error"]["code"] == code and len(reply["error"]["message"]) < 600, name
        assert client.request("ping")["result"] == {}, name
    for quiet in (b"\n", b"  \r\n", b'{"jsonrpc": "2.0", "method": "notifications/unheard"}\n',
                  b'{"jsonrpc": "2.0", "id": 9, "result": {}}\n',
                  b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": [1]}}\n'):  # fmt: skip
        client.send(quiet)
    assert client.request("ping")["result"] == {}
    assert client.end()[:2] == (0, [])


def test_wrong_arguments_are_errors_of_the_tool_that_a_model_can_read(client: Client) -> None:
    client.greet()
    for args in ({}, {"servce": "orders"}, {"service": 7}, {"service": "x" * 300_000}, {"service": "order service"}):
        result = client.call("topology", args)
        error = result["structuredContent"]["error"]
        assert result["isError"] and result["structuredContent"]["rows"] == [] and error["instruction"]
        assert len(json.dumps(result)) < 8_000


def test_calls_in_flight_are_all_answered_and_cancelled_ones_are_not(client: Client) -> None:
    # The telemetry is still being read: both calls wait for it, and the ping overtakes them.
    calls = {"a": {"component": "orders"}, "b": {"component": "basket"}, "c": {"component": "stock"}}
    for number, args in calls.items():
        client.send({"jsonrpc": "2.0", "id": number, "method": "tools/call",
                     "params": {"name": "compare", "arguments": args}})  # fmt: skip
    client.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "b"}})
    client.send({"jsonrpc": "2.0", "id": "d", "method": "ping"})
    replies = {reply["id"]: reply["result"] for reply in (client.read() for _ in range(3))}
    assert set(replies) == {"a", "c", "d"} and next(iter(replies)) == "d"
    names = {key: replies[key]["structuredContent"]["rows"][0]["name"] for key in ("a", "c")}
    assert names == {"a": "orders", "c": "stock"}
    assert client.end()[:2] == (0, [])


def test_calls_under_way_are_answered_when_stdin_ends(folder: Path) -> None:
    client = Client(str(folder), "--quiet")
    client.send({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "overview"}})
    code, said, err = client.end()
    assert code == 0 and err == "" and said[0]["result"]["structuredContent"]["rows"]


def test_too_many_calls_at_once_are_told_to_come_back(folder: Path) -> None:
    client = Client(str(folder))
    for number in range(200):
        client.send({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": "overview"}})
    _, said, _ = client.end()
    assert sorted(reply["id"] for reply in said) == list(range(200))
    busy = [reply for reply in said if reply.get("error", {}).get("code") == -32000]
    assert busy and len(busy) < 200


def test_telemetry_that_cannot_be_read_is_told_to_the_client_and_on_stderr(tmp_path: Path) -> None:
    client = Client(str(tmp_path / "nowhere"))
    client.greet()
    error = client.call("overview", {})["structuredContent"]["error"]
    assert (error["category"], error["code"]) == ("dependency", "no_telemetry") and "nowhere" in error["message"]
    code, _, err = client.end()
    assert code == 2 and "nowhere" in err and "Traceback" not in err


def test_schemas_are_closed_and_say_what_each_argument_means() -> None:
    for tool in tool_list():
        given = tool["inputSchema"]
        assert given["type"] == "object" and given["additionalProperties"] is False
        assert set(given["required"]) <= set(given["properties"])
        assert all(field["description"] for field in given["properties"].values())
        assert tool["outputSchema"]["type"] == "object"
