"""The description of the API is true: every answer fits it, what it forbids is refused, and nothing makes it fail."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from served import Served, logs, metrics, served, spans, trace

from aetia.serve.openapi import describe
from aetia.serve.operations import all_operations

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis.specs.openapi.checks import positive_data_acceptance

EXAMPLES = 4
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
            "/v1/traces", trace([("front", "GET /", -1, 0, 9), ("checkout", "POST /pay", 0, 1, 7)], b"\x5b" * 16)[1]
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
