"""Hand-built diagnoses, and a small system whose telemetry they are about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from aetia.model import entity
from aetia.model.diagnosis import (
    Claim,
    Cost,
    Diagnosis,
    DroppedRows,
    Evidence,
    Hop,
    Hypothesis,
    Impact,
    Incident,
    Query,
    SliBreach,
    make_evidence,
)
from aetia.model.tables import LOGS, SPANS, Telemetry
from aetia.model.window import Window
from aetia.signals.view import Facts, View

START_NS = 1_700_000_000_000_000_000
SECOND_NS = 10**9
BASELINE = Window(START_NS, START_NS + 300 * SECOND_NS)
INCIDENT = Window(START_NS + 300 * SECOND_NS, START_NS + 480 * SECOND_NS)


def evidence_for(name: str, *, values: list[float | None] | None = None) -> Evidence:
    drawn = values if values is not None else [10.0] * 30 + [80.0] * 18
    return make_evidence(
        about=entity.service(name),
        claim=Claim(
            what="latency", direction="up", magnitude=8.0, unit="ratio", text=f"{name} takes 80 ms, 10 ms before"
        ),
        polarity="for",
        strength=0.9,
        query=Query(channel="latency", args={"service": name}),
        result={
            "baseline": 10.0,
            "incident": 80.0,
            "unit": "ms",
            "series": {"start_ns": START_NS, "step_ns": 10 * SECOND_NS, "unit": "ms", "values": drawn},
        },
    )


def breach_at(entry: str) -> SliBreach:
    return SliBreach(
        entry=entity.operation(entry, "GET /"),
        sli="success",
        statistic="share",
        baseline=0.998,
        incident=0.61,
        onset_ns=INCIDENT.start_ns,
        p_value=1e-30,
        requests=1800,
        affected=700,
    )


def diagnosis_of(root: str = "cart", entry: str = "front", **changes: Any) -> Diagnosis:
    item = evidence_for(root)
    held: dict[str, Any] = {
        "case": "case-1",
        "source": ("telemetry",),
        "localizer": "explain",
        "incident": Incident(
            baseline=BASELINE, window=INCIDENT, onset_ns=INCIDENT.start_ns, breaches=(breach_at(entry),)
        ),
        "hypotheses": (
            Hypothesis(
                entity=entity.instance(f"{root}-1", root, "node-3"),
                score=5.0,
                probability=0.87,
                fault_class="C",
                fault="exception",
                onset_ns=INCIDENT.start_ns - 12 * SECOND_NS,
                evidence=(item.id,),
                verdict="supported",
            ),
            Hypothesis(entity=entity.service(entry), score=1.0, probability=0.08, reason="its callee fails first"),
        ),
        "roots": (0,),
        "evidence": (item,),
        "propagation": (Hop(source=root, target=entry, relation="calls"),),
        "impact": Impact(entries=(f"{entry} GET /",), requests=1800, affected=700),
        "rejected": (Hypothesis(entity=entity.service("mail"), score=0.2, reason="it began two minutes later"),),
        "silent": {"changes": "no change was recorded"},
        "dropped": (DroppedRows(table="spans", rows=12, reason="negative duration", source="a.parquet"),),
        "cost": Cost(seconds=1.25, rows={"spans": 4800}),
    }
    return Diagnosis(**{**held, **changes})


def abstained() -> Diagnosis:
    return Diagnosis(
        localizer="explain",
        incident=None,
        abstained="no incident was found in the data",
        missing=("an incident: name it with --incident A..B",),
    )


def telemetry_of(root: str = "cart", entry: str = "front", extra: str = "mail") -> Telemetry:
    """One request a second: `entry` calls `root` and `extra`; in the incident `root` fails and is slow."""
    rows: list[dict[str, Any]] = []
    lines: list[dict[str, Any]] = []
    for second in range(480):
        at, bad = START_NS + second * SECOND_NS, second >= 300
        inner = 80_000_000 if bad else 10_000_000
        plan = [
            ("a", None, entry, "server", 0, inner + 20_000_000, bad, "GET /"),
            ("b", "a", root, "server", 5_000_000, inner, bad, "Get"),
            ("c", "a", extra, "server", inner + 6_000_000, 8_000_000, False, "Send"),
        ]
        for key, parent, service, kind, offset, length, failed, name in plan:
            rows.append(
                {
                    "time": at + offset,
                    "trace_id": f"t{second}",
                    "span_id": f"{second}{key}",
                    "parent_span_id": f"{second}{parent}" if parent else None,
                    "service": service,
                    "name": name,
                    "kind": kind,
                    "duration_ns": length,
                    "status": "error" if failed else "ok",
                }
            )
        body = f"cannot reach table for user {second}" if bad else f"loaded cart of user {second}"
        lines.append({"time": at, "service": root, "severity": "error" if bad else "info", "body": body})
    full = [{name: row.get(name) for name in SPANS.names} for row in rows]
    logs = [{name: row.get(name) for name in LOGS.names} for row in lines]
    return Telemetry(spans=pa.Table.from_pylist(full, SPANS), logs=pa.Table.from_pylist(logs, LOGS))


@pytest.fixture(scope="session")
def make_diagnosis() -> Callable[..., Diagnosis]:
    return diagnosis_of


@pytest.fixture(scope="session")
def no_answer() -> Diagnosis:
    return abstained()


@pytest.fixture(scope="session")
def make_evidence_of() -> Callable[..., Evidence]:
    return evidence_for


@pytest.fixture(scope="session")
def make_view() -> Callable[..., View]:
    def make(**names: str) -> View:
        return View(Facts(telemetry_of(**names)), (BASELINE,), INCIDENT)

    return make
