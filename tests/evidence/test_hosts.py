"""A node is blamed when what runs on it got worse and the same services elsewhere did not."""

from __future__ import annotations

import pyarrow as pa
from small_shop import CONTAMINATED_S, SERVICES, Call, Story, View, gauges, look, measured, read, steady, stepped, told

SLOWER = 8.0


def spread(slow: dict[str, float], *, since: float = 0.0) -> Story:
    """Instance n of a service serves request n mod 2; those in `slow` take so many times as long themselves."""

    def story(call: Call, second: float, number: int) -> Call:
        for service in SERVICES:
            name = f"{service}-{1 + number % 2}"
            worse = slow.get(name, 1.0) if second >= since else 1.0
            own = next(c.own for c in walk(call) if c.service == service)
            call = call.to(service, instance=name, own=own * worse)
        return call

    return story


def walk(call: Call):
    yield call
    for below in call.calls:
        yield from walk(below)


def hosted() -> pa.Table:
    """Instance 1 of every service runs on east, instance 2 on west."""
    return gauges(
        *(("container_cpu_usage_percent", {"service": s, "instance": f"{s}-{n}", "node": node}, steady(10.0))
          for s in SERVICES for n, node in ((1, "east"), (2, "west")))
    )  # fmt: skip


def shop(story: Story) -> View:
    return look(**told(story, per_second=2.0), metrics=hosted())


ALL_WEST = {f"{service}-2": SLOWER for service in SERVICES}


def test_the_node_on_which_everything_got_slower_is_blamed() -> None:
    view = shop(spread(ALL_WEST))
    (finding,) = read("hosts", view).findings
    assert (finding.entity.level, finding.entity.node, finding.entity.service) == ("node", "west", None)
    assert finding.score > 0.5 and (finding.fault_class, finding.fault) == ("B", "node_pressure")
    numbers = measured("hosts", view, finding)
    assert numbers["abnormal_services"] >= 4 and numbers["incident"] > numbers["baseline"]


def test_a_service_that_is_slow_wherever_it_runs_is_not_the_nodes_fault() -> None:
    assert read("hosts", shop(spread({"stock-1": SLOWER, "stock-2": SLOWER}))).findings == ()


def test_one_slow_instance_is_not_the_nodes_fault() -> None:
    assert read("hosts", shop(spread({"stock-2": SLOWER}))).findings == ()


def test_slowness_everywhere_is_no_nodes_fault() -> None:
    everywhere = ALL_WEST | {f"{service}-1": SLOWER for service in SERVICES}
    assert read("hosts", shop(spread(everywhere))).findings == ()


def test_a_contaminated_baseline_leaves_the_blame_where_it_is() -> None:
    (finding,) = read("hosts", shop(spread(ALL_WEST, since=-CONTAMINATED_S))).findings
    assert finding.entity.node == "west"


def cpu(*instances: str) -> pa.Table:
    """As `hosted`, with the cpu of some instances eight times as high from the onset on."""
    return gauges(
        *(("container_cpu_usage_percent", {"service": s, "instance": f"{s}-{n}", "node": node},
           stepped(10.0, 80.0 if f"{s}-{n}" in instances else 10.0)) for s in SERVICES for n, node in ((1, "east"), (2, "west")))
    )  # fmt: skip


def test_without_spans_the_resources_of_what_runs_there_tell() -> None:
    reading = read("hosts", look(metrics=cpu(*ALL_WEST)))
    assert [finding.entity.node for finding in reading.findings] == ["west"]


def test_one_busy_instance_is_not_the_nodes_fault() -> None:
    assert read("hosts", look(metrics=cpu("stock-2"))).findings == ()


def test_without_instances_on_known_nodes_it_says_so() -> None:
    assert "two or more known nodes" in (read("hosts", look()).silent or "")
    assert "two or more known nodes" in (read("hosts", look(**told())).silent or "")
