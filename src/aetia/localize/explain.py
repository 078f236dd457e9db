"""Explain: evidence of all channels, fused, after callees and hosts have explained what they can. The default.

Source: section 5 of the design: explaining away as in section 13.2 of the algorithms survey, fusion by noisy-or with
each channel's confidence in this incident as in the label-free study on Nezha. Inputs: any of spans, logs, metrics,
changes. Score: higher = more suspicious. Cost: one pass of every channel, about 1 s for a million spans.
"""

from __future__ import annotations

import numpy as np

from aetia.localize._answer import make_hypotheses, propagation, rejected
from aetia.localize._board import Board, build_board, candidate_of, read_channels
from aetia.localize._confidence import probabilities
from aetia.localize._graph import CallGraph
from aetia.localize._involvement import involvement
from aetia.localize._windows import extended, guarded, harm_began_inside
from aetia.localize.localizer import Localization
from aetia.model.diagnosis import Incident
from aetia.plugins import plugin
from aetia.signals.frames import F64, I64
from aetia.signals.view import View

MIN_SCORE = 0.002
QUIET_SCORE, QUIET_PROBABILITY = 0.42, 0.6
"""Below these, an answer needs a broken SLI to be worth giving."""
SECOND_ROOT, SECOND_SHARE = 0.6, 0.65
"""What a further root must score, by itself and as a share of the first one's score."""
MIN_JUDGED = 50
"""Entry requests in the incident without which an unbroken SLI means nothing."""
CONVINCING = 0.9
UNREACHED = 0.5
"""What is left of a candidate's score when no broken entry point depends on it."""


@plugin(
    "localizer",
    summary="fuses all evidence, explains symptoms away along calls and hosts, answers with a calibrated probability",
    source="DESIGN section 5; label-free study on Nezha; explain-away ranking of RCABench's TraceBackA10 and PAVE",
    cost="one pass of every channel",
)
class Explain:
    """The label-free default."""

    def localize(self, view: View, incident: Incident, *, seed: int = 0) -> Localization:
        graph = CallGraph(view)
        view, board, score = self._best_reading(view, incident, graph)
        order = ranking(score, board)
        if len(order) == 0:
            return Localization(
                abstained="no channel found anything abnormal that could be a cause",
                silent=board.silent,
                missing=missing(view),
            )
        calm = not incident.breaches and judged(view)
        probability = probabilities(board, score, order, spans=len(view.spans) > 0, calm=calm)
        if calm and (score[order[0]] < QUIET_SCORE or probability[0] < QUIET_PROBABILITY):
            return Localization(
                abstained="not enough evidence: no entry point's SLI is broken in this window and nothing inside "
                f"stands out (the most suspicious is {board.candidates[int(order[0])]} at {score[order[0]]:.2f})",
                silent=board.silent,
                missing=missing(view),
            )
        hypotheses, evidence = make_hypotheses(view, board, score, order, probability)
        roots = self._roots(score, order, graph)
        return Localization(
            hypotheses=hypotheses,
            roots=roots,
            evidence=evidence,
            silent=board.silent,
            missing=missing(view),
            propagation=propagation(view, incident, graph, board, score, int(order[0])),
            rejected=rejected(view, board, score, order, graph),
        )

    def _best_reading(self, view: View, incident: Incident, graph: CallGraph) -> tuple[View, Board, F64]:
        """The given window with a guarded baseline; also with the guard as part of the incident where that window
        alone convinces nobody and harm may have begun before it, if the longer one does more."""
        first = self._read(guarded(view), incident, graph)
        if len(first[2]) and first[2].max() >= CONVINCING:
            return first
        longer = extended(view)
        if longer is None or harm_began_inside(view, incident):
            return first
        second = self._read(longer, incident, graph)
        return second if second[2].max(initial=0.0) > first[2].max(initial=0.0) else first

    def _read(self, view: View, incident: Incident, graph: CallGraph) -> tuple[View, Board, F64]:
        board = build_board(view, read_channels(view), graph)
        score = board.score * self._reach(view, incident, graph)
        services = len(view.names.services)
        score[:services] *= involvement(view)
        return view, board, score

    def _reach(self, view: View, incident: Incident, graph: CallGraph) -> F64:
        entries = {candidate_of(view, breach.entry) for breach in incident.breaches}
        known: I64 = np.array(sorted(e for e in entries if e >= 0), dtype=np.int64)
        return UNREACHED + (1.0 - UNREACHED) * graph.covers(known)

    def _roots(self, score: F64, order: I64, graph: CallGraph) -> tuple[int, ...]:
        """The joint answer: the first, and at most two more that are strong by themselves and that neither the first
        explains nor explain it."""
        roots = [0]
        for rank in range(1, min(len(order), 6)):
            if len(roots) == 3 or score[order[rank]] < max(SECOND_ROOT, SECOND_SHARE * score[order[0]]):
                break
            related = {int(order[r]) for r in roots}
            around = {*graph.above(int(order[rank])), *graph.below(int(order[rank]))}
            if not related & around:
                roots.append(rank)
        return tuple(roots)


def ranking(score: F64, board: Board) -> I64:
    """Candidates with a score, most suspicious first; ties in order of name."""
    chosen = np.flatnonzero(score >= MIN_SCORE)
    name = np.array([board.candidates[c] for c in chosen.tolist()], dtype=np.str_)
    return chosen[np.lexsort((name, -score[chosen]))]


def judged(view: View) -> bool:
    """Whether enough requests were recorded in the incident to say that no SLI is broken; without them nobody knows."""
    return int((view.spans.entry & view.span_masks[1]).sum()) >= MIN_JUDGED


def missing(view: View) -> tuple[str, ...]:
    """What would make the answer surer."""
    rows = view.facts.telemetry.rows
    wanted = {
        "spans": "traces: they tell who called whom, and where time and errors began",
        "logs": "logs: they tell what components said",
        "metrics": "metrics: they tell the load of instances and nodes",
    }
    return tuple(text for table, text in wanted.items() if rows[table] == 0)
