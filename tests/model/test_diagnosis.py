"""Digests survive the order of keys and of summation; a diagnosis survives JSON."""

from __future__ import annotations

import math
import random
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aetia.model import entity
from aetia.model.case import Case, Truth
from aetia.model.diagnosis import (
    Claim,
    Cost,
    Diagnosis,
    DroppedRows,
    Hop,
    Hypothesis,
    Impact,
    Incident,
    Query,
    SliBreach,
    canonical,
    digest,
    make_evidence,
)
from aetia.model.faults import FAULT_CLASSES, FAULT_TO_CLASS, class_of
from aetia.model.window import Window

NUMBERS = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-(10**12), 10**12)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_the_canonical_form_is_json_and_its_own_canonical_form(value: Any) -> None:
    once = canonical(value)
    assert canonical(once) == once
    assert msgspec.json.decode(msgspec.json.encode(once)) == once
    assert digest(value) == digest(once) and len(digest(value)) == 16


@given(st.dictionaries(st.text(max_size=6), JSON, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_matter(value: dict[str, Any], order: random.Random) -> None:
    keys = list(value)
    order.shuffle(keys)
    assert digest({key: value[key] for key in keys}) == digest(value)


def test_sums_in_any_order_have_one_digest() -> None:
    rng = np.random.default_rng(1)
    values = rng.lognormal(0.0, 3.0, 2000)
    sums = [float(np.cumsum(values[rng.permutation(len(values))])[-1]) for _ in range(50)]
    assert len(set(sums)) > 1 and len({digest({"sum": total}) for total in sums}) == 1


@given(st.floats(min_value=1e-200, max_value=1e200), st.sampled_from([-1.0, 1.0]))
def test_floats_keep_six_significant_digits(size: float, sign: float) -> None:
    assert math.isclose(canonical(sign * size), sign * size, rel_tol=5.1e-6)
    assert digest(sign * size) != digest(sign * size * 1.001)


@pytest.mark.parametrize("noise", [1e-12, -1e-12, 3e-13])
def test_rounding_hides_the_noise_of_floats(noise: float) -> None:
    assert digest({"p99": 341.7 * (1 + noise), "n": 3}) == digest({"p99": 341.7, "n": 3})


def test_numbers_of_numpy_are_numbers() -> None:
    mixed = {"a": np.float64(0.5), "b": [np.int64(3), np.float32(0.25)], "c": (1, 2)}
    assert canonical(mixed) == {"a": 0.5, "b": [3.0, 0.25], "c": [1, 2]}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_null(value: float) -> None:
    assert canonical({"x": [value]}) == {"x": [None]}


@given(st.dictionaries(st.text(max_size=6), JSON, max_size=4), st.floats(0, 1))
@example({"incident": 0.1 + 0.2}, 0.333333333)
def test_evidence_has_the_digest_of_its_result_and_its_content_as_identity(
    result: dict[str, Any], strength: float
) -> None:
    def made(**changes: Any) -> Any:
        fields: dict[str, Any] = {
            "about": entity.service("cart"), "polarity": "for", "strength": strength, "result": result,
            "claim": Claim(what="own time", direction="up", magnitude=2.0, unit="ms"),
            "query": Query(channel="latency", args={"service": "cart"}),
        }  # fmt: skip
        return make_evidence(**fields | changes)

    item = made()
    assert item.digest == digest(result) == digest(item.result) and item.id == made().id
    assert item.id.startswith("E") and abs(item.strength - strength) <= 5e-5
    others = [made(about=entity.service("web")), made(polarity="against"), made(query=Query(channel="errors", args={"service": "cart"})),
              made(query=Query(channel="latency", args={"service": "cart"}, incident=Window(1, 2))), made(result={**result, "new": 1})]  # fmt: skip
    assert len({item.id, *(other.id for other in others)}) == 1 + len(others)


def test_evidence_is_json_whatever_its_magnitude_was_computed_with() -> None:
    claim = Claim(what="log template", direction="new", magnitude=np.float64(270.0), unit="lines/min")
    item = make_evidence(
        about=entity.service("cart"), polarity="for", strength=0.5, result={}, claim=claim,
        query=Query(channel="log_novelty", args={}),
    )  # fmt: skip
    assert msgspec.json.decode(msgspec.json.encode(item))["claim"]["magnitude"] == 270.0


def whole(text: str, number: float, when: int) -> Diagnosis:
    """A diagnosis with every field filled in."""
    place = entity.instance(f"{text}-1", text, "host")
    proof = make_evidence(
        about=place, claim=Claim(what="cpu", direction="up", magnitude=number, unit="share", onset_ns=when, text=text),
        polarity="for", strength=0.5, result={"incident": number, "series": {"values": [number, None]}},
        query=Query(channel="resources", args={"service": text, "n": 3}, incident=Window(when, when + 9),
                    baselines={"spans": (Window(0, 1), Window(2, 3))}),
    )  # fmt: skip
    breach = SliBreach(
        entry=entity.operation(text, "GET /"), sli="latency", statistic="p99", baseline=1.0, incident=number,
        onset_ns=when, p_value=0.0, requests=9, affected=3,
    )  # fmt: skip
    blamed = Hypothesis(
        entity=place, score=number, probability=0.5, fault_class="B", fault="cpu", onset_ns=when, evidence=(proof.id,),
        verdict="supported", reason=text,
    )  # fmt: skip
    return Diagnosis(
        case="c", source=(text,), localizer="explain", hypotheses=(blamed,), roots=(0,), evidence=(proof,),
        incident=Incident(baseline=Window(0, 1), window=Window(when, when + 9), onset_ns=when, breaches=(breach,), given=True),
        propagation=(Hop(source=text, target="web", relation="called by", onset_ns=when, evidence=proof.id),),
        impact=Impact(entries=(text,), requests=9, affected=3), missing=(text,), silent={"latency": text},
        rejected=(Hypothesis(entity=entity.edge(text, "web"), score=0.0, verdict="refuted", reason=text),),
        dropped=(DroppedRows(table="spans", rows=2, reason=text),), cost=Cost(seconds=0.1, rows={"spans": 5}, tokens=1),
    )  # fmt: skip


@settings(max_examples=60)
@given(st.text(min_size=1, max_size=12), st.floats(-1e6, 1e6), st.integers(0, 2**62))
def test_a_diagnosis_survives_json_whole(text: str, number: float, when: int) -> None:
    found = whole(text, number, when)
    back = msgspec.json.decode(msgspec.json.encode(found), type=Diagnosis)
    assert back == found
    assert [digest(item.result) for item in back.evidence] == [item.digest for item in found.evidence]


def test_an_empty_diagnosis_survives_json() -> None:
    found = Diagnosis(localizer="random", incident=None, abstained="nothing to go by")
    assert msgspec.json.decode(msgspec.json.encode(found), type=Diagnosis) == found


def test_a_diagnosis_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        whole("a", 1.0, 1).localizer = "other"  # type: ignore[misc]


def test_every_fault_has_one_of_the_six_classes() -> None:
    assert set(FAULT_TO_CLASS.values()) == set(FAULT_CLASSES) and len(FAULT_CLASSES) == 6
    assert class_of("cpu") == "B" and class_of("dns") == "E" and class_of(None) is None and class_of("gremlins") is None


def test_a_case_says_which_baseline_holds_for_a_table() -> None:
    other = (Window(5, 6), Window(7, 8))
    case = Case(id="c", baseline=Window(1, 2), baselines={"metrics": other})
    assert case.baseline_windows("spans") == (Window(1, 2),) and case.baseline_windows("metrics") == other
    assert Case(id="c").baseline_windows("spans") == ()


def test_an_unknown_truth_and_no_fault_at_all_are_told_apart() -> None:
    for truth in (None, (), (Truth(service="a", edge=("a", "b")),)):
        case = Case(id="c", truth=truth)
        assert msgspec.json.decode(msgspec.json.encode(case), type=Case) == case
