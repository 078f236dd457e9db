"""The connector for Tempo, against a small server with its API."""

from __future__ import annotations

from typing import Any

import pytest
from fake_servers import Reply, Server, Tempo, serving
from live_incident import Live

from aetia.ingest.pull import pull
from aetia.model.tables import Telemetry
from aetia.model.window import NS_PER_SECOND, Window
from aetia.net import Client, NetError

Traces = dict[str, list[dict[str, Any]]]


def ids(telemetry: Telemetry) -> set[str]:
    return set(telemetry.spans["span_id"].to_pylist())


def expected(some: Traces) -> set[str]:
    return {span["span_id"] for spans in some.values() for span in spans}


@pytest.mark.parametrize("form", ["protobuf", "v1", "v2"])
def test_all_traces_come_in_each_form_of_answer(live: Live, some: Traces, client: Client, form: str) -> None:
    with serving(Tempo(some, form)) as server:
        found = pull("tempo", f"{server.url}?limit=25", live.minute, client=client)
    assert ids(found) == expected(some) and found.sampled == 1.0 and found.dropped == ()
    assert any(query.get("limit") == ["25"] and query["q"] == ["{}"] for _, query, _ in server.asked)


def test_too_many_traces_are_thinned_out_evenly(live: Live, some: Traces, client: Client) -> None:
    with serving(Tempo(some)) as server:
        found = pull("tempo", f"{server.url}?traces=60", live.minute, client=client)
    traces = set(found.spans["trace_id"].to_pylist())
    assert len(traces) == 60 and found.sampled == pytest.approx(60 / len(some))
    assert "traces=N" in found.dropped[0].reason and found.dropped[0].rows == len(some) - 60
    middle = live.minute.start_ns + 20 * NS_PER_SECOND
    early = sum(min(span["start_ns"] for span in some[key]) < middle for key in traces)
    assert 15 < early < 45


def test_a_trace_that_is_gone_and_one_that_is_damaged_spoil_no_other(live: Live, some: Traces, client: Client) -> None:
    inner = Tempo(some)
    gone, damaged = (key.lstrip("0") for key in sorted(some)[:2])

    def respond(path: str, query: Any, body: bytes, headers: Any) -> Any:
        if path.endswith(gone):
            raise Reply(404, b"trace not found")
        if path.endswith(damaged):
            raise Reply(200, b"\xff\xff\xff", "application/protobuf")
        return inner.respond(path, query, body, headers)

    with serving(Server(respond)) as server:
        found = pull("tempo", server.url, live.minute, client=client)
    assert len(set(found.spans["trace_id"].to_pylist())) == len(some) - 2
    assert any("cannot be decoded" in record.reason for record in found.dropped)


def test_a_second_with_too_many_traces_is_said(client: Client, live: Live, some: Traces) -> None:
    start = live.minute.start_ns
    dense = {key: spans for key, spans in some.items() if min(s["start_ns"] for s in spans) < start + NS_PER_SECOND}
    with serving(Tempo(dense)) as server:
        found = pull("tempo", f"{server.url}?limit=2", Window(start, start + 4 * NS_PER_SECOND), client=client)
    assert any("limit=N" in record.reason for record in found.dropped)


def test_a_server_that_refuses_the_search_is_an_error(client: Client, live: Live) -> None:
    def refusing(*args: Any) -> Any:
        raise Reply(401, b"no org id")

    with serving(Server(refusing)) as server, pytest.raises(NetError, match="no org id"):
        pull("tempo", server.url, live.minute, client=client)
