"""The connector for Loki, against a small server with its API and its limit of lines."""

from __future__ import annotations

from typing import Any

import pytest
from fake_servers import Line, Loki, Server, serving

from aetia.ingest.pull import pull
from aetia.model.errors import IngestError
from aetia.model.tables import Telemetry
from aetia.model.window import Window
from aetia.net import Client

START = 1_795_000_000_000_000_000
WINDOW = Window(START, START + 100 * 10**9)
CART = {"service_name": "cart", "pod": "cart-6fd9c8b7d5-x2x4z", "namespace": "shop"}
DATABASE = {"service_name": "unknown_service", "container": "postgres", "pod": "db-0"}


def lines(count: int, step_ns: int = 10**8) -> list[Line]:
    trace = {"trace_id": "ab" * 16, "span_id": "cd" * 8, "severity_text": "ERROR"}
    return [
        (CART if n % 3 else DATABASE, START + n * step_ns, f"line {n}", trace if n % 2 else {}) for n in range(count)
    ]


def bodies(telemetry: Telemetry) -> list[str]:
    return sorted(telemetry.logs["body"].to_pylist(), key=lambda body: int(body.split()[-1]))


@pytest.mark.parametrize("onset", [None, START + 42 * 10**9])
@pytest.mark.parametrize("limit", [7, 64, 5000])
def test_every_line_comes_once_however_few_are_on_a_page(client: Client, limit: int, onset: int | None) -> None:
    with serving(Loki(lines(500))) as server:
        found = pull("loki", f"{server.url}?limit={limit}", WINDOW, client=client, onset_ns=onset)
    assert bodies(found) == [f"line {n}" for n in range(500)] and found.dropped == ()


def test_lines_of_one_time_across_two_pages_are_neither_lost_nor_doubled(client: Client) -> None:
    same = [(CART, START + n // 4 * 10**9, f"line {n}", {}) for n in range(80)]
    for onset in (None, START + 9 * 10**9):
        with serving(Loki(same)) as server:
            found = pull("loki", f"{server.url}?limit=6", WINDOW, client=client, onset_ns=onset)
        assert bodies(found) == [f"line {n}" for n in range(80)]


def test_more_lines_of_one_time_than_a_page_holds_are_said(client: Client) -> None:
    same = [(CART, START + 5, f"line {n}", {}) for n in range(30)] + [(CART, START + 1, "line 99", {})]
    with serving(Loki(same)) as server:
        found = pull("loki", f"{server.url}?limit=10", WINDOW, client=client)
    assert found.logs.num_rows == 11 and "limit=N" in found.dropped[0].reason


def test_labels_name_the_place_and_metadata_the_trace(client: Client) -> None:
    with serving(Loki(lines(4))) as server:
        found = pull("loki", server.url, WINDOW, client=client, full=True).logs.to_pylist()
    by_body = {row["body"]: row for row in found}
    cart, database = by_body["line 1"], by_body["line 0"]
    assert (cart["service"], cart["instance"], cart["severity"]) == ("cart", "cart-6fd9c8b7d5-x2x4z", "error")
    assert (cart["trace_id"], cart["span_id"]) == ("ab" * 16, "cd" * 8) and '"namespace":"shop"' in cart["attributes"]
    assert (database["service"], database["instance"], database["trace_id"]) == ("db", "db-0", None)


def test_metadata_that_is_folded_into_the_labels_is_found_too(client: Client) -> None:
    inner = Loki(lines(4))

    def old(path: str, query: Any, body: bytes, headers: Any) -> Any:
        return inner.respond(path, query, body, {})

    with serving(Server(old)) as server:
        found = pull("loki", server.url, WINDOW, client=client).logs.to_pylist()
    assert {row["trace_id"] for row in found} == {"ab" * 16, None}


def test_a_server_that_gives_fewer_lines_at_once_is_asked_for_fewer(client: Client) -> None:
    with serving(Loki(lines(300), most=120)) as server:
        assert len(bodies(pull("loki", server.url, WINDOW, client=client))) == 300
    assert [query["limit"] for path, query, _ in server.asked if "limit" in query][:3] == [["5000"], ["1000"], ["100"]]


def test_too_many_lines_are_cut_around_the_onset(client: Client) -> None:
    onset = START + 25 * 10**9
    with serving(Loki(lines(500))) as server:
        found = pull("loki", f"{server.url}?limit=20&rows=100", WINDOW, client=client, onset_ns=onset)
    times = found.logs["time"].cast("int64").to_pylist()
    assert min(times) < onset <= max(times) and 100 <= len(times) <= 140
    assert all("rows=N" in record.reason for record in found.dropped) and len(found.dropped) == 2


def test_a_query_of_ones_own_is_sent_and_one_that_draws_is_refused(client: Client) -> None:
    with serving(Loki(lines(10))) as server:
        pull("loki", server.url + '?query={service_name="cart"}', WINDOW, client=client)
    assert [path for path, _, _ in server.asked] == ["/loki/api/v1/query_range"]
    matrix = {"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {}, "values": []}]}}
    with serving(Server(lambda *args: matrix)) as server, pytest.raises(IngestError, match="selects no lines"):
        pull("loki", server.url + "?query=rate({a=%22b%22}[1m])", WINDOW, client=client)


def test_a_loki_without_any_stream_has_no_lines(client: Client) -> None:
    with serving(Loki([])) as server:
        assert pull("loki", server.url, WINDOW, client=client).logs.num_rows == 0
