"""Scheduled sources: fetched from a small server that speaks Loki's API, stored like what is sent here."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from served import until

from aetia.model.errors import StoreFull
from aetia.model.stored import SIGNALS
from aetia.serve.config import SourceSection
from aetia.serve.sources import Sources
from aetia.store.store import Store

S = 10**9


@dataclass
class Loki:
    """Lines of one service and when they were written; `broken` answers nothing."""

    lines: list[tuple[int, str]] = field(default_factory=list)
    url: str = ""
    broken: bool = False

    def between(self, start: int, end: int) -> list[list[str]]:
        return [[str(at), line] for at, line in self.lines if start <= at < end]


@pytest.fixture
def loki() -> Iterator[Loki]:
    held = Loki()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            self.send_response(500 if held.broken else 200)
            self.end_headers()
            if "query_range" not in self.path:
                self.wfile.write(json.dumps({"status": "success", "data": ["service_name", "level"]}).encode())
                return
            values = held.between(int(query["start"][0]), int(query["end"][0]))
            result = [{"stream": {"service_name": "cart", "level": "error"}, "values": values}] if values else []
            found = {"status": "success", "data": {"resultType": "streams", "result": result}}
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    held.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield held
    server.shutdown()
    thread.join()
    server.server_close()


def section(loki: Loki) -> SourceSection:
    return SourceSection(kind="loki", url=loki.url, every_seconds=20.0, private=True)


def bodies(store: Store) -> list[str]:
    with store.reading(None, SIGNALS) as snapshot:
        return sorted(snapshot.hot["logs"]["body"].to_pylist())


def test_lines_of_a_source_are_stored_and_where_it_left_off_outlives_a_restart(loki: Loki, tmp_path: Path) -> None:
    now = time.time_ns()
    loki.lines = [(now - n * S, f"line {n}") for n in range(12, 25)]
    with Store.open(tmp_path) as store:
        sources = Sources((section(loki),), store, tmp_path)
        sources.start()
        until(lambda: sources.status()[0].until_ns)
        first = bodies(store)
        kept = json.loads((tmp_path / "sources.json").read_text())
        sources.close()
        assert set(first) == {line for _, line in loki.lines}
        assert kept == {f"loki={loki.url}": sources.status()[0].until_ns}
        again = Sources((section(loki),), store, tmp_path)
        assert again._pullers[0].last_end_ns == kept[f"loki={loki.url}"]


def test_a_source_that_fails_says_why_and_goes_on(loki: Loki, tmp_path: Path) -> None:
    loki.broken = True
    with Store.open(tmp_path) as store:
        sources = Sources((section(loki),), store, tmp_path)
        sources.start()
        status = until(lambda: sources.status()[0].problem and sources.status()[0], 20.0)
        sources.close()
    assert status.failures == 1 and "500" in status.problem and status.until_ns is None


def test_what_the_store_could_not_take_is_stored_before_more_is_fetched(loki: Loki, tmp_path: Path) -> None:
    now = time.time_ns()
    loki.lines = [(now - 15 * S, "held back")]
    with Store.open(tmp_path) as store:
        sources = Sources((section(loki),), store, tmp_path)
        take, full = store.append, [True]

        def append(signal: Any, body: bytes) -> Any:
            if full:
                raise StoreFull("The queue of the store is full; send again later.", 0.01)
            return take(signal, body)

        store.append = append  # type: ignore[method-assign]
        sources._stop.set()  # no waiting for the queue
        sources._fetch(0, sources._pullers[0])
        assert sources.status()[0].problem.startswith("The queue") and not (tmp_path / "sources.json").exists()
        full.clear()
        loki.broken = True
        sources._fetch(0, sources._pullers[0])
        assert bodies(store) == ["held back"] and (tmp_path / "sources.json").exists()
