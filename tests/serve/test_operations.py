"""What can be asked: windows, pages, filters, traces drawn and compared, templates, cohorts, changes, streams."""

from __future__ import annotations

import http.client
import io
import json
import math
import os
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from served import Served, logs, metrics, served, spans, trace, until

from aetia.ingest.case import CaseReader
from aetia.model.window import Window
from aetia.serve.operations._asking import filters_of, page, step_of
from aetia.serve.operations._tracing import drawing_order
from aetia.serve.operations.cohorts import benjamini_hochberg, differences
from aetia.serve.operations.logs import templates_of
from aetia.serve.problems import Refused
from aetia.signals.trees import roots_and_depths
from aetia.store.backend import Cohorts, ShapeRow, ValueCount

SHAPE = [
    ("front", "GET /", -1, 0.0, 100.0), ("cart", "GET /cart", 0, 5.0, 20.0), ("pay", "POST /pay", 0, 30.0, 60.0),
    ("bank", "charge", 2, 35.0, 50.0), ("front", "render", 0, 31.0, 5.0),
]  # fmt: skip
SLOWER = [
    ("front", "GET /", -1, 0.0, 300.0), ("cart", "GET /cart", 0, 5.0, 20.0), ("pay", "POST /pay", 0, 30.0, 260.0),
    ("bank", "charge", 2, 35.0, 100.0), ("bank", "charge", 2, 140.0, 140.0),
]  # fmt: skip


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Fast requests, and slow ones of one release."""
    with served(tmp_path_factory.mktemp("shop") / "data") as one:
        for release, n, ms in (("1.0", 60, 5.0), ("1.1", 20, 5.0), ("1.1", 20, 800.0)):
            one.send(
                "/v1/traces", spans(n, duration_ms=ms, failed=ms > 100, attributes={"release": release, "zone": "a"})
            )
        one.send("/v1/traces", spans(5, service="cart", name="GET /cart"))
        one.send("/v1/logs", logs("worker began", at_ns=time.time_ns() - 45 * 60 * 10**9))
        one.send("/v1/logs", logs(*[f"paid {n} euro" for n in range(30)], "disk is full"))
        one.send("/v1/metrics", metrics(1, 2, 3))
        yield one


def test_services_come_in_pages_that_fit_together(shop: Served) -> None:
    whole = [row["service"] for row in shop.get("/api/v1/services").json["services"]]
    first = shop.get("/api/v1/services?limit=1").json
    assert first["truncated"] and first["cursor"]
    second = shop.get(f"/api/v1/services?limit=1&cursor={first['cursor']}").json
    assert [first["services"][0]["service"], second["services"][0]["service"]] == whole == ["cart", "checkout"]
    assert not second["truncated"] and not second["cursor"]


def test_red_and_heat_map_count_every_request_once(shop: Served) -> None:
    series = shop.get("/api/v1/red?service=checkout").json["red"]
    assert sum(series["requests"]) == 100 and sum(series["errors"]) == 20
    heat = shop.get("/api/v1/heatmap?service=checkout").json["map"]
    assert sum(map(sum, heat["counts"])) == 100 and sum(map(sum, heat["errors"])) == 20
    assert all(len(row) == len(heat["edges_ms"]) - 1 for row in heat["counts"])


def test_filters_are_all_met(shop: Served) -> None:
    path = "/api/v1/traces?filter=service:=:checkout&filter=duration_ms:%3E:500&filter=release:=:1.1&limit=1000"
    found = shop.get(path).json
    assert len(found["traces"]) == 20 and all(row["duration_ms"] > 500 for row in found["traces"])
    assert shop.get("/api/v1/traces?filter=release:exists&limit=1000").json["traces"] != []
    assert shop.get("/api/v1/traces?filter=release:=:9").json["traces"] == []


def test_values_of_an_attribute_are_offered(shop: Served) -> None:
    whole = shop.get("/api/v1/attributes/values?key=release").json
    assert "1.1" in whole["values"] and len(whole["values"]) > 1 and not whole["truncated"]
    first = shop.get("/api/v1/attributes/values?key=release&limit=1").json
    assert first["values"] == whole["values"][:1] and first["truncated"]
    assert shop.get("/api/v1/attributes/values?key=duration_ms").status == 400


@pytest.mark.parametrize("query", ["filter=nonsense", "filter=a:like:b", "order=best", "limit=0", "limit=x", "limit=1001",
                                   "start=yesterday", "start=now&end=-5m", "start=-9999d", "end=9999-01-01T00:00:00Z",
                                   "start=0001-01-01T00:00:00Z", "cursor=%00", "nonsense=1", "limit=1&limit=2"])  # fmt: skip
def test_what_cannot_be_asked_is_refused_with_the_mend(shop: Served, query: str) -> None:
    answer = shop.get(f"/api/v1/traces?{query}")
    error = answer.json["error"]
    assert answer.status == 400 and error["kind"] == "bad_request" and error["message"]
    assert "asked" in error or "given twice" in error["message"]


def test_a_cursor_of_another_question_is_refused(shop: Served) -> None:
    assert shop.get("/api/v1/services?cursor=bm9uc2Vuc2U").status == 400


def test_a_waterfall_is_the_trace_in_the_order_of_a_drawing(shop: Served) -> None:
    key, body = trace(SHAPE)
    shop.send("/v1/traces", body)
    drawn = shop.get(f"/api/v1/traces/{key}/waterfall").json
    named = [(drawn["services"][s], drawn["names"][n]) for s, n in zip(drawn["service"], drawn["name"], strict=True)]
    assert named == [
        ("front", "GET /"),
        ("cart", "GET /cart"),
        ("pay", "POST /pay"),
        ("bank", "charge"),
        ("front", "render"),
    ]
    assert (
        drawn["parent"] == [-1, 0, 0, 2, 0] and drawn["depth"] == [0, 1, 1, 2, 1] and drawn["size"] == [4, 0, 1, 0, 0]
    )
    assert drawn["duration_ns"] == 100_000_000 and drawn["start"][2] == 30_000_000 and not drawn["truncated"]
    assert drawn["self_time"][0] == 20_000_000 and sum(drawn["critical"]) == 100_000_000
    on_path = [bool(flag & 2) for flag in drawn["flags"]]
    assert on_path == [True, True, True, True, False]
    assert [step[0] for step in drawn["path"]] == [0, 1, 0, 2, 3, 2, 0]
    assert all(a[2] == b[1] for a, b in zip(drawn["path"], drawn["path"][1:], strict=False))


def test_one_span_of_a_trace_can_be_asked_for(shop: Served) -> None:
    key, body = trace(SHAPE)
    shop.send("/v1/traces", body)
    last = shop.get(f"/api/v1/traces/{key}").json["spans"][-1]
    found = shop.get(f"/api/v1/traces/{key}?span_id={last['span_id']}").json
    assert found["spans"] == [last] and found["total"] == 1
    assert shop.get(f"/api/v1/traces/{key}?span_id=00ff").json["spans"] == []


def test_a_waterfall_that_is_cut_keeps_the_longest_spans_and_all_above_them(shop: Served) -> None:
    key, body = trace(SHAPE)
    shop.send("/v1/traces", body)
    drawn = shop.get(f"/api/v1/traces/{key}/waterfall?limit=3").json
    assert drawn["truncated"] and drawn["total"] == 5
    assert [drawn["names"][n] for n in drawn["name"]] == ["GET /", "POST /pay", "charge"] and drawn["parent"] == [
        -1,
        0,
        1,
    ]


@given(st.lists(st.integers(-1, 30), max_size=40))
def test_the_order_of_a_drawing_is_depth_first(wishes: list[int]) -> None:
    parent = np.array([wish if wish < row else -1 for row, wish in enumerate(wishes)], np.int32)
    _, depth = roots_and_depths(parent)
    place, size = drawing_order(parent, depth)
    expected: list[int] = []
    todo = [row for row in range(len(parent)) if parent[row] < 0][::-1]
    while todo:
        row = todo.pop()
        expected.append(row)
        todo += [child for child in range(len(parent)) if parent[child] == row][::-1]
    assert np.argsort(place).tolist() == expected
    for row in range(len(parent)):
        assert size[row] == sum(1 for other in range(len(parent)) if row in _above(parent, other))


def _above(parent: np.ndarray, row: int) -> set[int]:
    found: set[int] = set()
    while parent[row] >= 0:
        row = int(parent[row])
        found.add(row)
    return found


def test_two_traces_are_compared_path_by_path(shop: Served) -> None:
    (good, one), (bad, two) = trace(SHAPE), trace(SLOWER)
    shop.send("/v1/traces", one)
    shop.send("/v1/traces", two)
    found = shop.get(f"/api/v1/traces/{bad}/compare?other={good}").json
    assert found["duration_ms"] == pytest.approx(200)
    assert sum(row["critical_ms"] for row in found["paths"]) == pytest.approx(200)
    first = found["paths"][0]
    assert (first["service"], first["operation"], first["this"]["spans"], first["other"]["spans"]) == (
        "bank",
        "charge",
        2,
        1,
    )
    assert first["path"] == [["front", "GET /"], ["pay", "POST /pay"], ["bank", "charge"]]
    assert [row["operation"] for row in found["paths"] if row["only"] == "other"] == ["render"]


def test_a_chain_as_deep_as_a_trace_can_be_is_drawn_and_compared(shop: Served) -> None:
    deep = 3000
    key, body = trace([("loop", "step", row - 1, row * 0.01, 100 - row * 0.02) for row in range(deep)])
    assert shop.send("/v1/traces", body).status == 200
    drawn = shop.get(f"/api/v1/traces/{key}/waterfall").json
    assert max(drawn["depth"]) == deep - 1 and drawn["size"][0] == deep - 1
    assert len(shop.get(f"/api/v1/traces/{key}/compare?other={key}&limit=5").json["paths"]) == 5


def test_a_trace_that_is_not_there_is_said_to_be_searched_for(shop: Served) -> None:
    for path in ("", "/waterfall", "/compare?other=00"):
        answer = shop.get(f"/api/v1/traces/ffffffffffffffffffffffffffffffff{path}")
        assert answer.status == 404 and answer.json["error"]["searched"]


def test_templates_say_what_is_new(shop: Served) -> None:
    found = shop.get("/api/v1/logs/templates?change=new").json
    rows = found["templates"]
    assert found["compared"] and found["complete"] and found["one_in"] == [1, 1]
    assert [(row["template"], row["count"], row["before"]) for row in rows] == [
        ("paid <*> euro", 30, 0), ("disk is full", 1, 0),
    ]  # fmt: skip


def test_what_no_line_says_any_more_is_gone(shop: Served) -> None:
    found = shop.get("/api/v1/logs/templates?change=gone").json
    (row,) = found["templates"]
    assert (row["template"], row["count"], row["before"]) == ("worker began", 0, 1)
    at = found["start_ns"] + row["counts"].index(1) * found["step_ns"]
    assert at <= row["last_ns"] == row["first_ns"] < at + found["step_ns"]


def test_without_a_time_before_no_template_is_called_new(shop: Served) -> None:
    found = shop.get("/api/v1/logs/templates?start=-60m&service=checkout").json
    assert not found["compared"] and {row["change"] for row in found["templates"]} == {"unknown"}


def test_templates_are_counted_over_all_their_shapes() -> None:
    def shape(text: str, *counts: int) -> ShapeRow:
        return ShapeRow(service="a", severity="error", body=text, counts=counts, first_ns=5, last_ns=9)

    rows = templates_of(
        [shape("took 5 ms", 9, 0), shape("took seven ms 7", 20, 1), shape("gone now", 30, 10)],
        [shape("took 5 ms", 0, 10), shape("took seven ms 7", 4, 16), shape("fresh", 0, 8)],
        1,
    )
    assert [(row.template, row.count, row.before, row.change, row.counts) for row in rows] == [
        ("gone now", 0, 40, "gone", (30, 10, 0)), ("fresh", 8, 0, "new", (0, 0, 8)),
        ("took <*> ms", 10, 9, "same", (9, 0, 10)), ("took seven ms <*>", 20, 21, "same", (20, 5, 16)),
    ]  # fmt: skip
    assert rows[1].severity == "error" and templates_of([], [], 0) == []


def test_a_line_that_is_never_the_same_twice_is_counted_whole(server: Served) -> None:
    lines = [f"request f{os.urandom(6).hex()}1 took {n} ms" for n in range(12_000)]
    for first in range(0, len(lines), 4000):
        server.send("/v1/logs", logs(*lines[first : first + 4000], service="zebra"))
    rows = server.get("/api/v1/logs/templates?service=zebra").json["templates"]
    assert [row["count"] for row in rows] == [12_000]


def test_what_sets_slow_requests_apart_is_found(shop: Served) -> None:
    found = shop.get("/api/v1/compare?service=checkout&low_ms=500").json
    assert (found["inside"], found["outside"]) == (20, 80)
    sure = {(row["key"], row["value"]): row for row in found["differences"] if row["sure"]}
    release = sure["release", "1.1"]
    assert release["share_inside"] == 1 and release["share_outside"] == 0.25 and release["q"] < 1e-6
    assert not any(row["key"] == "zone" for row in found["differences"])
    assert shop.get("/api/v1/compare?service=checkout&low_ms=5&high_ms=5").status == 400


def test_a_time_of_its_own_is_compared_with(shop: Served) -> None:
    """A release that every request of now has differs from nothing of now, and from all of before."""
    now = time.time_ns()
    for release, ago_s, ms in (("old", 1200, 5.0), ("new", 60, 5.0), ("new", 60, 900.0)):
        at = now - ago_s * 10**9
        body = spans(40, service="stock", at_ns=at, duration_ms=ms, attributes={"release": release, "zone": "a"})
        shop.send("/v1/traces", body)

    def asked(rest: str) -> tuple[int, int, dict[tuple[str, str], tuple[int, int]]]:
        found = shop.get(f"/api/v1/compare?service=stock&start={now - 120 * 10**9}&low_ms=500{rest}").json
        sure = {(r["key"], r["value"]): (r["inside"], r["outside"]) for r in found["differences"] if r["sure"]}
        return found["inside"], found["outside"], sure

    assert asked("") == (40, 40, {})
    start, end = now - 1800 * 10**9, now - 600 * 10**9
    inside, outside, sure = asked(f"&baseline_start={start}&baseline_end={end}")
    assert (inside, outside) == (40, 40)
    assert sure == {("release", "new"): (40, 0), ("release", "old"): (0, 40)}
    inside, outside, sure = asked(f"&end={now}&baseline_start={start}&baseline_end={now}")
    assert (inside, outside) == (40, 80) and sure["release", "old"] == (0, 40) and sure["release", "new"] == (40, 40)
    cuts = f"/api/v1/compare?service=stock&start={now - 120 * 10**9}&baseline_start={start}&baseline_end={now - 10**10}"
    assert shop.get(cuts).status == 400


def test_failed_requests_are_not_told_that_they_failed(shop: Served) -> None:
    found = shop.get("/api/v1/compare?service=checkout&failed=true").json
    assert found["inside"] == 20 and not any(row["key"] == "status" for row in found["differences"])


def test_chance_names_no_attribute() -> None:
    rng = np.random.default_rng(3)
    values = [
        ValueCount(key=f"k{n}", value="x", inside=int(rng.binomial(50, 0.3)), outside=int(rng.binomial(500, 0.3)))
        for n in range(300)
    ]
    rows = differences(Cohorts(inside=50, outside=500, values=tuple(values), truncated=False))
    assert sum(row.p < 0.05 for row in rows) > 5 and sum(row.sure for row in rows) <= 1
    assert differences(Cohorts(inside=0, outside=500, values=tuple(values), truncated=False)) == []


def test_adjusted_chances_are_those_of_benjamini_and_hochberg() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.005, 0.9])
    assert benjamini_hochberg(p) == pytest.approx([0.025, 0.05, 0.05, 0.025, 0.9])


def test_changes_are_told_and_found(shop: Served) -> None:
    told = shop.post(
        "/api/v1/changes", {"kind": "flag", "service": "checkout", "description": "on", "attributes": {"a": "b"}}
    )
    assert told.status == 200 and not told.json["duplicate"]
    assert told.json["change"] in shop.get("/api/v1/changes?service=checkout").json["changes"]
    for wrong in ({"kind": "rumour"}, {}, {"kind": "deploy", "time": "tomorrow"}, {"kind": "deploy", "when": "now"},
                  {"kind": "deploy", "time": "9999-01-01T00:00:00Z"}, {"kind": "deploy", "service": 5}, []):  # fmt: skip
        assert shop.post("/api/v1/changes", wrong).status == 400


def test_a_window_can_be_taken_home_as_a_case(shop: Served, tmp_path: Path) -> None:
    answer = shop.get("/api/v1/export?start=-10m")
    assert answer.headers["content-type"] == "application/x-tar"
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as archive:
        archive.extractall(tmp_path, filter="data")
    loaded = CaseReader().load(tmp_path / "case")
    assert loaded.telemetry.spans.num_rows >= 105 and loaded.telemetry.logs.num_rows == 31
    until(lambda: not list((shop.state.folder / "scratch").iterdir()))


def test_incidents_are_opened_noted_merged_and_closed(shop: Served) -> None:
    one = shop.post("/api/v1/incidents", {"title": "checkout is slow", "start": "-5m", "severity": "major"}).json
    two = shop.post("/api/v1/incidents", {"title": "pay fails", "start": "-4m", "services": ["pay"]}).json
    assert [row["id"] for row in shop.get("/api/v1/incidents?state=open&limit=2").json["incidents"]] == [
        two["id"],
        one["id"],
    ]
    noted = shop.post(f"/api/v1/incidents/{one['id']}/notes", {"text": "looking at it"}).json
    assert (noted["notes"][-1]["text"], noted["notes"][-1]["by"]) == ("looking at it", "local")
    assert shop.post(f"/api/v1/incidents/{two['id']}/merge", {"into": one["id"]}).json["id"] == one["id"]
    assert shop.post(f"/api/v1/incidents/{one['id']}/close", {"note": "fixed"}).json["state"] == "closed"
    assert shop.get(f"/api/v1/incidents/{one['id']}").json["state"] == "closed"
    assert shop.post(f"/api/v1/incidents/{one['id']}/close", {}).status == 400
    told = shop.get(f"/api/v1/incidents/{one['id']}/events").json["events"]
    assert [row["what"] for row in told] == ["opened", "noted", "updated", "noted", "closed"] and told[-1][
        "state"
    ] == "closed"
    past = shop.post("/api/v1/incidents", {"title": "last night", "start": "-2h", "end": "-1h"}).json
    assert past["state"] == "closed" and past["window"][1] < time.time_ns() - 3500 * 10**9
    assert shop.get("/api/v1/incidents/i-20200101-000000-0000").status == 404
    assert shop.get("/api/v1/incidents/..%2f..").status == 404


def test_the_numbers_of_the_server_itself(shop: Served) -> None:
    shop.get("/api/v1/traces?limit=0")
    held = shop.get("/api/v1/self").json
    routes = {(row["route"], row["status"]): row["requests"] for row in held["routes"]}
    assert routes["/api/v1/traces", 400] >= 1 and routes["/v1/traces", 200] >= 4
    assert {row["signal"]: row["rows"] for row in held["ingest"]}["logs"] == 32
    assert held["rss_bytes"] > 10**7 and held["in_flight_bytes"] == 0
    for row in held["routes"]:
        assert sum(row["histogram"]) == row["requests"]


def test_who_follows_hears_of_changes_and_numbers(shop: Served) -> None:
    line = http.client.HTTPConnection(shop.host, shop.port, timeout=20)
    line.request("GET", "/api/v1/stream")
    answer = line.getresponse()
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.readline() == b"retry: 2000\n" and answer.readline().startswith(b"id: ")
    until(lambda: shop.state.hub.clients)
    shop.post("/api/v1/changes", {"kind": "restart", "service": "pay"})
    heard = [answer.readline() for _ in range(4)]
    assert heard[1] == b"event: change\n" and json.loads(heard[3].removeprefix(b"data: "))["service"] == "pay"
    answer.close()
    line.close()
    until(lambda: not shop.state.hub.clients, 20)


def test_too_many_followers_and_questions_are_told_to_wait(tmp_path: Path) -> None:
    limits = {"streams": 0, "query_threads": 1, "query_queue": 0, "query_seconds": 0.2}
    with served(tmp_path, {"limits": limits}) as one:
        assert b"refused" in one.get("/api/v1/stream").body
        gate = threading.Event()
        state = one.state
        slow = state.backend.services
        state.backend.services = lambda *asked: (gate.wait(5), slow(*asked))[1]  # type: ignore[method-assign]
        answer = one.get("/api/v1/services")
        assert answer.status == 504 and answer.json["error"]["kind"] == "deadline" and answer.json["error"]["retryable"]
        busy = one.get("/api/v1/services")
        assert busy.status == 429 and int(busy.headers["retry-after"]) >= 1
        gate.set()
        until(lambda: not state.pool.held)


def test_filters_may_have_colons_in_keys_and_values() -> None:
    (one,) = filters_of(["db:statement:contains:a:=:b"])
    assert (one.field, one.op, one.value) == ("db:statement", "contains", "a:=:b")
    assert filters_of(["a:exists"])[0].op == "exists" and filters_of(["a:>:5"])[0].value == "5"
    for wrong in ("a", "a:b", ":=:x", "a:=", "a:exists:x"):
        with pytest.raises(Refused):
            filters_of([wrong])


@given(st.integers(0, 40), st.integers(1, 10))
def test_pages_hold_every_row_once(rows: int, limit: int) -> None:
    got: list[int] = []
    cursor = ""
    while True:
        found = page(lambda most: list(range(rows))[:most], limit, cursor)
        got += found.rows
        cursor = found.cursor
        if not found.truncated:
            break
    assert got == list(range(rows))


@given(st.integers(1, 10**7))
def test_steps_give_a_bounded_number_of_bins(seconds: int) -> None:
    step = step_of(Window(0, seconds * 10**9), None)
    assert 1 <= math.ceil(seconds * 10**9 / step) <= 2000
