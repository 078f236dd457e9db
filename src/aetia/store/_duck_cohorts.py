"""What the requests inside a box of the heat map have that the others do not: counts of values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aetia.model.window import Window
from aetia.store._duck_question import Question, checked_limit, is_text
from aetia.store._duck_red import cells, requests_of
from aetia.store._duck_sql import CELL_COLUMNS, FAILED, PER_OCTAVE, STEP_NS
from aetia.store.backend import Cohorts, Selection, ValueCount

COLUMNS = (
    "service", "instance", "name", "kind", "status", "status_code", "status_message", "peer", "scope", "version",
    "environment",
)  # fmt: skip
MOST_SPANS = 500_000
"""Windows with no more spans than these are read whole."""
WORK = 350_000
"""Of larger windows so much is read; a span of any service counts 1, a request that is compared `_REQUEST` more."""
_REQUEST = 10
_SLICES = 8
_MOST_SLICES = 1000
_MOST_KEYS = 10_000
_MOST_VALUES = 1_000_000


def cohorts(question: Question, chosen: Selection, most_keys: int, most_values: int) -> Cohorts:
    """One pass over the requests, whose attributes are unnested; values beyond the limits stay in the database.

    Unpacking attributes costs about a microsecond a stored span of any service, so of a window with very many spans
    only the times are read in which most of the selection is.
    """
    checked_limit(most_keys, _MOST_KEYS)
    checked_limit(most_values, _MOST_VALUES)
    where = requests_of(question, cells(question, chosen.window, chosen.service))
    if chosen.name is not None:
        where += f" AND name = {question.bind(chosen.name)}"
    looked_at = _times(question, chosen, where)
    _keep_requests(question, chosen, looked_at, where)
    inside, outside = question.one(
        "SELECT count(*) FILTER (WHERE inside), count(*) FILTER (WHERE NOT inside) FROM requests"
    )
    rows = question.fetch(_counts(most_keys, most_values))
    values: list[ValueCount] = []
    absent: dict[str, tuple[int, int]] = {}
    truncated = looked_at != [chosen.window]
    for key, value, ins, outs, with_in, with_out, different, keys in rows:
        if key not in absent:
            values += _absent(absent)
            absent = {key: (inside - with_in, outside - with_out)}
        truncated = truncated or different > most_values or keys > most_keys
        values.append(ValueCount(key=key, value=value, inside=ins, outside=outs))
    seconds = sum(window.seconds for window in looked_at)
    return Cohorts(
        inside=inside, outside=outside, values=(*values, *_absent(absent)), truncated=truncated,
        looked_at=seconds / chosen.window.seconds if seconds else 1.0,
    )  # fmt: skip


def _absent(missing: dict[str, tuple[int, int]]) -> list[ValueCount]:
    return [
        ValueCount(key=key, value=None, inside=ins, outside=outs) for key, (ins, outs) in missing.items() if ins + outs
    ]


def _times(question: Question, chosen: Selection, where: str) -> list[Window]:
    """The window of the selection, or those slices of it that hold most of what is inside, oldest first. `where` is
    the condition on cells that they are requests.

    Slices are whole steps of `STEP_NS` where they are long enough, so that rollups tell how much of the selection is in
    each; the bucket on the edge of the box counts by its middle, which decides about nothing but the choice of slices.
    """
    window = chosen.window
    spans = _spans(question, window)
    if spans <= MOST_SPANS:
        return [window]
    length = window.end_ns - window.start_ns
    width = max(length * WORK // (spans * _SLICES), 1)
    width = width // STEP_NS * STEP_NS or width
    took = f"pow(2, (bucket + 0.5) / {PER_OCTAVE})"
    inside = f"{took} >= {question.bind(float(chosen.low_ms))}"
    if chosen.high_ms is not None:
        inside += f" AND {took} < {question.bind(float(chosen.high_ms))}"
    counted = {None: "n", True: "errors", False: "n - errors"}[chosen.failed]
    relation = cells(question, window, chosen.service, width)
    found = question.fetch(
        f"SELECT t // {width} AS slice, sum(n)::BIGINT FROM {relation} WHERE {where} GROUP BY slice "
        f"ORDER BY coalesce(sum({counted}) FILTER (WHERE {inside}), 0) DESC, slice LIMIT {_MOST_SLICES}"
    )
    work = np.cumsum([spans * width / length + _REQUEST * requests for _, requests in found])
    most = max(int(np.searchsorted(work, WORK, side="right")), 1)
    out: list[Window] = []
    for number, _ in sorted(found[:most]):
        start, end = max(number * width, window.start_ns), min((number + 1) * width, window.end_ns)
        out.append(Window(out.pop().start_ns if out and out[-1].end_ns == start else start, end))
    return out


def _spans(question: Question, window: Window) -> int:
    """How many spans of any service are in a window."""
    parts = question.parts("spans", window)
    border = [part for part in parts if part.start_ns < window.start_ns or part.end_ns > window.end_ns]
    (some,) = question.one(f"SELECT count(*) FROM {question.rows('spans', '1 AS one', window, parts=border)}")
    return some + sum(part.rows for part in parts if part not in border)


def _inside(question: Question, chosen: Selection) -> str:
    took = "coalesce(duration_ns, 0) / 1e6"
    inside = f"{took} >= {question.bind(float(chosen.low_ms))}"
    if chosen.high_ms is not None:
        inside += f" AND {took} < {question.bind(float(chosen.high_ms))}"
    return inside if chosen.failed is None else f"{inside} AND {FAILED} = {question.bind(chosen.failed)}"


def _keep_requests(question: Question, chosen: Selection, times: Sequence[Window], where: str) -> None:
    """The table `requests`: columns, attributes and `inside` of the requests of both cohorts."""
    service = "" if chosen.service is None else is_text(question, "service", chosen.service)
    plain = ", ".join(f"coalesce({name}, '') AS {name}" for name in COLUMNS)
    columns = f"{plain}, coalesce(parent_span_id, '') = '' AS root, attributes, ({_inside(question, chosen)}) AS inside"
    relations: list[str] = []
    for window in times:
        hot = ""
        if question.snapshot.hot["spans"].num_rows:
            served = question.rows("spans", f"{CELL_COLUMNS}, hot_row", window, service, parts=[])
            found = question.arrays(f"SELECT hot_row FROM {served} WHERE {where} ORDER BY hot_row")
            hot = question.full("spans", found["hot_row"])
        relations.append(question.rows("spans", columns, window, service, within=hot))
    every = " UNION ALL ".join(f"FROM {relation}" for relation in relations)
    question.run(f"CREATE TEMP TABLE requests AS SELECT * EXCLUDE (root) FROM ({every}) WHERE {where}")


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
