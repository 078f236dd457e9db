"""What a log would say of an exception that a span recorded."""

from __future__ import annotations

from typing import Any

import pytest

from aetia.ingest.semconv import exception_line


@pytest.mark.parametrize(
    ("attributes", "line"),
    [
        ({"exception.type": "KeyError", "exception.message": "'sku-17'\nmore"}, "KeyError: 'sku-17'"),
        ({"exception.type": "java.io.IOException", "exception.message": "java.io.IOException: reset"},
         "java.io.IOException: reset"),
        ({"exception.type": "Boom"}, "Boom"),
        ({"error.kind": "TimeoutError", "message": " "}, "TimeoutError"),
        ({"message": "cache miss"}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_type_and_first_line_of_the_message(attributes: dict[str, Any], line: str | None) -> None:
    assert exception_line(attributes) == line
