"""What is worth telling of an incident's life, and to whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from aetia.model.errors import ServeError
from aetia.model.window import Window
from aetia.serve.config import NotifySection
from aetia.serve.incidents.records import DiagnosisSummary, IncidentEvent, IncidentRecord
from aetia.serve.notify.notice import Notice
from aetia.serve.notify.outbox import Outbox
from aetia.serve.notify.places import make_places
from aetia.serve.notify.targets import Mattermost, PagerDuty, Slack, Thread, Webhook
from aetia.serve.notify.teller import LeastSeverity, Teller

RECORD = IncidentRecord(
    id="i-1", state="open", sources=("sli",), title="GET /pay: requests fail", severity="minor", onset_ns=1, opened_ns=2,
    updated_ns=2, ended_ns=None, window=Window(1, 2), baseline=Window(0, 1),
)  # fmt: skip


class Kept:
    """A place that keeps what it is told."""

    def __init__(self) -> None:
        self.got: list[Notice] = []

    def send(self, notice: Notice, thread: Thread) -> Thread:
        self.got.append(notice)
        return thread


def told(tmp_path: Path, places: dict[str, LeastSeverity], *events: IncidentEvent) -> dict[str, list[str]]:
    """What each place hears of some events: the types of its notices, in order."""
    kept = {name: Kept() for name in places}
    outbox = Outbox(tmp_path, kept)
    teller = Teller(outbox, places, lambda incident: None, base_url="https://aetia.example/", clock_ns=lambda: 9)
    for event in events:
        teller._tell(event)
        for held in outbox.deliveries():
            for notice in list(held.waiting):
                outbox._try(outbox._held[held.target, held.incident], notice, {})
    for place in kept.values():
        assert [notice.sequence for notice in place.got] == sorted({notice.sequence for notice in place.got})
        assert all(notice.links.page == "https://aetia.example/incidents/i-1" for notice in place.got)
    return {name: [notice.type.partition(".")[2] for notice in place.got] for name, place in kept.items()}


def event(what: Any, **changed: Any) -> IncidentEvent:
    return IncidentEvent(number=1, at_ns=3, what=what, record=msgspec.structs.replace(RECORD, **changed))


def answer(root: str | None, probability: float = 0.9, **more: Any) -> DiagnosisSummary:
    return DiagnosisSummary(revision=1, at_ns=4, root=root, fault_class="C", probability=probability, **more)


def test_an_answer_is_told_when_it_is_new_or_much_surer(tmp_path: Path) -> None:
    heard = told(
        tmp_path, {"ops": "any"}, event("opened"), event("updated"),
        event("diagnosed", diagnosis=answer("payment", 0.5)), event("diagnosed", diagnosis=answer("payment", 0.6)),
        event("diagnosed", diagnosis=answer("payment", 0.9)), event("diagnosed", diagnosis=answer("ledger", 0.9)),
        event("closed", state="closed", ended_ns=5),
    )  # fmt: skip
    assert heard == {"ops": ["opened", "diagnosed", "diagnosed", "diagnosed", "closed"]}


def test_a_place_hears_of_what_is_bad_enough_and_of_what_becomes_so(tmp_path: Path) -> None:
    places: dict[str, LeastSeverity] = {"all": "any", "pager": "critical"}
    heard = told(tmp_path, places, event("opened"), event("updated", severity="critical"), event("reopened"))
    assert heard == {"all": ["opened", "updated", "updated"], "pager": ["updated"]}


def test_that_nothing_was_found_is_told_once(tmp_path: Path) -> None:
    nothing = answer(None, abstained="no evidence")
    heard = told(tmp_path, {"ops": "any"}, event("diagnosed", diagnosis=nothing), event("diagnosed", diagnosis=nothing))
    assert heard == {"ops": ["diagnosed"]}


def test_merging_is_told(tmp_path: Path) -> None:
    assert told(tmp_path, {"ops": "any"}, event("merged", state="merged", merged_into="i-2")) == {"ops": ["merged"]}


def test_places_come_from_the_configuration(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("s3cret\n")
    targets, least = make_places((
        NotifySection(kind="slack", secret_file=str(secret), channel="#ops", severity="major"),
        NotifySection(kind="mattermost", url="https://chat/hooks/x"), NotifySection(kind="webhook", url="https://x/y"),
        NotifySection(kind="pagerduty", secret_file=str(secret)),
    ))  # fmt: skip
    assert [type(target) for target in targets.values()] == [Slack, Mattermost, Webhook, PagerDuty]
    assert least["1-slack"] == "major" and list(least)[3] == "4-pagerduty"


@pytest.mark.parametrize(
    ("section", "said"),
    [
        (NotifySection(kind="webhook"), r"number 1 \(webhook\) needs url"),
        (NotifySection(kind="pagerduty"), "secret_file"),
        (NotifySection(kind="slack", secret_file="/nowhere/token"), "cannot be read"),
    ],
)
def test_a_place_that_cannot_work_is_named_at_the_start(section: NotifySection, said: str) -> None:
    with pytest.raises(ServeError, match=said):
        make_places((section,))
