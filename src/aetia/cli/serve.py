"""`aetia serve`: one process that receives telemetry, opens incidents, diagnoses them and shows them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from aetia.model.errors import UsageError

if TYPE_CHECKING:
    from aetia.serve.config import Config

DATA = Path("aetia-data")
"""The folder when none is given, in the current one."""
app = App(name="serve", help="Receive telemetry, open incidents, diagnose them, and show them.")
token = App(name="token", help="Tokens of the server: who may ask and send.")
app.command(token)


@app.default
def serve(
    *,
    data: Path = DATA,
    port: int | None = None,
    host: str | None = None,
    grpc_port: Annotated[int | None, Parameter(name="--grpc-port")] = None,
    config: Path | None = None,
    store: str = "",
    no_redact: Annotated[bool, Parameter(name="--no-redact", negative=())] = False,
    json_logs: Annotated[bool, Parameter(name="--json-logs", negative=())] = False,
) -> int:
    """Receive OTLP over HTTP, keep it, open an incident when users are hurt, diagnose it and show it in the browser.

    Ends with SIGINT or SIGTERM: what is being received is finished first, a second signal ends it at once.

    Parameters
    ----------
    data:
        Folder of everything that is kept. One process owns it.
    port:
        Port for OTLP/HTTP, API and pages (default 4318); 0 takes a free one.
    host:
        Address to listen on (default 127.0.0.1). Any but loopback needs tokens.
    grpc_port:
        Port for OTLP over gRPC, usually 4317 (default none); needs the extra `grpc`.
    config:
        TOML file; flags override it.
    store:
        clickhouse://HOST:8123/DATABASE asks the tables of the OpenTelemetry exporter there; nothing is received.
    no_redact:
        Store secrets in attributes and log bodies as they come.
    json_logs:
        One JSON object per line on stderr.
    """
    import logging

    from aetia.allocator import give_back_freed_memory
    from aetia.serve import logging as lines
    from aetia.serve.config import read_config
    from aetia.serve.run import serve as run

    give_back_freed_memory()
    chosen = _overridden(
        read_config(config), port=port, host=host, grpc_port=grpc_port, no_redact=no_redact, json_logs=json_logs
    )
    lines.set_up(chosen.server)

    def say(text: str) -> None:
        if chosen.server.log_format == "json":
            logging.getLogger("aetia.serve").info(text)
        else:
            print(f"aetia: {text}", file=sys.stderr, flush=True)

    return run(chosen, data, store_url=store, say=say)


def _overridden(
    config: Config, *, port: int | None, host: str | None, grpc_port: int | None, no_redact: bool, json_logs: bool
) -> Config:
    import msgspec

    server, redaction = config.server, config.redaction
    if port is not None:
        if not 0 <= port <= 65535:
            raise UsageError(f"--port {port} is no port; give one from 0 to 65535.")
        server = msgspec.structs.replace(server, port=port)
    if grpc_port is not None:
        if not 0 <= grpc_port <= 65535:
            raise UsageError(f"--grpc-port {grpc_port} is no port; give one from 1 to 65535, or 0 for none.")
        server = msgspec.structs.replace(server, grpc_port=grpc_port)
    if host is not None:
        server = msgspec.structs.replace(server, host=host)
    if json_logs:
        server = msgspec.structs.replace(server, log_format="json")
    if no_redact:
        redaction = msgspec.structs.replace(redaction, enabled=False)
    return msgspec.structs.replace(config, server=server, redaction=redaction)


@token.command
def create(
    *, scope: Annotated[tuple[str, ...], Parameter(negative=())] = ("read",), name: str = "", data: Path = DATA
) -> None:
    """Make a token and print it. It is shown this once; only a hash of it is kept.

    Parameters
    ----------
    scope:
        What it opens: read (questions), write (changes, incidents, steering), ingest (OTLP); several times, or with
        commas.
    name:
        Whose it is; appears in journals.
    data:
        Folder of the server.
    """
    from aetia.serve.security.identity import SCOPES
    from aetia.serve.security.tokens import Tokens

    wanted = [item.strip() for text in scope for item in text.split(",") if item.strip()]
    unknown = [item for item in wanted if item not in SCOPES]
    if unknown:
        raise UsageError(f"there is no scope '{unknown[0]}'; scopes are {', '.join(SCOPES)}.")
    secret, made = Tokens(data).create([item for item in SCOPES if item in wanted], name)
    print(secret)
    print(f"aetia: token {made.id} ({made.name}: {', '.join(made.scopes)}); keep it, it is not shown again",
          file=sys.stderr)  # fmt: skip


@token.command(name="list")
def list_(
    *, data: Path = DATA, format: Annotated[Literal["text", "json"], Parameter(name="--format")] = "text"
) -> None:
    """List the tokens of a server, without their secrets.

    Parameters
    ----------
    data:
        Folder of the server.
    format:
        text or json.
    """
    from datetime import UTC, datetime

    import msgspec

    from aetia.serve.security.tokens import Tokens

    held = Tokens(data).all()
    if format == "json":
        rows = [
            {"id": item.id, "name": item.name, "scopes": item.scopes, "created_ns": item.created_ns} for item in held
        ]
        print(msgspec.json.encode(rows).decode())
        return
    for item in held:
        made = datetime.fromtimestamp(item.created_ns / 1e9, UTC)
        print(f"{item.id}  {made:%Y-%m-%d %H:%M}  {','.join(item.scopes):20}  {item.name}")


@token.command
def revoke(name: str, /, *, data: Path = DATA) -> None:
    """Make a token worthless, at once and for good; sessions that it opened end.

    Parameters
    ----------
    name:
        Id or name of the token.
    data:
        Folder of the server.
    """
    from aetia.serve.security.tokens import Tokens

    gone = Tokens(data).revoke(name)
    print(f"aetia: revoked {gone.id} ({gone.name})", file=sys.stderr)
