"""`aetia mcp`: the tools of the investigation for any MCP client, over stdin and stdout."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from aetia.model.errors import AetiaError, SignalError

if TYPE_CHECKING:
    from aetia.reason.toolbox import ViewTools

TIME = Parameter(allow_leading_hyphen=True)  # -30m..now is a time, not a flag


def mcp(
    source: Annotated[tuple[str, ...], Parameter(negative=())],
    /,
    *,
    baseline: Annotated[str | None, TIME] = None,
    incident: Annotated[str | None, TIME] = None,
    since: Annotated[str | None, TIME] = None,
    at: Annotated[str | None, TIME] = None,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Serve the tools of the investigation to an MCP client over stdin and stdout.

    The telemetry is read once, while the client connects, and nothing of it is ever changed. Messages go to stderr.
    Ends when stdin does; exit code 2 when the telemetry could not be used.

    Parameters
    ----------
    source:
        Folders, files, cases or dataset:case with traces, metrics and logs.
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
