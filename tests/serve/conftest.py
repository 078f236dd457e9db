"""One server for the tests that only read and send, and a way to start others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from served import Served, served


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that only receives and answers."""
    with served(tmp_path_factory.mktemp("served") / "data") as one:
        yield one
