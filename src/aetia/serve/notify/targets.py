"""The places that are told: a generic webhook, Slack, Mattermost, PagerDuty. Each sends one notice and says where its
thread is, so that what follows about the incident lands in the same thread.

Sources: Slack Web API (chat.postMessage, chat.update) and incoming webhooks, Mattermost REST API v4 (posts) and
incoming webhooks, PagerDuty Events API v2.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

import msgspec

from aetia.net import Client, NetError
from aetia.report import wording
from aetia.serve.notify.notice import Notice

Thread = dict[str, str]
"""What a place needs to find the thread of an incident again; empty before the first message."""
SLACK, PAGERDUTY = "https://slack.com/api", "https://events.pagerduty.com/v2/enqueue"
SIGNATURE = "X-Aetia-Signature"
MOST_SUMMARY = 1024
"""Characters that PagerDuty takes as a summary."""
COLOURS = {"critical": "#b3261e", "major": "#c25e00", "minor": "#8a7400"}
PAGER_LEVELS = {"critical": "critical", "major": "error", "minor": "warning"}


class Refused(Exception):
    """The place will not take the message, however often it is sent."""


class Target(Protocol):
    """Sends a notice; returns the thread to pass next time.

    Raises NetError, or Refused where trying again is useless.
    """

    def send(self, notice: Notice, thread: Thread) -> Thread: ...


class Webhook:
    """The notice as JSON by POST. With a secret, `X-Aetia-Signature: t=TIME,v1=HEX` is the HMAC-SHA256 of
    `TIME.BODY`, so that the receiver can tell who sent it and when; `X-Aetia-Delivery` is the same on every try."""

    def __init__(self, client: Client, url: str, secret: str = "", clock: Callable[[], float] = time.time) -> None:
        self._client, self._url, self._secret, self._clock = client, url, secret, clock

    def send(self, notice: Notice, thread: Thread) -> Thread:
        body = msgspec.json.encode(notice)
        headers = {"Content-Type": "application/json", "X-Aetia-Delivery": notice.id, "X-Aetia-Event": notice.type}
        if self._secret:
            headers[SIGNATURE] = signature(self._secret, int(self._clock()), body)
        self._client.request("POST", self._url, headers=headers, body=body)
        return thread


def signature(secret: str, at: int, body: bytes) -> str:
    """The value of the signature header."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


class Slack:
    """With a bot token and a channel: one message per incident that is kept up to date, and a reply in its thread for
    each step. With the URL of an incoming webhook alone: a message for each step (a webhook knows no threads)."""

    def __init__(self, client: Client, *, url: str = "", token: str = "", channel: str = "") -> None:
        self._client, self._token, self._channel = client, token, channel
        self._url = url or SLACK

    def send(self, notice: Notice, thread: Thread) -> Thread:
        head = {"text": _slack(summary(notice)), "attachments": [_coloured(notice, _head(notice, _slack, _slack_link))]}
        if not self._token:
            self._client.request("POST", self._url, headers=_JSON, body=msgspec.json.encode(head))
            return thread
        if "ts" not in thread:
            said = self._call("chat.postMessage", {"channel": self._channel, **head})
            return {"ts": str(said["ts"]), "channel": str(said.get("channel", self._channel))}
        place = {"channel": thread["channel"]}
        self._call(
            "chat.postMessage", {**place, "thread_ts": thread["ts"], "text": _slack("\n".join(step_lines(notice)))}
        )
        self._call("chat.update", {**place, "ts": thread["ts"], **head})
        return thread

    def _call(self, method: str, body: Mapping[str, Any]) -> dict[str, Any]:
        headers = {**_JSON, "Authorization": f"Bearer {self._token}"}
        answer = self._client.request("POST", f"{self._url}/{method}", headers=headers, body=msgspec.json.encode(body))
        said = _object(answer.body)
        if said.get("ok") is True:
            return said
        why = str(said.get("error", "no reason given"))
        if why in _SLACK_LATER:
            raise NetError("status", f"Slack answered {why} to {method}; it is tried again.", status=503)
        raise Refused(f"Slack answered {why} to {method}; check the token, its scope chat:write and the channel.")


_SLACK_LATER = frozenset({"ratelimited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"})
_JSON = {"Content-Type": "application/json; charset=utf-8"}


