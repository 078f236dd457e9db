"""How much of the default's accuracy is tuning: weights chosen on one system, tested on the other.

    python bench/transfer.py SUITE_A SUITE_B [--settings 300] [--seed 0]

Draws random trust tables for the channels (each weight between a third and three times its default, at most 1), fuses
the same channel readings with each, picks the best table on one suite and scores it on the other.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np

from aetia.evidence.channel import Reading
from aetia.ingest.source import list_cases
from aetia.localize import _board
from aetia.localize._board import build_board, read_channels
from aetia.localize._graph import CallGraph
from aetia.localize._involvement import involvement
from aetia.localize._windows import guarded
from aetia.localize.explain import ranking
from aetia.plugins import create, names
from aetia.signals.view import Facts, View


class Prepared(NamedTuple):
    """What fusion needs of one case."""

    view: View
    readings: dict[str, Reading]
    graph: CallGraph
    factor: np.ndarray
    truth: set[str]


def prepare(suite: str) -> list[Prepared]:
    """Channel readings of all cases of a suite with given windows."""
    reader, path, cases = list_cases(suite)
    out: list[Prepared] = []
    for case in cases:
        if case.baseline is None or case.incident is None or not case.truth:
            continue
        facts = Facts(create("reader", reader).load(path, case.id).telemetry)
        view = guarded(View(facts, (case.baseline,), case.incident, baselines=case.baselines))
        factor = np.concatenate([involvement(view), np.ones(len(view.names.nodes))])
        truth = {t.service or f"node {t.node}" for t in case.truth}
        out.append(Prepared(view, read_channels(view), CallGraph(view), factor, truth))
    return out


def accuracy(cases: list[Prepared]) -> float:
    """AC@1 of the fused answer under the trust table now in force."""
    right = 0
    for case in cases:
        board = build_board(case.view, case.readings, case.graph)
        order = ranking(board.score * case.factor, board)
        right += len(order) > 0 and board.candidates[int(order[0])] in case.truth
    return right / len(cases)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suites", nargs=2)
    parser.add_argument("--settings", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    suites = [prepare(suite) for suite in options.suites]
    default = dict(_board.TRUST)
    scores = [[accuracy(cases) for cases in suites]]
    for _ in range(options.settings):
        drawn = {name: min(1.0, w * float(np.exp(rng.uniform(-np.log(3), np.log(3))))) for name, w in default.items()}
        _board.TRUST.update(drawn)
        scores.append([accuracy(cases) for cases in suites])
    _board.TRUST.update(default)
    table = np.array(scores)
    pooled = table.mean(axis=1).max()
    print(f"{len(names('channel'))} channels, {options.settings} random trust tables and the default")
    for here, there in ((0, 1), (1, 0)):
        tied = table[:, here] == table[:, here].max()
        print(
            f"tuned on {options.suites[here]} ({table[:, here].max():.3f}, {int(tied.sum())} tied): AC@1 on "
            f"{options.suites[there]} {table[tied, there].mean():.3f} ({table[tied, there].min():.3f} to "
            f"{table[tied, there].max():.3f})"
        )
    print(f"default: {table[0, 0]:.3f} and {table[0, 1]:.3f}; best pooled: {pooled:.3f}")
    low, mid, high = np.quantile(table, (0, 0.5, 1), axis=0)
    for k, suite in enumerate(options.suites):
        print(f"all tables on {suite}: {low[k]:.3f} / {mid[k]:.3f} / {high[k]:.3f} (least, median, most)")


if __name__ == "__main__":
    main()
