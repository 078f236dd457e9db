"""`aetia mcp`: the tools of a running server, or of the investigation of one incident, for any MCP client, by stdio."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from aetia.cli._remote import Token, server_url
from aetia.model.errors import AetiaError, PluginUnavailable, SignalError, UsageError

if TYPE_CHECKING:
    from aetia.reason.toolbox import ViewTools

TIME = Parameter(allow_leading_hyphen=True)  # -30m..now is a time, not a flag


def mcp(
    source: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    /,
    *,
    url: str | None = None,
    data: Path | None = None,
    token: Token = "",
    deadline: Annotated[float | None, Parameter(name="--deadline")] = None,
    baseline: Annotated[str | None, TIME] = None,
    incident: Annotated[str | None, TIME] = None,
    since: Annotated[str | None, TIME] = None,
    at: Annotated[str | None, TIME] = None,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Serve tools to an MCP client over stdin and stdout: those of a running server, or of the investigation of SOURCE.

    The telemetry of SOURCE is read once, while the client connects, and nothing of it is ever changed. Messages go to
    stderr. Ends when stdin does; exit code 2 when the telemetry could not be used.

    Parameters
    ----------
    source:
        Folders, files, cases or dataset:case with traces, metrics and logs. Without any, a running server is asked.
    url:
        Address of the server; default that of the folder's owner, else http://127.0.0.1:4318.
    data:
        Folder of the server (default aetia-data).
    token:
        Of a server that asks for one; default AETIA_TOKEN of the environment.
    deadline:
        Seconds that all calls to the server together have from the first one on; default each has its own time.
    baseline:
        Time to compare with, as A..B. Found when not given.
    incident:
        Time in which users were hurt, as A..B. Found when not given.
    since:
        The incident began this long before the end of the data (30m), or at this time, and still lasts.
    at:
        A time inside the incident; chooses among several.
    quiet:
        No messages on stderr.
    """
    if not source or url is not None or data is not None:
        if source or any(item is not None for item in (baseline, incident, since, at)):
            raise UsageError("a SOURCE with its windows, or a server (--url, --data); give one of them.")
        return _proxied(server_url(url, data), token, deadline)
    return _served(source, quiet, baseline=baseline, incident=incident, since=since, at=at)


def _served(
    source: tuple[str, ...], quiet: bool, *, baseline: str | None, incident: str | None, since: str | None,
    at: str | None,
) -> int:  # fmt: skip
    """Serve the tools of the investigation of some telemetry."""
    from aetia.reason.mcp import Server

    def say(text: str) -> None:
        if not quiet:
            print(f"aetia: {text}", file=sys.stderr, flush=True)

    def load() -> ViewTools:
        try:
            tools = _tools(source, baseline=baseline, incident=incident, since=since, at=at)
        except AetiaError as error:
            say(str(error))
            raise
        say(f"ready: {', '.join(source)}")
        return tools

    target = sys.stdout.buffer
    with contextlib.redirect_stdout(sys.stderr):  # whatever prints must not end up between the messages
        server = Server(load)
        server.serve(sys.stdin.buffer, target)
    failure = server.loaded.exception()
    if failure is not None and not isinstance(failure, AetiaError):
        raise failure
    return failure.exit_code if failure is not None else 0


def _proxied(url: str, token: str, deadline_s: float | None) -> int:
    """Pass the messages on to a server until stdin ends."""
    try:
        from aetia.serve.mcp.proxy import run
    except ImportError as error:
        raise PluginUnavailable(f"`aetia mcp` without SOURCE needs {error.name}: pip install 'aetia[mcp]'.") from None
    run(url, token, deadline_s)
    return 0


def _tools(
    source: tuple[str, ...], *, baseline: str | None, incident: str | None, since: str | None, at: str | None
) -> ViewTools:
    """The tools over the incident of some telemetry; raises SignalError where there is no incident."""
    from aetia.api import investigate
    from aetia.reason.toolbox import ViewTools

    found = investigate(source, baseline=baseline, incident=incident, since=since, at=at)
    if found.view is None:
        missing = "; ".join(found.diagnosis.missing)
        raise SignalError(f"{found.diagnosis.abstained}; missing: {missing or 'an incident'}.")
    return ViewTools(found.view, shared=True)
