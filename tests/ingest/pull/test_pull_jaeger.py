"""The connector for Jaeger, against a small server with its API and limits."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from fake_servers import Jaeger, Reply, Server, serving
from live_incident import Live

from aetia.ingest.pull import pull
from aetia.model.errors import IngestError, UsageError
from aetia.model.tables import Telemetry
from aetia.model.window import Window
from aetia.net import Client, NetError

Traces = dict[str, list[dict[str, Any]]]


def said(telemetry: Telemetry) -> str:
    return " ".join(record.reason for record in telemetry.dropped)


def ids(telemetry: Telemetry) -> list[str]:
    return sorted(telemetry.spans["span_id"].to_pylist())


def expected(some: Traces) -> list[str]:
    return sorted(span["span_id"] for spans in some.values() for span in spans)


@pytest.mark.parametrize("limit", [25, 400])
def test_every_span_comes_once_however_few_traces_a_search_gives(
    live: Live, some: Traces, client: Client, limit: int
) -> None:
    with serving(Jaeger(some)) as server:
        found = pull("jaeger", f"{server.url}?limit={limit}", live.minute, client=client)
    assert ids(found) == expected(some) and found.dropped == ()
    # Services whose traces all came with others' are only probed: once to see where traces begin, then in quarters.
    entries = {span["service"] for spans in some.values() for span in spans if not span["parent_span_id"]}
    others = {query["service"][0] for path, query, _ in server.asked if "service" in query} - entries
    asked = [query["limit"][0] for path, query, _ in server.asked if query.get("service", [""])[0] in others]
    assert others and len(asked) == 5 * len(others) and set(asked) == {"20"}


def test_a_trace_that_no_entry_service_took_part_in_is_found(live: Live, client: Client) -> None:
    start = live.minute.start_ns

    def span(key: int, service: str, parent: str | None = None, after_s: int = 0) -> dict[str, Any]:
        return {
            "trace_id": f"{key:032x}", "span_id": f"{key * 10 + bool(parent):016x}", "parent_span_id": parent, "service": service,
            "instance": "", "name": "op", "kind": "server", "status": "ok", "status_code": None, "peer": None,
            "start_ns": start + after_s * 10**9, "duration_ns": 10**6,
        }  # fmt: skip

    both: Traces = {
        f"{key:032x}": [span(key, "front", after_s=key), span(key, "back", f"{key * 10:016x}", key)]
        for key in range(1, 200)
    }
    lonely = {f"{1000 + key:032x}": [span(1000 + key, "back", after_s=key)] for key in range(150, 190)}
    with serving(Jaeger(both | lonely)) as server:
        found = pull("jaeger", f"{server.url}?limit=50", Window(start, start + 200 * 10**9), client=client)
    assert len(set(found.spans["trace_id"].to_pylist())) == 199 + 40


def test_what_is_near_the_onset_stays_when_spans_are_too_many(live: Live, some: Traces, client: Client) -> None:
    assert live.case.incident is not None
    onset = live.case.incident.start_ns
    with serving(Jaeger(some)) as server:
        found = pull("jaeger", f"{server.url}?limit=20&rows=600", live.minute, client=client, onset_ns=onset)
    times = sorted(found.spans["time"].cast("int64").to_pylist())
    assert 500 < len(times) < 1500
    assert times[0] < onset - 10**9 and times[-1] > onset + 10**9
    assert max(late - early for early, late in itertools.pairwise(times)) < 5 * 10**9, "no gap inside"
    assert "before 20" in said(found) and "after 20" in said(found) and "rows=N" in said(found)


def test_only_the_services_that_were_named_are_asked_for(live: Live, some: Traces, client: Client) -> None:
    with serving(Jaeger(some)) as server:
        pull("jaeger", f"{server.url}?service={live.culprit}", live.minute, client=client)
    assert {query["service"][0] for path, query, _ in server.asked} == {live.culprit}


def test_answers_that_are_too_large_are_asked_for_in_shorter_times(live: Live, some: Traces) -> None:
    with serving(Jaeger(some)) as server:
        small = Client(allow_private=True, most_bytes=100_000)
        assert ids(pull("jaeger", server.url, live.minute, client=small)) == expected(some)


def test_a_server_that_fails_midway_leaves_what_came_before(live: Live, some: Traces, client: Client) -> None:
    inner = Jaeger(some)

    def failing(path: str, query: dict[str, list[str]], body: bytes, headers: Any) -> Any:
        if len(server.asked) > 12:
            raise Reply(500, b"storage is gone")
        return inner.respond(path, query, body, headers)

    with serving(Server(failing)) as server:
        found = pull("jaeger", f"{server.url}?limit=50", live.minute, client=client)
    assert found.spans.num_rows and "storage is gone" in said(found) and "traces before" in said(found)


def test_a_path_in_front_of_the_api_and_keys_in_the_query_are_kept(live: Live, some: Traces, client: Client) -> None:
    inner = Jaeger(some)

    def prefixed(path: str, query: dict[str, list[str]], body: bytes, headers: Any) -> Any:
        assert path.startswith("/select/jaeger/api/") and query["tenant"] == ["7"]
        return inner.respond(path.removeprefix("/select/jaeger"), query, body, headers)

    with serving(Server(prefixed)) as server:
        assert pull("jaeger", f"{server.url}/select/jaeger/?tenant=7", live.minute, client=client).spans.num_rows


def test_what_cannot_be_asked_is_an_error(client: Client, live: Live) -> None:
    with serving(Server(lambda *args: {"data": ["a"]} if "services" in args[0] else [1])) as server:
        with pytest.raises(IngestError, match="does not answer as Jaeger"):
            pull("jaeger", server.url, live.minute, client=client)
        with pytest.raises(UsageError, match="limit="):
            pull("jaeger", f"{server.url}?limit=many", live.minute, client=client)
    with pytest.raises(NetError, match="check that it runs"):
        pull("jaeger", server.url, live.minute, client=client)


def test_no_services_are_no_traces(client: Client, live: Live) -> None:
    with serving(Jaeger({})) as server:
        assert pull("jaeger", server.url, live.minute, client=client).spans.num_rows == 0
