"""Who of a caller and a callee changed, told from the answers of `before_failure` and `workload`."""

from __future__ import annotations

from typing import Any

import pytest

from aetia.model import entity
from aetia.model.diagnosis import Claim, Query, make_evidence
from aetia.model.journal import ToolAnswer, ToolError
from aetia.model.window import Window
from aetia.reason.callees import came_back_too_soon, cut_off, does_less, handed


def answer(*rows: dict[str, Any]) -> ToolAnswer:
    fact = make_evidence(
        about=entity.service("shop"), polarity="for", strength=0.5, result={"rows": list(rows)},
        claim=Claim(what="test", direction="down", magnitude=1.0, unit="share", text="a fact"),
        query=Query(kind="tool", channel="test", args={}, incident=Window(0, 1), baselines={}),
    )  # fmt: skip
    return ToolAnswer(rows=rows, evidence=fact)


def soon(**changed: Any) -> dict[str, Any]:
    return {"callee": "stock", "failures": 80, "share": 0.9, "healthy_calls": 60, "sooner": 0.95} | changed


def load(name: str, **changed: Any) -> dict[str, Any]:
    usual = {"name": name, "less": 0.0, "baseline_ms": 40.0, "incident_ms": 41.0}
    rates = {"baseline_per_s": 10.0, "incident_per_s": 10.0, "baseline_failed": 0.0, "incident_failed": 0.0}
    return usual | rates | changed


REFUSED = ToolAnswer(error=ToolError(category="permanent", code="no_data", message="no spans were recorded."))


def test_a_callee_that_answers_sooner_where_its_caller_fails_broke_it() -> None:
    found = came_back_too_soon("shop", answer(soon()))
    assert found is not None
    assert found.service == "stock"
    assert found.evidence.startswith("E")


@pytest.mark.parametrize("changed", [{"share": 0.4}, {"sooner": 0.6}, {"failures": 8}, {"healthy_calls": 3},
                                     {"sooner": 0.7, "failures": 25, "healthy_calls": 25}])  # fmt: skip
def test_few_failures_or_calls_that_took_as_long_as_always_say_nothing(changed: dict[str, Any]) -> None:
    assert came_back_too_soon("shop", answer(soon(**changed))) is None


def test_a_callee_that_is_asked_as_before_and_does_less_broke_its_caller() -> None:
    rows = load("shop", incident_failed=0.2, less=0.3), load("stock", less=0.4), load("cart", less=0.02)
    found = does_less("shop", answer(*rows))
    assert found is not None
    assert found.service == "stock"


@pytest.mark.parametrize(
    "changed",
    [{"less": 0.03}, {"incident_per_s": 5.0}, {"incident_failed": 0.3}],
    ids=["hardly less", "asked less", "fails itself"],
)
def test_a_callee_that_may_have_changed_for_another_reason_is_left_alone(changed: dict[str, Any]) -> None:
    assert does_less("shop", answer(load("shop"), load("stock", **({"less": 0.4} | changed)))) is None


def test_a_caller_whose_own_load_fell_asks_less_of_everybody() -> None:
    rows = load("shop", incident_per_s=5.0), load("stock", less=0.4, incident_per_s=5.0)
    assert does_less("shop", answer(*rows)) is not None


def test_the_service_itself_and_two_that_changed_alike_name_nobody() -> None:
    assert does_less("shop", answer(load("shop", less=0.4), load("stock", less=0.01))) is None
    assert does_less("shop", answer(load("shop"), load("stock", less=0.4), load("cart", less=0.3))) is None


def test_the_one_callee_without_requests_is_cut_off_where_its_caller_waits() -> None:
    rows = load("shop", incident_ms=400.0), load("stock", incident_per_s=0.5), load("cart", incident_per_s=9.0)
    found = cut_off("shop", answer(*rows))
    assert found is not None
    assert found.service == "stock"


@pytest.mark.parametrize(
    "rows",
    [
        (load("shop"), load("stock", incident_per_s=0.5)),
        (load("shop", incident_ms=400.0), load("stock", incident_per_s=0.5), load("cart", incident_per_s=4.0)),
        (load("shop", incident_ms=400.0), load("stock", incident_per_s=5.0)),
        (load("shop", incident_ms=400.0, incident_failed=0.9), load("stock", incident_per_s=0.5)),
        (load("shop", incident_ms=400.0),),
    ],
    ids=["it does not wait", "two lost calls", "half is left", "as many failed before", "calls nobody"],
)
def test_a_caller_that_breaks_by_itself_calls_everybody_less(rows: tuple[dict[str, Any], ...]) -> None:
    assert cut_off("shop", answer(*rows)) is None


def test_answers_without_a_fact_say_nothing_and_the_first_that_speaks_counts() -> None:
    assert handed("shop", (REFUSED, REFUSED)) is None
    found = handed("shop", (REFUSED, answer(load("shop"), load("stock", less=0.4))))
    assert found is not None
    assert found.service == "stock"
    gone = answer(load("shop", incident_ms=400.0), load("stock", incident_per_s=0.1))
    assert handed("shop", (REFUSED, gone)) is not None
    assert handed("shop", (answer(soon(share=0.1)), gone)) is None
    both = handed("shop", (answer(soon(callee="cart")), answer(load("shop"), load("stock", less=0.4))))
    assert both is not None
    assert both.service == "cart"
