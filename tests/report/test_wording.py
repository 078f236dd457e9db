"""Numbers and names read well and never lie by rounding."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
from hypothesis import given

from aetia.report import wording


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (0.612, "share", "61 %"), (0.61, "share", "61 %"), (0.99995, "share", "> 99.9 %"), (1.0, "share", "100 %"),
        (0.0001, "share", "< 0.1 %"), (0.0, "share", "0 %"), (1234.0, "ms", "1.23 s"), (95.0, "s", "1 min 35 s"),
        (7500.0, "s", "2 h 5 min"), (3 * 2**30, "bytes", "3 GiB"), (8.0, "ratio", "8 ×"), (1234567.0, "req/s", "1 234 567 req/s"),
        (math.nan, "ms", "–"), (1e-7, "", "1.00e-07"), (2.0, "count", "2"),
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
    from msgspec.structs import replace

    assert wording.series(replace(make_evidence_of("cart"), result={"series": series})) is None


def test_hops_that_continue_one_another_are_one_chain(make_diagnosis) -> None:
    from aetia.model.diagnosis import Hop

    hops = tuple(Hop(source=a, target=b, relation="calls") for a, b in ("ab", "bc", "xy"))
    assert wording.path(make_diagnosis(propagation=hops)) == [["a", "b", "c"], ["x", "y"]]
