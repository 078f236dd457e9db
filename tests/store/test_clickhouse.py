"""ClickHouse answers as any store does: the exporter's tables in chDB, the battery of questions, and HTTP."""

from __future__ import annotations

import functools
import json
import operator
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from battery import CHECKS, EMPTY_CHECKS, Check
from stored_samples import NASTY, WINDOW, Sample, Tables, edge_tables, empty, simulated_tables

pytest.importorskip("chdb", reason="chdb (ClickHouse in process) is not installed")

from clickhouse_server import Served, clickhouse_server
from clickhouse_tables import TABLES, Chdb, carried, exporter_rows, metric_rows

from aetia.ingest import values
from aetia.ingest.otel_clickhouse import OtelClickHouseReader
from aetia.model.errors import StoreError
from aetia.model.patience import PATIENCE, Patience
from aetia.model.stored import SIGNALS
from aetia.model.window import Window
from aetia.store import _clickhouse_schema as ch
from aetia.store._clickhouse_http import http_address
from aetia.store.backend import Filter, Selection
from aetia.store.clickhouse import ClickHouseBackend, clickhouse_backend, http_executor
from plainly import rows


@functools.cache
def carried_sample(*, named: bool = True) -> Sample:
    """A smaller sample than the embedded store is asked about: hundreds of different statements are planned anew."""
    simulated, edges = simulated_tables(rate=1.5, services=6), edge_tables()
    tables: Tables = {
        signal: pa.concat_tables([simulated[signal], edges[signal]]).unify_dictionaries() for signal in SIGNALS
    }
    return carried(Sample(tables, WINDOW), named=named)


@pytest.fixture(scope="module")
def engine() -> Iterator[Chdb]:
    engine = Chdb()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def filled(engine: Chdb) -> ClickHouseBackend:
    return engine.backend("filled", carried_sample().tables)


@pytest.fixture(scope="module")
def unnamed(engine: Chdb) -> ClickHouseBackend:
    return engine.backend("unnamed", carried_sample(named=False).tables)


@pytest.fixture(scope="module")
def bare(engine: Chdb) -> ClickHouseBackend:
    return engine.backend("bare", empty().tables)


@pytest.fixture(scope="module")
def without_tables(engine: Chdb) -> ClickHouseBackend:
    engine.create("nothing", {}, ())
    return ClickHouseBackend(engine.executor("nothing"))


def _name(check: Any) -> str:
    return check.__name__


@pytest.mark.parametrize("check", CHECKS, ids=_name)
def test_it_answers_as_a_plain_reading_of_the_rows(check: Check, filled: ClickHouseBackend) -> None:
    check(filled, carried_sample())


ABOUT_SERVICES = [
    check
    for check in CHECKS
    if check.__name__
    in (
        "services_have_their_requests",
        "shapes_of_lines_are_counted",
        "metrics_are_listed",
        "the_topology_has_every_call_once",
    )
]


@pytest.mark.parametrize("check", ABOUT_SERVICES, ids=_name)
def test_rows_without_a_service_are_those_of_their_resource(check: Check, unnamed: ClickHouseBackend) -> None:
    check(unnamed, carried_sample(named=False))


@pytest.mark.parametrize("check", EMPTY_CHECKS, ids=_name)
def test_empty_tables_give_empty_answers(check: Check, bare: ClickHouseBackend) -> None:
    check(bare, empty())


@pytest.mark.parametrize("check", EMPTY_CHECKS, ids=_name)
def test_missing_tables_give_empty_answers(check: Check, without_tables: ClickHouseBackend) -> None:
    check(without_tables, empty())


# ---- over HTTP --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(engine: Chdb, filled: ClickHouseBackend) -> Iterator[Served]:
    del filled
    with clickhouse_server(engine) as running:
        yield running


@pytest.fixture(autouse=True)
def fresh(request: pytest.FixtureRequest) -> None:
    if "served" in request.fixturenames:
        running: Served = request.getfixturevalue("served")
        running.asked.clear()
        running.headers.clear()
        running.answer, running.account_is_readonly = None, False


NASTY_ONLY = (Filter(field=NASTY, value=NASTY), Filter(field="name", op="contains", value="\\ % _"))


