"""The base of all checks: the first time a failure is seen it is a warning, when it goes on it ends the policy."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar, NamedTuple

from aetia.model.journal import Closed, Event, Warned
from aetia.reason.checks._notes import Notes
from aetia.reason.policy import Desk

MOST_TEXT = 240
STOPS_AT = 3
"""Warnings to one agent of which the last one ends the policy: one slip and one repetition are forgiven."""


class Failing(NamedTuple):
    """A failure that was just seen: whose, and what, in one sentence."""

    agent: str
    text: str


class Watch:
    """One failure of reasoning. A subclass finds it in an event; it reads the desk and changes nothing."""

    code: ClassVar[str]
    title: ClassVar[str]
    stops_at: ClassVar[int] = STOPS_AT

    def __init__(self, notes: Notes | None = None) -> None:
        self.notes = notes or Notes()
        self._times: Counter[str] = Counter()

    def look(self, event: Event, desk: Desk) -> Warned | None:
        """A warning when the event shows the failure; `stopped` from the `stops_at`th of one agent on."""
        self.notes.take(event)
        found = self.find(event, desk)
        if found is None:
            return None
        self._times[found.agent] += 1
        stopped = self._times[found.agent] >= self.stops_at and not isinstance(event, Closed)
        text = found.text if len(found.text) <= MOST_TEXT else found.text[: MOST_TEXT - 1] + "…"
        return Warned(check=self.code, text=text, agent=found.agent, stopped=stopped)

    def find(self, event: Event, desk: Desk) -> Failing | None:
        raise NotImplementedError
