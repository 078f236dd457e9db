"""What the requests inside a box of the heat map have that the others do not: counts of values."""

from __future__ import annotations

from aetia.store._duck_question import Question, checked_limit, is_text
from aetia.store._duck_red import cells, requests_of
from aetia.store._duck_sql import CELL_COLUMNS
from aetia.store.backend import Cohorts, Selection, ValueCount

COLUMNS = (
    "service", "instance", "name", "kind", "status", "status_code", "status_message", "peer", "scope", "version",
    "environment",
)  # fmt: skip
_MOST_KEYS = 10_000
_MOST_VALUES = 1_000_000


def cohorts(question: Question, chosen: Selection, most_keys: int, most_values: int) -> Cohorts:
    """One pass over the requests, whose attributes are unnested; values beyond the limits stay in the database."""
    checked_limit(most_keys, _MOST_KEYS)
    checked_limit(most_values, _MOST_VALUES)
    _keep_requests(question, chosen)
    inside, outside = question.one(
        "SELECT count(*) FILTER (WHERE inside), count(*) FILTER (WHERE NOT inside) FROM requests"
    )
    rows = question.fetch(_counts(most_keys, most_values))
    values: list[ValueCount] = []
    absent: dict[str, tuple[int, int]] = {}
    truncated = False
    for key, value, ins, outs, with_in, with_out, different, keys in rows:
        if key not in absent:
            values += _absent(absent)
            absent = {key: (inside - with_in, outside - with_out)}
        truncated = truncated or different > most_values or keys > most_keys
        values.append(ValueCount(key=key, value=value, inside=ins, outside=outs))
    return Cohorts(inside=inside, outside=outside, values=(*values, *_absent(absent)), truncated=truncated)


def _absent(missing: dict[str, tuple[int, int]]) -> list[ValueCount]:
    return [
        ValueCount(key=key, value=None, inside=ins, outside=outs) for key, (ins, outs) in missing.items() if ins + outs
    ]


def _keep_requests(question: Question, chosen: Selection) -> None:
    """The table `requests`: columns, attributes and `inside` of the requests of both cohorts."""
    service = "" if chosen.service is None else is_text(question, "service", chosen.service)
    where = requests_of(question, cells(question, chosen.window, chosen.service))
    if chosen.name is not None:
        where += f" AND name = {question.bind(chosen.name)}"
    took = "coalesce(duration_ns, 0) / 1e6"
    inside = f"{took} >= {question.bind(float(chosen.low_ms))}"
    if chosen.high_ms is not None:
        inside += f" AND {took} < {question.bind(float(chosen.high_ms))}"
    if chosen.failed is not None:
        inside += f" AND coalesce(status = 'error', false) = {question.bind(chosen.failed)}"
    hot = ""
    if question.snapshot.hot["spans"].num_rows:
        served = question.rows("spans", f"{CELL_COLUMNS}, hot_row", chosen.window, service, parts=[])
        found = question.arrays(f"SELECT hot_row FROM {served} WHERE {where} ORDER BY hot_row")
        hot = question.full("spans", found["hot_row"])
    plain = ", ".join(f"coalesce({name}, '') AS {name}" for name in COLUMNS)
    columns = f"{plain}, coalesce(parent_span_id, '') = '' AS root, attributes, ({inside}) AS inside"
    source = question.rows("spans", columns, chosen.window, service, within=hot)
    question.run(f"CREATE TEMP TABLE requests AS SELECT * EXCLUDE (root) FROM {source} WHERE {where}")


def _counts(most_keys: int, most_values: int) -> str:
    """SQL: key, value, inside, outside, rows of the cohorts that have the key, number of values, number of keys."""
    sums = "count_if(inside) AS ins, count_if(NOT inside) AS outs"
    columns = " UNION ALL ".join(
        f"SELECT '{name}' AS key, {name} AS value, {sums} FROM requests WHERE {name} <> '' GROUP BY {name}"
        for name in COLUMNS
    )
    taken = ", ".join(f"'{name}'" for name in COLUMNS)
    attributes = (
        f"SELECT entry.key, entry.value, {sums} FROM (SELECT inside, unnest(map_entries(attributes)) AS entry "
        f"FROM requests) WHERE entry.value <> '' AND entry.key NOT IN ({taken}) GROUP BY entry.key, entry.value"
    )
    return (
        f"WITH counted AS MATERIALIZED ({columns} UNION ALL {attributes}), keys AS (SELECT key, sum(ins)::BIGINT AS "
        "with_in, sum(outs)::BIGINT AS with_out, count(*) AS different, count(*) OVER () AS keys, "
        "row_number() OVER (ORDER BY sum(ins) + sum(outs) DESC, key) AS key_rank FROM counted GROUP BY key "
        f"QUALIFY key_rank <= {most_keys}) SELECT key, value, ins, outs, with_in, with_out, different, keys "
        "FROM counted JOIN keys USING (key) "
        f"QUALIFY row_number() OVER (PARTITION BY key ORDER BY ins + outs DESC, value) <= {most_values} "
        "ORDER BY key_rank, ins + outs DESC, value"
    )