def test_http_gives_the_same_answers(served: Served, filled: ClickHouseBackend) -> None:
    over_http = clickhouse_backend(f"clickhouse://{served.url}/filled")
    window = carried_sample().window
    assert over_http.services(window) == filled.services(window)
    assert over_http.traces(window, filters=NASTY_ONLY) == filled.traces(window, filters=NASTY_ONLY)
    assert over_http.traces(window, filters=NASTY_ONLY).rows[0].service == NASTY
    assert over_http.telemetry(window).spans.equals(filled.telemetry(window).spans)


def test_every_statement_carries_limits_and_credentials_and_no_value(served: Served) -> None:
    backend = clickhouse_backend(f"clickhouse://the%20user:s%3Acret@{served.url}/filled", seconds=7.0)
    backend.traces(carried_sample().window, filters=NASTY_ONLY)
    for asked, headers in zip(served.asked, served.headers, strict=True):
        assert (asked["readonly"], asked["max_execution_time"], asked["max_result_rows"]) == ("1", "7", "5000000")
        assert asked["database"] == "filled" and asked["cancel_http_readonly_queries_on_client_close"] == "1"
        assert (headers["x-clickhouse-user"], headers["x-clickhouse-key"]) == ("the user", "s:cret")
        assert "DROP TABLE" not in asked["sql"] and "s:cret" not in str(asked)
    assert served.asked[-1]["param_k0"] == NASTY.replace("\\", "\\\\")


def test_a_statement_has_the_time_that_its_asker_still_waits(served: Served) -> None:
    execute = http_executor(f"http://{served.url}/", seconds=30.0)
    for seconds, least, most in ((5.0, 1.0, 5.0), (99.0, 30.0, 30.0)):
        token = PATIENCE.set(Patience(seconds))
        execute("SELECT 1", {})
        PATIENCE.reset(token)
        assert least <= float(served.asked[-1]["max_execution_time"]) <= most


def test_an_error_is_the_first_line_of_the_server(served: Served) -> None:
    execute = http_executor(f"http://{served.url}/", password="hidden", user="me", database="filled")
    with pytest.raises(
        StoreError, match=r"^ClickHouse at http://127.0.0.1:\d+/: Code: 60\. .*UNKNOWN_TABLE\)\.$"
    ) as said:
        execute("SELECT * FROM no_such_table", {})
    assert "version" not in str(said.value) and "hidden" not in str(said.value)


def test_an_account_that_is_readonly_already_is_asked_without_settings(served: Served) -> None:
    served.account_is_readonly = True
    backend = clickhouse_backend(f"clickhouse://{served.url}/filled")
    assert backend.services(carried_sample().window)
    with_settings = ["max_execution_time" in asked for asked in served.asked]
    assert with_settings[0] and not any(with_settings[1:])


def test_what_is_no_arrow_stream_is_an_error(served: Served) -> None:
    served.answer = (200, b"<html>a proxy</html>")
    with pytest.raises(StoreError, match="something else than Arrow"):
        http_executor(f"http://{served.url}/")("SELECT 1", {})


def test_a_server_that_is_not_there_is_an_error() -> None:
    with pytest.raises(StoreError, match="takes no connection"):
        clickhouse_backend("clickhouse://127.0.0.1:1/x").extents()


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("clickhouse://host", ("http://host:8123/", "", "", "default")),
        ("clickhouses://me:p%40ss@host:1/db", ("https://host:1/", "me", "p@ss", "db")),
        ("clickhouse://[::1]:9/otel/", ("http://[::1]:9/", "", "", "otel")),
    ],
)
def test_urls_are_read(url: str, address: tuple[str, str, str, str]) -> None:
    assert http_address(url) == address


