"""The description of the API, made from the registry of operations: OpenAPI 3.1."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from aetia import __version__
from aetia.serve.answers import JSON, json_response, problem_schema
from aetia.serve.operations.registry import Download, Operation, Raw
from aetia.serve.problems import ErrorAnswer

PLAIN = (Raw, Download)
REF = "#/components/schemas/{name}"
_ALWAYS = (400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 500, 503, 504)


def routes(operations: Sequence[Operation]) -> list[Route]:
    described: dict[str, Any] = {}

    async def document(request: Request) -> Response:
        if not described:
            described.update(describe(operations))
        return json_response(described)

    return [Route("/api/v1/openapi.json", document)]


def describe(operations: Iterable[Operation]) -> dict[str, Any]:
    """The whole document."""
    held = tuple(operations)
    types: list[Any] = [item.params for item in held]
    types += [item.answer for item in held if item.answer not in PLAIN]
    types.append(ErrorAnswer)
    schemas, components = _even(msgspec.json.schema_components(types, ref_template=REF))
    params = dict(zip((item.name for item in held), schemas, strict=False))
    answers = dict(zip((item.name for item in held if item.answer not in PLAIN), schemas[len(held) :], strict=False))
    paths: dict[str, dict[str, Any]] = {}
    for item in held:
        schema = _resolved(params[item.name], components)
        paths.setdefault(item.path, {})[item.method.lower()] = _operation(item, schema, answers.get(item.name))
    used = _used(paths, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Aetia", "version": __version__, "description": WORDS},
        "servers": [{"url": "/"}],
        "security": [{}, {"bearer": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": {name: schema for name, schema in components.items() if name in used},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "a token of `aetia serve token create`"},
                "session": {"type": "apiKey", "in": "cookie", "name": "aetia_session"},
            },
        },
    }


EXTRA: dict[tuple[str, str], str] = {
    ("GET", "/api/v1/stream"): "Server-sent events: `incident` with what happened to one, `change`, and `stats` of the"
    " store every few seconds; comments in between keep the connection alive. Who comes back with `Last-Event-ID` is"
    " first told the incidents and changes of the meantime, after a `gap` where some of them are not kept any more",
    (
        "GET",
        "/api/v1/incidents/{incident_id}/stream",
    ): "Server-sent events: the steps of the investigation (`step`) from"
    " the beginning or from `Last-Event-ID` on, then as they come; ids are `revision.sequence`",
    ("GET", "/api/v1/session"): "Who asks: `name`, `scopes`, `how`, and whether a `login` is needed",
    ("POST", "/api/v1/login"): '`{"token": "…"}` for a session cookie',
    ("POST", "/api/v1/logout"): "Ends the session",
    ("GET", "/api/v1/openapi.json"): "This description",
    ("POST", "/v1/traces"): "OTLP/HTTP, protobuf or JSON, gzip, zstd or deflate (scope `ingest`)",
    ("POST", "/v1/metrics"): "OTLP/HTTP, likewise",
    ("POST", "/v1/logs"): "OTLP/HTTP, likewise",
    ("POST", "/mcp"): "The Model Context Protocol, streamable HTTP; needs the extra `mcp`",
    ("GET", "/healthz"): "200 while the process lives",
    ("GET", "/readyz"): "200 while telemetry is taken and questions are answered, else 503 with `why`",
}
"""What is served beside the operations."""

WORDS = (
    "Times are UTC nanoseconds since 1970, durations milliseconds unless a name says otherwise. A window is `start` and"
    " `end`: ISO 8601 with a zone, an epoch, or an offset such as -30m; the last 30 minutes by default. Rows are"
    " bounded by `limit`; `truncated` says that there are more, `cursor` fetches them."
)


def _operation(item: Operation, schema: Mapping[str, Any], answer: Mapping[str, Any] | None) -> dict[str, Any]:
    out: dict[str, Any] = {
        "operationId": item.name, "summary": item.summary, "description": item.words, "tags": [item.group],
        "x-scope": item.scope,
    }  # fmt: skip
    fields = dict(schema.get("properties", {}))
    required = set(schema.get("required", ()))
    places = [_parameter(name, "path", fields.pop(name), True) for name in item.in_path]
    if item.method == "POST":
        body = {"type": "object", "properties": fields, "required": sorted(required - set(item.in_path)),
                "additionalProperties": item.open}  # fmt: skip
        media: dict[str, Any] = {"schema": body}
        if item.example:
            media["example"] = {key: value for key, value in item.example.items() if key not in item.in_path}
        out["requestBody"] = {"required": True, "content": {JSON: media}}
    else:
        places += [_parameter(name, "query", field, name in required) for name, field in fields.items()]
    for place in places:
        if place["name"] in item.example:
            place["example"] = item.example[place["name"]]
    out["parameters"] = places
    content: dict[str, Any] = {JSON: {"schema": answer}} if answer is not None else {}
    content |= {kind: {"schema": {"type": "string"}} for kind in item.produces}
    out["responses"] = {"200": {"description": item.summary, "content": content}, **_errors()}
    return out


def _errors() -> dict[str, Any]:
    body = {JSON: {"schema": {"$ref": REF.format(name="ErrorAnswer")}}}
    said = problem_schema()
    return {str(code): {"description": said.get(code, "error"), "content": body} for code in _ALWAYS}


def _parameter(name: str, place: str, field: Mapping[str, Any], required: bool) -> dict[str, Any]:
    schema = {key: value for key, value in field.items() if key != "description"}
    out = {"name": name, "in": place, "required": required, "schema": _plain(schema)}
    if "description" in field:
        out["description"] = field["description"]
    if schema.get("type") == "array":
        out |= {"style": "form", "explode": True}
    return out


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """A query has no null: an argument that may be absent is simply left out."""
    kinds = [dict(item) for item in schema.get("anyOf", ()) if item.get("type") != "null"]
    if len(kinds) == 1:
        kept = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
        return {**kinds[0], **kept}
    return schema


def _resolved(schema: Mapping[str, Any], components: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    return components[reference.rpartition("/")[2]] if isinstance(reference, str) else schema


def _even(value: Any) -> Any:
    """The same with tuples of one kind as lists of a fixed length, which every reader of schemas knows."""
    if isinstance(value, dict):
        held = {key: _even(item) for key, item in cast("dict[str, Any]", value).items()}
        first = held.get("prefixItems")
        if first and all(item == first[0] for item in first):
            del held["prefixItems"]
            held["items"] = first[0]
        return held
    if isinstance(value, list | tuple):
        return [_even(item) for item in cast("list[Any]", value)]
    return value


def _used(start: Any, components: Mapping[str, Any]) -> set[str]:
    """Names of the components that are referred to."""
    found: set[str] = set()
    todo: list[Any] = [start]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            name = str(value.get("$ref", "")).rpartition("/")[2]
            if name in components and name not in found:
                found.add(name)
                todo.append(components[name])
            todo.extend(value.values())
        elif isinstance(value, list):
            todo.extend(value)
    return found


def schema_of(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """JSON Schema of the arguments of one operation, self-contained, for clients other than HTTP."""
    (schema,), components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    resolved = dict(_resolved(schema, components))
    others = _used(resolved, components)
    return resolved | ({"$defs": {name: components[name] for name in sorted(others)}} if others else {})
