"""The connector for Prometheus, against Prometheus and VictoriaMetrics themselves."""

from __future__ import annotations

import time

import pytest
from fake_servers import Reply, Server, serving
from live_incident import Live

import plainly
from aetia.ingest.pull import prometheus as connector
from aetia.ingest.pull import pull
from aetia.model.errors import IngestError, UsageError
from aetia.model.tables import Telemetry
from aetia.model.window import Window
from aetia.net import Client, NetError

EXTRA = '?match={service!="extra"}'


def rows(telemetry: Telemetry) -> dict[tuple[object, ...], object]:
    """Values by time (in ms, as the servers keep it) and series."""
    names = ("name", "service", "instance", "node", "attributes")
    table = telemetry.metrics
    times = [at // 10**6 for at in table["time"].cast("int64").to_pylist()]
    keys = zip(times, *(table[name].to_pylist() for name in names), strict=True)
    return dict(zip(keys, table["value"].to_pylist(), strict=True))


def said(telemetry: Telemetry) -> str:
    return " ".join(record.reason for record in telemetry.dropped)


def test_recorded_samples_come_back_as_they_were_made(metrics_url: str, live: Live, client: Client) -> None:
    found = pull("prometheus", metrics_url + EXTRA, live.window, client=client)
    assert rows(found) == pytest.approx(rows(live.telemetry), rel=1e-9) and found.dropped == ()


def test_a_window_has_its_start_and_not_its_end(metrics_url: str, live: Live, client: Client) -> None:
    start = live.window.start_ns
    found = pull(
        "prometheus", f'{metrics_url}?match={{namespace="dense"}}', Window(start, start + 3 * 10**9), client=client
    )
    assert found.metrics["time"].cast("int64").to_pylist() == [start, start + 10**9, start + 2 * 10**9]


def test_a_known_onset_changes_the_order_and_not_the_rows(metrics_url: str, live: Live, client: Client) -> None:
    assert live.case.incident is not None
    onset = live.case.incident.start_ns
    found = pull("prometheus", metrics_url + EXTRA, live.minute, client=client, onset_ns=onset)
    assert rows(found) == rows(pull("prometheus", metrics_url + EXTRA, live.minute, client=client))
    assert len(rows(found)) == found.metrics.num_rows


def test_a_step_is_drawn_in_pieces_that_the_server_takes(metrics_url: str, live: Live, client: Client) -> None:
    end = live.window.end_ns
    window = Window(end - 11_500 * 10**9, end)
    found = pull("prometheus", f'{metrics_url}?step=1s&match={{namespace="dense"}}', window, client=client)
    times = found.metrics["time"].cast("int64").to_pylist()
    assert sorted(times) == list(range(window.start_ns, end, 10**9)) and found.dropped == ()
    coarse = pull("prometheus", f'{metrics_url}?step=1m&match={{namespace="dense"}}', window, client=client)
    assert 190 <= coarse.metrics.num_rows <= 192


def test_histograms_keep_their_bounds(metrics_url: str, live: Live, client: Client) -> None:
    found = pull("prometheus", f'{metrics_url}?match={{__name__=~"rpc.*"}}', live.window, client=client).metrics
    kinds = {(row["name"], row["type"], row["attributes"]) for row in plainly.rows(found)}
    assert ("rpc_duration_seconds_bucket", "histogram", '{"le":"0.1"}') in kinds
    assert ("rpc_duration_seconds_bucket", "histogram", '{"le":"+Inf"}') in kinds
    assert set(found["service"].to_pylist()) == {"extra"}


def test_an_alert_that_begins_is_a_change_and_one_that_fired_before_is_none(
    metrics_url: str, live: Live, client: Client
) -> None:
    found = plainly.rows(pull("prometheus", metrics_url, live.window, client=client).changes)
    assert [(row["kind"], row["service"], row["description"]) for row in found] == [("alert", "extra", "page Late")]
    assert (found[0]["time"] - live.window.start_ns) // 10**9 == 60


def test_what_the_analysis_knows_comes_first_and_the_rest_is_named(
    metrics_url: str, live: Live, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector, "BATCH", 1)
    found = pull(
        "prometheus", metrics_url + EXTRA + "&rows=50", live.window, client=client,
        prefer=lambda name: name.startswith("node_load"),
    )  # fmt: skip
    assert set(found.metrics["name"].to_pylist()) == {"node_load1"}
    assert "metrics were left out (" in said(found) and "rows=N" in said(found)


def test_answers_that_are_too_large_are_asked_for_in_pieces(metrics_url: str, live: Live, client: Client) -> None:
    whole = pull("prometheus", metrics_url + EXTRA, live.minute, client=client)
    small = Client(allow_private=True, most_bytes=8_000)
    assert rows(pull("prometheus", metrics_url + EXTRA, live.minute, client=small)) == rows(whole)


def test_the_number_of_requests_is_a_limit_that_says_what_is_missing(
    metrics_url: str, live: Live, client: Client
) -> None:
    found = pull("prometheus", metrics_url + "?requests=3", live.window, client=client)
    assert "metrics were left out" in said(found) and "requests=N" in said(found)


def test_a_wrong_selector_is_refused_before_it_is_sent(client: Client) -> None:
    with pytest.raises(UsageError, match="selector"):
        pull("prometheus", "http://localhost:1?match=up", Window(0, 10**9), client=client)
    with pytest.raises(UsageError, match="step"):
        pull("prometheus", "http://localhost:1?step=fast", Window(0, 10**9), client=client)


def test_a_server_without_recorded_samples_is_asked_for_a_drawing(client: Client) -> None:
    def respond(path: str, query: dict[str, list[str]], body: bytes, headers: object) -> object:
        if path.endswith("/values"):
            return {"status": "success", "data": ["up"]}
        if path.endswith("query_range"):
            series = {"metric": {"__name__": "up", "job": "a"}, "values": [[1000.0, "1"], [1005, "NaN"], [1010, "0"]]}
            return {"status": "success", "data": {"resultType": "matrix", "result": [series]}, "warnings": ["slow"]}
        raise Reply(422, b'{"status":"error","error":"range vectors are not supported"}')

    with serving(Server(respond)) as server:
        found = pull("prometheus", server.url, Window(1000 * 10**9, 1020 * 10**9), client=client)
    assert found.metrics["value"].to_pylist() == [1.0, 0.0]
    assert "steps of 5 s" in said(found) and "slow" in said(found)


def test_another_server_and_a_refused_key_are_told_apart(client: Client) -> None:
    def forbidding(*args: object) -> object:
        raise Reply(401, b"no")

    with serving(Server(forbidding)) as server, pytest.raises(NetError, match="401"):
        pull("prometheus", server.url, Window(0, 10**9), client=client)
    with serving(Server(lambda *args: [1, 2])) as server, pytest.raises(IngestError, match="does not answer as"):
        pull("prometheus", server.url, Window(0, 10**9), client=client)


def test_types_of_what_is_scraped_come_from_the_servers_metadata(
    prometheus_url: str, live: Live, client: Client
) -> None:
    few = '?match={__name__=~"process_.*|go_gc.*|prometheus_http_request_duration.*|ALERTS"}'
    until = time.monotonic() + 15.0
    types: dict[str, str | None] = {}
    found = Telemetry()
    # Prometheus looks for what to scrape five seconds after its start.
    while time.monotonic() < until and not (len(types) > 10 and found.changes.num_rows):
        time.sleep(0.2)
        found = pull("prometheus", prometheus_url + few, Window(live.window.end_ns, time.time_ns()), client=client)
        types = dict(zip(found.metrics["name"].to_pylist(), found.metrics["type"].to_pylist(), strict=True))
    assert types["process_cpu_seconds_total"] == "counter"
    assert types["process_open_fds"] == "gauge"
    assert types["prometheus_http_request_duration_seconds_bucket"] == "histogram"
    assert types["prometheus_http_request_duration_seconds_count"] == "counter"
    assert types["go_gc_duration_seconds"] == "gauge" and types["go_gc_duration_seconds_count"] == "counter"
    assert "page Always: it burns" in found.changes["description"].to_pylist()
    assert "shop" in found.changes["service"].to_pylist()
