"""Limits, retries, options and slices of time that all connectors share."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from fake_servers import Reply, Server, serving
from hypothesis import given
from hypothesis import strategies as st

from aetia.ingest.pull.exchange import Enough, Exchange, Limits, Walk, parts_of, seconds_of
from aetia.model.errors import UsageError
from aetia.model.window import Window
from aetia.net import Client, NetError


def exchange(url: str, **limits: Any) -> Exchange:
    return Exchange("loki", url, client=Client(allow_private=True), limits=Limits(**limits), options=("query",))


def test_options_stand_in_the_url_and_the_rest_goes_along() -> None:
    with serving(Server(lambda path, query, body, headers: [path, query])) as server:
        made = exchange(f"{server.url}/base/?query=a%20b&rows=7&tenant=x")
        assert (made.option("query"), made.option("limit"), made.limits.rows) == ("a b", None, 7)
        answer = made.decode(made.get("/labels", [("start", "1")]), list[Any])
    assert answer == ["/base/labels", {"tenant": ["x"], "start": ["1"]}]
    assert made.source == f"loki={server.url}/base"


@pytest.mark.parametrize("option", ["rows=many", "seconds=-1", "requests=0"])
def test_a_limit_that_is_none_is_refused(option: str) -> None:
    with pytest.raises(UsageError, match="limit"):
        exchange(f"http://localhost:1?{option}")


def test_what_may_pass_is_tried_again_and_what_may_not_is_not() -> None:
    def failing(path: str, *args: Any) -> Any:
        raise Reply(503 if path == "/later" else 400, b"no", Retry_After="0")

    with serving(Server(failing)) as server:
        for path, times in (("/later", 3), ("/never", 1)):
            server.asked.clear()
            with pytest.raises(NetError):
                exchange(server.url).get(path)
            assert len(server.asked) == times


def test_every_limit_says_how_to_raise_it() -> None:
    with serving(Server(lambda *args: "x" * 50)) as server:
        few = exchange(server.url, requests=1)
        few.get("/")
        with pytest.raises(Enough, match="requests=N"):
            few.get("/")
        small = exchange(server.url, bytes=10)
        small.get("/")
        with pytest.raises(Enough, match="bytes=N"):
            small.get("/")
        with pytest.raises(Enough, match="seconds=N"):
            exchange(server.url, seconds=0.01).get("/")


def test_time_is_fetched_from_the_onset_outward() -> None:
    assert parts_of(Window(0, 10), 4) == [(Window(4, 10), 1), (Window(0, 4), -1)]
    assert parts_of(Window(0, 10), None) == parts_of(Window(0, 10), 10) == [(Window(0, 10), -1)]


@given(
    st.integers(1, 10_000), st.sampled_from([1, -1]), st.integers(1, 50), st.integers(1, 8),
    st.lists(st.integers(0, 9_999), max_size=60),
)  # fmt: skip
def test_slices_cover_a_part_once_whatever_its_density(
    length: int, direction: int, least: int, limit: int, events: list[int]
) -> None:
    walk = Walk(Window(0, length), direction, least_ns=least)
    covered: list[Window] = []
    for _ in range(100_000):
        if walk.over:
            break
        asked = walk.slice()
        assert asked.start_ns < asked.end_ns
        found = sum(asked.contains(event) for event in events)
        if found >= limit and walk.full():
            continue
        covered.append(asked)
        walk.done(sparse=found < limit // 4)
    assert walk.over and walk.covered == Window(0, length)
    borders = [*covered] if direction > 0 else covered[::-1]
    assert borders[0].start_ns == 0 and borders[-1].end_ns == length
    assert all(one.end_ns == other.start_ns for one, other in itertools.pairwise(borders))


def test_lengths_of_time_have_units() -> None:
    assert [seconds_of(text, "step") for text in ("15s", "15", "1m", "500ms")] == [15.0, 15.0, 60.0, 0.5]
    for text in ("", "fast", "0s", "-1s"):
        with pytest.raises(UsageError):
            seconds_of(text, "step")
