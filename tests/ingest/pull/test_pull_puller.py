"""Increments of a source: nothing twice, nothing lost, and failures that are caught up with."""

from __future__ import annotations

from typing import Any

import pytest
from fake_servers import Jaeger, Line, Loki, Server, serving
from live_incident import Live

from aetia.ingest.pull.puller import Puller
from aetia.model.window import NS_PER_SECOND
from aetia.net import Client, NetError

S = NS_PER_SECOND
START = 1_795_000_000 * S


def lines(count: int) -> list[Line]:
    return [({"service_name": "cart"}, START + n * S, f"line {n}", {}) for n in range(count)]


def puller(kind: str, url: str, client: Client, **options: Any) -> Puller:
    return Puller(kind, url, client=client, **{"interval_s": 10.0, "delay_s": 5.0, "overlap_s": 20.0, **options})


def test_every_line_is_handed_over_once(client: Client) -> None:
    with serving(Loki(lines(200))) as server:
        source = puller("loki", server.url, client, last_end_ns=START)
        bodies: list[str] = []
        for now in range(START + 15 * S, START + 220 * S, 10 * S):
            assert source.due(now)
            bodies += source.fetch(now).logs["body"].to_pylist()
            assert not source.due(now + 9 * S) and source.due(now + 10 * S)
    assert bodies == [f"line {n}" for n in range(200)]


def test_what_is_stored_late_is_found_by_the_overlap(client: Client) -> None:
    stored = lines(30)
    late = stored.pop(12)
    with serving(Loki(stored)) as server:
        source = puller("loki", server.url, client, last_end_ns=START)
        first = source.fetch(START + 25 * S).logs["body"].to_pylist()
        server._lines = sorted([*stored, late], key=lambda line: line[1])
        second = source.fetch(START + 35 * S).logs["body"].to_pylist()
    assert first == [f"line {n}" for n in range(20) if n != 12]
    assert second == ["line 12", *(f"line {n}" for n in range(20, 30))]


def test_spans_of_a_trace_come_once_though_the_trace_is_found_again(
    client: Client, live: Live, some: dict[str, list[dict[str, Any]]]
) -> None:
    begin, end = live.minute.start_ns, live.minute.end_ns
    with serving(Jaeger(some)) as server:
        source = puller("jaeger", server.url, client, last_end_ns=begin)
        spans: list[str] = []
        for now in range(begin + 15 * S, end + 60 * S, 10 * S):
            spans += source.fetch(now).spans["span_id"].to_pylist()
    assert sorted(spans) == sorted(span["span_id"] for trace in some.values() for span in trace)


def test_a_failure_loses_nothing_and_is_not_tried_again_at_once(client: Client) -> None:
    inner = Loki(lines(60))
    broken = True

    def respond(*args: Any) -> Any:
        return [1] if broken else inner.respond(*args)

    with serving(Server(respond)) as server:
        source = puller("loki", server.url, client, last_end_ns=START)
        pauses: list[int] = []
        for now in (START + 15 * S, START + 25 * S, START + 45 * S):
            with pytest.raises(Exception, match="does not answer as"):
                source.fetch(now)
            pauses.append((source.due_ns - now) // S)
        broken = False
        found = source.fetch(START + 65 * S).logs["body"].to_pylist()
    assert pauses == [10, 20, 40] and found == [f"line {n}" for n in range(60)]
    assert source.failures == 0 and source.last_end_ns == START + 60 * S
    with pytest.raises(NetError):
        source.fetch(START + 75 * S)


def test_a_long_silence_is_cut_and_said(client: Client) -> None:
    with serving(Loki(lines(10))) as server:
        source = puller("loki", server.url, client, last_end_ns=START - 7200 * S)
        found = source.fetch(START + 15 * S)
    assert found.logs.num_rows == 10 and "too long ago" in found.dropped[0].reason


def test_an_hour_without_the_source_is_caught_up_with(client: Client) -> None:
    with serving(Loki(lines(3000))) as server:
        source = puller("loki", server.url, client, last_end_ns=START)
        found = source.fetch(START + 3005 * S).logs["body"].to_pylist()
    assert found == [f"line {n}" for n in range(3000)]