@pytest.mark.parametrize(
    "url", ["http://host", "clickhouse:///db", "clickhouse://h:x/db", "clickhouse://h/a/b", "clickhouse://h/a?b=1"]
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(StoreError, match="write clickhouse://"):
        http_address(url)


# ---- the exporter's own forms -----------------------------------------------------------------------------


def test_partitions_outside_of_the_window_are_not_read(engine: Chdb, filled: ClickHouseBackend) -> None:
    window = carried_sample().window
    statements: list[tuple[str, Any]] = []
    execute = engine.executor("filled")

    def noting(sql: str, params: Any) -> Any:
        statements.append((sql, params))
        return execute(sql, params)

    backend = ClickHouseBackend(noting)
    asked: list[Callable[[], object]] = [
        lambda: backend.services(window), lambda: backend.red(window, 10**10), lambda: backend.traces(window),
        lambda: backend.logs(window), lambda: backend.metric_names(window), lambda: backend.changes(window),
        lambda: backend.trace(filled.traces(window, limit=1).rows[0].trace_id), lambda: backend.cohorts(Selection(window=window)),
    ]  # fmt: skip
    for ask in asked:
        ask()
        sql, params = statements[-1]
        plan = "\n".join(execute(f"EXPLAIN indexes = 1 {sql}", params)["explain"].to_pylist())
        pruned = re.findall(r"Min-Max[\s│]+Keys:[\s│]+(?:Timestamp|TimestampTime|TimeUnix)[\s│]+Condition: [^t]", plan)
        assert len(pruned) == len(re.findall(r"(?<!Lazily)ReadFromMergeTree", plan)) > 0, plan


def test_words_are_read_as_the_readers_do(engine: Chdb) -> None:
    execute = engine.executor("default")

    def sql(expression: str, column: str, texts: list[str]) -> list[str]:
        statement = f"SELECT {expression} AS said FROM (SELECT arrayJoin({{texts:Array(String)}}) AS {column})"
        return [text or None for text in execute(statement, {"texts": texts})["said"].to_pylist()]

    def read(function: Callable[[Any], Any], texts: list[str]) -> list[str | None]:
        return function(pa.chunked_array([pa.array(texts, pa.string())])).cast(pa.string()).to_pylist()

    codes = ["200", "200.0", "HTTP 404 Not Found", "HTTP/1.1 503 Gone", "Unavailable", "DEADLINE_EXCEEDED", "007", "0", "",
             "1234", "nonsense", "Status: 5", "12 ms", "Canceled"]  # fmt: skip
    assert sql(ch.status_code("raw"), "raw", codes) == read(values.status_code, codes)
    kinds = [
        "Server",
        "SPAN_KIND_CLIENT",
        "producer",
        "CONSUMER",
        "2",
        "1",
        "Internal",
        "Unspecified",
        "",
        "SPAN_KIND_UNSPECIFIED",
    ]
    assert sql(ch.span_kind("k"), "k", kinds) == read(values.span_kind, kinds)
    states = ["Error", "STATUS_CODE_ERROR", "Ok", "STATUS_CODE_OK", "Unset", "2", "1", "0", "", "failed", "true", "odd"]
    assert sql(ch.span_status("s"), "s", states) == read(values.span_status, states)
    levels = [*values.SEVERITY_WORDS, "ERROR", "Warn2", "[info]", "", "nothing", "FATAL4", "Critical"]
    schema = ch.Schema({ch.LOGS: {}})
    assert sql(ch.severity(schema), "SeverityText", levels) == [values.severity_of(level) for level in levels]


def test_numbers_give_the_severity_where_the_text_does_not(engine: Chdb) -> None:
    schema = ch.Schema({ch.LOGS: {"SeverityNumber": "UInt8"}})
    statement = f"SELECT {ch.severity(schema)} AS said FROM (SELECT arrayJoin(['', 'odd', 'debug']) AS SeverityText, 17 AS SeverityNumber)"
    assert engine.executor("default")(statement, {})["said"].to_pylist() == ["error", "error", "debug"]


def test_metrics_of_every_kind_are_the_points_that_the_reader_makes(engine: Chdb, tmp_path: Path) -> None:
    content_of = metric_rows()
    engine.create("kinds")
    for table, content in content_of.items():
        engine.insert(table, content)
    backend = ClickHouseBackend(engine.executor("kinds"))
    window, step_ns = Window(1_760_000_000_000_000_000, 1_760_000_100_000_000_000), 10**12
    expected: list[dict[str, Any]] = []
    for table, content in content_of.items():
        pq.write_table(content, tmp_path / f"{table}.parquet")
        expected += rows(OtelClickHouseReader().read_file(tmp_path / f"{table}.parquet", full=True).metrics)
    got = rows(backend.telemetry(window).metrics)
    key = operator.itemgetter("name", "time", "attributes")

    def sortable(row: dict[str, Any]) -> Any:
        return tuple(str(part) for part in key(row))

    assert len(got) == len(expected) == backend.extents()[2].rows
    for one, other in zip(sorted(got, key=sortable), sorted(expected, key=sortable), strict=True):
        assert one == other | {"value": pytest.approx(other["value"])}
    buckets = backend.metric(window, "took_bucket", step_ns=step_ns, aggregate="last")
    assert [json.loads(series.labels or "{}")["le"] for series in buckets] == ["+Inf", "0.5", "1"]
    assert [series.values[-1] for series in buckets] == [6.0, 1.0, 3.0]
    assert backend.metric(window, "pause", step_ns=step_ns)[0].values[-1] == 0.25
    assert {row.name: row.type for row in backend.metric_names(window)} == {
        "took_count": "counter", "took_sum": "counter", "took_bucket": "histogram", "size_count": "counter",
        "size_sum": "counter", "size_bucket": "histogram", "pause_count": "counter", "pause_sum": "counter",
        "pause": "gauge", "free": "gauge", "odd_count": "counter", "odd_sum": "counter",
    }  # fmt: skip


def test_older_tables_lack_columns_and_still_answer(engine: Chdb) -> None:
    older = {
        "otel_traces": TABLES["otel_traces"].replace("ScopeName String, ScopeVersion String,", ""),
        "otel_logs": TABLES["otel_logs"]
        .replace("TimestampTime DateTime DEFAULT toDateTime(Timestamp), ", "")
        .replace("toDate(TimestampTime) PRIMARY KEY (ServiceName, TimestampTime)", "toDate(Timestamp)")
        .replace("(ServiceName, TimestampTime, Timestamp)", "(ServiceName, Timestamp)"),
        "otel_metrics_gauge": TABLES["otel_metrics_gauge"].replace("TimeUnix DateTime64(9), Flags", "TimeUnix DateTime, Flags")
        .replace("toUnixTimestamp64Nano(TimeUnix)", "TimeUnix"),
    }  # fmt: skip
    engine.create("older", older, ())
    for name, table in exporter_rows(carried_sample().tables).items():
        if name in older:
            kept = [column for column in table.column_names if column != "ScopeName" or name != "otel_traces"]
            engine.insert(name, table.select(kept))
    backend, window = ClickHouseBackend(engine.executor("older")), carried_sample().window
    assert backend.services(window) and backend.logs(window).rows and backend.metric_names(window)
    trace = backend.traces(window, limit=1).rows[0]
    assert backend.trace(trace.trace_id).total == trace.spans
    assert backend.changes(window) == ()


def test_attributes_as_json_columns_are_refused(engine: Chdb) -> None:
    columns = TABLES["otel_traces"].replace("Map(LowCardinality(String), String)", "JSON")
    engine.create("json", {"otel_traces": columns}, ())
    engine.query("INSERT INTO otel_traces (Timestamp, ServiceName) VALUES (1, 'a')")
    with pytest.raises(StoreError, match="map columns"):
        ClickHouseBackend(engine.executor("json")).services(carried_sample().window)


def test_bytes_that_are_no_text_are_replaced(engine: Chdb) -> None:
    engine.create("bytes")
    engine.query(
        "INSERT INTO otel_traces (Timestamp, TraceId, SpanId, SpanName, ServiceName, SpanAttributes) "
        "VALUES (1760000050, 'a', 'b', unhex('41FF'), 'shop', map('k', unhex('C3')))"
    )
    backend = ClickHouseBackend(engine.executor("bytes"))
    (span,) = backend.trace("a").rows
    assert (span.name, span.attributes) == ("A\ufffd", {"k": "\ufffd"})
    assert backend.operations(WINDOW)[0].name == "A\ufffd"
    assert backend.telemetry(WINDOW).spans["name"].to_pylist() == ["A\ufffd"]
