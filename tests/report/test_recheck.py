"""Evidence is run again, and what no longer holds says why."""

from __future__ import annotations

import msgspec
import pytest

from aetia import plugins
from aetia.model import entity
from aetia.model.diagnosis import Claim, Evidence, Query, make_evidence
from aetia.report.recheck import differences, recheck
from aetia.signals.view import View


@pytest.fixture(scope="module")
def view(make_view) -> View:
    return make_view()


@pytest.fixture(scope="module")
def observed(view: View) -> Evidence:
    """Evidence as a real channel observes it."""
    channel = plugins.create("channel", "errors")
    finding = channel.observe(view).findings[0]
    return make_evidence(
        about=finding.entity,
        claim=finding.claim,
        polarity="for",
        strength=finding.score,
        query=Query(channel="errors", args=finding.args),
        result=channel.measure(view, **finding.args),
    )


def test_evidence_holds_on_the_telemetry_it_came_from(make_diagnosis, view: View, observed: Evidence) -> None:
    (result,) = recheck(make_diagnosis(evidence=(observed,)), view)
    assert result.holds and result.new == result.old and result.why == ""


def test_evidence_survives_json(make_diagnosis, view: View, observed: Evidence) -> None:
    from aetia.report.interchange import from_json, to_json

    (result,) = recheck(from_json(to_json(make_diagnosis(evidence=(observed,)))), view)
    assert result.holds


def test_other_telemetry_shows_which_numbers_changed(make_diagnosis, observed: Evidence, view: View) -> None:
    shifted = View(view.facts, view.baseline, view.incident.shifted(-120))
    (result,) = recheck(make_diagnosis(evidence=(observed,)), shifted)
    assert not result.holds and result.new is not None
    assert "→" in result.why


def test_an_entity_that_is_gone_no_longer_holds(make_diagnosis, make_view, observed: Evidence) -> None:
    (result,) = recheck(make_diagnosis(evidence=(observed,)), make_view(root="other"))
    assert not result.holds and result.why


def test_a_result_that_was_edited_is_noticed(make_diagnosis, view: View, observed: Evidence) -> None:
    edited = msgspec.structs.replace(observed, result={**observed.result, "incident": 0.123})
    (result,) = recheck(make_diagnosis(evidence=(edited,)), view)
    assert not result.holds and "does not match its own digest" in result.why


@pytest.mark.parametrize("query", [Query(channel="nonsense", args={}), Query(channel="errors", args={"planet": "x"})])
def test_a_query_that_cannot_run_does_not_hold(make_diagnosis, view: View, query: Query) -> None:
    item = make_evidence(
        about=entity.service("cart"),
        claim=Claim(what="x", direction="up", magnitude=1.0, unit="ratio"),
        polarity="for",
        strength=0.5,
        query=query,
        result={"incident": 1.0},
    )
    (result,) = recheck(make_diagnosis(evidence=(item,)), view)
    assert not result.holds and result.new is None and result.why


def test_a_query_with_windows_of_its_own_is_run_on_those(make_diagnosis, view: View, observed: Evidence) -> None:
    later = view.incident.shifted(60)
    channel = plugins.create("channel", "errors")
    result = channel.measure(View(view.facts, view.baseline, later), **observed.query.args)
    assert result != channel.measure(view, **observed.query.args)
    query = Query(channel="errors", args=observed.query.args, incident=later, baselines={"spans": view.baseline})
    item = make_evidence(
        about=observed.about, claim=observed.claim, polarity="for", strength=0.5, query=query, result=result
    )
    assert [found.holds for found in recheck(make_diagnosis(evidence=(item,)), view)] == [True]


def test_differences_name_the_place_of_each_change() -> None:
    old = {"incident": {"p99": 340.0, "n": 5}, "series": [1, 2]}
    new = {"incident": {"p99": 120.0, "n": 5}, "series": [1, 3]}
    assert differences(old, new) == ["incident.p99: 340.0 → 120.0", "series[1]: 2 → 3"]
    assert differences({"a": 1}, {"b": 1}) == ["a: 1 → none", "b: none → 1"]
