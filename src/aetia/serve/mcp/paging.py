"""Cursors of the tools: they pin the window, so that a walk to the end meets every row once while telemetry comes in.

A page of an operation may hold more bytes than an answer may, so a cursor also says how many rows of the operation's
page were told already. It holds nothing secret, and what it says is checked like any other argument.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from aetia.model.window import Window
from aetia.serve.answers import encoded
from aetia.serve.problems import Refused

MOST_CURSOR = 4000


class Place(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Where the next page begins: in the operation's page of `page` rows behind its cursor `inner`, after `skip` of
    them; `question` is a digest of all other arguments."""

    question: str
    start_ns: int = 0
    end_ns: int = 0
    inner: str = ""
    page: int = 0
    skip: int = 0

    @property
    def window(self) -> Window | None:
        return Window(self.start_ns, self.end_ns) if self.end_ns else None


def digest(tool: str, given: Mapping[str, Any]) -> str:
    """Tells one question from another."""
    asked = sorted((key, value) for key, value in given.items() if key not in ("cursor", "limit"))
    return hashlib.blake2b(encoded([tool, asked]), digest_size=6).hexdigest()


def to_text(place: Place) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def from_text(text: str, question: str, most: int) -> Place:
    """The place that a cursor names. Raises Refused (400) for one of another question or none at all."""
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) if len(text) <= MOST_CURSOR else b""
        place = msgspec.json.decode(raw, type=Place)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise _bad("the cursor is none of ours") from None
    if place.question != question:
        raise _bad("the cursor belongs to another question")
    if not (0 < place.page <= most and 0 <= place.skip <= place.page and 0 <= place.start_ns <= place.end_ns):
        raise _bad("the cursor is none of ours")
    return place


def _bad(what: str) -> Refused:
    return Refused(
        "bad_request", f"{what}.", try_="repeat the call with the same arguments and the cursor as it was given, or"
        " without a cursor for the first page",
    )  # fmt: skip
