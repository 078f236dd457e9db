"""A server that goes away and comes back: pages say so, and go on by themselves."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from planting import holds
from served import served, spans
from watching import Watched

Look = Callable[..., Watched]


def test_pages_say_that_the_server_is_gone_and_catch_up(look: Look, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    content = {"server": {"port": port}}
    with served(tmp_path / "data", content) as one:
        assert one.send("/v1/traces", spans(5)).status == 200
        services = look(one).open("/explore/services", "table.grid tbody tr")
        traces = look(one).open("/explore/services", "table.grid tbody tr")
    for page in (services, traces):
        page.wait_for_selector(".banner:has-text('does not answer')")
        assert page.locator(".flow.lost").count() == 1 and page.locator("table.grid tbody tr").count() == 1
    traces.click("nav.rooms a:has-text('Traces')")  # whose code was never fetched
    traces.wait_for_selector(".state.failed:has-text('The server does not answer')")
    with served(tmp_path / "data", content) as one:
        assert one.send("/v1/traces", spans(5, service="cart")).status == 200
        for page in (services, traces):
            page.wait_for_selector(".banner", state="detached", timeout=30_000)
        traces.wait_for_selector("h1:has-text('Traces')")
        holds(services, "document.querySelectorAll('table.grid tbody tr').length === 2")
        holds(traces, "document.querySelectorAll('.state.failed').length === 0")
