"""Calls per request, from traffic metrics of a mesh: who asks others less often than it used to."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from small_shop import EDGES, Level, blamed, call_graph, gauges, look, measured, read, steady, stepped, told


def mesh(served: dict[str, Level], calls: dict[tuple[str, str], Level]) -> pa.Table:
    """Requests of services and calls of edges, per second."""
    columns: list[tuple[str, dict[str, Any], Level]] = [
        ("requests_per_second", {"service": name}, level) for name, level in served.items()
    ]
    for caller, callee in EDGES:
        level = calls.get((caller, callee), steady(50.0))
        columns.append(
            ("requests_per_second", {"attributes": f'{{"caller": "{caller}", "callee": "{callee}"}}'}, level)
        )
    return gauges(*columns)


SERVED = {name: steady(50.0) for name in ("web", "cart", "order", "stock", "price")}


def test_an_early_return_is_seen_in_the_calls_that_are_no_longer_made() -> None:
    gone = {("order", "stock"): stepped(50.0, 12.0), ("order", "price"): stepped(50.0, 12.0)}
    less = SERVED | {"stock": stepped(50.0, 12.0), "price": stepped(50.0, 12.0)}
    view = look(metrics=mesh(less, gone), topology=call_graph())
    (finding,) = read("call_mix", view).findings
    assert finding.entity.service == "order" and finding.fault == "early_return" and not finding.own
    numbers = measured("call_mix", view, finding)
    assert numbers["baseline"] == pytest.approx(1.0, abs=0.05) and numbers["incident"] == pytest.approx(0.24, abs=0.05)
    # Those that are asked less are not silent: their callers count fewer calls.
    assert read("silence", view).findings == ()


def test_less_load_is_no_change_of_mix() -> None:
    half = {name: stepped(50.0, 25.0) for name in SERVED}
    calm = mesh(half, {edge: stepped(50.0, 25.0) for edge in EDGES})
    assert read("call_mix", look(metrics=calm)).findings == ()


def test_an_entry_that_counts_no_requests_is_judged_by_its_mix() -> None:
    served = {name: level for name, level in SERVED.items() if name != "web"}
    reading = read("call_mix", look(metrics=mesh(served, {("web", "cart"): stepped(50.0, 5.0)})))
    assert blamed(reading) == ["web"]


def test_services_with_spans_are_left_to_the_channels_of_spans() -> None:
    gone = {("order", "stock"): stepped(50.0, 5.0)}
    reading = read("call_mix", look(**told(), metrics=mesh(SERVED, gone)))
    assert reading.findings == () and reading.silent


def test_a_callee_that_serves_less_than_it_is_asked_is_silent() -> None:
    less = SERVED | {"stock": stepped(50.0, 5.0)}
    assert blamed(read("silence", look(metrics=mesh(less, {}), topology=call_graph()))) == ["stock"]


def share(value: Level, **place: Any) -> tuple[str, dict[str, Any], Level]:
    return "success_ratio", {"unit": "share"} | place, value


def failing(*, arriving: Level) -> pa.Table:
    """Calls of `order` to `price` fail at the caller; `price` itself counts none."""
    columns = [share(steady(1.0), service=name) for name in SERVED]
    for caller, callee in EDGES:
        bad = (caller, callee) == ("order", "price")
        level = stepped(1.0, 0.5) if bad else steady(1.0)
        columns.append(share(level, attributes=f'{{"caller": "{caller}", "callee": "{callee}"}}'))
    columns.append(("requests_per_second", {"service": "price"}, arriving))
    return gauges(*columns, noise=0.002)


@pytest.mark.parametrize(("arriving", "fault"), [(steady(50.0), "wrong_code"), (stepped(50.0, 20.0), "partition")])
def test_failures_that_only_callers_count_are_the_callees_or_the_links(arriving: Level, fault: str) -> None:
    view = look(metrics=failing(arriving=arriving), topology=call_graph())
    finding = read("errors", view).findings[0]
    assert finding.entity.service == "price" and finding.fault == fault and finding.own
    assert measured("errors", view, finding)["incident"] == pytest.approx(0.5, abs=0.02)
