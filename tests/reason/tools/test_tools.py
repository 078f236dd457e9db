"""The tools of the investigation: what they see of an incident, what they refuse, and that their evidence holds."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from aetia import contracts, plugins
from aetia.contracts.shop import ONSET_NS, replaced, rows_permuted, shop
from aetia.model.diagnosis import Diagnosis, Evidence
from aetia.model.journal import ToolAnswer, ToolCall
from aetia.model.tables import Telemetry
from aetia.reason.toolbox import MOST_ROWS, MOST_TEXT, ViewTools, cut, known_as, nearest, said
from aetia.report.recheck import recheck
from aetia.signals.view import View

ASKED: list[tuple[str, dict[str, Any]]] = [
    ("overview", {}),
    ("overview", {"of": "nodes"}),
    ("topology", {"service": "orders"}),
    ("trace_children", {"service": "gateway"}),
    ("trace_children", {"service": "gateway", "which": "failed"}),
    ("span_self_time", {"service": "prices"}),
    ("metric_anomalies", {"component": "orders"}),
    ("log_templates", {"component": "orders"}),
    ("changes", {}),
    ("alerts", {"service": "orders"}),
    ("compare", {"component": "orders"}),
    ("compare", {"component": "prices", "against": "peers"}),
    ("compare", {"component": "basket", "against": "instances"}),
    ("link", {"caller": "gateway", "callee": "prices"}),
    ("workload", {"service": "orders"}),
]
"""A question to every tool that the ordinary incident has an answer for."""


def ask(tool: str, view: View | None = None, **args: Any) -> ToolAnswer:
    return ViewTools(view or contracts.ordinary().shared_view).answer(ToolCall(tool=tool, args=args))


def fact(answer: ToolAnswer) -> Evidence:
    assert answer.error is None, answer.error
    assert answer.evidence is not None
    return answer.evidence


def refusal(answer: ToolAnswer) -> str:
    assert answer.error is not None and answer.rows == () and answer.evidence is None
    return answer.error.code


def diagnosis_with(*evidence: Evidence) -> Diagnosis:
    whole = Diagnosis(localizer="test", incident=contracts.ordinary().incident, evidence=evidence)
    return msgspec.json.decode(msgspec.json.encode(whole), type=Diagnosis)


def test_every_tool_is_asked_here() -> None:
    assert {tool for tool, _ in ASKED} | {"hop", "before_failure"} >= set(plugins.names("tool"))
    assert len(plugins.names("tool")) >= 10


@pytest.mark.parametrize(("tool", "args"), ASKED)
def test_the_evidence_of_an_answer_holds_under_recheck_on_the_same_telemetry_alone(
    tool: str, args: dict[str, Any]
) -> None:
    diagnosis = diagnosis_with(fact(ask(tool, **args)))
    same = contracts.Situation("shuffled", rows_permuted(contracts.ordinary().telemetry, seed=7)).shared_view
    assert [item.why for item in recheck(diagnosis, same) if not item.holds] == []
    if tool != "topology":  # whom a service calls stays as it was when nothing goes wrong
        assert not recheck(diagnosis, contracts.quiet().shared_view)[0].holds
    other = contracts.Situation("another draw", shop(seed=3, requests=90)).shared_view
    assert tool in ("changes", "alerts") or not recheck(diagnosis, other)[0].holds


def test_a_tool_and_a_channel_of_one_name_are_told_apart_under_recheck() -> None:
    view = contracts.ordinary().shared_view
    channel = plugins.create("channel", "changes").observe(view).findings[0]
    assert "rows" in fact(ask("changes")).result and "rows" not in plugins.create("channel", "changes").measure(
        view, **channel.args
    )
    assert recheck(diagnosis_with(fact(ask("changes"))), view)[0].holds


def test_evidence_of_the_same_windows_is_run_again_on_one_view(monkeypatch: pytest.MonkeyPatch) -> None:
    """What tools compute for a view is kept with it; a view for each piece of evidence would compute it each time."""
    seen: list[View] = []
    for name in ("Overview", "Compare"):
        tool = plugins.find("tool", name.lower()).factory
        monkeypatch.setattr(tool, "measure", lambda _, view, **args: seen.append(view) or {})
    recheck(diagnosis_with(fact(ask("overview")), fact(ask("compare", component="orders"))), contracts.quiet().view())
    assert len(seen) == 2 and seen[0] is seen[1]


def test_the_overview_puts_the_troubled_ones_first_and_knows_nodes() -> None:
    answer = ask("overview")
    assert {row["name"] for row in answer.rows} == {"gateway", "basket", "orders", "stock", "prices", "storedb"}
    trouble = {row["name"]: row["trouble"] for row in answer.rows}
    assert min(trouble[name] for name in ("orders", "prices", "storedb")) > 10 * trouble["stock"]
    assert answer.rows[-1]["name"] == "stock"
    hosts = ask("overview", contracts.host_trouble().shared_view, of="nodes")
    assert hosts.rows[0]["name"] == "host-c"


def test_a_trace_is_read_from_the_top_down_to_where_its_time_went() -> None:
    top = ask("trace_children", service="gateway")
    assert top.rows[0]["role"] == "self" and top.rows[0]["duration_ms"] > 2 * top.rows[0]["usual_ms"]
    assert fact(top).polarity == "against"
    worst = top.rows[1]
    assert worst["to"] == "prices" and worst["operation"] == "call Quote"
    below = ask("trace_children", span=worst["span"])
    assert below.rows[0]["span"] == worst["span"] and below.rows[1]["service"] == "prices"
    last = ask("trace_children", span=below.rows[1]["span"])
    assert fact(last).polarity == "for" and fact(last).about.name == "prices" and fact(last).strength > 0.25


def test_time_in_spans_that_do_not_leave_the_service_is_its_own() -> None:
    whole = contracts.ordinary().telemetry
    columns = {name: whole.spans[name].to_pylist() for name in ("service", "kind", "name", "peer", "instance")}
    for row, (service, name) in enumerate(zip(columns["service"], columns["name"], strict=True)):
        if service == "prices" or name == "call Quote":  # as if prices were a part of the gateway
            columns["service"][row], columns["kind"][row], columns["peer"][row] = "gateway", "internal", None
            columns["instance"][row] = "gateway-1"
    one = Telemetry(spans=replaced(whole.spans, **columns))
    found = fact(ask("trace_children", contracts.Situation("one process", one).shared_view, service="gateway"))
    usual = fact(ask("trace_children", service="gateway"))  # less than one ms of it
    spent = [re.search(r"; ([\d.]+) ms of the extra time is its own", fact.claim.text) for fact in (found, usual)]
    assert spent[0] is not None and float(spent[0][1]) > 40.0 and spent[1] is None


def test_a_movement_that_all_components_share_says_little_of_any() -> None:
    calm = contracts.quiet().telemetry.metrics
    name, service, value = (calm[column].to_pylist() for column in ("name", "service", "value"))
    now = [time >= contracts.quiet().window.start_ns for time in calm["time"].cast("int64").to_pylist()]

    def strength(*struck: str) -> float:
        raised = [
            4 * value[row] if now[row] and service[row] in struck and name[row] == "container_cpu_usage_percent"
            else value[row] for row in range(len(value))
        ]  # fmt: skip
        view = contracts.Situation("cpu", Telemetry(metrics=replaced(calm, value=raised))).shared_view
        return fact(ask("metric_anomalies", view, component="stock")).strength

    assert strength("stock") > 0.3 and strength("gateway", "basket", "orders", "stock", "prices") < 0.1


def test_a_failed_request_speaks_for_the_service_below_which_nothing_failed() -> None:
    assert fact(ask("trace_children", service="gateway", which="failed")).polarity == "against"
    assert fact(ask("trace_children", service="orders", which="failed", operation="Place")).polarity == "for"
    assert refusal(ask("trace_children", service="stock", which="failed")) == "no_such_trace"


def test_own_time_is_laid_on_the_service_that_spends_it() -> None:
    slow = ask("span_self_time", service="prices")
    assert fact(slow).polarity == "for" and fact(slow).strength > 0.8
    assert slow.rows[0]["operation"] == "Quote" and slow.rows[0]["share_of_extra"] > 0.9
    assert fact(ask("span_self_time", service="basket")).polarity == "against"
    failing = fact(ask("span_self_time", service="orders"))
    assert failing.polarity == "for" and "55 % of the requests of orders fail with nothing failing below" in (
        failing.claim.text
    )


def test_metrics_that_moved_come_most_telling_first_and_steady_ones_clear() -> None:
    moved = ask("metric_anomalies", component="stock-1")
    assert [row["metric"] for row in moved.rows] == ["container_cpu_usage_percent"]
    assert fact(moved).claim.text.startswith("container_cpu_usage_percent of stock-1 went from 20 % to 80 %")
    orders = ask("metric_anomalies", component="orders")
    assert [row["belief"] for row in orders.rows] == sorted((row["belief"] for row in orders.rows), reverse=True)
    steady = ask("metric_anomalies", contracts.quiet().shared_view, component="orders")
    assert steady.rows == () and fact(steady).polarity == "against" and fact(steady).strength > 0


def test_log_templates_tell_what_is_new_with_its_severity() -> None:
    answer = ask("log_templates", component="orders")
    assert (answer.rows[0]["change"], answer.rows[0]["severity"]) == ("new", "error")
    assert "NullPointerException" in answer.rows[0]["template"]
    assert len(ask("log_templates", component="orders", least="error").rows) < len(answer.rows)
    assert fact(ask("log_templates", component="prices")).polarity == "against"


def test_changes_and_alerts_tell_when_and_of_whom() -> None:
    deploy = ask("changes")
    assert [(row["kind"], row["service"], row["after_onset_s"]) for row in deploy.rows] == [("deploy", "orders", -60.0)]
    assert fact(deploy).claim.text == "deploy of orders 60 s before the onset: it happened"
    assert fact(ask("changes", service="prices")).polarity == "against"
    assert ask("changes", within_s=30.0).rows == ()
    alerts = ask("alerts")
    assert [(row["service"], row["incident_alerts"]) for row in alerts.rows] == [("orders", 2), ("gateway", 1)]


def test_compare_finds_the_one_instance_that_differs() -> None:
    answer = ask("compare", contracts.host_trouble().shared_view, component="host-c", against="peers")
    assert answer.rows[0]["name"] == "host-c" and fact(answer).polarity == "for" and fact(answer).strength > 0.2
    again = ask("compare", contracts.host_trouble().shared_view, component="stock", against="instances")
    assert again.rows[0]["name"] == "stock-2" and fact(again).about.name == "stock-2"
    assert fact(ask("compare", component="stock")).polarity == "against"


def test_a_link_carries_trouble_where_bad_requests_hold_bad_calls() -> None:
    carried = ask("link", caller="basket", callee="storedb")
    assert fact(carried).polarity == "for" and fact(carried).strength > 0.9
    assert fact(carried).about.name == "basket → storedb"
    clean = fact(ask("link", caller="orders", callee="stock"))
    assert clean.polarity == "against"
    rows = {row["measure"]: row for row in carried.rows}
    assert rows["calls"]["incident"] == 42 and rows["trouble of the calls since"]["incident"] is not None
    assert refusal(ask("link", caller="stock", callee="gateway")) == "no_data"


@pytest.mark.parametrize("kept", [5, 1])
def test_a_caller_that_records_nothing_is_spoken_for_where_its_requests_stay_away(kept: int) -> None:
    """Every `kept`-th request of the incident comes; the gateway records none of its calls."""
    whole = shop(trouble="none", requests=600)
    spans = whole.spans.filter(pc.invert(pc.equal(pc.cast(whole.spans["service"], pa.string()), "gateway")))
    late = pc.greater_equal(pc.cast(spans["time"], pa.int64()), ONSET_NS).to_numpy()
    codes = pc.cast(spans["trace_id"], pa.string()).dictionary_encode().combine_chunks().indices.to_numpy()
    spans = spans.filter(pa.array(~late | (codes % kept == 0)))
    view = contracts.Situation("silent", dataclasses.replace(whole, spans=spans)).shared_view
    found = fact(ask("topology", view, service="basket"))
    rows = {row["name"]: row for row in ask("topology", view, service="basket").rows}
    if kept == 1:
        assert found.strength == 0.0 and found.about.name == "basket" and "lost" not in rows["gateway"]
        return
    assert found.about.name == "gateway" and found.polarity == "for"
    assert 0.7 < rows["gateway"]["lost"] < 0.9 and found.strength == pytest.approx(
        0.5 * rows["gateway"]["lost"], abs=1e-3
    )
    assert "lost" not in rows["storedb"] and fact(ask("topology", view, service="stock")).strength == 0.0
    held = Diagnosis(localizer="test", incident=contracts.ordinary().incident, evidence=(found,))
    assert [item.holds for item in recheck(held, view)] == [True]


def test_an_unknown_name_is_refused_with_the_nearest_ones() -> None:
    for tool, field in (("topology", "service"), ("compare", "component"), ("span_self_time", "service")):
        answer = ask(tool, **{field: "order-service"})
        assert refusal(answer).startswith("unknown_") and answer.error is not None
    assert "orders" in (ask("compare", component="Orders v2").error or pytest.fail()).instruction


def test_an_empty_window_missing_tables_and_unknown_tools_have_codes_of_their_own() -> None:
    whole = contracts.ordinary()
    late = contracts.Situation("late", whole.telemetry, incident=whole.window.shifted(7200)).shared_view
    assert refusal(ask("span_self_time", late, service="orders")) == "empty_window"
    mesh = contracts.mesh_trouble().shared_view
    assert refusal(ask("trace_children", mesh, service="orders")) == "no_data"
    assert refusal(ask("changes", mesh)) == "no_data"
    assert refusal(ask("finish")) == "unknown_tool"
    assert refusal(ask("topology", servce="orders")) == "bad_arguments"
    assert refusal(ask("trace_children")) == "bad_arguments"
    assert refusal(ask("trace_children", span="no/such")) == "unknown_span"


def test_a_name_that_an_answer_cut_still_finds_what_it_means() -> None:
    names = ["a" * 500 + "x", "b" * 500, "b" * 500 + "y"]
    assert known_as(cut(names[0]), names) == names[0]
    assert known_as(cut(names[1]), names) is None  # two begin like it
    assert known_as("a", names) is None
    assert nearest("orders GET /api", ["orders", "stock"]) == ["orders"]


def test_texts_of_the_telemetry_stay_short_and_on_one_line() -> None:
    assert said("a\nb\x1b[2J\u202ec", 80) == "a b [2J c" and len(said("x" * 10_000)) == 80
    view = contracts.Situation("bodies", contracts.awkward()[0].telemetry).shared_view
    assert refusal(ask("log_templates", view, component="x")) == "no_data"
    for tool, args in ASKED:
        answer = ask(tool, **args)
        assert len(answer.rows) <= MOST_ROWS == answer.limit
        texts = [value for row in answer.rows for value in row.values() if isinstance(value, str)]
        assert max(map(len, texts), default=0) <= MOST_TEXT


def test_more_rows_than_the_limit_are_cut_and_said_to_be() -> None:
    from aetia.lab.sim.suites import generate
    from aetia.lab.sim.system import make_system

    case, telemetry = next(generate(1, [make_system(30, 3)], 11, faults=["exception"], two_roots=0.0))
    assert case.incident is not None and case.baseline is not None
    view = contracts.Situation("large", telemetry, baseline=(case.baseline,), incident=case.incident).shared_view
    answer = ask("overview", view)
    assert len(answer.rows) == MOST_ROWS and answer.truncated
    assert answer.rows[0]["name"] == (case.truth or pytest.fail())[0].service


def test_calls_that_came_back_too_soon_in_failing_requests_speak_for_the_callee() -> None:
    view = contracts.early_answer().shared_view
    answer = ask("before_failure", view, service="orders")
    assert fact(answer).about.service == "stock"
    assert answer.rows[0]["sooner"] > 0.9
    assert answer.rows[0]["failed_p50_ms"] < 0.5 * answer.rows[0]["healthy_p50_ms"]
    assert fact(answer).strength > 0.8
    # gateway fails in the same requests, and its call failed: that is no riddle.
    assert ask("before_failure", view, service="gateway").rows == ()


def test_the_workload_tells_who_is_asked_less() -> None:
    view = contracts.ordinary().shared_view
    answer = ask("workload", view, service="orders")
    assert [row["name"] for row in answer.rows] == ["orders", "stock"]
    assert fact(answer).about.service == "stock"
    assert answer.rows[1]["lost"] > answer.rows[0]["lost"]
    of = ask("workload", view, service="stock", of="callers")
    assert [row["name"] for row in of.rows] == ["stock", "orders"]
