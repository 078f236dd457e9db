"""Fits the weights of localize/_confidence.py: which first answers were right, given score, margin and support.

    python bench/fit_confidence.py SUITE... [--ridge 1.0]

Each suite is read as `aetia bench run` reads it, with given onset, and with spans and logs removed. Prints the weights
and the expected calibration error, on all cases and leaving one system out at a time.
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import NamedTuple

import numpy as np

from aetia.ingest.source import list_cases
from aetia.localize._confidence import FEATURES, features
from aetia.localize._graph import CallGraph
from aetia.localize.explain import Explain, judged, ranking
from aetia.model.case import Case
from aetia.model.diagnosis import Incident
from aetia.model.tables import LOGS, SPANS, Telemetry
from aetia.plugins import create
from aetia.signals.view import Facts, View


class Row(NamedTuple):
    """One case: its system, the features of the first answer, and whether that was a root."""

    system: str
    x: np.ndarray
    right: bool


def observe(case: Case, telemetry: Telemetry) -> Row | None:
    """The row of one case; None when the answer is empty or the truth unknown."""
    if case.baseline is None or case.incident is None or case.truth is None:
        return None
    facts = Facts(telemetry)
    found = create("detector", "sli").detect(facts, baseline=case.baseline, incident=case.incident)
    incident: Incident = found[0]
    given = View(facts, (case.baseline,), case.incident, baselines=case.baselines)
    view, board, score = Explain()._best_reading(given, incident, CallGraph(given))
    order = ranking(score, board)
    if len(order) == 0:
        return None
    truth = {t.service or f"node {t.node}" for t in case.truth}
    calm = not incident.breaches and judged(view)
    x = features(board, score, order, spans=len(view.spans) > 0, calm=calm)
    return Row(case.system, x, board.candidates[int(order[0])] in truth)


def collect(suites: list[str]) -> list[Row]:
    """Rows of all cases of some suites, with all telemetry and with metrics only."""
    rows: list[Row] = []
    for suite in suites:
        reader, path, cases = list_cases(suite)
        for case in cases:
            telemetry = create("reader", reader).load(path, case.id).telemetry
            bare = dataclasses.replace(telemetry, spans=SPANS.empty_table(), logs=LOGS.empty_table())
            rows += [row for t in (telemetry, bare) if (row := observe(case, t)) is not None]
    return rows


def fit(x: np.ndarray, y: np.ndarray, ridge: float) -> np.ndarray:
    """Logistic weights by Newton's method; the constant is not shrunk."""
    w = np.zeros(x.shape[1])
    shrink = ridge * np.eye(len(w))
    shrink[0, 0] = 0.0
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ w))
        gradient = x.T @ (p - y) + shrink @ w
        w -= np.linalg.solve(x.T @ (x * (p * (1 - p))[:, None]) + shrink + 1e-9 * np.eye(len(w)), gradient)
    return w


def error(p: np.ndarray, y: np.ndarray) -> float:
    """Expected calibration error over ten bins of equal mass."""
    parts = np.array_split(np.argsort(p), 10)
    return float(sum(len(i) / len(p) * abs(p[i].mean() - y[i].mean()) for i in parts if len(i)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suites", nargs="+")
    parser.add_argument("--ridge", type=float, default=1.0)
    options = parser.parse_args()
    rows = collect(options.suites)
    x, y = np.stack([r.x for r in rows]), np.array([r.right for r in rows], dtype=float)
    systems = np.array([r.system for r in rows])
    weights = fit(x, y, options.ridge)
    print(f"{len(rows)} answers of {len(set(systems))} systems, {y.mean():.3f} right")
    print(dict(zip(FEATURES, weights.round(3).tolist(), strict=True)))
    print(f"calibration error on the same cases: {error(1 / (1 + np.exp(-x @ weights)), y):.3f}")
    held = np.zeros(len(y))
    for system in np.unique(systems):
        out = systems == system
        held[out] = 1 / (1 + np.exp(-x[out] @ fit(x[~out], y[~out], options.ridge)))
    print(f"calibration error with each system left out: {error(held, y):.3f}")


if __name__ == "__main__":
    main()
