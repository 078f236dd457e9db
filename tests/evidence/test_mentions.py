"""Which services a log line speaks of, and which words are only called like one."""

from __future__ import annotations

import functools

import pytest

from aetia.evidence._mentions import mentioned
from aetia.model.tables import LOGS, Telemetry
from aetia.model.window import Window
from aetia.signals.view import Facts, View

SERVICES = ("reserve", "stock-svc", "cartservice", "gateway")
TEXTS = {
    "connect to reserve failed: connection refused": {"reserve"},
    "cannot resolve reserve: name or service not known": {"reserve"},
    "call to reserve timed out after 5 ms": {"reserve"},
    "reserve is unavailable": {"reserve"},
    "reserve does not answer": {"reserve"},
    "upstream 'reserve' refused the connection": {"reserve"},
    "reserve failed for request 17: downstream call did not succeed": set(),
    "could not reserve a seat": set(),
    "stock-svc failed": {"stock-svc"},
    "rpc error in cartservice": {"cartservice"},
}


@functools.cache
def named() -> dict[str, set[str]]:
    """The services that each line names, by line."""
    from datetime import UTC, datetime, timedelta

    import pyarrow as pa

    start = datetime(2024, 1, 1, tzinfo=UTC)
    lines = [*TEXTS, *(f"{name} started" for name in SERVICES)]
    rows = [
        {"time": start + timedelta(seconds=at), "service": SERVICES[at % len(SERVICES)], "body": text}
        for at, text in enumerate(lines)
    ]
    logs = pa.Table.from_pylist([dict.fromkeys(LOGS.names) | row for row in rows], schema=LOGS)
    first = int(start.timestamp()) * 10**9
    view = View(Facts(Telemetry(logs=logs)), (Window(first, first + 10**9),), Window(first + 10**9, first + 10**11))
    return {
        text: {view.names.services[code] for code in mentioned(view, int(view.logs.template[at]))}
        for at, text in enumerate(lines)
    }


@pytest.mark.parametrize("text", list(TEXTS))
def test_a_plain_word_names_a_service_only_where_it_is_called_or_answers(text: str) -> None:
    assert named()[text] == TEXTS[text]
