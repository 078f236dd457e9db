"""ClickHouse answers as any store does: the exporter's tables in chDB, the battery of questions, and HTTP."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import pytest
from battery import CHECKS, EMPTY_CHECKS, Check
from stored_samples import Sample, empty, sample

chdb = pytest.importorskip("chdb", reason="chdb (ClickHouse in process) is not installed")

from clickhouse_tables import Chdb, carried  # noqa: E402

from aetia.store.clickhouse import ClickHouseBackend  # noqa: E402


@functools.cache
def carried_sample() -> Sample:
    return carried(sample())


@pytest.fixture(scope="module")
def engine() -> Iterator[Chdb]:
    engine = Chdb()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def filled(engine: Chdb) -> ClickHouseBackend:
    return engine.backend("filled", carried_sample().tables)


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


@pytest.mark.parametrize("check", EMPTY_CHECKS, ids=_name)
def test_empty_tables_give_empty_answers(check: Check, bare: ClickHouseBackend) -> None:
    check(bare, empty())


@pytest.mark.parametrize("check", EMPTY_CHECKS, ids=_name)
def test_missing_tables_give_empty_answers(check: Check, without_tables: ClickHouseBackend) -> None:
    check(without_tables, empty())
