"""Hops of a propagation: what the tool sees in requests and logs, and what is concluded from it."""

from __future__ import annotations

from aetia.model.journal import ToolAnswer, ToolError
from aetia.reason.hops import HopSeen, Seen, culprit, path, seen, traced


def hop(source: str, target: str, accounts: float, *, complaints: int = 0, began: tuple[float, float] = (1.0, 1.0),
        sick: float = 0.5) -> HopSeen:  # fmt: skip
    return HopSeen(source=source, target=target, accounts=accounts, complaints=complaints, source_began_s=began[0],
                   target_began_s=began[1], step_s=1.0, wrong=100, sick=sick, evidence="E1")  # fmt: skip


def at(name: str, *hops: HopSeen) -> Seen:
    return Seen(name=name, sick=0.5, own=0.1, requests=1000, wrong=500, evidence="E1", hops=hops)


def test_a_callee_that_accounts_for_the_trouble_passed_it_on() -> None:
    record = traced("db", "shop", at("shop", hop("db", "shop", 0.9)))
    assert (record.in_direction, record.in_time, record.evidence) == (True, True, "E1")


def test_a_callee_that_went_wrong_beside_it_did_not() -> None:
    assert hop("db", "shop", 0.01).in_direction is False
    assert hop("db", "shop", 0.3).in_direction is None
    assert hop("db", "shop", 0.01, sick=0.03).in_direction is None


def test_a_source_that_falls_ill_after_its_target_is_out_of_order_beyond_the_error_of_clocks() -> None:
    assert hop("db", "shop", 0.9, began=(5.0, 1.0)).in_time is True
    assert hop("db", "shop", 0.9, began=(60.0, 1.0)).in_time is False


def test_what_was_seen_of_a_hop_says_who_was_ill_first() -> None:
    def said(*began: float) -> str:
        return traced("db", "shop", at("shop", hop("db", "shop", 0.9, began=(began[0], began[1])))).reason

    assert said(1.0, 1.0) == "db accounts for 90 % of the trouble of shop; it began there at the same time"
    assert said(1.0, 13.0).endswith("it began there 12.0 s earlier")
    assert said(17.0, 1.0).endswith("it began there 16.0 s later")


def test_a_service_that_is_well_is_not_said_to_have_trouble() -> None:
    one = Seen(name="shop", sick=0.0, own=0.0, requests=1000, wrong=3, evidence="E1", hops=(hop("db", "shop", 0.0),))
    assert traced("db", "shop", one).reason.startswith("requests of shop went wrong no more than usual;")


def test_a_hop_that_nobody_recorded_is_neither_right_nor_wrong() -> None:
    record = traced("db", "shop", None)
    assert record.in_direction is None
    assert record.in_time is None


def test_the_path_follows_most_of_the_trouble() -> None:
    known = {
        "front": at("front", hop("a", "front", 0.2), hop("b", "front", 0.7)),
        "a": at("a", hop("db", "a", 0.9)),
        "b": at("b", hop("db", "b", 0.9)),
    }
    assert path("db", ["front"], known) == ["db", "b", "front"]
    assert path("other", ["front"], known) == []
    assert path("front", ["front"], known) == ["front"]


def test_cycles_of_calls_do_not_trap_the_path() -> None:
    known = {
        "front": at("front", hop("a", "front", 1.0)),
        "a": at("a", hop("b", "a", 1.0)),
        "b": at("b", hop("a", "b", 1.0)),
    }
    assert path("b", ["front"], known) == ["b", "a", "front"]


def test_what_all_complaints_have_in_common() -> None:
    assert culprit([("album", "stable", 70), ("stable", "pass", 20)]) == "stable"
    assert culprit([("album", "stable", 70)]) == "stable"
    assert culprit([("a", "b", 50), ("c", "d", 50)]) is None
    assert culprit([]) is None


def test_an_error_shows_nothing() -> None:
    error = ToolError(category="validation", code="no_data", message="nothing")
    assert seen(ToolAnswer(error=error)) is None
    assert seen(ToolAnswer()) is None
