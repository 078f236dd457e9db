"""Policies from what a journal can hold, a name, options and a question: investigations and replays make them here."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from aetia import plugins
from aetia.model.errors import UsageError
from aetia.reason.policy import Policy


def make_policy(name: str, options: Mapping[str, Any] | None = None, question: str = "") -> Policy:
    """The policy of that name; with a question, it is answered after the policy has ended.

    Raises UnknownPlugin, and UsageError for options that the policy does not take or that are no JSON.
    """
    found = plugins.find("policy", name)
    assert found.factory is not None
    try:
        given = recorded(options or {})
        inspect.signature(found.factory).bind(**given)
    except (TypeError, msgspec.MsgspecError, OverflowError) as error:
        said = str(error).rstrip(".")
        raise UsageError(f"policy {name} cannot be made with the options {', '.join(options or {})}: {said}.") from None
    made = cast("Policy", found.factory(**given))
    if not question:
        return made
    from aetia.reason.answering import Answering

    return Answering(made)


def recorded(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as they come back from a journal: plain values of JSON."""
    return msgspec.json.decode(msgspec.json.encode(dict(options)))
