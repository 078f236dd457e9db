"""Notices to webhooks and chats, over real HTTP to servers that speak the documented APIs."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from aetia.net import Client
from aetia.serve.notify.notice import Cause, Links, Notice, Proof
from aetia.serve.notify.outbox import Outbox
from aetia.serve.notify.targets import Mattermost, PagerDuty, Refused, Slack, Webhook

CLIENT = Client(allow_private=True, timeout_s=5.0)


@dataclass
class Place:
    """A server that keeps what it was sent and answers as told."""

    url: str = ""
    got: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    answer: Callable[[str, Any], tuple[int, dict[str, str], Any]] = lambda path, body: (200, {}, {})

    def paths(self) -> list[str]:
        return [path for _, path, _, _ in self.got]

    def wait(self, count: int) -> None:
        until = time.monotonic() + 10.0
        while len(self.got) < count and time.monotonic() < until:
            time.sleep(0.01)
        assert len(self.got) >= count


@pytest.fixture
def place() -> Iterator[Place]:
    held = Place()

    class Handler(BaseHTTPRequestHandler):
        def _take(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {key.lower(): value for key, value in self.headers.items()} | {"raw": raw.decode()}
            body = json.loads(raw)
            status, more, said = held.answer(self.path, body)
            held.got.append((self.command, self.path, headers, body))
            self.send_response(status)
            for key, value in more.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(json.dumps(said).encode())

        do_POST = do_PUT = _take

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    held.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield held
    server.shutdown()
    thread.join()
    server.server_close()


def notice(sequence: int = 1, **changed: Any) -> Notice:
    told: dict[str, Any] = {
        "id": f"i-1.{sequence}", "sequence": sequence, "type": "incident.opened", "sent_at_ns": 5, "incident": "i-1",
        "state": "open", "severity": "major", "title": "GET /pay fails", "onset_ns": 1_700_000_000_000_000_000,
        "links": Links(page="https://aetia.example/incidents/i-1"),
    }  # fmt: skip
    return Notice(**{**told, **changed})


def explained(sequence: int = 2, component: str = "payment") -> Notice:
    return notice(
        sequence, type="incident.diagnosed", headline=f"{component} throws",
        root_causes=(Cause(component=component, level="service", fault_class="C", fault="exception", probability=0.9,
                           verdict="supported"),),
        evidence=(Proof(id="e1", about=component, text="errors rose", polarity="for", strength=0.8),),
    )  # fmt: skip


def test_the_webhook_body_is_typed_and_signed(place: Place) -> None:
    Webhook(CLIENT, f"{place.url}/hook", "s3cret", clock=lambda: 1700.0).send(explained(), {})
    _, path, headers, body = place.got[0]
    assert path == "/hook" and headers["x-aetia-delivery"] == "i-1.2"
    expected = hmac.new(b"s3cret", b"1700." + headers["raw"].encode(), hashlib.sha256).hexdigest()
    assert headers["x-aetia-signature"] == f"t=1700,v1={expected}"
    assert (body["type"], body["severity"], body["root_causes"][0]["component"]) == (
        "incident.diagnosed", "major", "payment",
    )  # fmt: skip
    assert body["evidence"][0]["id"] == "e1" and body["links"]["page"].endswith("/incidents/i-1")


def slack(path: str, body: Any) -> tuple[int, dict[str, str], Any]:
    if path.endswith("chat.postMessage") and "thread_ts" not in body:
        return 200, {}, {"ok": True, "ts": "17.1", "channel": "C9"}
    return 200, {}, {"ok": True, "ts": "17.2", "channel": "C9"}


def test_slack_keeps_one_thread_per_incident(place: Place) -> None:
    place.answer = slack
    target = Slack(CLIENT, url=place.url, token="xoxb", channel="#ops")
    thread = target.send(notice(), {})
    assert thread == {"ts": "17.1", "channel": "C9"}
    target.send(explained(), thread)
    assert place.paths() == ["/chat.postMessage", "/chat.postMessage", "/chat.update"]
    reply, update = place.got[1][3], place.got[2][3]
    assert (reply["thread_ts"], reply["channel"]) == ("17.1", "C9") and "payment" in reply["text"]
    assert update["ts"] == "17.1" and "payment throws" in update["text"]
    assert place.got[0][2]["authorization"] == "Bearer xoxb"


def test_names_from_telemetry_cannot_mention_a_channel(place: Place) -> None:
    place.answer = slack
    hostile = explained(component="<!channel> @here [x](http://evil)")
    Slack(CLIENT, url=place.url, token="xoxb", channel="#ops").send(hostile, {})
    assert "<!channel>" not in json.dumps(place.got[0][3])
    place.answer = lambda path, body: (201, {}, {"id": "p1"})
    Mattermost(CLIENT, url=place.url, token="t", channel="c").send(hostile, {})
    assert "@here" not in json.dumps(place.got[1][3], ensure_ascii=False)
    assert "[x](http" not in place.got[1][3]["message"].replace("\\[", "")


def test_slack_says_why_it_will_not(place: Place) -> None:
    place.answer = lambda path, body: (200, {}, {"ok": False, "error": "channel_not_found"})
    with pytest.raises(Refused, match="channel_not_found"):
        Slack(CLIENT, url=place.url, token="xoxb", channel="#gone").send(notice(), {})


def test_an_incoming_webhook_gets_a_message_for_each_step(place: Place) -> None:
    target = Slack(CLIENT, url=f"{place.url}/services/T/B/X")
    assert target.send(explained(), target.send(notice(), {})) == {}
    assert place.paths() == ["/services/T/B/X"] * 2


def test_mattermost_replies_below_its_post(place: Place) -> None:
    place.answer = lambda path, body: (201, {}, {"id": "p1"})
    target = Mattermost(CLIENT, url=place.url, token="t", channel="c1")
    target.send(explained(), target.send(notice(), {}))
    assert [(verb, path) for verb, path, _, _ in place.got] == [
        ("POST", "/api/v4/posts"), ("POST", "/api/v4/posts"), ("PUT", "/api/v4/posts/p1/patch"),
    ]  # fmt: skip
    assert place.got[1][3]["root_id"] == "p1" and place.got[0][3]["channel_id"] == "c1"


def test_pagerduty_is_triggered_updated_and_resolved_under_one_key(place: Place) -> None:
    target = PagerDuty(CLIENT, key="R0", url=f"{place.url}/v2/enqueue")
    for step in (notice(), explained(), notice(3, type="incident.closed", state="closed", ended_ns=7)):
        target.send(step, {})
    bodies = [body for _, _, _, body in place.got]
    assert [body["event_action"] for body in bodies] == ["trigger", "trigger", "resolve"]
    assert {body["dedup_key"] for body in bodies} == {"i-1"}
    assert bodies[1]["payload"]["severity"] == "error" and bodies[1]["payload"]["component"] == "payment"
    assert bodies[1]["payload"]["timestamp"] == "2023-11-14T22:13:20Z"


def test_the_outbox_tries_again_and_keeps_the_thread(place: Place, tmp_path: Path) -> None:
    tries = iter([(503, {"Retry-After": "0"}, {}), (429, {}, {})])

    def busy_at_first(path: str, body: Any) -> tuple[int, dict[str, str], Any]:
        return next(tries, None) or slack(path, body)

    place.answer = busy_at_first
    clock = [1000.0]
    box = Outbox(tmp_path, {"ops": Slack(CLIENT, url=place.url, token="x", channel="c")}, clock=lambda: clock[0])
    box.start()
    box.send(notice())
    place.wait(1)
    for count in (2, 3):
        until = time.monotonic() + 10
        while len(place.got) < count and time.monotonic() < until:
            clock[0] += 20.0
            with box._wake:
                box._wake.notify_all()
            time.sleep(0.02)
    until = time.monotonic() + 5
    while box.deliveries()[0].waiting and time.monotonic() < until:
        time.sleep(0.01)
    held = box.deliveries()[0]
    box.close()
    assert (held.sent, held.failed, held.thread["ts"], len(place.got)) == (1, "", "17.1", 3)


def test_what_waits_is_sent_after_a_restart_in_the_same_thread(place: Place, tmp_path: Path) -> None:
    place.answer = slack
    target = Slack(CLIENT, url=place.url, token="x", channel="c")
    box = Outbox(tmp_path, {"ops": target})
    box.start()
    box.send(notice())
    place.wait(1)
    until = time.monotonic() + 5
    while box.deliveries()[0].waiting and time.monotonic() < until:
        time.sleep(0.01)
    box.close()
    box.send(explained())  # nobody sends it any more
    again = Outbox(tmp_path, {"ops": target})
    assert again.sequence("i-1") == 2
    again.start()
    place.wait(3)
    again.close()
    assert place.got[1][3]["thread_ts"] == "17.1"


def test_a_place_that_refuses_is_given_up_and_said(place: Place, tmp_path: Path) -> None:
    place.answer = lambda path, body: (404, {}, {})
    box = Outbox(tmp_path, {"hook": Webhook(CLIENT, place.url)})
    box.start()
    box.send(notice())
    until = time.monotonic() + 5
    while box.deliveries()[0].waiting and time.monotonic() < until:
        time.sleep(0.01)
    held = box.deliveries()[0]
    box.close()
    assert len(place.got) == 1 and held.failed and not held.waiting


def test_a_later_notice_takes_the_place_of_one_that_waits(tmp_path: Path) -> None:
    box = Outbox(tmp_path, {"hook": Webhook(CLIENT, "http://127.0.0.1:9/")})
    box.send(notice())
    box.send(explained())
    assert [item.sequence for item in box.deliveries()[0].waiting] == [2]


def test_a_webhook_does_not_reach_inside_unless_it_may(place: Place) -> None:
    with pytest.raises(Exception, match="private address"):
        Webhook(Client(timeout_s=2.0), place.url).send(notice(), {})
    assert place.got == []
