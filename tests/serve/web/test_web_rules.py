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


def test_steps_of_one_moment_are_shown_one_after_the_other(page: Any) -> None:
    steps = [{"at_ns": at * 1e9, "kind": kind} for at, kind in ((3, "root"), (9, "hop"), (9, "hop"), (10, "hurt"))]
    moments = page.evaluate("async (steps) => (await import('/ui/incidents/course.js')).moments(steps, 60e9)", steps)
    assert moments == [3e9, 9e9, 10e9, 10e9]


def test_times_are_exact_to_the_nanosecond(page: Any) -> None:
    """A browser's number has 53 bits, an epoch in ns needs 61."""
    answer = '{"onset_ns": 1795294818329940834, "window": [1795294818000000001, 1795294818329000000], "n": 5}'
    told = page.evaluate(
        """async (text) => {
          const { exact, stamp, iso } = await import('/ui/lib/exact.js');
          const found = exact(text);
          return [stamp(found, "onset_ns"), stamp(found.window, 0), stamp(found.window, 1), iso(1795294818329000192), found.n];
        }""",
        answer,
    )
    assert told == [
        "2026-11-21T21:00:18.329940834Z", "2026-11-21T21:00:18.000000001Z", "2026-11-21T21:00:18.329Z",
        "2026-11-21T21:00:18.329Z", 5,
    ]  # fmt: skip


def test_only_who_is_hurt_and_the_cause_are_part_of_an_incident(page: Any) -> None:
    incident = {
        "reach": ["shop", "cart", "db", "calm"], "alerts": [{"service": "pay"}],
        "breaches": [{"entry": {"name": "GET /", "service": "shop"}}], "diagnosis": {"causes": ["db"], "hurt": ["shop"]},
    }  # fmt: skip
    parts = page.evaluate(
        """async (incident) => {
          const { partOf } = await import('/ui/explore/common.js');
          return ['shop', 'cart', 'db', 'calm', 'pay'].map((name) => partOf(incident, name));
        }""",
        incident,
    )
    assert parts == ["hurt", None, "cause", None, "hurt"]


def test_a_name_that_turns_writing_round_is_made_plain(page: Any) -> None:
    told = page.evaluate(
        "async (text) => (await import('/ui/lib/format.js')).plain(text, 20)", "a\u202eb\nc\x1b[31m" + "d" * 50
    )
    assert told == "a b c [31mddddddddd…"
