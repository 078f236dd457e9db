"""Bytes and milliseconds of every tool of `/mcp`, asked by the SDK's client of a server with one simulated incident.

    python bench/mcp_answers.py CASE [--repeats 20]

CASE is a folder that `aetia lab sim` wrote. It is sent as if it had just ended, opened as an incident and diagnosed.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mcp.client.client import Client

from aetia.ingest.case import CaseReader
from aetia.ingest.otlp_encode import to_request
from aetia.lab.stream import PATHS
from aetia.serve.mcp.catalog import tools

HOST = "127.0.0.1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case")
    parser.add_argument("--repeats", type=int, default=20)
    given = parser.parse_args()
    with socket.socket() as line:
        line.bind((HOST, 0))
        port = line.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [str(Path(sys.executable).parent / "aetia"), "serve", "--data", f"{folder}/data", "--port", str(port)]
        server = subprocess.Popen(command)
        try:
            until(lambda: ask(port, "GET", "/readyz")[0] == 200)
            incident = prepare(port, given.case)
            asyncio.run(measure(port, server.pid, incident, given.repeats))
        finally:
            server.terminate()
            server.wait(30)


def prepare(port: int, case_folder: str) -> str:
    """Send the case and have it diagnosed; the id of the incident."""
    loaded = CaseReader().load(Path(case_folder))
    case, telemetry = loaded.case, loaded.telemetry
    assert case.incident is not None
    shift = time.time_ns() - case.incident.end_ns - 20 * 10**9
    for signal, path in PATHS.items():
        table = telemetry.table(signal)
        for first in range(0, table.num_rows, 20_000):
            until(lambda: ask(port, "POST", path, to_request(signal, table.slice(first, 20_000), shift))[0] == 200)  # noqa: B023
    window = {"start": str(case.incident.start_ns + shift), "end": str(case.incident.end_ns + shift)}
    made = json.loads(ask(port, "POST", "/api/v1/incidents", json.dumps({"title": "users complain", **window}).encode(),
                          "application/json")[1])["id"]  # fmt: skip
    until(lambda: json.loads(ask(port, "GET", f"/api/v1/incidents/{made}/revisions")[1])["revisions"])
    return made


async def measure(port: int, pid: int, incident: str, repeats: int) -> None:
    before, began = memory(pid), time.monotonic()
    async with Client(f"http://{HOST}:{port}/mcp", cache=None) as client:
        listed = (await client.list_tools()).tools
        size = len(json.dumps([tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in listed]))
        print(f"first connection and list {time.monotonic() - began:.2f} s, memory +{memory(pid) - before:.0f} MiB,"
              f" list of {len(listed)} tools {size:,} bytes")  # fmt: skip
        trace = (await client.call_tool("traces", {"order": "slowest"})).structured_content["rows"]
        span = (
            await client.call_tool("traces", {"view": "spans", "trace_id": trace[0]["trace_id"]})
        ).structured_content
        metric = (await client.call_tool("signals", {"view": "metrics"})).structured_content["rows"][0]["name"]
        values = {"incident_id": incident, "trace_id": trace[0]["trace_id"], "other": trace[-1]["trace_id"],
                  "span_id": span["rows"][0]["span_id"], "name": metric, "tool": "overview"}  # fmt: skip
        print(f"{'tool':28}{'rows':>6}{'total':>8}{'bytes':>8}{'p50 ms':>9}{'p95 ms':>9}")
        for tool in tools().values():
            for view in tool.views:
                args: dict[str, Any] = {name: values[name] for name in view.required}
                args |= {"view": view.name} if len(tool.views) > 1 else {}
                args |= {"service": trace[0]["service"], "low_ms": 200} if view.name == "cohorts" else {}
                await one(client, tool.name, args, repeats)


async def one(client: Client, name: str, args: dict[str, Any], repeats: int) -> None:
    took: list[float] = []
    for limit in [200, *[None] * repeats]:
        began = time.monotonic()
        found = await client.call_tool(name, args | ({"limit": limit} if limit else {}))
        took.append((time.monotonic() - began) * 1000)
        content = found.structured_content
        assert not found.is_error, content
        assert len(found.content[0].text.encode()) <= 24_000
        if limit:
            largest = len(found.content[0].text.encode())
            print(
                f"{name + '.' + args.get('view', ''):28}{len(content['rows']):>6}{content.get('total', '?'):>8}", end=""
            )
            print(f"{largest:>8,}", end="")
    print(f"{statistics.median(took):>9.1f}{sorted(took)[int(0.95 * len(took))]:>9.1f}  {content['summary'][:110]}")


def ask(
    port: int, method: str, path: str, body: bytes | None = None, kind: str = "application/x-protobuf"
) -> tuple[int, bytes]:
    line = http.client.HTTPConnection(HOST, port, timeout=60)
    try:
        line.request(method, path, body, {"content-type": kind})
        answer = line.getresponse()
        return answer.status, answer.read()
    except OSError:
        return 0, b""
    finally:
        line.close()


def memory(pid: int) -> float:
    """Resident MiB of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * 4096 / 2**20


def until(ready: Any, seconds: float = 120.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := ready()):
        assert time.monotonic() < end, "it did not become true in time"
        time.sleep(0.2)
    return found


if __name__ == "__main__":
    main()
