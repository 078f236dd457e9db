"""What the pages compute themselves agrees with the reports: numbers, the drawing of a graph, the order of a course."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from served import Served
from watching import Watched

from aetia.model.quantities import percent, quantity
from aetia.report.layout import layered

UNITS = ["", "share", "ms", "ns", "s", "bytes", "1/s", "bytes/s", "ratio", "req/s"]


@pytest.fixture(scope="module")
def page(open_page: Callable[..., Watched], quiet: Served) -> Iterator[Any]:
    watched = open_page(quiet)
    yield watched.open("/incidents", ".sending")


def test_numbers_read_as_in_the_reports(page: Any) -> None:
    draw = random.Random(5)
    values = [0.0, 1.0, 0.9996, 0.0002, 59.6, 60.0, 3600.0, 1023.0, 1024.0, 9_999_999.0]
    values += [draw.uniform(0.001, 10) ** draw.randint(1, 5) for _ in range(60)]
    asked = [(value, unit) for value in values for unit in UNITS if unit != "share" or value <= 1]
    found = page.evaluate(
        """async (asked) => {
          const { quantity } = await import('/ui/lib/format.js');
          return asked.map(([value, unit]) => quantity(value, unit));
        }""",
        asked,
    )
    pairs = [(_plain(quantity(*item)), _plain(told)) for item, told in zip(asked, found, strict=True)]
    # Where the reports need an exponent or count more than a day in hours, the pages write 1000 and days.
    same = [(theirs, mine) for theirs, mine in pairs if "e+" not in theirs and " d" not in mine]
    assert len(same) > 400 and [pair for pair in same if pair[0] != pair[1]] == []
    assert percent(0.9996) == "> 99.9 %"


def _plain(text: str) -> str:
    """Without the differences of type: the reports have a wider space, and say `a minute` in full."""
    return text.replace("\u202f", " ").replace(" a minute", "/min")


def test_a_graph_is_drawn_as_in_the_reports(page: Any) -> None:
    draw = random.Random(7)
    graphs: list[tuple[int, list[tuple[int, int]]]] = [
        (1, []),
        (3, [(0, 1), (1, 2), (2, 0)]),
        (2, [(0, 0), (0, 1), (0, 1)]),
    ]
    for _ in range(12):
        nodes = draw.randint(2, 18)
        graphs.append((nodes, [(draw.randrange(nodes), draw.randrange(nodes)) for _ in range(draw.randint(1, 30))]))
    found = page.evaluate(
        """async (graphs) => {
          const { layered } = await import('/ui/lib/layered.js');
          return graphs.map(([nodes, edges]) => layered(nodes, edges));
        }""",
        graphs,
    )
    for (nodes, edges), drawn in zip(graphs, found, strict=True):
        wanted = layered(nodes, edges)
        assert drawn["layers"] == wanted.layers
        for mine, theirs in zip(drawn["place"], wanted.place, strict=True):
            assert mine == pytest.approx(list(theirs))
        for mine, theirs in zip(drawn["routes"], wanted.routes, strict=True):
            assert mine == [pytest.approx(list(point)) for point in theirs]


def test_a_fault_is_nowhere_later_than_what_follows_from_it(page: Any) -> None:
    hops = [("db", "stock", 9e9), ("stock", "cart", 4e9), ("cart", "shop", 12e9)]
    diagnosis = {
        "abstained": None, "roots": [0], "evidence": [],
        "hypotheses": [{"entity": {"level": "external", "name": "db", "service": "db"}, "onset_ns": 3e9, "evidence": []}],
        "propagation": [{"source": a, "target": b, "relation": "called by", "onset_ns": at, "evidence": None} for a, b, at in hops],
        "incident": {"window": [0, 60e9], "baseline": [-60e9, 0], "onset_ns": 10e9, "breaches": [
            {"entry": {"level": "service", "name": "shop", "service": "shop"}, "sli": "success", "statistic": "share",
             "baseline": 1, "incident": 0.5, "onset_ns": 10e9, "requests": 9, "affected": 5, "unit": None, "evidence": None}
        ]},
    }  # fmt: skip
    steps = page.evaluate(
        """async (diagnosis) => {
          const { course, moments } = await import('/ui/incidents/course.js');
          const steps = course(diagnosis);
          return { steps, moments: moments(steps, 60e9) };
        }""",
        diagnosis,
    )
    told = [(step["kind"], step["node"], step["at"]) for step in steps["steps"]]
    assert told == [
        ("root", "db", 3e9), ("hop", "stock", 9e9), ("hop", "cart", 9e9), ("hop", "shop", 10e9), ("hurt", "shop", 10e9)
    ]  # fmt: skip
    assert steps["moments"] == sorted(steps["moments"])


def test_a_name_that_turns_writing_round_is_made_plain(page: Any) -> None:
    told = page.evaluate(
        "async (text) => (await import('/ui/lib/format.js')).plain(text, 20)", "a\u202eb\nc\x1b[31m" + "d" * 50
    )
    assert told == "a b c [31mddddddddd…"
