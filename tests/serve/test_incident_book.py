"""The book of incidents: what opens, goes on, merges, closes and survives."""

from __future__ import annotations

from pathlib import Path

import pytest

from aetia.detect.live import Candidate
from aetia.model.diagnosis import SliBreach
from aetia.model.entity import operation
from aetia.model.errors import UsageError
from aetia.model.window import Window
from aetia.serve.incidents import (
    Alert,
    BookSettings,
    DiagnosisSummary,
    IncidentBook,
    IncidentEvent,
    IncidentFilter,
    UnknownIncident,
)

SECOND = 1_000_000_000
START = 1_790_000_000 * SECOND


def at(seconds: float) -> int:
    return START + round(seconds * SECOND)


def candidate(
    key: str = "a",
    onset: float = 0,
    ended: float | None = None,
    *,
    now: float = 30,
    service: str = "shop",
    **more: object,
) -> Candidate:
    breach = SliBreach(
        entry=operation(service, "GET /buy"), sli="success", statistic="share", baseline=1.0, incident=0.6,
        onset_ns=at(onset), p_value=1e-9, requests=100, affected=40,
    )  # fmt: skip
    end = at(now if ended is None else ended)
    fields: dict[str, object] = {
        "key": key, "onset_ns": at(onset), "ended_ns": None if ended is None else at(ended), "level": "major",
        "window": Window(at(onset), end), "baseline": Window(at(onset - 600), at(onset - 5)), "breaches": (breach,),
        "share": 0.1, "reach": (service, "db"),
    }  # fmt: skip
    return Candidate(**(fields | more))  # type: ignore[arg-type]


def alert(fingerprint: str = "f", service: str | None = "shop", starts: float = 10, ends: float | None = None) -> Alert:
    return Alert(
        fingerprint=fingerprint, name="HighErrors", service=service, status="firing" if ends is None else "resolved",
        starts_ns=at(starts), ends_ns=None if ends is None else at(ends), labels={"severity": "critical"},
    )  # fmt: skip


def test_an_incident_opens_goes_on_and_closes_with_its_true_end(tmp_path: Path) -> None:
    book, heard = IncidentBook(tmp_path), list[IncidentEvent]()
    book.subscribe(heard.append)
    book.observe([candidate()], at(30))
    book.observe([candidate(now=35)], at(35))
    book.observe([candidate(ended=100)], at(120))
    assert [r.state for r in book.all()] == ["open"]
    book.observe([candidate(ended=100)], at(220))
    [record] = book.all()
    assert record.state == "closed" and record.ended_ns == at(100) and record.window == Window(at(0), at(100))
    assert record.title == "shop GET /buy: requests fail" and record.severity == "major"
    assert [event.what for event in heard] == ["opened", "updated", "closed"]
    assert [event.number for event in heard] == [1, 2, 3]


def test_harm_that_is_no_longer_told_of_closes_when_it_was_last_seen(tmp_path: Path) -> None:
    book = IncidentBook(tmp_path)
    book.observe([candidate()], at(30))
    book.observe([], at(100))
    assert book.open_incidents()
    book.observe([], at(160))
    assert not book.open_incidents()


def test_harm_that_returns_before_it_closed_goes_on_and_flapping_opens_two_at_most(tmp_path: Path) -> None:
    book = IncidentBook(tmp_path)
    book.observe([candidate("a", 0, 60)], at(70))
    book.observe([candidate("b", 100, now=120)], at(120))
    assert len(book.all()) == 1 and book.all()[0].ended_ns is None
    for beat in range(1, 8):
        onset = 400 * beat
        book.observe([candidate(f"k{beat}", onset, now=onset + 30)], at(onset + 30))
        book.observe([candidate(f"k{beat}", onset, onset + 60)], at(onset + 200))
    assert len(book.all()) == 2
    assert book.all()[0].reopened == 6


def test_incidents_that_turn_out_to_be_one_merge(tmp_path: Path) -> None:
    book = IncidentBook(tmp_path)
    book.observe(
        [candidate("a", service="shop", reach=("shop",)), candidate("b", 10, service="blog", reach=("blog",))], at(30)
    )
    assert len(book.open_incidents()) == 2
    book.observe([candidate("a", service="shop", merged=("b",), reach=("shop", "blog"))], at(40))
    [one] = book.open_incidents()
    [gone] = [record for record in book.all() if record.state == "merged"]
    assert gone.merged_into == one.id and {b.entry.service for b in one.breaches} == {"shop", "blog"}


def test_an_alert_joins_the_incident_of_its_service_and_others_open_their_own(tmp_path: Path) -> None:
    book = IncidentBook(tmp_path)
    book.observe([candidate()], at(30))
    book.alert([alert("f", "shop"), alert("g", "mail"), alert("f", "shop")], at(40))
    shop, mail = sorted(book.open_incidents(), key=lambda r: r.onset_ns)
    assert shop.sources == ("sli", "alert") and len(shop.alerts) == 1
    assert mail.sources == ("alert",) and mail.severity == "critical" and mail.title == "Alert HighErrors on mail"
    book.alert([alert("g", "mail", ends=90)], at(100))
    assert book.get(mail.id).state == "closed" and book.get(mail.id).ended_ns == at(90)
    book.alert([alert("g", "mail", ends=90)], at(110))
    assert len(book.all()) == 2


