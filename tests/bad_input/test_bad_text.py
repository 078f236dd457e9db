"""CSV and JSON as other programs, shells and broken connections leave them."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from aetia.ingest.reader import Loaded
from aetia.ingest.source import open_sources
from aetia.model.tables import Telemetry

Ask = Callable[..., Any]
NS = 10**9
ROWS = [(1_761_374_400 + 10 * i, "cpu", "cart", f"cart-{i % 2}", 0.5 + i / 100) for i in range(60)]
HEADER = "timestamp,metric,service,instance,value"


def csv(rows: list[tuple[Any, ...]] = ROWS, sign: str = ",", end: str = "\n", header: str = HEADER) -> str:
    return end.join([header.replace(",", sign), *(sign.join(str(value) for value in row) for row in rows)]) + end


def read(path: Path, content: bytes | str) -> Telemetry:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_sources([str(path)]).telemetry


DIALECTS: dict[str, tuple[str, bytes]] = {
    "semicolons": ("m.csv", csv(sign=";").encode()),
    "tabs": ("m.tsv", csv(sign="\t").encode()),
    "byte order mark": ("m.csv", csv().encode("utf-8-sig")),
    "UTF-16": ("m.csv", csv().encode("utf-16")),
    "line ends of Windows": ("m.csv", csv(end="\r\n").encode()),
    "quotes": ("m.csv", csv([tuple(f'"{value}"' for value in row) for row in ROWS]).encode()),
    "decimal commas": ("m.csv", csv([(*r[:4], str(r[4]).replace(".", ",")) for r in ROWS], ";").encode()),
    "backwards": ("m.csv", csv(ROWS[::-1]).encode()),
    "gzip": ("m.csv.gz", gzip.compress(csv().encode())),
    "gzip by another name": ("m.csv", gzip.compress(csv().encode())),
    "plain by the name of gzip": ("m.csv.gz", csv().encode()),
    "times in four units": (
        "m.csv",
        csv([([t * 1000, t, t * 10**9, t * 10**6][i % 4], *rest) for i, (t, *rest) in enumerate(ROWS)]).encode(),
    ),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_a_csv_file_of_any_dialect_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    file, content = DIALECTS[name]
    found = read(tmp_path / file, content)
    assert found.dropped == () and found.metrics.num_rows == len(ROWS)
    held = sorted(
        zip(found.metrics["time"].cast(pa.int64()).to_pylist(), found.metrics["value"].to_pylist(), strict=True)
    )
    assert held == [(t * NS, pytest.approx(value)) for t, *_, value in ROWS]


def damaged_csv() -> dict[str, tuple[str, bytes, int, int]]:
    """File, content, rows that remain and rows that are counted."""
    text = csv()
    half = gzip.compress(text.encode())[:-60]
    return {
        "short and long lines": ("m.csv", (text + "1,2\n,,,,,,,\nfoo\n").encode(), 60, 3),
        "a line of NULs": ("m.csv", text.encode() + b"\0\0\0\n", 60, 1),
        "an open quote": ("m.csv", text.replace("\n", '\n"', 1).encode(), 60, 0),
        "ten megabytes of commas": ("m.csv", text.encode() + b"," * 10_000_000 + b"\n", 60, 1),
        "NaN and infinities": (
            "m.csv", csv([(*r[:4], ["NaN", "inf", "-Infinity", 1.5][i % 4]) for i, r in enumerate(ROWS)]).encode(), 15, 45,
        ),
        "words for numbers": ("m.csv", csv([(*r[:4], ["5ms", 1][i % 2]) for i, r in enumerate(ROWS)]).encode(), 30, 30),
        "blank times": ("m.csv", csv([(["", r[0]][i % 2], *r[1:]) for i, r in enumerate(ROWS)]).encode(), 30, 30),
        "bytes after the end": ("m.csv.gz", gzip.compress(text.encode()) + b"more", 60, 1),
        "a broken connection": ("m.csv.gz", half, 0, 1),
    }  # fmt: skip


@pytest.mark.parametrize("name", damaged_csv())
def test_what_is_whole_of_a_csv_file_is_used_and_the_rest_counted(tmp_path: Path, name: str) -> None:
    file, content, rows, dropped = damaged_csv()[name]
    found = read(tmp_path / file, content)
    if name == "a broken connection":
        assert 0 < found.metrics.num_rows < len(ROWS)
        assert "its compressed data break off" in found.dropped[0].reason
    else:
        assert found.metrics.num_rows == rows
    assert sum(record.rows for record in found.dropped) == dropped


TWICE = gzip.compress(gzip.compress(b"x", mtime=0), mtime=0)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("m.csv", b"\n\n\n", "it begins with nothing but blanks"), ("m.csv", b"timestamp\n1\n2\n", "it begins with 'timestamp 1 2'"),
        ("m.csv", b"time;cpu\nx;y\n", "not telemetry"), ("m.csv", csv(header="foo,metric,service,pod,value").encode(), "time"),
        ("m.csv", csv([("10/25/2025 06:44", *r[1:]) for r in ROWS]).encode(), "60 rows, no readable time; give epoch numbers"),
        ("m.csv.bz2", bz2.compress(b"x"), "is a bzip2 file; unpack it"), ("m.xz", lzma.compress(b"x"), "is an xz file; unpack it"),
        ("m.csv.gz", TWICE, "is compressed twice"), ("x.db", b"SQLite format 3\0", "no text"),
        ("t.json", b"null", "it begins with 'null'"), ("t.json", b"{}\n{}\n", "it begins with '{} {}'"),
        ("t.json", b'{"resourceSpans": ' + b"[" * 100_000, "recursion"), ("t.json", b'{"resourceSpans": []}', "no span"),
        ("t.json", b'{"resourceSpans": [{"resource', "holds no readable OTLP message"),
    ],
    ids=lambda value: f"{len(value)} bytes" if isinstance(value, bytes) else None,
)  # fmt: skip
def test_a_file_that_holds_nothing_to_use_is_refused(
    tmp_path: Path, file: str, content: bytes, words: str, ask: Ask
) -> None:
    (tmp_path / file).write_bytes(content)
    answer = ask("diagnose", tmp_path / file)
    assert answer.code == 2 and words in answer.err and file in answer.err


# ---- JSON -------------------------------------------------------------------------------------------------


def spans_of(loaded: Loaded, count: int = 300) -> list[dict[str, Any]]:
    columns = ("trace_id", "span_id", "parent_span_id", "service", "name", "duration_ns")
    table = loaded.telemetry.spans.slice(0, count)
    times = table["time"].cast(pa.int64()).to_pylist()
    rows = zip(*(table[column].to_pylist() for column in columns), strict=True)
    return [dict(zip(columns, row, strict=True), time=t) for t, row in zip(times, rows, strict=True)]


def otlp(spans: list[dict[str, Any]], mend: Callable[[dict[str, Any], int], dict[str, Any]] | None = None) -> bytes:
    """JSON lines of 50 spans each."""
    lines: list[bytes] = []
    for start in range(0, len(spans), 50):
        made = []
        for i, span in enumerate(spans[start : start + 50], start):
            one: dict[str, Any] = {
                "traceId": span["trace_id"], "spanId": span["span_id"], "name": span["name"], "kind": 2,
                "startTimeUnixNano": str(span["time"]), "endTimeUnixNano": str(span["time"] + span["duration_ns"]),
            }  # fmt: skip
            made.append(mend(one, i) if mend else one)
        service = {"key": "service.name", "value": {"stringValue": "cart"}}
        lines.append(
            json.dumps(
                {"resourceSpans": [{"resource": {"attributes": [service]}, "scopeSpans": [{"spans": made}]}]}
            ).encode()
        )
    return b"\n".join(lines) + b"\n"


def jaeger(spans: list[dict[str, Any]], scale: int = 1000, **changes: Any) -> bytes:
    made = [
        {"traceID": s["trace_id"], "spanID": s["span_id"], "operationName": s["name"], "processID": "p",
         "startTime": s["time"] // scale, "duration": s["duration_ns"] // scale} | (changes if i % 3 == 0 else {})
        for i, s in enumerate(spans)
    ]  # fmt: skip
    return json.dumps({"data": [{"traceID": "t", "spans": made, "processes": {"p": {"serviceName": "cart"}}}]}).encode()


@pytest.mark.parametrize(
    "form", ["plain", "mark", "utf-16", "windows", "blank lines", "gzip", "null fields", "float times"]
)
def test_otlp_json_of_any_form_gives_the_same_spans(tmp_path: Path, loaded: Loaded, form: str) -> None:
    spans = spans_of(loaded)
    content = otlp(spans)
    if form == "null fields":
        content = otlp(spans, lambda span, _: {**span, "parentSpanId": None, "attributes": None, "status": None})
    if form == "float times":
        content = otlp(spans, lambda span, _: {**span, "kind": 2.0})
    forms = {
        "mark": b"\xef\xbb\xbf" + content, "utf-16": content.decode().encode("utf-16"), "gzip": gzip.compress(content),
        "windows": content.replace(b"\n", b"\r\n"), "blank lines": b"\n\n" + content.replace(b"\n", b"\n\n"),
    }  # fmt: skip
    found = read(tmp_path / "t.json", forms.get(form, content))
    assert found.spans.num_rows == len(spans) and found.dropped == ()


def wrong_type(span: dict[str, Any], i: int) -> dict[str, Any]:
    return {**span, "name": 5} if i == 7 else {**span, "startTimeUnixNano": "soon"} if i == 70 else span


@pytest.mark.parametrize("damage", ["cut", "written just now", "garbage line", "wrong types", "cut gzip", "no end"])
def test_what_is_whole_of_an_otlp_file_is_used_and_the_rest_counted(
    tmp_path: Path, loaded: Loaded, damage: str
) -> None:
    spans = spans_of(loaded)
    content = otlp(spans)
    content, rows, lost = {
        "cut": (content[:-3000], 250, 1),
        "written just now": (content + content[:777], 300, 1),
        "garbage line": (content.replace(b"\n", b"\noops\n", 1), 300, 1),
        "wrong types": (otlp(spans, wrong_type), 298, 2),
        "cut gzip": (gzip.compress(content)[:-400], 0, 2),
        "no end": (otlp(spans, lambda span, i: {**span, "endTimeUnixNano": "0"} if i % 3 == 0 else span), 200, 100),
    }[damage]
    found = read(tmp_path / "t.json", content)
    assert found.spans.num_rows == rows or (damage == "cut gzip" and 0 < found.spans.num_rows < 300)
    assert sum(record.rows for record in found.dropped) == lost


@pytest.mark.parametrize("unit", ["ms", "us", "s"])
def test_times_in_another_unit_than_the_layout_s_are_read_and_said(tmp_path: Path, loaded: Loaded, unit: str) -> None:
    spans = spans_of(loaded)
    scale = {"s": NS, "ms": 10**6, "us": 1000}[unit]
    keys = ("startTimeUnixNano", "endTimeUnixNano")
    found = read(
        tmp_path / "t.json", otlp(spans, lambda span, _: span | {key: int(span[key]) // scale for key in keys})
    )
    first, duration = found.spans["time"].cast(pa.int64())[0].as_py(), found.spans["duration_ns"][0].as_py()
    assert abs(first - spans[0]["time"]) < scale and abs(duration - spans[0]["duration_ns"]) <= scale
    assert [(r.rows, r.reason) for r in found.dropped] == [
        (300, f"times of the size of {unit}, where this layout has ns; read as {unit}")
    ]


@pytest.mark.parametrize(
    ("scale", "changes", "rows", "reason"),
    [
        (1000, {}, 300, None), (1, {}, 300, "times of the size of ns, where this layout has us; read as ns"),
        (10**6, {}, 300, "times of the size of ms, where this layout has us; read as ms"),
        (1000, {"duration": "soon"}, 200, "values of the wrong type; export again"), (1000, {"references": None}, 300, None),
        (1000, {"duration": -5}, 200, "a negative duration; the clock of the recorder was set back"),
        (1000, {"duration": 10**40}, 200, "no readable duration"),
    ],
)  # fmt: skip
def test_a_jaeger_export_with_odd_values_is_used_as_far_as_it_goes(
    tmp_path: Path, loaded: Loaded, scale: int, changes: dict[str, Any], rows: int, reason: str | None
) -> None:
    spans = spans_of(loaded)
    found = read(tmp_path / "j.json", jaeger(spans, scale, **changes))
    assert found.spans.num_rows == rows
    assert [record.reason for record in found.dropped] == ([reason] if reason else [])
    assert abs(found.spans["time"].cast(pa.int64())[-1].as_py() - spans[-1]["time"]) < max(scale, 1000)


def test_one_unreadable_file_of_a_folder_is_named_and_the_others_are_used(tmp_path: Path, loaded: Loaded) -> None:
    content = otlp(spans_of(loaded))
    for name, text in (("a", content), ("b", content[:90]), ("c", b""), ("d", b"hello")):
        (tmp_path / f"{name}.json").write_bytes(text)
    found = open_sources([str(tmp_path)]).telemetry
    assert found.spans.num_rows == 300
    left_out = [record.reason for record in found.dropped if record.table == "files"]
    assert [name in reason for name, reason in zip(("b.json", "c.json", "d.json"), sorted(left_out), strict=True)] == [
        True
    ] * 3
