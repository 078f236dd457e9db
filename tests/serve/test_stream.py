"""Who follows live and comes back: told what was missed, and where that is not known any more."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
from collections.abc import Iterator

import pytest
from served import Served, until

from aetia.serve import hub as hubs
from aetia.serve.hub import Hub


class Follower:
    """One client of the stream."""

    def __init__(self, server: Served, last: str = "") -> None:
        self._line = http.client.HTTPConnection(server.host, server.port, timeout=10)
        self._line.request("GET", "/api/v1/stream", headers={"Last-Event-ID": last} if last else {})
        self._answer = self._line.getresponse()
        self.last = last

    def block(self) -> dict[str, str]:
        """The next event; remembers its id as browsers do. Numbers of the store are passed over."""
        while True:
            fields: dict[str, str] = {}
            while text := self._answer.readline().decode().rstrip():
                name, _, value = text.partition(": ")
                fields[name] = value
            self.last = fields.get("id", self.last)
            if fields.get("event") != "stats":
                return fields

    def change(self) -> str:
        held = self.block()
        assert held["event"] == "change"
        return json.loads(held["data"])["description"]

    def close(self) -> None:
        self._answer.close()
        self._line.close()


@contextlib.contextmanager
def following(server: Served, last: str = "") -> Iterator[Follower]:
    one = Follower(server, last)
    first = one.block()
    assert first["retry"] == "2000" and ("id" in first) == (not last)
    try:
        yield one
    finally:
        one.close()


def tell(server: Served, *names: str) -> None:
    for name in names:
        assert server.post("/api/v1/changes", {"kind": "deploy", "service": "pay", "description": name}).status == 200


def test_who_comes_back_is_told_what_was_missed_once_and_in_order(server: Served) -> None:
    with following(server) as one:
        tell(server, "a", "b")
        assert [one.change(), one.change()] == ["a", "b"]
    tell(server, "c", "d")  # perhaps nobody follows
    with following(server, one.last) as again:
        assert [again.change(), again.change()] == ["c", "d"]
        tell(server, "e")
        assert again.change() == "e"


def test_who_left_before_the_first_event_misses_none(server: Served) -> None:
    with following(server) as one:
        place = one.last
    tell(server, "first")
    with following(server, place) as again:
        assert again.change() == "first"


def test_who_missed_more_than_is_kept_or_comes_from_another_start_is_told_of_the_gap(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    with following(server) as one:
        place = one.last
    monkeypatch.setattr(hubs, "KEPT", 2)
    tell(server, "a", "b", "c")
    for last in (place, "1-1", f"{place}9", "nonsense", "-", f"{place.partition('-')[0]}-"):
        with following(server, last) as again:
            assert again.block()["event"] == "gap"
            assert [again.change(), again.change()] == ["b", "c"]
    with following(server, again.last) as still:
        tell(server, "d")
        assert still.change() == "d"


def test_what_is_kept_is_bounded_by_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubs, "KEPT_BYTES", 1000)

    async def told() -> None:
        hub = Hub(1)
        hub.begin()
        place = hub.missed("").place
        for _ in range(3):
            hub.tell("changes", "change", b"x" * 600, keep=True)
        hub.tell("stats", "stats", b"x", keep=False)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        missed = hub.missed(place)
        assert missed.gap and len(missed.events) == 1
        assert hub.missed(missed.place).events == ()

    asyncio.run(told())


def test_nobody_is_left_behind(server: Served) -> None:
    until(lambda: not server.state.hub.clients, 20)
