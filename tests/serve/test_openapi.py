"""The description of the API is true: every answer fits it, what it forbids is refused, and nothing makes it fail."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, Phase, settings
from served import Served, logs, metrics, served, spans, trace

from aetia.serve.openapi import describe, schema_of
from aetia.serve.operations import all_operations

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis.specs.openapi.checks import positive_data_acceptance

EXAMPLES = 2
"""Per operation; bench/serve/fuzz_api.py runs hundreds."""
# What a time or a filter may look like is more than a schema can say, so some texts that fit it are refused.
OPERATIONS = all_operations()
config = schemathesis.Config.from_dict({"phases": {"coverage": {"enabled": False}}})
schema = schemathesis.openapi.from_dict(describe(OPERATIONS), config=config)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with some of everything."""
    with served(tmp_path_factory.mktemp("filled") / "data") as one:
        one.send("/v1/traces", spans(50, attributes={"http.route": "/pay"}))
        one.send("/v1/traces", spans(20, duration_ms=900, failed=True, attributes={"http.route": "/pay"}))
        one.send(
            "/v1/traces",
            trace(
                [("front", "GET /", -1, 0, 9), ("checkout", "POST /pay", 0, 1, 7)],
                bytes.fromhex("5b8aa5a2d2c872e8321cf37308d69df2"),
            )[1],
        )
        one.send("/v1/logs", logs("paid 5 euro", "paid 7 euro", "no money"))
        one.send("/v1/metrics", metrics(1, 2, 3))
        one.post("/api/v1/changes", {"kind": "deploy", "service": "checkout"})
        one.post("/api/v1/incidents", {"title": "slow"})
        yield one


@schema.parametrize()
@settings(
    max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
def test_every_operation_keeps_to_its_description(case: schemathesis.Case, filled: Served) -> None:
    case.call_and_validate(base_url=filled.url, excluded_checks=[positive_data_acceptance])


def test_the_document_names_who_may_ask_and_how_it_fails(filled: Served) -> None:
    document = filled.get("/api/v1/openapi.json").json
    assert document["openapi"] == "3.1.0" and set(document["components"]["securitySchemes"]) == {"bearer", "session"}
    for item in OPERATIONS:
        described = document["paths"][item.path][item.method.lower()]
        assert described["x-scope"] == item.scope and described["summary"] and described["description"]
        assert {"200", "400", "401", "403", "429", "504"} <= set(described["responses"])
        assert not item.in_path or item.example, f"{item.name} has a place in its path and no example"


def test_every_example_of_a_question_can_be_asked(filled: Served) -> None:
    for item in OPERATIONS:
        if item.method == "GET" and "incident_id" not in item.in_path and "other" not in item.example:
            query = "&".join(
                f"{name}={quote(str(one))}"
                for name, value in item.example.items()
                if name not in item.in_path
                for one in (value if isinstance(value, list) else [value])
            )
            path = item.path.replace("{trace_id}", str(item.example.get("trace_id", "")))
            answer = filled.get(f"{path}?{query}")
            assert answer.status == 200, (item.name, answer.body)


def test_arguments_have_a_schema_of_their_own_for_other_clients() -> None:
    held = {item.name: schema_of(item.params) for item in OPERATIONS}
    assert held["traces"]["properties"]["limit"]["maximum"] == 1000
    assert "$defs" in held["alertmanager"] and "ManagedAlert" in held["alertmanager"]["$defs"]
