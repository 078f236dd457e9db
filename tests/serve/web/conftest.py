"""A browser, servers with and without an incident, and pages that are watched."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from served import Served, served
from watching import Watched, incident_of

CHROMIUM = Path("/usr/bin/chromium")
ARGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
BY_HAND = {"detection": {"enabled": True, "warmup_s": 86_400}, "diagnosis": {"enabled": True}}
"""Incidents are kept and diagnosed, and open by hand alone."""


@pytest.fixture(scope="module")  # while Playwright runs, the thread has an event loop, which other tests want to begin
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is missing; install the package chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as running:
        found = running.chromium.launch(executable_path=str(CHROMIUM), args=ARGS)
        yield found
        found.close()


@pytest.fixture(scope="module")
def pages(browser: Any) -> Iterator[list[Any]]:
    """Pages that no test is at: a page that was used before costs half of what a new process for one costs."""
    free: list[Any] = []
    yield free
    for page in free:
        page.context.close()


@pytest.fixture
def look(browser: Any, pages: list[Any]) -> Iterator[Callable[..., Watched]]:
    """`look(server, width=1280, dark=False)`: a page that nobody else is at and that remembers nothing."""
    with contextlib.ExitStack() as stack:
        yield functools.partial(_look, browser, pages, stack)


@pytest.fixture(scope="module")
def open_page(browser: Any, pages: list[Any]) -> Iterator[Callable[..., Watched]]:
    """The same for pages that several tests share."""
    with contextlib.ExitStack() as stack:
        yield functools.partial(_look, browser, pages, stack)


def _look(
    browser: Any, pages: list[Any], stack: contextlib.ExitStack, server: Served, *, width: int = 1280, dark: bool = False
) -> Watched:  # fmt: skip
    page = pages.pop() if pages else _new_page(browser)
    page.set_viewport_size({"width": width, "height": 844 if width < 600 else 800})
    page.emulate_media(color_scheme="dark" if dark else "light")
    watched = Watched(page, server.url)
    stack.callback(pages.append, page)
    stack.callback(watched.leave)
    return watched


def _new_page(browser: Any) -> Any:
    context = browser.new_context(locale="en-GB")
    context.set_default_timeout(15_000)
    return context.new_page()


@pytest.fixture(scope="session")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that has seen nothing."""
    with served(tmp_path_factory.mktemp("quiet") / "data", {"detection": {"enabled": True}}) as one:
        yield one


@pytest.fixture(scope="session")
def struck(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, str]]:
    """(server, id of an incident that was diagnosed)."""
    with served(tmp_path_factory.mktemp("struck") / "data", BY_HAND) as one:
        yield one, incident_of(one)