class Mattermost:
    """With a token and a channel id: one post per incident that is kept up to date, and replies below it. With the URL
    of an incoming webhook alone: a post for each step."""

    def __init__(self, client: Client, *, url: str, token: str = "", channel: str = "") -> None:
        self._client, self._url, self._token, self._channel = client, url.rstrip("/"), token, channel

    def send(self, notice: Notice, thread: Thread) -> Thread:
        title = _mattermost(summary(notice))
        props = {"attachments": [_coloured(notice, _head(notice, _mattermost, _markdown_link))]}
        if not self._token:
            body = {"text": title, **props}
            self._client.request("POST", self._url, headers=_JSON, body=msgspec.json.encode(body))
            return thread
        if "id" not in thread:
            said = self._call("POST", "posts", {"channel_id": self._channel, "message": title, "props": props})
            if not isinstance(said.get("id"), str):
                raise Refused("Mattermost took the post and named no id; check that the URL is the one of its API.")
            return {"id": cast(str, said["id"])}
        lines = _mattermost("\n".join(step_lines(notice)))
        step = {"channel_id": self._channel, "root_id": thread["id"], "message": lines}
        self._call("POST", "posts", step)
        self._call("PUT", f"posts/{thread['id']}/patch", {"message": title, "props": props})
        return thread

    def _call(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        headers = {**_JSON, "Authorization": f"Bearer {self._token}"}
        answer = self._client.request(
            method, f"{self._url}/api/v4/{path}", headers=headers, body=msgspec.json.encode(body)
        )
        return _object(answer.body)


class PagerDuty:
    """An alert per incident: triggered when it opens, kept up to date under the same key, resolved when it closes."""

    def __init__(self, client: Client, *, key: str, url: str = "") -> None:
        self._client, self._key, self._url = client, key, url or PAGERDUTY

    def send(self, notice: Notice, thread: Thread) -> Thread:
        over = notice.state in ("closed", "merged")
        body: dict[str, Any] = {
            "routing_key": self._key, "event_action": "resolve" if over else "trigger", "dedup_key": notice.incident,
        }  # fmt: skip
        if not over:
            cause = notice.root_causes[0] if notice.root_causes else None
            body |= {
                "client": "Aetia", "client_url": notice.links.page,
                "links": [{"href": notice.links.page, "text": "Incident"}] if notice.links.page else [],
                "payload": {
                    "summary": summary(notice)[:MOST_SUMMARY], "source": "aetia",
                    "severity": PAGER_LEVELS.get(notice.severity, "error"),
                    "timestamp": wording.moment(notice.onset_ns).replace(" UTC", "Z").replace(" ", "T"),
                    "component": cause.component if cause else "", "class": (cause.fault or "") if cause else "",
                    "custom_details": msgspec.to_builtins(notice),
                },
            }  # fmt: skip
        self._client.request("POST", self._url, headers=_JSON, body=msgspec.json.encode(body))
        return {"key": notice.incident}


# ---- words ------------------------------------------------------------------------------------------------

Link = Callable[[str, str], str]


def summary(notice: Notice) -> str:
    """One line: what is hurt, how badly, since when, and why as far as it is known."""
    state = {"closed": "Closed", "merged": "Merged"}.get(notice.state, notice.severity.capitalize())
    line = f"[{state}] {notice.title}"
    if notice.state == "merged" and notice.merged_into:
        return f"{line}: part of {notice.merged_into} now"
    return f"{line}: {notice.headline}" if notice.headline else line


def _head(notice: Notice, escape: Callable[[str], str], link: Link) -> list[str]:
    """The whole incident as it stands, in the escapes of a chat."""
    lines = [escape(line) for line in head_lines(notice)]
    return [*lines, link(notice.links.page, "Open the incident")] if notice.links.page else lines


def head_lines(notice: Notice) -> list[str]:
    """The whole incident as it stands."""
    lines = [f"since {wording.moment(notice.onset_ns)}" + _until(notice)]
    lines += [f"• {item.entry}: {item.sli} {item.statistic} {_change(item.usual, item.now, item.unit)}"
              for item in notice.broken[:5]]  # fmt: skip
    lines += _causes(notice)
    lines += [f"• {item.text}" for item in notice.evidence]
    if notice.propagation:
        lines.append("path: " + " → ".join(notice.propagation))
    if notice.requests:
        lines.append(f"{wording.number(notice.affected)} of {wording.number(notice.requests)} requests hurt")
    return lines


def step_lines(notice: Notice) -> list[str]:
    """What a step says in the thread."""
    if notice.type == "incident.closed":
        return [f"Closed{_until(notice)}."]
    if notice.type == "incident.merged":
        return [f"Merged into {notice.merged_into}."]
    lines = [notice.headline or notice.title, *_causes(notice)]
    return lines + [f"• {item.text}" for item in notice.evidence]


def _causes(notice: Notice) -> list[str]:
    lines = [
        f"root cause: {item.component}" + (f", {item.fault or item.fault_class}" if item.fault_class else "")
        + (f" ({item.probability:.0%})" if item.probability is not None else "")
        for item in notice.root_causes
    ]  # fmt: skip
    if notice.abstained is not None:
        lines.append(f"not enough evidence: {notice.abstained}")
    return lines


def _until(notice: Notice) -> str:
    return f" until {wording.moment(notice.ended_ns)}" if notice.ended_ns is not None else ""


def _change(usual: float, now: float, unit: str | None) -> str:
    return f"{usual:.4g} → {now:.4g}" + (f" {unit}" if unit else "")


def _slack(text: str) -> str:
    """Names come from telemetry; none may mention a channel or become a link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _mattermost(text: str) -> str:
    """The same for Mattermost: no mention, no link, no image."""
    return text.replace("@", "@\u200b").replace("[", "\\[").replace("<", "\\<")


def _slack_link(url: str, text: str) -> str:
    return f"<{url}|{text}>"


def _markdown_link(url: str, text: str) -> str:
    return f"[{text}]({url})"


def _coloured(notice: Notice, lines: list[str]) -> dict[str, Any]:
    colour = "#2e7d32" if notice.state == "closed" else COLOURS.get(notice.severity, "#6b7280")
    return {"color": colour, "text": "\n".join(lines), "mrkdwn_in": ["text"]}


def _object(body: bytes) -> dict[str, Any]:
    try:
        said: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        raise Refused("the answer is no JSON; check that the URL is the one of the API.") from None
    return cast("dict[str, Any]", said) if isinstance(said, dict) else {}
