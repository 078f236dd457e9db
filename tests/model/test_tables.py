"""The bundle of tables that the rooms hand on."""

from __future__ import annotations

import pytest

from aetia.model.errors import (
    AetiaError,
    CorruptSource,
    IngestError,
    PluginUnavailable,
    SignalError,
    UnknownPlugin,
    UsageError,
)
from aetia.model.tables import ANALYSIS_COLUMNS, SCHEMAS, Dropped, Telemetry


def test_empty_telemetry_has_every_table_in_its_schema() -> None:
    empty = Telemetry()
    assert {name: empty.table(name).schema for name in SCHEMAS} == SCHEMAS
    assert empty.rows == dict.fromkeys(SCHEMAS, 0) and empty.sampled == 1.0


def test_analysis_reads_columns_of_the_schema_and_leaves_the_bulk_on_disk() -> None:
    for name, columns in ANALYSIS_COLUMNS.items():
        assert set(columns) <= set(SCHEMAS[name].names)
    assert not {"attributes", "events", "links"} & set(ANALYSIS_COLUMNS["spans"])


def test_records_of_dropped_rows_add_up_and_empty_ones_are_left_out() -> None:
    first, nothing, second = (Dropped(table="spans", rows=rows, reason="no time") for rows in (3, 0, 2))
    held = Telemetry().with_dropped(first).with_dropped(nothing, second)
    assert held.dropped == (first, second) and Telemetry().dropped == ()


@pytest.mark.parametrize(
    "error", [UsageError, UnknownPlugin, PluginUnavailable, IngestError, CorruptSource, SignalError]
)
def test_every_deliberate_error_ends_the_program_with_two(error: type[AetiaError]) -> None:
    assert issubclass(error, AetiaError) and error("why").exit_code == 2
