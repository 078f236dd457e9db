"""Two cohorts of requests compared in ClickHouse: how often each value of a column or attribute occurs in either."""

from __future__ import annotations

from typing import Any

from aetia.store import _clickhouse_schema as ch
from aetia.store._clickhouse_ask import Asker, missing, within
from aetia.store._clickhouse_red import requests
from aetia.store.backend import Cohorts, Selection, ValueCount

COLUMNS = (
    "service", "instance", "name", "kind", "status", "status_code", "status_message", "peer", "scope", "version",
    "environment",
)  # fmt: skip


def cohorts(ask: Asker, chosen: Selection, most_keys: int, most_values: int) -> Cohorts:
    if not ask.schema().has(ch.TRACES):
        return Cohorts(inside=0, outside=0, values=(), truncated=False)
    params: dict[str, Any] = {**within(chosen.window), "keys": most_keys, "values": most_values}
    population = _population(ask, chosen, params)
    ((inside, outside),) = ask.rows(f"SELECT countIf(inside), countIf(NOT inside) FROM {population}", params)
    rows = ask.rows(_values_sql(population), params) if inside + outside else []
    values: list[ValueCount] = []
    truncated = any(row[6] > most_keys or row[7] > most_values for row in rows)
    kept = [row for row in rows if row[6] <= most_keys]
    for at, (key, value, n_in, n_out, all_in, all_out, _, rank) in enumerate(kept):
        if rank <= most_values:
            values.append(ValueCount(key=key, value=missing(value), inside=n_in, outside=n_out))
        last = at + 1 == len(kept) or kept[at + 1][0] != key
        if last and (all_in < inside or all_out < outside):
            values.append(ValueCount(key=key, value=None, inside=inside - all_in, outside=outside - all_out))
    return Cohorts(inside=inside, outside=outside, values=tuple(values), truncated=truncated)


def _population(ask: Asker, chosen: Selection, params: dict[str, Any]) -> str:
    """The requests of the service (and operation) in the window, and whether each lies inside of the box."""
    spans = requests(ask, ("duration_ns", "attributes", *COLUMNS), chosen.service, params)
    tiers = f"SELECT service, min(tier) FROM {requests(ask, (), chosen.service, params)} GROUP BY service"
    params |= {"low": chosen.low_ms}
    fits = "duration_ns / 1e6 >= {low:Float64}"
    if chosen.high_ms is not None:
        params["high"] = chosen.high_ms
        fits += " AND duration_ns / 1e6 < {high:Float64}"
    if chosen.failed is not None:
        fits += f" AND status {'=' if chosen.failed else '!='} 'error'"
    mine = "1"
    if chosen.name is not None:
        params["name"] = chosen.name
        mine = "name = {name:String}"
    return f"(SELECT *, {fits} AS inside FROM {spans} WHERE tier < 4 AND (service, tier) IN ({tiers}) AND {mine})"


def _values_sql(population: str) -> str:
    """Counts per key and value, with the counts of the key, and the ranks of key and value by rows that have them."""
    columns = ", ".join(f"('{name}', {name})" for name in COLUMNS)
    others = f"arrayFilter(p -> p.1 NOT IN {ch.array(COLUMNS)}, CAST(attributes, 'Array(Tuple(String, String))'))"
    pairs = f"arrayConcat([{columns}], {others})"
    counted = (
        "SELECT p.1 AS key, p.2 AS value, countIf(inside) AS i, countIf(NOT inside) AS o FROM "
        f"(SELECT inside, arrayJoin({pairs}) AS p FROM {population}) WHERE value != '' GROUP BY key, value"
    )
    ranked = (
        "SELECT *, sum(i) OVER (PARTITION BY key) AS ki, sum(o) OVER (PARTITION BY key) AS ko, "
        f"row_number() OVER (PARTITION BY key ORDER BY i + o DESC, value) AS rank FROM ({counted})"
    )
    return (
        "SELECT key, value, i, o, ki, ko, key_rank, rank FROM (SELECT *, dense_rank() OVER (ORDER BY ki + ko DESC, "
        f"key) AS key_rank FROM ({ranked}) WHERE rank <= {{values:UInt32}} + 1) WHERE key_rank <= {{keys:UInt32}} + 1 "
        "ORDER BY key_rank, rank"
    )