def test_an_incident_stays_open_while_its_alert_fires(tmp_path: Path) -> None:
    book = IncidentBook(tmp_path)
    book.alert([alert("f", "shop", starts=5)], at(10))
    book.observe([candidate()], at(30))
    [record] = book.all()
    assert set(record.sources) == {"alert", "sli"}
    book.observe([candidate(ended=60)], at(400))
    assert book.open_incidents()
    book.alert([alert("f", "shop", starts=5, ends=410)], at(420))
    book.observe([], at(540))
    assert not book.open_incidents()


def test_an_alert_that_is_resolved_closes_no_other_incident_early(tmp_path: Path) -> None:
    book = IncidentBook(tmp_path)
    book.observe([candidate(ended=20)], at(30))
    book.alert([alert("g", "mail", starts=31)], at(32))
    book.alert([alert("g", "mail", starts=31, ends=40)], at(41))
    [record] = book.open_incidents()
    assert record.sources == ("sli",)


def test_people_open_note_merge_and_close_and_what_they_closed_stays_closed(tmp_path: Path) -> None:
    book = IncidentBook(tmp_path)
    mine = book.open_manually("Checkout is odd", at(0), by="kim", severity="minor")
    book.observe([candidate("a", 5)], at(30))
    other = next(record for record in book.open_incidents() if record.id != mine.id)
    book.merge(mine.id, other.id, at(40), by="kim")
    assert book.get(mine.id).merged_into == other.id and "manual" in book.get(other.id).sources
    book.note(other.id, "rolled back", at(50), by="kim")
    book.close(other.id, at(60), by="kim")
    book.observe([candidate("a", 5, now=70)], at(70))
    assert not book.open_incidents() and len(book.all()) == 2
    with pytest.raises(UsageError):
        book.close(other.id, at(80))
    with pytest.raises(UnknownIncident):
        book.get("../../etc/passwd")


def test_a_restart_goes_on_where_it_was_and_opens_nothing_twice(tmp_path: Path) -> None:
    first = IncidentBook(tmp_path)
    first.observe([candidate()], at(30))
    [record] = first.all()
    first.attach_diagnosis(record.id, DiagnosisSummary(revision=1, at_ns=at(33), root="db", probability=0.9))
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'{"number": 3, "at_')  # the line that a killed process was writing
    (tmp_path / record.id / "incident.json.new").write_text("{")
    again = IncidentBook(tmp_path)
    [event] = again.observe([candidate(now=70, level="critical")], at(70))
    assert event.record.id == record.id and event.number == 3 and event.what == "updated"
    assert len(again.all()) == 1 and again.all()[0].diagnosis is not None
    assert all(line.endswith(b"}") for line in (tmp_path / "events.jsonl").read_bytes().splitlines())


def test_damaged_files_are_told_of_and_skipped(tmp_path: Path) -> None:
    book = IncidentBook(tmp_path)
    book.observe([candidate()], at(30))
    broken = tmp_path / "i-20260101-000000-0000"
    broken.mkdir()
    (broken / "incident.json").write_text('{"id": "i-2026')
    again = IncidentBook(tmp_path)
    assert len(again.all()) == 1
    [said] = again.damaged.values()
    assert "incident.json is damaged" in said


def test_lists_by_filter_and_page(tmp_path: Path) -> None:
    book = IncidentBook(tmp_path)
    for number in range(5):
        service = f"s{number}"
        book.observe(
            [candidate(str(number), number, now=number + 30, service=service, reach=(service,))], at(number + 30)
        )
    page = book.list(limit=2)
    assert (len(page.rows), page.total) == (2, 5)
    rest = book.list(limit=10, cursor=page.cursor)
    assert len(rest.rows) == 3 and rest.cursor == ""
    assert [r.breaches[0].entry.service for r in (*page.rows, *rest.rows)] == ["s4", "s3", "s2", "s1", "s0"]
    assert book.list(IncidentFilter(service="s3")).total == 1
    assert book.list(IncidentFilter(states=("closed",))).total == 0
    assert book.list(IncidentFilter(window=Window(at(-100), at(0)))).total == 0
    with pytest.raises(UsageError):
        book.list(limit=0)
    with pytest.raises(UsageError):
        book.list(cursor="nonsense")


def test_old_incidents_go_and_open_ones_stay(tmp_path: Path) -> None:
    book = IncidentBook(tmp_path, BookSettings(most=2))
    for number in range(4):
        service = f"s{number}"
        start = 1000 * number
        book.observe([candidate(str(number), start, now=start + 30, service=service, reach=(service,))], at(start + 30))
    book.observe([], at(5000))
    book.observe([], at(5005))
    assert [record.breaches[0].entry.service for record in book.all()] == ["s3", "s2"]
    assert len(list(tmp_path.glob("i-*"))) == 2


def test_a_listener_that_fails_stops_nobody(tmp_path: Path) -> None:
    book, heard = IncidentBook(tmp_path), list[str]()

    def broken(event: IncidentEvent) -> None:
        raise RuntimeError(event.what)

    book.subscribe(broken)
    end = book.subscribe(lambda event: heard.append(event.what))
    book.observe([candidate()], at(30))
    end()
    book.observe([candidate(ended=40)], at(200))
    assert heard == ["opened"]
