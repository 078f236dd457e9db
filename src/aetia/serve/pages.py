"""The generated pages of the documentation of the server: its API and its configuration. See `make docs`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from aetia.serve.answers import problem_schema
from aetia.serve.config import LISTS, SECTIONS
from aetia.serve.config_keys import Key, keys
from aetia.serve.openapi import EXTRA, describe
from aetia.serve.operations import Operation, all_operations

URL = "http://localhost:4318"
CONFIGURATION = """# Configuration

`aetia serve --config FILE` reads one TOML file. Every section and every key may be absent;
[deploy/aetia.toml](../deploy/aetia.toml) has all of them with their defaults. A key that does not exist is refused
with the nearest that does. Flags of [`aetia serve`](cli.md#aetia-serve) override the file.

```toml
[server]
host = "0.0.0.0"                  # others may reach it, so it asks for tokens
tls_certificate = "/etc/aetia/cert.pem"
tls_key = "/etc/aetia/key.pem"

[store]
max_age_seconds = 1209600         # two weeks

[[slo]]
service = "checkout"
availability = 0.999
latency_ms = 500

[[notify]]
kind = "slack"
secret_file = "/etc/aetia/slack"  # the token of a bot
channel = "#oncall"
```

This page is written by `make docs`.
"""
API = """# API

Everything that the pages of [`aetia serve`](serve.md) show and do, and that `aetia store` asks a running server, goes
through `/api/v1`. The machine-readable description is at `/api/v1/openapi.json` (OpenAPI 3.1).

**Times** are UTC nanoseconds since 1970, durations milliseconds unless a name says otherwise. A window is `start` and
`end`: ISO 8601 with a zone, an epoch in s, ms, µs or ns, or an offset such as `-30m`, and the last 30 minutes by
default.

**Pages.** `limit` bounds the rows; `truncated` says that there are more, and `cursor` of one answer given to the next
question continues.

**Filters** are `field:op:value`, may be repeated, and all have to be met. A field is a column (`service`, `name`,
`kind`, `status`, `duration_ms`, `body`, `severity`, …) or the key of an attribute; `op` is `=`, `!=`, `contains`,
`>`, `<`, or `exists` without a value.

**Who may ask.** On loopback nobody is asked; anywhere else send `Authorization: Bearer TOKEN` with a token of
`aetia serve token create`. Each operation needs the scope that stands beside it. What changes something is a POST
with a JSON body and the content type `application/json`.

**Errors** have one shape, `{"error": {"kind", "message", "retryable", "asked", "searched", "try", "retry_after_s"}}`:
what went wrong for a program and in a sentence, whether the same request may succeed later and when (also as
`Retry-After`), how the question was understood, where the answer was looked for, and what to ask instead.
"""


def configuration_page() -> str:
    """docs/configuration.md."""
    return "\n".join([CONFIGURATION, *_sections()]).rstrip() + "\n"


def _sections() -> Iterator[str]:
    for name, kind in SECTIONS.items():
        yield f"## `{_heading(name)}`\n\n{_words(kind)}\n\n| key | type | default | meaning |\n|---|---|---|---|"
        for key in keys(name):
            default = "required" if key.default is None else f"`{key.default}`" if key.default else ""
            bounds = f" ({key.bounds})" if key.bounds else ""
            yield f"| `{key.name}` | {key.type}{bounds} | {default} | {_cell(key.meaning)} |"
        yield ""


def configuration_file() -> str:
    """deploy/aetia.toml: every key as a comment with its default."""
    lines = ["# Configuration of `aetia serve --config FILE`. Every setting is a comment with the default;",
             "# docs/configuration.md explains the keys.", ""]  # fmt: skip
    for name in SECTIONS:
        held = keys(name)
        lines.append(f"# {_heading(name)}" if name in LISTS else _heading(name))
        lines += [_setting(key) for key in held if "." not in key.name]
        tables = dict.fromkeys(key.name.partition(".")[0] for key in held if "." in key.name)
        for table in tables:
            lines += ["", f"[{name}.{table}]"]
            lines += [_setting(key) for key in held if key.name.startswith(f"{table}.")]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _setting(key: Key) -> str:
    return f"# {key.name.rpartition('.')[2]} = {key.default or ''}".rstrip()


def _heading(name: str) -> str:
    return f"[[{name}]]" if name in LISTS else f"[{name}]"


def _words(kind: type) -> str:
    return " ".join((kind.__doc__ or "").split())


def api_page() -> str:
    """docs/api.md."""
    document = describe(all_operations())
    codes = "\n".join(f"| {code} | {words} |" for code, words in problem_schema().items())
    head = f"{API}\n| status | `kind` |\n|---|---|\n{codes}\n\nThis page is written by `make docs`.\n"
    return "\n".join([head, *_operations(document), *_extra()]).rstrip() + "\n"


def _operations(document: Mapping[str, Any]) -> Iterator[str]:
    for item in all_operations():
        described = document["paths"][item.path][item.method.lower()]
        yield f"## `{item.method} {item.path}`\n\n{item.summary} (scope `{item.scope}`).\n\n{item.words}\n"
        rows = [*_parameters(described), *_body(described)]
        if rows:
            yield "| argument | type | default | meaning |\n|---|---|---|---|"
            yield from rows
            yield ""
        yield f"```sh\n{_example(item)}\n```\n"
        if fields := _answer(document, described):
            yield f"Answer: {fields}.\n"


def _parameters(described: Mapping[str, Any]) -> Iterator[str]:
    for place in described["parameters"]:
        where = "in the path, " if place["in"] == "path" else ""
        yield _row(place["name"], place["schema"], place.get("description", ""), place["required"], where)


def _body(described: Mapping[str, Any]) -> Iterator[str]:
    content = described.get("requestBody", {}).get("content", {}).get("application/json", {})
    schema = content.get("schema", {})
    for name, field in schema.get("properties", {}).items():
        yield _row(name, field, field.get("description", ""), name in schema.get("required", ()), "")


def _row(name: str, schema: Mapping[str, Any], meaning: str, required: bool, where: str) -> str:
    default = "required" if required else f"`{json.dumps(schema['default'])}`" if schema.get("default") else ""
    return f"| `{name}` | {_cell(where + _kind(schema))} | {default} | {_cell(meaning)} |"


def _kind(schema: Mapping[str, Any]) -> str:
    """A schema in words."""
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_kind(item) for item in schema["anyOf"] if item.get("type") != "null")
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2]
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {})) or 'value'}"
    names = {
        "string": "text",
        "object": "object",
        "integer": "whole number",
        "number": "number",
        "boolean": "true or false",
    }
    return names.get(str(schema.get("type")), "value")


def _answer(document: Mapping[str, Any], described: Mapping[str, Any]) -> str:
    """The fields of the answer, or its media types."""
    content = described["responses"]["200"]["content"]
    schema = content.get("application/json", {}).get("schema", {})
    if "$ref" not in schema:
        return ", ".join(f"`{kind}`" for kind in content)
    held = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    words = " ".join(held.get("description", "").split()).rstrip(".")
    fields = ", ".join(f"`{name}`" for name in held["properties"])
    return f"{fields}. {words}" if words else fields


def _example(item: Operation) -> str:
    """A curl call that can be tried."""
    path = item.path
    rest = dict(item.example)
    for name in item.in_path:
        path = path.replace(f"{{{name}}}", str(rest.pop(name, name.upper())))
    if item.method == "POST":
        body = shlex.quote(json.dumps(rest, ensure_ascii=False))
        return f"curl -H 'content-type: application/json' -d {body} {URL}{path}"
    query = urlencode(rest, doseq=True, safe=":=>")
    return f"curl {shlex.quote(f'{URL}{path}?{query}')}" if query else f"curl {URL}{path}"


def _extra() -> Iterator[str]:
    yield "## Beside the operations\n\n| path | what it is |\n|---|---|"
    for (method, path), words in EXTRA.items():
        yield f"| `{method} {path}` | {_cell(words)} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
