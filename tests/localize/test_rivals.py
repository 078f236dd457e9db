"""Every rival finds its own kind of fault in a small shop, and is silent or wrong-footed by none of the others."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from aetia.localize.localizer import Localization
from aetia.model.diagnosis import Incident
from aetia.model.tables import LOGS, METRICS, SPANS, Telemetry
from aetia.model.window import Window
from aetia.plugins import create
from aetia.signals.view import Facts, View

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
BASELINE = Window(START, START + 200 * SECOND)
INCIDENT = Window(START + 200 * SECOND, START + 300 * SECOND)
SERVICES = ("web", "cart", "price", "stock")
RIVALS = (
    "baro", "error_logs", "exclusive_time", "log_novelty", "microrank", "nsigma", "pagerank", "random", "shapleyiq",
    "simplerca", "tracerca",
)  # fmt: skip
BY_SPANS = ("exclusive_time", "microrank", "shapleyiq", "tracerca")


def table(schema: pa.Schema, **columns: object) -> pa.Table:
    rows = len(next(iter(columns.values())))  # type: ignore[arg-type]
    data = {name: columns.get(name, [None] * rows) for name in schema.names}
    return pa.table({name: pa.array(values, schema.field(name).type) for name, values in data.items()}, schema=schema)


def spans(slow: str | None = None, failing: str | None = None, seed: int = 0) -> pa.Table:
    """600 traces web → cart → price and web → stock; `slow` takes 80 ms more of its own in the incident.

    Half of the incident's traces never meet `stock`, so that a slow stock leaves normal traces behind.
    """
    rng = np.random.default_rng(seed)
    rows: dict[str, list[object]] = {
        name: []
        for name in (
            "time",
            "trace_id",
            "span_id",
            "parent_span_id",
            "service",
            "name",
            "kind",
            "duration_ns",
            "status",
        )
    }
    for k in range(600):
        begin = START + k * SECOND // 2
        now = begin >= INCIDENT.start_ns
        own = {s: float(rng.uniform(4, 6)) + (80.0 if now and s == slow else 0.0) for s in SERVICES}
        with_stock = k % 2 == 0
        cart = own["cart"] + own["price"]
        total = own["web"] + cart + (own["stock"] if with_stock else 0.0)
        part = [("web", "", 0.0, total), ("cart", "web", 2.0, cart), ("price", "cart", 3.0, own["price"])]
        if with_stock:
            part.append(("stock", "web", 2.0 + cart, own["stock"]))
        for service, parent, offset, took in part:
            values = (
                begin + int(offset * 1e6), f"{k:032x}", f"{k:08x}{service}", f"{k:08x}{parent}" if parent else None, service,
                f"serve {service}", "server", int(took * 1e6), "error" if now and service == failing else "ok",
            )  # fmt: skip
            for column, value in zip(rows.values(), values, strict=True):
                column.append(value)
    return table(SPANS, **rows)


def logs(loud: str, body: str = "cannot open the drawer", severity: str = "ERROR", again: bool = False) -> pa.Table:
    """Every service says hello each second; `loud` also prints `body` in the incident (and, `again`, sometimes before)."""
    time, service, text, level = [], [], [], []
    for second in range(300):
        for s in SERVICES:
            time.append(START + second * SECOND)
            service.append(s)
            text.append("hello there")
            level.append("INFO")
        if second >= 200 or (again and second % 20 == 0):
            time.append(START + second * SECOND + 1)
            service.append(loud)
            text.append(body)
            level.append(severity)
    return table(LOGS, time=time, service=service, body=text, severity=level)


def metrics(hot: str, name: str = "cpu_usage_percent", factor: float = 4.0, seed: int = 0) -> pa.Table:
    """CPU and memory of every service each 10 s; one metric of `hot` rises in the incident."""
    rng = np.random.default_rng(seed)
    time, names, value, service = [], [], [], []
    for second in range(0, 300, 10):
        for s in SERVICES:
            for metric in ("cpu_usage_percent", "memory_usage_percent"):
                up = factor if second >= 200 and s == hot and metric == name else 1.0
                time.append(START + second * SECOND)
                names.append(metric)
                value.append(float(rng.normal(20, 0.5)) * up)
                service.append(s)
    return table(
        METRICS, time=time, name=names, value=value, service=service, type=["gauge"] * len(time), unit=["%"] * len(time)
    )


def view(**tables: pa.Table) -> View:
    return View(Facts(Telemetry(**tables)), (BASELINE,), INCIDENT)


def localize(name: str, of: View, seed: int = 0) -> Localization:
    incident = Incident(baseline=BASELINE, window=INCIDENT, onset_ns=INCIDENT.start_ns)
    return create("localizer", name).localize(of, incident, seed=seed)


def order(answer: Localization) -> list[str | None]:
    return [hypothesis.entity.service for hypothesis in answer.hypotheses]


@pytest.mark.parametrize("slow", ["cart", "price", "stock"])
@pytest.mark.parametrize("name", ["exclusive_time", "shapleyiq", "tracerca"])
def test_trace_rankers_find_the_service_that_takes_longer_itself(name: str, slow: str) -> None:
    assert order(localize(name, view(spans=spans(slow=slow))))[0] == slow


def test_microrank_finds_what_slow_traces_share_and_normal_ones_lack() -> None:
    assert order(localize("microrank", view(spans=spans(slow="stock"))))[0] == "stock"


def test_tracerca_finds_the_service_that_fails_without_being_slow() -> None:
    assert order(localize("tracerca", view(spans=spans(failing="price"))))[0] == "price"


@pytest.mark.parametrize("name", ["exclusive_time", "shapleyiq"])
def test_extra_time_is_measured_in_milliseconds_per_trace(name: str) -> None:
    first = localize(name, view(spans=spans(slow="cart"))).hypotheses[0]
    assert 78 < first.score < 82


def test_shapleyiq_ignores_a_changed_request_mix() -> None:
    # Only requests with stock in the incident, each as fast as ever, under an entry operation of their own.
    columns = {
        name: spans()[name].to_pylist()
        for name in ("trace_id", "span_id", "parent_span_id", "service", "name", "kind", "duration_ns", "status")
    }
    columns["time"] = spans()["time"].cast(pa.int64()).to_pylist()
    stocked = {t for t, s in zip(columns["trace_id"], columns["service"], strict=True) if s == "stock"}
    columns["name"] = [
        "stocked" if s == "web" and t in stocked else n
        for t, s, n in zip(columns["trace_id"], columns["service"], columns["name"], strict=True)
    ]
    kept = [
        t in stocked or time < INCIDENT.start_ns for t, time in zip(columns["trace_id"], columns["time"], strict=True)
    ]
    chosen = {name: [v for v, keep in zip(values, kept, strict=True) if keep] for name, values in columns.items()}
    mixed = view(spans=table(SPANS, **chosen))
    shap = localize("shapleyiq", mixed).hypotheses
    assert max((h.score for h in shap), default=0.0) < 0.3
    plain = {h.entity.service: h.score for h in localize("exclusive_time", mixed).hypotheses}
    assert plain["stock"] > 1.5


@pytest.mark.parametrize("name", ["nsigma", "baro", "simplerca"])
def test_metric_rankers_find_the_hot_service(name: str) -> None:
    assert order(localize(name, view(metrics=metrics("price"))))[0] == "price"


@pytest.mark.parametrize("name", ["nsigma", "baro"])
def test_metric_rankers_fall_back_on_the_latency_of_spans(name: str) -> None:
    assert order(localize(name, view(spans=spans(slow="price"))))[0] in {"price", "cart"}


def test_baro_counts_rises_only_and_nsigma_falls_too() -> None:
    fallen = view(metrics=metrics("price", factor=0.2))
    assert order(localize("nsigma", fallen))[0] == "price"
    assert order(localize("baro", fallen))[0] != "price"


def test_a_series_without_variation_counts_in_its_own_unit() -> None:
    flat = metrics("price")
    constant = flat.set_column(2, "value", pa.array([7.0] * len(flat)))
    assert localize("baro", view(metrics=constant)).abstained
    assert localize("nsigma", view(metrics=constant)).abstained


def test_pagerank_walks_to_the_anomalous_service() -> None:
    shop = view(spans=spans(slow="stock"), metrics=metrics("stock"))
    assert order(localize("pagerank", shop))[0] == "stock"


def test_error_logs_find_the_service_with_new_error_lines_whether_or_not_they_were_seen_before() -> None:
    for again in (False, True):
        assert order(localize("error_logs", view(logs=logs("cart", again=again)))) == ["cart"]


def test_log_novelty_wants_lines_that_were_never_printed_before() -> None:
    assert order(localize("log_novelty", view(logs=logs("cart", severity="INFO")))) == ["cart"]
    assert localize("log_novelty", view(logs=logs("cart", again=True))).abstained


def test_simplerca_trusts_metrics_before_traces_and_logs() -> None:
    both = view(metrics=metrics("price"), logs=logs("cart"), spans=spans(slow="stock"))
    assert order(localize("simplerca", both))[0] == "price"
    assert {"stock", "cart"} <= set(order(localize("simplerca", both)))


@pytest.mark.parametrize("name", ["error_logs", "log_novelty"])
def test_log_rankers_say_nothing_about_slow_spans(name: str) -> None:
    answer = localize(name, view(spans=spans(slow="price"), logs=logs("cart", body="hello there", severity="INFO")))
    assert answer.hypotheses == () and answer.abstained


@pytest.mark.parametrize("name", BY_SPANS)
def test_span_rankers_say_why_they_have_nothing_without_spans(name: str) -> None:
    answer = localize(name, view(logs=logs("cart"), metrics=metrics("price")))
    assert answer.hypotheses == () and "spans" in (answer.abstained or "")


@pytest.mark.parametrize("name", [name for name in RIVALS if name != "random"])
def test_nothing_in_means_nothing_out_with_a_reason(name: str) -> None:
    for empty in (view(), View(Facts(Telemetry(spans=spans())), (BASELINE,), Window(START - SECOND, START))):
        answer = localize(name, empty)
        assert answer.hypotheses == () and answer.abstained


def changed(rows: pa.Table, name: str, values: object) -> pa.Table:
    field = rows.schema.field(name)
    return rows.set_column(rows.schema.get_field_index(name), field, pa.array(values, field.type))


@pytest.mark.parametrize("name", RIVALS)
def test_spans_that_name_no_service_are_no_evidence_and_no_obstacle(name: str) -> None:
    nameless = changed(spans(slow="stock"), "service", [None] * len(spans()))
    answer = localize(name, view(spans=nameless))
    assert answer.hypotheses == () and answer.abstained
    with_others = localize(name, view(spans=nameless, logs=logs("cart"), metrics=metrics("stock")))
    assert bool(with_others.hypotheses) == (with_others.abstained is None)


@pytest.mark.parametrize("when", ["before", "now", "ever"])
@pytest.mark.parametrize("name", RIVALS)
def test_operations_that_take_no_time_are_no_obstacle(name: str, when: str) -> None:
    """Warnings are errors here, a division by a duration of zero among them."""
    rows = spans(slow="stock")
    begins = np.array(rows["time"].cast(pa.int64()).to_pylist())
    instant = {"before": begins < INCIDENT.start_ns, "now": begins >= INCIDENT.start_ns, "ever": begins > 0}[when]
    rows = changed(rows, "duration_ns", np.where(instant, 0, rows["duration_ns"].to_numpy()))
    answer = localize(name, view(spans=rows))
    assert bool(answer.hypotheses) == (answer.abstained is None)
    assert all(np.isfinite(hypothesis.score) for hypothesis in answer.hypotheses)


@pytest.mark.parametrize("name", RIVALS)
def test_answers_depend_neither_on_row_order_nor_on_the_run(name: str) -> None:
    tables = {"spans": spans(slow="price"), "logs": logs("cart"), "metrics": metrics("stock")}
    mixed = {k: t.take(np.random.default_rng(1).permutation(len(t))) for k, t in tables.items()}
    first, second = localize(name, view(**tables)), localize(name, view(**mixed))
    assert order(first) == order(second)
    assert [h.score for h in first.hypotheses] == pytest.approx([h.score for h in second.hypotheses])
    scores = [h.score for h in first.hypotheses]
    assert scores == sorted(scores, reverse=True) and min(scores) > 0


def test_random_ranks_every_service_and_is_uniform() -> None:
    of = view(spans=spans())
    firsts = [order(localize("random", of, seed))[0] for seed in range(400)]
    assert sorted(order(localize("random", of, 1))) == sorted(SERVICES)
    assert all(60 < firsts.count(service) < 140 for service in SERVICES)
