"""Values of an attribute or column in ClickHouse, from the newest rows that have it."""

from __future__ import annotations

from typing import Any, Literal

from aetia.model.window import Window
from aetia.store import _clickhouse_schema as ch
from aetia.store._clickhouse_ask import Asker, checked_limit, within
from aetia.store.backend import ENOUGH_VALUES, is_text_column


def attribute_values(
    ask: Asker, window: Window, key: str, signal: Literal["spans", "logs"], limit: int
) -> tuple[str, ...]:
    column = is_text_column(signal, key)
    schema = ask.schema()
    fields = {"time_ns", key if column else "attributes"} - {"service"}
    if signal == "logs":
        source = ch.logs(schema, fields)
    else:
        source = ch.spans(schema, fields, ch.bounds("Timestamp")) if schema.has(ch.TRACES) else ""
    params: dict[str, Any] = {**within(window), "key": key, "most": checked_limit(limit), "enough": ENOUGH_VALUES}
    if not source:
        return ()
    value = f"toString({key if column else 'attributes[{key:String}]'})"
    rows = ask.rows(
        f"SELECT value FROM (SELECT {value} AS value FROM {source} WHERE value != '' ORDER BY time_ns DESC "
        "LIMIT {enough:UInt32}) GROUP BY value ORDER BY count() DESC, value LIMIT {most:UInt32}",
        params,
    )
    return tuple(row[0] for row in rows)
