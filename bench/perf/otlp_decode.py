"""Items per second of CPU time of the OTLP decoder, and the ratio to the usual way: stock protobuf, a loop over items,
attributes as a dictionary, JSON, Arrow. Each kind of item, requests of 500 that come one by one, as on an idle server,
in pairs, and in groups of 8, as under load.

Exits with 1 when the decoder of spans, or of points in groups, is less than 4 times as fast as the usual way, or its
values differ; redaction has to stay within the same limit for groups of 8.

Run: `.venv/bin/python bench/perf/otlp_decode.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from _measure import conditions, verdict
from _otlp_bodies import ITEMS, KINDS

from aetia.ingest.otlp_columns import decode
from aetia.ingest.redaction import Redactor

GROUPS = (1, 2, 8)
LEAST = 0.25
"""Of the time of the usual way."""
_SPAN_KINDS = (None, "internal", "server", "client", "producer", "consumer")
_STATUSES = ("unset", "ok", "error")
_LEVELS: dict[int, str] = {9: "info", 13: "warn", 17: "error"}


def differences(signal: str, table: pa.Table, usual: pa.Table) -> list[str]:
    """Columns whose values differ from those of the usual way."""
    expected = {name: usual[name].to_pylist() for name in usual.column_names}
    for name in ("parent_span_id", "status_message"):
        if name in expected:
            expected[name] = [value or None for value in expected[name]]
    words: dict[str, Any] = {"kind": _SPAN_KINDS, "status": _STATUSES, "severity": _LEVELS}
    for name in words.keys() & expected.keys():
        expected[name] = [words[name][value] for value in expected[name]]
    if signal != "metrics":
        texts = (json.loads(text) for text in expected["attributes"])
        expected["attributes"] = [{key: str(value) for key, value in one.items()} for one in texts]
    found = {name: table[name].to_pylist() for name in expected if name != "time"}
    found["time"] = table["time"].cast(pa.int64()).to_pylist()
    if signal != "metrics":
        found["attributes"] = [dict(pairs) for pairs in table["attributes"].to_pylist()]
    return [name for name, values in expected.items() if found[name] != values]


def rates_of(
    ways: dict[str, Callable[[Sequence[bytes]], object]], groups: Sequence[Sequence[bytes]], repeats: int
) -> dict[str, float]:
    """Items per second of CPU time of each way, the best of some repetitions; the ways take turns, so that other
    programs disturb all alike."""
    best = dict.fromkeys(ways, 0.0)
    for _ in range(repeats):
        for name, work in ways.items():
            began = time.process_time()
            for group in groups:
                work(group)
            best[name] = max(best[name], sum(map(len, groups)) * ITEMS / (time.process_time() - began))
    return best


def measured(name: str, bodies: Sequence[bytes], repeats: int) -> list[tuple[str, float, float]]:
    """Prints the rates of one kind of item; what is checked."""
    kind = KINDS[name]
    signal: Any = kind.signal
    redactor = Redactor()
    ways: dict[str, Callable[[Sequence[bytes]], object]] = {
        "usual way": kind.usual,
        "promoted": lambda some: decode(signal, some),
        "redacted": lambda some: decode(signal, some, redactor=redactor),
    }
    if signal != "metrics":
        ways["full"] = lambda some: decode(signal, some, full=True)
    checks: list[tuple[str, float, float]] = []
    for size in GROUPS:
        rates = rates_of(ways, [bodies[at : at + size] for at in range(0, len(bodies), size)], repeats)
        usual = rates.pop("usual way")
        told = ", ".join(f"{way} {rate / 1e3:,.0f} k/s ({rate / usual:.1f} x)" for way, rate in rates.items())
        print(f"{name} in groups of {size}: usual way {usual / 1e3:,.0f} k/s, {told}")
        if name == "spans" or (signal == "metrics" and size > 1):
            checks.append((f"{name}, groups of {size}, time", usual / rates["promoted"], LEAST))
            if size == GROUPS[-1]:
                checks.append((f"{name}, groups of {size}, redacted, time", usual / rates["redacted"], LEAST))
    return checks


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bodies", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    print(conditions())
    wrong: list[str] = []
    checks: list[tuple[str, float, float]] = []
    for name, kind in KINDS.items():
        bodies = [kind.body(seed) for seed in range(options.bodies)]
        signal: Any = kind.signal
        table = decode(signal, bodies, full=True).table
        wrong += [f"{column} of {name}" for column in differences(kind.signal, table, kind.usual(bodies))]
        checks += measured(name, bodies, options.repeats)
    if wrong:
        print(f"values differ from the usual way: {', '.join(wrong)}")
    return int(bool(wrong)) | verdict(checks)


if __name__ == "__main__":
    sys.exit(main())
