"""Numbers and names read well and never lie by rounding."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
from hypothesis import given
from msgspec.structs import replace

from aetia.model import entity
from aetia.model.diagnosis import Cost, Diagnosis, DroppedRows
from aetia.model.window import Window
from aetia.report import wording


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (0.612, "share", "61 %"), (0.61, "share", "61 %"), (0.99995, "share", "> 99.9 %"), (1.0, "share", "100 %"),
        (0.0001, "share", "< 0.1 %"), (0.0, "share", "0 %"), (1234.0, "ms", "1.23 s"), (95.0, "s", "1 min 35 s"),
        (7500.0, "s", "2 h 5 min"), (3 * 2**30, "bytes", "3 GiB"), (8.0, "ratio", "8 ×"), (1234567.0, "req/s", "1 234 567 req/s"),
        (1.0, "changes", "1 change"), (2.0, "changes", "2 changes"), (math.nan, "ms", "–"), (1e-7, "", "1.00e-07"), (2.0, "count", "2"), (1 / 30, "1/s", "2 a minute"),
    ],
)  # fmt: skip
def test_quantities_read_in_their_unit(value: float, unit: str, words: str) -> None:
    assert wording.quantity(value, unit) == words


@given(st.floats(0, 1))
def test_only_a_whole_share_is_written_as_zero_or_hundred_per_cent(share: float) -> None:
    words = wording.percent(share)
    assert (words == "100 %") == (share == 1.0)
    assert (words == "0 %") == (share == 0.0)


@given(st.text(max_size=400))
def test_plain_text_is_one_short_line_without_control_characters(text: str) -> None:
    clean = wording.plain(text, 60)
    assert len(clean) <= 60 and clean.isprintable()


@given(st.lists(st.none() | st.floats(-1e6, 1e6), max_size=64), st.integers(1, 40), st.none() | st.integers(-5, 70))
def test_sparklines_have_one_sign_per_bin(values: list[float | None], width: int, mark: int | None) -> None:
    drawn = wording.sparkline(values, width, mark)
    assert len(drawn.replace(wording.MARK, "")) == min(width, len(values))
    assert set(drawn) <= {*wording.SPARKS, wording.GAP, wording.MARK}


def test_gaps_in_a_signal_are_dots() -> None:
    assert wording.sparkline([1.0, None, 2.0]) == "▁·█"


@pytest.mark.parametrize(
    "series",
    [
        None,
        [],
        {"values": [1, 2]},
        {"start_ns": 0, "step_ns": 0, "values": [1, 2]},
        {"start_ns": 0, "step_ns": 1, "values": [1, None]},
    ],
)
def test_a_series_that_cannot_be_drawn_is_left_out(make_evidence_of, series: object) -> None:
    assert wording.series(replace(make_evidence_of("cart"), result={"series": series})) is None


def test_hops_that_continue_one_another_are_one_chain(make_diagnosis) -> None:
    from aetia.model.diagnosis import Hop

    hops = tuple(Hop(source=a, target=b, relation="calls") for a, b in ("ab", "bc", "xy"))
    assert wording.path(make_diagnosis(propagation=hops)) == [["a", "b", "c"], ["x", "y"]]


def facts_of(diagnosis: Diagnosis) -> dict[str, str]:
    return dict(wording.key_facts(diagnosis))


def test_an_impact_without_recorded_requests_claims_no_number(make_diagnosis) -> None:
    from aetia.model.diagnosis import Impact

    words = facts_of(make_diagnosis(impact=Impact(entries=("front",))))["impact"]
    assert words.startswith("front;") and "0" not in words


def test_a_window_in_which_nobody_was_hurt_says_so(make_diagnosis) -> None:
    from aetia.model.diagnosis import Impact

    made = make_diagnosis(impact=Impact())
    calm = replace(made, incident=replace(made.incident, breaches=()))
    assert facts_of(calm)["impact"] == "no harm to users was measured in this window"
    assert "impact" not in facts_of(made)


def test_a_breach_of_a_metric_counts_no_requests(make_diagnosis) -> None:
    (found,) = make_diagnosis().incident.breaches
    assert wording.hurt_requests(found) == "700 of 1 800"
    assert wording.hurt_requests(replace(found, requests=0, affected=0)) == "–"


def test_a_cause_never_begins_after_its_harm(make_diagnosis) -> None:
    made = make_diagnosis()
    late = replace(made.hypotheses[0], onset_ns=made.incident.onset_ns + 3 * 10**9)
    assert facts_of(replace(made, hypotheses=(late,)))["since"].endswith("UTC at the latest, 3 s after users were hurt")


def test_the_end_of_the_baseline_that_the_evidence_leaves_out_is_told(make_diagnosis) -> None:
    made = make_diagnosis()
    assert "left out" not in facts_of(made)["baseline"]
    whole = made.incident.baseline
    shorter = Window(whole.start_ns, whole.end_ns - 90 * 10**9)
    query = replace(made.evidence[0].query, baselines={"spans": (shorter,), "changes": (whole,)})
    guarded = replace(made, evidence=(replace(made.evidence[0], query=query),), cost=Cost(seconds=1, rows={"spans": 9}))
    assert facts_of(guarded)["baseline"].endswith("(5 min), its last 1 min 30 s left out")


def test_tables_with_baselines_of_their_own_are_told_apart(make_diagnosis) -> None:
    made = make_diagnosis(cost=Cost(seconds=1, rows={"spans": 9, "logs": 9, "metrics": 9}))
    day = made.incident.baseline
    later = Window(made.incident.window.end_ns, made.incident.window.end_ns + 120 * 10**9)
    query = replace(made.evidence[0].query, baselines={"spans": (later,), "logs": (later,), "metrics": (day,)})
    words = facts_of(replace(made, evidence=(replace(made.evidence[0], query=query),)))["baseline"]
    assert words == f"spans and logs: {wording.window(later)}; metrics: {wording.window(day)}"


def test_the_place_is_told_only_where_it_says_more_than_the_level(make_diagnosis) -> None:
    made = make_diagnosis()
    assert facts_of(made)["where"] == "instance of cart, on node-3"
    plain = replace(made.hypotheses[0], entity=entity.service("cart"))
    assert "where" not in facts_of(replace(made, hypotheses=(plain,)))


def test_rows_are_counted_in_words_that_a_reader_knows(make_diagnosis) -> None:
    cost = Cost(seconds=1.5, rows={"spans": 1, "logs": 2, "metrics": 3, "topology": 4})
    assert wording.cost(make_diagnosis(cost=cost)) == "1.5 s, 1 span, 2 log lines, 3 metric points, 4 call edges"


def test_a_lost_message_is_counted_and_minus_nought_is_nought() -> None:
    lost = DroppedRows(table="messages", rows=1, reason="broken off", source="a.bin")
    assert wording.dropped(lost) == "messages: 1, broken off (a.bin)"
    assert wording.number(-0.0) == "0"
