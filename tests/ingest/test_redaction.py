"""Secrets are taken out before telemetry is written; what merely looks like one stays."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from aetia.ingest.otlp_columns import Batch, decode
from aetia.ingest.redaction import PATTERNS, REDACTED, Pattern, Redactor, luhn
from aetia.model.errors import UsageError

T0 = 1_700_000_000_000_000_000
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.SflKxwRJSMeKKF2QT4fwpM"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----"
SECRETS = {
    f"Bearer {'a1' * 12}": f"Bearer {REDACTED}",
    "header: Basic dXNlcjpwYXNzd29yZA== sent": f"header: Basic {REDACTED} sent",
    f"token is {JWT}.": f"token is {REDACTED}.",
    "key AKIAIOSFODNN7EXAMPLE used": f"key {REDACTED} used",
    f"loaded {PEM} ok": f"loaded {REDACTED} ok",
    f"git clone with ghp_{'aB3' * 12}": f"git clone with {REDACTED}",
    "xoxb-123456789012-abcdef": REDACTED,
    "postgres://app:hunter2@db:5432/shop": f"postgres://app:{REDACTED}@db:5432/shop",
    "paid with 4111 1111 1111 1111 today": f"paid with {REDACTED} today",
    "4012888888881881": REDACTED,
    "amex 3782-822463-10005": f"amex {REDACTED}",
    "jdbc:mysql://db/x?user=a&password=hunter22&ssl=1": f"jdbc:mysql://db/x?user=a&password={REDACTED}&ssl=1",
    '{"client_secret": "abcdef123456"}': f'{{"client_secret": "{REDACTED}"}}',
}
HARMLESS = (
    "GET /api/orders/4111111111111112", "order 1760000000000000000", "basic authentication failed for user",
    "the bearer of this message", "5b8efff798038103d269b633813fc60c", "user@example.com wrote", "http://host:8080/path",
    "unexpected token: '}'", "key=42", "task-1234567890", "2025-10-07 00:20:57.123456", "1234-5678-9012", "keyboard",
    "eyJ", "-----BEGIN CERTIFICATE-----", "0.4111111111111111", "Asia/Tokyo is the zone",
)  # fmt: skip
SECRET_KEYS = (
    "password", "db.password", "userPassword", "client_secret", "access_token", "http.request.header.authorization",
    "http.request.header.cookie", "http.response.header.set-cookie", "x-api-key", "session.id", "private_key", "apiKey",
    "PHPSESSID", "aws_secret_access_key",
)  # fmt: skip
HARMLESS_KEYS = (
    "gen_ai.usage.input_tokens", "max_tokens", "http.route", "aws.secretsmanager.secret.arn", "token_type", "compass.heading",
    "authorization.type", "messaging.kafka.message.key", "tokenizer", "session.count", "bypass.rule", "secretary",
)  # fmt: skip


def request(kind: Any, outer: str, scopes: str, resource: dict[str, str] | None = None) -> tuple[Any, Any]:
    body = kind()
    group = getattr(body, outer).add()
    for key, value in {"service.name": "cart", **(resource or {})}.items():
        group.resource.attributes.add(key=key).value.string_value = value
    return body, getattr(group, scopes).add()


def spans(
    *attributes: Sequence[KeyValue], names: Sequence[str] = (), resource: dict[str, str] | None = None
) -> TracesData:
    body, scope = request(TracesData, "resource_spans", "scope_spans", resource)
    for number, some in enumerate(attributes):
        scope.spans.add(
            trace_id=b"t" * 16, span_id=number.to_bytes(8, "big")[:7] + b"s", start_time_unix_nano=T0,
            end_time_unix_nano=T0 + 1, name=names[number] if names else "GET /", attributes=some,
        )  # fmt: skip
    return body


def logs(*bodies: AnyValue) -> LogsData:
    body, scope = request(LogsData, "resource_logs", "scope_logs")
    for one in bodies:
        scope.log_records.add(time_unix_nano=T0, body=one)
    return body


def text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def written(signal: Any, body: Any, redactor: Redactor | None = None) -> tuple[Batch, Batch]:
    """What is answered at once, and what is read later from what was written."""
    batch = decode(signal, [body.SerializeToString()], redactor=redactor or Redactor())
    later = decode(signal, batch.bodies, full=True)
    assert later.table.select(batch.table.column_names).to_pylist() == batch.table.to_pylist()
    return batch, later


# ---- patterns ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", SECRETS)
def test_a_secret_in_a_text_is_replaced_and_the_rest_stays(value: str) -> None:
    assert Redactor().text(value) == SECRETS[value]


@pytest.mark.parametrize("value", HARMLESS)
def test_what_looks_like_a_secret_stays(value: str) -> None:
    assert Redactor().text(value) == value


@pytest.mark.parametrize("key", SECRET_KEYS)
def test_a_key_that_names_a_secret_is_known(key: str) -> None:
    assert Redactor().is_secret(key)


@pytest.mark.parametrize("key", HARMLESS_KEYS)
def test_a_key_that_speaks_of_secrets_without_holding_one_stays(key: str) -> None:
    assert not Redactor().is_secret(key)


def test_luhn_tells_card_numbers_from_others() -> None:
    assert luhn("4111 1111 1111 1111")
    assert not luhn("4111111111111112")
    assert not luhn("0000000000000000")


# ---- requests ---------------------------------------------------------------------------------------------


def test_the_vectors_find_what_the_expressions_find() -> None:
    values = [*SECRETS, *HARMLESS]
    _, later = written("spans", spans(*([text("note", value)] for value in values)))
    assert [dict(row)["note"] for row in later.table["attributes"].to_pylist()] == [*SECRETS.values(), *HARMLESS]
    batch, _ = written("logs", logs(*(AnyValue(string_value=value) for value in values)))
    assert batch.table["body"].to_pylist() == [*SECRETS.values(), *HARMLESS]


def test_secrets_end_nowhere_in_what_is_written() -> None:
    value = "AKIAIOSFODNN7EXAMPLE"
    body = spans([text("a", f"x {value}")], [text("password", "hunter2")], names=[f"run {value}", "GET /"],
                 resource={"note": value, "api_key": "hunter2"})  # fmt: skip
    span = body.resource_spans[0].scope_spans[0].spans[0]
    span.status.message = f"no access for {value}"
    span.events.add(
        name="exception", attributes=[text("exception.type", "E"), text("exception.message", f"with {value}")]
    )
    span.events.add(name="login", attributes=[text("password", "hunter2")])
    span.links.add(attributes=[text("token", "hunter2")])
    nested = AnyValue(kvlist_value={"values": [text("password", "hunter2"), text("list", value)]})
    span.attributes.append(KeyValue(key="nested", value=nested))
    body.resource_spans[0].scope_spans[0].scope.attributes.append(text("secret", "hunter2"))
    batch, later = written("spans", body)
    (raw,) = batch.bodies
    assert value.encode() not in raw
    assert b"hunter2" not in raw
    assert batch.table["name"].to_pylist() == [f"run {REDACTED}", "GET /"]
    assert batch.table["status_message"].to_pylist()[0] == f"no access for {REDACTED}"
    assert later.exceptions is not None
    assert later.exceptions["body"].to_pylist() == [f"E: with {REDACTED}"]
    assert batch.rejected == ((0, ""),)


@pytest.mark.parametrize("where", ["an unknown field", "an attribute beyond the limit", "the value of a long key"])
def test_a_secret_in_an_odd_place_of_an_event_is_not_written(where: str) -> None:
    body = spans([text("a", "b")], [text("a", "b")])
    span = body.resource_spans[0].scope_spans[0].spans[0]
    event = span.events.add(name="login")
    if where == "an unknown field":
        event.MergeFromString(b"\x7a\x14AKIAIOSFODNN7EXAMPLE")
    elif where == "an attribute beyond the limit":
        event.attributes.extend([*(text(f"k{n}", "v") for n in range(300)), text("password", "AKIAIOSFODNN7EXAMPLE")])
    else:
        event.attributes.append(text("k" * 2000, "AKIAIOSFODNN7EXAMPLE"))
    batch, _ = written("spans", body)
    assert b"AKIAIOSFODNN7EXAMPLE" not in batch.bodies[0]
    assert batch.rows == (2,)


def test_bodies_without_secrets_are_the_same_objects() -> None:
    raw = [spans([text("http.route", "/cart")]).SerializeToString() for _ in range(2)]
    assert all(one is two for one, two in zip(decode("spans", raw, redactor=Redactor()).bodies, raw, strict=True))


def test_only_the_body_with_a_secret_is_written_anew() -> None:
    raw = [spans([text("http.route", "/cart")]).SerializeToString(), spans([text("password", "x")]).SerializeToString()]
    found = decode("spans", raw, redactor=Redactor()).bodies
    assert found[0] is raw[0]
    assert found[1] != raw[1]


def test_labels_of_metrics_are_redacted() -> None:
    body, scope = request(MetricsData, "resource_metrics", "scope_metrics")
    metric = scope.metrics.add(name="requests")
    metric.gauge.data_points.add(
        time_unix_nano=T0, as_double=1, attributes=[text("token", "hunter2"), text("route", "/")]
    )
    batch, _ = written("metrics", body)
    assert batch.table["attributes"].to_pylist() == ['{"route":"/","token":"[redacted]"}']
    assert b"hunter2" not in batch.bodies[0]


def test_log_bodies_that_are_maps_are_redacted_by_key() -> None:
    value = AnyValue(kvlist_value={"values": [text("msg", "login"), text("password", "hunter2")]})
    batch, _ = written("logs", logs(value))
    assert batch.table["body"].to_pylist() == ['{"msg":"login","password":"[redacted]"}']


def test_what_is_rejected_or_beyond_the_limits_is_not_written() -> None:
    body = spans([text("a", "b")], [text(f"k{n}", "v") for n in range(300)])
    scope = body.resource_spans[0].scope_spans[0]
    scope.spans[1].attributes.append(text("password", "hunter2"))
    scope.spans.add(name="hunter2")
    batch, _ = written("spans", body)
    assert (batch.rows, batch.rejected[0][0]) == ((2,), 1)
    assert b"hunter2" not in batch.bodies[0]


def test_a_span_with_a_secret_that_cannot_be_read_is_left_out() -> None:
    secret = "AKIAIOSFODNN7EXAMPLE"
    raw = spans([], [text("a", "b")], names=[f"AAAA {secret}", "GET /"]).SerializeToString()
    batch = decode("spans", [raw.replace(b"AAAA", b"A\xffAA")], redactor=Redactor())
    assert (batch.rows, batch.rejected[0][0]) == ((1,), 1)
    assert "cannot be read" in batch.rejected[0][1]
    assert secret.encode() not in batch.bodies[0]


def test_a_secret_beside_text_that_is_no_utf8_is_replaced() -> None:
    raw = spans([text("password", "hunter2"), text("a", "AAAA")]).SerializeToString()
    batch = decode("spans", [raw.replace(b"AAAA", b"A\xffAA")], redactor=Redactor())
    assert (batch.rows, batch.rejected) == ((1,), ((0, ""),))
    later = decode("spans", batch.bodies, full=True).table["attributes"].to_pylist()
    assert later == [[("password", REDACTED), ("a", "A\ufffdAA")]]


# ---- against the plain way --------------------------------------------------------------------------------


TEXTS = (*SECRETS, *HARMLESS, "", "é" * 90, f"{'x' * 126} {JWT}", REDACTED)
KEYS = (*SECRET_KEYS, *HARMLESS_KEYS, "é" * 3)


def drawn_value(rng: random.Random, depth: int = 2) -> AnyValue:
    kind = rng.randrange(7 if depth else 4)
    if kind < 3:
        return AnyValue(string_value=rng.choice(TEXTS))
    if kind == 3:
        return rng.choice((AnyValue(), AnyValue(int_value=7), AnyValue(bytes_value=JWT.encode())))
    if kind < 6:
        return AnyValue(array_value={"values": [drawn_value(rng, depth - 1) for _ in range(rng.randrange(3))]})
    return AnyValue(kvlist_value={"values": drawn_pairs(rng, depth - 1)})


def drawn_pairs(rng: random.Random, depth: int = 2) -> list[KeyValue]:
    return [KeyValue(key=rng.choice(KEYS), value=drawn_value(rng, depth)) for _ in range(rng.choice((0, 1, 2, 9)))]


def drawn_spans(rng: random.Random) -> TracesData:
    body = spans(*(drawn_pairs(rng) for _ in range(rng.choice((1, 3, 40)))))
    for span in body.resource_spans[0].scope_spans[0].spans:
        if rng.random() < 0.2:
            span.name, span.status.message = rng.choice(TEXTS), rng.choice(TEXTS)
        for _ in range(rng.choice((0, 0, 0, 2))):
            span.events.add(time_unix_nano=T0, name=rng.choice(TEXTS), attributes=drawn_pairs(rng))
        if rng.random() < 0.1:
            span.links.add(attributes=drawn_pairs(rng))
    return body


def drawn_logs(rng: random.Random) -> LogsData:
    body = logs(*(drawn_value(rng) for _ in range(rng.choice((1, 3, 40)))))
    for record in body.resource_logs[0].scope_logs[0].log_records:
        record.attributes.extend(drawn_pairs(rng))
    return body


def drawn_metrics(rng: random.Random) -> MetricsData:
    body, scope = request(MetricsData, "resource_metrics", "scope_metrics")
    for number in range(rng.choice((1, 3, 12))):
        metric = scope.metrics.add(name=f"token.count.{number}")
        kind = rng.choice(("gauge", "sum", "histogram", "summary", "exponential_histogram"))
        for _ in range(rng.choice((1, 1, 4))):
            point = getattr(metric, kind).data_points.add(time_unix_nano=T0, attributes=drawn_pairs(rng))
            if kind != "summary" and rng.random() < 0.2:
                point.exemplars.add(filtered_attributes=drawn_pairs(rng))
    return body


def items_of(signal: str, body: Any) -> list[Any]:
    if signal == "metrics":
        return list(body.resource_metrics[0].scope_metrics[0].metrics)
    if signal == "spans":
        return list(body.resource_spans[0].scope_spans[0].spans)
    return list(body.resource_logs[0].scope_logs[0].log_records)


@pytest.mark.parametrize(
    ("signal", "draw", "clean"),
    [
        ("spans", drawn_spans, Redactor.span),
        ("logs", drawn_logs, Redactor.log),
        ("metrics", drawn_metrics, Redactor.metric),
    ],
)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_vectors_write_what_the_plain_way_writes(signal: Any, draw: Any, clean: Any, seed: int) -> None:
    body, redactor = draw(random.Random(seed)), Redactor()
    (found,) = decode(signal, [body.SerializeToString()], redactor=redactor).bodies
    for item in items_of(signal, body):
        clean(redactor, item)
    assert items_of(signal, type(body).FromString(found)) == items_of(signal, body)


# ---- configuration ----------------------------------------------------------------------------------------


def test_patterns_can_be_switched_off_and_added() -> None:
    own = Pattern(name="badge", where="value", regex=r"badge-\d{6}")
    redactor = Redactor(off=("password", "card_number"), own=(own,))
    body = spans([text("password", "swordfish"), text("note", "badge-123456 and 4111111111111111")])
    _, later = written("spans", body, redactor)
    assert dict(later.table["attributes"].to_pylist()[0]) == {
        "password": "swordfish", "note": f"{REDACTED} and 4111111111111111",
    }  # fmt: skip


def test_an_own_key_is_found_within_maps_too() -> None:
    redactor = Redactor(own=(Pattern(name="badge", where="key", regex="^badge$"),))
    body = logs(AnyValue(kvlist_value={"values": [text("badge", "12")]}))
    batch, _ = written("logs", body, redactor)
    assert batch.table["body"].to_pylist() == ['{"badge":"[redacted]"}']


@pytest.mark.parametrize(
    "arguments",
    [
        {"off": ("no such pattern",)},
        {"own": (Pattern(name="jwt", where="value", regex="x"),)},
        {"own": (Pattern(name="bad", where="value", regex="("),)},
    ],
)
def test_a_redactor_that_cannot_be_made_says_why(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="redaction"):
        Redactor(**arguments)


def test_everything_can_be_switched_off() -> None:
    raw = spans([text("password", "hunter2")]).SerializeToString()
    redactor = Redactor(off=[one.name for one in PATTERNS])
    assert decode("spans", [raw], redactor=redactor).bodies[0] is raw
