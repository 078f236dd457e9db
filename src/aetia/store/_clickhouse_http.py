"""How questions reach a ClickHouse server: its HTTP interface, Arrow streams back, parameters bound by the server.

No value ever becomes part of a statement. A statement names its parameters (`{name:Type}`), their texts travel beside
it as `param_name`, and the server reads them as that type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa

from aetia.ingest.values import text
from aetia.model.errors import StoreError
from aetia.model.patience import left_s
from aetia.net import Client, NetError, shown

Execute = Callable[[str, Mapping[str, Any]], pa.Table]
"""Runs a statement with parameters; the answer as a table. Raises StoreError with the server's first line."""
SECONDS = 30.0
LEAST_SECONDS = 0.1
"""ClickHouse takes 0 for no limit."""
ROWS = 5_000_000
BYTES = 1 << 30
_MEANING = {
    "join_use_nulls": "0", "aggregate_functions_null_for_empty": "0", "prefer_column_name_to_alias": "0",
    "distributed_product_mode": "global",
}  # fmt: skip
"""Settings that a user's profile may have changed and that statements mean something else by."""
_SETTINGS_FORBIDDEN = "Code: 164"
"""READONLY: the account may not change settings, so it is read-only already."""


def parameter_texts(params: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as ClickHouse reads them: escaped text, numbers in decimal, lists with quoted texts."""
    return {name: _parameter(value) for name, value in params.items()}


def _parameter(value: Any) -> str:
    if isinstance(value, str):
        return _escaped(value)
    if isinstance(value, list | tuple):
        return "[" + ",".join(_quoted(item) if isinstance(item, str) else repr(item) for item in value) + "]"
    return str(int(value)) if isinstance(value, bool) else repr(value)


def _escaped(value: str) -> str:
    for sign, written in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"), ("\0", "\\0")):
        value = value.replace(sign, written)
    return value


def _quoted(value: str) -> str:
    return "'" + _escaped(value).replace("'", "\\'") + "'"


def first_line(message: str) -> str:
    """What a server says of an error, without its version and stack."""
    line = next((line.strip() for line in message.splitlines() if line.strip()), "no reason given")
    return line.partition(" (version ")[0].rstrip(".")[:500]


def read_stream(data: bytes) -> pa.Table:
    """An ArrowStream with plain texts: whatever the server's version calls a string, valid UTF-8."""
    table = pa.ipc.open_stream(pa.py_buffer(data)).read_all()
    for index, field in enumerate(table.schema):
        kind = field.type
        if pa.types.is_dictionary(kind) or pa.types.is_binary(kind) or pa.types.is_string(kind):
            table = table.set_column(index, field.name, text(table.column(index)))
    return table


def http_executor(
    url: str, user: str = "", password: str = "", database: str = "default", *, seconds: float = SECONDS,
    rows: int = ROWS, most_bytes: int = BYTES, net: Client | None = None,
) -> Execute:  # fmt: skip
    """Asks the server at `url` (`http://host:8123`) over HTTP.

    Every statement carries limits that the server keeps: `readonly`, `max_execution_time`, `max_result_rows`. The
    answer is read up to `most_bytes` and for little longer than `seconds`. When nobody waits for it any more the
    connection is closed, and the server, which was told to, ends the statement. `net` is the client that checks
    addresses; without it private addresses are allowed, as a store is named by whoever runs Aetia.
    """
    client = net or Client(allow_private=True, timeout_s=seconds + 5.0, most_bytes=most_bytes)
    where = shown(url)
    headers = {"Content-Type": "text/plain; charset=utf-8"}
    if user:
        headers |= {"X-ClickHouse-User": user, "X-ClickHouse-Key": password}
    fixed = {"database": database, "default_format": "ArrowStream", "wait_end_of_query": "1"}
    limits = {
        "readonly": "1", "max_result_rows": str(rows), "result_overflow_mode": "throw",
        "cancel_http_readonly_queries_on_client_close": "1", **_MEANING,
    }  # fmt: skip
    state = {"settings": True}

    def ask(sql: str, bound: Mapping[str, str], settings: Mapping[str, str]) -> pa.Table:
        params = {**fixed, **settings, **{f"param_{name}": value for name, value in bound.items()}}
        answer = client.request("POST", url, headers=headers, params=params, body=sql.encode())
        if answer.headers.get("x-clickhouse-exception-code"):
            raise StoreError(f"ClickHouse at {where}: {first_line(answer.body.decode('utf-8', 'replace'))}.")
        return read_stream(answer.body)

    def execute(sql: str, params: Mapping[str, Any]) -> pa.Table:
        bound = parameter_texts(params)
        try:
            left = {"max_execution_time": f"{round(max(left_s(seconds), LEAST_SECONDS), 3):g}"}
            return ask(sql, bound, limits | left if state["settings"] else {})
        except NetError as failed:
            if state["settings"] and failed.said.startswith(_SETTINGS_FORBIDDEN):
                state["settings"] = False
                return execute(sql, params)
            said = first_line(failed.said) if failed.said else ""
            raise StoreError(f"ClickHouse at {where}: {said}." if said else str(failed)) from None
        except pa.ArrowInvalid as broken:
            raise StoreError(f"ClickHouse at {where} answered with something else than Arrow ({broken}).") from None

    return execute


def http_address(url: str) -> tuple[str, str, str, str]:
    """`clickhouse://user:pass@host:8123/database` (or `clickhouses://`, by TLS) as (address, user, password, database).

    Raises StoreError for anything else.
    """
    from urllib.parse import unquote

    parts = urlsplit(url)
    schemes = {"clickhouse": ("http", 8123), "clickhouses": ("https", 8443)}
    try:
        scheme, default = schemes[parts.scheme]
        port = parts.port or default
    except (KeyError, ValueError):
        raise StoreError(
            f"{shown(url)} is no ClickHouse; write clickhouse://user:password@host:8123/database."
        ) from None
    database = unquote(parts.path.strip("/")) or "default"
    if not parts.hostname or "/" in database or parts.query or parts.fragment:
        raise StoreError(f"{shown(url)} is no ClickHouse; write clickhouse://user:password@host:8123/database.")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{scheme}://{host}:{port}/", unquote(parts.username or ""), unquote(parts.password or ""), database
