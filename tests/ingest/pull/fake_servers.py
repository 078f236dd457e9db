"""Small servers that speak the documented APIs of Jaeger, Tempo, Loki and ClickHouse, with their limits and paging."""

from __future__ import annotations

import base64
import http.server
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aetia.model.tables import Telemetry
from plainly import rows

Query = dict[str, list[str]]


class Reply(Exception):
    """An answer other than JSON with 200."""

    def __init__(self, status: int, body: bytes, kind: str = "text/plain", **headers: str) -> None:
        super().__init__(status)
        self.status, self.body, self.kind, self.headers = status, body, kind, headers


class Server:
    """Answers with `respond(path, query, body, headers)`; keeps what it was asked."""

    def __init__(self, respond: Callable[..., Any]) -> None:
        self.respond = respond
        self.asked: list[tuple[str, Query, Mapping[str, str]]] = []
        self.url = ""


@contextmanager
def serving(server: Any) -> Iterator[Any]:
    """The server on a free port of loopback while it is used."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = parse_qs(parts.query)
            server.asked.append((parts.path, query, dict(self.headers)))
            try:
                content = json.dumps(server.respond(parts.path, query, body, self.headers)).encode()
                reply = Reply(200, content, "application/json")
            except Reply as other:
                reply = other
            self.send_response(reply.status)
            headers = {"Content-Type": reply.kind, "Content-Length": str(len(reply.body)), **reply.headers}
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(reply.body)

        do_POST = do_GET

        def log_message(self, *args: object) -> None:
            del args

    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    server.url = f"http://127.0.0.1:{listener.server_address[1]}"
    try:
        yield server
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()


# ---- Jaeger -------------------------------------------------------------------------------------------------


def traces_of(telemetry: Telemetry) -> dict[str, list[dict[str, Any]]]:
    """The spans by trace."""
    traces: dict[str, list[dict[str, Any]]] = {}
    for span in rows(telemetry.spans):
        span["start_ns"] = span["time"]
        traces.setdefault(span["trace_id"], []).append(span)
    return traces


class Jaeger(Server):
    """Jaeger's query service over traces in memory; answers with the latest `limit` traces, as its memory store does."""

    def __init__(self, traces: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        super().__init__(self._respond)
        self._traces = {key: list(spans) for key, spans in traces.items()}
        self._json = {key: json.dumps(_jaeger_trace(key, spans)) for key, spans in self._traces.items()}
        self._starts: dict[str, list[tuple[int, str]]] = {}
        for key, spans in self._traces.items():
            for span in spans:
                self._starts.setdefault(span["service"], []).append((span["start_ns"] // 1000, key))

    def _respond(self, path: str, query: Query, body: bytes, headers: Mapping[str, str]) -> Any:
        if path == "/api/services":
            return {"data": sorted(self._starts), "total": len(self._starts), "errors": None}
        if path != "/api/traces":
            raise Reply(404, b"404 page not found")
        if "service" not in query:
            raise Reply(
                400, b'{"errors": [{"code": 400, "msg": "parameter \'service\' is required"}]}', "application/json"
            )
        start, end, limit = int(query["start"][0]), int(query["end"][0]), int(query.get("limit", ["100"])[0])
        found = {key: at for at, key in sorted(self._starts.get(query["service"][0], ())) if start <= at <= end}
        latest = sorted(found, key=lambda key: -found[key])[:limit]
        body = f'{{"data": [{", ".join(self._json[key] for key in latest)}], "total": 0, "errors": null}}'.encode()
        raise Reply(200, body, "application/json")


def _jaeger_trace(trace_id: str, spans: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    processes: dict[tuple[str, str], str] = {}
    out: list[dict[str, Any]] = []
    for span in spans:
        process = processes.setdefault((span["service"], span["instance"] or ""), f"p{len(processes)}")
        tags: list[dict[str, Any]] = [{"key": "span.kind", "type": "string", "value": span["kind"]}]
        if span["status"] == "error":
            tags.append({"key": "error", "type": "bool", "value": True})
        if span["status_code"]:
            tags.append({"key": "http.status_code", "type": "string", "value": span["status_code"]})
        if span["peer"]:
            tags.append({"key": "peer.service", "type": "string", "value": span["peer"]})
        parent = span["parent_span_id"]
        references = [{"refType": "CHILD_OF", "traceID": trace_id, "spanID": parent}] if parent else []
        out.append({"traceID": trace_id, "spanID": span["span_id"], "operationName": span["name"],
                    "references": references, "startTime": span["start_ns"] // 1000,
                    "duration": span["duration_ns"] // 1000, "tags": tags, "logs": [], "processID": process})  # fmt: skip
    about = {
        key: {"serviceName": service, "tags": [{"key": "k8s.pod.name", "type": "string", "value": pod}]}
        for (service, pod), key in processes.items()
    }
    return {"traceID": trace_id, "spans": out, "processes": about, "warnings": None}


# ---- Tempo --------------------------------------------------------------------------------------------------


class Tempo(Server):
    """Tempo's search by whole seconds and its traces as protobuf, or as JSON of either version."""

    def __init__(self, traces: Mapping[str, Sequence[Mapping[str, Any]]], form: str = "protobuf") -> None:
        super().__init__(self._respond)
        self._traces, self._form = {key: list(spans) for key, spans in traces.items()}, form
        self._start = {key: min(span["start_ns"] for span in spans) for key, spans in self._traces.items()}

    def _respond(self, path: str, query: Query, body: bytes, headers: Mapping[str, str]) -> Any:
        if path == "/api/search":
            start, end = int(query["start"][0]) * 10**9, int(query["end"][0]) * 10**9
            found = [key for key, at in self._start.items() if start <= at <= end][: int(query["limit"][0])]
            return {"traces": [{"traceID": key.lstrip("0"), "startTimeUnixNano": str(self._start[key])} for key in found],
                    "metrics": {"inspectedTraces": len(self._start)}}  # fmt: skip
        key = path.rsplit("/", 1)[-1].rjust(32, "0")
        if not path.startswith("/api/traces/") or key not in self._traces:
            raise Reply(404, b"trace not found")
        if self._form == "protobuf":
            assert headers["Accept"] == "application/protobuf"
            raise Reply(200, otlp_traces(self._traces[key]), "application/protobuf")
        groups = otlp_json(self._traces[key])
        return {"batches": groups} if self._form == "v1" else {"trace": {"resourceSpans": groups}, "metrics": {}}


def otlp_traces(spans: Sequence[Mapping[str, Any]]) -> bytes:
    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

    data = TracesData()
    for span in spans:
        group = data.resource_spans.add()
        for key, value in (("service.name", span["service"]), ("k8s.pod.name", span["instance"])):
            attribute = group.resource.attributes.add(key=key)
            attribute.value.string_value = value or ""
        one = group.scope_spans.add().spans.add(
            trace_id=bytes.fromhex(span["trace_id"]), span_id=bytes.fromhex(span["span_id"]),
            parent_span_id=bytes.fromhex(span["parent_span_id"] or ""), name=span["name"], kind=KINDS[span["kind"]],
            start_time_unix_nano=span["start_ns"], end_time_unix_nano=span["start_ns"] + span["duration_ns"],
        )  # fmt: skip
        one.status.code = {"ok": 1, "error": 2}.get(span["status"], 0)
    return data.SerializeToString()


KINDS = {None: 0, "internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}


def otlp_json(spans: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": span["service"]}}]},
         "scopeSpans": [{"spans": [{
             "traceId": base64.b64encode(bytes.fromhex(span["trace_id"])).decode(),
             "spanId": base64.b64encode(bytes.fromhex(span["span_id"])).decode(),
             "parentSpanId": base64.b64encode(bytes.fromhex(span["parent_span_id"] or "")).decode(),
             "name": span["name"], "kind": "SPAN_KIND_SERVER", "startTimeUnixNano": str(span["start_ns"]),
             "endTimeUnixNano": str(span["start_ns"] + span["duration_ns"])}]}]}
        for span in spans
    ]  # fmt: skip


# ---- Loki ---------------------------------------------------------------------------------------------------

Line = tuple[Mapping[str, str], int, str, Mapping[str, str]]
"""Stream labels, time in ns, line, structured metadata."""


class Loki(Server):
    """Loki's range query with direction and a limit per query."""

    def __init__(self, lines: Sequence[Line], most: int = 5000) -> None:
        super().__init__(self._respond)
        self._lines, self._most = sorted(lines, key=lambda line: line[1]), most

    def _respond(self, path: str, query: Query, body: bytes, headers: Mapping[str, str]) -> Any:
        if path == "/loki/api/v1/labels":
            return {"status": "success", "data": sorted({key for line in self._lines for key in line[0]})}
        if path != "/loki/api/v1/query_range":
            raise Reply(404, b"404 page not found")
        limit, start, end = (int(query[name][0]) for name in ("limit", "start", "end"))
        if limit > self._most:
            raise Reply(
                400,
                f"max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {self._most})".encode(),
            )
        label = query["query"][0].strip("{").partition("=")[0]
        found = [line for line in self._lines if start <= line[1] < end and label in line[0]]
        found = found[:limit] if query["direction"] == ["forward"] else found[::-1][:limit]
        apart = headers.get("X-Loki-Response-Encoding-Flags") == "categorize-labels"
        streams: dict[str, Any] = {}
        for labels, at, text, metadata in found:
            whole = dict(labels) if apart else {**labels, **metadata}
            stream = streams.setdefault(json.dumps(whole, sort_keys=True), {"stream": whole, "values": []})
            stream["values"].append([str(at), text, *([{"structuredMetadata": dict(metadata)}] if apart else [])])
        return {"status": "success", "data": {"resultType": "streams", "result": list(streams.values()), "stats": {}}}


# ---- ClickHouse ---------------------------------------------------------------------------------------------


class ClickHouse(Server):
    """ClickHouse's HTTP interface on chDB, which is its engine in process: parameters are bound by it, in one thread."""

    def __init__(self, session: Any) -> None:
        super().__init__(self._respond)
        self._session, self._lock = session, threading.Lock()

    def _respond(self, path: str, query: Query, body: bytes, headers: Mapping[str, str]) -> Any:
        params = {key.removeprefix("param_"): value[0] for key, value in query.items() if key.startswith("param_")}
        with self._lock:
            try:
                found = self._session.query(body.decode(), "ArrowStream", params=params)
            except Exception as error:
                raise Reply(404, str(error).encode()) from error
        raise Reply(200, found.bytes(), "application/vnd.apache.arrow.stream")
