"""The places of a configuration, as targets."""

from __future__ import annotations

from pathlib import Path

from aetia.model.errors import ServeError
from aetia.net import Client
from aetia.serve.config import NotifySection
from aetia.serve.notify.targets import Mattermost, PagerDuty, Slack, Target, Webhook
from aetia.serve.notify.teller import LeastSeverity

TIMEOUT_S, MOST_BYTES = 15.0, 1 << 20


def make_places(sections: tuple[NotifySection, ...]) -> tuple[dict[str, Target], dict[str, LeastSeverity]]:
    """Targets and their least severities by name (`1-slack`, `2-webhook`, …: the order of the configuration).

    Raises ServeError where a secret cannot be read or a key is missing.
    """
    targets: dict[str, Target] = {}
    least: dict[str, LeastSeverity] = {}
    for number, section in enumerate(sections, start=1):
        name = f"{number}-{section.kind}"
        targets[name], least[name] = _target(section, f"[[notify]] number {number} ({section.kind})"), section.severity
    return targets, least


def _target(section: NotifySection, place: str) -> Target:
    client = Client(allow_private=section.private, timeout_s=TIMEOUT_S, most_bytes=MOST_BYTES)
    secret = _secret(section.secret_file, place)
    if section.kind == "pagerduty":
        _want(secret, place, "secret_file, a file with its routing key")
        return PagerDuty(client, key=secret, url=section.url)
    if section.kind == "slack" and secret:
        _want(section.channel, place, "channel, since secret_file holds a bot's token")
        return Slack(client, url=section.url, token=secret, channel=section.channel)
    _want(section.url, place, "url")
    if section.kind == "slack":
        return Slack(client, url=section.url)
    if section.kind == "mattermost":
        if secret:
            _want(section.channel, place, "channel (an id), since secret_file holds a token")
        return Mattermost(client, url=section.url, token=secret, channel=section.channel)
    return Webhook(client, section.url, secret)


def _want(value: str, place: str, what: str) -> None:
    if not value:
        raise ServeError(f"{place} needs {what}.")


def _secret(path: str, place: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ServeError(f"{place}: secret_file {path} cannot be read ({error}); give a readable text file.") from None
